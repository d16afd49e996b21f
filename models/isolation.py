"""Takes rights away from the device process. Linux only; elsewhere, and on other processors, each step does nothing.

`limit_process` runs before anything else. `drop_network` runs once the weights are there: a hub id needs the network.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path

OPEN_FILES = 4096
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # <linux/prctl.h>
# What root keeps: the five about files (0 to 4), IPC_LOCK for pinned memory, SYS_NICE; see <linux/capability.h>.
_KEPT_CAPABILITIES = 0b11111 | 1 << 14 | 1 << 23
_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 1, 1  # <linux/seccomp.h>
_ALLOW, _REFUSE_EACCES, _KILL_PROCESS = 0x7FFF0000, 0x00050000 | 13, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # <linux/bpf_common.h>
_AF_UNIX, _AF_NETLINK = 1, 16
_IO_URING_SETUP = 425
# By machine: the processor as the kernel calls it in a filter, and its numbers of socket() and seccomp().
_MACHINES = {"x86_64": (0xC000003E, 41, 317), "aarch64": (0xC00000B7, 198, 277)}


def hide_from_children() -> None:
    """Let no other process of this user, such as the device process, read this one's memory or environment."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def limit_process(parent: int) -> None:
    """Write no core dump, gain no rights, read no other process, and die with the process `parent`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = min(OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # the kernel acts even while C code holds the interpreter
        _drop_capabilities(library)
    if os.getppid() != parent:  # it died before the kernel watched it
        os._exit(1)


def _drop_capabilities(library: ctypes.CDLL) -> None:
    """Give up root's other rights, if this is root: with PTRACE, PERFMON or SYS_ADMIN it could read the worker."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    sets = ctypes.create_string_buffer(24)  # twice effective, permitted, inheritable: bits 0 to 31, then 32 to 63
    if library.capget(header, sets) == 0:
        low = [bits & _KEPT_CAPABILITIES for bits in struct.unpack_from("=3I", sets)]
        library.capset(header, struct.pack("=6I", *low, 0, 0, 0))


def refused_rights(process: int | str = "self") -> tuple[str, ...]:
    """Return what the kernel refuses a process: `network`, `new_privileges`. Empty where it does not show that."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return ()
    state = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    rights = {"network": ("Seccomp", "2"), "new_privileges": ("NoNewPrivs", "1")}
    return tuple(right for right, (name, value) in rights.items() if state.get(name) == value)


def drop_network() -> None:
    """Refuse every thread of this process new sockets that reach beyond this machine's kernel, for good.

    A seccomp filter answers EACCES to socket() with any family but AF_UNIX and AF_NETLINK, and to io_uring, which could
    open one too. A call in the table of another processor (32-bit code) ends the process.
    """
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return
    audit, socket_number, seccomp_number = _MACHINES[platform.machine()]
    # Operation, jump if true, jump if false, value. Offsets of a call's fields: 0 number, 4 processor, 16 family.
    steps = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 5, 0, 0x40000000),  # the x32 table
        (_EQUAL, 4, 0, _IO_URING_SETUP),
        (_EQUAL, 0, 4, socket_number),
        (_LOAD, 0, 0, 16),
        (_EQUAL, 2, 0, _AF_UNIX),
        (_EQUAL, 1, 0, _AF_NETLINK),
        (_RETURN, 0, 0, _REFUSE_EACCES),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    library = ctypes.CDLL(None)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # the kernel takes no filter from a process without it
    library.syscall(seccomp_number, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, program)
