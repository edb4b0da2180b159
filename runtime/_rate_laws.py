"""When the head of the queue may go, by everything that is known of one scope: the five laws of a rate limit.

The window (`Window`) that no minute may overfill, the spacing (`Pace`), what the server says is left (`ServerView`), a
pause that it wants, and the calls under way (`Concurrency`); refusals tighten them (`Lessons`). `TokenBucket` puts
requests through it.
"""

from __future__ import annotations

import math

import attrs

from ._clock import Seconds
from ._concurrency import Concurrency
from ._rate_lessons import Lessons
from ._rate_limits import Limits
from ._rate_pace import Pace
from ._rate_queue import Turn, TurnQueue
from ._rate_server import FRESH, ServerView
from ._rate_statistics import Blocked
from ._rate_window import Window
from ._server_limits import ServerLimits

LEASE_LIFE: Seconds = 900.0
"""A call that nobody has reported on for so long is no longer counted as being under way."""

LOOK_AGAIN: Seconds = 1.0

BREATH: Seconds = 0.01
"""Between two looks at the same thing."""

TIMED: frozenset[Blocked] = frozenset({"pause", "pace"})
"""Those that nothing but time ends, whoever is the head: when to look again holds although others come and go."""


class RateLaws:
    """What is known of one scope under `limits`, and what may go by it."""

    def __init__(self, limits: Limits) -> None:
        self.limits: Limits = limits
        self._rpm, self._tpm = limits.safe_rpm, limits.safe_tpm
        self._spare = limits.rpm - self._rpm, limits.tpm - self._tpm
        self._window = Window()
        self._pace = Pace(self._rpm, self._tpm, limits.burst)
        self._queue = TurnQueue(self._rpm, self._tpm)
        self._view = ServerView()
        self._concurrency = Concurrency()
        self._open: dict[str, Turn] = {}
        self._in_flight: int = 0
        self._ratio = 1.0
        self._paused_until = -math.inf
        self._lessons = Lessons()
        self._blocked: Blocked = ""
        self._look_at = -math.inf

    # ------------------------------------------------------------ the laws
    def _is_plain(self, now: Seconds) -> bool:
        """Whether only the spacing and our own window decide, as is usual: then `serve` need not ask `_when`."""
        return (
            self._paused_until <= now
            and self._concurrency.limit == math.inf
            and self._lessons.whole
            and self._view.speaks_until <= now
        )

    def _when(self, turn: Turn, now: Seconds) -> Seconds:
        """When to look at the head of the queue again; `now` if it may go."""
        if self._paused_until > now:
            self._blocked = "pause"
            return self._paused_until
        at = self._pace.when(now)
        if at > now:
            self._blocked = "pace"
            return at
        if self._in_flight >= self._concurrency.limit and not self._lost_calls(now):
            self._blocked = "concurrency"
            return now + LOOK_AGAIN
        window, share = self._window, self._lessons.share(now)
        if window.requests >= self._rpm * share and window.requests:
            self._blocked = "requests"
        else:
            held = window.estimates if self._estimated(now) else window.tokens
            if held + turn.tokens <= self._tpm * share or held <= 0 or turn.tokens > self._tpm:
                return self._when_the_server_agrees(turn, now)
            self._blocked = "tokens"
        return window.exit_at if share == 1.0 else min(window.exit_at, now + LOOK_AGAIN)

    def _when_the_server_agrees(self, turn: Turn, now: Seconds) -> Seconds:
        view, window = self._view, self._window
        if view.speaks_until <= now or turn.tokens > self._tpm:
            return now
        free = self._lessons.kept_free(now)
        wanted = 1 + self._spare[0] + int(free * self._rpm), turn.tokens + self._spare[1] + int(free * self._tpm)
        at = view.when(wanted, window.gone, window.left, now)
        if at > now:
            self._blocked = "server"
            return max(now + BREATH, min(at, window.exit_at))
        return at

    def _estimated(self, now: Seconds) -> bool:
        """Whether requests count as what was reserved, not as what they used."""
        charge = self.limits.charge
        if charge == "auto":
            return now < self._lessons.estimates_until or now - self._view.heard_at > FRESH
        return charge == "estimate"

    def _forecast(self, turn: Turn, now: Seconds) -> Seconds:
        """About when it will go, by what is known: what comes back makes it sooner, a refusal later."""
        ahead, tokens_ahead = self._queue.ahead_of_next(turn.priority)
        return self._reach(ahead, tokens_ahead + turn.tokens, now)

    def _reach(self, ahead: int, wanted: int, now: Seconds) -> Seconds:
        """About when one will go that has so many ahead, if it and they want so many tokens."""
        window = self._window
        held = window.estimates
        if not self._estimated(now):
            held, wanted = window.tokens, int(wanted * self._ratio)
        at = max(self._pace.after(ahead + 1, now), self._paused_until)
        if window.requests + ahead + 1 > self._rpm:
            at = max(at, window.room_for(ahead + 1, window.requests, self._rpm, now))
        if held + wanted > self._tpm:
            at = max(at, window.room_for(wanted, held, self._tpm, now))
        if self._view.speaks_until > now:
            at = max(at, self._view.soonest((ahead + 1, wanted), window.gone, window.left, now))
        return at

    # ------------------------------------------------------------ calls under way
    def _end(self, turn_id: str, now: Seconds) -> Turn | None:
        """A turn that was granted is over; None if there is none."""
        turn = self._open.get(turn_id)
        if turn is None or turn.state != "granted":
            return None
        if self._window.exit_at <= now:
            self._window.forget(now)
        turn.state = "over"
        del self._open[turn_id]
        self._in_flight -= 1
        if self._blocked not in TIMED:
            self._look_at = -math.inf
        return turn

    def _lost_calls(self, now: Seconds) -> bool:
        """Write off the calls that nobody will report on any more; whether there is room by that."""
        lost = [turn for turn in self._open.values() if turn.state == "granted" and turn.at < now - LEASE_LIFE]
        for turn in lost:
            self._end(turn.id, now)
        return bool(lost) and self._concurrency.has_room(self._in_flight)

    # ------------------------------------------------------------ what the server says
    def _hear(self, limits: ServerLimits, turn: Turn, now: Seconds) -> bool:
        view, own = self._view, self.limits
        explained = view.hear(limits, turn, now, rpm=own.rpm, tpm=own.tpm)
        rpm = min(own.rpm, view.limit_requests or own.rpm)
        tpm = min(own.tpm, view.limit_tokens or own.tpm)
        self._set_limits(attrs.evolve(own, rpm=rpm, tpm=tpm) if (rpm, tpm) != (own.rpm, own.tpm) else own)
        return explained

    def _set_limits(self, limits: Limits) -> None:
        if (limits.safe_rpm, limits.safe_tpm) != (self._rpm, self._tpm):
            self._rpm, self._tpm = limits.safe_rpm, limits.safe_tpm
            self._spare = limits.rpm - self._rpm, limits.tpm - self._tpm
            self._pace.set_rate(self._rpm, self._tpm)
            self._queue.set_limits(self._rpm, self._tpm)
            self._look_at = -math.inf
