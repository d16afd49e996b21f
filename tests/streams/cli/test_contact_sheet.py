import io

import pytest
from PIL import Image

from streams.cli.contact_sheet import FONTS, PAPER, TILE, Frame, Strip, _font, contact_sheet, wrap_text


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
    colours_on_sheet = {colour for _, colour in sheet.getcolors(1 << 24)}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)} <= colours_on_sheet
    assert sheet.width > 3 * TILE
    assert sheet.getpixel((0, 0)) == tuple(bytes.fromhex(PAPER[1:]))


def test_a_sheet_keeps_the_aspect_ratio_of_pictures():
    tall = Frame(picture("#ff0000", (300, 900)), "Rank 1")
    sheet = opened(contact_sheet("T", "s", [Strip("A", "x", (), (tall,))]))
    red = [
        place
        for place in range(sheet.width)
        if any(sheet.getpixel((place, row)) == (255, 0, 0) for row in range(0, sheet.height, 16))
    ]
    assert len(red) == pytest.approx(TILE / 3, abs=2)


def test_a_sheet_is_deterministic_and_may_have_no_pictures():
    strips = [Strip("Nothing", "came of it", (), ())]
    assert contact_sheet("T", "s", strips) == contact_sheet("T", "s", strips)
    assert contact_sheet("T", "s", [])


def test_long_text_ends_in_an_ellipsis():
    font = _font(19)
    lines = wrap_text("short " + "Donaudampfschifffahrt" * 20, font, 200)
    assert lines[0] == "short"
    assert lines[1].endswith("…")
    assert all(font.getlength(line) <= 200 for line in lines)
    text = " ".join(["word"] * 500)
    assert contact_sheet("T", text, [Strip(text, text, (text,), (Frame(picture("red"), "Rank 1"),))])


def test_the_font_has_polish_letters():
    missing = _font(20).getmask("\uffff")
    for sign in "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ„”—…×·→":
        assert bytes(_font(20).getmask(sign)) != bytes(missing), sign
    assert (FONTS / "OFL.txt").is_file()
