"""Tables of an event's fields, read from its JSON Schema."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.contract_docs.event import Event

Node = dict[str, Any]
PAGE = "docs/events.md"
EXAMPLE_LENGTH = 60  # characters of an example in a table; the page also shows whole events
WORDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "`true` or `false`"}


@dataclass(frozen=True)
class Tables:
    """The tables of one event. parts: models that have a table of their own; fields of others get dotted names."""

    definitions: Node
    parts: frozenset[str]
    published: bool

    def table(self, model: Node) -> str:
        """Return the table of a model in Markdown."""
        last = "present" if self.published else "default"
        head = f"| field | type and range | {last} | example | meaning |\n|---|---|---|---|---|\n"
        return head + "\n".join(self._rows(model, ""))

    def _rows(self, model: Node, prefix: str) -> Iterator[str]:
        for path, field, required in self._fields(model, prefix):
            meaning = field["description"].replace(f"({PAGE}#", "(#")
            cells = self._kind(field), self._presence(required, field), _example(field), meaning
            yield f"| `{path}` | {' | '.join(_escape_pipes(cell) for cell in cells)} |"

    def _fields(self, model: Node, prefix: str) -> Iterator[tuple[str, Node, bool]]:
        """Yield the path of each field, its schema, and whether it is required."""
        required = model.get("required", [])
        for name, field in model["properties"].items():
            yield f"{prefix}{name}", field, name in required
            inner, many = self._inline(field)
            if inner is not None:
                yield from self._fields(inner, f"{prefix}{name}{'[]' if many else ''}.")

    def limits(self, model: Node) -> Iterator[tuple[str, str]]:
        """Yield the path and the range of each number and each list in a model."""
        for path, field, _ in self._fields(model, ""):
            if _without_null(field).get("type") in {"integer", "number", "array"} and "const" not in field:
                yield path, self._kind(field).partition(": ")[0]

    def _presence(self, required: bool, field: Node) -> str:
        nullable = any(choice.get("type") == "null" for choice in field.get("anyOf", ()))
        if self.published:
            return "sometimes" if nullable else "always"
        if required:
            return "required"
        return "none" if field.get("default") is None else f"`{json.dumps(field['default'], ensure_ascii=False)}`"

    def _inline(self, field: Node) -> tuple[Node | None, bool]:
        """Return the model whose fields follow this field in the table, and whether the field is a list of it."""
        field = _without_null(field)
        many = field.get("type") == "array"
        name = _reference(field["items"] if many else field)
        if name is None or name in self.parts:
            return None, many
        found = self.definitions[name]
        objects = [choice for choice in found.get("anyOf", [found]) if choice.get("type") == "object"]
        return objects[0], many

    def _kind(self, field: Node) -> str:
        field = _without_null(field)
        name = _reference(field)
        if name is not None:
            return self._object(name)
        if "anyOf" in field:
            return ", ".join(self._kind(choice) for choice in field["anyOf"])
        match field.get("type"):
            case "array":
                return f"{_with_limits('list', _bounds(field, 'Items'), 'entries')}: {self._kind(field['items'])}"
            case "object":
                return f"object; values: {self._kind(field['additionalProperties'])}"
            case _:
                return _scalar(field)

    def _object(self, name: str) -> str:
        if name in self.parts:
            return f"[{name}](#{name.lower()})"
        return "text or object" if "anyOf" in self.definitions[name] else "object"


def shared_parts(events: Sequence[Event]) -> frozenset[str]:
    """Return the names of the models that more than one event contains."""
    counted = Counter(name for event in events for name in event.fields().get("$defs", {}))
    return frozenset(name for name, count in counted.items() if count > 1)


def _scalar(field: Node) -> str:
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = WORDS[field["type"]]
    if "$comment" in field:
        return f"{kind}: {field['$comment']}"
    if field["type"] == "string":
        return _with_limits(kind, _bounds(field, "Length"), "characters")
    return _with_limits(kind, _range(field))


def _with_limits(kind: str, limits: str, unit: str = "") -> str:
    return f"{kind}, {limits} {unit}".rstrip() if limits else kind


def _bounds(field: Node, what: str) -> str:
    least, most = field.get(f"min{what}"), field.get(f"max{what}")
    if most is None:
        return "" if least is None else f"{least} or more"
    return f"{least or 0} to {most:,}"


def _range(field: Node) -> str:
    least, most = field.get("minimum"), field.get("maximum")
    if "exclusiveMinimum" in field:
        return f"above {field['exclusiveMinimum']:g}"
    if least is None:
        return ""
    if most is None:
        return f"{least:g} or more"
    return f"{least:g} to {'2^53 - 1' if most == 2**53 - 1 else f'{most:,.0f}'}"


def _without_null(field: Node) -> Node:
    choices = [choice for choice in field.get("anyOf", ()) if choice.get("type") != "null"]
    return choices[0] if len(choices) == 1 else field


def _reference(field: Node) -> str | None:
    return str(field["$ref"]).rpartition("/")[2] if "$ref" in field else None


def _example(field: Node) -> str:
    if not field.get("examples"):
        return ""
    text = json.dumps(field["examples"][0], ensure_ascii=False)
    return f"`{text}`" if len(text) <= EXAMPLE_LENGTH else f"`{text[:EXAMPLE_LENGTH]}…`"


def _escape_pipes(cell: str) -> str:
    return cell.replace("|", "\\|")
