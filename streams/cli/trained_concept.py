"""Use the concept file of `creatives train` in a prompt."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import get_args

import click
from safetensors import SafetensorError, safe_open

from models.briefs import Concept, Method
from models.subjects import subject
from streams.cli.terminal import InputError


def read_concept(path: Path) -> Concept:
    """Return the concept in a file. Raises InputError if the file holds none."""
    try:
        with safe_open(path, framework="numpy") as file:
            meta = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read as a safetensors file: {error}") from None
    missing = [name for name in ("method", "placeholder_token", "class_noun") if not meta.get(name)]
    if missing or meta["method"] not in get_args(Method):
        raise InputError(f"{path} is not a concept: `creatives train` writes one as concept.safetensors.")
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    product = path.absolute().parent.name
    return Concept(product, meta["method"], str(path), digest, meta["placeholder_token"], meta["class_noun"])


def prompt_of_product(prompt: str, concept: Concept) -> str:
    """Return the prompt with the product in it: the trained name replaces the class noun, unless it is there already.

    Raises UsageError if the prompt has neither.
    """
    if re.search(_word(concept.placeholder_token), prompt):
        return prompt
    name = subject(concept.placeholder_token, concept.class_noun, concept.method)
    named, count = re.subn(_word(concept.class_noun), lambda _: name, prompt, count=1, flags=re.IGNORECASE)
    if not count:
        raise click.UsageError(f"The prompt must name the product: write {concept.class_noun!r} or {name!r}.")
    return named


def _word(text: str) -> str:
    return rf"(?<![\w-]){re.escape(text)}(?![\w-])"
