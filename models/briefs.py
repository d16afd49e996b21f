"""The data that worker and device process exchange: frozen dataclasses of plain values.

Neither this module nor `models.wire` imports torch, so the worker process stays small. FailFast keeps the cost of a
hostile message low: pydantic stops at the first bad entry instead of collecting the errors of all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import FailFast

from models.photo_files import PhotoFile, PhotoLimits

Format = Literal["square", "portrait", "landscape", "story"]
Method = Literal["dreambooth", "dreambooth_lora", "textual_inversion"]
Stage = Literal[
    "load", "generate", "rerank", "score", "upscale", "finish", "encode", "photos", "prior", "train", "evaluate"
]
Encoding = Literal["png", "jpeg", "webp"]
Sampler = Literal["dpmsolver++", "euler", "euler-trailing", "euler-ancestral-trailing", "lcm", "tcd", "ddim"]


@dataclass(frozen=True)
class StudioPlan:
    """The weights, device and settings of a studio.

    The recipe holds every field that decides a picture's bytes; `models.opening.NOT_IN_RECIPE` lists the others.
    diffusion, reranking, upscaling: `demo`, a local path, or a hub id with `@revision`; see `models.weights.catalog`.
    device, dtype: `auto` is CUDA in float16 if there is a GPU, otherwise the CPU in float32.
    steps, guidance_scale, size, prediction_type, zero_snr: None takes what the family states. size: side of a square.
    sampler: None takes the few-step sampler that a diffusers folder names, otherwise DPM-Solver++.
    bucket: the most candidates denoised in one call; a smaller call is padded to the next power of two.
    tile: side in pixels above which the upscaler works in tiles (0: never); neighbours share `tile_overlap` pixels.
    quality: of `jpeg` and `webp` files. threads: None leaves torch's default. dino: a ViT or DINOv2, for more scores.
    concepts: trained products kept on the device. network: the process keeps its network after fetching the weights.
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
    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    zero_snr: bool | None = None
    bucket: int = 8
    tile: int = 512
    tile_overlap: int = 32
    encoding: Encoding = "png"
    quality: int = 95
    threads: int | None = None
    compile: bool = False
    dino: str | None = None
    concepts: int = 4
    network: bool = False


@dataclass(frozen=True)
class WeightsUsed:
    """The weights of one role in a recipe. role: `diffusion`, `reranking` or `upscaling`."""

    role: str
    id: str
    revision: str
    licence: str


@dataclass(frozen=True)
class StudioRecipe:
    """Everything that decides a picture's bytes apart from its brief. fingerprint: a sha256 over all of it."""

    fingerprint: str
    models: Annotated[tuple[WeightsUsed, ...], FailFast()]
    settings: dict[str, str | int | float | bool]


@dataclass(frozen=True)
class StudioReady:
    """The device process has loaded its networks and is ready for jobs.

    tokenizer: path of the text encoder's `tokenizer.json`, or of a folder with `vocab.json` and `merges.txt`.
    max_tokens: length of the text encoder's context, start and end tokens included (77 for CLIP).
    negative_prompt, vocabulary: the family's own; see `models.weights.families.Family`. notes: on the weights.
    """

    recipe: StudioRecipe
    device: str
    tokenizer: str
    max_tokens: int
    negative_prompt: str
    vocabulary: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceProbe:
    """A device that works. dtype: the plan's precision on it. memory, free: total and free bytes, 0 for a CPU.

    refused: what the kernel refuses the device process; see `models.isolation.refused_rights`.
    """

    device: str
    name: str
    dtype: str
    torch: str
    memory: int = 0
    free: int = 0
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Concept:
    """A trained product as a file on local disk. sha256: of the file."""

    product_id: str
    method: Method
    path: str
    sha256: str
    placeholder_token: str
    class_noun: str

    def replace_placeholder(self, prompt: str) -> str:
        """Return the prompt for a model that was not trained on the product, such as CLIP.

        A Textual Inversion token becomes the class noun. DreamBooth's rare word is dropped before the class noun.
        """
        token, noun = re.escape(self.placeholder_token), self.class_noun
        if self.method == "textual_inversion":
            return re.sub(rf"(?<![\w-]){token}(?![\w-])", lambda _: noun, prompt)
        first = re.escape(noun.split()[0])
        return re.sub(rf"(?<![\w-]){token}\s+(?={first}(?![\w-]))", "", prompt)


@dataclass(frozen=True)
class Brief:
    """One request for pictures. Each format gets one candidate per seed, and keeps the best `keep` of them."""

    request_id: str
    prompt: str
    negative_prompt: str
    seeds: tuple[int, ...]
    keep: int
    formats: tuple[Format, ...] = ("square",)
    concept: Concept | None = None


@dataclass(frozen=True)
class Candidate:
    """One generated candidate with its scores. rank: None if it was not kept."""

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
    """The result of a brief. device_seconds: wall time that the device spent on it. stage_seconds: by stage."""

    request_id: str
    pictures: Annotated[tuple[Picture, ...], FailFast()]
    candidates: Annotated[tuple[Candidate, ...], FailFast()]
    device_seconds: float
    stage_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingJob:
    """One product to train on, in `workdir`: a local folder of this job alone, with its checkpoints and its concept.

    concept: an earlier concept of the same product and method; the job scores it, and trains and writes nothing.
    checkpoint_every, checkpoint_seconds: the job writes a checkpoint every `checkpoint_every` steps, but not within
    `checkpoint_seconds` of the last one; and at the end. class_cache: folder of the class images, with at most
    `class_cache_bytes` (None: no limit); None: the workdir.

    In all other options None takes the family's default for the method. batch: photos per step. class_images: number of
    pictures of the class noun. prior_loss_weight: 0 trains without class images. rank: of the adapters (LoRA).
    snr_gamma: min-SNR loss weighting (Hang et al. 2023; 5 is usual); 0 weights all timesteps equally.
    early_stopping: stop once the loss of a fixed batch has settled (DVAR, Voronov et al. 2023).
    train_text_encoder: `dreambooth` trains the text encoder too. vectors: per Textual Inversion token.
    """

    request_id: str
    product_id: str
    class_noun: str
    placeholder_token: str
    method: Method
    photos: tuple[PhotoFile, ...]
    seed: int
    workdir: str
    photo_limits: PhotoLimits = field(default_factory=PhotoLimits)
    concept: Concept | None = None
    checkpoint_every: int = 100
    checkpoint_seconds: float = 60.0
    class_cache: str | None = None
    class_cache_bytes: int | None = None
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
    """The result of a training job. path: the concept's safetensors file. pictures: samples that show the product.

    scores (`models.learning.fidelity` defines the measures):
    `fidelity` (CLIP-I), `prompt` (CLIP-T), `prior` (PRES), `prior_diversity` (DIV of the class), `diversity` (DIV of
    the product), and `fidelity_dino` if the plan sets `dino`. Each also with `_before`, measured on the base model.
    `photos_refused`: how many were left out. `prior_preserved` (DreamBooth only): 1 with prior preservation, else 0.
    """

    request_id: str
    path: str
    sha256: str
    steps: int
    scores: dict[str, float]
    pictures: Annotated[tuple[Picture, ...], FailFast()]
    device_seconds: float
