"""CONTRIBUTING.md sends a newcomer to files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = re.search(r"## Where is it\?\n(.+?)\n## ", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
PATH = re.compile(r"`((?:docs|models|schemas|scripts|streams|tests)/[^` ]*|[A-Za-z]+\.toml)`")
ROWS = [line.strip("|").split("|") for line in SECTION.splitlines() if line.startswith("| ")]
TASKS = [(task.strip(), PATH.findall(answer)) for task, answer in ROWS if answer.strip() not in {"", "open"}]


def test_a_newcomer_finds_at_least_twenty_tasks():
    assert len(TASKS) >= 20


@pytest.mark.parametrize(("task", "paths"), TASKS, ids=[task for task, _ in TASKS])
def test_every_task_names_paths_that_exist(task, paths):
    assert paths, f"{task}: no path"
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing, f"{task}: {missing}"
