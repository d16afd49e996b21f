"""The process that decodes photos: `python -m models.learning.photo_decoder REQUEST`. It never imports torch.

A damaged or hostile file can take any amount of memory or time, or crash a decoder, so the process has limits and no
secrets. Standard output: a JSON line once the process is ready, then one per photo in order; the pixels follow the line
of a usable photo. `models.learning.photos` starts the process and reads the lines.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import resource
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from models.learning.photo_decoding import PhotoRefused, crop_square, decode_photo, open_photo

_PR_SET_PDEATHSIG = 1
_MAX_WORDS = 300  # letters of a reason
_MEMORY, _MEMORY_PER_PIXEL = 512 * 2**20, 24  # bytes; photos of all modes take 6 to 17 a pixel


@dataclass(frozen=True)
class DecodingRequest:
    """What to decode. photos: (path, sha256) each. side: of the square to return. The rest: limits, in pixels or s."""

    photos: list[tuple[str, str]]
    side: int
    min_side: int
    max_pixels: int
    total_pixels: int
    seconds: int

    def to_json(self) -> str:
        """Return the request as text."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Reply:
    """The answer on one photo, or the first line. code, reason: of a refusal. pixels: that count against the total.

    has_content: (side,side,3) uint8 RGB follow. failure: the file could not be read, which is not the photo's fault.
    """

    pixels: int = 0
    code: str = ""
    reason: str = ""
    has_content: bool = False
    failure: str = ""

    @classmethod
    def from_json(cls, line: bytes) -> Reply:
        """Return a bounded reply: a photo may have taken the decoder over. Raises ValueError and TypeError."""
        try:
            read = cls(**json.loads(line))
            code, reason, failure = (str(word)[:_MAX_WORDS] for word in (read.code, read.reason, read.failure))
            return cls(max(0, int(read.pixels)), code, reason, bool(read.has_content), failure)
        except (ArithmeticError, RecursionError) as error:  # an infinite number, or lists in lists
            raise ValueError(f"no reply: {error}") from error


def main() -> None:
    """Decode the photos of the request in the first argument."""
    request = DecodingRequest(**json.loads(sys.argv[1]))
    _limit_process(request)
    _write(Reply())
    left = request.total_pixels
    for path, sha256 in request.photos:
        _limit_processor_time(request.seconds)
        reply, pixels = _answer(Path(path), sha256, left, request)
        left -= reply.pixels
        _write(reply, pixels)


def _answer(path: Path, sha256: str, left: int, request: DecodingRequest) -> tuple[Reply, bytes]:
    pixels = 0
    try:
        content = path.read_bytes()
    except OSError as error:
        return Reply(failure=f"{path.name} cannot be read: {error.strerror}"), b""
    try:
        if hashlib.sha256(content).hexdigest() != sha256:
            return Reply(failure=f"{path.name} has changed since it was fetched"), b""
        image = open_photo(content, request.min_side, request.max_pixels)
        width, height = image.size
        if width * height > left:
            rest = f"the {left / 1e6:g} megapixels that the photos before it leave to the registration"
            return Reply(0, "too_large", f"{width}x{height} is more than {rest}"), b""
        pixels = width * height
        square = crop_square(decode_photo(content, image), request.side)
    except PhotoRefused as refusal:
        return Reply(pixels, refusal.code, refusal.reason), b""
    except MemoryError:
        return Reply(pixels, "too_costly", "too costly to decode: it needs too much memory"), b""
    return Reply(pixels, has_content=True), square.tobytes()


def _write(reply: Reply, content: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(asdict(reply)).encode() + b"\n" + content)
    sys.stdout.buffer.flush()


def _limit_process(request: DecodingRequest) -> None:
    """Set limits that hold for all photos. The kernel kills the process if the device process ends."""
    Image.MAX_IMAGE_PIXELS = request.max_pixels
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    memory = _MEMORY + _MEMORY_PER_PIXEL * request.max_pixels
    for resource_kind, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _limit(resource_kind, most, final=True)


def _limit_processor_time(seconds: int) -> None:
    """Let the kernel kill this process `seconds` of processor time from now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)


def _limit(resource_kind: int, most: int, *, final: bool = False) -> None:
    """Set a soft limit, below the hard limit that the process inherits. final: the process cannot raise it again."""
    hard = resource.getrlimit(resource_kind)[1]
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource_kind, (soft, soft if final else hard))


if __name__ == "__main__":
    main()
