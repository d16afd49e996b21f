"""How well a concept resembles its product: the measures of Ruiz et al. 2022 (section 4.1 and appendix).

Embedders return unit rows, so the dot product of two rows is their cosine. Subjects are compared as crops on grey, so
that a white wall in every photo does not count as likeness.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.images import bytes_to_pixels, pixels_to_bytes
from models.stages import StepCallback, ignore_steps

MARGIN = 0.06
GREY = 127
MIN_SHARE, MAX_SHARE = 0.03, 0.95
GRABCUT_ITERATIONS = 4


class ImageEmbedder(Protocol):
    """CLIP or DINO: returns unit rows (N,D) of pixels (N,3,H,W) in [0,1]."""

    def embed_images(self, pixels: Tensor) -> Tensor: ...


class Embedder(ImageEmbedder, Protocol):
    """CLIP: embeds texts, too."""

    def embed_texts(self, texts: Sequence[str]) -> Tensor: ...


def subject_fidelity(embedder: ImageEmbedder, generated: Tensor, photos: Tensor) -> float:
    """Return CLIP-I or DINO, depending on the embedder: the mean cosine between generated pictures and real photos.

    Both are (N,3,S,S) crops from `crop_subjects`.
    """
    return _mean_cosine(embedder.embed_images(generated), embedder.embed_images(photos))


def prompt_fidelity(embedder: Embedder, generated: Tensor, prompts: Sequence[str]) -> float:
    """Return CLIP-T: the mean cosine between each picture (N,3,H,W) and its prompt without the placeholder token."""
    rows = embedder.embed_images(generated), embedder.embed_texts(list(prompts))
    return float((rows[0].float().cpu() * rows[1].float().cpu()).sum(1).mean())


def prior_confusion(embedder: ImageEmbedder, class_pictures: Tensor, photos: Tensor) -> float:
    """Return PRES: how much crops of class pictures resemble crops of the product. Lower is better."""
    return subject_fidelity(embedder, class_pictures, photos)


def diversity(embedder: ImageEmbedder, scenes: Sequence[Tensor]) -> float:
    """Return DIV: the mean distance (1 - cosine) between pictures of the product under one prompt. Higher is better.

    scenes: the pictures (N,3,H,W) of each prompt, at least two; only pictures of the same prompt are compared.
    An overfitted concept looks the same in every picture. The paper measures this with LPIPS; its weights do not ship
    with this project, so CLIP's distance stands in. On crops of class pictures DIV measures how much members of the
    class differ: it falls if the class noun has drifted to the product.
    """
    return mean(_mean_distance(embedder.embed_images(pictures).float().cpu()) for pictures in scenes)


def crop_subjects(pixels: Tensor, report: StepCallback = ignore_steps) -> Tensor:
    """Return the subject of each picture (N,3,H,W) in [0,1], cut out and centred on grey, (N,3,S,S).

    report: called with pictures done and in total.
    """
    side = min(pixels.shape[-2:])
    cropped = []
    for picture in pixels_to_bytes(pixels):
        cropped.append(_crop_subject(picture, side))
        report(len(cropped), len(pixels))
    return bytes_to_pixels(*cropped)


def foreground_mask(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the (H,W) mask of the subject, by GrabCut (Rother et al. 2004) from a rectangle inside the frame.

    If GrabCut finds next to nothing or nearly everything, the mask is the rectangle.
    """
    height, width = picture.shape[:2]
    left, top = round(width * MARGIN), round(height * MARGIN)
    rectangle = (left, top, width - 2 * left, height - 2 * top)
    labels = np.zeros((height, width), np.uint8)
    # GrabCut seeds its clusters from OpenCV's global generator; a fixed seed makes scores repeatable.
    cv2.setRNGSeed(0)
    background_model, foreground_model = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(
        np.ascontiguousarray(picture),
        labels,
        rectangle,
        background_model,
        foreground_model,
        GRABCUT_ITERATIONS,
        cv2.GC_INIT_WITH_RECT,
    )
    mask = _largest_component((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))
    if not MIN_SHARE < mask.mean() < MAX_SHARE:
        mask = np.zeros((height, width), bool)
        mask[top : height - top, left : width - left] = True
    return mask


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, components, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    largest: NDArray[np.bool_] = components == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return largest


def _crop_subject(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return (side,side,3): the masked subject in the middle of a grey square, scaled to fill it."""
    mask = foreground_mask(picture)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    subject = np.where(mask[..., None], picture, np.uint8(GREY))[box]
    height, width = subject.shape[:2]
    square = np.full((max(height, width),) * 2 + (3,), GREY, np.uint8)
    top, left = (len(square) - height) // 2, (len(square) - width) // 2
    square[top : top + height, left : left + width] = subject
    resized: NDArray[np.uint8] = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return resized


def _mean_cosine(first: Tensor, second: Tensor) -> float:
    return float((first.float().cpu() @ second.float().cpu().T).mean().item())


def _mean_distance(rows: Tensor) -> float:
    """Return the mean of 1 - cosine over all pairs of unit rows (N,D)."""
    return float((1 - rows @ rows.T).sum() / (len(rows) * (len(rows) - 1)))
