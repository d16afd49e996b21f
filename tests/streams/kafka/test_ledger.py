import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.ledger import Ledger, Partition

HERE = Partition("segment-updated", 0)
THERE = Partition("segment-updated", 1)


class Acks(list):
    """The acked offsets, in order."""

    def of(self, offset):
        return lambda: self.append(offset)


async def enter(ledger, acks, offsets, partition=HERE):
    return [await ledger.enter(partition, offset, acks.of(offset)) for offset in offsets]


async def test_only_the_completed_prefix_is_acked_in_order():
    ledger, acks = Ledger(window=10), Acks()
    first, second, third = await enter(ledger, acks, [5, 6, 7])
    assert ledger.finish(third) == 0
    assert ledger.finish(second) == 0
    assert acks == []
    assert ledger.finish(first) == 3
    assert acks == [5, 6, 7]
    assert ledger.unacked() == 0


async def test_partitions_do_not_wait_for_each_other():
    ledger, acks = Ledger(window=10), Acks()
    await enter(ledger, acks, [1])
    (free,) = await enter(ledger, acks, [2], THERE)
    ledger.finish(free)
    assert acks == [2]
    assert ledger.unacked(HERE) == 1
    assert ledger.unacked(THERE) == 0


async def test_a_full_window_makes_the_next_event_wait_until_the_prefix_moves():
    ledger, acks = Ledger(window=2), Acks()
    first, second = await enter(ledger, acks, [0, 1])
    waiting = asyncio.create_task(ledger.enter(HERE, 2, acks.of(2)))
    await asyncio.sleep(0)
    ledger.finish(second)
    await asyncio.sleep(0)
    assert not waiting.done(), "a finished event behind an unfinished one frees no room"
    ledger.finish(first)
    assert not (await waiting).stale
    assert ledger.unacked(HERE) == 1


async def test_a_window_that_fills_again_makes_the_next_event_wait_again():
    ledger, acks = Ledger(window=1), Acks()
    (entry,) = await enter(ledger, acks, [0])
    for offset in (1, 2, 3):
        waiting = asyncio.create_task(ledger.enter(HERE, offset, acks.of(offset)))
        await asyncio.sleep(0)
        assert not waiting.done()
        ledger.finish(entry)
        entry = await asyncio.wait_for(waiting, 1.0)
    assert acks == [0, 1, 2]


async def test_finishing_after_revocation_acks_nothing():
    ledger, acks = Ledger(window=10), Acks()
    (entry,) = await enter(ledger, acks, [3])
    ledger.revoke([HERE])
    assert ledger.finish(entry) == 0
    assert acks == []


async def test_revoking_a_full_partition_returns_a_stale_entry_to_the_waiter():
    ledger, acks = Ledger(window=1), Acks()
    await enter(ledger, acks, [0])
    waiting = asyncio.create_task(ledger.enter(HERE, 1, acks.of(1)))
    await asyncio.sleep(0)
    ledger.revoke([HERE])
    entry = await waiting
    assert entry.stale
    assert ledger.unacked() == 0


async def test_offsets_that_go_back_make_earlier_entries_stale():
    ledger, acks = Ledger(window=10), Acks()
    old = await enter(ledger, acks, [4, 5])
    new = await enter(ledger, acks, [4])
    for entry in old:
        ledger.finish(entry)
    assert acks == []
    ledger.finish(new[0])
    assert acks == [4]


async def test_the_last_offset_again_makes_its_earlier_entry_stale():
    ledger, acks = Ledger(window=10), Acks()
    (entry,) = await enter(ledger, acks, [6])
    (again,) = await enter(ledger, acks, [6])
    assert entry.stale
    assert ledger.finish(entry) == 0
    assert ledger.finish(again) == 1
    assert acks == [6]


async def test_the_ledger_reports_its_oldest_unfinished_event():
    ledger, acks = Ledger(window=10), Acks()
    assert ledger.oldest_entered_at() is None
    first, second = await enter(ledger, acks, [0, 1])
    assert ledger.oldest_entered_at() == first.entered_at
    ledger.finish(first)
    assert ledger.oldest_entered_at() == second.entered_at


@given(st.data())
@pytest.mark.filterwarnings("default")
def test_acks_are_the_contiguous_prefix_in_any_order_of_finishing(data):
    """After every step the acked offsets are exactly the longest finished prefix of each generation."""

    async def run():
        ledger, acks = Ledger(window=1000), Acks()
        generation, finished, next_offset, committed = {}, set(), 0, 0
        for _ in range(data.draw(st.integers(0, 60))):
            step = data.draw(st.sampled_from(["enter", "finish", "revoke"]))
            if step == "enter":
                generation[next_offset] = await ledger.enter(HERE, next_offset, acks.of(next_offset))
                next_offset += 1
            elif step == "finish" and generation:
                offset = data.draw(st.sampled_from(sorted(generation)))
                ledger.finish(generation[offset])
                finished.add(offset)
                while committed in finished:
                    committed += 1
                generation.pop(offset)
            elif step == "revoke":
                stale = list(generation.values())
                ledger.revoke([HERE])
                for entry in stale:
                    assert ledger.finish(entry) == 0
                generation.clear()
                finished.clear()
                next_offset = committed
            assert acks == list(range(committed))

    asyncio.run(run())
