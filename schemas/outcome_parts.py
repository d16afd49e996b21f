"""The parts that several outcomes share: pictures, recipe, cost, source."""

from __future__ import annotations

from pydantic import Field

from schemas.base import MAX_SEED, Contract, Format, Sha256


class Image(Contract):
    """One stored picture."""

    rank: int = Field(
        ge=1,
        description="Position of the picture among those of its `format`: rank 1 has the best CLIP score.",
        examples=[1],
    )
    url: str = Field(
        description="Address of the picture, for HTTP GET. It may expire (`url_expires_at` of the event): copy the "
        "picture, or keep `s3_uri`.",
        examples=[
            "https://store.example.org/creatives/creatives/breakfast-lovers/717387f3-e48c-530b-beb9-235d59409d1c/square-1-da95434017c22939.png"
        ],
    )
    s3_uri: str = Field(
        description="Bucket and key of the picture. It does not expire; reading it needs credentials.",
        examples=[
            "s3://creatives/creatives/breakfast-lovers/717387f3-e48c-530b-beb9-235d59409d1c/square-1-da95434017c22939.png"
        ],
    )
    format: Format = Field(description="The format that the event asked for.", examples=["square"])
    width: int = Field(gt=0, description="Width in pixels.", examples=[256])
    height: int = Field(gt=0, description="Height in pixels.", examples=[256])
    media_type: str = Field(
        description="`image/png`, `image/jpeg` or `image/webp`, by `CREATIVES_STUDIO__ENCODING` of the worker.",
        examples=["image/png"],
    )
    bytes: int = Field(gt=0, description="Size of the file in bytes.", examples=[71808])
    sha256: Sha256 = Field(
        description="Digest of the file. Check it after the download.",
        examples=["da95434017c229393d8b12073ca7b7373b6388951c4a5159f6239dc1f8aa5e2a"],
    )
    seed: int = Field(
        ge=0,
        le=MAX_SEED,
        description="The candidate's own seed, derived from the event's `seed` or the request id. For information "
        "only: as the `seed` of an event it gives other pictures.",
        examples=[6919576440746533],
    )
    scores: dict[str, float] = Field(
        description="`clip`: cosine similarity of picture and prompt in the worker's CLIP; it decides the rank. "
        "`clip_logit`: the same value on the logit scale of that CLIP. Compare scores within one recipe only.",
        examples=[{"clip": 0.633232, "clip_logit": 15.6444}],
    )


class ModelUsed(Contract):
    """One network that made the pictures."""

    role: str = Field(description="`diffusion`, `reranking` or `upscaling`.", examples=["diffusion"])
    id: str = Field(description="Name of the weights.", examples=["fluence-demo"])
    revision: str = Field(
        description="Version of the weights. A concept works only with the diffusion revision it was trained on.",
        examples=["demo-2026.11.4"],
    )
    licence: str = Field(description="Licence of the weights.", examples=["Apache-2.0"])


class Recipe(Contract):
    """Everything apart from the event that decides the bytes of a picture."""

    fingerprint: str = Field(
        description="sha256 over all weights, library versions and settings that affect a picture. The same event "
        "with the same fingerprint on the same kind of device gives the same pictures.",
        examples=["7e9e247eee5962aad5a52281923e9f70cb3987580b2916428fd65987e4bc0da1"],
    )
    models: tuple[ModelUsed, ...] = Field(
        description="The networks.",
        examples=[[{"role": "diffusion", "id": "fluence-demo", "revision": "demo-2026.11.4", "licence": "Apache-2.0"}]],
    )
    settings: dict[str, str | int | float | bool] = Field(
        description="The settings and library versions by name, for people. New names may appear at any time.",
        examples=[{"size": 64, "steps": 20, "guidance_scale": 3.0}],
    )


class Cost(Contract):
    """The resources that the request used."""

    device_seconds: float = Field(
        ge=0,
        description="Wall-clock seconds on the device. Requests that share a batch share its time.",
        examples=[3.94],
    )
    candidates: int = Field(
        ge=0,
        description="For a segment: pictures generated, over all formats. For a product: sample pictures in the event.",
        examples=[8],
    )
    device: str = Field(description="The device: `cpu`, `cuda`, `cuda:1`.", examples=["cpu"])


class Source(Contract):
    """The place in Kafka of the event that led to this outcome."""

    topic: str = Field(description="Topic of the event.", examples=["segment-updated"])
    partition: int = Field(ge=0, description="Partition of the event.", examples=[0])
    offset: int = Field(
        ge=0,
        description="Offset of the event. Of two outcomes with the same key and source topic, the one with the higher "
        "offset answers the later event.",
        examples=[2],
    )
