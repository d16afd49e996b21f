"""Photos are cropped for the model, each unusable one is refused alone, and none can end the device process."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import Cancelled, UnusablePhotos
from models.learning import photos as learning_photos
from models.learning.photos import MIN_PHOTOS, PreparedPhotos
from models.photo_files import PhotoFile, PhotoLimits
from models.stages import ignore_steps
from tests.models.learning.photo_files import encode, photo_file, png_bomb, scene


def prepare_photos(contents: list[bytes], side: int, limits: PhotoLimits = PhotoLimits()) -> PreparedPhotos:  # noqa: B008
    files = [photo_file(content) for content in contents]
    return learning_photos.prepare_photos(files, side, limits, ignore_steps)


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


GOOD = [encode(scene(seed)) for seed in range(3)]


@pytest.fixture
def fragile(monkeypatch):
    """A decoder that does what a photo's content says; see `tests.models.learning.fragile_decoder`."""
    monkeypatch.setattr(learning_photos, "_DECODER", "tests.models.learning.fragile_decoder")


def test_photos_that_end_their_decoder_are_refused_alone(fragile):
    prepared = prepare_photos([GOOD[0], b"crash", GOOD[1], b"die", GOOD[2], b"babble"], 64)
    assert prepared.pixels.shape[0] == 3
    assert list(prepared.refused) == [1, 3, 5]
    assert prepared.refused[1] == f"damaged: it ends the decoder (exit status {-signal.SIGSEGV}) [damaged]"
    assert prepared.refused[3] == "too costly to decode: it takes more than 30 s or too much memory [too_costly]"


@pytest.mark.parametrize(
    "reply",
    [
        b'{"pixels": 1e400}',
        b"[" * 4000,
        b'{"failure": "No space left on device"}',
        b'{"reason": "' + b"x" * 10_000,
    ],
    ids=["overflow", "nested", "failure", "long"],
)
def test_a_photo_that_takes_its_decoder_over_is_refused_alone(fragile, reply):
    prepared = prepare_photos([b"reply" + reply, *GOOD], 64)
    assert prepared.pixels.shape[0] == 3
    assert list(prepared.refused) == [0]


def test_a_photo_counts_at_most_the_pixels_it_may_have(fragile):
    assert list(prepare_photos([b"pixels", b"crash", *GOOD], 64).refused) == [0, 1]


def test_a_decoder_that_hangs_is_killed_at_the_deadline(fragile, monkeypatch):
    monkeypatch.setattr(learning_photos, "_WAITING", 0.05)
    with pytest.raises(
        UnusablePhotos, match="photo 1: too costly to decode: it takes more than 1 s or too much memory"
    ):
        prepare_photos([b"hang"], 64, PhotoLimits(seconds=1))


def test_a_decoder_inherits_no_secret(fragile, monkeypatch):
    monkeypatch.setenv("CREATIVES_STORAGE__SECRET_KEY", "s3cret")
    with pytest.raises(UnusablePhotos) as caught:
        prepare_photos([b"environment"], 64)
    names = json.loads(str(caught.value).partition("photo 1: ")[2].partition(" [environment]")[0])
    assert set(names) <= {"PYTHONPATH", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "PATH", "LD_LIBRARY_PATH", "LANG",
                          "LC_CTYPE", "OMP_WAIT_POLICY"}  # fmt: skip


def test_a_decoder_that_does_not_start_is_no_photos_fault(monkeypatch):
    monkeypatch.setattr(learning_photos, "_DECODER", "tests.no_such_module")
    with pytest.raises(OSError, match=r"the photo decoder does not start \(exit status 1\)"):
        prepare_photos(GOOD, 64)


def test_a_file_that_is_gone_or_changed_is_no_photos_fault():
    for file in (PhotoFile("/nowhere/photo", "0" * 64), PhotoFile(photo_file(GOOD[0]).path, "0" * 64)):
        with pytest.raises(OSError, match=r"photo cannot be read|has changed since it was fetched"):
            learning_photos.prepare_photos([file], 64, PhotoLimits(), lambda *_: None)


def test_the_pixels_of_a_job_are_limited_in_order():
    prepared = prepare_photos([GOOD[0], png_bomb(300), *GOOD[1:]], 64, PhotoLimits(total_pixels=3 * 120 * 90))
    assert prepared.pixels.shape[0] == 3
    assert prepared.refused == {
        1: "300x300 is more than the 0.0216 megapixels that the photos before it leave to the registration [too_large]"
    }


def test_a_cancelled_job_ends_its_decoder():
    def cancel(_done: int, _total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        learning_photos.prepare_photos([photo_file(content) for content in GOOD], 64, PhotoLimits(), cancel)
