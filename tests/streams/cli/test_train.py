"""`creatives train` with a real device process and tiny weights."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.main import cli
from tests import tiny

PHOTOS = sorted((Path(__file__).parents[3] / "docs" / "examples" / "products" / "jam").glob("*.png"))


@pytest.fixture
def tiny_settings(tmp_path, monkeypatch):
    plan = tiny.family(tmp_path / "family", size=64)
    for name in ("diffusion", "reranking", "upscaling", "device", "steps", "size", "bucket", "threads"):
        monkeypatch.setenv(f"CREATIVES_STUDIO__{name.upper()}", str(getattr(plan, name)))


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_a_product_is_trained_and_scored_again(tiny_settings, tmp_path, monkeypatch):
    out = tmp_path / "jam"
    options = ("--product", "jam", "--class-noun", "jar of jam", "--method", "textual_inversion")
    result = invoke("train", *PHOTOS, *options, "--steps", 4, "--vectors", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert "fidelity" in result.output
    written = {path.name for path in out.iterdir()}
    assert {"concept.safetensors", "training-job.json", "scores.json", "before-and-after.png", "loss.png"} <= written
    first = json.loads((out / "scores.json").read_text())
    assert first["steps"] == 4
    measured = {"fidelity", "prompt", "prior", "prior_diversity", "diversity"}
    assert set(first["scores"]) == measured | {f"{name}_before" for name in measured} | {"photos_refused"}
    assert len(list((out / "photos").iterdir())) == 5

    for checkpoint in out.glob("checkpoint-*"):
        checkpoint.unlink()
    concept = out / "concept.safetensors"
    written = (concept.read_bytes(), concept.stat().st_mtime_ns)
    monkeypatch.setenv("CREATIVES_STUDIO__STEPS", "3")  # other pictures, the same concept
    again = invoke("evaluate", "jam", "--out", out)
    assert again.exit_code == 0, again.output
    assert "training on the photos" in result.output
    assert "training on the photos" not in again.output
    second = json.loads((out / "scores.json").read_text())
    assert (second["sha256"], second["steps"]) == (first["sha256"], 4)
    assert second["scores"].keys() == first["scores"].keys()
    assert second["scores"] != first["scores"]
    assert (concept.read_bytes(), concept.stat().st_mtime_ns) == written
    assert not list(out.glob("checkpoint-*"))


@pytest.mark.slow
def test_unusable_photos_are_one_line(tiny_settings, tmp_path):
    page = tmp_path / "photo.jpg"
    page.write_text("<html>not found</html>")
    result = invoke("train", page, *PHOTOS[:1], "--product", "jam", "--class-noun", "jar", "--out", tmp_path / "jam")
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert "1 usable, at least 3 needed" in last
    assert "photo 1: not an image but a text page" in last


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("dreambooth_lora", ["--train-text-encoder"]),
        ("textual_inversion", ["--train-text-encoder"]),
        ("textual_inversion", ["--prior-loss-weight", 0]),
        ("textual_inversion", ["--class-images", 8]),
        ("dreambooth", ["--rank", 8]),
        ("dreambooth", ["--vectors", 2]),
    ],
)
def test_an_option_of_another_method_is_a_usage_error(method, option, tmp_path):
    required = ("--product", "jam", "--class-noun", "jar", "--method", method, "--out", tmp_path / "jam")
    result = invoke("train", *PHOTOS, *required, *option)
    assert result.exit_code == 2
    assert f"{option[0]} is for " in result.output
    assert f"not for {method}" in result.output
    assert not (tmp_path / "jam").exists()


def test_options_reach_the_training_job_and_the_others_stay_unset(tmp_path, monkeypatch):
    training_jobs = []
    monkeypatch.setattr(
        "streams.cli.local_training.train_locally", lambda training_job, _: training_jobs.append(training_job)
    )
    required = ("--product", "jam", "--class-noun", "jar", "--out", tmp_path / "jam")
    given = ("--batch", 2, "--class-images", 8, "--snr-gamma", 0, "--no-early-stopping", "--train-text-encoder")
    assert invoke("train", *PHOTOS, *required, *given).exit_code == 0
    assert invoke("train", *PHOTOS, *required, "--method", "dreambooth_lora", "--rank", 2).exit_code == 0
    full, adapters = training_jobs
    assert (full.batch, full.class_images, full.snr_gamma, full.early_stopping) == (2, 8, 0.0, False)
    assert (full.train_text_encoder, full.rank, full.vectors, full.steps) == (True, None, None, None)
    assert (adapters.rank, adapters.early_stopping, adapters.train_text_encoder) == (2, None, None)


@pytest.mark.parametrize("product", ["../jam", "a/b", "", "a..b"])
def test_a_product_id_must_fit_into_an_object_key(product, tmp_path):
    result = invoke("train", *PHOTOS, "--product", product, "--class-noun", "jar", "--out", tmp_path)
    assert result.exit_code == 2
    assert "--product" in result.output
