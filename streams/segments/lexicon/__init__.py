"""Words for things that a picture can show: English nouns, and the terms of other languages for them.

`scripts/build_lexicon.py` writes the tables in this folder.
"""

import hashlib
from functools import cache
from importlib.resources import files


@cache
def digest() -> str:
    """Return a digest of all tables: they decide prompts."""
    folder = files("streams.segments.lexicon")
    tables = [*folder.iterdir(), *folder.joinpath("terms").iterdir()]
    content = hashlib.sha256()
    for file in sorted(tables, key=lambda file: file.name):
        if file.name.endswith((".tsv", ".toml", ".gz")):
            content.update(file.name.encode() + file.read_bytes())
    return content.hexdigest()[:12]
