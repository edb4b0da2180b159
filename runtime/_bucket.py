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

from ._clock import Seconds
from ._errors import RateLimited
from ._rate_laws import TIMED, RateLaws
from ._rate_limits import Limits, too_large
from ._rate_line import GRACE, RateLine
from ._rate_queue import Priority, Turn
from ._rate_reports import Report
from ._rate_statistics import BucketStatistics
from ._server_limits import ServerLimits

MAX_PUSH_BACK: Seconds = 120.0
"""The longest wait that one answer of a server can impose on everybody."""

MOST_OPEN = 10_000
"""So many turns may be open before those are looked for that nobody will report on."""

MOST_USED = 10**12
"""Tokens of one call: a model that says more has lost count."""

FIRST_PAUSE: Seconds = 0.5
"""After a refusal that names no wait; doubled with each further one in a row."""

LONGEST_PAUSE: Seconds = 15.0

FEWEST = 8
"""So many have to wait before others may stand behind them without asking: for fewer it is not worth its cost."""


class TokenBucket(RateLaws):
    """The turns of one scope under `limits`."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._most_open = MOST_OPEN
        self._refusals, self._refused_at = 0, -math.inf

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
        window = self._window
        if window.exit_at <= now:
            window.forget(now)
        turn = Turn(turn_id, tokens, priority, now, deadline, now)
        if (
            self._queue.count
            or self._pace.ready_at > now
            or window.requests >= self._rpm
            or window.estimates + tokens > self._tpm
            or not self._is_plain(now)
        ):
            turn.at = self._forecast(turn, now)
        self._enter(turn, now)
        return turn

    def join(self, turn: Turn, now: Seconds) -> None:
        """Put a turn into the queue that its caller has made: as `ask`, without the checks and the forecast."""
        if turn.id not in self._open:
            self._enter(turn, now)
        else:
            turn.state, turn.error = "refused", RuntimeError(f"two calls share the lease {turn.id!r}")
            turn.tray = None  # a report by that name would be one on the other

    def _enter(self, turn: Turn, now: Seconds) -> None:
        if len(self._open) >= self._most_open:
            self._lost_calls(now)
            self._most_open = max(MOST_OPEN, 2 * len(self._open))
        self._open[turn.id] = turn
        self._queue.add(turn)
        if self._blocked not in TIMED:
            self._look_at = -math.inf

    def serve(self, now: Seconds) -> Sequence[Turn]:
        """Grant whatever may go now, in order; refuse what can never go, or too late. Both are returned."""
        queue = self._queue
        if now < self._look_at and now < queue.deadline and self._blocked in TIMED:
            return ()
        self._look_at = -math.inf
        window, pace = self._window, self._pace
        if window.exit_at <= now:
            window.forget(now)
        served: list[Turn] = []
        if queue.deadline <= now:
            served += queue.expire(now)
            for late in served:
                self._refuse(late, RateLimited("its turn has not come in time"))
        plain, estimated = self._is_plain(now), self._estimated(now)
        while (turn := queue.head()) is not None:
            tokens = turn.tokens
            if not plain or (
                pace.ready_at > now
                or window.requests >= self._rpm
                or (window.estimates if estimated else window.tokens) + tokens > self._tpm
            ):
                at = self._when(turn, now)
                if at > now:
                    self._look_at = at
                    break
            queue.take(turn, now)
            if tokens > self._tpm:
                self._refuse(turn, too_large(tokens, self._tpm, self.limits, self._view.limit_tokens))
            else:
                turn.state, turn.at = "granted", now
                turn.slot = window.add(now, tokens)
                pace.took(tokens, now)
                self._in_flight += 1
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

    def look_at(self, now: Seconds) -> Seconds:
        """`next_at`, or a moment later if many wait: so that some can go together, which costs each of them less."""
        at = self.next_at(now)
        if self._blocked == "pace" and self._queue.count >= FEWEST:
            at = max(at, min(now + self._pace.patience, self._queue.deadline))
        return at

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._queue.count

    @property
    def timed(self) -> bool:
        """Whether only time lets the next one go: no answer that has come makes it sooner."""
        return self._blocked in {"pause", "requests"} or (self._blocked == "pace" and not self._pace.paces_tokens)

    def is_next(self, turn: Turn) -> bool:
        """Whether it is the first of those that wait."""
        return self._queue.head() is turn

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

    def show(self, line: RateLine, now: Seconds, look_at: Seconds) -> None:
        """Say for newcomers how it stands now; `look_at` is when it is served next."""
        queue = self._queue
        line.places = places = queue.count if queue.count >= FEWEST else 0
        if places:
            lanes = queue.lanes
            line.interactive, line.background = lanes["interactive"].waiting > 0, lanes["background"].waiting > 0
            line.tokens = tokens = lanes["interactive"].tokens + lanes["background"].tokens
            line.largest = self._tpm
            line.at = self._reach(places, tokens, now)
            line.until = look_at + GRACE
            line.latest = max(line.until, self._reach(2 * places, 2 * tokens, now))

    # ------------------------------------------------------------ what became of it
    def report(self, report: Report, now: Seconds) -> None:
        """What became of one request. Unknown, or reported on already: nothing happens."""
        turn_id, limits = report.turn_id, report.limits
        if report.fate == "settled":
            self.settle(turn_id, report.used_tokens, now, limits, report.at)
        elif report.fate == "declined":
            self.declined(turn_id, now, retry_after=report.retry_after, limits=limits)
        elif report.fate == "overloaded":
            self.overloaded(turn_id, now, retry_after=report.retry_after)
        elif report.fate == "failed":
            self.failed(turn_id, now, charged=report.charged)
        else:
            self.give_back(turn_id, now)

    def settle(
        self,
        turn_id: str,
        used_tokens: int | None,
        now: Seconds,
        limits: ServerLimits | None = None,
        heard: Seconds | None = None,
    ) -> None:
        """It was answered: charge what it used (None: nobody said, the estimate stands). Unknown: nothing happens.

        `heard` is when `limits` came; None: just now.
        """
        turn = self._end(turn_id, now)
        if turn is None:
            return
        self._refusals = 0
        if self._concurrency.limit != math.inf:
            self._concurrency.answered(self._in_flight + 1)
        if used_tokens is not None and turn.slot is not None:
            tokens = turn.tokens
            used = min(max(0, used_tokens), MOST_USED)
            more = used - tokens
            if more:
                self._window.change(turn.slot, more, max(0, more))
                if more > 0 or not self._estimated(now):
                    self._pace.gave_back(-more, 0)
                    if self._pace.paces_tokens:
                        self._look_at = -math.inf
            if tokens:
                self._ratio += 0.05 * ((used / tokens if more < 0 else 1.0) - self._ratio)
        if limits is not None:
            self._hear(limits, turn, now if heard is None else heard)

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
        self._lessons.refused(turn.at, now, self._pace, self.limits.burst, overcharged=overcharged, pause=retry_after)
        if retry_after is None and self.limits.adaptive_concurrency:
            self._concurrency.overloaded(turn.at, self._in_flight + 1, now)

    def overloaded(self, turn_id: str, now: Seconds, *, retry_after: Seconds | None = None) -> None:
        """It found no answer because the server was too slow or too busy; the estimate stands."""
        turn = self._end(turn_id, now)
        if retry_after is not None:
            self.push_back(retry_after, now)
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
            if self._blocked not in TIMED:
                self._look_at = -math.inf
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
            waiting=self._queue.count,
            unsettled=self._in_flight,
            paused_for=max(0.0, self._paused_until - now),
            max_unsettled=None if limit == math.inf else int(limit),
            burst=self._pace.burst,
            share=self._lessons.share(now),
            blocked=self._blocked,
        )

    def _refuse(self, turn: Turn, error: Exception) -> None:
        turn.state, turn.error = "refused", error
        self._open.pop(turn.id, None)
