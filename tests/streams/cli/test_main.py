"""Behaviour that every command shares."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streams.cli.main import cli
from tests.streams.cli.processes import environment

ROOT = Path(__file__).parents[3]
COFFEE = ROOT / "docs" / "examples" / "coffee-enthusiast.json"


def test_the_help_of_every_command_has_examples_and_exit_codes():
    for name, command in cli.commands.items():
        text = CliRunner().invoke(cli, [name, "--help"]).output
        assert "Examples:\n  " in text, name
        assert "Exit codes:\n  " in text, name
        assert isinstance(command, click.Command)
    assert "creatives demo" in CliRunner().invoke(cli, ["--help"]).output


@pytest.mark.parametrize("arguments", [("emit", COFFEE), ("watch", "t", "--timeout", 9), ("topics",)])
def test_an_unreachable_broker_is_one_line_and_exit_code_1(run, arguments):
    failed = run(*arguments, CREATIVES_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert failed.exit_code == 1
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: The broker at 127.0.0.1:1 does not answer: Connection refused. Start it, or ")


def test_a_bug_is_one_line_or_a_traceback_with_debug(monkeypatch):
    from streams.cli import terminal

    def break_down():
        raise ValueError("not thought of")

    monkeypatch.setattr(terminal, "read_settings", break_down)
    plain = CliRunner().invoke(cli, ["topics"])
    assert plain.exit_code == 1
    assert plain.output.startswith("Error: unexpected ValueError: not thought of (run again with --debug to")
    assert "Traceback" in CliRunner().invoke(cli, ["--debug", "topics"]).output


def test_light_commands_start_fast():
    """A help page needs no torch, no Faust and no broker."""
    program = "import sys; import streams.cli.main; print(sorted({'torch', 'faust', 'aiokafka', 'moto', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("entry", ["from streams.cli.main import main; main()", "import streams.worker"])
def test_python_without_docstrings_is_refused_in_one_line(entry):
    """The docstrings are the error messages."""
    command = [sys.executable, "-OO", "-c", entry]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 1
    assert done.stderr == "creatives: error messages need docstrings; run Python without -OO and PYTHONOPTIMIZE=2.\n"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_GET_DUMPABLE is Linux's")
def test_every_command_hides_its_environment_from_other_processes_of_its_user():
    look = "import ctypes, streams.cli.__main__ as cli, streams.cli.main as main; "
    look += "main.main = lambda: print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)); cli.main()"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout == "0\n"
