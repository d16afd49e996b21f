"""A Kafka broker and an S3 server inside this process, on loopback: the demo and the plain tests need no other service.

The broker is librdkafka's mock cluster; the object store is moto. Any Kafka or S3 client on this machine can use them.
Both listen on loopback only. The store is S3 and nothing else of moto: no reset page and no other service of AWS, some
of which run containers. It refuses what browsers send for web pages, since it believes any password.
Both lose everything when the process ends. The broker holds about 5 MiB per partition (it drops the oldest messages
first) and has no offset lookup by time, no topic creation through an admin client and no transactions. Neither checks
passwords. Use a real Kafka and a real MinIO for all of that.
"""

from __future__ import annotations

import ctypes
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

import httpx
from confluent_kafka import cimpl
from moto.backends import get_backend
from moto.server import create_backend_app
from pydantic import SecretStr
from werkzeug.serving import WSGIRequestHandler, make_server

from streams.failures import BrokerUnavailable, StoreUnavailable
from streams.settings import Settings, StorageSettings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_BROKER = 1  # the mock cluster numbers its brokers from 1
_LOOPBACK = {"127.0.0.1", "localhost"}
_TIMEOUT = 60.0  # seconds: the first request imports moto's S3, which is slow on a busy machine


def _librdkafka() -> ctypes.CDLL:
    """Return the librdkafka inside confluent_kafka. Its symbols resolve through the extension module."""
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_broker_set_down": (number, [pointer, ctypes.c_int32]),
        "rd_kafka_mock_broker_set_up": (number, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class EmbeddedBroker:
    """A mock broker on loopback. topics: name -> number of partitions; the broker creates any other topic with 4."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._library = _librdkafka()
        error = ctypes.create_string_buffer(512)
        configuration = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(configuration, b"log_level", b"0", error, len(error))
        self._client = self._library.rd_kafka_new(0, configuration, error, len(error))
        if not self._client:
            raise BrokerUnavailable(servers="embedded", detail=error.value.decode(errors="replace"))
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        self.bootstrap_servers: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            for name, partitions in topics.items():
                self.create_topic(name, partitions)
            on_failure.pop_all()

    def create_topic(self, name: str, partitions: int) -> None:
        """Create one topic. Raises BrokerUnavailable if it exists already."""
        if self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1):
            raise BrokerUnavailable(servers=self.bootstrap_servers, detail=f"it cannot create the topic {name}")

    def refuse_connections(self) -> None:
        """Behave like a broker that is down."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, _BROKER)

    def accept_connections(self) -> None:
        """Come back after `refuse_connections`, with all messages."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, _BROKER)

    def stop(self) -> None:
        """Stop the broker and lose its messages."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._cluster = self._client = None


class _QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open, for three times the requests per second

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Log nothing: one line per request would drown the worker's own log."""


class _LocalPrograms:
    """Passes on the requests of programs that address this machine, and refuses those of web pages.

    A page sends `Origin` with every request that could change or read something. A name that an attacker lets resolve
    to loopback shows in `Host`.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        host = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname
        if "HTTP_ORIGIN" in environ or host not in _LOOPBACK:
            start_response("403 Forbidden", [("Content-Type", "text/plain"), ("Connection", "close")])
            return [b"The embedded store answers programs on this machine, not web pages.\n"]
        return self._application(environ, start_response)


class EmbeddedStore:
    """An S3 server on loopback with one bucket. Servers in one process share contents until the last stops."""

    _running: ClassVar[set[str]] = set()  # endpoints

    def __init__(self, bucket: str, port: int = 0) -> None:
        application = _LocalPrograms(create_backend_app("s3"))
        try:  # our own socket: werkzeug would exit the whole process if the port were taken
            with socket.create_server(("127.0.0.1", port)) as listening:
                self.endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
                self._server = make_server(
                    "127.0.0.1", port, application, True, request_handler=_QuietHandler, fd=listening.fileno()
                )
        except OSError as error:
            detail = (error.strerror or "cannot listen").split(" (")[0]
            raise StoreUnavailable(endpoint=f"127.0.0.1:{port}", detail=detail) from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="embedded-store", daemon=True)
        self._thread.start()
        self._running.add(self.endpoint)
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            self._create_bucket(bucket)
            on_failure.pop_all()

    def _create_bucket(self, bucket: str) -> None:
        try:
            httpx.put(f"{self.endpoint}/{bucket}", trust_env=False, timeout=_TIMEOUT).raise_for_status()
        except httpx.HTTPError as error:
            raise StoreUnavailable(endpoint=self.endpoint, detail=f"it cannot create the bucket: {error!r}") from None

    def stop(self) -> None:
        """Stop the server. The last one of the process deletes every object."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._running.discard(self.endpoint)
            if not self._running:
                get_backend("s3").reset()


class EmbeddedServices:
    """An embedded broker and object store, as a context manager. topics: name -> number of partitions."""

    def __init__(self, topics: Mapping[str, int], bucket: str = "creatives") -> None:
        self.broker = EmbeddedBroker(topics)
        with ExitStack() as on_failure:
            on_failure.callback(self.broker.stop)
            self.store = EmbeddedStore(bucket)
            on_failure.pop_all()
        self.bootstrap_servers = self.broker.bootstrap_servers
        self.endpoint = self.store.endpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop both. A second call does nothing."""
        self.store.stop()
        self.broker.stop()


def signing_keys(storage: StorageSettings) -> SecretStr:
    """Return the keys of the settings, or a new random one: an embedded store starts empty."""
    return storage.signing_keys or SecretStr(secrets.token_hex(32))


@contextmanager
def embedded(settings: Settings, topics: Mapping[str, int]) -> Iterator[Settings]:
    """Start the services that are set to `embedded`, yield settings with their addresses, and stop them at the end."""
    kafka, storage = settings.kafka, settings.storage
    with ExitStack() as running:
        if kafka.bootstrap_servers == "embedded":
            broker = EmbeddedBroker(topics)
            running.callback(broker.stop)
            kafka = kafka.model_copy(update={"bootstrap_servers": broker.bootstrap_servers, "embedded": True})
        if storage.endpoint == "embedded":
            store = EmbeddedStore(storage.bucket)
            running.callback(store.stop)
            storage = storage.model_copy(update={"endpoint": store.endpoint, "signing_keys": signing_keys(storage)})
        yield settings.model_copy(update={"kafka": kafka, "storage": storage})
