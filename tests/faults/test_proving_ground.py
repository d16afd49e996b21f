"""The proving ground must notice every way of being wrong; services are the embedded ones, no worker runs."""

import asyncio
import contextlib
import hashlib
import json
import time
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.embedded import Embedded
from streams.kafka.topics import expected_topics
from tests.faults import cluster, page, run
from tests.faults.cluster import Cluster
from tests.faults.ground import Ground, segment
from tests.faults.invariants import Auditor, Report
from tests.faults.processes import come_true
from tests.faults.proxy import FaultProxy
from tests.faults.rows import Row


class Addresses:
    def __init__(self, services):
        self.bootstrap_servers = services.bootstrap_servers
        self._environ = {
            "CREATIVES_KAFKA__BOOTSTRAP_SERVERS": services.bootstrap_servers,
            "CREATIVES_STORAGE__ENDPOINT": services.endpoint,
        }

    def environ(self):
        return self._environ


@pytest.fixture(scope="module")
def services():
    with Embedded({}) as services:
        yield services


@pytest.fixture
async def ground(services, tmp_path):
    async def make_topics(settings):
        for spec in expected_topics(settings):
            services.broker.create_topic(spec.name, spec.partitions)

    name = f"ground-{uuid.uuid4().hex[:8]}"
    async with Ground(Addresses(services), name, tmp_path, make_topics=make_topics) as ground:
        yield ground


@pytest.fixture
async def auditor(ground):
    async with Auditor(ground) as auditor:
        yield auditor


async def announce(ground, event_id, *, stored=True, said=b"picture", word="", key=b"k", headers=()):
    """Do by hand what a worker does for an event."""
    prefix = f"creatives/segment-1/{event_id}/"
    image = {"s3_uri": f"s3://{ground.name}/{prefix}1.png", "sha256": hashlib.sha256(said).hexdigest()}
    value = {"event_id": event_id, "segment_id": "segment-1", "request_id": event_id, "images": [image], "word": word}
    if stored:
        await ground.store.put(f"{prefix}1.png", b"picture", "image/png")
        await ground.store.put(f"{prefix}manifest.json", b"{}", "application/json")
    topic, sent = ground.settings.topics.creative_ready, json.dumps(value).encode()
    await ground._producer.send_and_wait(topic, sent, key=key, headers=headers)


async def dead_letter(ground, *, code="invalid_event", attempts=1, **changed):
    """Write the dead letter of the first input by hand."""
    sent = ground.sent[0]
    reason = {"partition": sent.partition, "offset": sent.offset, "code": code, "attempts": attempts}
    headers = [(f"dead_{name}", str(value).encode()) for name, value in reason.items()]
    letter = {"key": sent.key, "value": sent.value} | changed
    await ground._producer.send_and_wait(f"{ground.input}.dead", headers=headers, **letter)


async def commit(ground, offset=1):
    """Commit as a worker of the group would."""
    worker = AIOKafkaConsumer(
        bootstrap_servers=ground.cluster.bootstrap_servers, group_id=ground.group, enable_auto_commit=False
    )
    await worker.start()
    partition = TopicPartition(ground.input, ground.sent[0].partition)
    worker.assign([partition])
    await worker.commit({partition: offset})
    await worker.stop()


async def test_one_event_with_its_outcome_is_fine_and_an_identical_repeat_is_counted(ground, auditor):
    await ground.emit(segment("one", "segment-1"))
    with pytest.raises(TimeoutError, match="lag 1"):
        await auditor.settled(1)
    await announce(ground, "one")
    await announce(ground, "one")
    await commit(ground)
    assert await auditor.settled(10) < 5
    report = await auditor.report()
    assert report.passed, report.violations
    assert (report.events, report.outcomes, report.repeats) == (1, 1, 1)
    assert list(report.pictures.values()) == [hashlib.sha256(b"picture").hexdigest()]


async def test_a_commit_without_an_outcome_is_a_loss(ground, auditor):
    await ground.emit(segment("one", "segment-1"))
    await commit(ground)
    report = await auditor.report()
    assert report.lost == 1
    assert "committed without an outcome" in report.violations[0]


async def test_a_late_outcome_does_not_excuse_an_early_commit(ground, auditor):
    await ground.emit(segment("one", "segment-1"))
    await commit(ground)
    await auditor.look()
    await announce(ground, "one")
    report = await auditor.report()
    assert report.lost == 0
    assert not report.passed


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"word": "another"}, "different outcomes"),
        ({"said": b"another picture"}, "is not what was announced"),
        ({"stored": False}, "is not what was announced"),
    ],
)
async def test_an_outcome_that_differs_or_lies(ground, auditor, wrong, words):
    await ground.emit(segment("one", "segment-1"))
    if "word" in wrong:
        await announce(ground, "one")
    await announce(ground, "one", **wrong)
    report = await auditor.report()
    assert not report.passed
    assert any(words in violation for violation in report.violations)


@pytest.mark.parametrize("wrong", [{"key": b"another"}, {"headers": [("ce_id", b"2")]}])
async def test_a_copy_with_another_key_or_other_headers(ground, auditor, wrong):
    await ground.emit(segment("one", "segment-1"))
    await announce(ground, "one", headers=[("ce_id", b"1")])
    await announce(ground, "one", **({"headers": [("ce_id", b"1")]} | wrong))
    report = await auditor.report()
    assert report.differing == 1
    assert "different keys or headers" in report.violations[0]


async def test_dead_letters_are_copies_too_but_for_what_their_burier_went_through(ground, auditor):
    await ground.produce((b"key", b"no event"))
    await dead_letter(ground)
    await dead_letter(ground, attempts=2)
    report = await auditor.report()
    assert report.passed, report.violations
    assert (report.outcomes, report.repeats) == (1, 1)
    await dead_letter(ground, code="stage_failed")
    report = await auditor.report()
    assert report.differing == 1


@pytest.mark.parametrize(("wrong", "words"), [({"value": b"x"}, "other bytes"), ({"key": b"x"}, "another key")])
async def test_a_dead_letter_that_is_not_the_event(ground, auditor, wrong, words):
    await ground.produce((b"key", b"no event"))
    await dead_letter(ground, **wrong)
    report = await auditor.report()
    assert any(words in violation for violation in report.violations)


async def test_a_worker_that_ends_by_itself_is_noticed_though_it_is_started_again(ground, auditor):
    ground.program = ("tests.faults.no_such_program",)
    worker = await ground.worker("crashing")
    await come_true(lambda: len(worker.exits) > 1)
    killed = await ground.worker("killed", supervised=False)
    killed.kill()
    assert await killed.ended() < 0
    auditor.demand_that_workers_stood()
    assert auditor.violations == ["crashing ended by itself with 1"]


async def test_the_seconds_to_lag_0_count_from_the_last_fault_however_long_a_scenario_looks_on(ground, auditor):
    await ground.emit(segment("one", "segment-1"))
    ground.fault("kill", at=time.time() - 60)
    ground.healed()
    await asyncio.sleep(2)
    await announce(ground, "one")
    await commit(ground)
    await asyncio.sleep(3)
    assert 1.5 < await auditor.settled(10) < 4
    ground.fault("nothing that anybody waited for")
    assert await auditor.settled(10) == 0
    await ground.emit(segment("two", "segment-1"))
    with pytest.raises(TimeoutError, match="lag 1"):
        await auditor.settled(1)


async def test_more_partitions_are_followed_without_reading_the_first_again(ground, auditor):
    await ground.emit(segment("one", "segment-1"))
    await announce(ground, "one")
    await auditor.look()
    await auditor.follow(ground.settings.topics.partitions)
    await announce(ground, "one")
    assert (await auditor.report()).repeats == 1


def row(**changed):
    return Row(**({
        "number": "2", "title": "a kill", "device": "fake", "brokers": 1, "short": True, "faults": {"kill": 1},
        "report": Report(events=3, outcomes=3), "lag_zero": 1.0, "note": "", "date": "2026-11-24 10:00",
    } | changed))  # fmt: skip


def test_no_folder_gives_an_id_that_kafkas_tool_takes_for_an_option(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(cluster, "kafka_jars", lambda: tmp_path)
    monkeypatch.setattr(cluster, "_run", seen.append)
    for number in range(300):  # one id in 64 begins with a dash
        Cluster(tmp_path / str(number), ((1, 2),), 3, ())._format(1)
    options = [[part for part in argv if part.startswith("-")] for argv in seen]
    assert {tuple(part.partition("=")[0] for part in found) for found in options} == {("-cp", "--cluster-id", "-c")}
    assert any(found[1].startswith("--cluster-id=-") for found in options)


def test_the_page_says_when_in_which_form_and_on_how_many_brokers_a_row_was_played(tmp_path):
    row(date="2026-11-24 10:00").keep(tmp_path, "contrast-2-stock")
    row(date="2026-11-24 10:05").keep(tmp_path, "contrast-2-eager")
    row(date="2026-11-25 11:00", brokers=3).keep(tmp_path, "contrast-2-ours")
    cells = page._versus("2", "a kill", tmp_path)
    assert cells[-1] == "2026-11-24 10:00 to 2026-11-24 10:05, short, 1 broker; 2026-11-25 11:00, short, 3 brokers"
    assert "2026-11-24 10:00, 0 s, short" in row().cells()


def test_the_page_says_how_long_the_short_form_took(tmp_path):
    assert page.short_form(tmp_path) == "It was not played here yet."
    (tmp_path / "short").mkdir()
    page.keep_short_form(tmp_path / "short", [row(), row(machine="2 cores")], 570)
    assert page.short_form(tmp_path) == "Its last play, 2026-11-24 10:00 UTC, took 9.5 minutes for 2 rows on 2 cores."


async def test_a_loss_of_ours_in_the_contrast_is_a_failure_and_one_of_the_stock_agent_is_not(monkeypatch, tmp_path):
    async def play(cluster, folder, scenario, *, short, module="worker"):
        return row(number=scenario.number, report=Report(events=3, outcomes=2, lost=1 if module in losing else 0))

    monkeypatch.setattr(run, "play", play)
    losing = {"stock"}
    assert all(one.passed for one in await run.run_contrast(None, tmp_path, tmp_path))
    losing = {"worker"}
    ours = await run.run_contrast(None, tmp_path, tmp_path)
    assert [one.number for one in ours if not one.passed] == ["2c", "3c", "6c", "7c", "12c"]


async def test_objects_without_an_outcome(ground, auditor):
    await ground.store.put("creatives/segment-1/nobodys/1.png", b"picture", "image/png")
    report = await auditor.report()
    assert report.orphans == 1


async def ask(port):
    """Return what an echo behind the proxy answers, None where the connection is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"hello")
        return await asyncio.wait_for(reader.read(200), 0.5) or None
    except ConnectionError:
        return None
    finally:
        writer.transport.abort()


async def test_the_proxy_passes_delays_refuses_hangs_answers_503_and_cuts():
    async def echo(reader, writer):
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(100):
                writer.write(chunk)
        writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        assert await ask(proxy.port) == b"hello"
        proxy.set(latency=0.1)
        start = asyncio.get_running_loop().time()
        assert await ask(proxy.port) == b"hello"
        assert asyncio.get_running_loop().time() - start >= 0.2
        proxy.set(mode="refuse")
        assert await ask(proxy.port) is None
        proxy.set(mode="silent")
        with pytest.raises(TimeoutError):
            await ask(proxy.port)
        proxy.set(mode="unavailable")
        assert (await ask(proxy.port)).startswith(b"HTTP/1.1 503")
        proxy.set(cut_after=2)
        assert await ask(proxy.port) in {None, b"he"}
        assert proxy.faults >= 5
        proxy.set()
        assert await ask(proxy.port) == b"hello"
    await asyncio.sleep(0.05)  # the echo's side notices too
