import asyncio
import json
import time
from datetime import datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from rich.console import Console

from streams.cli import terminal
from tests.raw_batches import CODECS, batch, send_raw

ALL = ("--from-beginning", "--until-end")
COFFEE = Path(__file__).parents[3] / "docs" / "examples" / "coffee-enthusiast.json"


def send(settings, topic, *values, partition=0, timestamp=None):
    async def sending():
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers)
        await producer.start()
        for value in values:
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            await producer.send_and_wait(topic, content, partition=partition, timestamp_ms=timestamp)
        await producer.stop()

    asyncio.run(sending())


def test_an_emitted_event_can_be_watched(run, settings):
    topic = settings.topics.segment_updated
    sent = run("emit", COFFEE)
    assert sent.exit_code == 0, sent.output
    assert sent.stdout.startswith(f"segment-coffee-enthusiast-2026-11-23 {topic}[")
    seen = run("watch", topic, "--from-beginning", "--count", 1, "--timeout", 10, "--json")
    assert seen.exit_code == 0, seen.output
    event = json.loads(seen.stdout)
    assert event.pop("_kafka")["topic"] == topic
    assert event == json.loads(COFFEE.read_text())


def test_watch_times_out(run, settings):
    late = run("watch", settings.topics.creative_ready, "--count", 2, "--timeout", 0.5)
    assert late.exit_code == 1
    assert "Timed out after 0.5 s, before 2 events arrived" in late.stderr


def test_a_missing_topic_is_not_created(run):
    for _ in range(2):
        missing = run("watch", "no-such-topic", "--timeout", 5)
        assert missing.exit_code == 1
        assert "There is no topic no-such-topic. Run `creatives topics --create`" in missing.stderr


def test_the_usual_form_on_a_terminal_is_one_line_with_a_link(run, settings, monkeypatch):
    monkeypatch.setattr(terminal, "console", Console(force_terminal=True, width=100, highlight=False))
    signed = "http://store/creatives/1.png?" + "X-Amz-Signature=" + "0" * 400
    ready = {"segment_id": "coffee", "prompt": "a cup of coffee " * 20, "images": [{"url": signed}]}
    topic = settings.topics.creative_ready
    send(settings, topic, ready)
    plain = run("watch", topic, *ALL)
    assert plain.exit_code == 0, plain.output
    assert len(plain.stdout.splitlines()) == 2, "the header and one line"
    assert f";{signed}\x1b\\" in plain.stdout, "a link that no line break cuts"
    with_url = run("watch", topic, "--urls", *ALL)
    assert with_url.stdout.splitlines()[-1] == signed
    monkeypatch.setattr(terminal, "console", Console(force_terminal=True, color_system=None, width=100))
    assert run("watch", topic, *ALL).stdout.splitlines()[-1] == signed, "a terminal without links gets the URL"


def test_watching_stops_at_the_end(run, settings):
    topic = settings.topics.segment_updated
    empty = run("watch", topic, *ALL, "--timeout", 20)
    assert (empty.exit_code, empty.stdout) == (0, ""), empty.output
    send(settings, topic, {"segment_id": "a"}, {"segment_id": "b"}, {"segment_id": "c"})
    seen = run("watch", topic, *ALL, "--timeout", 20)
    assert seen.exit_code == 0, seen.output
    assert [line.split("\t")[1] for line in seen.stdout.splitlines()] == ["a", "b", "c"]


def test_a_partition_and_an_offset_choose_the_first_event(run, settings):
    topic = settings.topics.segment_updated
    send(settings, topic, *({"segment_id": name} for name in "abc"))
    send(settings, topic, {"segment_id": "elsewhere"}, partition=1)
    from_offset = run("watch", topic, "--partition", 0, "--offset", 1, "--until-end", "--json")
    places = [json.loads(line)["_kafka"] for line in from_offset.stdout.splitlines()]
    assert [(place["partition"], place["offset"]) for place in places] == [(0, 1), (0, 2)]
    assert abs(datetime.fromisoformat(places[0]["time"]).timestamp() - time.time()) < 60
    beyond = run("watch", topic, "--partition", 0, "--offset", 4)
    assert beyond.exit_code == 2
    assert f"{topic}[0] holds offsets 0 to 2. There is no offset 4." in beyond.stderr
    missing = run("watch", topic, "--partition", 4)
    assert missing.exit_code == 2
    assert "There is no partition 4. The topic has 4, counted from 0." in missing.stderr


def test_since_skips_older_events(run, settings):
    topic, now = settings.topics.segment_updated, int(time.time() * 1000)
    send(settings, topic, {"segment_id": "old"}, timestamp=now - 7200_000)
    send(settings, topic, {"segment_id": "new"}, timestamp=now - 60_000)
    seen = run("watch", topic, "--since", "1h", "--until-end", CREATIVES_KAFKA__EMBEDDED="true")
    assert [line.split("\t")[1] for line in seen.stdout.splitlines()] == ["new"], seen.output


@pytest.mark.parametrize("timestamp", [2**62, 2**53])
def test_a_time_that_no_calendar_has(run, settings, timestamp):
    topic = settings.topics.segment_updated
    send(settings, topic, {"segment_id": "a"}, timestamp=timestamp)
    rows, lines = run("watch", topic, *ALL), run("watch", topic, *ALL, "--json")
    assert (rows.exit_code, rows.stdout) == (0, "?\ta\t\t\n"), rows.output
    assert json.loads(lines.stdout)["_kafka"] == {
        "topic": topic, "partition": 0, "offset": 0, "timestamp": timestamp, "time": None
    }  # fmt: skip


@pytest.mark.parametrize("since", [(), ("--since", "1h")])
def test_a_record_that_cannot_be_read_is_shown(run, settings, since):
    """It has no timestamp."""
    topic = settings.topics.segment_updated
    bomb = batch([b"\0" * 2**24], codec=CODECS["gzip"])
    asyncio.run(send_raw(settings.kafka.bootstrap_servers, topic, bomb, batch([b"{}"])))
    arguments = ("--until-end", *(since or ("--from-beginning",)))
    seen = run("watch", topic, *arguments, "--json", CREATIVES_KAFKA__EMBEDDED="true")
    assert seen.exit_code == 0, seen.output
    unreadable, *_ = (json.loads(line) for line in seen.stdout.splitlines())
    assert (unreadable["timestamp"], unreadable["time"]) == (-1, None)
    assert "inflates to more than" in seen.stderr


@pytest.mark.parametrize("on_terminal", [True, False])
@pytest.mark.parametrize("field", ["segment_id", "prompt", "images", "nonsense"])
def test_no_event_controls_the_terminal(run, settings, monkeypatch, on_terminal, field):
    monkeypatch.setattr(terminal, "console", Console(force_terminal=on_terminal, color_system=None, width=200))
    hostile = "\x1b]0;evil\x07\x1b[2J\u202eevil\x9b\r\nforged\tline \ud800 [bold]x[/nope]"
    value = [{"url": f"http://store/{hostile}", "scores": {}}] if field == "images" else hostile
    topic = settings.topics.creative_ready
    send(settings, topic, {"segment_id": "a", field: value})
    send(settings, topic, hostile.encode("utf-8", "surrogatepass"))
    for arguments in ([], ["--json"]):
        seen = run("watch", topic, *ALL, *arguments)
        assert seen.exit_code == 0, seen.output
        assert all(line.replace("\t", "").isprintable() for line in seen.stdout.split("\n")), seen.stdout
        assert len(seen.stdout.splitlines()) == 2 + (on_terminal and not arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from-beginning", "--since", "1h"], "exclude each other"),
        (["--offset", "3"], "--offset needs --partition"),
        (["--until-end"], "--until-end needs"),
        (["--since", "yesterday"], "neither a duration"),
    ],
)
def test_options_that_contradict_each_other_are_usage_errors(run, arguments, message):
    refused = run("watch", "t", *arguments)
    assert refused.exit_code == 2
    assert message in refused.stderr
