"""The bytes of a message between worker and device process. They are data only: reading them runs no code.

A frame is the length of its header and the total length of its blobs (two unsigned big-endian integers of four bytes),
the header, and the blobs. The header is JSON: `kind` (the name of the message's class), `fields`, and `blobs` (the
length of each blob). Every `bytes` value is a blob of its own, and `{"blob": 0}` stands for it in the fields.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from typing import Any

from pydantic import TypeAdapter, ValidationError

from models import briefs, wire
from models.errors import CreativesError, first_line

PREFIX = struct.Struct("!II")
HEADER_LIMIT = 2**20  # bytes of a header; the largest legal answer, of 256 candidates, takes 100 KiB
VALUES_LIMIT = 16_000  # JSON values in a header of the device process; that answer holds 4,000
BLOBS_LIMIT = 2**30  # bytes of all blobs of one message
_SHOWN_ERRORS = 100
_ERROR = CreativesError.__name__
_INVALID = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
)  # what JSON, pydantic and our own code raise


class InvalidMessage(ValueError):
    """A message that no end may send: of an unknown kind, with a field of another type, or too large."""


KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(briefs.StudioPlan, briefs.StudioReady, briefs.DeviceProbe, CreativesError),
        *(wire.Render, wire.Train, wire.Cancel, wire.Stop, wire.Progress, wire.Checkpointed, wire.Answer),
    )
}
TO_DEVICE = frozenset({"StudioPlan", "Render", "Train", "Cancel", "Stop"})
FROM_DEVICE = frozenset(KINDS) - TO_DEVICE


def encode(message: object) -> list[bytes]:
    """Return the frame of a message in pieces: prefix and header, then each blob.

    Raises InvalidMessage if a field does not have its declared type, or if the message exceeds a limit.
    """
    kind = _ERROR if isinstance(message, CreativesError) else type(message).__name__
    blobs: list[bytes] = []

    def take_blob(content: object) -> dict[str, int]:
        if not isinstance(content, bytes):
            raise InvalidMessage(f"it holds a {type(content).__name__}")
        blobs.append(content)
        return {"blob": len(blobs) - 1}

    try:
        shown = json.dumps(_adapter(kind).dump_python(message, warnings="error"), default=take_blob)
    except _INVALID as error:
        raise InvalidMessage(_describe(error)) from error
    header = f'{{"kind": "{kind}", "blobs": {[len(blob) for blob in blobs]}, "fields": {shown}}}'.encode()
    sizes = len(header), sum(map(len, blobs))
    check_sizes(*sizes)
    if kind in FROM_DEVICE:
        _check_values(header)
    return [PREFIX.pack(*sizes) + header, *blobs]


def check_sizes(header: int, blobs: int) -> None:
    """Raise InvalidMessage if a frame with these lengths in bytes would be too large."""
    if header > HEADER_LIMIT or blobs > BLOBS_LIMIT:
        raise InvalidMessage(f"a header of {header} bytes or blobs of {blobs} bytes exceed the limit")


def _check_values(header: bytes) -> None:
    """Raise InvalidMessage if a header may hold too many values: reading it would block the event loop.

    Separators inside texts count too, which costs nothing: the limit is far above that of a legal message.
    """
    if (most := header.count(b",") + header.count(b"[") + header.count(b"{")) > VALUES_LIMIT:
        raise InvalidMessage(f"a header of up to {most} values exceeds the limit of {VALUES_LIMIT}")


def _describe(error: Exception) -> str:
    """Return the first line of an error. That of many validation errors would take seconds to put together."""
    if isinstance(error, ValidationError) and error.error_count() > _SHOWN_ERRORS:
        return f"{error.error_count()} validation errors for {error.title}"
    return first_line(error)


def decode(header: bytes, blobs: bytes | bytearray, accepted: frozenset[str]) -> Any:
    """Return the message of a frame. accepted: names of the kinds that this end reads. Raises InvalidMessage."""
    if not accepted & TO_DEVICE:  # the worker sends what it likes, such as a large batch
        _check_values(header)
    try:
        return _decode(header, blobs, accepted)
    except _INVALID as error:
        raise InvalidMessage(f"{type(error).__name__}: {_describe(error)}") from error


def _decode(header: bytes, blobs: bytes | bytearray, accepted: frozenset[str]) -> Any:
    frame = json.loads(header)
    if frame["kind"] not in accepted:
        raise ValueError(f"the kind {frame['kind']!r:.80} is not read here")
    pieces = list(_split(blobs, frame["blobs"]))
    fields = _put_blobs_back(frame["fields"], pieces) if pieces else frame["fields"]
    return _adapter(frame["kind"]).validate_python(fields)


def _split(blobs: bytes | bytearray, lengths: list[int]) -> Iterator[bytes]:
    """Yield each blob. Raises ValueError unless the lengths add up."""
    if sum(lengths) != len(blobs) or any(length < 0 for length in lengths):
        raise ValueError("the lengths of the blobs do not add up")
    view = memoryview(blobs)
    for end, length in zip(accumulate(lengths), lengths, strict=True):
        yield bytes(view[end - length : end])


def _put_blobs_back(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"blob"}:
            return blobs[value["blob"]]
        return {name: _put_blobs_back(entry, blobs) for name, entry in value.items()}
    return [_put_blobs_back(entry, blobs) for entry in value] if isinstance(value, list) else value


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    """Return the schema of a kind. Raises KeyError for an unknown one."""
    return TypeAdapter(wire.NamedError if kind == _ERROR else KINDS[kind])
