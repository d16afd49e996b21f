from types import SimpleNamespace

from streams.device.client import DeviceClient
from streams.ops import checks
from streams.ops.checks import BROKER, DEVICE, EMBEDDED, MACHINE, MODELS, STORE, VERSIONS, run_check
from streams.settings import Settings
from tests.fakes import recipe


async def test_checks_without_services():
    settings = Settings(studio={"diffusion": "/no/such/weights", "device": "cpu"})
    selected = (VERSIONS, MACHINE, DEVICE, BROKER, STORE, EMBEDDED)
    results = {check.name: await run_check(check, settings) for check in selected}
    assert all(result.passed for result in results.values())
    assert results["device"].lines[0].startswith("cpu: ")
    assert results["device"].lines[1].startswith("torch 2")
    assert "creatives services" in results["broker"].lines[0]


async def test_a_device_process_that_dies_fails_the_check(monkeypatch):
    monkeypatch.setattr(checks, "DEVICE_ENTRY", "os:abort")
    broken = await run_check(DEVICE, Settings())
    assert not broken.passed
    assert broken.lines[0].startswith("The device auto cannot be used: its process ")


async def test_missing_weights_fail_the_check(monkeypatch):
    monkeypatch.setattr(checks, "DeviceClient", lambda plan, device: DeviceClient(plan, device, "tests.fakes:serve"))
    broken = await run_check(MODELS, Settings(studio={"diffusion": "missing"}))
    assert not broken.passed
    working = await run_check(MODELS, Settings(studio={"diffusion": "fake"}))
    assert working.lines == ("on cpu, recipe 000000000000", "diffusion: fake (1, Apache-2.0)")


async def test_the_revision_of_the_weights_is_shown_in_full(monkeypatch):
    class Loaded:
        def __init__(self, *_): ...

        async def start(self):
            return SimpleNamespace(device="cpu", recipe=recipe("demo-2026.11.4"))

        async def stop(self): ...

    monkeypatch.setattr(checks, "DeviceClient", Loaded)
    shown = await run_check(MODELS, Settings())
    assert shown.lines[1] == "diffusion: fake (demo-2026.11.4, Apache-2.0)"
