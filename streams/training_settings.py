"""The settings of product training: photos, checkpoints, thresholds, and a group per method."""

from __future__ import annotations

import json

from pydantic import Field

from models.briefs import Method
from models.photo_files import PhotoLimits
from streams.setting_types import Group

_THRESHOLDS = {"min_fidelity", "min_fidelity_dino", "min_prompt", "max_prior", "min_diversity"}
_BUDGETS = {"max_total_photo_bytes", "max_photo_pixels", "max_total_photo_pixels", "photo_seconds"}
_DECISIVE = {"allowed_hosts", "max_photo_bytes"} | _THRESHOLDS


class MethodSettings(Group):
    """The settings that all methods share. Unset: the default of the model family, else of the method's paper."""

    steps: int | None = Field(default=None, ge=1, le=100_000, description="training steps; an event's `steps` wins")
    learning_rate: float | None = Field(default=None, gt=0, description="learning rate of AdamW")
    batch: int | None = Field(default=None, ge=1, le=64, description="photos per step")
    snr_gamma: float | None = Field(default=None, ge=0, description="gamma of min-SNR loss weighting; 0 turns it off")
    early_stopping: bool | None = Field(default=None, description="stop once the deterministic loss has settled")


class DreamBoothSettings(MethodSettings):
    """DreamBooth, which trains all weights of the UNet."""

    prior_loss_weight: float | None = Field(
        default=None, ge=0, description="weight of prior preservation; 0 trains without class images"
    )
    class_images: int | None = Field(default=None, ge=1, le=10_000, description="class images drawn per class noun")
    train_text_encoder: bool | None = Field(default=None, description="train the text encoder too")


class DreamBoothLoraSettings(MethodSettings):
    """DreamBooth with low-rank adapters (LoRA)."""

    rank: int | None = Field(default=None, ge=1, le=1024, description="rank of the adapters")
    prior_loss_weight: float | None = Field(
        default=None, ge=0, description="weight of prior preservation; 0 trains without class images"
    )
    class_images: int | None = Field(default=None, ge=1, le=10_000, description="class images drawn per class noun")


class TextualInversionSettings(MethodSettings):
    """Textual Inversion."""

    vectors: int | None = Field(default=None, ge=1, le=32, description="embedding vectors of the placeholder token")


class TrainingSettings(Group):
    """Product training. A concept that misses a threshold is rejected with its scores; an unset threshold is off."""

    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="hosts that `https://` photos may come from, as a JSON list"
    )
    max_photo_bytes: int = Field(default=20 * 2**20, ge=1, description="size limit of one photo file")
    max_total_photo_bytes: int = Field(
        default=256 * 2**20, ge=1, description="size limit of all photo files of one registration"
    )
    max_photo_pixels: int = Field(default=50_000_000, ge=1, description="limit for the pixels of one photo")
    max_total_photo_pixels: int = Field(
        default=750_000_000, ge=1, description="limit for the pixels of all photos of one registration"
    )
    photo_seconds: int = Field(default=30, ge=1, le=90, description="limit for the processor time to decode one photo")
    photo_timeout: float = Field(
        default=600.0,
        ge=0,
        description="seconds to fetch all photos of one registration, with retries; the first attempts have 60",
    )
    concurrency: int = Field(
        default=2, ge=1, description="registrations in progress: one trains while the next fetches its photos"
    )
    max_steps: int = Field(
        default=5_000, ge=1, le=100_000, description="maximum `steps` of an event; ample for Stable Diffusion 1.5"
    )
    checkpoint_every: int = Field(default=100, ge=1, description="steps between checkpoints")
    checkpoint_seconds: float = Field(default=60.0, ge=0, description="minimum seconds between checkpoints")
    min_fidelity: float | None = Field(default=None, description="minimum CLIP-I")
    min_fidelity_dino: float | None = Field(default=None, description="minimum DINO; needs CREATIVES_STUDIO__DINO")
    min_prompt: float | None = Field(default=None, description="minimum CLIP-T")
    max_prior: float | None = Field(default=None, description="maximum PRES")
    min_diversity: float | None = Field(default=None, description="minimum DIV")
    workdir: str | None = Field(default=None, description="local scratch folder; unset: a folder in the temporary one")
    max_concept_cache_bytes: int = Field(
        default=16 * 2**30,
        ge=0,
        description="size limit of the concept files in the scratch folder; files in use stay above it",
    )
    max_concept_bytes: int = Field(
        default=16 * 2**30, ge=1, description="size limit of one trained concept that a worker downloads"
    )
    max_checkpoint_bytes: int = Field(
        default=64 * 2**30, ge=1, description="size limit of one training checkpoint that a worker downloads"
    )
    max_class_cache_bytes: int = Field(
        default=4 * 2**30, ge=0, description="size limit of the class images in the scratch folder"
    )
    max_parked_days: float = Field(
        default=30.0,
        gt=0,
        description="days that a segment waits for its product; then it is rejected with `product_not_ready`",
    )
    dreambooth: DreamBoothSettings = DreamBoothSettings()
    dreambooth_lora: DreamBoothLoraSettings = DreamBoothLoraSettings()
    textual_inversion: TextualInversionSettings = TextualInversionSettings()

    def method_settings(self, method: Method) -> MethodSettings:
        """Return the group of one method."""
        group: MethodSettings = getattr(self, method)
        return group

    def photo_limits(self) -> PhotoLimits:
        """Return the limits for decoding the photos of one registration."""
        return PhotoLimits(self.max_photo_pixels, self.max_total_photo_pixels, self.photo_seconds)

    def decisive(self, method: Method) -> str:
        """Return, as text, every setting that decides a product's result. A change makes a new request id."""
        fields = self.model_dump(include=_DECISIVE, exclude_none=True)
        fields |= self.model_dump(include=_BUDGETS, exclude_defaults=True)
        return json.dumps(fields | {method: self.method_settings(method).model_dump(exclude_none=True)}, sort_keys=True)
