"""Starts the device process with no secret in its environment, and no open file but its pipe and stderr."""

from __future__ import annotations

import fnmatch
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from models.isolation import hide_from_children

STDERR = 2
PASSED_VARIABLES = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "XDG_CACHE_HOME"),
    *("PYTHON*", "LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_*", "COVERAGE_*"),
    *("OMP_*", "KMP_*", "GOMP_*", "MKL_*", "OPENBLAS_*", "ATEN_*"),
    *(
        "CUDA*",
        "CUBLAS_*",
        "CUDNN_*",
        "NCCL_*",
        "NVIDIA_*",
        "TORCH*",
        "PYTORCH_*",
        "TRITON_*",
        "HIP_*",
        "ROCR_*",
        "HSA_*",
    ),
    *("HF_*", "HUGGINGFACE_*", "TRANSFORMERS_*", "DIFFUSERS_*", "TOKENIZERS_*"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
"""Names and patterns of the environment variables that the device process gets."""

HUB_VARIABLES = (
    *("HF_TOKEN", "HF_TOKEN_PATH", "HUGGINGFACE_HUB_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
"""Variables that may hold a token or a password. A download from the hub may need them, and nothing else does."""


def child_environment(
    environ: Mapping[str, str], further: tuple[str, ...] = (), *, hub: bool = False
) -> dict[str, str]:
    """Return the device process's environment. further: patterns of more variables; none passes a CREATIVES_ variable.

    hub: weights may come from a hub. The child imports from the same folders as this process.
    """
    passed = {
        name: value
        for name, value in environ.items()
        if (_matches(name, further) or (hub if name in HUB_VARIABLES else _matches(name, PASSED_VARIABLES)))
        and not name.startswith("CREATIVES_")
    }
    return passed | {"PYTHONPATH": os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)}


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def start_child(
    entry: str, end: socket.socket, further: tuple[str, ...] = (), *, hub: bool = False
) -> subprocess.Popen[bytes]:
    """Start the process that runs `entry` (`module:function`) with its end of the pipe. Raises OSError.

    further, hub: see `child_environment`.
    """
    hide_from_children()
    number = str(end.fileno())
    command = [sys.executable, "-P", "-m", "streams.device.child_entry", entry, number, str(os.getpid())]
    # Ctrl-C and SIGTERM may reach the whole process group, but only the worker acts on them. The child ignores them,
    # and until it does, they are blocked: a process inherits what its parent blocks.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        return subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            pass_fds=(end.fileno(),),
            env=child_environment(os.environ, further, hub=hub),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
