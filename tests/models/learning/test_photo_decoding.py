"""Photos of all kinds are decoded, or refused with the right reason."""

from __future__ import annotations

import random
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from models.learning import photo_decoding
from models.learning.photo_decoding import PhotoRefused
from tests.models.learning.photo_files import encode, png_bomb, scene


def decode_photo(content: bytes) -> Image.Image:
    return photo_decoding.decode_photo(content, photo_decoding.open_photo(content, 64, 50_000_000))


def refusal_reason(content: bytes) -> str:
    with pytest.raises(PhotoRefused) as caught:
        decode_photo(content)
    return str(caught.value)


def test_html_in_place_of_a_jpeg_is_refused():
    assert "HTML" in refusal_reason(b"\n <!DOCTYPE html><html><body>404</body></html>")


def test_noise_and_an_empty_file_are_refused():
    assert "not an image" in refusal_reason(b"\x00\x01\x02 nothing at all")
    assert "not an image" in refusal_reason(b"")


def test_one_pixel_is_refused():
    expected = "too small: 1x1, at least 64 pixels a side are needed [too_small]"
    assert refusal_reason(encode(Image.new("RGB", (1, 1)))) == expected


def test_a_decompression_bomb_is_refused_before_its_pixels_are_decoded(monkeypatch):
    bomb = png_bomb(30_000)
    assert len(bomb) < 130_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("the bomb was decoded"))
    assert "decompression bomb" in refusal_reason(bomb)


def test_our_pixel_limit_is_below_pillows():
    assert "decompression bomb" in refusal_reason(png_bomb(11_500))


def test_a_truncated_file_is_refused():
    whole = encode(scene(), "JPEG", quality=95)
    assert refusal_reason(whole[: len(whole) // 2]).startswith("damaged")


def test_a_cmyk_tiff_is_converted():
    tiff = encode(scene().convert("CMYK"), "TIFF")
    difference = np.abs(np.asarray(decode_photo(tiff), int) - np.asarray(scene(), int))
    assert difference.max() <= 1


def test_a_colour_profile_is_applied():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = decode_photo(encode(scene(), "PNG", icc_profile=srgb))
    assert np.abs(np.asarray(same, int) - np.asarray(scene(), int)).max() <= 1
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    misfit = decode_photo(encode(scene(), "PNG", icc_profile=lab))
    assert np.array_equal(np.asarray(misfit), np.asarray(scene()))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_refused(form):
    frames = encode(scene(0), form, save_all=True, append_images=[scene(1), scene(2)])
    assert refusal_reason(frames) == "an animation, not a photo [animation]"


@pytest.mark.parametrize("subfile", [None, 1, 2])
def test_the_first_page_of_a_tiff_is_the_photo(subfile):
    """The other pages are thumbnails or masks, marked as such or not."""
    thumbnail = scene(1, (60, 45))
    thumbnail.encoderinfo = {"tiffinfo": {} if subfile is None else {254: subfile}}
    tiff = encode(scene(0), "TIFF", save_all=True, append_images=[thumbnail])
    assert np.array_equal(np.asarray(decode_photo(tiff)), np.asarray(scene(0)))


def test_the_chain_of_a_tiffs_pages_is_never_followed(monkeypatch):
    tiff = encode(scene(0), "TIFF", save_all=True, append_images=[scene(1)] * 3)
    monkeypatch.setattr("PIL.TiffImagePlugin.TiffImageFile.n_frames", property(lambda _: pytest.fail("counted")))
    assert np.array_equal(np.asarray(decode_photo(tiff)), np.asarray(scene(0)))


def test_a_still_gif_is_decoded():
    assert decode_photo(encode(scene(), "GIF")).mode == "RGB"


def test_a_gif_that_ends_in_its_second_frame_is_refused():
    image = encode(scene().quantize(), "GIF")
    assert "damaged" in refusal_reason(image[:-1] + b"," + bytes(9))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_phones_orientation_is_applied(orientation):
    transposes = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = scene().transpose(transposes[orientation]) if orientation in transposes else scene()
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode_photo(encode(stored, "PNG", exif=exif))
    assert np.array_equal(np.asarray(upright), np.asarray(scene()))


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_phones_jpeg_is_rotated_upright(orientation):
    transpose = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[
        orientation
    ]
    smooth = scene().resize((12, 9)).resize((120, 90), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Phone"
    stored = encode(smooth.transpose(transpose), "JPEG", quality=95, exif=exif)
    upright = np.asarray(decode_photo(stored), int)
    assert upright.shape == (90, 120, 3)
    assert np.abs(upright - np.asarray(smooth, int)).mean() < 4


def originals() -> dict[str, bytes]:
    """Return small photos in every container, with the metadata that phones and cameras write."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Phone"
    exif.get_ifd(0x8769)[0x9003] = "2026:11:02 10:00:00"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = scene()
    return {
        "jpeg": encode(image, "JPEG", quality=85, exif=exif, icc_profile=profile),
        "progressive": encode(image, "JPEG", progressive=True, exif=exif),
        "cmyk": encode(image.convert("CMYK"), "JPEG"),
        "png": encode(image, "PNG", exif=exif, icc_profile=profile),
        "palette": encode(image.convert("P"), "PNG", transparency=3),
        "tiff": encode(image, "TIFF", exif=exif),
        "packed tiff": encode(image, "TIFF", compression="tiff_lzw", icc_profile=profile),
        "webp": encode(image, "WEBP", exif=exif),
        "gif": encode(image, "GIF"),
        "bmp": encode(image, "BMP"),
        **({"avif": encode(image, "AVIF", exif=exif)} if features.check("avif") else {}),
    }


def damage(content: bytes, chance: random.Random) -> bytes:
    """Return the file with some bytes changed, mostly near its start; or truncated, or with a part removed or repeated."""
    broken = bytearray(content)
    match chance.randrange(5):
        case 0:
            return bytes(broken[: chance.randrange(len(broken))])
        case 1:
            start = chance.randrange(len(broken))
            del broken[start : start + chance.randrange(1, 64)]
        case 2:
            start = chance.randrange(len(broken))
            broken[start:start] = broken[start : start + chance.randrange(1, 64)]
        case _:
            reach = chance.choice([40, 200, len(broken)])
            for _ in range(chance.choice([1, 1, 2, 8])):
                broken[chance.randrange(min(reach, len(broken)))] = chance.choice(
                    [0, 1, 127, 255, chance.randrange(256)]
                )
    return bytes(broken)


@pytest.mark.parametrize("kind", originals())
def test_a_damaged_file_is_decoded_or_refused_but_raises_no_other_error(kind):
    chance, outcomes = random.Random(kind), Counter[str]()
    content = originals()[kind]
    assert decode_photo(content).mode == "RGB"
    for _ in range(60):
        try:
            outcomes[decode_photo(damage(content, chance)).mode] += 1
        except PhotoRefused as error:
            outcomes[error.code] += 1
    assert outcomes.keys() <= {"RGB", "damaged", "not_an_image", "too_small", "too_large", "animation", "blank"}
    assert outcomes["damaged"] + outcomes["not_an_image"] > 0


def test_transparency_is_flattened_onto_white():
    image = scene().convert("RGBA")
    image.paste((10, 200, 30, 0), (0, 0, 60, 90))
    flat = np.asarray(decode_photo(encode(image)))
    assert (flat[:, :60] == 255).all()
    assert np.array_equal(flat[:, 60:], np.asarray(scene())[:, 60:])


def test_a_palette_with_a_transparent_entry_is_flattened_onto_white():
    image = Image.new("P", (80, 80), 1)
    image.putpalette([0, 0, 0, 250, 20, 20])
    image.paste(0, (0, 0, 40, 80))
    flat = np.asarray(decode_photo(encode(image, transparency=0)))
    assert tuple(flat[0, 0]) == (255, 255, 255)
    assert tuple(flat[0, 79]) == (250, 20, 20)


def test_sixteen_bits_keep_their_shades():
    ramp = np.linspace(0, 65535, 80 * 80).reshape(80, 80).astype(np.uint16)
    grey = np.asarray(decode_photo(encode(Image.fromarray(ramp))))
    assert np.abs(grey[..., 0].astype(int) - np.round(ramp / 257).astype(int)).max() <= 1


def test_one_colour_is_refused():
    assert "blank" in refusal_reason(encode(Image.new("RGB", (100, 100), "teal")))


@pytest.mark.parametrize(
    "error", [TypeError, RuntimeError, struct.error, IndexError, KeyError, OverflowError, zlib.error, SyntaxError]
)
@pytest.mark.parametrize("where", ["PIL.Image.open", "PIL.ImageFile.ImageFile.load", "PIL.Image.Image.convert"])
def test_whatever_a_decoder_raises_refuses_the_photo(where, error, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise error("a bad count")

    photo = encode(scene(), "PNG")
    monkeypatch.setattr(where, fail)
    assert refusal_reason(photo) in {"damaged: a bad count [damaged]", "damaged: 'a bad count' [damaged]"}
