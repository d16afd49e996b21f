"""From segment-updated to creative-ready: a worker process, a broker and a store. The fake device makes real PNGs."""

import asyncio
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import httpx
import jsonschema
import pytest

from streams.store.keys import manifest_key
from tests.faults.bad_events import bad_inputs
from tests.faults.events import segment_event, segment_events
from tests.faults.invariants import InvariantChecker
from tests.faults.processes import WorkerProcess

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "creative-ready.json").read_text())
EXAMPLES = ROOT / "docs" / "examples"


def announced(checker: InvariantChecker, event_id: str) -> list[bytes]:
    return [value for topic, value in checker.copies["event", event_id] if topic.endswith("creative-ready")]


async def assert_served(event: dict) -> None:
    """Expect that the event fits its schema and that every link returns the announced picture."""
    jsonschema.validate(event, SCHEMA, format_checker=jsonschema.FormatChecker())
    async with httpx.AsyncClient(trust_env=False) as client:
        for image in event["images"]:
            answer = await client.get(image["url"])
            assert answer.status_code == 200
            assert hashlib.sha256(answer.content).hexdigest() == image["sha256"]
            assert len(answer.content) == image["bytes"]
            assert answer.headers["content-type"] == image["media_type"]


async def test_an_event_becomes_pictures_and_an_announcement(testbed, checker):
    await testbed.start_worker()
    example = json.loads((EXAMPLES / "coffee-enthusiast.json").read_text())
    await testbed.emit(example)
    await checker.wait_for_outcomes(1)
    value = announced(checker, example["event_id"])[0]
    event = json.loads(value)
    await assert_served(event)
    prefix = f"creatives/{event['segment_id']}/{event['request_id']}/"
    keys = await testbed.store.list("")
    assert manifest_key(prefix) in keys
    assert sorted(keys) == sorted(
        {manifest_key(prefix), *(image["s3_uri"].split("/", 3)[3] for image in event["images"])}
    )
    await checker.wait_for_zero_lag()
    report = await checker.report()
    assert report.passed, report.violations


async def test_the_same_event_twice_gives_one_set_of_objects_and_equal_outcomes(testbed, checker):
    await testbed.start_worker()
    event = segment_event("twice-1", "segment-1")
    await testbed.emit(event)
    await checker.wait_for_outcomes(1)
    keys = await testbed.store.list("")
    await testbed.emit(event)
    await checker.wait_for_zero_lag()
    report = await checker.report()
    values = announced(checker, "twice-1")
    assert len(values) == 2
    assert values[0] == values[1]
    assert await testbed.store.list("") == keys
    assert report.passed, report.violations


async def test_bad_inputs_become_dead_letters_and_their_neighbours_are_served(testbed, checker):
    await testbed.start_worker()
    bad = bad_inputs(testbed.name)
    neighbours = segment_events(testbed.name, len(bad), 4)
    for (key, value, _), neighbour in zip(bad, neighbours, strict=True):
        await testbed.produce((key, value))
        await testbed.emit(neighbour)
    await checker.wait_for_outcomes(2 * len(bad))
    await checker.wait_for_zero_lag()
    for _, value, word in bad:
        sent = next(sent for sent in testbed.sent if sent.value == value)
        found = checker.outcomes(sent)
        assert [content for _, content in found] == [value or b""], "one dead letter with the original bytes"
        assert word in checker.dead_letter_reasons["place", f"{sent.partition}@{sent.offset}"]
    assert all(len(announced(checker, str(event["event_id"]))) == 1 for event in neighbours)
    keys = await testbed.store.list("")
    assert all(key.startswith("creatives/segment-") for key in keys), "no event wrote outside its own keys"


def web_address(worker: WorkerProcess) -> str:
    """Return the web address of the newest process of a worker, from its log."""
    return re.findall(r"serving health, metrics and status +address=(\S+)", worker.log.read_text())[-1]


async def status_of(worker: WorkerProcess) -> dict:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{web_address(worker)}/status")
        return answer.raise_for_status().json()


async def wait_for_assignment(workers: list[WorkerProcess], topic: str, seconds: float = 60) -> None:
    """Wait until each of two workers owns partitions of the topic and each of the four partitions has one owner."""
    async with asyncio.timeout(seconds):
        while True:
            owned = [{place for place in (await status_of(worker))["assigned"] if topic in place} for worker in workers]
            if all(owned) and len(owned[0] | owned[1]) == 4 == sum(map(len, owned)):
                return
            await asyncio.sleep(0.2)


@pytest.mark.services
async def test_two_workers_share_forty_events(make_real):
    async with make_real() as testbed, InvariantChecker(testbed) as checker:
        workers = [
            await testbed.start_worker(f"worker-{number}", FAKE_DELAY="0.3", CREATIVES_DEVICE__BATCH="2")
            for number in (1, 2)
        ]
        for worker in workers:
            await worker.wait_until_ready()
        await wait_for_assignment(workers, testbed.input)
        await testbed.emit(*segment_events(testbed.name, 40))
        await checker.wait_for_outcomes(40)
        await checker.wait_for_zero_lag()
        report = await checker.report()
        assert report.passed, report.violations
        assert report.outcomes == 40
        assert report.repeats == 0
        assert not any(worker.exit_codes for worker in workers)
        served = [sum((await status_of(worker))["outcomes"].values()) for worker in workers]
        assert min(served) > 0, f"both workers served events: {served}"
        assert sum(served) == 40


async def run(*command: str, stdin: bytes = b"") -> bytes:
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(*command, **pipes)
    out, errors = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode == 0, errors.decode()
    return out


@pytest.mark.skipif(not shutil.which("kcat"), reason="kcat is not installed (apt-get install kcat)")
async def test_kcat_and_curl_can_produce_and_consume(testbed):
    """kcat and curl use nothing of this project: the topics and links must be enough for them."""
    await testbed.start_worker()
    servers, topics = testbed.cluster.bootstrap_servers, testbed.settings.topics
    event = json.loads((EXAMPLES / "healthy-vegan.json").read_text())
    line = f"{event['segment_id']}|{json.dumps(event)}\n".encode()
    await run("kcat", "-b", servers, "-P", "-t", topics.segment_updated, "-K", "|", stdin=line)
    out = await run(
        "kcat", "-b", servers, "-C", "-t", topics.creative_ready, "-o", "beginning", "-c", "1", "-u", "-f", "%k|%h|%s"
    )  # fmt: skip
    key, headers, value = out.decode().split("|", 2)
    assert key == event["segment_id"]
    assert "ce_id=" in headers
    assert "traceparent=" in headers
    ready = json.loads(value)
    jsonschema.validate(ready, SCHEMA, format_checker=jsonschema.FormatChecker())
    for image in ready["images"]:
        body = await run("curl", "--noproxy", "*", "-fsS", image["url"])
        assert hashlib.sha256(body).hexdigest() == image["sha256"]


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not (ROOT / "models" / "demo" / "family.json").exists(), reason="models/demo is missing")
async def test_ten_events_at_once_give_the_same_bytes_as_one_at_a_time(make_real):
    """The real studio with the demo family: other briefs in a batch change no byte."""
    studio = {"CREATIVES_STUDIO__STEPS": "2", "CREATIVES_STUDIO__CANDIDATES": "2", "CREATIVES_DEVICE__DEADLINE": "300"}
    events = [segment_event(f"alone-{number}", f"segment-{number}") for number in range(10)]
    pictures = []
    for at_once in (False, True):
        async with make_real(overrides=studio) as testbed, InvariantChecker(testbed) as checker:
            await testbed.start_worker(FAULT_ENTRY="models.serving:serve", OMP_NUM_THREADS=str(os.cpu_count()))
            if at_once:
                await testbed.emit(*events)
            for number, event in enumerate([] if at_once else events, 1):
                await testbed.emit(event)
                await checker.wait_for_outcomes(number, 180)
            await checker.wait_for_outcomes(10, 300)
            report = await checker.report()
            assert report.passed, report.violations
            pictures.append(report.pictures)
    assert len(pictures[0]) == 20
    assert pictures[0] == pictures[1]
