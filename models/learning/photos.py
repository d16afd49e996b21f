"""Prepare a product's photos for training, and give a reason for refusing each unusable one.

A process of its own decodes the photos (`models.learning.photo_decoder`). If a photo ends it, that photo is refused and
the next process goes on with the photos behind it.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import numpy as np
import torch
from torch import Tensor

from models.errors import UnusablePhotos
from models.learning.photo_decoder import DecodingRequest, Reply
from models.learning.photo_decoding import MIN_SIDE, PhotoRefused
from models.photo_files import PhotoFile, PhotoLimits
from models.stages import StepCallback

MIN_PHOTOS = 3
_DECODER = "models.learning.photo_decoder"
_PACKAGES = Path(__file__).parents[2]  # the folder that holds the package `models`
_MAX_LINE = 4096  # bytes
_START_SECONDS = 60.0
_WAITING = 3.0  # a decoder on a busy machine may take this many times its processor time

Decoder = subprocess.Popen[bytes]


@dataclass(frozen=True)
class PreparedPhotos:
    """Photos ready for training. pixels: (N,3,S,S) float32 RGB in [0,1]; refused: position in the input -> reason."""

    pixels: Tensor
    refused: dict[int, str]


def prepare_photos(
    photos: Sequence[PhotoFile],
    side: int,
    limits: PhotoLimits,
    report: StepCallback,
) -> PreparedPhotos:
    """Decode `photos`, refuse unusable ones and copies, and crop the rest to `side` x `side`.

    report: called with photos done and in total.
    Raises UnusablePhotos if fewer than MIN_PHOTOS remain, with a reason for each refused photo; OSError if a file
    cannot be read or the decoder does not start; and whatever `report` raises.
    """
    usable: dict[str, tuple[int, np.ndarray]] = {}
    refused: dict[int, str] = {}
    with closing(decode_photos(photos, side, limits)) as results:
        for position, decoded in enumerate(results):
            report(position + 1, len(photos))
            if isinstance(decoded, PhotoRefused):
                refused[position] = str(decoded)
                continue
            first, _ = usable.setdefault(hashlib.sha256(decoded.tobytes()).hexdigest(), (position, decoded))
            if first != position:
                refused[position] = str(PhotoRefused("copy", f"a copy of photo {first + 1}"))
    if len(usable) < MIN_PHOTOS:
        reasons = "; ".join(f"photo {position + 1}: {reason}" for position, reason in refused.items())
        raise UnusablePhotos(
            detail=f"{len(usable)} usable, at least {MIN_PHOTOS} needed" + (f" ({reasons})" if reasons else "")
        )
    stacked = np.stack([cropped for _, cropped in usable.values()])
    return PreparedPhotos(torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255, refused)


def decode_photos(
    photos: Sequence[PhotoFile], side: int, limits: PhotoLimits
) -> Generator[np.ndarray | PhotoRefused, None, None]:
    """Yield each photo's middle as (side,side,3) uint8 RGB, or why it is refused."""
    done, left = 0, limits.total_pixels
    while done < len(photos):
        files = [(photo.path, photo.sha256) for photo in photos[done:]]
        request = DecodingRequest(files, side, max(MIN_SIDE, side // 4), limits.pixels, left, limits.seconds)
        with _decoder(request) as decoder:
            reply: Reply | None = Reply()
            while done < len(photos) and reply is not None:
                reply, content = _receive(decoder, limits.seconds * _WAITING, side)
                if reply is not None and reply.failure:
                    _require_unchanged(photos[done])
                    reply = None
                done += 1
                left -= limits.pixels if reply is None else min(reply.pixels, limits.pixels)
                yield _end_of(decoder, limits.seconds) if reply is None else _result(reply, content, side)


def _end_of(decoder: Decoder, seconds: int) -> PhotoRefused:
    """Return the refusal of the photo that ended the decoder, or that it answered with nonsense."""
    decoder.kill()
    status = decoder.wait()
    if status in {-signal.SIGXCPU, -signal.SIGKILL}:
        return PhotoRefused("too_costly", f"too costly to decode: it takes more than {seconds} s or too much memory")
    return PhotoRefused("damaged", f"damaged: it ends the decoder (exit status {status})")


def _require_unchanged(photo: PhotoFile) -> None:
    """Raise OSError if a file cannot be read or has changed. A decoder that a photo took over may claim either."""
    path = Path(photo.path)
    try:
        now = PhotoFile.at(path)
    except OSError as error:
        raise OSError(f"{path.name} cannot be read: {error.strerror}") from error
    if now != photo:
        raise OSError(f"{path.name} has changed since it was fetched")


def _result(reply: Reply, content: bytes, side: int) -> np.ndarray | PhotoRefused:
    if not reply.has_content:
        return PhotoRefused(reply.code, reply.reason)
    return np.frombuffer(content, np.uint8).reshape(side, side, 3)


@contextmanager
def _decoder(request: DecodingRequest) -> Iterator[Decoder]:
    """Start a decoder without our environment, which may hold secrets, and end it. Raises OSError."""
    command = [sys.executable, "-P", "-s", "-m", _DECODER, request.to_json()]
    environment = {"PYTHONPATH": str(_PACKAGES), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment |= {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG") if name in os.environ}
    with subprocess.Popen(  # noqa: S603 - our own module
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as decoder:
        try:
            if _receive(decoder, _START_SECONDS, side=0)[0] is None:
                raise OSError(f"the photo decoder does not start (exit status {decoder.wait()})")
            yield decoder
        finally:
            decoder.kill()


def _receive(decoder: Decoder, seconds: float, side: int) -> tuple[Reply | None, bytes]:
    """Return the next reply and its pixels, or None if the decoder ends, is too slow or sends anything else."""
    assert decoder.stdout is not None
    timer = Timer(seconds, decoder.kill)
    timer.start()
    try:
        reply = Reply.from_json(decoder.stdout.readline(_MAX_LINE))
        size = 3 * side * side if reply.has_content else 0
        content = decoder.stdout.read(size)
        return (reply, content) if len(content) == size else (None, b"")
    except (ValueError, TypeError):  # it ended within a line, or the photo took the decoder over
        return None, b""
    finally:
        timer.cancel()
