"""How every Kafka client of ours reaches the broker: one place for addresses, SASL and TLS."""

from __future__ import annotations

import ssl
from functools import wraps
from typing import TYPE_CHECKING, Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

from streams.settings import KafkaSettings

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT


def tls(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context of SSL and SASL_SSL, None for the plain protocols. Raises OSError for unreadable files."""
    if not kafka.security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(cafile=kafka.ca_file)
    if kafka.certificate_file:
        context.load_cert_chain(kafka.certificate_file, kafka.key_file)
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


def heed_group_errors() -> None:
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
