"""Spacing: how much may go at once, and how soon more.

A limit a minute may be enforced over shorter times, so what a minute allows does not all go at its beginning. This
is the generic cell rate algorithm (GCRA, as ATM networks police it; the virtual scheduling form): each request moves
a theoretical arrival time on by what it may take at the limit's rate, and may be early by the time that the rest of a
burst takes.

Tokens are spaced only after a server has shown that it wants it: most servers take a minute's tokens at once, and
somebody who sends three long prompts in an idle minute should not wait for servers that do not.
"""

from __future__ import annotations

import math

from ._clock import Seconds
from ._rate_window import WINDOW

SHORT: Seconds = 0.8
"""What goes at once after the first refusal that the minute does not explain is what this time allows.

Servers that do not count in minutes are known to count in seconds; the rest of the second is for the network."""

TOGETHER: Seconds = 0.02
"""As long as that a request may be kept waiting for others that are due soon."""

LATE: Seconds = 0.005
"""By which a request may follow too soon, or a tenth of its time, so that a timer that is late loses nothing."""


class Pace:
    """The spacing of one scope: at most `burst` requests at once, `requests` and `tokens` a minute."""

    __slots__ = (
        "_early",
        "_requests_at",
        "_tokens_at",
        "burst",
        "paces_tokens",
        "per_request",
        "per_token",
        "ready_at",
    )

    def __init__(self, requests: int, tokens: int, burst: int) -> None:
        self.burst: int = min(burst, requests)
        self._early: Seconds = 0.0
        self.paces_tokens: bool = False
        self._requests_at: Seconds = -math.inf
        self._tokens_at: Seconds = -math.inf
        self.ready_at: Seconds = -math.inf
        """When the next one may go, whatever its size."""
        self.set_rate(requests, tokens)

    def set_rate(self, requests: int, tokens: int) -> None:
        """So much a minute from now on."""
        self.per_request: Seconds = WINDOW / requests
        self.per_token: Seconds = WINDOW / tokens
        self._set_burst(self.burst)

    def when(self, now: Seconds) -> Seconds:
        """When the next one may go, whatever its size: `now`, or later."""
        return max(now, self.ready_at)

    def after(self, requests: int, now: Seconds) -> Seconds:
        """When the last of so many could go, as far as requests are concerned."""
        at = max(self._requests_at, now) + (requests - 1) * self.per_request
        return max(now, at - (self.burst - 1) * self.per_request)

    def took(self, tokens: int, at: Seconds) -> None:
        """One goes now."""
        requests_at, tokens_at = self._requests_at, self._tokens_at  # without `max`: a call for each request
        self._requests_at = requests_at = (requests_at if requests_at > at else at) + self.per_request  # noqa: FURB136
        self._tokens_at = (tokens_at if tokens_at > at else at) + tokens * self.per_token  # noqa: FURB136
        if self.paces_tokens:
            self._set_ready()
        else:
            self.ready_at = requests_at - self._early

    def gave_back(self, tokens: int, requests: int = 1) -> None:
        """Less has gone than was taken; fewer than no tokens: more has."""
        self._requests_at -= requests * self.per_request
        self._tokens_at -= tokens * self.per_token
        if requests or self.paces_tokens:
            self._set_ready()

    @property
    def patience(self) -> Seconds:
        """How late the next one may go so that nothing is lost by it."""
        return min(TOGETHER, self._early / 2)

    @property
    def tightest(self) -> bool:
        """Whether there is nothing left to learn here."""
        return self.burst == 1 and self.paces_tokens

    def tighten(self) -> None:
        """The server refuses what a minute allows: less at once from now on, at the same rate."""
        short = max(1, math.floor(SHORT / self.per_request))
        self.paces_tokens = True
        self._set_burst(short if self.burst > short else max(1, self.burst // 2))

    def relax(self, burst: int) -> None:
        """That was long ago: as at the beginning."""
        self.paces_tokens = False
        self._set_burst(min(burst, max(1, round(WINDOW / self.per_request))))

    def _set_burst(self, burst: int) -> None:
        self.burst = burst
        self._early = (burst - 1) * self.per_request + min(LATE, 0.1 * self.per_request)
        self._set_ready()

    def _set_ready(self) -> None:
        self.ready_at = self._requests_at - self._early
        if self.paces_tokens:
            self.ready_at = max(self.ready_at, self._tokens_at - min(SHORT / 2, self._early))
