"""The ledger against a model of Kafka: in any order, it acks only the completed prefix of an owned partition."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from streams.kafka.ledger import Ledger, LedgerEntry, Partition

WINDOW = 4
PARTITIONS = [Partition("segment-updated", 0), Partition("segment-updated", 1)]


class LedgerAgainstKafka(RuleBasedStateMachine):
    """The model of Kafka: per partition the next offset to deliver, the acked offsets, the present owner's entries."""

    entries = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.ledger = Ledger(WINDOW)
        self.next = dict.fromkeys(PARTITIONS, 0)
        self.acked = {partition: [] for partition in PARTITIONS}  # of all generations, in order of acking
        self.finished = {partition: set() for partition in PARTITIONS}
        self.owned = {partition: [] for partition in PARTITIONS}  # this generation's entries, oldest first

    def teardown(self) -> None:
        self.loop.close()

    def committed(self, partition: Partition) -> int:
        return max(self.acked[partition], default=-1) + 1

    @rule(target=entries, partition=st.sampled_from(PARTITIONS), gap=st.integers(0, 2))
    def deliver(self, partition: Partition, gap: int) -> LedgerEntry | None:
        """Compacted topics and transactions leave gaps between offsets."""
        if self.ledger.unacked(partition) >= WINDOW:
            return None
        offset = self.next[partition] + gap
        self.next[partition] = offset + 1
        entry = self.loop.run_until_complete(
            self.ledger.enter(partition, offset, lambda: self.acked[partition].append(offset))
        )
        assert not entry.stale
        self.owned[partition].append(entry)
        return entry

    @rule(entry=entries)
    def finish(self, entry: LedgerEntry | None) -> None:
        if entry is None or entry.done:
            return
        before = len(self.acked[entry.partition])
        if not entry.stale:
            self.finished[entry.partition].add(entry.offset)
        count = self.ledger.finish(entry)
        assert len(self.acked[entry.partition]) - before == count
        if entry.stale:
            assert count == 0

    @rule(partitions=st.sets(st.sampled_from(PARTITIONS), min_size=1))
    def revoke_and_reassign(self, partitions: set[Partition]) -> None:
        self.ledger.revoke(partitions)
        for partition in partitions:
            assert all(entry.stale for entry in self.owned[partition] if entry.offset >= self.committed(partition))
            self._rewind(partition)

    @rule(partition=st.sampled_from(PARTITIONS))
    def reassign_without_revoking(self, partition: Partition) -> None:
        """A lost generation may come back without a revocation: the same offsets arrive again.

        The first of them makes the earlier entries stale. Events that finish before it arrives are acked correctly, by
        the same owner.
        """
        if 0 < self.ledger.unacked(partition) < WINDOW:
            stale = [entry for entry in self.owned[partition] if not entry.done]
            self._rewind(partition)
            self.deliver(partition=partition, gap=0)
            assert all(entry.stale for entry in stale)

    def _rewind(self, partition: Partition) -> None:
        self.next[partition] = self.committed(partition)
        self.owned[partition] = []

    @invariant()
    def acks_ascend_within_a_generation(self) -> None:
        for partition in PARTITIONS:
            acked = self.acked[partition]
            assert acked == sorted(set(acked)), "acked twice or out of order"

    @invariant()
    def no_unfinished_event_is_passed(self) -> None:
        for partition in PARTITIONS:
            assert set(self.acked[partition]) <= self.finished[partition]
            for entry in self.owned[partition]:
                if not entry.done:
                    assert entry.offset >= self.committed(partition)

    @invariant()
    def the_window_is_never_exceeded(self) -> None:
        assert all(self.ledger.unacked(partition) <= WINDOW for partition in PARTITIONS)


LedgerAgainstKafka.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLedger = LedgerAgainstKafka.TestCase


async def test_a_full_window_makes_the_next_event_wait_for_the_head() -> None:
    ledger, partition, acked = Ledger(2), PARTITIONS[0], []
    first, second = [await ledger.enter(partition, offset, lambda: acked.append(1)) for offset in (0, 1)]
    waiting = asyncio.create_task(ledger.enter(partition, 2, lambda: acked.append(1)))
    ledger.finish(second)
    await asyncio.sleep(0)
    assert not waiting.done()
    ledger.finish(first)
    assert not (await waiting).stale
    assert len(acked) == 2


async def test_revoking_wakes_an_event_that_waits_for_room() -> None:
    ledger, partition = Ledger(1), PARTITIONS[0]
    await ledger.enter(partition, 0, lambda: None)
    waiting = asyncio.create_task(ledger.enter(partition, 1, lambda: None))
    await asyncio.sleep(0)
    ledger.revoke([partition])
    assert (await waiting).stale
    assert ledger.unacked() == 0
    assert ledger.oldest_entered_at() is None
