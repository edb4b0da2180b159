"""Servers that enforce a limit in the ways that are known, in virtual time: what a limiter is tried against."""

from __future__ import annotations

from collections import deque
from typing import Literal

from trouper.runtime import RateLimited, ServerLimits

Kind = Literal["sliding", "bucket", "minute", "second bucket", "second"]


class Meter:
    """One limit of `limit` a minute, kept in the way of `kind`. `add` counts, `has_room` judges, `level` is used up."""

    def __init__(self, kind: Kind, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self._log: deque[list[float]] = deque()
        self._sum = 0.0
        self._level, self._at, self._period = 0.0, 0.0, 0

    @property
    def size(self) -> float:
        """What one period allows."""
        return self.limit / 60 if self.kind.startswith("second") else float(self.limit)

    def used(self, now: float) -> float:
        if self.kind == "sliding":
            while self._log and self._log[0][0] <= now - 60:
                self._sum -= self._log.popleft()[1]
            return self._sum
        if self.kind in {"bucket", "second bucket"}:
            self._level = max(0.0, self._level - (now - self._at) * self.limit / 60)
            self._at = now
            return self._level
        period = int(now // (60 if self.kind == "minute" else 1))
        if period != self._period:
            owed = max(0.0, self._level - self.size * (period - self._period)) if self.kind == "second" else 0.0
            self._level, self._period = owed, period
        return self._level

    def has_room(self, amount: float, now: float) -> bool:
        used = self.used(now)
        if self.kind.startswith("second") and amount > 1:
            return used < self.size  # a prompt of more than a second's worth has to be taken whole, and is owed
        return used + amount <= self.size + 1e-6

    def add(self, amount: float, now: float) -> list[float]:
        self.used(now)
        entry = [now, amount]
        if self.kind == "sliding":
            self._log.append(entry)
            self._sum += amount
        else:
            self._level += amount
        return entry

    def correct(self, entry: list[float], amount: float, now: float) -> None:
        """What was counted as `entry` has turned out to be `amount`."""
        self.used(now)
        difference = amount - entry[1]
        if self.kind == "sliding":
            if entry[0] > now - 60:
                entry[1] = amount
                self._sum += difference
        elif self.kind not in {"minute", "second"} or entry[0] // (self._length) == now // self._length:
            self._level = max(0.0, self._level + difference)

    @property
    def _length(self) -> float:
        return 60.0 if self.kind == "minute" else 1.0

    def reset(self, now: float) -> float:
        """Seconds until all of it is there again."""
        if self.kind == "sliding":
            return max(0.0, self._log[-1][0] + 60 - now) if self._log else 0.0
        if self.kind in {"minute", "second"}:
            return self._length - now % self._length
        return self.used(now) / (self.limit / 60)

    def wait_for(self, amount: float, now: float) -> float:
        """What a server would say in Retry-After: whole seconds, as most do."""
        if self.kind == "sliding":
            surplus = self.used(now) + amount - self.limit
            for at, tokens in self._log:
                surplus -= tokens
                if surplus <= 0:
                    return at + 60 - now
            return 60.0
        if self.kind in {"minute", "second"}:
            return self.reset(now)
        return max(0.0, self.used(now) + min(amount, self.size) - self.size) / (self.limit / 60)


class Server:
    """A provider's side of the limits: requests and tokens, declined ones told when to come back."""

    def __init__(
        self,
        kind: Kind,
        rpm: int,
        tpm: int,
        *,
        charge: Literal["estimate", "actual"] = "actual",
        headers: bool = False,
        retry_after: bool = True,
        counts_refused: bool = True,
    ) -> None:
        self.requests = Meter(kind, rpm)
        self.tokens = Meter(kind, tpm)
        self.charge = charge
        self.headers = headers
        self.retry_after = retry_after
        self.counts_refused = counts_refused
        self.admitted: list[tuple[float, int]] = []
        """When, and what it was charged in the end."""
        self.declined: list[float] = []

    def judge(self, estimate: int, now: float) -> list[float]:
        """Admit a request; the entry is for `finish`. Raises `RateLimited` as an adapter would."""
        room = self.requests.has_room(1, now)
        if room and self.tokens.has_room(estimate, now):
            self.requests.add(1, now)
            return self.tokens.add(estimate, now)
        wait = max(
            0.0 if room else self.requests.wait_for(1, now),
            0.0 if self.tokens.has_room(estimate, now) else self.tokens.wait_for(estimate, now),
        )
        if self.counts_refused and self.requests.has_room(1, now):
            self.requests.add(1, now)
        self.declined.append(now)
        error = RateLimited("429", status=429, retry_after=round(wait + 0.001, 3) if self.retry_after else None)
        error.limits = self.said(now)
        raise error

    def finish(self, entry: list[float], used: int, now: float) -> None:
        """The answer is there: an actual charge is put right."""
        if self.charge == "actual":
            self.tokens.correct(entry, used, now)
            self.admitted.append((entry[0], used))
        else:
            self.admitted.append((entry[0], int(entry[1])))

    def said(self, now: float) -> ServerLimits | None:
        """Its headers."""
        if not self.headers:
            return None
        requests, tokens = self.requests, self.tokens
        return ServerLimits(
            limit_requests=max(1, int(requests.size)),
            remaining_requests=max(0, int(requests.size - requests.used(now))),
            reset_requests=requests.reset(now),
            limit_tokens=max(1, int(tokens.size)),
            remaining_tokens=max(0, int(tokens.size - tokens.used(now))),
            reset_tokens=tokens.reset(now),
        )
