"""Batches that ended a worker once: a whole worker serves what it can and dead-letters the rest."""

import asyncio
import json

import pytest

from tests.faults.events import SentRecord, segment_event
from tests.raw_batches import CODECS, batch, damaged_checksum, send_raw, with_checksum


def event(name):
    return json.dumps(segment_event(name, f"segment-{name}")).encode()


async def send(testbed, *batches):
    """Send batches to partition 0 and note their offsets. batches: the bytes of each, and how many records it has."""
    await send_raw(testbed.cluster.bootstrap_servers, testbed.input, *(raw for raw, _ in batches))
    offsets = range(sum(count for _, count in batches))
    testbed.sent += [SentRecord(testbed.input, 0, offset, None, b"k", b"") for offset in offsets]


async def wait_until_committed(testbed, checker, seconds=90):
    """Wait until the group has committed everything: nothing blocks the partition."""
    async with asyncio.timeout(seconds):
        while (await testbed.committed_offsets()).get(0) != len(testbed.sent):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    await checker.check_commits()


async def test_emitters_may_compress_and_name_headers_as_they_like(testbed, checker):
    await testbed.start_worker()
    names = [f"{testbed.name}-{codec}" for codec in CODECS]
    latin = with_checksum(
        batch([event(f"{testbed.name}-latin")], headers=[("zrodlo", b"crm")]).replace(b"zrodlo", b"\xbcr\xf3d\xb3o")
    )
    batches = [batch([event(name)], codec=codec) for name, codec in zip(names, CODECS.values(), strict=True)]
    await send(testbed, (latin, 1), *((raw, 1) for raw in batches))
    await wait_until_committed(testbed, checker)
    for name in [*names, f"{testbed.name}-latin"]:
        assert [topic for topic, _ in checker.copies["event", name]] == [testbed.output]


async def test_a_bomb_is_dead_lettered_and_its_neighbours_are_served(testbed, checker):
    worker = await testbed.start_worker()
    bomb = batch([b"\0" * 2**26], codec=CODECS["gzip"])
    before, after = (batch([event(f"{testbed.name}-{place}")]) for place in ("before", "after"))
    await send(testbed, (before, 1), (bomb, 1), (after, 1))
    await wait_until_committed(testbed, checker)
    assert "inflates to more than" in checker.dead_letter_reasons["place", "0@1"]
    assert not worker.exit_codes


@pytest.mark.parametrize("make_testbed", ["embedded"], indirect=True)
async def test_a_damaged_batch_is_one_dead_letter_for_all_its_offsets(testbed, checker):
    """A real broker refuses such a batch; a damaged disk does not."""
    worker = await testbed.start_worker()
    damaged = damaged_checksum(batch([b"one", b"two", b"three"]))
    after = batch([event(f"{testbed.name}-after")])
    await send(testbed, (damaged, 3), (after, 1))
    await wait_until_committed(testbed, checker)
    assert [topic for topic, _ in checker.copies["event", f"{testbed.name}-after"]] == [testbed.output]
    assert checker.dead_letter_reasons["place", "0@2"].startswith("unreadable_record: offsets 0 to 2 cannot be read")
    assert not worker.exit_codes
