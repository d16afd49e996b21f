"""The prompts that a worker would write, without a worker, its models or a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import models
from models.errors import WeightsNotFound
from models.subjects import placeholder, subject
from models.weights.families import parse_card, read_card
from streams.requests import ShownProduct
from streams.segments.prompting import Prompter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.events import ProductRegistered
    from streams.settings import StudioSettings

_DEMO = Path(models.__file__).parent / "demo"
_CLIP_LENGTH = 77


def local_prompter(settings: StudioSettings) -> Prompter:
    """Return the prompter of a worker with these settings. Raises WeightsNotFound, UnusableCard.

    It reads the tokenizer of a diffusers folder. For a single file or a hub id it takes CLIP's own: that is the
    tokenizer of every Stable Diffusion, and finding out more would take a download or the whole file.
    """
    demo = settings.diffusion == "demo"
    folder = _DEMO / "diffusion" if demo else Path(settings.diffusion).expanduser()
    card = (_DEMO if demo else folder) / "family.json"
    family = parse_card(read_card(card), card) if card.is_file() else None
    default = (family.negative_prompt if family else None) or ""
    vocabulary = family.vocabulary if family else {}
    negative = default if settings.negative_prompt is None else settings.negative_prompt
    tokenizer = folder / "tokenizer"
    if not tokenizer.is_dir():
        _require_known(settings.diffusion, folder)
        from models.weights.vocabulary import clip_vocabulary

        return Prompter(str(clip_vocabulary()), _CLIP_LENGTH, negative, vocabulary)
    return Prompter(str(tokenizer), _context_length(tokenizer), negative, vocabulary)


def _require_known(reference: str, path: Path) -> None:
    """Raise WeightsNotFound unless there is such a file, or the reference can be a hub id."""
    if not path.is_file() and ("@" not in reference or path.is_absolute()):
        raise WeightsNotFound(role="diffusion", reference=reference, hint="there is no such path; check its spelling.")


def _context_length(tokenizer: Path) -> int:
    file = tokenizer / "tokenizer_config.json"
    fields = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return int(fields.get("model_max_length", _CLIP_LENGTH))


def subjects(registrations: Iterable[ProductRegistered]) -> Mapping[str, ShownProduct]:
    """Return how the prompts show each of these products; the last registration of a product counts."""
    return {
        event.product_id: ShownProduct(
            subject(placeholder(event.product_id, event.method), event.class_noun, event.method), event.class_noun
        )
        for event in registrations
    }


def stand_in(product_id: str) -> ShownProduct:
    """Return a word for a product whose registration is not at hand."""
    return ShownProduct(placeholder(product_id, "textual_inversion"), class_noun="")
