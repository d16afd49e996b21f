import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streams.cli.event_rows import kind_of, row
from streams.cli.main import cli
from streams.cli.watcher import Seen
from streams.settings import TopicSettings

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
COFFEE = EXAMPLES / "coffee-enthusiast.json"


@pytest.fixture
def run(settings):
    """Run the command line against the embedded services, with this test's own topics."""
    topics = settings.topics.model_dump()
    env = {f"CREATIVES_TOPICS__{name.upper()}": str(value) for name, value in topics.items()}
    env["CREATIVES_KAFKA__BOOTSTRAP_SERVERS"] = settings.kafka.bootstrap_servers

    def invoke(*arguments, text=None, **more):
        return CliRunner().invoke(cli, ["--debug", *map(str, arguments)], input=text, env={**env, **more})

    return invoke


def test_what_is_emitted_can_be_watched(run, settings):
    topic = settings.topics.segment_updated
    sent = run("emit", *[COFFEE])
    assert sent.exit_code == 0, sent.output
    assert sent.stdout.startswith(f"segment-coffee-enthusiast-2026-11-23 {topic}[")
    seen = run("watch", topic, "--from-beginning", "--count", 1, "--timeout", 10, "--json")
    assert seen.exit_code == 0, seen.output
    assert json.loads(seen.stdout) == json.loads(COFFEE.read_text())


def test_partitions_follow_the_key_as_javas_clients_choose_them(run):
    """The hashes are those of Kafka's own test of its murmur2 (UtilsTest.testMurmur2)."""
    hashes = {"21": -973932308, "foobar": -790332482, "abc": 479470107}
    event = json.loads(COFFEE.read_text())
    events = [{**event, "segment_id": name, "event_id": name} for name in hashes]
    sent = run("emit", "-", text=json.dumps(events))
    found = {line.split()[0]: int(line.split("[")[1].split("]")[0]) for line in sent.stdout.splitlines()}
    assert found == {name: (value & 0x7FFFFFFF) % 4 for name, value in hashes.items()}


def test_standard_input_and_both_kinds(run, settings):
    events = [json.loads(path.read_text()) for path in sorted(EXAMPLES.glob("*.json"))]
    sent = run("emit", "-", text=json.dumps(events))
    assert sent.exit_code == 0, sent.output
    topics = [line.split()[1].split("[")[0] for line in sent.stdout.splitlines()]
    assert sorted(set(topics)) == sorted([settings.topics.segment_updated, settings.topics.product_registered])
    assert len(topics) == len(events)


def test_nothing_of_a_file_with_a_fault_is_sent(run, settings, tmp_path):
    file = tmp_path / "events.jsonl"
    good = json.dumps(json.loads(COFFEE.read_text()))
    file.write_text(f'{good}\n{{"segment_id": "x y"}}\n')
    refused = run("emit", file)
    assert refused.exit_code == 2
    assert f"{file}, line 2: " in refused.stderr
    assert "1 of 2 events are refused. Nothing was sent." in refused.stderr
    assert refused.stdout == ""
    assert run("watch", settings.topics.segment_updated, "--from-beginning", "--timeout", 0.5).exit_code == 1

    kept = run("emit", file, "--keep-going")
    assert kept.exit_code == 1
    assert kept.stdout.count("segment-coffee") == 1


def test_dry_run_sends_nothing_and_needs_no_broker(run):
    checked = run("emit", COFFEE, "--dry-run", CREATIVES_KAFKA__BOOTSTRAP_SERVERS="embedded")
    assert checked.exit_code == 0
    assert "1 events are good; nothing was sent." in checked.stderr


def test_all_faults_of_an_event_are_told_with_their_line_before_a_broker_is_asked_for(run):
    bad = {"segment_id": "x y", "event_id": "e", "name": "\u2615", "occurred_at": 7}
    refused = run("emit", "-", text="\n" + json.dumps(bad), CREATIVES_KAFKA__BOOTSTRAP_SERVERS="embedded")
    assert refused.exit_code == 2
    told = refused.stderr.splitlines()[:-1]
    assert [line.split(": ")[1] for line in told] == ["occurred_at", "segment_id", "name"]
    assert all(line.startswith("<stdin>, line 2: ") for line in told)
    assert "name: must contain at least one letter" in told[2]
    assert "broker" not in refused.stderr


def test_unknown_fields_are_named(run):
    event = {**json.loads(COFFEE.read_text()), "keyword": 1}
    assert "not known here, ignored: keyword" in run("emit", "-", "--dry-run", text=json.dumps(event)).stderr


def test_a_topic_the_service_does_not_read(run):
    refused = run("emit", COFFEE, "--topic", "orders")
    assert refused.exit_code == 2
    assert "does not read orders" in refused.stderr


def test_without_a_broker_the_user_is_told_how_to_get_one(run):
    refused = run("emit", COFFEE, CREATIVES_KAFKA__BOOTSTRAP_SERVERS="embedded")
    assert refused.exit_code == 2
    assert "creatives services --env-file" in refused.stderr


@pytest.mark.parametrize("arguments", [("emit", COFFEE), ("watch", "t", "--timeout", 9), ("topics",)])
def test_a_broker_that_is_away_is_one_line_and_exit_code_1(run, arguments):
    failed = run(*arguments, CREATIVES_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert failed.exit_code == 1
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: The broker at 127.0.0.1:1 does not answer: Connection refused. Start it, or ")


def test_watching_gives_up_in_time(run, settings):
    late = run("watch", settings.topics.creative_ready, "--count", 2, "--timeout", 0.5)
    assert late.exit_code == 1
    assert "0.5 s passed before 2 events came" in late.stderr


def test_a_topic_that_is_not_there_is_not_made(run):
    for _ in range(2):
        missing = run("watch", "no-such-topic", "--timeout", 5)
        assert missing.exit_code == 1
        assert "There is no topic no-such-topic. Run `creatives topics --create`" in missing.stderr


def test_topics_that_are_right(run, settings):
    shown = run("topics", "--create")
    assert shown.exit_code == 0, shown.output
    assert settings.topics.creative_ready in shown.stdout


def test_topics_that_are_wrong(run):
    shown = run("topics", CREATIVES_TOPICS__PARTITIONS="7")
    assert shown.exit_code == 1
    assert "4 partitions, not 7" in " ".join(shown.stdout.split())
    assert "Set CREATIVES_TOPICS__PARTITIONS to the number they have" in shown.stderr


def seen(topic="creative-ready", value=b"{}", key=b"k", headers=()):
    return Seen(topic, 2, 7, 0, key, value, tuple(headers))


def test_rows_of_every_kind():
    topics = TopicSettings()
    ready = {"segment_id": "s", "prompt": "p", "images": [{"url": "u", "scores": {"clip": 0.25}}]}
    cells = {
        "segment-updated": row("segment_updated", seen(value=b'{"segment_id":"s","name":"n","event_id":"e"}')),
        "product-registered": row("product_registered", seen(value=b'{"product_id":"p","images":[1,2,3]}')),
        "creative-ready": row("creative_ready", seen(value=json.dumps(ready).encode())),
        "product-ready": row("product_ready", seen(value=b'{"product_id":"p","steps":5}')),
        "creative-rejected": row("creative_rejected", seen(value=b'{"product_id":"p","code":"c","reason":"r"}')),
        "x.dead": row("dead", seen(headers=[("dead_topic", b"x"), ("dead_partition", b"1"), ("dead_code", b"c")])),
        "other": row("other", seen(value=b"\xffx")),
    }
    assert cells["segment-updated"][1:] == ("s", "n", "e")
    assert cells["product-registered"][1:] == ("p", "", "", "3", "")
    assert cells["creative-ready"][1:] == ("s", "p", "1", "0.250", "u")
    assert cells["product-ready"][1:] == ("p", "", "5", "")
    assert cells["creative-rejected"][1:] == ("p", "c", "r")
    assert cells["x.dead"][1:] == ("x[1]@?", "c", "")
    assert cells["other"][1:] == ("k", "�x")
    assert row("creative_ready", seen(value=b"no json"))[1:] == ("k", "no json")
    kinds = [kind_of(topic, topics) for topic in cells]
    assert kinds == [
        "segment_updated",
        "product_registered",
        "creative_ready",
        "product_ready",
        "creative_rejected",
        "dead",
        "other",
    ]


def test_json_of_a_dead_letter_holds_all_of_it():
    letter = seen("t.dead", b"\xff\x00", None, [("dead_code", b"invalid_event")])
    assert json.loads(letter.as_json(envelope=True)) == {
        "topic": "t.dead",
        "partition": 2,
        "offset": 7,
        "timestamp": 0,
        "key": None,
        "headers": {"dead_code": "invalid_event"},
        "value": "base64:/wA=",
    }


def test_a_live_table_on_a_terminal(run, settings, monkeypatch):
    from rich.console import Console

    from streams.cli import terminal

    monkeypatch.setattr(terminal, "out", Console(force_terminal=True, width=120, highlight=False))
    run("emit", COFFEE)
    shown = run("watch", settings.topics.segment_updated, "--from-beginning", "--count", 1, "--timeout", 10)
    assert shown.exit_code == 0, shown.output


def test_every_command_teaches_with_an_example():
    for name, command in cli.commands.items():
        text = CliRunner().invoke(cli, [name, "--help"]).output
        assert "Examples:\n  " in text, name
        assert isinstance(command, click.Command)
    assert "creatives demo" in CliRunner().invoke(cli, ["--help"]).output
