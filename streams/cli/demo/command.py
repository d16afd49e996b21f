"""`creatives demo`: three segments in, pictures out."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    short_help="Three segments in, pictures out; needs nothing else.",
    epilog="""\b
Examples:
  creatives demo
  creatives demo --serve                            then look at the gallery until Ctrl-C
  creatives demo my-segments.jsonl --out mine/
  creatives demo --products                         also learns two products, each by both methods; some ten minutes

Starts an embedded broker and object store and a real worker process, emits the three segments of docs/examples,
and writes events.jsonl, pictures/, contact-sheet.png and index.html. Where the settings name a broker or a store,
those are used instead. `make demo` installs everything first.
""",
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-output"), show_default=True)
@click.option("--serve", is_flag=True, help="Keep the worker and the pictures' URLs until Ctrl-C.")
@click.option("--products", is_flag=True, help="Also teach milk and jam by DreamBooth and by Textual Inversion.")
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds to wait.  [default: 900; 3600 with products]")
def demo(files: tuple[Path, ...], out: Path, serve: bool, products: bool, timeout: float | None) -> None:
    """Show the whole way of an event: from segment-updated to pictures and creative-ready.

    FILES hold segment events of your own, as for `creatives emit`.
    """
    from streams.cli.demo.run import Show, show
    from streams.cli.terminal import read_settings

    show(Show(files, out, serve, products, timeout or (3600.0 if products else 900.0)), read_settings())
