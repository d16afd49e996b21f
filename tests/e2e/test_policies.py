"""The published policies, on a real MinIO and a real Kafka that check them: each role can do its work and no more."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider
from minio.error import S3Error

from scripts.kafka_acls import apply, rights, roles
from streams.kafka import topics
from streams.kafka.brokers import client_options
from streams.ops.checks import BROKER, STORE, run_check
from streams.settings import Settings
from streams.store.keys import current_concept_key
from streams.store.s3 import MinioStore
from tests.e2e.secured_broker import ADMIN, SecuredBroker
from tests.faults.cluster import SIGNING_KEY
from tests.faults.events import segment_event
from tests.faults.processes import WorkerProcess
from tests.faults.testbed import retry
from tests.faults.worker_settings import SHORT_TIMEOUTS, without_project_variables

POLICIES = Path(__file__).parents[2] / "deploy" / "policies" / "minio"
CONNECTED = {"render-worker": "render", "train-worker": "train"}
USERS = ("emitter", "render-worker", "train-worker", "worker", "consumer", "operator")

pytestmark = pytest.mark.services


class Bucket:
    """A bucket with a user for each policy."""

    def __init__(self, endpoint: str, access: str, secret: str) -> None:
        self.endpoint, self.name = endpoint, f"policies-{uuid.uuid4().hex[:8]}"
        self.root = self._client(access, secret)
        self.root.make_bucket(self.name)
        address = urlsplit(endpoint)
        admin = MinioAdmin(endpoint=address.netloc, credentials=StaticProvider(access, secret), secure=False)
        for path in POLICIES.glob("*.json"):
            policy = json.loads(path.read_text().replace("arn:aws:s3:::creatives", f"arn:aws:s3:::{self.name}"))
            admin.policy_add(f"{self.name}-{path.stem}", policy=policy)
            admin.user_add(f"{self.name}-{path.stem}", "a-long-password")
            admin.policy_set(f"{self.name}-{path.stem}", user=f"{self.name}-{path.stem}")

    def _client(self, access: str, secret: str) -> Minio:
        return Minio(urlsplit(self.endpoint).netloc, access, secret, secure=False, region="us-east-1")

    def user(self, role: str) -> Minio:
        return self._client(f"{self.name}-{role}", "a-long-password")

    def environ(self, role: str) -> dict[str, str]:
        return {
            "CREATIVES_STORAGE__ENDPOINT": self.endpoint,
            "CREATIVES_STORAGE__BUCKET": self.name,
            "CREATIVES_STORAGE__ACCESS_KEY": f"{self.name}-{role}",
            "CREATIVES_STORAGE__SECRET_KEY": "a-long-password",
        }

    def settings(self, role: str) -> Settings:
        names = ("endpoint", "bucket", "access_key", "secret_key")
        return Settings.model_validate({"storage": dict(zip(names, self.environ(role).values(), strict=True))})

    def outcome(self, role: str, operation: str, key: str) -> str:
        """Return the code of the store's answer to one operation, `ok` if it works."""
        user = self.user(role)
        calls: dict[str, Callable[[], Any]] = {
            "put": lambda: user.put_object(self.name, key, io.BytesIO(b"x"), 1),
            "get": lambda: user.get_object(self.name, key).read(),
            "delete": lambda: user.remove_object(self.name, key),
            "list": lambda: list(user.list_objects(self.name, key)),
        }
        try:
            calls[operation]()
        except S3Error as error:
            return str(error.code)
        return "ok"


@pytest.fixture(scope="module")
def bucket(real_services: Any) -> Bucket:
    access, secret = (real_services.more[f"CREATIVES_STORAGE__{name}_KEY"] for name in ("ACCESS", "SECRET"))
    made = Bucket(real_services.endpoint, access, secret)
    for prefix in ("creatives", "concepts", "checkpoints", "parked", "photos"):
        made.root.put_object(made.name, f"{prefix}/a/b", io.BytesIO(b"x"), 1)
    return made


PREFIXES = ("creatives", "concepts", "checkpoints", "parked", "photos", "doctor")
ALLOWED = {
    "photo-writer": {"put photos"},
    "reader": {"get creatives"},
    "render-worker": {"get creatives", "put creatives", "get concepts", "put parked", "delete parked"},
    "train-worker": {"get concepts", "put concepts", "get checkpoints", "put checkpoints", "delete checkpoints"}
    | {"get parked", "delete parked", "get photos"},
    "operator": {f"delete {prefix}" for prefix in PREFIXES} | {"get creatives", "get concepts", "get parked"},
}
WITH_DOCTOR = {"render-worker", "train-worker", "operator"}


@pytest.mark.parametrize("role", ALLOWED)
def test_a_role_reaches_its_own_prefixes_only(bucket: Bucket, role: str) -> None:
    doctor = {f"{operation} doctor" for operation in ("get", "put", "delete")} if role in WITH_DOCTOR else set()
    allowed = ALLOWED[role] | doctor
    answers = {}
    for prefix in PREFIXES:
        for operation in ("put", "get", "delete"):
            answers[f"{operation} {prefix}"] = bucket.outcome(role, operation, f"{prefix}/a/{role}")
            bucket.root.remove_object(bucket.name, f"{prefix}/a/{role}")
            bucket.root.put_object(bucket.name, f"{prefix}/a/b", io.BytesIO(b"x"), 1)
    refused = {name for name, answer in answers.items() if answer == "AccessDenied"}
    assert set(answers) - refused == allowed
    assert bucket.outcome(role, "list", "") == ("ok" if role in WITH_DOCTOR else "AccessDenied")


@pytest.mark.parametrize("role", WITH_DOCTOR)
async def test_doctor_passes_with_a_roles_credentials(bucket: Bucket, role: str) -> None:
    result = await run_check(STORE, bucket.settings(role))
    assert result.passed, result.lines


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    broker, node = SecuredBroker.start(tmp_path_factory.mktemp("secured"), USERS)
    try:
        admin = broker.settings(ADMIN)
        asyncio.run(topics.create(admin))
        assert set(USERS) == roles()
        apply([right for role in USERS for right in rights(role, role, admin)], admin.kafka)
        asyncio.run(retry(lambda: produce(broker, "operator", "segment-updated", b"{")))  # until the rights take effect
        yield broker
    finally:
        node.kill()


async def produce(broker: SecuredBroker, user: str, topic: str, value: bytes = b"{}", key: bytes = b"k") -> None:
    producer = AIOKafkaProducer(**client_options(broker.settings(user).kafka), enable_idempotence=True)
    try:
        await producer.start()
        await producer.send_and_wait(topic, value, key)
    finally:
        await producer.stop()


async def consume(
    broker: SecuredBroker, user: str, topic: str, group: str | None = None, wanted: Collection[str] = ()
) -> dict[str, Any]:
    """Join the group, if one is named, and read a topic until it has returned the wanted events. Return all by id."""
    options = client_options(broker.settings(user).kafka)
    consumer = AIOKafkaConsumer(
        topic, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False, **options
    )
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(60):
            await consumer.start()
            while True:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    events = [json.loads(record.value) for record in records if len(record.value) > 2]
                    found |= {event["event_id"]: event for event in events}
                if found.keys() >= set(wanted):
                    return found
    finally:
        await consumer.stop()


WRITES = {
    "emitter": {"segment_updated", "product_registered"},
    "render-worker": {"creative_ready", "creative_rejected"},
    "train-worker": {"segment_updated", "product_ready", "creative_rejected"},
    "consumer": set(),
    "operator": {"segment_updated", "product_registered"},
}
TOPICS = ("segment_updated", "product_registered", "creative_ready", "product_ready", "creative_rejected")


@pytest.mark.parametrize("user", WRITES)
async def test_a_user_writes_its_own_topics_only(broker: SecuredBroker, user: str) -> None:
    for name in TOPICS:
        # A user who may write nowhere gets no producer id either.
        expected: Any = pytest.raises((TopicAuthorizationFailedError, ClusterAuthorizationFailedError))
        with contextlib.nullcontext() if name in WRITES[user] else expected:
            await produce(broker, user, getattr(Settings().topics, name), b"{", b"k")


@pytest.mark.parametrize(
    ("user", "topic", "group", "allowed"),
    [
        ("consumer", "creative-ready", "consumer-scheduler", True),
        ("consumer", "segment-updated", None, False),
        ("emitter", "segment-updated", None, False),
        ("operator", "segment-updated.dead", None, True),
        ("render-worker", "product-registered", None, False),
    ],
)
async def test_a_user_reads_its_own_topics_only(
    broker: SecuredBroker, user: str, topic: str, group: str | None, allowed: bool
) -> None:
    with contextlib.nullcontext() if allowed else pytest.raises(TopicAuthorizationFailedError):
        await consume(broker, user, topic, group)


async def test_a_consumer_cannot_join_the_workers_group(broker: SecuredBroker) -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        await consume(broker, "consumer", "creative-ready", "creatives-render")


async def test_a_topic_that_a_user_may_not_describe_is_not_called_missing(broker: SecuredBroker) -> None:
    result = await run_check(BROKER, broker.settings("consumer"))
    assert not result.passed
    assert "topic segment-updated may not be described by this Kafka user" in result.lines[0]


@pytest.fixture
async def workers(bucket: Bucket, broker: SecuredBroker, tmp_path: Path) -> AsyncIterator[list[WorkerProcess]]:
    """Start a render worker and a train worker with nothing but the rights of their roles."""
    started = []
    for user, role in CONNECTED.items():
        environ = {
            **without_project_variables(os.environ),
            **SHORT_TIMEOUTS,
            **broker.kafka(user),
            **bucket.environ(user),
            "CREATIVES_ROLE": role,
            "CREATIVES_STORAGE__SIGNING_KEYS": SIGNING_KEY,
            "CREATIVES_TRAINING__WORKDIR": str(tmp_path / user),
            "FAULT_FOLDER": str(tmp_path),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "tests.faults.worker"]
        worker = WorkerProcess(user, command, environ, tmp_path / f"{user}.log", supervised=False)
        await worker.start()
        started.append(worker)
    yield started
    for worker in started:
        await worker.kill_all()


async def test_workers_with_their_policies_alone_serve_segments_and_products(
    bucket: Bucket, broker: SecuredBroker, workers: list[WorkerProcess]
) -> None:
    photos = [f"photos/jam/{number}.png" for number in (1, 2, 3)]
    for key in photos:
        assert bucket.outcome("photo-writer", "put", key) == "ok"
    plain, with_product = segment_event("e1", "coffee"), segment_event("e2", "breakfast") | {"product_id": "jam"}
    registration = {"event_id": "p1", "occurred_at": "2026-11-23T10:00:00Z", "product_id": "jam", "name": "Malina"}
    registration |= {"class_noun": "jar of jam", "images": [f"s3://{bucket.name}/{key}" for key in photos]}
    for event in (plain, with_product):
        key = str(event["segment_id"]).encode()
        await produce(broker, "emitter", "segment-updated", json.dumps(event).encode(), key)
    async with asyncio.timeout(60):
        while not list(bucket.root.list_objects(bucket.name, "parked/jam/")):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await produce(broker, "emitter", "product-registered", json.dumps(registration).encode(), b"jam")
    ready = await consume(broker, "consumer", "creative-ready", "consumer-1", {"e1", "e2"})
    for event in ready.values():
        key = event["images"][0]["s3_uri"].removeprefix(f"s3://{bucket.name}/")
        assert bucket.outcome("reader", "get", key) == "ok"
        assert await asyncio.to_thread(_status, event["images"][0]["url"]) == 200
    assert bucket.outcome("operator", "get", current_concept_key("jam")) == "ok"
    for worker in workers:
        assert worker.running
        log = worker.log.read_text()
        assert not re.search(r"refuses|AuthorizationFailed|\[error", log), log[-3000:]


def _status(url: str) -> int:
    with urllib.request.urlopen(url) as answer:
        return int(answer.status)


async def test_a_render_worker_cannot_replace_a_concept(bucket: Bucket) -> None:
    store = MinioStore(bucket.settings("render-worker").storage)
    try:
        with pytest.raises(Exception, match="refuses the request"):
            await store.put(current_concept_key("jam"), b"{}", "application/json")
        assert await store.get("concepts/no-such-product/current.json") is None  # missing, not forbidden
    finally:
        store.close()
