"""`creatives prompt`."""

from __future__ import annotations

import json
from pathlib import Path

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
COFFEE = EXAMPLES / "coffee-enthusiast.json"


def test_the_prompt_and_its_rationale_are_shown(run):
    shown = run("prompt", COFFEE, CREATIVES_KAFKA__BOOTSTRAP_SERVERS="no-broker:1")
    assert shown.exit_code == 0, shown.stderr
    first, *others = shown.stdout.splitlines()
    assert first.startswith(
        "segment-coffee-enthusiast-2026-11-23: an advertising photo of coffee and a croissant on a "
    )
    assert "  template 3" in others
    assert "  keywords: replaced by the nearest thing that these weights draw: cup of coffee -> coffee" in others
    assert others[-1].endswith(" of 77 tokens")


def test_it_shows_what_a_dry_run_of_emit_shows(run):
    events = [json.loads((EXAMPLES / name).read_text()) for name in ("toast-with-jam.json", "jar-of-jam.json")]
    text = json.dumps(events)
    assert run("prompt", "-", text=text).stdout == run("emit", "--dry-run", "-", text=text).stdout


def test_invalid_events_are_named_and_the_others_shown(run):
    good = json.loads(COFFEE.read_text())
    shown = run("prompt", "-", text=json.dumps([good, {**good, "seed": -1}]))
    assert shown.exit_code == 2
    assert "an advertising photo of coffee" in shown.stdout
    assert "seed: Input should be greater than or equal to 0" in shown.stderr
    assert "1 of 2 events are invalid." in shown.stderr
