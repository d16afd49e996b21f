"""Scenarios 19 to 22: shared and full scratch folders, the release of parked segments, and a slow upload.

The concepts are planted in the store: a worker of role `render` only fetches them.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime

from streams.store.concepts import CurrentConcept, make_current
from streams.store.keys import concept_name, concept_prefix
from streams.store.signed_objects import InvalidObjects, SignedObjects, Signer
from tests.faults.events import segment_event
from tests.faults.fault_proxies import FaultProxies
from tests.faults.invariants import InvariantChecker
from tests.faults.processes import wait_until
from tests.faults.testbed import Testbed

CONCEPT_BYTES = 10_000
DISK_BYTES = 2 * CONCEPT_BYTES + 1  # room for two concepts


async def shared_scratch(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Let two workers share a scratch folder that holds two of 48 concepts, and kill one of them."""
    products = await _plant_concepts(testbed, 48)
    scratch = testbed.folder / "scratch"
    environ = {
        "CREATIVES_TRAINING__WORKDIR": str(scratch),
        "CREATIVES_TRAINING__MAX_CONCEPT_CACHE_BYTES": str(DISK_BYTES),
        "CREATIVES_DEVICE__BATCH": "1",
        "FAKE_DELAY": "0.05",
    }
    first, second = [await testbed.start_worker(name, **environ) for name in ("worker-1", "worker-2")]
    await asyncio.gather(first.wait_until_ready(), second.wait_until_ready())
    await testbed.emit(*_product_segments(testbed.name, products, 192))
    await checker.wait_for_outcomes(60)
    testbed.record_fault("SIGKILL")
    first.kill()
    await checker.wait_for_outcomes(192)
    _expect_all_served(testbed, checker)
    return f"{len(products)} concepts in a folder for 2; {len(checker.dead_letter_reasons)} dead letters"


async def full_scratch_disk(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Fill the scratch disk: plain events are served, readiness names the folder, and nothing is dead-lettered."""
    products = await _plant_concepts(testbed, 8)
    scratch = testbed.folder / "scratch"
    (scratch / "concepts").mkdir(parents=True)
    (scratch / "concepts" / "killed.1.part").write_bytes(b"of a killed worker")
    (scratch / "other").write_bytes(bytes(DISK_BYTES))  # what else fills the disk
    worker = await testbed.start_worker(CREATIVES_TRAINING__WORKDIR=str(scratch), FAULT_DISK_BYTES=str(DISK_BYTES))
    await worker.wait_until_ready()
    plain = [segment_event(f"{testbed.name}-plain-{n}", f"segment-{n % 16}") for n in range(60)]
    testbed.record_fault("disk full")
    await testbed.emit(*_product_segments(testbed.name, products, 32), *plain)
    await wait_until(lambda: all(checker.pictures(str(event["event_id"])) for event in plain), 25)
    problems = (await worker.status())["scratch_problems"]
    checker.expect(any(f"{scratch}" in problem for problem in problems), f"/status names no disk: {problems}")
    (scratch / "other").unlink()
    testbed.record_recovery()
    await checker.wait_for_outcomes(92)
    _expect_all_served(testbed, checker)
    left = [path.name for path in (scratch / "concepts").glob("*.part*")]
    checker.expect(not left, f"partial files left: {left}")
    return f"60 plain events served while it was full; {len(checker.dead_letter_reasons)} dead letters"


async def killed_release(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """SIGKILL the trainer while it releases parked segments: each one is rendered, and none stays parked."""
    renderer = await testbed.start_worker("renderer")
    await renderer.wait_until_ready()
    await testbed.emit(*_product_segments(testbed.name, ["milk"], 60))
    await _wait_until_parked(testbed, 60)
    injections = "publish/kill/12 published/kill/12"
    await testbed.start_worker("trainer", CREATIVES_ROLE="train", FAULT_INJECTIONS=injections)
    await _register(testbed, "milk", "carton of milk")
    await checker.wait_for_outcomes(60)
    killed = testbed.record_injected_faults("SIGKILL")
    checker.expect(killed == 2, f"{killed} of 2 kills during the release")
    await _wait_until_parked(testbed, 0)  # the trainer may still be deleting the last ones
    _expect_all_served(testbed, checker)
    return "60 parked segments; the trainer killed twice during their release"


async def slow_upload(testbed: Testbed, checker: InvariantChecker, short: bool) -> str:
    """Finish jobs while their checkpoints are still on the way to a slow store: no checkpoint stays."""
    jobs = 2
    async with FaultProxies(testbed) as proxies:
        trainer = await testbed.start_worker("trainer", **proxies.environ)
        await trainer.wait_until_ready()
        proxies.store.set(latency=0.12)
        testbed.record_fault("slow uploads", jobs)
        for number in range(jobs):
            await _register(testbed, f"milk-{number}", "carton of checkpoints")
        await checker.wait_for_outcomes(jobs)
        await asyncio.sleep(4)  # an upload that goes on would be done by now
        proxies.store.set()
        testbed.record_recovery()
        await checker.wait_for_zero_lag(60)
        await trainer.kill_all()
    left = await testbed.store.list("checkpoints/")
    checker.expect(not left, f"checkpoints left: {left}")
    return f"{jobs} jobs that ended during the upload of a checkpoint; {len(left)} checkpoints left"


async def _wait_until_parked(testbed: Testbed, count: int) -> None:
    """Wait until the store holds this number of parked segments. Raises TimeoutError."""
    async with asyncio.timeout(60):
        while len(await testbed.store.list("parked/")) != count:  # noqa: ASYNC110 - the store has no event to wait for
            await asyncio.sleep(0.2)


def _product_segments(name: str, products: list[str], count: int) -> list[dict[str, object]]:
    events = [segment_event(f"{name}-{n}", f"segment-{n % 16}") for n in range(count)]
    return [event | {"product_id": products[n % len(products)]} for n, event in enumerate(events)]


def _expect_all_served(testbed: Testbed, checker: InvariantChecker) -> None:
    served = sum(bool(checker.pictures(sent.event_id or "")) for sent in testbed.sent)
    checker.expect(served == len(testbed.sent), f"{served} of {len(testbed.sent)} events have pictures")


async def _plant_concepts(testbed: Testbed, count: int) -> list[str]:
    """Store `count` concepts of the fake studio's weights and make them current. Return their product ids."""
    signed = SignedObjects(testbed.store, Signer.from_settings(testbed.settings.storage), InvalidObjects())
    products = [f"product-{number}" for number in range(count)]
    for product_id in products:
        content = product_id.encode().ljust(CONCEPT_BYTES, b".")
        digest = hashlib.sha256(content).hexdigest()
        key = concept_prefix(product_id, "planted") + concept_name(digest)
        await testbed.store.put(key, content, "application/octet-stream")
        concept = CurrentConcept(
            product_id=product_id,
            request_id="planted",
            occurred_at=datetime.now(UTC),
            offset=0,
            method="dreambooth",
            class_noun="jar of jam",
            placeholder_token="sks",
            key=key,
            sha256=digest,
            weights="",
        )
        await make_current(signed, concept)
    return products


async def _register(testbed: Testbed, product_id: str, class_noun: str) -> None:
    keys = [f"photos/{product_id}/{number}.png" for number in range(3)]
    for key in keys:
        await testbed.store.put(key, key.encode(), "image/png")
    event: dict[str, object] = {
        "event_id": f"{testbed.name}-{product_id}",
        "occurred_at": "2026-11-23T10:00:00Z",
        "product_id": product_id,
        "name": product_id,
        "class_noun": class_noun,
        "images": [testbed.store.uri(key) for key in keys],
    }
    await (testbed.emit if testbed.trains else testbed.register)(event)
