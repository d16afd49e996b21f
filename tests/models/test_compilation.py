"""A compilation reports that it is alive, for a bounded time; compiled code that runs reports nothing.

Torch's handler is loaded from its file alone. Importing the package around it takes seconds, and starts threads of
autograd that would break tests that fork.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
import torch

from models.compilation import report_between
from models.errors import Cancelled


@pytest.fixture(scope="module")
def callbacks() -> ModuleType:
    path = Path(torch.__file__).parent / "_dynamo" / "callback.py"
    spec = importlib.util.spec_from_file_location("callback_of_dynamo", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ticking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "compilation"]


def test_each_compilation_reports_until_it_ends(callbacks: ModuleType) -> None:
    handler, reported = callbacks.CompilationCallbackHandler(), threading.Event()
    with report_between(handler, reported.set, interval=0.001, longest=10):
        for number in range(2):
            reported.clear()
            with handler.install_callbacks(callbacks.CallbackTrigger.DYNAMO, f"{number}/0"):
                assert reported.wait(5)
            for thread in ticking():
                thread.join(5)
            assert ticking() == []
    assert handler.start_callbacks == handler.end_callbacks == []


@pytest.mark.parametrize("ending", ["hangs", "cancelled"])
def test_a_compilation_that_hangs_or_is_cancelled_reports_no_more(callbacks: ModuleType, ending: str) -> None:
    handler, calls = callbacks.CompilationCallbackHandler(), []

    def report() -> None:
        calls.append(1)
        if ending == "cancelled":
            raise Cancelled

    with (
        report_between(handler, report, interval=0.001, longest=0.02),
        handler.install_callbacks(callbacks.CallbackTrigger.DYNAMO, "0/0"),
    ):
        for thread in ticking():
            thread.join(5)
        assert ticking() == []
    assert calls
    assert ending == "hangs" or len(calls) == 1


REAL = """
import threading
import torch
from models import compilation

compilation._INTERVAL = 0.001
reported, compilations = threading.Event(), []

def backend(graph, _inputs):  # the compiler: it returns only once progress was reported
    compilations.append(reported.wait(20))
    reported.clear()
    return graph.forward

model = torch.compile(torch.nn.Linear(2, 2), backend=backend, dynamic=False)
with torch.inference_mode(), compilation.report_compilation(reported.set):
    for batch in (1, 1, 2):  # another shape compiles again
        model(torch.zeros(batch, 2))
assert compilations == [True, True], compilations
"""


@pytest.mark.slow
def test_torch_compile_announces_a_recompilation() -> None:
    subprocess.run([sys.executable, "-c", REAL], check=True, timeout=100)
