"""Faults at exact places of a worker: the test-only worker installs them, the environment says which.

FAULT_TRAPS: `place/action/count ...`, such as `upload/kill/3 published/raise/1`. One trap is armed at a time, in this order;
it springs at the count-th passing of its place within one process and leaves a mark in FAULT_FOLDER, so that the next
process goes on with the next trap.
Places: fetch, device, upload, uploaded, manifest, committed, publish, published, ack, acked, offsets, offsets-done.
Actions: kill (SIGKILL to the worker), raise (RuntimeError), outage (nobody home), block (the main loop stands still).
"""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRAPS = [trap.split("/") for trap in os.environ.get("FAULT_TRAPS", "").split()]
FOLDER = Path(os.environ.get("FAULT_FOLDER", "."))
_passed: list[str] = []


def sprung() -> int:
    """Return how many traps have sprung so far."""
    return sum((FOLDER / f"trap-{number}").exists() for number in range(len(TRAPS)))


def hit(place: str) -> None:
    """Say that the process passes `place`; what is armed there may spring."""
    number = sprung() if TRAPS else 0
    if number >= len(TRAPS) or TRAPS[number][0] != place:
        return
    _passed.append(place)
    if len(_passed) < int(TRAPS[number][2]):
        return
    _passed.clear()
    (FOLDER / f"trap-{number}").touch()
    act(TRAPS[number][1], place)


def act(action: str, place: str) -> None:
    match action:
        case "kill":
            os.kill(os.getppid() if place == "device" else os.getpid(), signal.SIGKILL)
        case "block":
            time.sleep(1e6)
        case "raise":
            raise RuntimeError(f"a fault at {place}, on demand")
        case "outage":
            from aiokafka.errors import RequestTimedOutError

            from streams.failures import BrokerUnavailable, StoreUnavailable

            if place.startswith("offsets"):
                raise RequestTimedOutError
            if place.startswith("publish"):
                raise BrokerUnavailable(servers="proving ground", detail="on demand")
            raise StoreUnavailable(endpoint="proving ground", detail="on demand")


def install() -> None:
    """Wrap the methods that are the places of a trap."""
    if not TRAPS:
        return
    from aiokafka import AIOKafkaConsumer

    from streams.kafka.in_flight import InFlightEvents
    from streams.kafka.ledger import Ledger
    from streams.kafka.publisher import Publisher
    from streams.store.s3 import MinioStore

    _watch(InFlightEvents, "accept", "fetch", None)
    _watch(MinioStore, "put", "upload", "uploaded")
    _watch(MinioStore, "put_if_absent", "manifest", "committed")
    _watch(Publisher, "publish", "publish", "published")
    _watch(AIOKafkaConsumer, "commit", "offsets", "offsets-done")
    finish = Ledger.finish

    def finished(self: Ledger, entry: Any) -> int:
        hit("ack")
        count = finish(self, entry)
        hit("acked")
        return count

    Ledger.finish = finished  # type: ignore[method-assign]


def _watch(owner: type, name: str, before: str, after: str | None) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(original)
    async def watched(*arguments: Any, **named: Any) -> Any:
        hit(before)
        result = await original(*arguments, **named)
        if after:
            hit(after)
        return result

    setattr(owner, name, watched)
