import pytest

from streams.device.client import DeviceClient
from streams.ops import checks
from streams.ops.checks import BROKER, CODEC, DEVICE, EMBEDDED, MACHINE, MODELS, STORE, VERSIONS, run_check
from streams.requests import segment_recipe
from streams.segments.prompting import prompt_settings
from streams.settings import Settings
from tests import fakes


async def test_checks_without_services():
    settings = Settings(studio={"diffusion": "/no/such/weights", "device": "cpu"})
    selected = (VERSIONS, MACHINE, CODEC, DEVICE, BROKER, STORE, EMBEDDED)
    results = {check.name: await run_check(check, settings) for check in selected}
    assert all(result.passed for result in results.values())
    assert results["device"].lines[0].startswith("cpu: ")
    assert results["device"].lines[1].startswith("torch 2")
    assert "creatives services" in results["broker"].lines[0]
    assert results["codecs"].lines == ("reads batches that are compressed with gzip, snappy, lz4, zstd",)


@pytest.mark.parametrize("error", [NotImplementedError("Snappy codec is not available"), ImportError("cramjam")])
async def test_a_codec_that_does_not_load_fails_the_check(monkeypatch, error):
    def encode(_payload):
        raise error

    monkeypatch.setattr(checks.codec, "snappy_encode", encode)
    broken = await run_check(CODEC, Settings())
    assert (broken.passed, broken.lines) == (False, (f"snappy cannot be used ({error}): install with `make install`",))


async def test_topics_with_other_partitions_pass_with_a_line_each(settings):
    other = settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": 6})})
    result = await run_check(BROKER, other)
    assert result.passed
    assert result.lines[1] == "all 7 topics exist"
    names = f"{settings.topics.segment_updated} has 4 partitions, CREATIVES_TOPICS__PARTITIONS is 6"
    assert result.lines[2] == f"{names}: the setting applies at creation only"


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
    recipe = segment_recipe(fakes.RECIPE, prompt_settings("blurry"), Settings().studio).fingerprint
    first = f"on cpu, recipe {recipe}, studio_recipe {fakes.RECIPE.fingerprint}"
    assert working.lines == (first, "diffusion: fake (1, Apache-2.0)")


async def test_the_revision_of_the_weights_is_shown_in_full(monkeypatch):
    class Loaded:
        def __init__(self, *_): ...

        async def start(self):
            return fakes.ready(recipe=fakes.recipe("demo-2026.11.4"))

        async def stop(self): ...

    monkeypatch.setattr(checks, "DeviceClient", Loaded)
    shown = await run_check(MODELS, Settings())
    assert shown.lines[1] == "diffusion: fake (demo-2026.11.4, Apache-2.0)"
