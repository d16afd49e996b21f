"""A photo decoder that does what the content of a photo says, as a decoder may do that a photo has taken over."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from models.learning import photo_decoder
from models.learning.photo_decoder import Reply

answer = photo_decoder._answer


def act(path: Path, *rest: Any) -> tuple[Reply, bytes]:
    match path.read_bytes():
        case b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"babble":
            os.write(1, b"no JSON" * 1000)
        case content if content.startswith(b"reply"):
            os.write(1, content.removeprefix(b"reply") + b"\n")
            time.sleep(60)
        case b"pixels":
            return Reply(pixels=10**12, code="damaged"), b""
        case b"hang":
            time.sleep(60)
        case b"environment":
            return Reply(code="environment", reason=json.dumps(sorted(os.environ))), b""
    return answer(path, *rest)


photo_decoder._answer = act
photo_decoder.main()
