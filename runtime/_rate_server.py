"""What the server itself says is left: it sees the others who use the same key.

A header says what was left when one request was judged. What went later was not counted yet, so it is taken off. What
has become free since is guessed by what has left our own window: in a window that is what happens, in a bucket it is
what we may take of what flows back as long as the others go on as before; and never more than the limit's own rate.
The next answer puts it right, and after a minute everything may be free, so older news is no news.

Headers come late, out of order or not at all, so they only ever make the limiter more careful than its own mirror.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from ._clock import Seconds
from ._rate_window import WINDOW

if TYPE_CHECKING:
    from ._rate_queue import Turn
    from ._server_limits import ServerLimits

FRESH: Seconds = 20.0
"""How long ago the last header may be for refunds to be trusted."""

_SHORTEST: Seconds = 10.0
_LONGEST: Seconds = 150.0
"""A limit whose reset shows that it counts over less or more than that is not one a minute."""

_FELT: Seconds = 1.5
"""A reset that is shorter is that of a limit by the second, which is back before it matters."""

_TRICKLE = 0.1
"""What flows back at least, as a part of the limit: else nobody would ever try again when others take it all."""


@attrs.frozen
class _Said:
    """What was left of one limit at the instant `at`, when `gone` of it had ever gone and `left` had left the window.

    At least `trickle` of it a second becomes free, and at most `rate`.
    """

    remaining: int
    at: Seconds
    gone: int
    left: int
    trickle: float
    rate: float

    def when(self, wanted: int, gone: int, left: int, now: Seconds) -> Seconds:
        """When `wanted` should be there; the guess is made anew when more has left."""
        age = now - self.at
        if age >= WINDOW:
            return now
        freed = min(max(left - self.left, self.trickle * age), self.rate * age)
        short = wanted - (self.remaining - (gone - self.gone) + freed)
        return now if short <= 0 else min(now + short / self.trickle, self.at + WINDOW)

    def soonest(self, wanted: int, gone: int, left: int, now: Seconds) -> Seconds:
        """Before when `wanted` cannot be there, whatever the others leave."""
        age = now - self.at
        short = wanted - (self.remaining - (gone - self.gone) + min(left - self.left, self.rate * age))
        if age >= WINDOW or short <= 0:
            return now
        return min(now + short / self.rate, self.at + WINDOW) if self.rate > 0 else self.at + WINDOW


class ServerView:
    """The news of one scope. `limit_requests` and `limit_tokens` are what it grants a minute, where it said so."""

    __slots__ = ("_requests", "_shut_until", "_tokens", "heard_at", "limit_requests", "limit_tokens", "speaks_until")

    def __init__(self) -> None:
        self.heard_at: Seconds = -math.inf
        self.speaks_until: Seconds = -math.inf
        """From then on it says nothing that would hold anybody back."""
        self.limit_requests: int | None = None
        self.limit_tokens: int | None = None
        self._requests: _Said | None = None
        self._tokens: _Said | None = None
        self._shut_until: Seconds = -math.inf
        """Before that nothing is left, of a limit that counts over less than a minute."""

    def hear(self, limits: ServerLimits, turn: Turn, now: Seconds, *, rpm: int, tpm: int) -> bool:
        """Take in what came with the answer to `turn`; whether it explains a refusal of it.

        `rpm` and `tpm` are the limits as far as they are known, for headers that do not say.
        """
        requests = _read(limits.limit_requests, limits.remaining_requests, limits.reset_requests, turn, 0, rpm)
        tokens = _read(limits.limit_tokens, limits.remaining_tokens, limits.reset_tokens, turn, 1, tpm)
        self.limit_requests = requests[0] if requests[0] is not None else self.limit_requests
        self.limit_tokens = tokens[0] if tokens[0] is not None else self.limit_tokens
        self._requests = _newer(requests[1], self._requests)
        self._tokens = _newer(tokens[1], self._tokens)
        self._shut_until = max(self._shut_until, now + max(requests[2], tokens[2]))
        if requests[1] is not None or tokens[1] is not None:
            self.heard_at = now
        self.speaks_until = max(self.heard_at + WINDOW, self._shut_until)
        return (requests[1] is not None and requests[1].remaining < 1) or (
            tokens[1] is not None and tokens[1].remaining < turn.tokens
        )

    def when(self, wanted: tuple[int, int], gone: tuple[int, int], left: tuple[int, int], now: Seconds) -> Seconds:
        """When the server should have room for so many requests and tokens: `now`, or when to think again."""
        at = max(now, self._shut_until)
        if now - self.heard_at >= WINDOW:
            return at
        if self._requests is not None:
            at = max(at, self._requests.when(wanted[0], gone[0], left[0], now))
        if self._tokens is not None:
            at = max(at, self._tokens.when(wanted[1], gone[1], left[1], now))
        return at

    def soonest(self, wanted: tuple[int, int], gone: tuple[int, int], left: tuple[int, int], now: Seconds) -> Seconds:
        """Before when the server has no room for so many requests and tokens, by what it said."""
        at = max(now, self._shut_until)
        for which, said in enumerate((self._requests, self._tokens)):
            if said is not None:
                at = max(at, said.soonest(wanted[which], gone[which], left[which], now))
        return at


def _newer(said: _Said | None, known: _Said | None) -> _Said | None:
    if said is None or (known is not None and said.at < known.at):
        return known
    return said


def _read(
    limit: int | None, remaining: int | None, reset: Seconds | None, turn: Turn, which: int, known: int
) -> tuple[int | None, _Said | None, Seconds]:
    """The limit a minute, if it is one, what was left of it, and for how long there is nothing, if it is another."""
    if limit is not None and limit < 1:
        limit = None
    whole = limit if limit is not None else known
    rate = whole / WINDOW
    if remaining is not None and reset is not None and reset > 0 and remaining < whole:
        length = reset * whole / (whole - remaining)
        if length < _SHORTEST and remaining < whole / 2:
            # It counts over less: that is what the spacing is for, but to nothing there is nothing to add.
            return None, None, reset if remaining == 0 and reset >= _FELT else -math.inf
        if length > _LONGEST and reset > WINDOW:  # over an hour or a day
            limit, rate = None, (whole - remaining) / reset
    slot = turn.slot
    if remaining is None or slot is None:
        return limit, None, -math.inf
    # What went a moment before it may arrive behind it; the request itself is what the server has counted.
    gone = slot.surely[which] + (turn.tokens if which else 1)
    return limit, _Said(remaining, turn.at, gone, slot.left[which], _TRICKLE * rate, rate), -math.inf
