"""How many dead letters become events: a storm of them must not drown the events that explain it."""

from __future__ import annotations

from collections import deque

from ._clock import Seconds


class DeadLetterGate:
    """At most `rate` dead letter events in any second; the others are counted. Pure: the time is an argument."""

    __slots__ = ("_admitted", "rate", "suppressed")

    def __init__(self, rate: int = 100) -> None:
        self.rate: int = rate
        self.suppressed: int = 0
        """How many were not let through since the last one that was."""
        self._admitted: deque[Seconds] = deque()  # bounded: never more than `rate`

    def admit(self, now: Seconds) -> int | None:
        """None: no event for this one. A number: an event, and how many before it had none."""
        admitted = self._admitted
        while admitted and now - admitted[0] >= 1.0:
            admitted.popleft()
        if len(admitted) >= self.rate:
            self.suppressed += 1
            return None
        admitted.append(now)
        unseen, self.suppressed = self.suppressed, 0
        return unseen
