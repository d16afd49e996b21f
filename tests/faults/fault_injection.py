"""Faults at exact places of a worker, installed by the test worker and configured by the environment.

FAULT_INJECTIONS: `place/action/count ...`, such as `upload/kill/3 published/raise/1`. The faults are injected in this order,
one after the other: each when one process has reached its place `count` times. A fault leaves a mark in FAULT_FOLDER before
it acts, so the next process continues with the next fault.
Places: fetch, device, upload, uploaded, manifest, committed, publish, published, ack, acked, offsets, offsets-done.
FAULT_DISK_BYTES: the size of the disk that `models.local_files` writes to; it is full while its folder holds as much.
Actions: kill (SIGKILL to the worker), raise (RuntimeError), outage (broker or store unreachable), block (the main loop).
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

INJECTIONS = [injection.split("/") for injection in os.environ.get("FAULT_INJECTIONS", "").split()]
FOLDER = Path(os.environ.get("FAULT_FOLDER", "."))
_reached: list[str] = []


def count_injected() -> int:
    """Return how many faults have been injected so far."""
    return sum((FOLDER / f"injected-{number}").exists() for number in range(len(INJECTIONS)))


def reach(place: str) -> None:
    """Inject the next fault if the process has now reached the fault's place often enough."""
    number = count_injected() if INJECTIONS else 0
    if number >= len(INJECTIONS) or INJECTIONS[number][0] != place:
        return
    _reached.append(place)
    if len(_reached) < int(INJECTIONS[number][2]):
        return
    _reached.clear()
    (FOLDER / f"injected-{number}").touch()
    inject(INJECTIONS[number][1], place)


def inject(action: str, place: str) -> None:
    """Kill, block or raise."""
    match action:
        case "kill":
            os.kill(os.getppid() if place == "device" else os.getpid(), signal.SIGKILL)
        case "block":
            time.sleep(1e6)
        case "raise":
            raise RuntimeError(f"injected fault at {place}")
        case "outage":
            from aiokafka.errors import RequestTimedOutError

            from streams.failures import BrokerUnavailable, StoreUnavailable

            if place.startswith("offsets"):
                raise RequestTimedOutError
            if place.startswith("publish"):
                raise BrokerUnavailable(servers="fault injection", detail="injected")
            raise StoreUnavailable(endpoint="fault injection", detail="injected")


def install() -> None:
    """Wrap the methods at the places, if any fault is configured."""
    if size := int(os.environ.get("FAULT_DISK_BYTES", "0")):
        _limit_disk(Path(os.environ["CREATIVES_TRAINING__WORKDIR"]), size)
    if not INJECTIONS:
        return
    from aiokafka import AIOKafkaConsumer

    from streams.kafka.in_flight import InFlightEvents
    from streams.kafka.ledger import Ledger
    from streams.kafka.publisher import Publisher
    from streams.store.s3 import MinioStore

    _wrap(InFlightEvents, "accept", "fetch", None)
    _wrap(MinioStore, "put", "upload", "uploaded")
    _wrap(MinioStore, "put_if_absent", "manifest", "committed")
    _wrap(Publisher, "publish", "publish", "published")
    _wrap(AIOKafkaConsumer, "commit", "offsets", "offsets-done")
    finish = Ledger.finish

    def wrapped_finish(self: Ledger, entry: Any) -> int:
        reach("ack")
        count = finish(self, entry)
        reach("acked")
        return count

    Ledger.finish = wrapped_finish  # type: ignore[method-assign]


def _limit_disk(folder: Path, size: int) -> None:
    """Let writes of the worker to the folder fail while it holds `size` bytes."""
    write = os.write

    def write_if_room(file: int, content: bytes) -> int:
        target = Path(f"/proc/self/fd/{file}").readlink()
        free = size - sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if target.is_relative_to(folder) and free <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content)

    os.write = write_if_room


def _wrap(owner: type, name: str, before: str, after: str | None) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(original)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        reach(before)
        result = await original(*arguments, **named)
        if after:
            reach(after)
        return result

    setattr(owner, name, wrapped)
