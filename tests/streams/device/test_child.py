"""What a device process gets: the variables and files that it needs, and nothing that is secret."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from models.briefs import StudioPlan
from models.errors import StageFailed
from streams.device.child import child_environment
from streams.device.client import DeviceClient
from streams.device.process import DeviceProcess
from streams.failures import DeviceProcessDied
from tests.streams.device.helpers import SETTINGS, Open, brief, ignore_checkpoint, training_job, until

SECRETS = {
    "CREATIVES_STORAGE__SECRET_KEY": "hidden",
    "CREATIVES_KAFKA__PASSWORD": "hidden",
    "AWS_SECRET_ACCESS_KEY": "hidden",
    "MINIO_ROOT_PASSWORD": "hidden",
}


def test_the_environment_holds_what_the_libraries_read_and_no_secret() -> None:
    needed = {
        "PATH": "/bin",
        "HOME": "/root",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "1",
        "HF_HOME": "/hf",
        "OMP_NUM_THREADS": "2",
    }
    passed = child_environment(SECRETS | needed | {"OTHER": "x"})
    assert passed == needed | {"PYTHONPATH": passed["PYTHONPATH"]}
    assert str(Path(sys.prefix)) in passed["PYTHONPATH"]


def test_a_setting_passes_more_variables_but_never_a_setting() -> None:
    passed = child_environment(SECRETS | {"ROCM_PATH": "/opt", "MY_A": "1", "MY_B": "2"}, ("ROCM_PATH", "MY_*", "*"))
    assert {"ROCM_PATH", "MY_A", "MY_B"} < passed.keys()
    assert not any(name.startswith("CREATIVES_") for name in passed)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and seccomp")
async def test_a_real_device_process_finds_no_secret_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    process = DeviceProcess("tests.streams.device.hostile_studio:look_around", StudioPlan())
    environ = Path(f"/proc/{process.pid}/environ").read_bytes()  # noqa: ASYNC240
    assert b"PATH=" in environ
    assert b"hidden" not in environ
    await process.ended.wait()
    message = process.messages.get_nowait()
    assert isinstance(message, StageFailed)
    found = dict(line.split(" ", 1) for line in str(message.fields["detail"]).splitlines())
    assert not set(SECRETS) & set(found["environment"].split())
    assert found["files"] == "1", "the pipe, beside stdin, stdout and stderr"
    assert (found["parent"], found["internet"], found["child's"]) == ("refused", "refused", "internet refused")


async def test_the_status_shows_what_the_kernel_refuses(open_device: Open) -> None:
    device = await open_device()
    assert device.status().isolation == ("new_privileges",), "the fake studio keeps its network"


@pytest.mark.parametrize("kind", ["checkpoint", "concept"])
@pytest.mark.parametrize("place", ["/etc/hostname", "{work}/../other", "{work}/link/hostname", "{work}"])
async def test_a_child_that_names_a_file_outside_its_folder_is_killed(tmp_path: Path, kind: str, place: str) -> None:
    """The worker would upload any file that it may read."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "link").symlink_to("/etc")
    plan = StudioPlan(diffusion=kind, reranking=place.format(work=work))
    device = DeviceClient(plan, SETTINGS, "tests.streams.device.hostile_studio:name_file")
    await device.start()
    try:
        with pytest.raises(DeviceProcessDied, match="named a file outside its job's folder"):
            await device.train(training_job(tmp_path), ignore_checkpoint)
        await until(lambda: device.status().restarts)
    finally:
        await device.stop(grace=0)


HUB = {"HF_TOKEN": "t", "HUGGINGFACE_HUB_TOKEN": "t", "HTTPS_PROXY": "http://u:p@proxy", "https_proxy": "x"}


def test_the_hubs_token_and_the_proxies_pass_only_if_weights_may_come_from_a_hub() -> None:
    environ = {"HF_HOME": "/hf", **HUB}
    assert child_environment(environ, hub=True).keys() == {*environ, "PYTHONPATH"}
    assert child_environment(environ).keys() == {"HF_HOME", "PYTHONPATH"}
    assert child_environment(environ, ("HF_TOKEN",)).keys() == {"HF_HOME", "HF_TOKEN", "PYTHONPATH"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(("diffusion", "passed"), [("demo", False), ("owner/name@1234", True)])
async def test_a_process_gets_the_hubs_token_by_its_plan(
    monkeypatch: pytest.MonkeyPatch, diffusion: str, *, passed: bool
) -> None:
    monkeypatch.setenv("HF_TOKEN", "the-token")
    process = DeviceProcess("tests.streams.device.hostile_studio:look_around", StudioPlan(diffusion=diffusion))
    environ = Path(f"/proc/{process.pid}/environ").read_bytes()  # noqa: ASYNC240
    process.kill("was stopped")
    await process.ended.wait()
    assert (b"the-token" in environ) is passed


@pytest.mark.parametrize("kind", ["pictures", "answers", "progress", "ready"])
async def test_a_child_that_sends_what_no_job_awaits_is_killed(kind: str) -> None:
    """Nobody would take the messages out of the worker's memory."""
    device = DeviceClient(StudioPlan(diffusion=kind), SETTINGS, "tests.streams.device.hostile_studio:send_unasked")
    await device.start()
    child = device._starter.process
    assert child is not None
    try:
        await asyncio.wait_for(child.ended.wait(), 10)
        assert "sent an invalid message" in str(child._kill_reason)
        assert "awaits" in str(child._kill_reason)
    finally:
        await device.stop(grace=0)


async def test_a_cancellation_that_the_worker_did_not_ask_for_is_a_failure() -> None:
    """The worker stops if an event of its own is Cancelled."""
    device = DeviceClient(StudioPlan(), SETTINGS, "tests.streams.device.hostile_studio:cancel_all")
    await device.start()
    try:
        with pytest.raises(StageFailed, match="the worker did not cancel it"):
            await device.render(brief("a"))
    finally:
        await device.stop(grace=0)
