"""The base model of every event, and the field types that several events share.

Ids become parts of object keys, so their alphabet excludes slashes, spaces and `..`.
Each type states its rule in words as the JSON Schema keyword `$comment`; docs/events.md prints it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

_VERSION = "Version of this contract. It grows only if a field changes its meaning."
InputVersion = Annotated[
    Literal[1],
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
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), rule("64 lower-case hexadecimal digits")]


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
