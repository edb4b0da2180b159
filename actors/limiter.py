"""The rate limiter: one actor that says when the next call to a model may go.

Callers ask for a lease and sleep in their own task until it is granted; nobody waits inside the limiter, which is
roused by its own timer, by who asks, and by reports that somebody waits for. What it does each time is the same: read
the tray, serve what may go, wake who was served, set the timer.

The arithmetic is `RateBooks` and its buckets; they are handed in, so that what was spent, who waits and what nobody
has read yet outlive a crash of this actor. `SpendLog` makes the minute that was spent outlive the process.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping

import attrs
import trio

from trouper.runtime import (
    Actor,
    Ask,
    BucketStatistics,
    BudgetExceeded,
    Event,
    ExitKind,
    ExitReason,
    ModelUnavailable,
    OnCancel,
    RateBooks,
    RateLine,
    Report,
    Seconds,
    Timer,
    TokenBucket,
    Turn,
    handler,
)

from .leasing import (
    Acquire,
    GiveBack,
    PushBack,
    ReadTray,
    Settle,
    forget_tray,
    give_back,
    take_lease,
    tell_limiter,
    wake,
)
from .protocols import SpendLog, Spent

__all__ = [
    "Acquire",
    "GetLimiterStatistics",
    "GiveBack",
    "LimitHit",
    "Limiter",
    "LimiterStatistics",
    "PushBack",
    "Settle",
    "give_back",
    "take_lease",
    "tell_limiter",
]

log: logging.Logger = logging.getLogger("trouper.limiter")

BREATH: Seconds = 0.002
"""Waking up for each request by itself would cost more than the request; what is due within this time goes together."""

QUIET: Seconds = 1.0
"""A whole burst may be declined; refusals within this time of the last are said for those who look for them."""


@attrs.frozen
class GetLimiterStatistics(Ask["LimiterStatistics"]):
    """What the limiter has done and holds."""


@attrs.frozen(kw_only=True)
class LimiterStatistics:
    """Counters of this incarnation, and the windows: `bucket` all scopes together (None when limiting is off)."""

    acquired: int = 0
    settled: int = 0
    given_back: int = 0
    push_backs: int = 0
    refused: int = 0
    failed: int = 0
    bucket: BucketStatistics | None = None
    scopes: Mapping[str, BucketStatistics] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class LimitHit(Event):
    """A server declined a call because of its limits, or was overloaded by it; `state` is what comes of it."""

    scope: str
    declined: bool
    state: BucketStatistics


class Limiter(Actor):
    """Answers `Acquire` under the limits of `books`; without any every lease is granted at once.

    Build the books outside and hand the same ones to every incarnation:
    `books = RateBooks(Limits(rpm=..., tpm=...)); ChildSpec(id="limiter", start=functools.partial(Limiter, books))`.
    A `TokenBucket` stands for books with its limits; it is the one of calls that name no scope.

    Args:
        books: The limits, and what was spent.
        spend: Where what was spent is written down, so that a new process knows it.
        now: The clock of the books.
    """

    def __init__(
        self,
        books: RateBooks | TokenBucket | None,
        *,
        spend: SpendLog | None = None,
        now: Callable[[], Seconds] = trio.current_time,
    ) -> None:
        self._books = RateBooks.around(books) if isinstance(books, TokenBucket) else books
        self._spend = spend
        self._now = now
        self._acquired = self._settled = self._given_back = self._push_backs = self._refused = self._failed = 0
        self._due: dict[str, Seconds] = {}
        """The scopes in which somebody waits, and when to look there again."""
        self._hopeful: set[str] = set()
        """Those of them where a report may let somebody go sooner."""
        self._timer: Timer | None = None
        self._timer_at: Seconds = math.inf
        self._said_at: Seconds = -math.inf

    async def on_start(self) -> None:
        """Take over from the last incarnation, or from the last process."""
        if self._books is None:
            return
        now = self._now()
        if self._spend is not None and not self._books.remembers:
            self._remember(self._spend.load(), now)
            self._books.remembers = True
        wake(turn for turn in self._books.turns() if turn.state == "granted")
        self._work(now, everything=True)

    async def on_stop(self, reason: ExitReason) -> None:
        """Whoever waits is told that nobody will serve it; after a crash the next incarnation does."""
        if self._books is None:
            return
        self._books.tray.close()
        forget_tray(self._books.tray)
        if reason.kind is ExitKind.CRASHED:
            return
        self._read_tray(self._now())
        error = ModelUnavailable("it has stopped")
        for _, bucket in self._books.buckets():
            wake(bucket.refuse_waiting(error))

    # ------------------------------------------------------------ messages
    @handler(inline=True, raises=(BudgetExceeded,))
    def acquire(self, message: Acquire) -> Turn:
        """Grant at once if the limits allow it, else put it into the queue.

        Raises:
            BudgetExceeded: the request alone is larger than a minute allows; nothing was reserved.
        """
        now, scope = self._now(), message.scope
        bucket = None if self._books is None else self._books.bucket(scope, now)
        if self._books is None or bucket is None:
            self._acquired += 1
            priority, deadline = message.priority, message.deadline
            return Turn(message.lease_id, message.tokens, priority, now, deadline, now, scope, state="granted")
        read = bool(self._books.tray.entries) and self._read_tray(now)
        try:
            turn = bucket.ask(
                message.lease_id, message.tokens, now, priority=message.priority, deadline=message.deadline
            )
        except BudgetExceeded:
            self._refused += 1
            if read:
                self._work(now, everything=True)
            raise
        self._acquired += 1
        turn.scope, turn.tray = scope, self._books.tray
        if not self._due:  # nobody waits but this one
            self._serve(scope, bucket, now)
            if self._due:
                self._set_timer(now)
        elif read:
            self._work(now, everything=True)
        elif scope not in self._due or bucket.is_next(turn):
            self._serve(scope, bucket, now)
            self._set_timer(now)
        else:
            line = self._books.tray.lines[scope]
            if line.places <= 0:  # as many as might have come in between
                bucket.show(line, now, self._due[scope])
        return turn

    @handler
    async def read_tray(self, _: ReadTray) -> None:
        """Something came back that somebody waits for."""
        self._work(self._now())

    @handler
    async def settle(self, message: Settle) -> None:
        """Charge what was used."""
        self._told(Report(message.lease_id, "settled", message.used_tokens, message.limits))

    @handler
    async def give_back(self, message: GiveBack) -> None:
        """Undo a reservation whose request was never sent."""
        self._told(Report(message.lease_id, "given_back"))

    @handler
    async def push_back(self, message: PushBack) -> None:
        """Let nothing go for a while."""
        self._push_backs += 1
        log.warning("[LIMITER] the server wants a pause of %.3g s", message.seconds)
        if self._books is not None:
            now = self._now()
            for scope, bucket in self._books.buckets():
                if message.scope is None or scope == message.scope:
                    bucket.push_back(message.seconds, now)
            self._work(now, everything=True)

    @handler(on_cancel=OnCancel.FINISH)
    async def statistics(self, _: GetLimiterStatistics) -> LimiterStatistics:
        """Counters and the state of the windows."""
        now = self._now()
        self._work(now)
        scopes = {} if self._books is None else self._books.statistics(now)
        return LimiterStatistics(
            acquired=self._acquired,
            settled=self._settled,
            given_back=self._given_back,
            push_backs=self._push_backs,
            refused=self._refused,
            failed=self._failed,
            bucket=None if self._books is None else self._books.total(now),
            scopes=scopes,
        )

    # ------------------------------------------------------------ the work
    def _told(self, report: Report) -> None:
        if self._books is None:
            self._count(report)
            return
        self._books.tray.entries.append(report)
        self._work(self._now(), everything=True)

    def _work(self, now: Seconds, *, everything: bool = False) -> None:
        """Read the tray, serve every scope in which somebody may go, set the timer."""
        if self._books is None:
            return
        if self._read_tray(now) or everything:
            for scope, bucket in self._books.buckets():
                if bucket.waiting or scope in self._due:
                    self._serve(scope, bucket, now)
        else:
            for scope in [scope for scope, at in self._due.items() if at <= now]:
                due = self._books.bucket(scope, now)
                if due is not None:
                    self._serve(scope, due, now)
        self._set_timer(now)

    def _read_tray(self, now: Seconds) -> bool:
        """Whether there was a report: those who have only joined a line are behind others."""
        books = self._books
        if books is None:
            return False
        books.tray.roused = False
        entries, reports = books.tray.entries, False
        scope: str | None = None
        bucket: TokenBucket | None = None
        while entries:
            entry = entries.popleft()
            if entry.scope != scope or bucket is None:
                scope = entry.scope
                bucket = books.known(scope)
            if isinstance(entry, Turn):
                self._join(entry, bucket or books.bucket(entry.scope, now), now)
                continue
            reports = True
            if bucket is not None and entry.fate == "settled":
                self._settled += 1
                bucket.settle(entry.turn_id, entry.used_tokens, now, entry.limits, entry.at)
                continue
            self._count(entry)
            where = books.report(entry, now)
            if where is not None and entry.fate in {"declined", "overloaded"}:
                self._tell(where, entry, now)
        return reports

    def _join(self, turn: Turn, bucket: TokenBucket | None, now: Seconds) -> None:
        self._acquired += 1
        if bucket is None:  # there were limits when it came
            turn.state = "granted"
        else:
            bucket.join(turn, now)
        if turn.state != "waiting":
            wake((turn,))

    def _serve(self, scope: str, bucket: TokenBucket, now: Seconds) -> None:
        """Let go who may, and say for those who come how it stands."""
        served = bucket.serve(now)
        if served:
            if self._spend is not None:
                granted = [turn.tokens for turn in served if turn.state == "granted"]
                self._spend.note((Spent(scope=scope, requests=len(granted), tokens=sum(granted)),))
            self._refused += sum(turn.state == "refused" for turn in served)
            wake(served)
        lines = self._books.tray.lines if self._books is not None else {}
        line = lines.get(scope)
        if not bucket.waiting:
            self._due.pop(scope, None)
            self._hopeful.discard(scope)
            if line is not None:
                line.places = 0
            return
        self._due[scope] = at = bucket.look_at(now)
        if bucket.timed:
            self._hopeful.discard(scope)
        else:
            self._hopeful.add(scope)
        if line is None:
            line = lines[scope] = RateLine()
        bucket.show(line, now, at)

    def _set_timer(self, now: Seconds) -> None:
        assert self._books is not None  # noqa: S101 - whoever serves has books
        tray = self._books.tray
        tray.wanted, tray.hopeful = bool(self._due), bool(self._hopeful)
        at = min(self._due.values(), default=math.inf)
        if at == self._timer_at and at > now:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, at
        if at != math.inf:
            self._timer = self.ctx.send_after(max(BREATH, at - now), ReadTray())

    def _count(self, report: Report) -> None:
        if report.fate == "settled":
            self._settled += 1
        elif report.fate == "given_back":
            self._given_back += 1
        else:
            self._failed += 1

    def _tell(self, scope: str, report: Report, now: Seconds) -> None:
        """What an operator would want to know at night: who declined what, and what comes of it."""
        assert self._books is not None  # noqa: S101 - whoever reads the tray has books
        bucket = self._books.bucket(scope, now)
        if bucket is None:
            return
        state = bucket.statistics(now)
        again, self._said_at = now < self._said_at + QUIET, now
        log.log(
            logging.DEBUG if again else logging.WARNING,
            "[LIMITER] %s %s a call: a pause of %.3g s, %d at once, %.0f %% of the limits, calls under way: %s",
            scope or "the server",
            "declined" if report.fate == "declined" else "had no answer for",
            state.paused_for,
            state.burst,
            100 * state.share,
            "as many as like" if state.max_unsettled is None else f"at most {state.max_unsettled}",
        )
        if self.ctx.listening:
            declined = report.fate == "declined"
            self.ctx.emit(LimitHit(at=now, actor=self.ctx.name, scope=scope, declined=declined, state=state))

    def _remember(self, spends: Iterable[Spent], now: Seconds) -> None:
        assert self._books is not None  # noqa: S101 - see on_start
        for spend in sorted(spends, key=lambda spend: -spend.age):
            bucket = self._books.bucket(spend.scope, now)
            if bucket is not None:
                bucket.spent(spend.tokens, now - max(0.0, spend.age), spend.requests)
