"""The embedded services, used by clients in this process and in others."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from streams.embedded import EmbeddedBroker, EmbeddedServices, EmbeddedStore, embedded, signing_keys
from streams.failures import BrokerUnavailable, StoreUnavailable
from streams.settings import Settings, StorageSettings
from streams.store.s3 import MinioStore


@pytest.fixture(scope="module")
def services() -> Iterator[EmbeddedServices]:
    with EmbeddedServices({"segment-updated": 4, "creative-ready": 2}, "pictures") as found:
        yield found


def store_of(endpoint: str, bucket: str) -> MinioStore:
    return MinioStore(Settings.model_validate({"storage": {"endpoint": endpoint, "bucket": bucket}}).storage)


async def produced(servers: str, topic: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True, acks="all")
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(topic, b"%d" % number, key=b"k", partition=number % 4, headers=[("a", b"b")])
    await producer.stop()


async def test_topics_have_the_given_partitions(services: EmbeddedServices) -> None:
    consumer = AIOKafkaConsumer("segment-updated", "creative-ready", bootstrap_servers=services.bootstrap_servers)
    await consumer.start()
    assert {"segment-updated", "creative-ready"} <= await consumer.topics()
    assert consumer.partitions_for_topic("segment-updated") == {0, 1, 2, 3}
    assert consumer.partitions_for_topic("creative-ready") == {0, 1}
    await consumer.stop()


async def test_messages_headers_and_commits(services: EmbeddedServices) -> None:
    await produced(services.bootstrap_servers, "segment-updated", 8)
    async with asyncio.timeout(30):
        options = {"bootstrap_servers": services.bootstrap_servers, "group_id": "g", "enable_auto_commit": False}
        consumer = AIOKafkaConsumer("segment-updated", auto_offset_reset="earliest", **options)
        await consumer.start()
        messages = [await consumer.getone() for _ in range(8)]
        assert sorted(int(message.value) for message in messages) == list(range(8))
        assert messages[0].headers == (("a", b"b"),)
        await consumer.commit()
        await consumer.stop()
        again = AIOKafkaConsumer(**options)
        await again.start()
        assert await again.committed(TopicPartition("segment-updated", 0)) == 2
        await again.stop()


async def test_foreign_clients_reach_both(services: EmbeddedServices) -> None:
    """Another process and other libraries: librdkafka for Kafka, plain HTTP for a signed link. Unsigned is refused."""
    store = store_of(services.endpoint, "pictures")
    await store.put("a.txt", b"hello", "text/plain")
    script = (
        "import sys, urllib.request, urllib.error; from confluent_kafka import Producer\n"
        "p = Producer({'bootstrap.servers': sys.argv[1]}); p.produce('creative-ready', b'hello'); print(p.flush(20))\n"
        "print(urllib.request.urlopen(sys.argv[2]).read())\n"
        "try: urllib.request.urlopen(sys.argv[2].partition('?')[0])\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    command = [sys.executable, "-c", script, services.bootstrap_servers, store.link("a.txt")[0]]
    store.close()
    ran = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False, env={"no_proxy": "127.0.0.1"}
    )
    assert ran.stdout.split() == ["0", "b'hello'", "403"], ran.stderr


SIGNED_FOR_EC2 = "AWS4-HMAC-SHA256 Credential=any/20261123/us-east-1/ec2/aws4_request, Signature=any"


@pytest.mark.parametrize(
    ("method", "path", "headers", "revealing"),
    [
        ("POST", "/moto-api/reset", {}, '"status"'),
        ("GET", "/moto-api/data.json", {}, "cloudwatch"),
        ("GET", "/latest/meta-data/iam/security-credentials/", {}, "default-role"),
        ("POST", "/?Action=DescribeRegions&Version=2016-11-15", {"Authorization": SIGNED_FOR_EC2}, "regionInfo"),
        ("GET", "/pictures", {"Origin": "http://evil.example"}, "kept.txt"),
        ("OPTIONS", "/pictures", {"Origin": "null", "Access-Control-Request-Method": "PUT"}, "PUT"),
        ("GET", "/pictures", {"Host": "rebound.evil.example"}, "kept.txt"),
        ("GET", "/pictures", {"Host": "127.0.0.1.evil.example:80"}, "kept.txt"),
    ],
)
async def test_the_store_is_only_s3_and_only_for_local_programs(
    services: EmbeddedServices, method: str, path: str, headers: dict[str, str], revealing: str
) -> None:
    store = store_of(services.endpoint, "pictures")
    await store.put("kept.txt", b"kept", "text/plain")
    async with httpx.AsyncClient(base_url=services.endpoint, trust_env=False) as client:
        answer = await client.request(method, path, headers=headers)
    assert revealing not in answer.text + str(answer.headers)
    assert answer.status_code == 403 or not {"Origin", "Host"} & set(headers)
    assert await store.get("kept.txt") == b"kept", "nothing may reset the store"
    store.close()


async def test_the_last_store_of_a_process_leaves_no_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmbeddedStore, "_running", set())  # the stores of other tests
    resets: list[bool] = []
    monkeypatch.setattr("streams.embedded.get_backend", lambda _: SimpleNamespace(reset=lambda: resets.append(True)))
    first, second = EmbeddedStore("fresh"), EmbeddedStore("fresh")
    first.stop()
    assert not resets
    second.stop()
    assert resets == [True]


async def test_a_store_that_stops_leaves_the_objects_of_another_one() -> None:
    first, second = EmbeddedStore("shared"), EmbeddedStore("shared")
    store = store_of(second.endpoint, "shared")
    await store.put("a.txt", b"a", "text/plain")
    first.stop()
    assert await store.get("a.txt") == b"a"
    store.close()
    second.stop()


async def test_a_broker_can_go_down_and_come_back() -> None:
    broker = EmbeddedBroker({"t": 4})
    try:
        broker.refuse_connections()
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, request_timeout_ms=500)
        with pytest.raises(Exception, match="Unable to bootstrap"):
            await producer.start()
        await producer.stop()
        broker.accept_connections()
        async with asyncio.timeout(30):
            await produced(broker.bootstrap_servers, "t", 4)
    finally:
        broker.stop()
        broker.stop()


def test_a_second_topic_of_one_name_is_an_error(services: EmbeddedServices) -> None:
    with pytest.raises(BrokerUnavailable, match="cannot create the topic segment-updated"):
        services.broker.create_topic("segment-updated", 1)


def test_a_taken_port_is_an_error(services: EmbeddedServices) -> None:
    port = int(services.endpoint.rsplit(":", 1)[1])
    with pytest.raises(StoreUnavailable, match=r"Address already in use"):
        EmbeddedStore("x", port)


def test_each_embedded_store_has_its_own_signing_key_unless_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREATIVES_STORAGE__SIGNING_KEYS")
    made = [signing_keys(StorageSettings()) for _ in range(2)]
    assert made[0] != made[1]
    assert all(StorageSettings(signing_keys=keys).signing_keys == keys for keys in made)
    with embedded(Settings.model_validate({"kafka": {"bootstrap_servers": "k:9"}}), {}) as settings:
        assert settings.storage.signing_keys is not None


async def test_embedded_settings_get_real_addresses() -> None:
    with embedded(Settings(), {"segment-updated": 3}) as settings:
        assert settings.kafka.bootstrap_servers.startswith("127.0.0.1:")
        assert settings.kafka.embedded
        store = MinioStore(settings.storage)
        await store.check()
        store.close()
        endpoint = settings.storage.endpoint
    with pytest.raises(httpx.ConnectError):
        httpx.get(endpoint, trust_env=False)  # noqa: ASYNC210 - one
    given = Settings.model_validate({"kafka": {"bootstrap_servers": "k:9"}, "storage": {"endpoint": "http://s:9"}})
    with embedded(given, {}) as settings:
        assert settings == given


def brokers(monkeypatch: pytest.MonkeyPatch) -> list[EmbeddedBroker]:
    """Return a list to which every new broker is added."""
    started: list[EmbeddedBroker] = []
    create = EmbeddedBroker.__init__

    def record(self: EmbeddedBroker, topics: dict[str, int]) -> None:
        started.append(self)
        create(self, topics)

    monkeypatch.setattr(EmbeddedBroker, "__init__", record)
    return started


def refuse(bucket: str, port: int = 0) -> None:
    raise StoreUnavailable(endpoint=f"127.0.0.1:{port}", detail=f"no {bucket}")


@pytest.mark.parametrize("start", [lambda: EmbeddedServices({}), lambda: embedded(Settings(), {}).__enter__()])
def test_a_store_that_does_not_start_leaves_no_broker(start: object, monkeypatch: pytest.MonkeyPatch) -> None:
    started = brokers(monkeypatch)
    monkeypatch.setattr("streams.embedded.EmbeddedStore", refuse)
    assert callable(start)
    with pytest.raises(StoreUnavailable):
        start()
    assert [broker._cluster for broker in started] == [None]


class Twice(dict[str, int]):
    """A mapping that names its topic twice."""

    def items(self) -> Any:
        return [*super().items(), *super().items()]


def test_a_broker_that_cannot_create_its_topics_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    started = brokers(monkeypatch)
    with pytest.raises(BrokerUnavailable, match="cannot create the topic"):
        EmbeddedBroker(Twice(t=1))
    assert [broker._cluster for broker in started] == [None]


def test_a_store_without_its_bucket_stops() -> None:
    running = _store_threads()
    with pytest.raises(StoreUnavailable, match="cannot create the bucket"):
        EmbeddedStore("x")  # S3 wants three letters
    assert _store_threads() == running


def _store_threads() -> set[threading.Thread]:
    """Return the serving threads. Those of single requests end a little later than their server."""
    return {thread for thread in threading.enumerate() if thread.name == "embedded-store"}
