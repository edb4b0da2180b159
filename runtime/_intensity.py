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
    """The restarts that still count; at most as many as the intensity has ever allowed.

    `intensity` and `period` may be changed at any time and hold from the next restart on. As in OTP a longer period
    does not bring back restarts that were already too old to count.
    """

    __slots__ = ("_at", "intensity", "period")

    def __init__(self, intensity: int, period: Seconds) -> None:
        self.intensity: int = intensity
        self.period: Seconds = period
        # Bounded: `admit` adds only while fewer than `intensity` are in it. Made at the first restart: most actors
        # never have one, and an empty deque takes 760 bytes.
        self._at: deque[Seconds] | None = None

    def admit(self, now: Seconds) -> bool:
        """Count one more restart at `now`; False if that is one too many (then nothing is counted)."""
        at = self._at
        if at is None:
            at = self._at = deque()
        while at and now - at[0] > self.period:
            at.popleft()
        if len(at) >= self.intensity:
            return False
        at.append(now)
        return True

    def recent(self, now: Seconds) -> int:
        """How many restarts count at `now`."""
        return sum(now - at <= self.period for at in self._at or ())


def backoff_delay(backoff: Backoff | None, failures: int, rng: random.Random) -> Seconds:
    """Seconds to wait before the restart after `failures` failures in a row (1 = the first)."""
    if backoff is None:
        return 0.0
    # 2.0**1024 overflows: past 60 doublings the cap has long been reached.
    base = min(backoff.max, backoff.min * 2.0 ** min(60, max(0, failures - 1)))
    return base * (1.0 + rng.random() * backoff.jitter)


def next_delay(
    backoff: Backoff | None, now: Seconds, started_at: Seconds | None, failures: int, rng: random.Random
) -> tuple[Seconds, int]:
    """How long to wait now that an incarnation has failed, and how many have failed in a row with it.

    Args:
        backoff: None waits 0 s and only counts.
        now: When it failed.
        started_at: Since when it ran (after `on_start`); None if its start failed.
        failures: How many had failed in a row before it.
        rng: Where the jitter comes from.
    """
    if backoff is not None and started_at is not None and now - started_at >= backoff.reset_after:
        failures = 0
    return backoff_delay(backoff, failures + 1, rng), failures + 1
