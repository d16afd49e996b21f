"""How well a concept was learned, by the measures of Ruiz et al. 2022 (section 4.1 and appendix).

`Embedder` gives unit rows, so a product of two is a cosine. Subjects are compared on crops whose background is grey:
a white wall in every photo must not count as likeness.
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

MARGIN = 0.06
GREY = 127
LEAST, MOST = 0.03, 0.95
ROUNDS = 4


class ImageEmbedder(Protocol):
    """CLIP or DINO: unit rows (N,D) of pixels (N,3,H,W) in [0,1]."""

    def embed_images(self, pixels: Tensor) -> Tensor: ...


class Embedder(ImageEmbedder, Protocol):
    """CLIP: of texts too."""

    def embed_texts(self, texts: Sequence[str]) -> Tensor: ...


def subject_fidelity(embedder: ImageEmbedder, generated: Tensor, photos: Tensor) -> float:
    """Return CLIP-I, or DINO, after the embedder: the mean cosine between generated pictures and real photos.

    Both are (N,3,S,S), cut out by `subjects`.
    """
    return _mean_cosine(embedder.embed_images(generated), embedder.embed_images(photos))


def prompt_fidelity(embedder: Embedder, generated: Tensor, prompts: Sequence[str]) -> float:
    """Return CLIP-T: the mean cosine between each picture (N,3,H,W) and its own prompt, the placeholder left out."""
    rows = embedder.embed_images(generated), embedder.embed_texts(list(prompts))
    return float((rows[0].float().cpu() * rows[1].float().cpu()).sum(1).mean())


def prior_confusion(embedder: ImageEmbedder, class_pictures: Tensor, photos: Tensor) -> float:
    """Return PRES: how much pictures of the class noun alone look like the product, both cut out. Lower is better."""
    return subject_fidelity(embedder, class_pictures, photos)


def diversity(embedder: ImageEmbedder, scenes: Sequence[Tensor]) -> float:
    """Return DIV: the mean distance (1 - cosine) between pictures of the product under one prompt. Higher is better.

    scenes: for each prompt its pictures (N,3,H,W), two at least; only pictures of one prompt are compared.
    A product learned by heart looks the same in every picture. The paper measures that by LPIPS, whose weights do not
    ship with this project; CLIP's distance stands in. Of pictures of the class noun alone, cut out, it tells how far
    members of the class are from each other: where the noun has drifted to the product, all show one thing.
    """
    return mean(_apart(embedder.embed_images(pictures).float().cpu()) for pictures in scenes)


def _apart(rows: Tensor) -> float:
    """Return the mean of 1 - cosine over all pairs of unit rows (N,D)."""
    return float((1 - rows @ rows.T).sum() / (len(rows) * (len(rows) - 1)))


def subjects(pixels: Tensor) -> Tensor:
    """Return pictures (N,3,S,S) of what stands in front: cut out, on grey, centred; input (N,3,H,W) in [0,1]."""
    side = min(pixels.shape[-2:])
    return bytes_to_pixels(*(_cut_out(picture, side) for picture in pixels_to_bytes(pixels)))


def foreground(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return (H,W): what stands in front, by GrabCut (Rother et al. 2004) from a rectangle inside the frame.

    Where that finds next to nothing or nearly everything, the rectangle itself.
    """
    height, width = picture.shape[:2]
    left, top = round(width * MARGIN), round(height * MARGIN)
    rectangle = (left, top, width - 2 * left, height - 2 * top)
    labels = np.zeros((height, width), np.uint8)
    # GrabCut's clusters start from OpenCV's own generator: seeded, so that a score is repeatable.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(picture), labels, rectangle, *models, ROUNDS, cv2.GC_INIT_WITH_RECT)
    mask = _largest_part((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))
    if not LEAST < mask.mean() < MOST:
        mask = np.zeros((height, width), bool)
        mask[top : height - top, left : width - left] = True
    return mask


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    largest: NDArray[np.bool_] = parts == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return largest


def _cut_out(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return (side,side,3): the masked subject in the middle of a grey square, scaled to fill it."""
    mask = foreground(picture)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    shown = np.where(mask[..., None], picture, np.uint8(GREY))[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = shown.shape[:2]
    square = np.full((max(height, width),) * 2 + (3,), GREY, np.uint8)
    top, left = (len(square) - height) // 2, (len(square) - width) // 2
    square[top : top + height, left : left + width] = shown
    resized: NDArray[np.uint8] = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return resized


def _mean_cosine(first: Tensor, second: Tensor) -> float:
    return float((first.float().cpu() @ second.float().cpu().T).mean().item())
