"""The stages of a job: callbacks for their progress, and the named errors for their failures."""

from __future__ import annotations

import contextlib
import gc
import time
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import torch

from models.briefs import Stage
from models.errors import CreativesError, OutOfDeviceMemory, StageFailed, first_line

StepCallback = Callable[[int, int], None]
"""Takes the number of steps done and the total of one call. It may raise to end the call."""
StageCallback = Callable[[Stage, int, int], None]
"""Takes a stage, its number of units done and their total. It may raise to end the job."""

_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "STATUS_ALLOC_FAILED",
)  # CUDA; torch on a CPU; cuBLAS, cuDNN
_seconds: ContextVar[dict[str, float] | None] = ContextVar("stage_seconds", default=None)


def ignore_steps(_done: int, _total: int) -> None:
    """Do nothing: the default StepCallback."""


def ignore_stages(_stage: Stage, _done: int, _total: int) -> None:
    """Do nothing: the default StageCallback."""


def time_stages() -> dict[str, float]:
    """Return a dict to which every later stage of this thread adds its wall time, until the next call.

    A GPU works behind the calls, so the stage that waits for a result is charged for the kernels before it.
    """
    seconds: dict[str, float] = {}
    _seconds.set(seconds)
    return seconds


@contextlib.contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Run the block as one stage, and turn the libraries' errors into OutOfDeviceMemory or StageFailed.

    This is the boundary of the device process. An error of a library cannot cross the pipe and must not end the
    process, so every error of the block becomes a named one here. Our own errors, Cancelled included, pass unchanged.
    After a CUDA error (illegal access, ECC, a lost device) every later call of the process fails too. Such an error
    becomes SystemExit: the process exits, and the next one retries the work in a new CUDA context.
    """
    start = time.perf_counter()
    try:
        yield
    except CreativesError:
        raise
    except Exception as error:
        if _is_out_of_memory(error):
            free_memory(error)
            raise OutOfDeviceMemory(stage=name, detail=first_line(error)) from error
        if _device_is_lost(error) and name != "load":  # a process that cannot load reports the error and exits anyway
            traceback.print_exc()
            raise SystemExit(f"The device is lost in {name}: {first_line(error)}") from error
        raise StageFailed(stage=name, kind=type(error).__name__, detail=first_line(error)) from error
    finally:
        if (seconds := _seconds.get()) is not None:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def free_memory(error: BaseException | None = None) -> None:
    """Give the memory that torch keeps for later back to the device. Tensors in the frames of `error` are freed first.

    A traceback holds every local variable of the calls that failed, and so the tensors that filled the device.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    gc.collect()
    torch.cuda.empty_cache()


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed, by torch, by a CUDA library or, on a CPU, by the system."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )


def _device_is_lost(error: Exception) -> bool:
    """Return whether every later call of this process on the device fails too."""
    return isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and "CUDA error" in str(error))
