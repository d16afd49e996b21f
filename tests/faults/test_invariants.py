"""The invariant checker finds every violation. Services are the embedded ones; the tests write the outcomes themselves."""

import asyncio
import hashlib
import json
import time
import uuid

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.embedded import EmbeddedServices
from streams.kafka.topics import expected_topics
from tests.faults.events import segment_event
from tests.faults.invariants import InvariantChecker
from tests.faults.processes import wait_until
from tests.faults.testbed import Testbed


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
    with EmbeddedServices({}) as services:
        yield services


@pytest.fixture
async def testbed(services, tmp_path):
    async def make_topics(settings):
        for spec in expected_topics(settings):
            services.broker.create_topic(spec.name, spec.partitions)

    name = f"testbed-{uuid.uuid4().hex[:8]}"
    async with Testbed(Addresses(services), name, tmp_path, make_topics=make_topics) as testbed:
        yield testbed


@pytest.fixture
async def checker(testbed):
    async with InvariantChecker(testbed) as checker:
        yield checker


async def announce(testbed, event_id, *, stored=True, content=b"picture", word="", key=b"k", headers=()):
    """Store and publish the outcome of an event as a worker does."""
    prefix = f"creatives/segment-1/{event_id}/"
    image = {"s3_uri": f"s3://{testbed.name}/{prefix}1.png", "sha256": hashlib.sha256(content).hexdigest()}
    value = {"event_id": event_id, "segment_id": "segment-1", "request_id": event_id, "images": [image], "word": word}
    if stored:
        await testbed.store.put(f"{prefix}1.png", b"picture", "image/png")
        await testbed.store.put(f"{prefix}manifest.json", b"{}", "application/json")
    topic, sent = testbed.settings.topics.creative_ready, json.dumps(value).encode()
    await testbed._producer.send_and_wait(topic, sent, key=key, headers=headers)


async def dead_letter(testbed, *, code="invalid_event", attempts=1, **changed):
    """Write the dead letter of the first input."""
    sent = testbed.sent[0]
    reason = {"partition": sent.partition, "offset": sent.offset, "code": code, "attempts": attempts}
    headers = [(f"dead_{name}", str(value).encode()) for name, value in reason.items()]
    letter = {"key": sent.key, "value": sent.value} | changed
    await testbed._producer.send_and_wait(f"{testbed.input}.dead", headers=headers, **letter)


async def commit(testbed, offset=1):
    """Commit an offset as a worker of the group does."""
    worker = AIOKafkaConsumer(
        bootstrap_servers=testbed.cluster.bootstrap_servers, group_id=testbed.group, enable_auto_commit=False
    )
    await worker.start()
    partition = TopicPartition(testbed.input, testbed.sent[0].partition)
    worker.assign([partition])
    await worker.commit({partition: offset})
    await worker.stop()


async def test_an_identical_repeat_of_an_outcome_is_counted_and_allowed(testbed, checker):
    await testbed.emit(segment_event("one", "segment-1"))
    with pytest.raises(TimeoutError, match="lag 1"):
        await checker.wait_for_zero_lag(1)
    await announce(testbed, "one")
    await announce(testbed, "one")
    await commit(testbed)
    assert await checker.wait_for_zero_lag(10) < 5
    report = await checker.report()
    assert report.passed, report.violations
    assert (report.events, report.outcomes, report.repeats) == (1, 1, 1)
    assert list(report.pictures.values()) == [hashlib.sha256(b"picture").hexdigest()]


async def test_a_commit_without_an_outcome_is_a_loss(testbed, checker):
    await testbed.emit(segment_event("one", "segment-1"))
    await commit(testbed)
    report = await checker.report()
    assert report.lost == 1
    assert "committed without an outcome" in report.violations[0]


async def test_a_commit_before_the_outcome_is_a_violation(testbed, checker):
    await testbed.emit(segment_event("one", "segment-1"))
    await commit(testbed)
    await checker.check_commits()
    await announce(testbed, "one")
    report = await checker.report()
    assert report.lost == 0
    assert not report.passed


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"word": "another"}, "different outcomes"),
        ({"content": b"another picture"}, "does not have the announced sha256"),
        ({"stored": False}, "does not have the announced sha256"),
    ],
)
async def test_a_different_outcome_or_wrong_picture_is_a_violation(testbed, checker, wrong, words):
    await testbed.emit(segment_event("one", "segment-1"))
    if "word" in wrong:
        await announce(testbed, "one")
    await announce(testbed, "one", **wrong)
    report = await checker.report()
    assert not report.passed
    assert any(words in violation for violation in report.violations)


@pytest.mark.parametrize("wrong", [{"key": b"another"}, {"headers": [("ce_id", b"2")]}])
async def test_a_copy_with_another_key_or_other_headers_is_a_violation(testbed, checker, wrong):
    await testbed.emit(segment_event("one", "segment-1"))
    await announce(testbed, "one", headers=[("ce_id", b"1")])
    await announce(testbed, "one", **({"headers": [("ce_id", b"1")]} | wrong))
    report = await checker.report()
    assert report.differing == 1
    assert "different keys or headers" in report.violations[0]


async def test_copies_of_a_dead_letter_may_differ_in_their_attempts_only(testbed, checker):
    await testbed.produce((b"key", b"no event"))
    await dead_letter(testbed)
    await dead_letter(testbed, attempts=2)
    report = await checker.report()
    assert report.passed, report.violations
    assert (report.outcomes, report.repeats) == (1, 1)
    await dead_letter(testbed, code="stage_failed")
    report = await checker.report()
    assert report.differing == 1


@pytest.mark.parametrize(("wrong", "words"), [({"value": b"x"}, "other bytes"), ({"key": b"x"}, "another key")])
async def test_a_dead_letter_without_the_bytes_or_key_of_the_event_is_a_violation(testbed, checker, wrong, words):
    await testbed.produce((b"key", b"no event"))
    await dead_letter(testbed, **wrong)
    report = await checker.report()
    assert any(words in violation for violation in report.violations)


async def test_a_worker_that_exits_by_itself_and_is_started_again_is_a_violation(testbed, checker):
    testbed.program = ("tests.faults.no_such_program",)
    worker = await testbed.start_worker("crashing")
    await wait_until(lambda: len(worker.exit_codes) > 1)
    killed = await testbed.start_worker("killed", supervised=False)
    killed.kill()
    assert await killed.wait_for_exit() < 0
    checker.expect_no_worker_exits()
    assert checker.violations == ["crashing exited by itself with 1"]


async def test_the_time_to_zero_lag_counts_from_the_last_fault_to_the_moment_of_zero_lag(testbed, checker):
    await testbed.emit(segment_event("one", "segment-1"))
    testbed.record_fault("kill", at=time.time() - 60)
    testbed.record_recovery()
    await asyncio.sleep(2)
    await announce(testbed, "one")
    await commit(testbed)
    await asyncio.sleep(3)
    assert 1.5 < await checker.wait_for_zero_lag(10) < 4
    testbed.record_fault("no event waits for it")
    assert await checker.wait_for_zero_lag(10) == 0
    await testbed.emit(segment_event("two", "segment-1"))
    with pytest.raises(TimeoutError, match="lag 1"):
        await checker.wait_for_zero_lag(1)


async def test_new_partitions_are_read_and_old_records_are_not_read_again(testbed, checker):
    await testbed.emit(segment_event("one", "segment-1"))
    await announce(testbed, "one")
    await checker.check_commits()
    await checker.read_partitions(testbed.settings.topics.partitions)
    await announce(testbed, "one")
    assert (await checker.report()).repeats == 1


async def test_objects_without_an_outcome_are_orphans(testbed, checker):
    await testbed.store.put("creatives/segment-1/unknown/1.png", b"picture", "image/png")
    report = await checker.report()
    assert report.orphans == 1
