"""The arithmetic of a rate limit: who may go now, so that no minute ever holds too much?

A bucket of capacity C that refills at L a minute lets C + L through in its first minute; that burst is what earns the
429s. A provider's limit is a law about windows, so this mirrors it (`Window`): a request goes when every window of
60 s that ends then still holds at most the safe number of requests and of tokens. "No 60 s window above L" implies
compliance with a bucket of capacity L and with fixed minutes; the spacing (`Pace`) adds shorter periods, what the
server says (`ServerView`) adds the other users of the same key, and `Concurrency` adds servers that are just too slow.

Requests wait in a queue (`TurnQueue`) that is served when time comes. The alternative, an instant for each at once,
is simpler, and was what stood here first; but then what comes back from answers that were shorter than reserved is of
no use to those who wait already, and under a token limit that is half of the budget.

Each request is there exactly once: waiting, granted and in flight, or over; what it was granted stays in the window
for its minute, unless it is given back. No time is read here: `now` is an argument, on any clock that does not go
back. Nothing here waits, and each method is complete when it returns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import attrs

from ._clock import Seconds
from ._concurrency import Concurrency
from ._errors import RateLimited
from ._rate_lessons import Lessons
from ._rate_limits import Limits, too_large
from ._rate_pace import Pace
from ._rate_queue import Priority, Turn, TurnQueue
from ._rate_reports import Report
from ._rate_server import FRESH, ServerView
from ._rate_statistics import Blocked, BucketStatistics
from ._rate_window import WINDOW, Window
from ._server_limits import ServerLimits

MAX_PUSH_BACK: Seconds = 120.0
"""The longest wait that one answer of a server can impose on everybody."""

LEASE_LIFE: Seconds = 900.0
"""A call that nobody has reported on for so long is no longer counted as being under way."""

MOST_OPEN = 10_000
"""So many turns may be open before those are looked for that nobody will report on."""

FIRST_PAUSE: Seconds = 0.5
"""After a refusal that names no wait; doubled with each further one in a row."""

LONGEST_PAUSE: Seconds = 15.0

LOOK_AGAIN: Seconds = 1.0

BREATH: Seconds = 0.01
"""Between two looks at the same thing."""

_TIMED: frozenset[Blocked] = frozenset({"pause", "pace"})
"""Those that nothing but time ends, whoever is the head."""


class TokenBucket:
    """The turns of one scope under `limits`."""

    def __init__(self, limits: Limits) -> None:
        self.limits: Limits = limits
        self._rpm, self._tpm = limits.safe_rpm, limits.safe_tpm
        self._spare = limits.rpm - self._rpm, limits.tpm - self._tpm
        self._window = Window()
        self._pace = Pace(self._rpm, self._tpm, limits.burst)
        self._queue = TurnQueue(self._cost)
        self._view = ServerView()
        self._concurrency = Concurrency()
        self._open: dict[str, Turn] = {}
        self._most_open = MOST_OPEN
        self._in_flight = 0
        self._ratio = 1.0
        self._paused_until = -math.inf
        self._refusals, self._refused_at = 0, -math.inf
        self._lessons = Lessons()
        self._blocked: Blocked = ""
        self._look_at = -math.inf

    # ------------------------------------------------------------ asking
    def ask(
        self,
        turn_id: str,
        tokens: int,
        now: Seconds,
        *,
        priority: Priority = "interactive",
        deadline: Seconds = math.inf,
    ) -> Turn:
        """Put one request of `tokens` tokens into the queue; `serve` grants it. `at` says about when.

        The same `turn_id` again gives the turn it has: asking twice reserves once.

        Raises:
            BudgetExceeded: the request alone is larger than a minute allows; nothing was reserved.
        """
        known = self._open.get(turn_id)
        if known is not None:
            return known
        if tokens < 0:
            raise ValueError(f"a request cannot need {tokens} tokens")
        if tokens > self._tpm:
            raise too_large(tokens, self._tpm, self.limits, self._view.limit_tokens)
        if len(self._open) >= self._most_open:
            self._lost_calls(now)
            self._most_open = max(MOST_OPEN, 2 * len(self._open))
        turn = Turn(turn_id, tokens, priority, now, deadline, now)
        self._window.forget(now)
        turn.at = self._forecast(turn, now)
        self._open[turn_id] = turn
        self._queue.add(turn)
        self._changed()
        return turn

    def serve(self, now: Seconds) -> Sequence[Turn]:
        """Grant whatever may go now, in order; refuse what can never go, or too late. Both are returned."""
        if now < self._look_at and now < self._queue.deadline and self._blocked in _TIMED:
            return ()
        self._look_at = -math.inf
        self._window.forget(now)
        served: list[Turn] = []
        if self._queue.deadline <= now:
            served += self._queue.expire(now)
            for late in served:
                self._refuse(late, RateLimited("its turn has not come in time"))
        while (turn := self._queue.head()) is not None:
            at = self._when(turn, now)
            if at > now:
                self._look_at = at
                break
            self._queue.take(turn, now)
            if turn.tokens > self._tpm:
                self._refuse(turn, too_large(turn.tokens, self._tpm, self.limits, self._view.limit_tokens))
            else:
                self._grant(turn, now)
            served.append(turn)
        else:
            self._blocked = ""
        return served

    def next_at(self, now: Seconds) -> Seconds:
        """When to serve again: infinite if nobody waits, or only for somebody's report."""
        turn = self._queue.head()
        if turn is None:
            return math.inf
        at = self._look_at if self._look_at > now else self._when(turn, now)
        return min(at, self._queue.deadline)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def knows(self, turn_id: str) -> bool:
        """Whether there is such a turn: it waits, or is under way."""
        return turn_id in self._open

    def turns(self) -> Iterator[Turn]:
        """All that wait or are under way."""
        yield from self._open.values()

    def is_idle(self, now: Seconds) -> bool:
        """Whether it holds nothing that anybody would miss."""
        self._window.forget(now)
        return not self._open and not self._window.requests and self._paused_until <= now

    # ------------------------------------------------------------ what became of it
    def report(self, report: Report, now: Seconds) -> None:
        """What became of one request. Unknown, or reported on already: nothing happens."""
        turn_id, limits = report.turn_id, report.limits
        if report.fate == "settled":
            self.settle(turn_id, report.used_tokens, now, limits)
        elif report.fate == "declined":
            self.declined(turn_id, now, retry_after=report.retry_after, limits=limits)
        elif report.fate == "overloaded":
            self.overloaded(turn_id, now)
        elif report.fate == "failed":
            self.failed(turn_id, now, charged=report.charged)
        else:
            self.give_back(turn_id, now)

    def settle(self, turn_id: str, used_tokens: int | None, now: Seconds, limits: ServerLimits | None = None) -> None:
        """It was answered: charge what it used (None: nobody said, the estimate stands). Unknown: nothing happens."""
        turn = self._end(turn_id, now)
        if turn is None:
            return
        self._refusals = 0
        self._concurrency.answered(self._in_flight + 1)
        if used_tokens is not None and turn.slot is not None:
            more = max(0, used_tokens) - turn.tokens
            self._window.change(turn.slot, more, max(0, more))
            if more > 0 or not self._estimated(now):
                self._pace.gave_back(-more, 0)
                if self._pace.paces_tokens:
                    self._look_at = -math.inf
            if turn.tokens:
                self._ratio += 0.05 * (min(1.0, used_tokens / turn.tokens) - self._ratio)
        if limits is not None:
            self._hear(limits, turn, now)

    def declined(
        self, turn_id: str, now: Seconds, *, retry_after: Seconds | None = None, limits: ServerLimits | None = None
    ) -> None:
        """The server refused it because of its limits. It counts as a request; everybody waits as the server says."""
        turn = self._end(turn_id, now)
        if turn is None or turn.at > self._refused_at:  # else it belongs to the same burst as the last one
            self._refusals, self._refused_at = self._refusals + 1, now
        pause = FIRST_PAUSE * 2.0 ** min(self._refusals - 1, 10)
        self.push_back(min(pause, LONGEST_PAUSE) if retry_after is None else retry_after, now)
        if turn is None:
            return
        if turn.slot is not None:
            self._window.change(turn.slot, -turn.tokens, 0)
        if limits is not None and self._hear(limits, turn, now):
            self._lessons.crowded(turn.at, now)
            return
        overcharged = self.limits.charge == "auto" and not self._estimated(now) and self._window.estimates > self._tpm
        self._lessons.refused(turn.at, now, self._pace, self.limits.burst, overcharged=overcharged)
        if retry_after is None and self.limits.adaptive_concurrency:
            self._concurrency.overloaded(turn.at, self._in_flight + 1, now)

    def overloaded(self, turn_id: str, now: Seconds) -> None:
        """It found no answer because the server was too slow or too busy; the estimate stands."""
        turn = self._end(turn_id, now)
        if turn is not None and self.limits.adaptive_concurrency:
            self._concurrency.overloaded(turn.at, self._in_flight + 1, now)

    def failed(self, turn_id: str, now: Seconds, *, charged: bool = True) -> None:
        """It failed otherwise: it counts as a request, and as its tokens unless the server did nothing for it."""
        turn = self._end(turn_id, now)
        if turn is not None and turn.slot is not None and not charged:
            self._window.change(turn.slot, -turn.tokens, 0)

    def give_back(self, turn_id: str, now: Seconds) -> None:
        """It was never sent: nothing of it remains. Unknown: nothing happens."""
        turn = self._open.get(turn_id)
        if turn is None:
            return
        if turn.state == "waiting":
            turn.state = "over"
            self._queue.withdraw(turn)
            del self._open[turn_id]
            self._changed()
            return
        self._end(turn_id, now)
        if turn.slot is not None:
            self._window.give_back(turn.slot, turn.tokens)
            self._pace.gave_back(turn.tokens)
            self._look_at = -math.inf

    def push_back(self, seconds: Seconds, now: Seconds) -> None:
        """Let nothing go for `seconds` (at most `MAX_PUSH_BACK`): those that wait keep their order."""
        self._paused_until = max(self._paused_until, now + min(max(0.0, seconds), MAX_PUSH_BACK))
        self._look_at = -math.inf

    def refuse_waiting(self, error: Exception) -> Sequence[Turn]:
        """Nobody waits any more: all get `error`, each its own copy would say no more."""
        refused = list(self._queue)
        for turn in refused:
            self._queue.withdraw(turn)
            self._refuse(turn, error)
        return refused

    def spent(self, tokens: int, at: Seconds, requests: int = 1) -> None:
        """Something was spent before this bucket was there. In order of `at`, before anything else."""
        self._window.add(at, tokens, requests)

    def statistics(self, now: Seconds) -> BucketStatistics:
        """What the last minute holds and who waits."""
        self._window.forget(now)
        window, limit = self._window, self._concurrency.limit
        return BucketStatistics(
            requests=window.requests,
            tokens=window.estimates if self._estimated(now) else window.tokens,
            waiting=len(self._queue),
            unsettled=self._in_flight,
            paused_for=max(0.0, self._paused_until - now),
            max_unsettled=None if limit == math.inf else int(limit),
            burst=self._pace.burst,
            share=self._lessons.share(now),
            blocked=self._blocked,
        )

    # ------------------------------------------------------------ the laws
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
        if now - view.heard_at >= WINDOW or turn.tokens > self._tpm:
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
        window, estimated = self._window, self._estimated(now)
        held, wanted = window.estimates, tokens_ahead + turn.tokens
        if not estimated:
            held, wanted = window.tokens, int(wanted * self._ratio)
        at = max(self._pace.after(ahead + 1, now), self._paused_until)
        if window.requests + ahead + 1 > self._rpm:
            at = max(at, window.room_for(ahead + 1, window.requests, self._rpm, now))
        if held + wanted > self._tpm:
            at = max(at, window.room_for(wanted, held, self._tpm, now))
        return at

    # ------------------------------------------------------------ the books
    def _cost(self, turn: Turn) -> float:
        return max(1.0 / self._rpm, turn.tokens / self._tpm)

    def _grant(self, turn: Turn, now: Seconds) -> None:
        turn.state, turn.at = "granted", now
        turn.slot = self._window.add(now, turn.tokens)
        self._pace.took(turn.tokens, now)
        self._in_flight += 1

    def _refuse(self, turn: Turn, error: Exception) -> None:
        turn.state, turn.error = "refused", error
        self._open.pop(turn.id, None)

    def _end(self, turn_id: str, now: Seconds) -> Turn | None:
        """A turn that was granted is over; None if there is none."""
        turn = self._open.get(turn_id)
        if turn is None or turn.state != "granted":
            return None
        self._window.forget(now)
        turn.state = "over"
        del self._open[turn_id]
        self._in_flight -= 1
        self._changed()
        return turn

    def _changed(self) -> None:
        """What is known of when to look again holds no more, unless it is a matter of time alone."""
        if self._blocked not in _TIMED:
            self._look_at = -math.inf

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
            self._look_at = -math.inf
