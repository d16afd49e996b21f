"""The event `segment-updated`: analytics services ask for pictures of an audience segment."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints, field_validator, model_validator

from schemas.base import AtMost, Format, Identifier, InputEvent, InputVersion, Name, Seed, Timestamp, WholeNumber, rule
from schemas.segment_parts import Brand, Copy, Keyword, Phrase

Prose = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)]


class SegmentUpdated(InputEvent):
    """Asks for pictures of a segment that is new or has changed. Topic `segment-updated`, key `segment_id`."""

    undecisive: ClassVar[dict[str, Any]] = {**InputEvent.undecisive, "ad_copy": True, "brand": {"name"}}

    schema_version: InputVersion = 1
    event_id: Identifier = Field(
        description="Your id of this event; the answer carries it. The same event always gets the same answer. A "
        "corrected event under the same `event_id` gets new pictures, unless only `occurred_at`, `brand.name` or "
        "`copy` changed: they decide no picture. A new `event_id` always gets new pictures.",
        examples=["segment-coffee-enthusiast-2026-11-23"],
    )
    occurred_at: Timestamp = Field(
        description="When the segment changed. It must not be more than a day ahead of the worker's clock "
        "(`CREATIVES_DELIVERY__MAX_FUTURE`). The service does not sort segments by it.",
        examples=["2026-11-23T09:12:44Z"],
    )
    segment_id: Identifier = Field(
        description="Your id of the segment. Use it as the message key too. Pictures are stored below "
        "`creatives/<segment_id>/`, and outcomes carry it as field and key.",
        examples=["coffee-enthusiast"],
    )
    name: Name = Field(
        description="The segment's name in the event's `language`. Visible things in it become subjects if the other "
        "fields name fewer than two. If no field names any, the picture shows the name itself.",
        examples=["Miłośnik kawy"],
    )
    name_en: Name | None = Field(
        default=None,
        description="The name in English. The prompt uses it instead of `name`.",
        examples=["Coffee enthusiast"],
    )
    description: Prose = Field(
        default="",
        description="The segment in a few sentences. The prompt takes visible things and places from it (`croissant`, "
        "not `lifestyle`), after those of the keywords; the sentences themselves are not used.",
        examples=["Writes about the morning cup and compares roasts."],
    )
    description_en: Prose | None = Field(
        default=None,
        description="The description in English. The service reads it instead of `description`.",
        examples=["Writes about morning coffee and compares roasters."],
    )
    language: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z]{2}(-[A-Z]{2})?$"),
        rule("two lower-case letters, or those, `-` and two capitals (`pl`, `pl-PL`)"),
    ] = Field(
        default="en",
        description="Language of every text of the event that has no English form. Built-in tables translate the names "
        "of visible things in 42 languages, most of them in Polish. What they lack is left out of the picture.",
        examples=["pl"],
    )
    keywords: Annotated[tuple[Keyword, ...], AtMost(200)] = Field(
        default=(),
        description="What users of the segment write about. The picture shows the two heaviest visible things, in the "
        "heaviest place. Beside a product it shows the heaviest visible thing with a weight above 1.",
        examples=[[{"term": "cup of coffee", "weight": 9.4}, "croissant"]],
    )
    interests: Annotated[tuple[Phrase, ...], AtMost(100)] = Field(
        default=(),
        description="What else the segment likes, the most important first. Visible things in it become subjects if "
        "keywords and description name fewer than two.",
        examples=[["home barista", {"term": "śniadania", "en": "breakfast"}]],
    )
    brand: Brand | None = Field(
        default=None,
        description="The brand that advertises. Its features enter the prompt, its name does not.",
        examples=[{"name": "Brunatna", "features": ["wooden table"]}],
    )
    product_id: Identifier | None = Field(
        default=None,
        description="Shows this product, registered by `product-registered`, as the only subject. A keyword of weight "
        'above 1 adds a second thing: for a bottle beside running shoes, `{"term": "running shoes", "weight": 2}`. '
        "The event waits, without an outcome, until the product has a usable concept.",
        examples=["mleko-laka"],
    )
    ad_copy: Copy | None = Field(
        default=None,
        alias="copy",
        description="Words for the ad. The service does not draw them; the rationale reports them as left out.",
        examples=[{"headline": "Good morning, coffee!"}],
    )
    formats: Annotated[tuple[Format, ...], Field(min_length=1), AtMost(4)] = Field(
        default=("square",),
        json_schema_extra={"uniqueItems": True},
        description="Shapes of the pictures. Each gets its own candidates and its own pictures. Name each once.",
        examples=[["square", "story"]],
    )
    candidates: Annotated[int, Field(strict=True, ge=1, le=64), WholeNumber] | None = Field(
        default=None,
        description="Pictures to generate per format before the choice; device time grows with it. "
        "Default: `CREATIVES_STUDIO__CANDIDATES` of the worker, which is 8 unless set.",
        examples=[16],
    )
    images: Annotated[int, Field(strict=True, ge=1, le=16), WholeNumber] | None = Field(
        default=None,
        description="Pictures to keep per format, the best by CLIP score; must not exceed `candidates`. "
        "Default: `CREATIVES_STUDIO__IMAGES` of the worker, which is 2 unless set, or `candidates` if that is less.",
        examples=[2],
    )
    seed: Seed | None = Field(
        default=None,
        description="Fixes the noise: candidate number i of every event with this seed starts from the same noise. "
        "Default: derived from the request id.",
        examples=[20261123],
    )

    @field_validator("formats")
    @classmethod
    def _reject_repeated_formats(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        if len(set(formats)) != len(formats):
            raise ValueError("must not name a format twice")
        return formats

    @model_validator(mode="after")
    def _reject_more_images_than_candidates(self) -> SegmentUpdated:
        if self.candidates is not None and self.images is not None and self.images > self.candidates:
            raise ValueError("images must not be more than candidates")
        return self
