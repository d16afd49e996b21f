import io

from rich.console import Console

from streams.cli.demo.collector import TRAINING_PREFIX
from streams.cli.progress import StageBars


def test_bars_fill_as_stages_end():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with StageBars(console) as bars:
        bars.show_stages({"load": (0, 0)})
        bars.show_stages({"generate": (3, 20)})
        bars.show_stages({"generate": (20, 20), "rerank": (1, 8)})
        bars.finish()
        bars.show_count("segments", 1, 3)
        states = {task.description: (task.completed, task.total) for task in bars._progress.tasks}
    assert states == {
        "loading the models": (1, 1),
        "generating candidates": (20, 20),
        "reranking with CLIP": (8, 8),
        "segments": (1, 3),
    }


def test_two_device_processes_have_bars_of_their_own():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with StageBars(console) as bars:
        bars.show_process("busy", {"generate": (3, 20)})
        bars.show_process("busy", {"train": (30, 120)}, TRAINING_PREFIX)
        bars.show_process("busy", {"generate": (9, 20)})
        states = {task.description: (task.completed, task.total) for task in bars._progress.tasks}
        assert states == {"generating candidates": (9, 20), "products: training on the photos": (30, 120)}
        bars.show_process("busy", {"evaluate": (1, 8)}, TRAINING_PREFIX)
        assert {task.description: task.finished for task in bars._progress.tasks} == {
            "generating candidates": False,
            "products: training on the photos": True,
            "products: evaluating": False,
        }


def test_without_a_terminal_every_stage_is_one_line():
    file = io.StringIO()
    with StageBars(Console(file=file)) as bars:
        for stages in ({"generate": (1, 2)}, {"generate": (2, 2), "rerank": (1, 2)}, {"generate": (1, 2)}):
            bars.show_stages(stages)
    assert file.getvalue().splitlines() == ["generating candidates", "reranking with CLIP"]


def test_without_a_terminal_a_long_stage_prints_a_line_every_ten_seconds():
    file, now = io.StringIO(), 100.0
    with StageBars(Console(file=file), lambda: now) as bars:
        bars.show_count("events", 0, 2)
        for second in range(25):
            now = 100.0 + second
            bars.show_process("loading", {})
        for second in range(60):
            now = 125.0 + second
            bars.show_stages({"train": (second * 2, 118)}, TRAINING_PREFIX)
        bars.show_count("events", 1, 2)
        bars.finish()
    lines = file.getvalue().splitlines()
    assert lines[:3] == ["loading the models", "loading the models: 10 s", "loading the models: 20 s"]
    training = [f"products: training on the photos: {done}/118" for done in (20, 40, 60, 80, 100)]
    assert lines[3:] == ["products: training on the photos", *training, "events: 1/2"]
