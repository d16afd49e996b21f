"""The same work by a stock Faust agent with default acking and Faust's own producer, for comparison.

Its timeouts are those of the scenario, as short as the worker's, so a run takes minutes. STOCK_MAX_POLL sets
`broker_max_poll_interval` (Faust's default: 1000 s), STOCK_CONCURRENCY the agent's concurrency. STOCK_WAIT_EMPTY=0 sets
`stream_wait_empty=False`, a common choice: with the default a long event blocks every rebalance.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import sys
from typing import Any

import faust
from minio import Minio

from tests.faults import fault_injection
from tests.faults.fake_studio import DELAY, FOLDER, SLOW

environ = os.environ
topics = {name: environ[f"CREATIVES_TOPICS__{name.upper()}"] for name in ("segment_updated", "creative_ready")}
bucket = environ["CREATIVES_STORAGE__BUCKET"]
minio = Minio(
    environ["CREATIVES_STORAGE__ENDPOINT"].removeprefix("http://"),
    environ["CREATIVES_STORAGE__ACCESS_KEY"],
    environ["CREATIVES_STORAGE__SECRET_KEY"],
    secure=False,
)
app = faust.App(
    environ["CREATIVES_KAFKA__GROUP"] + "-render",
    broker=";".join(f"aiokafka://{server}" for server in environ["CREATIVES_KAFKA__BOOTSTRAP_SERVERS"].split(",")),
    store="memory://",
    value_serializer="json",
    broker_session_timeout=float(environ["CREATIVES_KAFKA__SESSION_TIMEOUT"]),
    broker_heartbeat_interval=float(environ["CREATIVES_KAFKA__HEARTBEAT_INTERVAL"]),
    broker_request_timeout=float(environ["CREATIVES_KAFKA__REQUEST_TIMEOUT"]),
    broker_commit_interval=float(environ["CREATIVES_KAFKA__COMMIT_INTERVAL"]),
    broker_max_poll_interval=float(environ.get("STOCK_MAX_POLL", "1000")),
    stream_wait_empty=environ.get("STOCK_WAIT_EMPTY", "1") == "1",
    consumer_auto_offset_reset="earliest",
    topic_allow_declare=False,
    topic_disable_leader=True,
    web_enabled=False,
    worker_redirect_stdouts=False,
    datadir=environ["FAULT_FOLDER"] + "/stock",
)
segments = app.topic(topics["segment_updated"])
ready = app.topic(topics["creative_ready"])


@app.agent(segments, concurrency=int(environ.get("STOCK_CONCURRENCY", "1")))
async def creatives(stream: Any) -> None:
    async for event in stream:
        fault_injection.reach("fetch")
        picture = await render(event)
        prefix = f"creatives/{event['segment_id']}/{event['event_id']}/"
        fault_injection.reach("upload")
        await asyncio.to_thread(put, f"{prefix}1.png", picture)
        fault_injection.reach("manifest")
        await asyncio.to_thread(put, f"{prefix}manifest.json", b"{}")
        fault_injection.reach("publish")
        image = {"s3_uri": f"s3://{bucket}/{prefix}1.png", "sha256": hashlib.sha256(picture).hexdigest()}
        names = {name: event[name] for name in ("event_id", "segment_id")}
        await ready.send(key=event["segment_id"], value={**names, "request_id": event["event_id"], "images": [image]})


@app.task
async def log_ready() -> None:
    sys.stderr.write("[stock] ready \n")


async def render(event: dict[str, Any]) -> bytes:
    """Wait as long as the fake device works, without blocking the loop."""
    words = event["name"].split()
    if "raising" in words and _first(event["event_id"], "once" in words):
        raise ValueError("injected")
    await asyncio.sleep(SLOW if "slowly" in words else DELAY)
    return hashlib.sha256(event["event_id"].encode()).digest()


def _first(event_id: str, once: bool) -> bool:
    if not once:
        return True
    try:
        (FOLDER / f"raising-{event_id}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def put(key: str, content: bytes) -> None:
    minio.put_object(bucket, key, io.BytesIO(content), len(content))


if __name__ == "__main__":
    faust.Worker(app, loglevel="warn", redirect_stdouts=False).execute_from_commandline()
