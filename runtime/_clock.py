"""Time and randomness as one injectable pair.

Everything in the kernel that needs the time or a random number asks the system's `Clock`, so that a test
or the simulator decides both. Time is trio's clock: monotonic, in seconds, virtual under `MockClock`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
import trio

Seconds = float
"""A length of time, or an instant on trio's clock."""


def _seeded(seed: int | None) -> random.Random:
    return random.Random(seed)  # noqa: S311 - jitter, not secrets


@attrs.frozen
class Clock:
    """What a system reads time from and draws jitter from."""

    now: Callable[[], Seconds] = trio.current_time
    random: random.Random = attrs.field(factory=lambda: _seeded(None))

    @classmethod
    def seeded(cls, seed: int | None) -> Clock:
        """Trio's time with a random source that repeats for the same `seed`."""
        return cls(random=_seeded(seed))
