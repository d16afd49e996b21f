"""The guard that stops a worker before it empties a topic into the dead letters.

The idea comes from Sentry (arroyo, `DlqLimit`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class _Count:
    """Counts what happened within the last `window` seconds."""

    window: float
    times: deque[float] = field(default_factory=deque)

    def add(self, now: float) -> None:
        self._forget_before_window(now)
        self.times.append(now)

    def within(self, now: float) -> int:
        self._forget_before_window(now)
        return len(self.times)

    def _forget_before_window(self, now: float) -> None:
        while self.times and self.times[0] <= now - self.window:
            self.times.popleft()


class DeadLetterLimit:
    """Counts the valid events of the last `window` seconds: how many were served, how many failed.

    The deployment is at fault if more than `limit` valid events failed, and more than `share` of all valid ones. Events
    that break the contract count on neither side: they say nothing about the deployment.
    """

    def __init__(self, limit: int, share: float, window: float) -> None:
        self.limit, self.share, self.window = limit, share, window
        self._failed, self._served = _Count(window), _Count(window)

    def count_served(self, now: float) -> None:
        """Count one more valid event that was served at `now` (seconds of any monotonic clock)."""
        self._served.add(now)

    def admit(self, now: float) -> bool:
        """Count one more dead letter of a valid event. Return False if the deployment is at fault: do not write it."""
        failed = self._failed.within(now) + 1
        if failed > self.limit and failed > self.share * (failed + self._served.within(now)):
            return False
        self._failed.add(now)
        return True
