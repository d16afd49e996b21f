"""Sheets, bars and what `generate` leaves behind."""

import hashlib
import io
import json
from dataclasses import replace
from functools import partial

import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from models.briefs import Brief, StudioPlan
from models.errors import WeightsNotFound
from streams.cli import local_rendering
from streams.cli.contact_sheet import FONTS, PAPER, TILE, Frame, Strip, _font, contact_sheet, wrapped
from streams.cli.demo.outcomes import SCHOOL, _move
from streams.cli.local_rendering import folder_for, make, write
from streams.cli.main import cli
from streams.cli.progress import StageBars
from streams.settings import DeviceSettings

BRIEF = Brief("r1", "a cup of coffee", "", seeds=(11, 12, 13), keep=2)


def picture(colour, size=(64, 64)):
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "PNG")
    return content.getvalue()


def opened(content):
    return Image.open(io.BytesIO(content)).convert("RGB")


def test_a_sheet_shows_every_picture_with_its_own_colours():
    colours = ["#ff0000", "#00ff00", "#0000ff", "#ffff00"]
    frames = tuple(Frame(picture(colour), f"Rank {number}") for number, colour in enumerate(colours, 1))
    sheet = opened(contact_sheet("Title", "subtitle", [Strip("A", "text", ("fact",), frames)], across=3))
    found = {colour for _, colour in sheet.getcolors(1 << 24)}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)} <= found
    assert sheet.width > 3 * TILE
    assert sheet.getpixel((0, 0)) == tuple(bytes.fromhex(PAPER[1:]))


def test_a_sheet_keeps_the_shape_of_tall_and_wide_pictures():
    tall = Frame(picture("#ff0000", (300, 900)), "Rank 1")
    sheet = opened(contact_sheet("T", "s", [Strip("A", "x", (), (tall,))]))
    red = [
        place
        for place in range(sheet.width)
        if any(sheet.getpixel((place, row)) == (255, 0, 0) for row in range(0, sheet.height, 16))
    ]
    assert len(red) == pytest.approx(TILE / 3, abs=2)


def test_a_sheet_is_the_same_twice_and_takes_no_pictures_too():
    strips = [Strip("Nothing", "came of it", (), ())]
    assert contact_sheet("T", "s", strips) == contact_sheet("T", "s", strips)
    assert contact_sheet("T", "s", [])


def test_words_that_are_too_long_end_in_an_ellipsis():
    font = _font(19)
    lines = wrapped("short " + "Donaudampfschifffahrt" * 20, font, 200)
    assert lines[0] == "short"
    assert lines[1].endswith("…")
    assert all(font.getlength(line) <= 200 for line in lines)
    text = " ".join(["word"] * 500)
    assert contact_sheet("T", text, [Strip(text, text, (text,), (Frame(picture("red"), "Rank 1"),))])


def test_the_font_knows_polish():
    missing = _font(20).getmask("\uffff")
    for sign in "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ„”—…×·→":
        assert bytes(_font(20).getmask(sign)) != bytes(missing), sign
    assert (FONTS / "OFL.txt").is_file()


def test_bars_fill_as_stages_go_by():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with StageBars(console) as bars:
        bars.show({"load": (0, 0)})
        bars.show({"generate": (3, 20)})
        bars.show({"generate": (20, 20), "rerank": (1, 8)})
        bars.finish()
        bars.count("segments", 1, 3)
        states = {task.description: (task.completed, task.total) for task in bars._progress.tasks}
    assert states == {
        "loading the models": (1, 1),
        "generating candidates": (20, 20),
        "reranking with CLIP": (8, 8),
        "segments": (1, 3),
    }


def test_two_device_processes_have_bars_of_their_own():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    busy = {"state": "busy", "stages": {"train": (30, 120)}}
    with StageBars(console) as bars:
        _move({"state": "busy", "stages": {"generate": (3, 20)}}, bars)
        _move(busy, bars, SCHOOL)
        _move({"state": "busy", "stages": {"generate": (9, 20)}}, bars)
        states = {task.description: (task.completed, task.total) for task in bars._progress.tasks}
        assert states == {"generating candidates": (9, 20), "products: learning the product": (30, 120)}
        _move({"state": "busy", "stages": {"evaluate": (1, 8)}}, bars, SCHOOL)
        assert {task.description: task.finished for task in bars._progress.tasks} == {
            "generating candidates": False,
            "products: learning the product": True,
            "products: evaluating": False,
        }


def test_without_a_terminal_every_stage_is_one_line():
    file = io.StringIO()
    with StageBars(Console(file=file)) as bars:
        for stages in ({"generate": (1, 2)}, {"generate": (2, 2), "rerank": (1, 2)}, {"generate": (1, 2)}):
            bars.show(stages)
    assert file.getvalue().splitlines() == ["generating candidates", "reranking with CLIP"]


async def test_what_generate_leaves_behind(tmp_path):
    made = await make(BRIEF, StudioPlan(diffusion="fake"), DeviceSettings(), "tests.fakes:serve")
    paths = write(made, tmp_path / "out")
    assert [path.name for path in paths] == ["1-square-13.png", "2-square-12.png"]
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["prompt"] == "a cup of coffee"
    assert scores["negative_prompt"] == "blurry"
    assert [entry["sha256"] for entry in scores["pictures"]] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    ]
    assert sorted(candidate["seed"] for candidate in scores["candidates"]) == [11, 12, 13]
    assert opened((tmp_path / "out" / "contact-sheet.png").read_bytes()).width > TILE


async def test_missing_weights_are_a_named_error():
    with pytest.raises(WeightsNotFound):
        await make(BRIEF, StudioPlan(diffusion="missing"), DeviceSettings(), "tests.fakes:serve")


def test_folders_are_named_by_prompts():
    assert str(folder_for("A cup, of COFFEE/../x and more words")) == "generated/a-cup-of-coffee-x-and"
    assert str(folder_for("!!!")) == "generated/prompt"


def test_equal_seeds_give_equal_files(monkeypatch, tmp_path):
    monkeypatch.setattr(local_rendering, "make", partial(local_rendering.make, entry="tests.fakes:serve"))
    for folder, seed in (("a", 7), ("b", 7), ("c", 8)):
        arguments = ["generate", "a cup of coffee", "--seed", str(seed), "-n", "3", "--diffusion", "fake"]
        done = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / folder)])
        assert done.exit_code == 0, done.output
        assert "clip 0.202" in done.stdout
    contents = {path.name: {file.name: file.read_bytes() for file in path.iterdir()} for path in tmp_path.iterdir()}
    for made in contents.values():
        scores = json.loads(made.pop("scores.json"))
        assert len(scores["candidates"]) == 3
    assert contents["a"] == contents["b"]
    assert not set(contents["a"]) & set(contents["c"]) - {"contact-sheet.png"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "-n", "2", "--keep", "3"], "--keep 3 is more than the 2 candidates"),
        (["🍓🍓"], "at least one letter"),
        (["a", "--format", "round"], "'round' is not one of"),
        (["a", "--seed", "-1"], "not in the range"),
        (["a", "--sampler", "heun"], "'heun' is not one of 'dpmsolver++', 'euler', 'euler-trailing'"),
    ],
)
def test_wrong_options_are_usage_errors(arguments, words):
    result = CliRunner().invoke(cli, ["generate", *arguments])
    assert result.exit_code == 2
    assert words in result.output


async def test_every_stage_is_shown_however_short(monkeypatch):
    """The last four take no time: no look comes between them."""
    words = io.StringIO()
    monkeypatch.setattr(local_rendering, "err", Console(file=words))
    await make(replace(BRIEF, prompt="stages"), StudioPlan(diffusion="fake"), DeviceSettings(), "tests.fakes:serve")
    assert words.getvalue().splitlines() == [
        "loading the models",
        "generating candidates",
        "reranking with CLIP",
        "enlarging with SwinIR",
        "encoding",
    ]


def test_a_sampler_of_no_known_name_is_a_settings_error(monkeypatch):
    monkeypatch.setenv("CREATIVES_STUDIO__SAMPLER", "heun")
    result = CliRunner().invoke(cli, ["generate", "coffee"])
    assert result.exit_code == 2
    assert "CREATIVES_STUDIO__SAMPLER: Input should be 'dpmsolver++', 'euler'" in result.output
