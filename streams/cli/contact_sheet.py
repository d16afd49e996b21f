"""Contact sheets: rows of pictures with text beside them, as one PNG.

The font is Inter (SIL Open Font License), reduced to the European alphabets: Pillow's own font lacks Polish letters.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

FONTS = Path(__file__).parent / "fonts"
PAPER, INK, FAINT, RULE, ACCENT = "#faf8f4", "#1c1a17", "#736d64", "#e2ddd3", "#a4461f"
MARGIN, GAP, COLUMN, TILE, CAPTION = 56, 28, 420, 384, 40


@dataclass(frozen=True)
class Frame:
    """One encoded picture and its caption: the label on the left, the figure on the right."""

    content: bytes = field(repr=False)
    label: str
    figure: str = ""


@dataclass(frozen=True)
class Strip:
    """One row of a sheet: on the left heading, text and facts in small type, on the right the pictures."""

    heading: str
    text: str
    facts: tuple[str, ...]
    frames: tuple[Frame, ...]


def contact_sheet(title: str, subtitle: str, strips: Sequence[Strip], across: int = 3) -> bytes:
    """Return the sheet as PNG bytes, at most `across` pictures wide. Raises OSError if a picture cannot be decoded."""
    columns = max(1, min(across, max((len(strip.frames) for strip in strips), default=1)))
    width = 2 * MARGIN + COLUMN + columns * (TILE + GAP)
    heights = [_height(strip, columns) for strip in strips]
    top = MARGIN + 104
    sheet = Image.new("RGB", (width, top + sum(heights) + len(heights) * 2 * GAP + MARGIN // 2), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 8), title, INK, _font(38, bold=True))
    draw.text((MARGIN, MARGIN + 46), _shorten(subtitle, _font(20), width - 2 * MARGIN), FAINT, _font(20))
    for strip, height in zip(strips, heights, strict=True):
        draw.line((MARGIN, top, width - MARGIN, top), RULE, 2)
        _draw_text(draw, strip, (MARGIN, top + GAP), height)
        for number, frame in enumerate(strip.frames):
            left = MARGIN + COLUMN + GAP + number % columns * (TILE + GAP)
            _draw_frame(sheet, draw, frame, (left, top + GAP + number // columns * (TILE + CAPTION + GAP)))
        top += height + 2 * GAP
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    return content.getvalue()


@cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONTS / ("Inter-SemiBold.ttf" if bold else "Inter-Regular.ttf"), size)


def _height(strip: Strip, columns: int) -> int:
    rows = max(1, -(-len(strip.frames) // columns))
    return rows * (TILE + CAPTION) + (rows - 1) * GAP


def _draw_text(draw: ImageDraw.ImageDraw, strip: Strip, place: tuple[int, int], height: int) -> None:
    """Write heading, text and facts. Text that would run below the pictures ends in an ellipsis."""
    left, top = place
    for line in wrap_text(strip.heading, _font(30, bold=True), COLUMN)[:3]:
        draw.text((left, top), line, INK, _font(30, bold=True))
        top += 40
    top += 10
    room = max(1, (place[1] + height - top - 30 * len(strip.facts)) // 28)
    lines = wrap_text(strip.text, _font(19), COLUMN)
    if len(lines) > room:
        lines = [*lines[: room - 1], _shorten(f"{lines[room - 1]} …", _font(19), COLUMN)]
    for line in lines:
        draw.text((left, top), line, INK, _font(19))
        top += 28
    top += 14
    for fact in strip.facts:
        draw.text((left, top), _shorten(fact, _font(17), COLUMN), FAINT, _font(17))
        top += 26


def _draw_frame(sheet: Image.Image, draw: ImageDraw.ImageDraw, frame: Frame, place: tuple[int, int]) -> None:
    """Paste the whole picture, scaled to its tile and centred in it, and write the caption below."""
    left, top = place
    with Image.open(io.BytesIO(frame.content)) as opened:
        picture = opened.convert("RGB")
    picture = ImageOps.contain(picture, (TILE, TILE), Image.Resampling.LANCZOS)
    sheet.paste(
        picture, (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2), _rounded_mask(picture.size)
    )
    draw.text((left, top + TILE + 10), frame.label, INK, _font(19, bold=True))
    draw.text((left + TILE, top + TILE + 10), frame.figure, ACCENT, _font(19), anchor="ra")


def _rounded_mask(size: tuple[int, int]) -> Image.Image:
    """Return a mask with rounded corners, drawn at four times the size for smooth edges."""
    mask = Image.new("L", (size[0] * 4, size[1] * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *mask.size), radius=40, fill=255)
    return mask.resize(size, Image.Resampling.LANCZOS)


def wrap_text(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Return the text in lines of at most `width` pixels. A word that is too long is cut and ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_shorten(word, font, width))
    return [line for line in lines if line]


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return the text if it fits in `width` pixels, else its beginning with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text} …") > width:
        text = text[:-1]
    return f"{text.rstrip(' …')} …"
