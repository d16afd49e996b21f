"""Devices and precisions by name, and a look at the device without any weights."""

from __future__ import annotations

import platform
import re
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from models.briefs import DeviceSeen, StudioPlan
from models.errors import CreativesError, DeviceUnavailable

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def look(connection: Connection, plan: StudioPlan) -> None:
    """Send DeviceSeen of the plan's device, once it has computed something, or DeviceUnavailable. Runs in a child."""
    try:
        connection.send(seen(plan))
    except CreativesError as error:
        connection.send(error)


def seen(plan: StudioPlan) -> DeviceSeen:
    """Return what the plan's device is. Raises DeviceUnavailable, also where it cannot multiply in its precision."""
    device = device_named(plan.device)
    dtype = dtype_named(plan.dtype, device)
    try:
        ones = torch.ones(64, 64, device=device, dtype=dtype)
        right = float((ones @ ones)[0, 0]) == 64.0
    except RuntimeError as error:
        raise DeviceUnavailable(device=str(device), detail=_first_line(error)) from error
    if not right:
        raise DeviceUnavailable(device=str(device), detail=f"it multiplies wrongly in {dtype}.")
    precision = str(dtype).removeprefix("torch.")
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return DeviceSeen(str(device), torch.cuda.get_device_name(device), precision, torch.__version__, total, free)
    return DeviceSeen(str(device), _processor(), precision, torch.__version__)


def _processor() -> str:
    """Return the processor's name; Python's own does not know it on Linux."""
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
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        detail = f"{_first_line(error)} Choose another with CREATIVES_STUDIO__DEVICE (auto, cpu)."
        raise DeviceUnavailable(device=name, detail=detail) from error
    return device


def dtype_named(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of a name; `auto` is bfloat16 on CUDA and float32 elsewhere. Raises DeviceUnavailable."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise DeviceUnavailable(device=device.type, detail=f"dtype {name} is none of auto, {', '.join(DTYPES)}.")
    return DTYPES[name]


def module_device(module: torch.nn.Module) -> torch.device:
    """Return where the module's parameters lie."""
    return next(iter(module.parameters())).device


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
