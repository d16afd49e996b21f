"""Group errors that the patched aiokafka raises."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError, NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchResponse_v3

from streams.kafka.brokers import raise_group_errors


class Coordinator(GroupCoordinator):  # type: ignore[misc]
    """Asks one broker, which gives one answer. lost: whether the coordinator was dropped."""

    def __init__(self, answer: object) -> None:
        self.coordinator_id, self.group_id = 1, "group"
        self.answer = answer
        self.lost = False
        self._client = self

    async def send(self, *_: Any, **__: Any) -> object:
        return self.answer

    def coordinator_dead(self) -> None:
        self.lost = True

    def __del__(self, *_: Any) -> None: ...


@pytest.fixture
def _patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GroupCoordinator, "_send_req", GroupCoordinator._send_req)  # restored at the end
    raise_group_errors()


async def fetch(answer: object) -> Coordinator:
    coordinator = Coordinator(answer)
    found = await coordinator._do_fetch_commit_offsets([TopicPartition("topic", 0)])
    assert {key: value.offset for key, value in found.items()} == {("topic", 0): 7}
    return coordinator


@pytest.mark.usefixtures("_patched")
class TestCommittedOffsets:
    async def test_a_broker_that_is_no_longer_the_coordinator_is_lost(self) -> None:
        coordinator = Coordinator(OffsetFetchResponse_v3(0, [], 16))
        with pytest.raises(NotCoordinatorForGroupError) as caught:
            await coordinator._do_fetch_commit_offsets([TopicPartition("topic", 0)])
        assert caught.value.retriable
        assert coordinator.lost

    async def test_a_coordinator_that_still_loads_the_group_is_kept(self) -> None:
        coordinator = Coordinator(OffsetFetchResponse_v3(0, [], 14))
        with pytest.raises(GroupLoadInProgressError) as caught:
            await coordinator._do_fetch_commit_offsets([TopicPartition("topic", 0)])
        assert caught.value.retriable
        assert not coordinator.lost

    async def test_committed_offsets_are_returned(self) -> None:
        coordinator = await fetch(OffsetFetchResponse_v3(0, [("topic", [(0, 7, "", 0)])], 0))
        assert not coordinator.lost

    async def test_other_requests_are_not_checked(self) -> None:
        answer = OffsetFetchResponse_v3(0, [], 16)
        assert await Coordinator(answer)._send_req(object()) is answer

    async def test_patching_twice_patches_once(self) -> None:
        first = GroupCoordinator._send_req
        raise_group_errors()
        assert GroupCoordinator._send_req is first
