import hashlib
import io
import json
from dataclasses import replace

import pytest
from PIL import Image
from rich.console import Console

from models.briefs import Brief, StudioPlan
from models.errors import WeightsNotFound
from streams.cli import local_device
from streams.cli.contact_sheet import TILE
from streams.cli.local_rendering import default_folder, render_locally, write_rendering
from streams.settings import DeviceSettings

BRIEF = Brief("r1", "a cup of coffee", "", seeds=(11, 12, 13), keep=2)


async def test_pictures_sheet_and_scores_are_written(tmp_path):
    result = await render_locally(BRIEF, StudioPlan(diffusion="fake"), DeviceSettings(), "tests.fakes:serve")
    paths = write_rendering(result, tmp_path / "out")
    assert [path.name for path in paths] == ["1-square-13.png", "2-square-12.png"]
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["prompt"] == "a cup of coffee"
    assert scores["negative_prompt"] == "blurry"
    assert [entry["sha256"] for entry in scores["pictures"]] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    ]
    assert sorted(candidate["seed"] for candidate in scores["candidates"]) == [11, 12, 13]
    with Image.open(tmp_path / "out" / "contact-sheet.png") as sheet:
        assert sheet.width > TILE


async def test_missing_weights_are_a_named_error():
    with pytest.raises(WeightsNotFound):
        await render_locally(BRIEF, StudioPlan(diffusion="missing"), DeviceSettings(), "tests.fakes:serve")


def test_folders_are_named_after_prompts():
    assert str(default_folder("A cup, of COFFEE/../x and more words")) == "generated/a-cup-of-coffee-x-and"
    assert str(default_folder("!!!")) == "generated/prompt"


async def test_every_stage_is_shown_however_short(monkeypatch):
    """The last four stages take no time: no update happens between them."""
    output = io.StringIO()
    monkeypatch.setattr(local_device, "err_console", Console(file=output))
    await render_locally(
        replace(BRIEF, prompt="stages"), StudioPlan(diffusion="fake"), DeviceSettings(), "tests.fakes:serve"
    )
    assert output.getvalue().splitlines() == [
        "loading the models",
        "generating candidates",
        "reranking with CLIP",
        "enlarging with SwinIR",
        "encoding",
    ]
