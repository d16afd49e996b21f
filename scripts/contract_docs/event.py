"""One event of the contract: its topic, its model and its JSON Schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Event:
    """An event. published: the service sends it; otherwise the service reads it. key: the message key in words."""

    topic: str
    model: type[BaseModel]
    key: str
    published: bool

    @property
    def summary(self) -> str:
        """The docstring of the model on one line."""
        return summary(self.model)

    def fields(self) -> dict[str, Any]:
        """Return the JSON Schema of the model: as the service accepts it, or as the service publishes it."""
        mode = "serialization" if self.published else "validation"
        return self.model.model_json_schema(by_alias=True, mode=mode)  # type: ignore[arg-type]

    def json_schema(self) -> dict[str, Any]:
        """Return the document of `docs/schemas/<topic>.json`."""
        return {"$schema": DRAFT, "$id": f"urn:fluence:creatives:{self.topic}:1", **self.fields()}


def summary(model: type[BaseModel]) -> str:
    """Return a docstring on one line."""
    return " ".join((model.__doc__ or "").split())
