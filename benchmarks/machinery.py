"""The processes that benchmarks/throughput.py compares: `python -m benchmarks.machinery bare|stock|memory|minio`.

bare     aiokafka alone: reads a batch, decodes, publishes with an idempotent producer, waits, commits
stock    a plain Faust agent: JSON in, `topic.send` out, default acking
memory   this service with all guarantees, a no-op studio and an object store in the worker's memory
minio    the same with a real MinIO; FAULT_FOLDER/STORE_TIMES records how many seconds each request waited for it
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

STORE_TIMES = "store-times"
COPIED_FIELDS = ("event_id", "segment_id", "name")
T = TypeVar("T")


def topic(name: str) -> str:
    return os.environ[f"CREATIVES_TOPICS__{name}"]


def answer(event: dict[str, Any]) -> dict[str, Any]:
    """Return an answer about as large as a creative-ready event."""
    return {**{name: event[name] for name in COPIED_FIELDS}, "filler": "x" * 1500}


async def run_bare_aiokafka() -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    servers = os.environ["CREATIVES_KAFKA__BOOTSTRAP_SERVERS"]
    consumer = AIOKafkaConsumer(
        topic("SEGMENT_UPDATED"), bootstrap_servers=servers, group_id=os.environ["CREATIVES_KAFKA__GROUP"] + "-render",
        enable_auto_commit=False, auto_offset_reset="earliest",
    )  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True, acks="all")
    await consumer.start()
    await producer.start()
    while True:
        batches = await consumer.getmany(timeout_ms=200, max_records=64)
        events = [json.loads(record.value) for records in batches.values() for record in records]
        if not events:
            continue
        out = topic("CREATIVE_READY")
        sent = [
            await producer.send(out, key=event["segment_id"].encode(), value=json.dumps(answer(event)).encode())
            for event in events
        ]
        await asyncio.gather(*sent)
        await consumer.commit()


def run_stock_agent() -> None:
    import faust

    app = faust.App(
        os.environ["CREATIVES_KAFKA__GROUP"] + "-render",
        broker=f"aiokafka://{os.environ['CREATIVES_KAFKA__BOOTSTRAP_SERVERS']}",
        store="memory://",
        value_serializer="json",
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        datadir=os.environ["FAULT_FOLDER"] + "/stock",
    )
    ready = app.topic(topic("CREATIVE_READY"))

    async def creatives(stream: Any) -> None:
        async for event in stream:
            await ready.send(key=event["segment_id"], value=answer(event))

    app.agent(app.topic(topic("SEGMENT_UPDATED")), name="creatives")(creatives)
    faust.Worker(app, loglevel="warn", redirect_stdouts=False).execute_from_commandline()


def run_service(*, memory: bool) -> None:
    import faust

    from streams import runtime
    from streams.app import create_app
    from streams.logs import configure
    from streams.settings import Settings, StorageSettings
    from streams.store.s3 import MinioStore
    from tests.fakes import MemoryStore

    class BoundedStore(MemoryStore):
        """Keeps only the last 2,000 objects, so that the store does not dominate the worker's memory."""

        def _enter(self, *_: str) -> None:
            while len(self.objects) > 2000:
                self.media_types.pop(next(iter(self.objects)))
                self.objects.pop(next(iter(self.objects)))

    class TimedStore(MinioStore):
        """Writes how long the calls of a request took when it commits its manifest. Expects one request at a time."""

        def __init__(self, settings: StorageSettings) -> None:
            super().__init__(settings)
            self.times = Path(os.environ["FAULT_FOLDER"], STORE_TIMES).open("a", buffering=1)  # noqa: SIM115 - open until the process ends
            self.seconds = 0.0

        def _run(self, call: Callable[[], T]) -> Awaitable[T]:
            start = time.perf_counter()
            answer = asyncio.ensure_future(super()._run(call))
            answer.add_done_callback(lambda _: self.add(time.perf_counter() - start))
            return answer

        def add(self, seconds: float) -> None:
            self.seconds += seconds

        async def put_if_absent(self, key: str, content: bytes, media_type: str) -> bool:
            written = await super().put_if_absent(key, content, media_type)
            self.times.write(f"{self.seconds}\n")
            self.seconds = 0.0
            return written

    settings = Settings()
    configure(settings.log)
    runtime.MinioStore = (lambda storage: BoundedStore(storage.bucket)) if memory else TimedStore  # type: ignore[assignment,misc]
    app = create_app(settings, "benchmarks.noop_studio:serve")
    faust.Worker(app, loglevel="warn", redirect_stdouts=False, override_logging=False).execute_from_commandline()


if __name__ == "__main__":
    match sys.argv[1]:
        case "bare":
            asyncio.run(run_bare_aiokafka())
        case "stock":
            run_stock_agent()
        case kind:
            run_service(memory=kind == "memory")
