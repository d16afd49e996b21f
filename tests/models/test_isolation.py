"""What the kernel refuses a process after `drop_network`."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_OPEN_EACH_FAMILY = """
import errno, socket
from models.isolation import drop_network

drop_network()
for family in range(64):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            socket.socket(family, kind).close()
        except OSError as error:
            if error.errno == errno.EACCES:
                continue
        print(family)
socket.socketpair()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs seccomp")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the filter knows these two")
def test_only_local_and_netlink_sockets_pass_the_filter():
    """Vsock reaches the host of a virtual machine, packet and XDP sockets the wire, SMC other hosts."""
    ended = subprocess.run([sys.executable, "-c", _OPEN_EACH_FAMILY], capture_output=True, text=True, check=True)
    assert set(ended.stdout.split()) == {"1", "16"}, "AF_UNIX and AF_NETLINK"
