"""Odd metadata never decides whether a photo is usable, and what cannot be read costs no more than a good file."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from models.learning import photo_decoding
from models.learning.photo_decoding import PhotoRefused
from models.learning.photo_repair import without_broken_chunks
from tests.models.learning.photo_files import encode, scene

MIB = 2**20
ROTATED = struct.pack("<2sHLHHHLHHL", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(photo_decoding.decode_photo(content, photo_decoding.open_photo(content, 64, 50_000_000)))


def png_with(*chunks: tuple[bytes, bytes], broken: bool = False) -> bytes:
    """Return a PNG with these chunks behind its header. broken: with wrong checksums."""
    content = encode(scene())
    added = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ broken)
        for kind, body in chunks
    ]
    return content[:33] + b"".join(added) + content[33:]


LARGE = zlib.compress(bytes(3 * MIB))


@pytest.mark.parametrize(
    "chunk",
    [
        (b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03"),
        (b"eXIf", b"II*\0\xff\xff\xff\x7f"),
        (b"zTXt", b"workflow\0\0" + LARGE),
        (b"iTXt", b"workflow\0\1\0\0\0" + LARGE),
        (b"tEXt", b"workflow\0" + bytes(2 * MIB)),
        (b"iCCP", b"icc\0\0" + LARGE),
        (b"iCCP", b"icc\0\7" + zlib.compress(b"x")),
        (b"zTXt", b"workflow\0\7x"),
        (b"zTXt", b"workflow"),
        (b"tEXt", b""),
        (b"pHYs", b"\0"),
        (b"gAMA", b""),
        (b"acTL", b"\0"),
        (b"acTL", b"\0\0\0\1\0\0\0\0"),
        (b"fcTL", b"\0"),
    ],
    ids=lambda chunk: f"{chunk[0].decode()}-{len(chunk[1])}",
)
def test_a_png_with_odd_metadata_is_accepted(chunk):
    assert np.array_equal(pixels(png_with(chunk)), np.asarray(scene()))


def test_a_png_with_a_wrong_checksum_of_a_text_is_accepted():
    assert np.array_equal(pixels(png_with((b"tEXt", b"a\0bc"), broken=True)), np.asarray(scene()))


def test_many_texts_of_a_png_take_little_memory():
    text = zlib.compress(bytes(MIB))
    content = png_with(*[(b"zTXt", b"t%d\0\0" % number + text) for number in range(90)])
    tracemalloc.start()
    assert np.array_equal(pixels(content), np.asarray(scene()))
    assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    tracemalloc.stop()


def test_a_sound_orientation_and_profile_of_a_png_stay():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = png_with((b"eXIf", ROTATED), (b"iCCP", b"icc\0\0" + zlib.compress(profile)))
    assert Image.open(io.BytesIO(without_broken_chunks(content))).info["icc_profile"] == profile
    assert pixels(content).shape == (120, 90, 3)


def test_other_files_and_damaged_pngs_pass_as_they_are():
    content = encode(scene())
    for whole in (encode(scene(), "JPEG"), content, content[:200], content + b"trailing"):
        assert without_broken_chunks(whole) == whole


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_end_marker_is_accepted(mode, options):
    whole = encode(scene().convert(mode), "JPEG", quality=90, **options)
    for cut in (whole[:-2], whole[:-1]):
        assert np.array_equal(pixels(cut), pixels(whole))


@pytest.mark.parametrize("left", [0.3, 0.6, 0.95])
def test_a_jpeg_without_some_of_its_pixels_is_damaged(left):
    whole = encode(scene(size=(320, 240)), "JPEG", quality=90)
    with pytest.raises(PhotoRefused, match="damaged"):
        pixels(whole[: int(len(whole) * left)])


def test_a_jpeg_with_a_broken_orientation_is_accepted():
    whole = encode(scene(), "JPEG")
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0\x36\0\0\0\0\0\0\0"
    marked = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]
    assert np.array_equal(pixels(marked), pixels(whole))


def test_twelve_bit_grey_keeps_its_shades():
    """PNG and TIFF store it in 16 bits; by the full range of those it would be black."""
    ramp = np.linspace(0, 4095, 80 * 80).reshape(80, 80).astype(np.uint16)
    for form in ("PNG", "TIFF"):
        grey = pixels(encode(Image.fromarray(ramp), form))[..., 0].astype(int)
        assert np.abs(grey - np.round(ramp / 4095 * 255).astype(int)).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_tiff_of_floats_is_accepted(mode):
    expected = np.asarray(scene().convert(mode))
    bgr = expected[..., ::-1] if mode == "RGB" else expected
    content = cv2.imencode(".tif", (bgr / 255).astype(np.float32))[1].tobytes()
    grey = expected if mode == "RGB" else np.repeat(expected[..., None], 3, axis=2)
    scale = 255 / grey.max()
    assert np.abs(pixels(content) - grey * scale).max() <= 1


def test_a_tiff_of_floats_is_turned_upright_and_limited():
    values = np.random.default_rng(0).random((90, 120, 3), np.float32)
    values[0, 0] = np.nan
    content = bytearray(cv2.imencode(".tif", values)[1].tobytes())
    plain = bytes(content)
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    tags = [struct.unpack_from("<HHII", content, directory + 2 + 12 * number) for number in range(entries)]
    tags = sorted([*tags, (0x0112, 3, 1, 6)])
    moved = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    struct.pack_into("<I", content, 4, len(content))
    assert np.array_equal(pixels(bytes(content) + moved), np.rot90(pixels(plain), -1))
    with pytest.raises(PhotoRefused, match=r"120x90 is more than 0\.01 megapixels"):
        photo_decoding.open_photo(plain, 64, 10_000)


def test_a_damaged_tiff_of_floats_is_refused():
    content = cv2.imencode(".tif", np.random.default_rng(0).random((90, 120, 3), np.float32))[1].tobytes()
    with pytest.raises(PhotoRefused, match=r"damaged|not an image"):
        pixels(content[: len(content) // 3])
