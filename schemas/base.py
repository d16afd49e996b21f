"""The base model of every event, and the field types that several events share.

Ids become parts of object keys, so their alphabet excludes slashes, spaces and `..`.
Each type states its rule in words as the JSON Schema keyword `$comment`; docs/events.md prints it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MAX_SEED = 2**53 - 1  # jq, JavaScript and most readers of JSON keep whole numbers exact only below 2^53

_VERSION = "Version of this contract. It grows only if a field changes its meaning."


def _whole_number(value: Any) -> Any:
    """Return 8 for 8.0, as JSON Schema counts it. Raises ValueError for true and false, which Python counts as 1, 0."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number, not true or false")  # noqa: TRY004 - pydantic needs it
    return int(value) if isinstance(value, float) and value.is_integer() else value


WholeNumber = BeforeValidator(_whole_number)
InputVersion = Annotated[
    Literal[1],
    WholeNumber,
    Field(description=f"{_VERSION} Any other number is dead-lettered as `invalid_event`.", examples=[1]),
]
OutcomeVersion = Annotated[Literal[1], Field(description=_VERSION, examples=[1])]
Method = Literal["dreambooth", "dreambooth_lora", "textual_inversion"]
Format = Literal["square", "portrait", "landscape", "story"]


def rule(words: str) -> Any:
    """Return the annotation that adds a rule in words to the JSON Schema of a type."""
    return Field(json_schema_extra={"$comment": words})


def require_letter(value: str) -> str:
    """Return the text. Raises ValueError if it contains no letter."""
    if not any(character.isalpha() for character in value):
        raise ValueError("must contain at least one letter (a prompt cannot consist of punctuation or emoji alone)")
    return value


def _reject_parent_folder(value: str) -> str:
    if ".." in value:
        raise ValueError("must not contain '..'")
    return value


def _require_iso_8601(value: Any) -> Any:
    """Return the value. Raises ValueError for numbers and for dates without a time, which pydantic would accept."""
    if isinstance(value, str) and ("T" not in value or value.strip() != value):
        raise ValueError("must be an ISO 8601 date and time with an offset, such as 2026-11-23T10:00:00Z")
    if isinstance(value, int | float):
        raise ValueError("must be a string such as 2026-11-23T10:00:00Z, not a number")  # noqa: TRY004 - pydantic needs it
    return value


Identifier = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"),
    AfterValidator(_reject_parent_folder),
    rule("1 to 128 of `A-Z a-z 0-9 . _ : -`, the first a letter or digit, no `..`"),
]
Timestamp = Annotated[
    AwareDatetime, BeforeValidator(_require_iso_8601), rule("ISO 8601 with a time and an offset (`Z` or `+01:00`)")
]
ShortText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(require_letter),
    rule("1 to 200 characters, at least one letter"),
]
Seed = Annotated[int, Field(strict=True, ge=0, le=MAX_SEED), WholeNumber]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), rule("64 lower-case hexadecimal digits")]


@dataclass(frozen=True)
class AtMost:
    """Limits a list, and checks its length before its items: 80,000 bad items would be 80,000 errors, or 800 ms."""

    count: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        items: dict[str, Any] = {**handler(source), "max_length": self.count}
        return core_schema.no_info_before_validator_function(self._check, cast("CoreSchema", items))

    def _check(self, value: Any) -> Any:
        if isinstance(value, list | tuple) and len(value) > self.count:
            detail = {"most": self.count, "found": len(value)}
            raise PydanticCustomError("too_long", "must have at most {most} entries, not {found}", detail)
        return value


class Contract(BaseModel):
    """The base of every event and of its parts."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,
        cache_strings="keys",  # most values are unique ids; "all" would keep 16,384 of them in memory
    )

    def to_json(self) -> bytes:
        """Return the canonical UTF-8 form: fields in declared order, absent fields left out, no spaces."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class InputEvent(Contract):
    """The base of the events that the service reads."""

    undecisive: ClassVar[dict[str, Any]] = {"schema_version": True, "event_id": True, "occurred_at": True}
    """The fields that decide no picture, in pydantic's form of `exclude`."""

    def content(self) -> str:
        """Return everything that decides the pictures as canonical JSON text; request ids derive from it.

        The text is the same for every way to write the event: white space, the order of fields, unknown fields, an
        absent field or its default. A field that a later release adds does not change it while it has its default.
        """
        fields = self.model_dump(mode="json", by_alias=True, exclude=self.undecisive, exclude_defaults=True)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))
