"""`creatives train` and `evaluate`: real device process, tiny family."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from streams.cli import cli
from streams.cli.learning import loss_plot
from tests import tiny

PHOTOS = sorted((Path(__file__).parents[2] / "docs" / "examples" / "products" / "jam").glob("*.png"))


@pytest.fixture
def tiny_settings(tmp_path, monkeypatch):
    plan = tiny.family(tmp_path / "family", size=64)
    for name in ("diffusion", "reranking", "upscaling", "device", "steps", "size", "bucket", "threads"):
        monkeypatch.setenv(f"CREATIVES_STUDIO__{name.upper()}", str(getattr(plan, name)))


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_a_product_is_learned_and_scored_again(tiny_settings, tmp_path):
    out = tmp_path / "jam"
    words = ("--product", "jam", "--class-noun", "jar of jam", "--method", "textual_inversion")
    result = invoke("train", *PHOTOS, *words, "--steps", 4, "--vectors", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert "fidelity" in result.output
    written = {path.name for path in out.iterdir()}
    assert {"concept.safetensors", "lesson.json", "scores.json", "before-and-after.png", "loss.png"} <= written
    first = json.loads((out / "scores.json").read_text())
    assert first["steps"] == 4
    assert set(first["scores"]) == {"fidelity", "fidelity_before", "prompt", "prior", "diversity"}
    assert len(list((out / "photos").iterdir())) == 5

    again = invoke("evaluate", "jam", "--out", out)
    assert again.exit_code == 0, again.output
    second = json.loads((out / "scores.json").read_text())
    assert second["sha256"] == first["sha256"]
    assert second["scores"] == first["scores"]


@pytest.mark.slow
def test_what_cannot_be_learned_is_one_line(tiny_settings, tmp_path):
    page = tmp_path / "photo.jpg"
    page.write_text("<html>not found</html>")
    result = invoke("train", page, *PHOTOS[:1], "--product", "jam", "--class-noun", "jar", "--out", tmp_path / "jam")
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert "1 usable, at least 3 needed" in last
    assert "photo 1: not an image but a text page" in last


def test_evaluating_what_was_never_taught_says_so(tmp_path):
    result = invoke("evaluate", "jam", "--out", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "creatives train" in result.output


@pytest.mark.parametrize("product", ["../jam", "a/b", "", "a..b"])
def test_a_products_id_must_be_fit_for_a_key(product, tmp_path):
    result = invoke("train", *PHOTOS, "--product", product, "--class-noun", "jar", "--out", tmp_path)
    assert result.exit_code == 2
    assert "--product" in result.output


def test_the_plot_falls_as_the_losses_do():
    plot = np.asarray(loss_plot([1 / (1 + step / 20) for step in range(300)]).convert("RGB")).astype(int)
    red = (np.abs(plot - (164, 70, 31)).sum(2) < 30).nonzero()
    left, right = red[0][red[1] < 200].mean(), red[0][red[1] > 760].mean()
    assert left < right - 50
    assert isinstance(loss_plot([0.5]), Image.Image)
