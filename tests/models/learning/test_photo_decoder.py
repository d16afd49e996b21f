"""The decoder's process answers for each photo, within limits of memory and processor time, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from models.learning.photo_decoder import DecodingRequest, Reply
from tests.models.learning.photo_files import encode, photo_file, scene

SIDE = 64


def request(*contents: bytes, seconds: int = 30, max_pixels: int = 50_000_000) -> str:
    files = [photo_file(content) for content in contents]
    photos = [(file.path, file.sha256) for file in files]
    return DecodingRequest(photos, SIDE, SIDE, max_pixels, 750_000_000, seconds).to_json()


def run(code: str, argument: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code), argument], capture_output=True, check=False)


def test_each_photo_gets_a_line_and_its_pixels_follow():
    done = run("from models.learning.photo_decoder import main; main()", request(encode(scene()), b"<html>"))
    assert done.returncode == 0
    ready, first, rest = done.stdout.split(b"\n", 2)
    assert json.loads(ready) == {"pixels": 0, "code": "", "reason": "", "has_content": False, "failure": ""}
    assert json.loads(first)["pixels"] == 120 * 90
    square = np.frombuffer(rest[: 3 * SIDE * SIDE], np.uint8).reshape(SIDE, SIDE, 3)
    assert np.ptp(square) > 100
    assert json.loads(rest[3 * SIDE * SIDE :])["code"] == "not_an_image"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"no JSON",
        b'{"pixels": "x"}',
        b'{"pixels": []}',
        b'{"other": 1}',
        b"\xff",
        b'{"pixels": 1e400}',
        b"[" * 4000,
    ],
)
def test_a_line_that_is_no_reply_is_an_error(line):
    with pytest.raises((ValueError, TypeError)):
        Reply.from_json(line)


def test_a_reply_is_bounded():
    reply = Reply.from_json(json.dumps({"pixels": -5, "reason": "x" * 1000, "code": [1]}).encode())
    assert (reply.pixels, len(reply.reason), reply.code) == (0, 300, "[1]")


def test_the_decoder_imports_no_torch():
    code = "import sys; import models.learning.photo_decoder; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert run(code, "").returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel limits memory on Linux only")
def test_memory_and_processor_time_are_limited():
    code = """
        import json, sys
        from models.learning import photo_decoder
        def costly(content, *_):
            if content == b"memory":
                bytearray(2**30)
            while True:
                pass
        photo_decoder.open_photo = costly
        photo_decoder.main()
    """
    done = run(code, request(b"memory", b"time", seconds=0, max_pixels=10**6))
    assert done.returncode < 0, "the kernel kills a decoder that takes too long"
    _, memory = done.stdout.splitlines()
    assert json.loads(memory)["code"] == "too_costly"


def test_a_decoder_writes_no_file(tmp_path):
    code = f"""
        from models.learning import photo_decoder
        photo_decoder.open_photo = lambda *_: open({str(tmp_path / "file")!r}, "w").write("x" * 10)
        photo_decoder.main()
    """
    run(code, request(b"anything"))
    assert not (tmp_path / "file").exists() or not (tmp_path / "file").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="the process sets these limits on Linux only")
def test_a_decoder_cannot_raise_its_limits():
    code = """
        import resource
        from models.learning import photo_decoder
        def lift(*_):
            print(*(resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)))
            print(resource.getrlimit(resource.RLIMIT_AS)[1] == resource.getrlimit(resource.RLIMIT_AS)[0], flush=True)
            raise SystemExit
        photo_decoder.open_photo = lift
        photo_decoder.main()
    """
    assert run(code, request(b"anything")).stdout.splitlines()[1:] == [b"0 0", b"True"]
