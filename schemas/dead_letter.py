"""The headers of a dead letter."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Contract


class DeadLetter(Contract):
    """Why and where an event failed. Each field is a header `dead_<name>`; key and value are those of the event."""

    topic: str = Field(description="Topic of the event.", examples=["segment-updated"])
    partition: int = Field(description="Partition of the event.", examples=[2])
    offset: int = Field(
        description="Offset of the event. A dead letter may be repeated: deduplicate by topic, partition and offset.",
        examples=[117],
    )
    timestamp: int | None = Field(
        default=None,
        description="Kafka timestamp of the event in milliseconds since 1970. Absent if the broker gave none.",
        examples=[1795860764000],
    )
    attempts: int = Field(ge=0, description="How often the worker tried the event, outages included.", examples=[1])
    code: str = Field(
        description="Reason code, for programs; see [dead-letter codes](docs/events.md#dead-letter-codes).",
        examples=["invalid_event"],
    )
    message: str = Field(
        description="Reason in one line of at most 500 characters, for people. For `invalid_event`: field and rule.",
        examples=["keywords.0.weight: Input should be greater than or equal to 0"],
    )
    worker_version: str = Field(description="Version of the worker that wrote the dead letter.", examples=["0.1.0"])
