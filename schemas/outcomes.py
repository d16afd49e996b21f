"""The events that the service publishes: `creative-ready`, `product-ready`, `creative-rejected`."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Contract, Format, Identifier, Method, OutcomeVersion, Sha256, Timestamp
from schemas.outcome_parts import Cost, Image, Recipe, Source

_CONCEPT_SHA256 = "785bcd1a4d5ff896bbfd3a072c3023d42905ca3e1ee0408cf91a92ca92177167"
_CONCEPT_URI = (
    "s3://creatives/concepts/mleko-laka/c2857788-bff7-5929-890b-b7745e82bc8f/concept-785bcd1a4d5ff896.safetensors"
)


class CreativeReady(Contract):
    """Announces the stored pictures of a segment. Topic `creative-ready`, key `segment_id`."""

    schema_version: OutcomeVersion = 1
    request_id: str = Field(
        description="Id of the request, derived from the event's id and content and from the recipe. Deduplicate by "
        "it: a repeat has the same bytes.",
        examples=["717387f3-e48c-530b-beb9-235d59409d1c"],
    )
    event_id: Identifier = Field(
        description="`event_id` of the segment event: match the answer to your request by it. If you corrected an "
        "event under its old `event_id`, the answer with the highest `source.offset` is that of the correction.",
        examples=["segment-breakfast-with-milk-2026-11-23"],
    )
    segment_id: Identifier = Field(description="The segment.", examples=["breakfast-lovers"])
    product_id: Identifier | None = Field(
        default=None, description="The product that the pictures show, if the event named one.", examples=["mleko-laka"]
    )
    concept_uri: str | None = Field(
        default=None,
        description="The trained concept of that product, as the pictures show it. Absent without a product.",
        examples=[_CONCEPT_URI],
    )
    concept_sha256: Sha256 | None = Field(
        default=None,
        description="Digest of the concept's file. Absent without a product.",
        examples=[_CONCEPT_SHA256],
    )
    prompt: str = Field(
        description="The text that the pictures were generated from. English, except for words without a translation.",
        examples=["an advertising photo of sks carton of milk and a croissant on a wooden table, soft light"],
    )
    negative_prompt: str = Field(
        description="What the pictures should not show: `CREATIVES_STUDIO__NEGATIVE_PROMPT` of the worker, else the "
        "model family's own.",
        examples=["blurry, low quality, deformed, text, watermark"],
    )
    rationale: tuple[str, ...] = Field(
        default=(),
        description="For people: field by field, which words of the event the prompt uses, which it translates, and "
        "which it leaves out and why. The wording may change; do not parse it.",
        examples=[["template 3", "product_id: used: sks carton of milk", "21 of 77 tokens"]],
    )
    formats: tuple[Format, ...] = Field(
        default=(),
        description="The formats that the event asked for, in its order.",
        examples=[["square"]],
    )
    images: tuple[Image, ...] = Field(
        min_length=1, description="The pictures: format by format in that order, and within a format by rank."
    )
    recipe: Recipe = Field(description="Recipe of the pictures.")
    cost: Cost = Field(description="Device time and number of candidates.")
    source: Source = Field(description="Place of the segment event in Kafka.")
    created_at: Timestamp = Field(
        description="When the pictures were ready. A repeat keeps the time of the first.",
        examples=["2026-11-28T03:20:50.102000Z"],
    )
    url_expires_at: Timestamp | None = Field(
        default=None,
        description="When every `url` of the event expires: 7 days after `created_at` unless "
        "`CREATIVES_STORAGE__URL_EXPIRY` is set. Absent if they do not expire.",
        examples=["2026-12-05T03:20:50Z"],
    )


class ProductReady(Contract):
    """Announces the trained concept of a product. Topic `product-ready`, key `product_id`."""

    schema_version: OutcomeVersion = 1
    request_id: str = Field(
        description="Id of the request, derived from the registration's id and content, the recipe and the training "
        "settings. Deduplicate by it: a repeat has the same bytes.",
        examples=["c2857788-bff7-5929-890b-b7745e82bc8f"],
    )
    event_id: Identifier = Field(
        description="`event_id` of the registration.", examples=["product-mleko-laka-2026-11-23"]
    )
    product_id: Identifier = Field(
        description="The product. Segments that waited for it are sent to `segment-updated` again.",
        examples=["mleko-laka"],
    )
    method: Method = Field(description="How the concept was trained.", examples=["dreambooth"])
    concept_uri: str = Field(
        description="Bucket and key of the concept, a safetensors file that stock diffusers loads.",
        examples=[_CONCEPT_URI],
    )
    concept_sha256: Sha256 = Field(
        description="Digest of that file.",
        examples=[_CONCEPT_SHA256],
    )
    placeholder_token: str = Field(
        description="The word that stands for the product in a prompt: `sks` before the class noun for both "
        "DreamBooths, `<product_id>` in lower case for Textual Inversion.",
        examples=["sks"],
    )
    class_noun: str = Field(description="`class_noun` of the registration.", examples=["carton of milk"])
    steps: int = Field(ge=0, description="Number of training steps.", examples=[300])
    scores: dict[str, float] = Field(
        description="How well the concept shows the product; see "
        "[scores of a concept](docs/events.md#scores-of-a-concept).",
        examples=[{"fidelity": 0.687, "fidelity_before": 0.409}],
    )
    images: tuple[Image, ...] = Field(
        default=(), description="Sample pictures of the product, for a person to look at."
    )
    recipe: Recipe = Field(description="Recipe of the training and the sample pictures.")
    cost: Cost = Field(description="Device time and number of sample pictures.")
    source: Source = Field(description="Place of the registration in Kafka.")
    created_at: Timestamp = Field(
        description="When the training finished. A repeat keeps the time of the first.",
        examples=["2026-11-28T03:20:45.496000Z"],
    )
    url_expires_at: Timestamp | None = Field(
        default=None,
        description="When every `url` of the event expires. Absent if they do not expire.",
        examples=["2026-12-05T03:20:45Z"],
    )


class CreativeRejected(Contract):
    """Rejects a valid request, with a code for programs and a reason for people.

    Topic `creative-rejected`, key `segment_id` for a segment, `product_id` for a product.
    """

    schema_version: OutcomeVersion = 1
    request_id: str = Field(
        description="Id of the request. Deduplicate by it: a repeat has the same bytes.",
        examples=["95310b51-c168-57d4-806a-e191c109dafa"],
    )
    event_id: Identifier = Field(
        description="`event_id` of the rejected event. The same event always gets the same rejection: correct the "
        "event, or fix the cause and send it with a new `event_id`.",
        examples=["product-sok-2026-11-23"],
    )
    segment_id: Identifier | None = Field(
        default=None,
        description="The rejected segment. Absent if a registration was rejected.",
        examples=["late-risers"],
    )
    product_id: Identifier | None = Field(
        default=None,
        description="The rejected product, or the product that the rejected segment names.",
        examples=["sok-malinowy"],
    )
    waiting: int | None = Field(
        default=None,
        ge=0,
        description="For a rejected product without a usable concept: how many segments wait for one. They keep "
        "waiting until a registration of the product succeeds.",
        examples=[3],
    )
    code: str = Field(
        description="Reason code, for programs; see [rejection codes](docs/events.md#rejection-codes).",
        examples=["unusable_photos"],
    )
    reason: str = Field(
        description="Reason in one sentence, for people, with details such as the fault of every photo. The wording "
        "may change; do not parse it.",
        examples=["1 could be fetched, at least 3 needed"],
    )
    scores: dict[str, float] = Field(
        default_factory=dict,
        description="For `concept_too_weak`: the [scores of the concept](docs/events.md#scores-of-a-concept). "
        "Otherwise empty.",
        examples=[{"fidelity": 0.412}],
    )
    source: Source = Field(description="Place of the rejected event in Kafka.")
    created_at: Timestamp = Field(
        description="When the service rejected the request. A repeat keeps the time of the first.",
        examples=["2026-11-28T03:18:39.701000Z"],
    )
