"""How many calls may be under way at once: as many as like, until the server shows that it is too much for it.

Additive increase, multiplicative decrease (Chiu and Jain, 1989), as congestion control does it. There is no limit
until the first sign of overload, because nothing is known by then and a guess would cost every user for the sake of
few. The first sign puts the limit below what was under way; each round of answers then raises it a little.

Signs that belong to requests sent before the last cut say nothing new: they are the same overload.
"""

from __future__ import annotations

import math

from ._clock import Seconds

SHRINK = 0.7
"""What is left of the limit after a sign of overload."""

GROWTH = 0.1
"""How much of the limit a round of answers adds, at least one."""

FREE = 4096
"""A limit that has grown to this is none."""


class Concurrency:
    """The limit of one scope. `limit` is infinite as long as nothing was overloaded."""

    __slots__ = ("_cut_at", "limit")

    def __init__(self) -> None:
        self.limit: float = math.inf
        self._cut_at: Seconds = -math.inf

    def has_room(self, in_flight: int) -> bool:
        """Whether one more may go beside `in_flight`."""
        return in_flight < self.limit

    def answered(self, in_flight: int) -> None:
        """A call has succeeded, beside `in_flight` others: it only counts if the limit was made use of."""
        if self.limit != math.inf and 2 * in_flight >= self.limit:
            self.limit += max(1.0, GROWTH * self.limit) / self.limit
            if self.limit >= FREE:
                self.limit = math.inf

    def overloaded(self, sent: Seconds, in_flight: int, now: Seconds) -> None:
        """The server could not bear `in_flight` calls, one of which went at `sent`."""
        if sent <= self._cut_at:
            return
        self._cut_at = now
        self.limit = max(1.0, math.floor(SHRINK * min(self.limit, float(in_flight))))
