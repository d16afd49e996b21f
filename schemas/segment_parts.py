"""The parts of `segment-updated`: keywords, phrases, the brand, the words of the ad."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from schemas.base import AtMost, Contract, ShortText


class _StringOrObject(Contract):
    """The base of parts that may come as a plain string, short for an object with `term` alone."""

    @model_validator(mode="before")
    @classmethod
    def _accept_plain_string(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"term": value}
        if not isinstance(value, dict | cls):
            *most, last = cls.model_fields
            names = f"{', '.join(most)} and {last}"
            raise ValueError(f"must be a string, or an object with {names}")  # noqa: TRY004 - pydantic needs it
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of both forms."""
        whole = handler(core)
        plain = {name: value for name, value in whole["properties"]["term"].items() if name != "title"}
        return {"anyOf": [plain, whole], "description": whole.pop("description"), "title": whole.pop("title")}


class Keyword(_StringOrObject):
    """A term that users of the segment write about: a plain string, or an object that adds weight or English form."""

    term: ShortText = Field(
        description="The term in the event's `language`. The prompt shows it if it names something visible and is "
        "among the heaviest; emoji and punctuation are removed first. A plain string is short for an object with "
        "`term` alone.",
        examples=["filiżanka kawy"],
    )
    weight: float = Field(
        default=1.0,
        strict=True,
        ge=0.0,
        le=1_000_000.0,
        description="How much the segment cares about the term, on any scale of your own. The service only sorts by "
        "it: heavier terms come first, equal weights keep your order, 0 drops the term. One exception: beside a "
        "product, only a keyword of weight above 1 is shown.",
        examples=[9.4],
    )
    en: ShortText | None = Field(
        default=None,
        description="The term in English, if `term` is in another language. The prompt uses it instead of `term`.",
        examples=["cup of coffee"],
    )


class Phrase(_StringOrObject):
    """A few words: a plain string, or an object that adds their English form."""

    term: ShortText = Field(
        description="The words in the event's `language`. A plain string is short for an object with `term` alone.",
        examples=["ciepłe brązy"],
    )
    en: ShortText | None = Field(
        default=None,
        description="The words in English, if `term` is in another language. The prompt uses them instead of `term`.",
        examples=["warm brown tones"],
    )

    @model_serializer(mode="wrap")
    def _write_plain_string(self, handler: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return self.term if self.en is None else fields


class Brand(Contract):
    """The advertiser's brand."""

    name: ShortText = Field(
        description="The brand's name. It never enters a prompt: image models draw names as garbled letters. "
        "The rationale reports it as left out.",
        examples=["Brunatna"],
    )
    features: Annotated[tuple[Phrase, ...], AtMost(50)] = Field(
        default=(),
        description="What the brand's advertising looks like, the most important first: colours, materials, "
        "background, light, look, or a surface such as `wooden table`. The prompt takes the first 4 that a picture can "
        "show.",
        examples=[["wooden table", {"term": "ciepłe brązy", "en": "warm brown tones"}]],
    )


class Copy(Contract):
    """The words to print on the picture. The service does not draw them; the ad system sets them in type."""

    headline: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)] = Field(
        description="The headline. Never drawn; the rationale reports it as left out.",
        examples=["Good morning, coffee!"],
    )
    subline: Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)] | None = Field(
        default=None,
        description="The line below the headline. Never drawn; the rationale reports it as left out.",
        examples=["Freshly roasted in Kraków"],
    )
    call_to_action: Annotated[str, StringConstraints(strip_whitespace=True, max_length=40)] | None = Field(
        default=None,
        description="The words of the button. Never drawn; the rationale reports them as left out.",
        examples=["Taste it"],
    )
