"""The proving ground must notice every way of being wrong; services are the embedded ones, no worker runs."""

import asyncio
import contextlib
import hashlib
import json
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.embedded import Embedded
from streams.topics import expected
from tests.faults.ground import Ground, segment
from tests.faults.invariants import Auditor
from tests.faults.proxy import FaultProxy


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
        for spec in expected(settings):
            services.broker.create_topic(spec.name, spec.partitions)

    name = f"ground-{uuid.uuid4().hex[:8]}"
    async with Ground(Addresses(services), name, tmp_path, make_topics=make_topics) as ground:
        yield ground


@pytest.fixture
async def auditor(ground):
    async with Auditor(ground) as auditor:
        yield auditor


async def announce(ground, event_id, *, stored=True, said=b"picture", word=""):
    """Do by hand what a worker does for an event."""
    prefix = f"creatives/segment-1/{event_id}/"
    image = {"s3_uri": f"s3://{ground.name}/{prefix}1.png", "sha256": hashlib.sha256(said).hexdigest()}
    value = {"event_id": event_id, "segment_id": "segment-1", "request_id": event_id, "images": [image], "word": word}
    if stored:
        await ground.store.put(f"{prefix}1.png", b"picture", "image/png")
        await ground.store.put(f"{prefix}manifest.json", b"{}", "application/json")
    await ground._producer.send_and_wait(ground.settings.topics.creative_ready, json.dumps(value).encode(), key=b"k")


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
    assert await ground.lag() == 1
    await announce(ground, "one")
    await announce(ground, "one")
    await commit(ground)
    await ground.settled(10)
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
