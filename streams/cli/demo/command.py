"""The `creatives demo` command: options and help."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    short_help="Three segments in, pictures out; needs no other service.",
    epilog="""\b
Examples:
  creatives demo
  creatives demo --serve                            keeps the gallery and the picture URLs up until Ctrl-C
  creatives demo my-segments.jsonl --out mine/
  creatives demo --products                         also trains two products, each with two methods; about ten minutes

The command starts an embedded broker, an embedded object store and a real worker process. It sends the three segments
of docs/examples, waits for their pictures, and writes events.jsonl, pictures/, contact-sheet.png and index.html. If
the settings name a broker or an object store, the demo uses that one instead. `make demo` installs everything first.

\b
Exit codes:
  0   the pictures are in the folder
  1   the worker exited, an event failed, or --timeout passed; the last lines of the worker log are printed
  2   wrong file, option or setting
  130 stopped with Ctrl-C (0 with --serve, once the pictures are there)
""",
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-output"), show_default=True)
@click.option("--serve", is_flag=True, help="Keep the worker and the picture URLs up until Ctrl-C.")
@click.option("--products", is_flag=True, help="Also train milk and jam with DreamBooth and with Textual Inversion.")
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds to wait.  [default: 900; 3600 with products]")
def demo(files: tuple[Path, ...], out: Path, serve: bool, products: bool, timeout: float | None) -> None:
    """Follow events through the whole service: from segment-updated to pictures and creative-ready.

    FILES hold your own segment events, in the format of `creatives emit`.
    """
    from streams.cli.demo.run import DemoOptions, run_demo
    from streams.cli.terminal import read_settings

    run_demo(DemoOptions(files, out, serve, products, timeout or (3600.0 if products else 900.0)), read_settings())
