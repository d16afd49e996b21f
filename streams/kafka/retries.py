"""When the next attempt at an event follows."""

from __future__ import annotations

import random

from streams.delivery_settings import DeliverySettings


def backoff(attempt: int, settings: DeliverySettings) -> float:
    """Return the seconds before the next attempt: doubling, capped, half of it jitter."""
    full = min(settings.backoff_cap, settings.backoff * 2.0 ** min(attempt - 1, 30))
    return full * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter, not a secret
