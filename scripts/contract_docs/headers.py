"""The Kafka headers of outcomes and of dead letters, as JSON Schema properties."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Properties = dict[str, dict[str, Any]]


def outcome_headers(source: str) -> Properties:
    """Return the headers of every outcome. source: the value of `ce_source`."""
    return {
        "ce_specversion": {"const": "1.0", "description": "The version of CloudEvents."},
        "ce_id": {"type": "string", "description": "The request_id: equal for every delivery of one outcome."},
        "ce_source": {"const": source, "description": "The service."},
        "ce_type": {"type": "string", "description": "`fluence.<topic>.v1`, such as `fluence.creative-ready.v1`."},
        "ce_time": {"type": "string", "format": "date-time", "description": "`created_at` of the outcome."},
        "ce_subject": {"type": "string", "description": "The message key."},
        "content-type": {"const": "application/json", "description": "Media type of the value."},
        "traceparent": {
            "type": "string",
            "description": "W3C trace context: a child span of the event's `traceparent`, or a new trace if the event "
            "has none.",
        },
    }


def dead_letter_headers(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a dead letter's headers: each field as text under `dead_<name>`, and two optional ones."""
    fields = model.model_json_schema(mode="serialization")
    properties: Properties = {
        f"dead_{name}": {"type": "string", "description": f"{field['description']}{_number(field)}"}
        for name, field in fields["properties"].items()
    }
    properties["dead_value_omitted"] = {
        "type": "string",
        "description": "Present if the event is too large for the dead letter topic. The value is then empty; "
        "`dead_topic`, `dead_partition` and `dead_offset` locate the original.",
    }
    properties["dead_key_omitted"] = {
        "type": "string",
        "description": "Present if the value was omitted and the key has more than 1,024 bytes: its length and "
        "sha256. The dead letter then has no key.",
    }
    return {
        "type": "object",
        "required": [f"dead_{name}" for name in fields["required"]],
        "properties": properties,
    }


def _number(field: dict[str, Any]) -> str:
    kinds = [field.get("type", "")] + [choice.get("type", "") for choice in field.get("anyOf", [])]
    return " (A number, as text.)" if "integer" in kinds else ""
