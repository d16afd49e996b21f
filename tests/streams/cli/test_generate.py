import json
from functools import partial

import pytest
from click.testing import CliRunner

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


def test_an_unknown_sampler_is_a_settings_error(monkeypatch):
    monkeypatch.setenv("CREATIVES_STUDIO__SAMPLER", "heun")
    result = CliRunner().invoke(cli, ["generate", "coffee"])
    assert result.exit_code == 2
    assert "CREATIVES_STUDIO__SAMPLER: Input should be 'dpmsolver++', 'euler'" in result.output
