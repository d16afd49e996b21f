"""Prompts without a worker equal those of a worker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import WeightsNotFound
from schemas.events import SegmentUpdated
from streams.cli.local_prompter import local_prompter, stand_in, subjects
from streams.requests import ShownProduct
from streams.segments.prompting import Prompter
from streams.segments.token_count import TokenCounter
from streams.settings import StudioSettings
from tests.streams.segments.examples import segment
from tests.streams.world import product

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "models" / "demo"
CONFIG = "tokenizer_config.json"
LONG = segment(keywords=[f"thing number {n} with a long name" for n in range(20)], interests=["crème brûlée"])


def settings(**changes: object) -> StudioSettings:
    return StudioSettings.model_validate(changes)


def test_the_prompts_of_the_demo_family_are_those_of_its_tokenizer() -> None:
    folder = DEMO / "diffusion" / "tokenizer"
    prompt = local_prompter(settings()).compose(LONG)
    assert prompt.tokens == TokenCounter(str(folder)).count(prompt.text)
    assert prompt.rationale[-1].endswith(f"of {json.loads((folder / CONFIG).read_text())['model_max_length']} tokens")
    assert prompt.negative == json.loads((DEMO / "family.json").read_text())["negative_prompt"]


def test_a_folder_brings_its_own_tokenizer_and_negative_prompt(tmp_path: Path) -> None:
    shutil.copytree(DEMO / "diffusion" / "tokenizer", tmp_path / "tokenizer")
    config = tmp_path / "tokenizer" / CONFIG
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 20}))
    (tmp_path / "family.json").write_text('{"negative_prompt": "ugly", "vocabulary": {"pudding": ["thing"]}}')
    prompt = local_prompter(settings(diffusion=str(tmp_path))).compose(LONG)
    assert prompt.rationale[-1].endswith("of 20 tokens")
    assert prompt.negative == "ugly"
    assert "vocabulary" in local_prompter(settings(diffusion=str(tmp_path))).recipe_settings
    assert local_prompter(settings(diffusion=str(tmp_path), negative_prompt="")).compose(LONG).negative == ""


@pytest.mark.parametrize("reference", ["owner/name@main", "FILE"])
def test_other_weights_have_clips_own_tokenizer(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.weights import vocabulary

    monkeypatch.setattr(vocabulary, "clip_vocabulary", lambda: DEMO / "diffusion" / "tokenizer")
    (tmp_path / "model.safetensors").touch()
    reference = str(tmp_path / "model.safetensors") if reference == "FILE" else reference
    prompt = local_prompter(settings(diffusion=reference)).compose(LONG)
    demo = Prompter(str(DEMO / "diffusion" / "tokenizer"), 77, "")
    assert prompt == demo.compose(LONG)
    assert demo.recipe_settings == local_prompter(settings(diffusion=reference)).recipe_settings


@pytest.mark.parametrize("reference", ["owner/name", "/no/such@folder"])
def test_weights_that_cannot_exist_are_refused(reference: str) -> None:
    with pytest.raises(WeightsNotFound, match="there is no such path"):
        local_prompter(settings(diffusion=reference))


def test_the_prompt_names_a_product_as_its_registration_does() -> None:
    named = subjects([product(), product(product_id="milk", method="textual_inversion")])
    assert named == {
        "jam": ShownProduct("sks jar of jam", "jar of jam"),
        "milk": ShownProduct("<milk>", "jar of jam"),
    }
    assert stand_in("Jam-2").words == "<jam-2>"


def test_prompts_need_no_torch() -> None:
    code = """
import sys
from streams.cli.local_prompter import local_prompter
from streams.settings import StudioSettings
local_prompter(StudioSettings())
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_an_event_of_the_examples_has_a_prompt() -> None:
    event = SegmentUpdated.model_validate_json((ROOT / "docs" / "examples" / "milosnik-kawy.json").read_bytes())
    assert local_prompter(settings()).compose(event).text.startswith("an advertising photo of ")
