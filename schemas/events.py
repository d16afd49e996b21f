"""Every event that enters or leaves the service, as frozen pydantic models.

JSON in UTF-8. Unknown fields are ignored, so emitters may add fields before we read them;
`schema_version` grows only when a field changes its meaning.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from schemas.base import Contract, Format, Identifier, Method, Sha256, Timestamp, Wording, Words, has_a_letter


class Keyword(Contract):
    """A term users of the segment write about. `en` is its English form, where `term` is in another language."""

    term: Words
    weight: float = Field(default=1.0, strict=True, ge=0.0, le=1_000_000.0)
    en: Words | None = None


class Phrase(Contract):
    """A few words: a plain string, or an object with `en`, their English form, where `term` is in another language."""

    term: Words
    en: Words | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"term": value}
        if not isinstance(value, dict | cls):
            raise ValueError("must be a string, or an object with term and en")  # noqa: TRY004 - pydantic's way
        return value

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return self.term if self.en is None else fields

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of both forms."""
        whole = handler(core)
        plain = {name: value for name, value in whole["properties"]["term"].items() if name != "title"}
        return {"anyOf": [plain, whole], "description": whole.pop("description"), "title": whole.pop("title")}


class Brand(Contract):
    """The advertiser's brand and the features its advertising shows ("organic", "glass bottle")."""

    name: Words
    features: tuple[Phrase, ...] = Field(default=(), max_length=50)


class Copy(Contract):
    """The words meant to stand in the picture."""

    headline: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
    subline: Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)] | None = None
    call_to_action: Annotated[str, StringConstraints(strip_whitespace=True, max_length=40)] | None = None


class SegmentUpdated(Contract):
    """A segment was found or has changed: make pictures for it. Topic `segment-updated`, key `segment_id`."""

    schema_version: Literal[1] = 1
    event_id: Identifier
    occurred_at: Timestamp
    segment_id: Identifier
    name: Wording
    name_en: Wording | None = None
    description: Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)] = ""
    description_en: Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)] | None = None
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")] = Field(
        default="en", description="of every text here; what has no English form is translated from Polish by a glossary"
    )
    keywords: tuple[Keyword, ...] = Field(default=(), max_length=200)
    interests: tuple[Phrase, ...] = Field(default=(), max_length=100)
    brand: Brand | None = None
    product_id: Identifier | None = None
    ad_copy: Copy | None = Field(default=None, alias="copy")
    formats: tuple[Format, ...] = Field(default=("square",), min_length=1, max_length=4)
    candidates: int | None = Field(default=None, strict=True, ge=1, le=64)
    images: int | None = Field(default=None, strict=True, ge=1, le=16)
    seed: int | None = Field(default=None, strict=True, ge=0, le=2**63 - 1)

    @field_validator("formats")
    @classmethod
    def _formats_differ(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        if len(set(formats)) != len(formats):
            raise ValueError("must not name a format twice")
        return formats

    @model_validator(mode="after")
    def _keep_no_more_than_made(self) -> SegmentUpdated:
        if self.candidates is not None and self.images is not None and self.images > self.candidates:
            raise ValueError("images must not be more than candidates")
        return self


class ProductRegistered(Contract):
    """A product with a few photos: learn it. Topic `product-registered`, key `product_id`."""

    schema_version: Literal[1] = 1
    event_id: Identifier
    occurred_at: Timestamp
    product_id: Identifier
    name: Wording
    class_noun: Annotated[str, StringConstraints(strip_whitespace=True, max_length=60), AfterValidator(has_a_letter)]
    images: tuple[Annotated[str, StringConstraints(pattern=r"^(s3|https)://[^\s]{1,2000}$")], ...] = Field(
        min_length=3, max_length=30
    )
    method: Method = "dreambooth"
    steps: int | None = Field(default=None, strict=True, ge=1, le=100_000)
    seed: int | None = Field(default=None, strict=True, ge=0, le=2**63 - 1)


class Image(Contract):
    """One stored picture. `url` may expire (see `url_expires_at` of the event); `s3_uri` does not."""

    rank: int = Field(ge=1)
    url: str
    s3_uri: str
    format: Format
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    media_type: str
    bytes: int = Field(gt=0)
    sha256: Sha256
    seed: int = Field(ge=0)
    scores: dict[str, float]


class ModelUsed(Contract):
    """One network of the recipe: what it is for, which weights, which revision, under which licence."""

    role: str
    id: str
    revision: str
    licence: str


class Recipe(Contract):
    """Everything that decides the bytes of a picture apart from the event. Equal fingerprint, equal pictures."""

    fingerprint: str
    models: tuple[ModelUsed, ...]
    settings: dict[str, str | int | float | bool]


class Cost(Contract):
    """What the request used. Wall-clock seconds on the device, shared fairly between the requests of a batch."""

    device_seconds: float = Field(ge=0)
    candidates: int = Field(ge=0)
    device: str


class Source(Contract):
    """Where in Kafka the request came from."""

    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)


class CreativeReady(Contract):
    """Pictures of one segment are in the store. Topic `creative-ready`, key `segment_id`.

    concept_uri, concept_sha256: of the learned product that they show.
    """

    schema_version: Literal[1] = 1
    request_id: str
    event_id: Identifier
    segment_id: Identifier
    product_id: Identifier | None = None
    concept_uri: str | None = None
    concept_sha256: Sha256 | None = None
    prompt: str
    negative_prompt: str
    rationale: tuple[str, ...] = ()
    images: tuple[Image, ...] = Field(min_length=1)
    recipe: Recipe
    cost: Cost
    source: Source
    created_at: Timestamp
    url_expires_at: Timestamp | None = None


class ProductReady(Contract):
    """A product has been learned. Topic `product-ready`, key `product_id`."""

    schema_version: Literal[1] = 1
    request_id: str
    event_id: Identifier
    product_id: Identifier
    method: Method
    concept_uri: str
    concept_sha256: Sha256
    placeholder_token: str
    class_noun: str
    steps: int = Field(ge=0)
    scores: dict[str, float]
    images: tuple[Image, ...] = ()
    recipe: Recipe
    cost: Cost
    source: Source
    created_at: Timestamp
    url_expires_at: Timestamp | None = None


class CreativeRejected(Contract):
    """A valid request that we refuse, with a code for programs and a reason for people. Topic `creative-rejected`.

    waiting: segments that wait for a first concept of the refused product; they go on waiting.
    """

    schema_version: Literal[1] = 1
    request_id: str
    event_id: Identifier
    segment_id: Identifier | None = None
    product_id: Identifier | None = None
    waiting: int | None = Field(default=None, ge=0)
    code: str
    reason: str
    scores: dict[str, float] = Field(default_factory=dict)
    source: Source
    created_at: Timestamp


class DeadLetter(Contract):
    """The headers of a dead letter, as one object; its value and key are the original bytes."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None = None
    attempts: int = Field(ge=0)
    code: str
    message: str
    worker_version: str
