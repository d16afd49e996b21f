"""A worker process, a broker and a store between an event and its pictures; the device is a fake with real PNGs."""

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
from tests.faults.ground import flow, segment
from tests.faults.invariants import Auditor
from tests.faults.poison import bad_inputs
from tests.faults.processes import Worker

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "creative-ready.json").read_text())
EXAMPLES = ROOT / "docs" / "examples"


def announced(auditor: Auditor, event_id: str) -> list[bytes]:
    return [value for topic, value in auditor.values["event", event_id] if topic.endswith("creative-ready")]


async def assert_served(event: dict) -> None:
    """The event is what the schema says, and every picture can be fetched and is what was announced."""
    jsonschema.validate(event, SCHEMA, format_checker=jsonschema.FormatChecker())
    async with httpx.AsyncClient(trust_env=False) as client:
        for image in event["images"]:
            answer = await client.get(image["url"])
            assert answer.status_code == 200
            assert hashlib.sha256(answer.content).hexdigest() == image["sha256"]
            assert len(answer.content) == image["bytes"]
            assert answer.headers["content-type"] == image["media_type"]


async def test_an_event_becomes_pictures_and_an_announcement(ground, auditor):
    await ground.worker()
    example = json.loads((EXAMPLES / "coffee-enthusiast.json").read_text())
    await ground.emit(example)
    await auditor.until(1)
    value = announced(auditor, example["event_id"])[0]
    event = json.loads(value)
    await assert_served(event)
    prefix = f"creatives/{event['segment_id']}/{event['request_id']}/"
    keys = await ground.store.list("")
    assert manifest_key(prefix) in keys
    assert sorted(keys) == sorted(
        {manifest_key(prefix), *(image["s3_uri"].split("/", 3)[3] for image in event["images"])}
    )
    await auditor.settled()
    report = await auditor.report()
    assert report.passed, report.violations


async def test_the_same_event_twice_is_one_set_and_one_announcement_byte_for_byte(ground, auditor):
    await ground.worker()
    event = segment("twice-1", "segment-1")
    await ground.emit(event)
    await auditor.until(1)
    keys = await ground.store.list("")
    await ground.emit(event)
    await auditor.settled()
    report = await auditor.report()
    values = announced(auditor, "twice-1")
    assert len(values) == 2
    assert values[0] == values[1]
    assert await ground.store.list("") == keys
    assert report.passed, report.violations


async def test_bad_inputs_become_dead_letters_and_neighbours_are_served(ground, auditor):
    await ground.worker()
    bad = bad_inputs(ground.name)
    neighbours = flow(ground.name, len(bad), 4)
    for (key, value, _), neighbour in zip(bad, neighbours, strict=True):
        await ground.produce((key, value))
        await ground.emit(neighbour)
    await auditor.until(2 * len(bad))
    await auditor.settled()
    for _, value, word in bad:
        sent = next(sent for sent in ground.sent if sent.value == value)
        found = auditor.outcomes(sent)
        assert [content for _, content in found] == [value or b""], "one dead letter, with the original bytes"
        assert word in auditor.reasons["place", f"{sent.partition}@{sent.offset}"]
    assert all(len(announced(auditor, str(event["event_id"]))) == 1 for event in neighbours)
    keys = await ground.store.list("")
    assert all(key.startswith("creatives/segment-") for key in keys), "no event reached outside its own keys"


def page_of(worker: Worker) -> str:
    """Return where the newest process of a worker serves its pages, as its log says."""
    return re.findall(r"serving health, metrics and gallery +address=(\S+)", worker.log.read_text())[-1]


async def status_of(worker: Worker) -> dict:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{page_of(worker)}/status")
        return answer.raise_for_status().json()


async def both_have_partitions(workers: list[Worker], topic: str, seconds: float = 60) -> None:
    """Return once each worker owns some partitions of the topic, and together they own all four, each once."""
    async with asyncio.timeout(seconds):
        while True:
            owned = [{place for place in (await status_of(worker))["assigned"] if topic in place} for worker in workers]
            if all(owned) and len(owned[0] | owned[1]) == 4 == sum(map(len, owned)):
                return
            await asyncio.sleep(0.2)


@pytest.mark.services
async def test_two_workers_share_forty_events(make_real):
    async with make_real() as ground, Auditor(ground) as auditor:
        workers = [
            await ground.worker(f"worker-{number}", FAKE_DELAY="0.3", CREATIVES_DEVICE__BATCH="2") for number in (1, 2)
        ]
        for worker in workers:
            await worker.ready()
        await both_have_partitions(workers, ground.input)
        await ground.emit(*flow(ground.name, 40))
        await auditor.until(40)
        await auditor.settled()
        report = await auditor.report()
        assert report.passed, report.violations
        assert report.outcomes == 40
        assert report.repeats == 0
        assert not any(worker.exits for worker in workers)
        made = [sum((await status_of(worker))["outcomes"].values()) for worker in workers]
        assert min(made) > 0, f"both worked: {made}"
        assert sum(made) == 40


async def run(*command: str, stdin: bytes = b"") -> bytes:
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(*command, **pipes)
    out, topic_problem = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode == 0, topic_problem.decode()
    return out


@pytest.mark.skipif(not shutil.which("kcat"), reason="kcat is not installed (apt-get install kcat)")
async def test_a_foreign_client_produces_and_consumes(ground):
    """kcat and curl know nothing of us: what they read must be enough."""
    await ground.worker()
    servers, topics = ground.cluster.bootstrap_servers, ground.settings.topics
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
@pytest.mark.skipif(not (ROOT / "models" / "demo" / "family.json").exists(), reason="the demo family is not here")
async def test_ten_events_at_once_give_the_bytes_of_one_at_a_time(make_real):
    """The real studio with the demo family: neighbours in a batch change nothing."""
    studio = {"CREATIVES_STUDIO__STEPS": "2", "CREATIVES_STUDIO__CANDIDATES": "2", "CREATIVES_DEVICE__DEADLINE": "300"}
    events = [segment(f"alone-{number}", f"segment-{number}") for number in range(10)]
    pictures = []
    for at_once in (False, True):
        async with make_real(overrides=studio) as ground, Auditor(ground) as auditor:
            await ground.worker(FAULT_ENTRY="models.serving:serve", OMP_NUM_THREADS=str(os.cpu_count()))
            if at_once:
                await ground.emit(*events)
            for number, event in enumerate([] if at_once else events, 1):
                await ground.emit(event)
                await auditor.until(number, 180)
            await auditor.until(10, 300)
            report = await auditor.report()
            assert report.passed, report.violations
            pictures.append(report.pictures)
    assert len(pictures[0]) == 20
    assert pictures[0] == pictures[1]
