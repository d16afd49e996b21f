"""The scores of pictures with known answers, with an embedder that returns mean colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from models.images import pil_to_pixels, pixels_to_bytes
from models.learning import fidelity

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "products"


class MeanColour:
    """Embeds a picture as its mean colour relative to grey, and a text as the colour that it names."""

    def embed_images(self, pixels: Tensor) -> Tensor:
        return normalize(pixels.mean((2, 3)) - 0.5, dim=1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        named = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0)}
        rows = [next(colour for name, colour in named.items() if name in text) for text in texts]
        return normalize(torch.tensor(rows) - 0.5, dim=1)


def ball(colour: tuple[int, int, int], ground: tuple[int, int, int], centre: tuple[int, int] = (48, 48)) -> Image.Image:
    rows, columns = np.mgrid[:96, :96]
    inside = (rows - centre[1]) ** 2 + (columns - centre[0]) ** 2 < 26**2
    picture = np.where(inside[..., None], colour, ground).astype(np.uint8)
    noise = np.random.default_rng(0).integers(-4, 5, picture.shape)
    return Image.fromarray(np.clip(picture.astype(int) + noise, 0, 255).astype(np.uint8))


RED, GREEN, WHITE, BLUE = (210, 30, 30), (30, 200, 40), (245, 245, 245), (60, 90, 220)


def test_the_subject_is_found_and_the_background_becomes_grey():
    mask = fidelity.foreground_mask(pixels_to_bytes(pil_to_pixels(ball(RED, WHITE)))[0])
    rows, columns = np.mgrid[:96, :96]
    inside = (rows - 48) ** 2 + (columns - 48) ** 2 < 26**2
    assert (mask == inside).mean() > 0.97
    crop = fidelity.crop_subjects(pil_to_pixels(ball(RED, WHITE, (36, 50))))[0]
    assert torch.allclose(crop[:, 0, 0], torch.full((3,), 127 / 255), atol=0.02)
    assert crop[0, 48, 48] > 0.7


def test_each_cropped_picture_is_reported():
    reports = []
    pictures = pil_to_pixels(ball(RED, WHITE), ball(GREEN, BLUE))
    fidelity.crop_subjects(pictures, lambda *done: reports.append(done))
    assert reports == [(1, 2), (2, 2)]


def test_fidelity_ignores_the_background():
    photos = fidelity.crop_subjects(pil_to_pixels(ball(RED, WHITE), ball(RED, WHITE, (44, 50))))
    elsewhere, other = (fidelity.crop_subjects(pil_to_pixels(one)) for one in (ball(RED, BLUE), ball(GREEN, WHITE)))
    same_product = fidelity.subject_fidelity(MeanColour(), elsewhere, photos)
    other_product = fidelity.subject_fidelity(MeanColour(), other, photos)
    assert same_product > 0.95
    assert other_product < same_product - 0.5


def test_prompt_fidelity_pairs_pictures_with_their_prompts():
    pixels = pil_to_pixels(ball(RED, RED), ball(GREEN, GREEN))
    right = fidelity.prompt_fidelity(MeanColour(), pixels, ["a red ball", "a green ball"])
    wrong = fidelity.prompt_fidelity(MeanColour(), pixels, ["a green ball", "a red ball"])
    assert right > wrong


def test_diversity_is_zero_for_copies_and_high_for_different_pictures():
    copies = pil_to_pixels(*[ball(RED, WHITE)] * 3)
    others = pil_to_pixels(ball(RED, RED), ball(GREEN, GREEN), ball(BLUE, BLUE))
    assert fidelity.diversity(MeanColour(), [copies]) == pytest.approx(0, abs=1e-5)
    assert fidelity.diversity(MeanColour(), [others]) > 0.5


def test_diversity_compares_only_pictures_of_one_prompt():
    red, blue = pil_to_pixels(*[ball(RED, RED)] * 2), pil_to_pixels(*[ball(BLUE, BLUE)] * 2)
    assert fidelity.diversity(MeanColour(), [red, blue]) == pytest.approx(0, abs=1e-5)


def test_diversity_of_crops_ignores_the_background():
    grounds = pil_to_pixels(*(ball(RED, ground) for ground in (WHITE, BLUE, GREEN)))
    members = pil_to_pixels(*(ball(colour, WHITE) for colour in (RED, BLUE, GREEN)))
    apart = fidelity.diversity(MeanColour(), [fidelity.crop_subjects(members)])
    assert fidelity.diversity(MeanColour(), [fidelity.crop_subjects(grounds)]) < apart / 10
    assert fidelity.diversity(MeanColour(), [grounds]) > apart  # uncropped, the background dominates


def test_a_picture_without_a_subject_keeps_its_middle():
    flat = np.full((64, 64, 3), 200, np.uint8)
    mask = fidelity.foreground_mask(flat)
    assert mask[4:60, 4:60].all()
    assert not mask[0].any()


@pytest.mark.parametrize("product", ["milk", "jam"])
def test_the_subject_of_each_example_photo_is_found(product):
    for path in sorted((EXAMPLES / product).glob("*.png")):
        mask = fidelity.foreground_mask(np.asarray(Image.open(path).convert("RGB").resize((128, 128))))
        assert 0.12 < mask.mean() < 0.6, path.name
        assert mask[50:80, 50:78].mean() > 0.9, path.name
