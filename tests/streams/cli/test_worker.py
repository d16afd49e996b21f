"""`creatives worker` as a process of its own."""

import socket
import subprocess

import pytest
from click.testing import CliRunner

from streams.cli.main import cli
from tests.streams.cli.processes import CREATIVES, ROOT, environment


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"CREATIVES_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            "The broker at 127.0.0.1:1 does not answer: Connection refused. Start it, or correct CREATIVES_KAFKA__BOOT",
        ),
        (
            {"CREATIVES_STORAGE__ENDPOINT": "http://127.0.0.1:1", "CREATIVES_STORAGE__SIGNING_KEYS": "k" * 32},
            "The object store at http://127.0.0.1:1 does not answer",
        ),
        ({"CREATIVES_STORAGE__ENDPOINT": "http://127.0.0.1:1"}, "No signing key is set. Set CREATIVES_STORAGE__SIGN"),
        ({"CREATIVES_WEB__PORT": "taken"}, "CREATIVES_WEB__PORT"),
        ({"CREATIVES_STUDIO__DIFFUSION": "/no/such"}, "No weights for diffusion at /no/such: there is no such path"),
    ],
)
def test_a_worker_that_cannot_start_reports_the_reason_in_one_line(variables, message):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = environment(**{name: value.replace("taken", port) for name, value in variables.items()})
        done = subprocess.run([*CREATIVES, "worker"], env=env, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    reasons = [line for line in done.stderr.splitlines() if "cannot start" in line]
    assert len(reasons) == 1
    assert message in reasons[0]
    assert done.stderr.count("[error") == 1
    assert "Traceback" not in done.stderr


def test_every_command_accepts_debug_which_shows_where_a_start_failed():
    env = environment(CREATIVES_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    command = [*CREATIVES, "worker", "--debug"]
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "cannot start" in done.stderr
    assert "Traceback" in done.stderr
    for name in cli.commands:
        assert "--debug" in CliRunner().invoke(cli, [name, "--help"]).output, name
    quiet = CliRunner().invoke(cli, ["topics"], env={"CREATIVES_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    loud = CliRunner().invoke(cli, ["topics", "--debug"], env={"CREATIVES_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert ("Traceback" in quiet.output, "Traceback" in loud.output) == (False, True)
