"""What a failure means: retry it, bury it, reject it, or die of it. The policy is data; `delivery.settle` obeys it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

from models.errors import Cancelled, CreativesError, DeviceUnavailable, Refused, WeightsError


class StreamError(CreativesError):
    """Something in the stream failed."""


class InvalidEvent(StreamError):
    """{field}: {rule}"""


class StoreUnavailable(StreamError):
    """The object store at {endpoint} does not answer: {detail}. Start it, or correct CREATIVES_STORAGE__ENDPOINT."""


class StoreRefused(StreamError):
    """The object store at {endpoint} refuses: {detail}"""


class BrokerUnavailable(StreamError):
    """The broker at {servers} does not answer: {detail}. Start it, or correct CREATIVES_KAFKA__BOOTSTRAP_SERVERS and
    the security settings beside it.
    """


class PortTaken(StreamError):
    """Cannot serve on {host}:{port}: {detail}. Set CREATIVES_WEB__PORT to another port (0: any free one)."""


class TopicsMissing(StreamError):
    """{detail} Run `creatives topics --create`, or name other topics with CREATIVES_TOPICS__*."""


class WrongPartitions(StreamError):
    """{detail} Set CREATIVES_TOPICS__PARTITIONS to the number they have, or name new topics with CREATIVES_TOPICS__*:
    `creatives topics --create` leaves topics that exist as they are, since keys would move.
    """


class CertificateUnusable(StreamError):
    """The PEM files of CREATIVES_KAFKA__CA_FILE, __CERTIFICATE_FILE and __KEY_FILE cannot be used: {detail}. Name files
    that hold a certificate authority, a certificate and its key.
    """


class NoServices(StreamError):
    """No broker or object store is set. Set CREATIVES_KAFKA__BOOTSTRAP_SERVERS and CREATIVES_STORAGE__ENDPOINT,
    or run `creatives worker`, which brings its own for trying things out.
    """


class DeviceProcessDied(StreamError):
    """The device process {how} while it worked on {request_id} ({crashes} of {limit} times)."""


class WeightsChanged(StreamError):
    """The device process came back with other weights than the worker started with: restart the worker."""


class DeviceStuck(StreamError):
    """The device process {pid} has been killed and is still there after {seconds:g} s: it hangs in the kernel."""


class MessageRefused(StreamError):
    """The topic {topic} refuses a message of {size} bytes: raise its max.message.bytes (1 MiB is enough)."""


class ObjectMissing(StreamError):
    """There is no object {uri}."""


class ObjectTooLarge(StreamError):
    """The object {uri} is larger than {limit} bytes."""


class ConceptUnusable(StreamError):
    """The concept of {product_id} cannot be used: {detail}"""


class TrainingUnsupportedByWeights(StreamError):
    """{product_id} cannot be learned with these weights: {detail}"""


class PhotosUnavailable(StreamError):
    """{uri} cannot be fetched: {detail}"""


class AddressForbidden(StreamError):
    """{uri} may not be read: {detail}"""


class DeadLetterFailed(StreamError):
    """A dead letter for {topic}[{partition}]@{offset} could not be written: {detail}"""


class Unsettled(StreamError):
    """{topic}[{partition}]@{offset} ended without an outcome, and nothing behind it could ever be acked: {detail}"""


class Verdict(Enum):
    """What to do with the event.

    RETRY in place, for as long as an outage takes; BURY it in the dead letters; DIE with it unacked;
    DROP a job whose partition another worker owns now.
    """

    RETRY = "retry"
    DEAD_LETTER = "dead_letter"
    DIE = "die"
    DROP = "drop"


OUTAGES: tuple[type[BaseException], ...] = (
    StoreUnavailable,
    StoreRefused,  # a rotated key, a deleted bucket, weights that are gone: a deployment's fault, not the event's
    WeightsError,
    DeviceUnavailable,
    BrokerUnavailable,
    MessageRefused,
    ConnectionError,
    TimeoutError,
    asyncio.TimeoutError,
)


def judge(error: Exception, failures: int, limit: int) -> Verdict:
    """Return what `error`, the latest of `failures` that no outage explains, means. limit: of such failures.

    A `Refused` request is an outcome, not a failure: the handlers answer it with `creative-rejected`.
    """
    match error:
        case Cancelled():
            return Verdict.DROP
        case DeadLetterFailed():
            return Verdict.DIE
        case InvalidEvent():
            return Verdict.DEAD_LETTER
        case DeviceProcessDied():
            exhausted = int(error.fields["crashes"]) >= int(error.fields["limit"])
        case _:
            exhausted = failures >= limit and not isinstance(error, OUTAGES)
    return Verdict.DEAD_LETTER if exhausted else Verdict.RETRY


class OnlyFirst:
    """Tells `die` the first reason why the worker must not go on: a second exit would break into the shutdown."""

    def __init__(self, die: Callable[[Exception], None]) -> None:
        self._die = die
        self._told = False

    def __call__(self, error: Exception) -> None:
        """Tell, unless somebody has told already."""
        if not self._told:
            self._told = True
            self._die(error)


def code_of(error: Exception) -> str:
    """Return a short stable code for headers and metrics, such as `invalid_event`."""
    if isinstance(error, Refused):
        return error.code
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
