"""Connection options, TLS and error handling that all Kafka clients of this service share."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError, KafkaError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

from streams.failures import BrokerUnavailable, CertificateUnusable
from streams.settings import KafkaSettings

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context for SSL and SASL_SSL, None for the plain protocols. Raises CertificateUnusable."""
    if not kafka.security_protocol.endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=kafka.ca_file)
        if kafka.certificate_file:
            context.load_cert_chain(kafka.certificate_file, kafka.key_file)
    except OSError as error:
        raise CertificateUnusable(detail=error_reason(error)) from error
    return context


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments that aiokafka's producer, consumer and admin client share."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "security_protocol": kafka.security_protocol,
        "ssl_context": tls_context(kafka),
    }
    if kafka.password is not None and kafka.sasl_mechanism is not None:
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": kafka.password.get_secret_value(),
        }
    return options


@contextmanager
def broker_errors(servers: str) -> Iterator[None]:
    """Turn Kafka and network errors raised inside the block into BrokerUnavailable, with their cause as its detail.

    If aiokafka cannot connect, it writes the cause to its log only. A log filter takes the cause from there.
    """
    library = logging.getLogger("aiokafka")
    causes: list[BaseException] = []
    level = library.level
    if not library.isEnabledFor(logging.DEBUG):
        library.setLevel(logging.ERROR)

    def record_cause(record: logging.LogRecord) -> bool:
        argument = record.args[-1] if isinstance(record.args, tuple) and record.args else None
        if isinstance(argument, BaseException):
            causes.append(argument)
        return level == logging.DEBUG

    library.addFilter(record_cause)
    try:
        yield
    except (KafkaError, OSError) as error:
        cause = causes[-1] if causes and isinstance(error, KafkaConnectionError) else error
        raise BrokerUnavailable(servers=servers, detail=error_reason(cause)) from error
    finally:
        library.removeFilter(record_cause)
        library.setLevel(level)


def error_reason(error: BaseException) -> str:
    """Return the reason of an error on one line, without a full stop."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    text = " ".join(str(error).split()).removeprefix(f"{type(error).__name__}:")
    return text.strip().rstrip(".") or type(error).__name__


def faust_credentials(kafka: KafkaSettings) -> CredentialsT | None:
    """Return SASL and TLS options for Faust's consumer, None for PLAINTEXT."""
    import faust  # here: the import takes 0.8 s, and `creatives emit` does not need it

    if kafka.password is not None and kafka.sasl_mechanism is not None:
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password.get_secret_value(),
            ssl_context=tls_context(kafka),
            mechanism=kafka.sasl_mechanism,
        )
    context = tls_context(kafka)
    return faust.SSLCredentials(context=context) if context is not None else None


def raise_group_errors() -> None:
    """Make aiokafka raise errors that concern a whole group when it fetches committed offsets; 0.14 ignores them.

    Kafka answers `not the coordinator` or `still loading` with an error code and no partitions. aiokafka then
    assumes that nothing was ever committed: a consumer starts its topic from the beginning, and a lag probe reports the
    whole topic as lag. Calling this function twice patches aiokafka once.
    """
    send = GroupCoordinator._send_req  # noqa: SLF001 - aiokafka has no public hook for it
    if hasattr(send, "__wrapped__"):
        return

    @wraps(send)
    async def send_and_check(self: Any, request: Any) -> Any:
        response = await send(self, request)
        code = 0 if getattr(response, "topics", None) else getattr(response, "error_code", 0)
        if isinstance(request, OffsetFetchRequest) and code:
            error = for_code(code)
            if error is NotCoordinatorForGroupError:
                self.coordinator_dead()
            raise error
        return response

    GroupCoordinator._send_req = send_and_check  # noqa: SLF001
