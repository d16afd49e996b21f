import json
from pathlib import Path

COFFEE = Path(__file__).parents[3] / "docs" / "examples" / "coffee-enthusiast.json"


def test_an_emitted_event_can_be_watched(run, settings):
    topic = settings.topics.segment_updated
    sent = run("emit", COFFEE)
    assert sent.exit_code == 0, sent.output
    assert sent.stdout.startswith(f"segment-coffee-enthusiast-2026-11-23 {topic}[")
    seen = run("watch", topic, "--from-beginning", "--count", 1, "--timeout", 10, "--json")
    assert seen.exit_code == 0, seen.output
    assert json.loads(seen.stdout) == json.loads(COFFEE.read_text())


def test_watch_times_out(run, settings):
    late = run("watch", settings.topics.creative_ready, "--count", 2, "--timeout", 0.5)
    assert late.exit_code == 1
    assert "Timed out after 0.5 s, before 2 events arrived" in late.stderr


def test_a_missing_topic_is_not_created(run):
    for _ in range(2):
        missing = run("watch", "no-such-topic", "--timeout", 5)
        assert missing.exit_code == 1
        assert "There is no topic no-such-topic. Run `creatives topics --create`" in missing.stderr


def test_a_live_table_on_a_terminal(run, settings, monkeypatch):
    from rich.console import Console

    from streams.cli import terminal

    monkeypatch.setattr(terminal, "console", Console(force_terminal=True, width=120, highlight=False))
    run("emit", COFFEE)
    shown = run("watch", settings.topics.segment_updated, "--from-beginning", "--count", 1, "--timeout", 10)
    assert shown.exit_code == 0, shown.output
