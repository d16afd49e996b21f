"""`creatives services` as a process of its own, with the commands that use it."""

import signal
import subprocess
import time

import pytest
from click.testing import CliRunner

from streams.cli.main import cli
from streams.ops.checks import STORE, run_check
from streams.settings import Settings
from streams.store.s3 import MinioStore
from tests.streams.cli.processes import CREATIVES, ROOT, environment


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """Run `creatives services` and yield the variables and the mode of its env file; Ctrl-C stops it."""
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


def test_the_env_file_has_every_variable_of_a_client_and_is_private(services):
    variables, mode = services
    assert sorted(variables) == [
        "CREATIVES_KAFKA__BOOTSTRAP_SERVERS",
        "CREATIVES_KAFKA__EMBEDDED",
        "CREATIVES_STORAGE__ACCESS_KEY",
        "CREATIVES_STORAGE__BUCKET",
        "CREATIVES_STORAGE__ENDPOINT",
        "CREATIVES_STORAGE__SECRET_KEY",
        "CREATIVES_STORAGE__SIGNING_KEYS",
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


def test_a_closed_pipe_is_no_error(services):
    """`creatives watch ... | head -1` closes the pipe."""
    env = environment(**services[0])
    emit = " ".join([*CREATIVES, "emit", "-"])
    watch = " ".join([*CREATIVES, "watch", "segment-updated", "--from-beginning", "--json", "--timeout", "8"])
    script = f"{emit} < docs/examples/milosnik-kawy.json; {emit} < docs/examples/healthy-vegan.json; {watch} | head -1"
    done = subprocess.run(script, shell=True, env=env, check=False, capture_output=True, text=True, cwd=ROOT)
    assert len(done.stdout.splitlines()) == 3
    assert "does not answer" not in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_and_topics_accept_both(services):
    runner = CliRunner()
    for command in (["doctor", "--no-models"], ["topics", "--create"]):
        result = runner.invoke(cli, command, env=services[0])
        assert result.exit_code == 0, result.output
        assert services[0]["CREATIVES_STORAGE__ENDPOINT"] in result.output
        assert services[0]["CREATIVES_STORAGE__SECRET_KEY"] not in result.output
        assert services[0]["CREATIVES_STORAGE__SIGNING_KEYS"] not in result.output


async def test_doctor_counts_segments_that_wait_for_a_product(services):
    names = ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "BUCKET")
    storage = {name.lower(): services[0][f"CREATIVES_STORAGE__{name}"] for name in names}
    settings = Settings(storage=storage)
    assert len((await run_check(STORE, settings)).lines) == 2
    store = MinioStore(settings.storage)
    for product, count in (("milk", 1), ("jam", 3)):
        for number in range(count):
            await store.put(f"parked/{product}/{number}.json", b"{}", "application/json")
    result = await run_check(STORE, settings)
    store.close()
    assert result.lines[2] == "4 segments wait for a product that is not trained yet: jam 3, milk 1"


def test_a_missing_bucket_is_named_and_created(services):
    env = {**services[0], "CREATIVES_STORAGE__BUCKET": "other-bucket"}
    runner = CliRunner()
    missing = runner.invoke(cli, ["topics"], env=env)
    assert missing.exit_code == 1
    assert "CREATIVES_STORAGE__BUCKET" in missing.output
    assert runner.invoke(cli, ["topics", "--create"], env=env).exit_code == 0
