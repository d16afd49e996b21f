"""The words between the worker process and the device process: frozen dataclasses that pickle.

Neither this module nor `models.wire` imports torch, so the worker stays light.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Format = Literal["square", "portrait", "landscape", "story"]
Method = Literal["dreambooth", "dreambooth_lora", "textual_inversion"]
Stage = Literal["load", "generate", "rerank", "upscale", "encode", "prior", "train", "evaluate"]
Encoding = Literal["png", "jpeg", "webp"]
Sampler = Literal["dpmsolver++", "euler", "euler-trailing", "euler-ancestral-trailing", "lcm", "tcd", "ddim"]


@dataclass(frozen=True)
class StudioPlan:
    """How a studio is made: which weights, on which device, with which settings.

    What decides a picture's bytes is in the recipe; `models.opening.NOT_IN_RECIPE` names the rest.

    diffusion, reranking, upscaling: `demo`, a local path, or a hub id with `@revision`; see `models.weights.catalog`.
    device: `auto`, `cpu`, `cuda`, `cuda:1`. dtype: `auto` (bfloat16 on CUDA, float32 elsewhere) or a torch name.
    bucket: candidates denoised in one call; every call is padded to it, so a result never depends on its neighbours.
    tile: side in pixels above which the upscaler works in overlapping tiles (0: never).
    guidance_scale, steps: None takes the family's own default.
    dino: a transformers ViT or DINOv2 for a second opinion on learned products, a path or a hub id with `@revision`;
    it decides no picture.
    concepts: learned products kept on the device, at least 1; one of DreamBooth weighs as much as the UNet.
    sampler: None takes DPM-Solver++, or the few-step sampler that a diffusers folder names; a single file names none.
    """

    diffusion: str = "demo"
    reranking: str = "demo"
    upscaling: str = "demo"
    device: str = "auto"
    dtype: str = "auto"
    steps: int | None = None
    guidance_scale: float | None = None
    size: int | None = None
    sampler: Sampler | None = None
    bucket: int = 8
    tile: int = 512
    tile_overlap: int = 32
    encoding: Encoding = "png"
    quality: int = 95
    threads: int | None = None
    compile: bool = False
    dino: str | None = None
    concepts: int = 4


@dataclass(frozen=True)
class WeightsUsed:
    """One network of the recipe. role: `diffusion`, `reranking` or `upscaling`."""

    role: str
    id: str
    revision: str
    licence: str


@dataclass(frozen=True)
class StudioRecipe:
    """Everything that decides a picture's bytes apart from its brief; `fingerprint` is a sha256 over all of it."""

    fingerprint: str
    models: tuple[WeightsUsed, ...]
    settings: dict[str, str | int | float | bool]


@dataclass(frozen=True)
class StudioReady:
    """The device process is loaded and warm.

    tokenizer: path of the text encoder's `tokenizer.json`, or of a folder with `vocab.json` and `merges.txt`.
    max_tokens: length of the text encoder's context, start and end tokens included (77 for CLIP).
    negative_prompt: the family's own default.
    """

    recipe: StudioRecipe
    device: str
    tokenizer: str
    max_tokens: int
    negative_prompt: str


@dataclass(frozen=True)
class DeviceSeen:
    """A device that computes. dtype: the plan's precision on it. memory, free: bytes of its own, 0 without any."""

    device: str
    name: str
    dtype: str
    torch: str
    memory: int = 0
    free: int = 0


@dataclass(frozen=True)
class Concept:
    """A learned product on local disk, ready to be put into the model. sha256 covers the file."""

    product_id: str
    method: Method
    path: str
    sha256: str
    placeholder_token: str
    class_noun: str

    def in_plain_words(self, prompt: str) -> str:
        """Return the prompt as a model reads it that never learned the product, such as CLIP.

        A word of Textual Inversion becomes the class noun; DreamBooth's rare word goes, where it qualifies the noun.
        """
        token, noun = re.escape(self.placeholder_token), self.class_noun
        if self.method == "textual_inversion":
            return re.sub(rf"(?<![\w-]){token}(?![\w-])", lambda _: noun, prompt)
        first = re.escape(noun.split()[0])
        return re.sub(rf"(?<![\w-]){token}\s+(?={first}(?![\w-]))", "", prompt)


@dataclass(frozen=True)
class Brief:
    """One request for pictures: candidates are made from `seeds` (one each), the best `keep` are kept per format."""

    request_id: str
    prompt: str
    negative_prompt: str
    seeds: tuple[int, ...]
    keep: int
    formats: tuple[Format, ...] = ("square",)
    concept: Concept | None = None


@dataclass(frozen=True)
class Candidate:
    """One generated candidate and what the reranker thought of it. rank is None for those not kept."""

    format: Format
    index: int
    seed: int
    scores: dict[str, float]
    rank: int | None = None


@dataclass(frozen=True)
class Picture:
    """One finished picture, encoded."""

    rank: int
    format: Format
    seed: int
    width: int
    height: int
    media_type: str
    content: bytes = field(repr=False)
    scores: dict[str, float]


@dataclass(frozen=True)
class Rendering:
    """What a brief became. device_seconds: this brief's share of the batch's wall time on the device."""

    request_id: str
    pictures: tuple[Picture, ...]
    candidates: tuple[Candidate, ...]
    device_seconds: float


@dataclass(frozen=True)
class TrainingJob:
    """One product to learn. photos: the encoded files as fetched.

    workdir: a local folder of this job's own; checkpoints in it are resumed from, and the concept is written to it.
    concept: one learned before, of the same product and method; it is scored, nothing is learned or written.
    checkpoint_every, checkpoint_seconds: a checkpoint is written at a multiple of so many steps, once so many seconds
    have passed since the last, and at the end. class_cache: where class images are kept; None: the workdir.

    Of the rest, None takes the method's default for the family:
    batch: photos per step. class_images: how many are made for a class noun.
    prior_loss_weight: 0 learns without class images. rank: of the adapters (`dreambooth_lora`).
    snr_gamma: min-SNR loss weighting (Hang et al. 2023; 5 is usual); 0 weighs every timestep alike.
    early_stopping: stop when the deterministic loss has settled (DVAR, Voronov et al. 2023).
    train_text_encoder: `dreambooth` unfreezes the text encoder too. vectors: of one Textual Inversion token.
    """

    request_id: str
    product_id: str
    class_noun: str
    placeholder_token: str
    method: Method
    photos: tuple[bytes, ...] = field(repr=False)
    seed: int
    workdir: str
    concept: Concept | None = None
    checkpoint_every: int = 100
    checkpoint_seconds: float = 60.0
    class_cache: str | None = None
    steps: int | None = None
    learning_rate: float | None = None
    batch: int | None = None
    class_images: int | None = None
    prior_loss_weight: float | None = None
    rank: int | None = None
    snr_gamma: float | None = None
    early_stopping: bool | None = None
    train_text_encoder: bool | None = None
    vectors: int | None = None


@dataclass(frozen=True)
class TrainingResult:
    """A finished lesson. path: the concept's safetensors file in the workdir; pictures: samples that show it.

    scores: `fidelity` (CLIP-I), `prompt` (CLIP-T), `prior` (PRES), `prior_diversity` and `diversity` (DIV of the class
    and of the product), `fidelity_dino` where the studio has a DINO, and the untaught model's under the same names with
    `_before`; `photos_refused`, how many were left out; of DreamBooth `prior_preserved`, 1 with prior preservation and
    0 without.
    """

    request_id: str
    path: str
    sha256: str
    steps: int
    scores: dict[str, float]
    pictures: tuple[Picture, ...]
    device_seconds: float


RARE_WORD = "sks"


def placeholder(product_id: str, method: Method) -> str:
    """Return the word that stands for a product in prompts.

    Textual Inversion adds a token of its own. DreamBooth takes a rare word that the tokenizer knows already
    (Ruiz et al. 2022, section 3.2); all products may share it, since each has weights of its own.
    """
    return f"<{product_id.lower()}>" if method == "textual_inversion" else RARE_WORD


def subject(placeholder_token: str, class_noun: str, method: Method) -> str:
    """Return how a prompt names a product: `<milk>`, or `sks jar of jam` where the rare word qualifies its class."""
    return placeholder_token if method == "textual_inversion" else f"{placeholder_token} {class_noun}"
