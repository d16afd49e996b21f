"""When the next attempt at an event follows, and how many dead letters a worker may write."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from streams.settings import DeliverySettings


@dataclass
class DeadLetterLimit:
    """The most dead letters that a worker may write in `window` seconds.

    Beyond the limit the deployment is at fault, not the events. The idea comes from Sentry (arroyo, `DlqLimit`).
    """

    limit: int
    window: float
    _times: deque[float] = field(default_factory=deque)

    def admit(self, now: float) -> bool:
        """Count one more dead letter at `now` (seconds of any monotonic clock). Return False if it is one too many."""
        while self._times and self._times[0] <= now - self.window:
            self._times.popleft()
        if len(self._times) >= self.limit:
            return False
        self._times.append(now)
        return True


def backoff(attempt: int, settings: DeliverySettings) -> float:
    """Return the seconds before the next attempt: doubling, capped, half of it jitter."""
    full = min(settings.backoff_cap, settings.backoff * 2.0 ** min(attempt - 1, 30))
    return full * (0.5 + 0.5 * random.random())  # noqa: S311 - jitter, not a secret
