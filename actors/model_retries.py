"""Whether and when a call to a model is tried again: the server's own wish, else a seeded backoff, within a budget.

Retries make an outage worse: with two of them a server that is down gets three times its load. So each endpoint has a
budget of retries beside the number a call may have: it begins with some, grows by a share of every call, and by a
little with time, so that a quiet program may always retry. A server that says itself when to come again (Retry-After)
has asked for the retry; that one costs nothing. Finagle's retry budgets are built like this.
"""

from __future__ import annotations

import random

from trouper.runtime import Backoff, Seconds

RESERVE = 10.0
"""Retries that an endpoint may have at once, beyond its share."""
SHARE = 0.2
"""Retries that each call brings."""
REFILL = 0.5
"""Retries that each second brings."""


class RetryBudget:
    """How many retries one endpoint may have now. No time is read here: `now` is an argument."""

    def __init__(self, *, reserve: float = RESERVE, share: float = SHARE, refill: float = REFILL) -> None:
        self._most = reserve
        self._share = share
        self._refill = refill
        self._left = reserve
        self._at: Seconds | None = None

    def called(self) -> None:
        """A call has begun."""
        self._left = min(self._most, self._left + self._share)

    def take(self, now: Seconds) -> bool:
        """Take one retry; False if there is none left."""
        if self._at is not None:
            self._left = min(self._most, self._left + self._refill * (now - self._at))
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Pauses:
    """The waits between attempts: exponential, with jitter from a seed, so that a run can be repeated."""

    def __init__(self, backoff: Backoff | None = None, *, seed: int | None = None) -> None:
        self._backoff = backoff if backoff is not None else Backoff(min=0.5, max=8.0, jitter=0.5)
        self._random = random.Random(seed)  # noqa: S311 - jitter, not secrets

    def after(self, failures: int) -> Seconds:
        """Seconds to wait after so many failures in a row, from 1 on."""
        base = min(self._backoff.max, self._backoff.min * 2.0 ** min(failures - 1, 32))
        return base * (1.0 + self._backoff.jitter * self._random.random())
