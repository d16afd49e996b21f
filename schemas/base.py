"""What every event is made of: the base model, and the types of ids, times and words.

Ids become object keys, so their alphabet is small on purpose: no slash, no `..`, no space.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
)

Method = Literal["dreambooth", "dreambooth_lora", "textual_inversion"]
Format = Literal["square", "portrait", "landscape", "story"]


def _no_parent_folder(value: str) -> str:
    if ".." in value:
        raise ValueError("must not contain '..'")
    return value


def has_a_letter(value: str) -> str:
    """Return the text. Raises ValueError where it is made of signs or emoji alone."""
    if not any(character.isalpha() for character in value):
        raise ValueError("must contain at least one letter (a prompt cannot be made of signs or emoji alone)")
    return value


def _iso_8601(value: Any) -> Any:
    """Pydantic would take numbers and dates without a time too; an event log needs one form."""
    if isinstance(value, str) and ("T" not in value or value.strip() != value):
        raise ValueError("must be an ISO 8601 date and time with an offset, such as 2026-11-23T10:00:00Z")
    if isinstance(value, int | float):
        raise ValueError("must be a string such as 2026-11-23T10:00:00Z, not a number")  # noqa: TRY004 - pydantic's way
    return value


Identifier = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"),
    AfterValidator(_no_parent_folder),
]
Timestamp = Annotated[AwareDatetime, BeforeValidator(_iso_8601)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Wording = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(has_a_letter)
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Contract(BaseModel):
    """The base of every event and of its parts."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,
        cache_strings="keys",  # the values are ids, for the most part: 16,384 of them would be kept for nothing
    )

    def to_json(self) -> bytes:
        """Return the one canonical UTF-8 form: declared field order, no absent fields, no spaces."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()
