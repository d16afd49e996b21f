"""Commands run as a user runs them: in processes of their own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from streams.cli.embedded_services import write_env_file
from streams.cli.main import cli
from streams.ops.checks import BROKER, DEVICE, EMBEDDED, MACHINE, MODELS, STORE, VERSIONS, examine
from streams.settings import Settings
from streams.store.s3 import MinioStore
from tests.fakes import recipe

ROOT = Path(__file__).parents[3]
CREATIVES = [sys.executable, "-m", "streams.cli"]


def environment(**more):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CREATIVES_")}
    return {**clean, **more}


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """`creatives services` in a process of its own; yields its environment, and is ended by Ctrl-C."""
    file = tmp_path_factory.mktemp("services") / "services.env"
    file.write_text("STALE=1\n")
    process = subprocess.Popen(
        [*CREATIVES, "services", "--env-file", file],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 60
    while not (file.exists() and "CREATIVES" in file.read_text()) and time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    mode = file.stat().st_mode & 0o777
    variables = dict(line.split("=", 1) for line in file.read_text().splitlines())
    yield variables, mode
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 0, output
    assert output.splitlines()[-1] == "stopped"
    assert "Traceback" not in output
    assert not file.exists()


def test_the_env_file_names_what_a_client_needs_and_is_private(services):
    variables, mode = services
    assert sorted(variables) == [
        "CREATIVES_KAFKA__BOOTSTRAP_SERVERS",
        "CREATIVES_STORAGE__ACCESS_KEY",
        "CREATIVES_STORAGE__BUCKET",
        "CREATIVES_STORAGE__ENDPOINT",
        "CREATIVES_STORAGE__SECRET_KEY",
    ]
    assert mode == 0o600


def test_another_process_emits_and_watches(services):
    env = environment(**services[0])
    sent = subprocess.run(
        [*CREATIVES, "emit", "docs/examples/healthy-vegan.json"],
        env=env,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (sent.returncode, sent.stderr) == (0, "")
    watch = [*CREATIVES, "watch", "segment-updated", "--from-beginning", "--count", "1", "--timeout", "20", "--json"]
    seen = subprocess.run(watch, env=env, check=False, capture_output=True, text=True, cwd=ROOT)
    assert seen.returncode == 0, seen.stderr
    assert '"segment_id":"healthy-vegan"' in seen.stdout


def test_a_reader_that_has_seen_enough_is_no_error(services):
    """`creatives watch ... | head -1` closes the pipe."""
    env = environment(**services[0])
    emit = " ".join([*CREATIVES, "emit", "-"])
    watch = " ".join([*CREATIVES, "watch", "segment-updated", "--from-beginning", "--json", "--timeout", "8"])
    script = f"{emit} < docs/examples/milosnik-kawy.json; {emit} < docs/examples/healthy-vegan.json; {watch} | head -1"
    done = subprocess.run(script, shell=True, env=env, check=False, capture_output=True, text=True, cwd=ROOT)
    assert len(done.stdout.splitlines()) == 3
    assert "does not answer" not in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_and_topics_find_both_in_order(services):
    runner = CliRunner()
    for command in (["doctor", "--no-models"], ["topics", "--create"]):
        result = runner.invoke(cli, command, env=services[0])
        assert result.exit_code == 0, result.output
        assert services[0]["CREATIVES_STORAGE__ENDPOINT"] in result.output
        assert services[0]["CREATIVES_STORAGE__SECRET_KEY"] not in result.output


async def test_doctor_says_who_waits_for_a_product(services):
    names = ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "BUCKET")
    storage = {name.lower(): services[0][f"CREATIVES_STORAGE__{name}"] for name in names}
    settings = Settings(storage=storage)
    assert len((await examine(STORE, settings)).lines) == 1
    store = MinioStore(settings.storage)
    for product, count in (("milk", 1), ("jam", 3)):
        for number in range(count):
            await store.put(f"parked/{product}/{number}.json", b"{}", "application/json")
    finding = await examine(STORE, settings)
    store.close()
    assert finding.lines[1] == "4 segments wait for a product to be learned: jam 3, milk 1"


def test_a_missing_bucket_is_named_and_made(services):
    env = {**services[0], "CREATIVES_STORAGE__BUCKET": "other-bucket"}
    runner = CliRunner()
    missing = runner.invoke(cli, ["topics"], env=env)
    assert missing.exit_code == 1
    assert "CREATIVES_STORAGE__BUCKET" in missing.output
    assert runner.invoke(cli, ["topics", "--create"], env=env).exit_code == 0


def test_doctor_says_what_does_not_work():
    env = {"CREATIVES_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "CREATIVES_STORAGE__ENDPOINT": "http://127.0.0.1:1"}
    result = CliRunner().invoke(cli, ["doctor", "--no-models"], env=env)
    assert result.exit_code == 1
    assert "BROKEN  broker" in result.output
    assert "BROKEN  store" in result.output
    assert "Not working: broker, store." in result.output


async def test_checks_without_services():
    settings = Settings(studio={"diffusion": "/no/such/weights", "device": "cpu"})
    looked_at = (VERSIONS, MACHINE, DEVICE, BROKER, STORE, EMBEDDED)
    findings = {check.name: await examine(check, settings) for check in looked_at}
    assert all(finding.works for finding in findings.values())
    assert findings["device"].lines[0].startswith("cpu: ")
    assert findings["device"].lines[1].startswith("torch 2")
    assert "creatives services" in findings["broker"].lines[0]


def test_a_broken_device_is_the_devices_finding_and_not_the_models():
    result = CliRunner().invoke(cli, ["doctor"], env={"CREATIVES_STUDIO__DEVICE": "cuda:99"})
    assert result.exit_code == 1
    assert "BROKEN  device    The device cuda:99 cannot be used: " in result.output
    assert "Choose another with CREATIVES_STUDIO__DEVICE" in result.output
    assert "models" not in result.output
    assert "Not working: device." in result.output


async def test_a_device_process_that_dies_is_a_finding(monkeypatch):
    from streams.ops import checks

    monkeypatch.setattr(checks, "DEVICE_ENTRY", "os:abort")
    broken = await examine(DEVICE, Settings())
    assert not broken.works
    assert broken.lines[0].startswith("The device auto cannot be used: its process ")


async def test_missing_weights_are_a_finding(monkeypatch):
    from streams.device.client import DeviceClient
    from streams.ops import checks

    monkeypatch.setattr(checks, "DeviceClient", lambda plan, device: DeviceClient(plan, device, "tests.fakes:serve"))
    broken = await examine(MODELS, Settings(studio={"diffusion": "missing"}))
    assert not broken.works
    working = await examine(MODELS, Settings(studio={"diffusion": "fake"}))
    assert working.lines == ("on cpu, recipe 000000000000", "diffusion: fake (1, Apache-2.0)")


async def test_doctor_tells_two_sets_of_the_familys_weights_apart(monkeypatch):
    from streams.ops import checks

    class Loaded:
        def __init__(self, *_): ...

        async def start(self):
            return SimpleNamespace(device="cpu", recipe=recipe("demo-2026.11.4"))

        async def stop(self): ...

    monkeypatch.setattr(checks, "DeviceClient", Loaded)
    seen = await examine(MODELS, Settings())
    assert seen.lines[1] == "diffusion: fake (demo-2026.11.4, Apache-2.0)"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"CREATIVES_KAFKA__BOOTSTRAP_SERVER": "x"}, "CREATIVES_KAFKA__BOOTSTRAP_SERVER: there is no such setting"),
        ({"CREATIVES_WEB__PORT": "high"}, "CREATIVES_WEB__PORT: "),
        ({"CREATIVES_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}, "CREATIVES_KAFKA: SASL needs SASL_MECHANISM"),
        ({"CREATIVES_KAFKA__BOOTSTRAP_SERVERS": ""}, "CREATIVES_KAFKA__BOOTSTRAP_SERVERS: must be host:port"),
        (
            {"CREATIVES_KAFKA__CA_FILE": "/nope.pem"},
            "CREATIVES_KAFKA__CA_FILE: the file '/nope.pem' cannot be read: No",
        ),
        ({"CREATIVES_STORAGE__CA_FILE": "/"}, "CREATIVES_STORAGE__CA_FILE: the file '/' cannot be read: Is a dir"),
        ({"CREATIVES_STORAGE__BUCKET": "zz"}, "CREATIVES_STORAGE__BUCKET: must be 3 to 63 lower-case letters"),
        ({"CREATIVES_STORAGE__ENDPOINT": "minio:9000"}, "CREATIVES_STORAGE__ENDPOINT: must be http://host:port"),
        ({"CREATIVES_TOPICS__CREATIVE_READY": "a/b"}, "CREATIVES_TOPICS__CREATIVE_READY: must be 1 to 249 letters"),
        ({"CREATIVES_TOPICS__CREATIVE_READY": "segment-updated"}, "CREATIVES_TOPICS: two topics have one name"),
        ({"CREATIVES_TRAINING__ALLOWED_HOSTS": "example.org"}, "CREATIVES_TRAINING__*: a list"),
    ],
)
def test_wrong_settings_are_named_and_their_values_are_not(variables, words):
    secret = {"CREATIVES_STORAGE__SECRET_KEY": "hunter2", "CREATIVES_KAFKA__PASSWORD": "hunter2"}
    result = CliRunner().invoke(cli, ["topics"], env={**secret, **variables})
    assert result.exit_code == 2
    assert words in result.output
    assert "hunter2" not in result.output
    assert "Traceback" not in result.output


def test_an_env_file_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OSError):
        write_env_file(tmp_path / "missing" / "file", {"A": "1"})
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_env_file(tmp_path / "taken", {"A": "1"})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_bugs_are_one_line_and_a_traceback_with_debug(monkeypatch):
    from streams.cli import terminal

    def break_down():
        raise ValueError("not thought of")

    monkeypatch.setattr(terminal, "read_settings", break_down)
    plain = CliRunner().invoke(cli, ["topics"])
    assert plain.exit_code == 1
    assert plain.output.startswith("Error: unexpected ValueError: not thought of (run again with --debug to")
    assert "Traceback" in CliRunner().invoke(cli, ["--debug", "topics"]).output


def test_light_commands_start_fast():
    """No torch, no Faust, no broker for a help page."""
    words = "import sys; import streams.cli; print(sorted({'torch', 'faust', 'aiokafka', 'moto', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"CREATIVES_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            "The broker at 127.0.0.1:1 does not answer: Connection refused. Start it, or correct CREATIVES_KAFKA__BOOT",
        ),
        (
            {"CREATIVES_STORAGE__ENDPOINT": "http://127.0.0.1:1"},
            "The object store at http://127.0.0.1:1 does not answer",
        ),
        ({"CREATIVES_WEB__PORT": "taken"}, "CREATIVES_WEB__PORT"),
    ],
)
def test_a_worker_that_cannot_work_says_why_in_a_line(variables, words):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = environment(**{name: value.replace("taken", port) for name, value in variables.items()})
        done = subprocess.run([*CREATIVES, "worker"], env=env, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    reasons = [line for line in done.stderr.splitlines() if "cannot start" in line]
    assert len(reasons) == 1
    assert words in reasons[0]
    assert done.stderr.count("[error") == 1
    assert "Traceback" not in done.stderr


def test_debug_is_taken_behind_any_command_and_shows_where_a_start_failed():
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


def test_a_second_demo_worker_gets_another_port():
    from streams.cli.demo.outcomes import free_port

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert asyncio.iscoroutinefunction(examine)
