"""The settings of delivery: window, retries, dead letters, what an event may ask for, and shutdown."""

from __future__ import annotations

from pydantic import Field

from streams.setting_types import Group


class DeliverySettings(Group):
    """Window, retries, dead letters and shutdown."""

    window: int = Field(default=64, ge=1, description="unacked events per partition")
    concurrency: int = Field(default=16, ge=1, description="events of one topic in progress at once")
    attempts: int = Field(default=4, ge=1, description="attempts at an event whose failure is not an outage")
    backoff: float = Field(default=0.5, gt=0, description="seconds before the first retry; doubles, with jitter")
    backoff_cap: float = Field(default=30.0, gt=0, description="maximum seconds between two attempts")
    max_event_bytes: int = Field(default=256 * 1024, ge=1024, description="size limit of one event")
    dead_letter_limit: int = Field(
        default=100,
        ge=1,
        description="valid events that may fail within `dead_letter_window`; more of them, if they are also more than "
        "`dead_letter_share`, stop the worker",
    )
    dead_letter_share: float = Field(
        default=0.5, ge=0, lt=1, description="share of valid events that may fail; invalid ones do not count"
    )
    dead_letter_window: float = Field(default=60.0, gt=0, description="seconds that `dead_letter_limit` counts over")
    max_future: float = Field(
        default=86_400.0, ge=0, le=1e9, description="seconds that `occurred_at` may lie ahead of the worker's clock"
    )
    drain: float = Field(default=25.0, ge=0, description="seconds to finish events in flight after SIGTERM")
    stall: float = Field(
        default=60.0, gt=0, description="seconds that the main loop may be blocked before the worker exits"
    )
    regeneration: int = Field(
        default=0, ge=0, description="any other number makes new request ids, and so new pictures"
    )
