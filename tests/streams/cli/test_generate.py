import json
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from streams.cli import local_rendering
from streams.cli.main import cli


def test_equal_seeds_give_equal_files(monkeypatch, tmp_path):
    monkeypatch.setattr(
        local_rendering, "render_locally", partial(local_rendering.render_locally, entry="tests.fakes:serve")
    )
    for folder, seed in (("a", 7), ("b", 7), ("c", 8)):
        arguments = ["generate", "a cup of coffee", "--seed", str(seed), "-n", "3", "--diffusion", "fake"]
        done = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / folder)])
        assert done.exit_code == 0, done.output
        assert "clip 0.202" in done.stdout
    contents = {path.name: {file.name: file.read_bytes() for file in path.iterdir()} for path in tmp_path.iterdir()}
    for files in contents.values():
        scores = json.loads(files.pop("scores.json"))
        assert len(scores["candidates"]) == 3
    assert contents["a"] == contents["b"]
    assert not set(contents["a"]) & set(contents["c"]) - {"contact-sheet.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "-n", "2", "--keep", "3"], "--keep 3 is more than the 2 candidates"),
        (["🍓🍓"], "at least one letter"),
        (["a", "--format", "round"], "'round' is not one of"),
        (["a", "--seed", "-1"], "not in the range"),
        (["a", "--sampler", "heun"], "'heun' is not one of 'dpmsolver++', 'euler', 'euler-trailing'"),
    ],
)
def test_wrong_options_are_usage_errors(arguments, message):
    result = CliRunner().invoke(cli, ["generate", *arguments])
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize("command", [["generate", "a cup"], ["train", __file__, "--product", "p", "--class-noun", "c"]])
def test_a_folder_that_cannot_be_written_is_found_before_the_work(monkeypatch, tmp_path, command):
    for name in ("local_rendering.render_locally", "local_training.train_locally"):
        monkeypatch.setattr(f"streams.cli.{name}", None)  # must not be reached
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "file" / "folder")])
    assert result.exit_code == 2, result.output
    assert f"Cannot write to {tmp_path / 'file' / 'folder'}: Not a directory" in result.output
    assert "--out" in result.output


def test_a_concept_file_is_part_of_the_brief(monkeypatch, tmp_path):
    briefs = []

    async def recording(brief, *_):
        briefs.append(brief)
        raise KeyboardInterrupt

    monkeypatch.setattr(local_rendering, "render_locally", recording)
    concept = tmp_path / "jam" / "concept.safetensors"
    concept.parent.mkdir()
    meta = {"method": "dreambooth", "placeholder_token": "sks", "class_noun": "jar of jam"}
    save_file({"w": np.zeros(2, np.float32)}, concept, meta)
    arguments = ["generate", "a jar of jam", "--concept", str(concept), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(cli, arguments).exit_code == 130
    [brief] = briefs
    assert (brief.prompt, brief.concept.path) == ("a sks jar of jam", str(concept))


def test_an_unknown_sampler_is_a_settings_error(monkeypatch):
    monkeypatch.setenv("CREATIVES_STUDIO__SAMPLER", "heun")
    result = CliRunner().invoke(cli, ["generate", "coffee"])
    assert result.exit_code == 2
    assert "CREATIVES_STUDIO__SAMPLER: Input should be 'dpmsolver++', 'euler'" in result.output
