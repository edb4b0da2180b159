"""The arithmetic of a rate limit: when may the next request go, so that no minute ever holds too much?

A bucket of capacity C that refills at L a minute lets C + L through in its first minute; that burst is what
earns the 429s. A provider's limit is a law about windows, so this mirrors it: the log of what was admitted is
kept for a minute, and a request goes at the earliest instant at which every window of 60 s that ends there
still holds at most the safe number of requests and of tokens. Compliance with "no 60 s window above L" implies
compliance with a bucket of capacity L and with fixed minutes. A second, short window of requests paces: at most
`burst` of them in the time in which the limit allows `burst`.

A reservation names an instant, perhaps in the future, and they are given in order, so a large request waits for
its room and is never overtaken. No time is read here: `now` is an argument, on any clock that does not go back.

What would change our mind: with many hundred callers waiting, tokens that come back by `settle` help only those
who ask later, because the waiting ones hold their instants already. A queue that is served when time comes uses
them at once and costs a timer and an order of its own.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import Literal

import attrs

from ._clock import Seconds
from ._errors import BudgetExceeded

WINDOW: Seconds = 60.0
"""What providers count over."""

_ROUNDING: Seconds = 1e-6
"""Added to each window, so that adding and subtracting floats never admits a request early."""

MAX_PUSH_BACK: Seconds = 120.0
"""The longest wait that one answer of a server can impose on everybody."""

Charge = Literal["estimate", "actual"]


def _at_least_one(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} must be a whole number of at least 1, not {value!r}")


@attrs.frozen(kw_only=True)
class Limits:
    """What a provider allows a minute, and how much of it to use.

    Args:
        rpm: Requests a minute.
        tpm: Tokens a minute, prompt and answer together.
        burst: Most requests admitted at once.
        safety_margin: The share of both limits that is used, above 0 and at most 1.
        charge: What a request costs once its usage is known. `estimate`: never less than was reserved, because
            some providers charge the estimate for good; `actual`: what it used.
    """

    rpm: int = attrs.field(validator=_at_least_one)
    tpm: int = attrs.field(validator=_at_least_one)
    burst: int = attrs.field(default=100, validator=_at_least_one)
    safety_margin: float = attrs.field(default=0.9)
    charge: Charge = attrs.field(default="estimate", validator=attrs.validators.in_(("estimate", "actual")))

    @safety_margin.validator  # pyright: ignore - mypy's plugin knows that attrs puts a method there
    def _check_margin(self, _: object, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise ValueError(f"safety_margin must be a number above 0 and at most 1, not {value!r}")

    @property
    def safe_rpm(self) -> int:
        """Requests that any 60 s may hold: the limit times the margin, at least one."""
        return max(1, math.floor(self.rpm * self.safety_margin))

    @property
    def safe_tpm(self) -> int:
        """Tokens that any 60 s may hold: the limit times the margin, at least one."""
        return max(1, math.floor(self.tpm * self.safety_margin))


@attrs.frozen
class Lease:
    """Leave for one request of `tokens` tokens to go at the instant `at` (the clock of `now`), or later."""

    id: str
    at: Seconds
    tokens: int


@attrs.frozen(kw_only=True)
class BucketStatistics:
    """What the last minute holds, and who waits. `tokens` as charged so far, without those that wait."""

    requests: int
    tokens: int
    waiting: int
    unsettled: int
    paused_for: Seconds


class TokenBucket:
    """Admission under `limits`. Every method is complete when it returns; none of them reads a clock.

    The log is four lists in step, in order of admission, which is also the order of `at`. `_totals` are running
    sums of `_tokens`; a change cuts them off there and the next reservation extends them.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._requests, self._allowance = limits.safe_rpm, limits.safe_tpm
        self._burst = min(limits.burst, self._requests)
        self._pace = WINDOW * self._burst / self._requests
        self._numbers: list[int] = []
        self._at: list[Seconds] = []
        self._tokens: list[int] = []
        self._ids: list[str] = []
        self._totals: list[int] = []
        self._spent_before = 0  # the sum of what the log has forgotten
        self._number_of: dict[str, int] = {}
        self._unsettled: set[str] = set()
        self._next = 0
        self._paused_until = -math.inf

    def reserve(self, lease_id: str, tokens: int, now: Seconds) -> Lease:
        """Reserve one request of `tokens` tokens at the earliest instant that the limits allow.

        The same `lease_id` again gives the lease it has: asking twice reserves once.

        Raises:
            BudgetExceeded: the request alone is larger than a minute allows; nothing was reserved.
        """
        if lease_id in self._number_of:
            return self.lease(lease_id)
        if tokens < 0:
            raise ValueError(f"a request cannot need {tokens} tokens")
        if tokens > self._allowance:
            raise BudgetExceeded(
                f"a request of about {tokens:,} tokens can never go: the limit is {self._allowance:,} tokens a minute "
                f"(tpm_limit {self.limits.tpm:,} x safety_margin {self.limits.safety_margin:g}). "
                "Shorten it, lower its max_tokens, or raise performance.rate_limiting.tpm_limit."
            )
        self._forget(now)
        self._admit(lease_id, self._next, self._earliest(tokens, now), tokens)
        self._next += 1
        self._unsettled.add(lease_id)
        return self.lease(lease_id)

    def lease(self, lease_id: str) -> Lease:
        """The lease as it stands now: a push back may have moved it. `KeyError` if it is over or unknown."""
        i = self._index(lease_id)
        return Lease(lease_id, self._at[i], self._tokens[i])

    def settle(self, lease_id: str, used_tokens: int, now: Seconds) -> None:
        """Charge what the request used. A lease that is older than the window, or unknown, changes nothing."""
        self._forget(now)
        self._unsettled.discard(lease_id)
        if lease_id not in self._number_of:
            return
        i = self._index(lease_id)
        charged = used_tokens if self.limits.charge == "actual" else max(used_tokens, self._tokens[i])
        if charged != self._tokens[i]:
            self._tokens[i] = max(0, charged)
            del self._totals[i:]

    def give_back(self, lease_id: str, now: Seconds) -> None:
        """The request was never sent: nothing of it remains. An unknown lease changes nothing."""
        self._forget(now)
        if lease_id not in self._number_of:
            return
        i = self._index(lease_id)
        del self._totals[i:]
        del self._numbers[i], self._at[i], self._tokens[i], self._ids[i]
        del self._number_of[lease_id]
        self._unsettled.discard(lease_id)

    def retry_after(self, seconds: Seconds, now: Seconds) -> None:
        """Let nothing go for `seconds` (at most `MAX_PUSH_BACK`): those that wait keep their order."""
        until = now + min(max(0.0, seconds), MAX_PUSH_BACK)
        if until <= self._paused_until:
            return
        self._paused_until = until
        self._forget(now)
        first = bisect_right(self._at, now)
        waiting = list(zip(self._ids[first:], self._numbers[first:], self._tokens[first:], strict=True))
        self._cut(first)
        for lease_id, number, tokens in waiting:
            self._admit(lease_id, number, self._earliest(tokens, now), tokens)

    def statistics(self, now: Seconds) -> BucketStatistics:
        """What the last minute holds and who waits."""
        self._forget(now)
        gone = bisect_right(self._at, now)
        return BucketStatistics(
            requests=gone,
            tokens=sum(self._tokens[:gone]),
            waiting=len(self._at) - gone,
            unsettled=len(self._unsettled),
            paused_for=max(0.0, self._paused_until - now),
        )

    # ------------------------------------------------------------ the two laws
    def _earliest(self, tokens: int, now: Seconds) -> Seconds:
        """The first instant, not before those already reserved, at which both windows have room."""
        at = max(now, self._paused_until)
        count = len(self._at)
        if not count:
            return at
        at = max(at, self._at[-1])
        if count >= self._requests:
            at = max(at, self._at[count - self._requests] + WINDOW + _ROUNDING)
        if count >= self._burst:
            at = max(at, self._at[count - self._burst] + self._pace + _ROUNDING)
        totals = self._running_totals()
        must_have_left = totals[-1] + tokens - self._allowance
        if must_have_left > self._spent_before:
            last_to_leave = min(bisect_left(totals, must_have_left), count - 1)
            at = max(at, self._at[last_to_leave] + WINDOW + _ROUNDING)
        return at

    # ------------------------------------------------------------ the log
    def _admit(self, lease_id: str, number: int, at: Seconds, tokens: int) -> None:
        self._number_of[lease_id] = number
        self._numbers.append(number)
        self._at.append(at)
        self._tokens.append(tokens)
        self._ids.append(lease_id)

    def _running_totals(self) -> list[int]:
        total = self._totals[-1] if self._totals else self._spent_before
        for tokens in self._tokens[len(self._totals) :]:
            total += tokens
            self._totals.append(total)
        return self._totals

    def _index(self, lease_id: str) -> int:
        return bisect_left(self._numbers, self._number_of[lease_id])

    def _forget(self, now: Seconds) -> None:
        """Drop what no window that ends now or later can hold."""
        gone = bisect_right(self._at, now - WINDOW - _ROUNDING)
        if not gone:
            return
        self._spent_before = self._running_totals()[gone - 1]
        for lease_id in self._ids[:gone]:
            del self._number_of[lease_id]
            self._unsettled.discard(lease_id)
        del self._numbers[:gone], self._at[:gone], self._tokens[:gone], self._ids[:gone], self._totals[:gone]

    def _cut(self, first: int) -> None:
        for lease_id in self._ids[first:]:
            del self._number_of[lease_id]
        del self._numbers[first:], self._at[first:], self._tokens[first:], self._ids[first:], self._totals[first:]
