"""How every Kafka client of ours reaches the broker: one place for addresses, SASL and TLS."""

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


def tls(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context of SSL and SASL_SSL, None for the plain protocols. Raises CertificateUnusable."""
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
        "ssl_context": tls(kafka),
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
    """Turn what goes wrong with the broker in here into BrokerUnavailable with the cause.

    aiokafka raises that it cannot connect, and tells why to its log alone: that is kept from the log and put in.
    """
    library = logging.getLogger("aiokafka")
    kept: list[BaseException] = []
    level = library.level
    if not library.isEnabledFor(logging.DEBUG):
        library.setLevel(logging.ERROR)

    def keep(record: logging.LogRecord) -> bool:
        told = record.args[-1] if isinstance(record.args, tuple) and record.args else None
        if isinstance(told, BaseException):
            kept.append(told)
        return level == logging.DEBUG

    library.addFilter(keep)
    try:
        yield
    except (KafkaError, OSError) as error:
        cause = kept[-1] if kept and isinstance(error, KafkaConnectionError) else error
        raise BrokerUnavailable(servers=servers, detail=error_reason(cause)) from error
    finally:
        library.removeFilter(keep)
        library.setLevel(level)


def error_reason(error: BaseException) -> str:
    """Return what went wrong in a few words of one line, without a full stop."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    text = " ".join(str(error).split()).removeprefix(f"{type(error).__name__}:")
    return text.strip().rstrip(".") or type(error).__name__


def faust_credentials(kafka: KafkaSettings) -> CredentialsT | None:
    """Return the same for Faust's consumer; None for PLAINTEXT."""
    import faust  # 0.8 s, which `creatives emit` need not wait for

    if kafka.password is not None and kafka.sasl_mechanism is not None:
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password.get_secret_value(),
            ssl_context=tls(kafka),
            mechanism=kafka.sasl_mechanism,
        )
    context = tls(kafka)
    return faust.SSLCredentials(context=context) if context is not None else None


def raise_group_errors() -> None:
    """Let aiokafka see errors that concern a whole group when it asks for committed offsets (0.14 does not look).

    Kafka answers `not the coordinator` or `still loading` with an error code and no partitions. Taken for `nothing was
    ever committed`, that makes a consumer begin its topic anew, and a lag probe report the whole topic for ever.
    """
    send = GroupCoordinator._send_req  # noqa: SLF001 - nothing public lies between
    if hasattr(send, "__wrapped__"):
        return

    @wraps(send)
    async def heeding(self: Any, request: Any) -> Any:
        response = await send(self, request)
        code = 0 if getattr(response, "topics", None) else getattr(response, "error_code", 0)
        if isinstance(request, OffsetFetchRequest) and code:
            error = for_code(code)
            if error is NotCoordinatorForGroupError:
                self.coordinator_dead()
            raise error
        return response

    GroupCoordinator._send_req = heeding  # noqa: SLF001
