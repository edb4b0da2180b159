"""How a server counts what is asked of it, and when it says 429: four laws that providers are known to follow. Pure.

A provider tells its limits by the minute and enforces them as it likes: over any 60 s, as a bucket that refills, by
the minute on the wall, or by the second. A client that is right under one law may be refused all the time under
another, so a client is tested under all four. Times are arguments, on any clock that does not go back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Literal

import attrs

from trouper.runtime import Seconds

LawKind = Literal["sliding", "bucket", "fixed", "second"]
LAWS: tuple[LawKind, ...] = ("sliding", "bucket", "fixed", "second")
Charged = Literal["estimate", "actual"]

MINUTE: Seconds = 60.0
_ROUNDING = 1e-9
"""So that whoever waits exactly as long as it was told is let in."""


def _positive_or_none(_: object, attribute: attrs.Attribute[int | None], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} must be a whole number of at least 1, or None, not {value!r}")


@attrs.frozen(kw_only=True)
class RateLaw:
    """What a server allows a minute, and how it counts.

    Args:
        rpm: Requests a minute; None: as many as you like.
        tpm: Tokens a minute; None: as many as you like.
        kind: `sliding`: in any 60 s. `bucket`: a bucket as large as the limit, refilled evenly. `fixed`: in each
            minute since the server began. `second`: requests by the second (60 a minute is one a second), tokens as
            a bucket.
        charge: What a chat costs. `estimate`: the larger of its prompt and its `max_tokens`, when it comes, for good.
            `actual`: its prompt when it comes, its answer when it has been made.
        refused_count: Whether a refused request counts as a request too, as some providers have it.
    """

    rpm: int | None = attrs.field(default=None, validator=_positive_or_none)
    tpm: int | None = attrs.field(default=None, validator=_positive_or_none)
    kind: LawKind = attrs.field(default="sliding", validator=attrs.validators.in_(LAWS))
    charge: Charged = attrs.field(default="actual", validator=attrs.validators.in_(("estimate", "actual")))
    refused_count: bool = False

    def first_charge(self, prompt_tokens: int, max_tokens: int | None) -> int:
        """What a request costs when it comes."""
        return prompt_tokens if self.charge == "actual" else max(prompt_tokens, max_tokens or 0)


@attrs.frozen(kw_only=True)
class Admission:
    """What the law says of one request. `retry_after`: seconds until the same request would be let in."""

    admitted: bool
    number: int
    retry_after: Seconds
    headers: Mapping[str, str]


class RateBook:
    """What a server has counted so far under `law`."""

    def __init__(self, law: RateLaw, began: Seconds = 0.0) -> None:
        self.law: RateLaw = law
        self.admitted: int = 0
        self.refused: int = 0
        by_second = law.kind == "second"
        self._requests = _meter(law.rpm, law.kind, began, seconds=1.0 if by_second else MINUTE)
        self._tokens = _meter(law.tpm, "bucket" if by_second else law.kind, began, seconds=MINUTE)

    def admit(self, now: Seconds, tokens: int) -> Admission:
        """Count a request of `tokens` tokens if there is room for it, else say when there will be."""
        wait = max(self._requests.wait(now, 1), self._tokens.wait(now, tokens))
        number = self.admitted
        if wait <= 0:
            self.admitted += 1
            self._requests.take(now, 1)
            self._tokens.take(now, tokens)
        else:
            self.refused += 1
            if self.law.refused_count:
                self._requests.take(now, 1)
        return Admission(admitted=wait <= 0, number=number, retry_after=max(0.0, wait), headers=self.headers(now))

    def add(self, now: Seconds, tokens: int) -> None:
        """Count the answer of a request that has been let in, under `charge="actual"`."""
        if self.law.charge == "actual":
            self._tokens.take(now, tokens)

    def headers(self, now: Seconds) -> dict[str, str]:
        """The `x-ratelimit-*` headers as OpenAI's servers send them; none for what is not limited."""
        told: dict[str, str] = {}
        for name, limit, meter in (("requests", self.law.rpm, self._requests), ("tokens", self.law.tpm, self._tokens)):
            if limit is not None:
                told[f"x-ratelimit-limit-{name}"] = str(limit)
                told[f"x-ratelimit-remaining-{name}"] = str(max(0, math.floor(meter.left(now))))
                told[f"x-ratelimit-reset-{name}"] = duration(meter.full(now))
        return told


def duration(seconds: Seconds) -> str:
    """Seconds as those servers write them: `120ms`, `1s`, `6m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    shown = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{shown}s" if minutes else f"{shown}s"


# ------------------------------------------------------------------ the ways of counting
class _Meter:
    """Nothing is limited."""

    def wait(self, now: Seconds, amount: float) -> Seconds:  # noqa: ARG002 - the others read them
        """Seconds until `amount` more fits; infinite if it never will."""
        return 0.0

    def take(self, now: Seconds, amount: float) -> None:
        """Count `amount`."""

    def left(self, now: Seconds) -> float:  # noqa: ARG002 - the same
        """How much fits now."""
        return math.inf

    def full(self, now: Seconds) -> Seconds:  # noqa: ARG002 - the same
        """Seconds until nothing of what was counted is left."""
        return 0.0


class _Sliding(_Meter):
    """At most `limit` in any `seconds`."""

    def __init__(self, limit: float, seconds: Seconds) -> None:
        self._limit = limit
        self._seconds = seconds
        self._log: deque[tuple[Seconds, float]] = deque()
        self._sum = 0.0

    def wait(self, now: Seconds, amount: float) -> Seconds:
        self._forget(now)
        too_much = self._sum + amount - self._limit
        if too_much <= 0:
            return 0.0
        if amount > self._limit:
            return math.inf
        for at, counted in self._log:
            too_much -= counted
            if too_much <= 0:
                return at + self._seconds - now
        return 0.0

    def take(self, now: Seconds, amount: float) -> None:
        self._log.append((now, amount))
        self._sum += amount

    def left(self, now: Seconds) -> float:
        self._forget(now)
        return self._limit - self._sum

    def full(self, now: Seconds) -> Seconds:
        self._forget(now)
        return self._log[-1][0] + self._seconds - now if self._log else 0.0

    def _forget(self, now: Seconds) -> None:
        while self._log and self._log[0][0] + self._seconds <= now + _ROUNDING:
            self._sum -= self._log.popleft()[1]


class _Bucket(_Meter):
    """A bucket of `capacity` that refills at `rate` a second. An answer that was not reserved may overdraw it."""

    def __init__(self, capacity: float, rate: float, began: Seconds) -> None:
        self._capacity = capacity
        self._rate = rate
        self._level = capacity
        self._at = began

    def wait(self, now: Seconds, amount: float) -> Seconds:
        if amount > self._capacity:
            return math.inf
        missing = amount - self.left(now)
        return missing / self._rate if missing > _ROUNDING else 0.0

    def take(self, now: Seconds, amount: float) -> None:
        self._level = self.left(now) - amount
        self._at = max(self._at, now)

    def left(self, now: Seconds) -> float:
        return min(self._capacity, self._level + max(0.0, now - self._at) * self._rate)

    def full(self, now: Seconds) -> Seconds:
        return (self._capacity - self.left(now)) / self._rate


class _Fixed(_Meter):
    """At most `limit` in each `seconds` since the server began."""

    def __init__(self, limit: float, seconds: Seconds, began: Seconds) -> None:
        self._limit = limit
        self._seconds = seconds
        self._began = began
        self._period = -1
        self._sum = 0.0

    def wait(self, now: Seconds, amount: float) -> Seconds:
        if amount > self._limit:
            return math.inf
        return self.full(now) if self.left(now) < amount else 0.0

    def take(self, now: Seconds, amount: float) -> None:
        self._turn(now)
        self._sum += amount

    def left(self, now: Seconds) -> float:
        self._turn(now)
        return self._limit - self._sum

    def full(self, now: Seconds) -> Seconds:
        self._turn(now)
        return self._began + (self._period + 1) * self._seconds - now if self._sum else 0.0

    def _turn(self, now: Seconds) -> None:
        period = math.floor((now - self._began + _ROUNDING) / self._seconds)
        if period > self._period:
            self._period, self._sum = period, 0.0


def _meter(limit: int | None, kind: LawKind, began: Seconds, *, seconds: Seconds) -> _Meter:
    if limit is None:
        return _Meter()
    if kind == "sliding":
        return _Sliding(limit, seconds)
    if kind == "fixed":
        return _Fixed(limit, seconds, began)
    rate = limit / MINUTE
    return _Bucket(max(1.0, rate * seconds), rate, began)
