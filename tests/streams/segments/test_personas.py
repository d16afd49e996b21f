"""The prompts of 30 segments as marketers write them, in four languages (`personas.jsonl`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import models
from schemas.events import SegmentUpdated
from streams.requests import ShownProduct
from streams.segments.prompting import Prompter

DEMO = json.loads((Path(models.__file__).parent / "demo" / "family.json").read_text())["vocabulary"]
PERSONAS = [json.loads(line) for line in Path(__file__).with_name("personas.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def demo_prompter(tokenizer: str) -> Prompter:
    return Prompter(tokenizer, 77, "", DEMO)


@pytest.mark.parametrize("persona", PERSONAS, ids=[persona["event"]["segment_id"] for persona in PERSONAS])
def test_prompts_of_personas(prompter: Prompter, demo_prompter: Prompter, persona: dict[str, Any]) -> None:
    fields = {"event_id": "e", "occurred_at": "2026-11-28T08:00:00Z", **persona["event"]}
    event = SegmentUpdated.model_validate(fields)
    product = ShownProduct("sks water bottle", "water bottle") if event.product_id else None
    assert prompter.compose(event, product).text == persona["prompt"]
    assert demo_prompter.compose(event, product).text == persona["prompt_of_the_demo_family"]
