"""What a failure means: retry, dead-letter, drop, or stop the worker. `streams.kafka.delivery` acts on the verdict.

The docstring of an error is the template of its message.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from enum import Enum

from models.errors import (
    Cancelled,
    CreativesError,
    DeviceUnavailable,
    OutOfDeviceMemory,
    Refused,
    ScratchDiskUnusable,
    WeightsError,
)


class StreamError(CreativesError):
    """Something in the stream failed."""


class InvalidEvent(StreamError):
    """{field}: {rule}"""


class UnreadableRecord(StreamError):
    """{reason}"""


class StoreUnavailable(StreamError):
    """The object store at {endpoint} does not answer: {detail}. Start it, or correct CREATIVES_STORAGE__ENDPOINT."""


class StoreRefused(StreamError):
    """The object store at {endpoint} refuses the request: {detail}"""


class BrokerUnavailable(StreamError):
    """The broker at {servers} does not answer: {detail}. Start it, or correct CREATIVES_KAFKA__BOOTSTRAP_SERVERS and
    the security settings beside it.
    """


class PortTaken(StreamError):
    """Cannot serve on {host}:{port}: {detail}. Set {variable} to another port (0: any free port)."""


class TopicsMissing(StreamError):
    """{detail} Run `creatives topics --create`, or name other topics with CREATIVES_TOPICS__*."""


class TopicsForbidden(StreamError):
    """{detail} Give the user in CREATIVES_KAFKA__USERNAME the rights of its role: scripts/kafka_acls.py."""


class CertificateUnusable(StreamError):
    """The PEM files of CREATIVES_KAFKA__CA_FILE, __CERTIFICATE_FILE and __KEY_FILE cannot be used: {detail}. They must
    hold a certificate authority, a certificate and its key.
    """


class NoServices(StreamError):
    """No broker or object store is set. Set CREATIVES_KAFKA__BOOTSTRAP_SERVERS and CREATIVES_STORAGE__ENDPOINT,
    or run `creatives worker`, which starts embedded ones for trying things out.
    """


class SigningKeyMissing(StreamError):
    """No signing key is set. Set CREATIVES_STORAGE__SIGNING_KEYS to a random text (`openssl rand -hex 32`), the same
    for every worker of the deployment. Workers sign manifests, concept pointers and parked segments with it.
    """


class DeviceProcessDied(StreamError):
    """The device process {how} while it worked on {request_id} ({crashes} of {limit} times)."""


class TooLargeForDevice(StreamError):
    """The job {request_id} does not fit into the memory of the device, even alone in a fresh device process
    ({failures} of {limit} times): {detail}. Lower CREATIVES_STUDIO__BUCKET or CREATIVES_STUDIO__SIZE.
    """


class WeightsChanged(StreamError):
    """The device process restarted with other weights than the worker started with: restart the worker."""


class DeviceStuck(StreamError):
    """The device process {pid} is still alive {seconds:g} s after SIGKILL: it hangs in the kernel."""


class MessageRefused(StreamError):
    """The topic {topic} refuses a message of {size} bytes: raise its max.message.bytes (1 MiB is enough)."""


class ObjectRefused(StoreRefused):
    """The object store refuses to return {uri}, though it returns others: {detail}"""


class ObjectMissing(StreamError):
    """There is no object {uri}."""


class ObjectTooLarge(StreamError):
    """The object {uri} is larger than {limit} bytes."""


class ConceptUnusable(StreamError):
    """The concept of {product_id} cannot be used: {detail}"""


class ConceptFileLost(StreamError):
    """The local file of the concept of {product_id} was deleted or changed while a job used it: {path}. The worker
    fetches it again. Let nothing else clean up that folder, or set CREATIVES_TRAINING__WORKDIR to another one.
    """


class TrainingUnsupportedByWeights(StreamError):
    """These weights cannot be trained on {product_id}: {detail}"""


class ScratchFolderUnsafe(StreamError):
    """The scratch folder {folder} cannot be used: {detail}. Remove it, or set CREATIVES_TRAINING__WORKDIR."""


class PhotoUnavailable(StreamError):
    """{uri} cannot be fetched: {detail}"""


class PhotoRefused(StreamError):
    """{uri} cannot be fetched, and a retry would not help: {detail}"""


class AddressForbidden(StreamError):
    """{uri} must not be read: {detail}"""


class DeadLetterFailed(StreamError):
    """The dead letter for {topic}[{partition}]@{offset} could not be written: {detail}"""


class Unsettled(StreamError):
    """{topic}[{partition}]@{offset} ended without an outcome, and so blocks every event behind it: {detail}"""


class Verdict(Enum):
    """What to do with the event.

    RETRY: attempt it again here, as long as the outage lasts. DEAD_LETTER: write its dead letter, then ack.
    STOP_WORKER: stop the worker and leave the event unacked. DROP: another worker owns the partition now.
    """

    RETRY = "retry"
    DEAD_LETTER = "dead_letter"
    STOP_WORKER = "stop_worker"
    DROP = "drop"


BREACHES: tuple[type[Exception], ...] = (InvalidEvent, UnreadableRecord)
"""The emitter broke the contract. Any number of such events never stops a worker."""

SCRATCH_PROBLEMS: tuple[type[CreativesError], ...] = (ScratchFolderUnsafe, ScratchDiskUnusable, ConceptFileLost)

OUTAGES: tuple[type[BaseException], ...] = (
    StoreUnavailable,
    StoreRefused,  # a rotated key, a deleted bucket, missing weights: the deployment is at fault, not the event
    WeightsError,
    DeviceUnavailable,
    OutOfDeviceMemory,  # the device client raises TooLargeForDevice if the job itself is the cause
    BrokerUnavailable,
    MessageRefused,
    *SCRATCH_PROBLEMS,
    ConnectionError,
    TimeoutError,
    asyncio.TimeoutError,
)


def judge(error: Exception, failures: int, limit: int) -> Verdict:
    """Return the verdict on an event whose latest attempt raised `error`.

    failures: of this event so far, outages not counted. limit: failures until the dead letter. `Refused` never gets
    here: the handlers turn it into a `creative-rejected` outcome.
    """
    match error:
        case Cancelled():
            return Verdict.DROP
        case DeadLetterFailed():
            return Verdict.STOP_WORKER
        case TooLargeForDevice():
            return Verdict.DEAD_LETTER
        case _ if isinstance(error, BREACHES):
            return Verdict.DEAD_LETTER
        case DeviceProcessDied():
            exhausted = int(error.fields["crashes"]) >= int(error.fields["limit"])
        case _:
            exhausted = failures >= limit and not isinstance(error, OUTAGES)
    return Verdict.DEAD_LETTER if exhausted else Verdict.RETRY


class OnlyFirst:
    """Calls `stop_worker` for the first error only: a second exit would interrupt the shutdown."""

    def __init__(self, stop_worker: Callable[[Exception], None]) -> None:
        self._stop_worker = stop_worker
        self._called = False

    def __call__(self, error: Exception) -> None:
        """Call `stop_worker` unless this object has called it before."""
        if not self._called:
            self._called = True
            self._stop_worker(error)


_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # OSError: OS, Error


def code_of(error: Exception) -> str:
    """Return a short stable code for headers and metrics, such as `invalid_event`."""
    if isinstance(error, Refused):
        return error.code
    return _WORD_STARTS.sub("_", type(error).__name__).lower()
