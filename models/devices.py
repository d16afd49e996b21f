"""Devices and precisions by name, and a probe of the device that needs no weights."""

from __future__ import annotations

import platform
import re
from dataclasses import replace
from pathlib import Path

import torch

from models.briefs import DeviceProbe, StudioPlan
from models.connection import Connection
from models.errors import CreativesError, DeviceUnavailable, first_line
from models.isolation import drop_network, refused_rights

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CHOOSE = "Choose another with CREATIVES_STUDIO__DEVICE (auto, cpu)."


def send_probe(connection: Connection, plan: StudioPlan) -> None:
    """Send the DeviceProbe of the plan's device, or DeviceUnavailable. This is the entry of a child process."""
    if not plan.network:
        drop_network()  # as the device process of a worker does, so that the check shows whether this machine can
    try:
        connection.send(replace(probe_device(plan), refused=refused_rights()))
    except CreativesError as error:
        connection.send(error)


def probe_device(plan: StudioPlan) -> DeviceProbe:
    """Return a description of the plan's device after one multiplication on it in the plan's precision.

    Raises DeviceUnavailable if the device is missing, or if the multiplication fails or is wrong.
    """
    device = device_named(plan.device)
    dtype = dtype_named(plan.dtype, device)
    try:
        ones = torch.ones(64, 64, device=device, dtype=dtype)
        right = float((ones @ ones)[0, 0]) == 64.0
    except RuntimeError as error:
        raise DeviceUnavailable(device=str(device), detail=f"{first_line(error)}. {CHOOSE}") from error
    if not right:
        raise DeviceUnavailable(device=str(device), detail=f"a test multiplication in {dtype} is wrong. {CHOOSE}")
    precision, version = str(dtype).removeprefix("torch."), str(torch.__version__)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return DeviceProbe(str(device), torch.cuda.get_device_name(device), precision, version, total, free)
    return DeviceProbe(str(device), _processor_name(), precision, version)


def memory_of_others(device: torch.device) -> int:
    """Return the bytes of a CUDA device's memory that torch in this process does not hold, 0 for other devices.

    They belong to other processes, and a constant share to this one's CUDA context.
    """
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return total - free - torch.cuda.memory_reserved(device)


def _processor_name() -> str:
    """Return the processor's name, from /proc/cpuinfo on Linux, and torch's number of threads."""
    table = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", table.read_text(), re.MULTILINE) if table.is_file() else None
    return f"{named[1] if named else platform.machine()}, threads: {torch.get_num_threads()}"


def device_named(name: str) -> torch.device:
    """Return the device of a name (`auto`, `cpu`, `cuda`, `cuda:1`, `mps`). Raises DeviceUnavailable."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # AssertionError: torch built without CUDA
        raise DeviceUnavailable(device=name, detail=f"{first_line(error)}. {CHOOSE}") from error
    return device


def dtype_named(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of a name; `auto` is bfloat16 on CUDA and float32 elsewhere. Raises DeviceUnavailable."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        detail = f"there is no precision {name}. Set CREATIVES_STUDIO__DTYPE to auto, {', '.join(DTYPES)}."
        raise DeviceUnavailable(device=device.type, detail=detail)
    return DTYPES[name]


def module_device(module: torch.nn.Module) -> torch.device:
    """Return the device of the module's parameters."""
    return next(iter(module.parameters())).device
