"""Conversions between pixels and bytes, and the files of pictures."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from models import images
from models.rendering import provenance

ORIGIN = provenance.Origin("request-1", "kawa & <mleko> \u0000☕", "blurry", 2**63 - 1, "demo 1", "f" * 64)


@pytest.fixture
def picture():
    across = np.linspace(0, 255, 48, dtype=np.uint8)
    return np.stack(
        [np.tile(across, (32, 1)), np.full((32, 48), 90, np.uint8), np.tile(across[::-1], (32, 1))], axis=-1
    )


def test_signed_pixels_convert_back_to_the_same_pixels():
    pixels = torch.rand(2, 3, 5, 7)
    assert torch.allclose(images.signed_to_pixels(images.pixels_to_signed(pixels)), pixels, atol=1e-6)
    assert images.pixels_to_signed(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1]
    assert images.signed_to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 1]


def test_bytes_are_rounded_clamped_and_in_order():
    pixels = torch.zeros(2, 3, 1, 4)
    pixels[0, 0, 0] = torch.tensor([-0.2, 0.5, 127.4 / 255, 1.7])
    pixels[1, 2] = 1
    first, second = images.pixels_to_bytes(pixels)
    assert first.shape == (1, 4, 3)
    assert first[0, :, 0].tolist() == [0, 128, 127, 255]
    assert second[0, 0].tolist() == [0, 0, 255]


def test_bytes_convert_to_pixels_and_back_unchanged():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(images.pixels_to_bytes(images.bytes_to_pixels(every))[0], every)
    assert np.array_equal(np.asarray(images.pixels_to_pil(images.pil_to_pixels(Image.fromarray(every)))[0]), every)


def test_other_modes_become_rgb():
    grey, clear = Image.new("L", (4, 2), 128), Image.new("RGBA", (4, 2), (255, 0, 0, 10))
    assert images.pil_to_pixels(grey, clear).shape == (2, 3, 2, 4)


@pytest.mark.parametrize(
    ("encoding", "media_type"), [("png", "image/png"), ("jpeg", "image/jpeg"), ("webp", "image/webp")]
)
def test_a_file_holds_picture_and_packet_and_its_bytes_repeat(picture, encoding, media_type):
    packet = provenance.xmp(ORIGIN)
    made, again = (images.encode(picture, encoding, 95, packet) for _ in range(2))
    assert made == again
    assert (made.media_type, made.width, made.height) == (media_type, 48, 32)
    read = Image.open(io.BytesIO(made.content))
    assert read.format == encoding.upper()
    found = np.asarray(read.convert("RGB")).astype(int)
    limit = 0 if encoding == "png" else 24
    assert np.abs(found - picture).max() <= limit
    stored = read.info.get("XML:com.adobe.xmp", read.info.get("xmp", b""))
    assert (stored.encode() if isinstance(stored, str) else stored) == packet.encode()


def test_other_programs_can_read_the_packet(picture):
    """Pillow parses it as XML. It holds the IPTC mark and the prompt, without characters that XML does not allow."""
    import xml.etree.ElementTree as ET

    made = images.encode(picture, "png", 95, provenance.xmp(ORIGIN))
    packet = Image.open(io.BytesIO(made.content)).info["XML:com.adobe.xmp"]
    root = ET.fromstring(packet.encode())
    found = {element.tag.split("}")[1]: element.text for element in root.iter()}
    assert found["DigitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert found["AIPromptInformation"] == found["li"] == "kawa & <mleko> ☕"
    assert (found["seed"], found["recipe"], found["request"]) == (str(2**63 - 1), "f" * 64, "request-1")
    assert (found["AISystemUsed"], found["negativePrompt"]) == ("demo 1", "blurry")


def test_without_a_packet_nothing_is_added(picture):
    assert b"xmp" not in images.encode(picture, "png").content
    assert len(images.encode(picture, "jpeg", 50).content) < len(images.encode(picture, "jpeg", 95).content)
