"""Whether one more restart is allowed, and how long to wait before it: pure functions of numbers.

The window is OTP's: a restart counts as long as it is at most `period` seconds old, exactly `intensity`
restarts are allowed, one more means that the supervisor gives up.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable

from ._clock import Seconds
from ._spec import Backoff


def may_restart(restarts: Iterable[Seconds], now: Seconds, *, intensity: int, period: Seconds) -> bool:
    """Whether one more restart at `now` stays within the restart intensity."""
    return sum(now - at <= period for at in restarts) < intensity


class RestartWindow:
    """The restarts that still count."""

    def __init__(self, intensity: int, period: Seconds) -> None:
        self.intensity = intensity
        self.period = period
        self._at: deque[Seconds] = deque(maxlen=max(1, intensity))

    def admit(self, now: Seconds) -> bool:
        """Count one more restart at `now`; False if that is one too many (then nothing is counted)."""
        if not may_restart(self._at, now, intensity=self.intensity, period=self.period):
            return False
        self._at.append(now)
        return True

    def recent(self, now: Seconds) -> int:
        """How many restarts count at `now`."""
        return sum(now - at <= self.period for at in self._at)


def backoff_delay(backoff: Backoff | None, failures: int, rng: random.Random) -> Seconds:
    """Seconds to wait before the restart after `failures` failures in a row (1 = the first)."""
    if backoff is None:
        return 0.0
    # 2.0**1024 overflows: past 60 doublings the cap has long been reached.
    base = min(backoff.max, backoff.min * 2.0 ** min(60, max(0, failures - 1)))
    return base * (1.0 + rng.random() * backoff.jitter)
