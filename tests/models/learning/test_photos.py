"""Photos of all kinds are decoded, or refused with the right reason."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features

from models.errors import UnusablePhotos
from models.learning import photos as learning_photos
from models.learning.photos import MIN_PHOTOS, PhotoRefused, PreparedPhotos, decode_photo
from tests.models.learning.photo_files import photo_file


def scene(seed: int = 0, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """Return a picture with different corners, so that a rotation or a flip changes it."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.NEAREST)
    return image.convert("RGB")


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_bomb(side: int) -> bytes:
    """Return a valid black 1-bit PNG of side x side, in about side * side / 8 / 1000 bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def prepare_photos(contents: list[bytes], side: int) -> PreparedPhotos:
    return learning_photos.prepare_photos([photo_file(content) for content in contents], side)


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


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_refused(form):
    frames = encode(scene(0), form, save_all=True, append_images=[scene(1), scene(2)])
    assert "3 frames" in refusal_reason(frames)


def test_a_still_gif_is_decoded():
    assert decode_photo(encode(scene(), "GIF")).mode == "RGB"


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


@pytest.mark.parametrize(
    "error", [TypeError, RuntimeError, struct.error, IndexError, KeyError, OverflowError, MemoryError, zlib.error]
)
@pytest.mark.parametrize("where", ["PIL.Image.open", "PIL.ImageFile.ImageFile.load", "PIL.ImageOps.exif_transpose"])
def test_a_decoders_error_refuses_one_photo_alone(where, error, monkeypatch):
    photos = [encode(scene(seed), "JPEG") for seed in range(4)]

    def fail(*_: object, **__: object) -> None:
        raise error("a bad count")

    def decode_broken(content: bytes) -> Image.Image:
        with monkeypatch.context() as patch:
            if content == photos[2]:
                patch.setattr(where, fail)
            return decode_photo(content)

    monkeypatch.setattr("models.learning.photos.decode_photo", lambda content, _: decode_broken(content))
    prepared = prepare_photos(photos, 64)
    assert prepared.pixels.shape[0] == 3
    assert list(prepared.refused) == [2]
    assert prepared.refused[2].startswith("damaged: ")
    assert "a bad count" in prepared.refused[2]


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


def test_photos_are_cropped_to_the_models_square():
    prepared = prepare_photos([encode(scene(seed, (200, 100))) for seed in range(3)], 64)
    assert prepared.pixels.shape == (3, 3, 64, 64)
    assert prepared.pixels.dtype == torch.float32
    assert prepared.pixels.min() >= 0
    assert prepared.pixels.max() <= 1
    middle = scene(0, (200, 100)).crop((50, 0, 150, 100)).resize((64, 64), Image.Resampling.LANCZOS)
    expected = torch.from_numpy(np.array(middle)).permute(2, 0, 1) / 255
    # The resampling filter reads pixels beyond the left and right edge of the crop.
    assert torch.allclose(prepared.pixels[0, :, :, 4:-4], expected[:, :, 4:-4], atol=2 / 255)


def test_copies_are_refused_in_any_container():
    photos = [encode(scene(seed)) for seed in range(3)]
    prepared = prepare_photos([*photos, photos[1], encode(scene(2), "TIFF")], 64)
    assert prepared.pixels.shape[0] == 3
    assert prepared.refused == {3: "a copy of photo 2 [copy]", 4: "a copy of photo 3 [copy]"}


def test_unusable_photos_among_good_ones_are_refused():
    prepared = prepare_photos([b"<html>", *(encode(scene(seed)) for seed in range(3))], 64)
    assert prepared.pixels.shape[0] == 3
    assert list(prepared.refused) == [0]


def test_too_few_usable_photos_raise_with_every_reason():
    with pytest.raises(UnusablePhotos) as caught:
        prepare_photos([encode(scene()), encode(scene()), b"<html>", encode(Image.new("RGB", (1, 1)))], 64)
    message = str(caught.value)
    assert f"1 usable, at least {MIN_PHOTOS} needed" in message
    for part in ("photo 2: a copy of photo 1", "photo 3: not an image but a text page", "photo 4: too small: 1x1"):
        assert part in message
    assert all(f"[{code}]" in message for code in ("copy", "not_an_image", "too_small"))


def test_a_larger_model_needs_larger_photos():
    with pytest.raises(UnusablePhotos, match="at least 128 pixels"):
        prepare_photos([encode(scene(seed)) for seed in range(3)], 512)
