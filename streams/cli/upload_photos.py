"""`creatives upload-photos`: put a product's photos where its registration names them."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streams.settings import StorageSettings

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # needs no escaping in a URI


@click.command(
    name="upload-photos",
    short_help="Store a product's photos for its registration.",
    epilog="""\b
Examples:
  creatives upload-photos dzem-malina docs/examples/products/jam/*.png
  creatives emit docs/examples/jar-of-jam.json

Writes photos/<PRODUCT_ID>/<file name> in the bucket and prints one s3:// address per photo, for the field `images` of
the registration. A file of the same name is replaced.

\b
Exit codes:
  0 every photo is in the bucket
  1 the store does not answer or refuses a photo
  2 wrong id, file, option or setting
""",
)
@click.argument("product_id")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def upload_photos(product_id: str, files: tuple[Path, ...]) -> None:
    """Upload FILES as photos of the product PRODUCT_ID, and print their addresses."""
    from streams.cli.terminal import read_settings, require_store

    settings = require_store(read_settings())
    if not SAFE_NAME.fullmatch(product_id):
        raise click.BadParameter("use letters, digits, '.', '_' and '-'", param_hint="PRODUCT_ID")
    for file in files:
        _check(file, settings.training.max_photo_bytes)
    if len({file.name for file in files}) < len(files):
        raise click.BadParameter("two files have the same name, and so the same address", param_hint="FILES")
    asyncio.run(_upload(product_id, files, settings.storage))


def _check(file: Path, limit: int) -> None:
    """Raise BadParameter for a file that a worker would refuse or that has no plain address."""
    if not SAFE_NAME.fullmatch(file.name):
        raise click.BadParameter(f"{file.name!r}: use letters, digits, '.', '_' and '-'", param_hint="FILES")
    if file.stat().st_size > limit:
        size = f"{file} is larger than CREATIVES_TRAINING__MAX_PHOTO_BYTES ({limit:,})"
        raise click.BadParameter(size, param_hint="FILES")


async def _upload(product_id: str, files: tuple[Path, ...], settings: StorageSettings) -> None:
    from streams.store.s3 import MinioStore

    store = MinioStore(settings)
    try:
        for file in files:
            key = f"photos/{product_id}/{file.name}"
            media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            await store.upload(key, file, media_type)
            click.echo(store.uri(key))
    finally:
        store.close()
