"""Fields that the service would ignore, with the field that the author probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from schemas.base import Contract


@dataclass(frozen=True)
class UnknownField:
    """A field that the service does not know. path: dotted, such as `brand.feature`. nearest: likewise, or None."""

    path: str
    nearest: str | None = None

    def __str__(self) -> str:
        """Return the path, and the suggestion if there is one."""
        return f"{self.path} (did you mean {self.nearest}?)" if self.nearest else self.path


def unknown_fields(fields: Mapping[str, Any], model: type[Contract], prefix: str = "") -> Iterator[UnknownField]:
    """Yield every field that the service will ignore, at any depth. The fields need not be valid."""
    parts = {field.alias or name: _part(field.annotation) for name, field in model.model_fields.items()}
    accepted = parts | {name: parts[field.alias or name] for name, field in model.model_fields.items()}
    for name, value in sorted(fields.items()):
        if name not in accepted:
            nearest = difflib.get_close_matches(name.lower(), parts, n=1)
            yield UnknownField(prefix + name, prefix + nearest[0] if nearest else None)
            continue
        part = accepted[name]
        for path, inner in _inner(f"{prefix}{name}", value):
            if part is not None:
                yield from unknown_fields(inner, part, f"{path}.")


def _part(annotation: Any) -> type[Contract] | None:
    """Return the model that a field holds, alone or in a list; None if it holds plain values."""
    if isinstance(annotation, type) and issubclass(annotation, Contract):
        return annotation
    return next((part for inner in get_args(annotation) if (part := _part(inner)) is not None), None)


def _inner(path: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the objects in a value with their paths."""
    numbered = [(f"{path}.{number}", entry) for number, entry in enumerate(value)] if isinstance(value, list) else []
    yield from ((place, entry) for place, entry in [(path, value), *numbered] if isinstance(entry, dict))
