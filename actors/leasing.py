"""Taking leave for one request to a model: the caller's side of the limiter.

    lease = await take_lease(limiter, "call-17", estimate, scope="gpt-4o@3f2a", deadline=self.ctx.deadline)
    with lease:
        reply = await model.complete(request)        # an `LLMError` that leaves the block is reported as it is
        lease.settle(reply.usage.total_tokens, reply.limits)

A lease is reported on exactly once, and everything that does so is plain and at once: it can be done while the caller
is being cancelled, it cannot fail, and it does not depend on room in the limiter's mailbox, because each lease has its
place in the limiter's tray from the beginning. The first report counts, further ones change nothing.

Leases are named by the caller, so that one whose answer never arrived (the caller was cancelled, the limiter crashed)
can still be given back, and asking again reserves once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import attrs
import trio

from trouper.runtime import (
    Actor,
    ActorCrashed,
    ActorError,
    Ask,
    AuthFailed,
    BadRequest,
    BudgetExceeded,
    LLMError,
    MailboxFull,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    RateTray,
    Ref,
    Report,
    Seconds,
    ServerLimits,
    Tell,
    Turn,
    maker,
)

from .protocols import Priority

log: logging.Logger = logging.getLogger("trouper.limiter")

TRIES = 3
"""How often a caller asks a limiter that crashes with the question in hand."""

GIVE_BACK_BOUND: Seconds = 1.0
"""How long a caller that was cancelled with the question on its way waits for room in the limiter's mailbox."""

MOST_TRAYS = 64
"""Of so many limiters the trays are known at once."""

_trays: dict[Ref[Actor], RateTray] = {}
"""By their first answers, until they stop: who knows the tray can stand in line without asking."""

PAUSING: frozenset[str] = frozenset({"declined", "overloaded"})
"""After these nothing goes for a while."""

OVERLOADED = frozenset({500, 502, 503, 504, 529})
"""By which a server says that it cannot cope."""


# ---------------------------------------------------------------- what is said to the limiter
@attrs.frozen(kw_only=True, weakref_slot=False)
class Acquire(Ask[Turn]):
    """Reserve one request of `tokens` tokens under the name `lease_id`; the same name again reserves once.

    `scope` is what the provider counts by itself, a model under a key. `deadline` is the latest instant (trio's clock)
    at which it is of use.
    """

    lease_id: str
    tokens: int
    scope: str = ""
    priority: Priority = "interactive"
    deadline: Seconds = math.inf


_acquire = maker(Acquire, "lease_id", "tokens", "scope", "priority", "deadline")


@attrs.frozen
class Settle(Tell):
    """The request used so many tokens (None: nobody said)."""

    lease_id: str
    used_tokens: int | None
    limits: ServerLimits | None = None


@attrs.frozen
class GiveBack(Tell):
    """The request was never sent; an unknown lease changes nothing."""

    lease_id: str


@attrs.frozen
class PushBack(Tell):
    """A server wishes us to wait so many seconds: nothing of that scope goes before (None: of any)."""

    seconds: Seconds
    scope: str | None = None


@attrs.frozen
class ReadTray(Tell):
    """There are reports in the tray, and somebody may go by them."""


# ---------------------------------------------------------------- the lease
_settled = maker(Report, "turn_id", "fate", "used_tokens", "limits", "scope")


class Lease:
    """Leave for one request of `tokens` tokens, granted at the instant `at`. Only `take_lease` makes one.

    Exactly one of `settle`, `failed` and `give_back` ends it. As a context manager it sees to that: an `LLMError` that
    leaves the block is `failed`, everything else that ends it unreported is `settle(None)`, so the estimate stands.
    """

    __slots__ = ("_limiter", "_reported", "_turn", "scope")

    def __init__(self, limiter: Ref[Actor], turn: Turn, scope: str) -> None:
        self._limiter = limiter
        self._turn = turn
        self._reported = False
        self.scope: str = scope

    def __repr__(self) -> str:
        return f"<Lease {self.id!r} of {self.tokens} tokens{', over' if self._reported else ''}>"

    @property
    def id(self) -> str:
        """The name that the caller gave it."""
        return self._turn.id

    @property
    def tokens(self) -> int:
        """What was reserved."""
        return self._turn.tokens

    @property
    def at(self) -> Seconds:
        """When it was granted (trio's clock)."""
        return self._turn.at

    def settle(self, used_tokens: int | None, limits: ServerLimits | None = None) -> None:
        """The request was answered, and used so many tokens. None: nobody counted, so the estimate stands.

        Also for a request that was broken off after it was sent, because the server may have done all of its work.
        `limits` is what the answer's headers said.
        """
        turn = self._turn
        tray = turn.tray
        if self._reported or tray is None:
            return
        self._reported = True
        if limits is None:
            tray.entries.append(_settled(turn.id, "settled", used_tokens, None, turn.scope))
        else:  # what they say is of now, and may be read much later
            told = Report(turn.id, "settled", used_tokens, limits, scope=turn.scope, at=trio.current_time())
            tray.entries.append(told)
        if tray.hopeful and not tray.roused:
            self._rouse(tray)

    def failed(self, error: LLMError) -> None:
        """The request failed.

        A 429 holds back every caller of the scope for as long as the server says; time-outs and 503s lower the number
        of calls under way; what was refused before it was worked on is not charged as tokens.
        """
        self._report(_fate_of(self._turn, error))

    def give_back(self) -> None:
        """The request was never sent: nothing of it remains."""
        self._report(Report(self._turn.id, "given_back", scope=self._turn.scope))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._reported:
            return
        if isinstance(error, LLMError):
            self.failed(error)
        else:
            self.settle(None)

    def _report(self, report: Report) -> None:
        tray = self._turn.tray
        if self._reported or tray is None:
            return
        self._reported = True
        tray.entries.append(report)
        # A pause begins when the server asks for it, not when somebody looks: that may be at the end of it.
        if (tray.wanted or report.fate in PAUSING) and not tray.roused:
            self._rouse(tray)

    def _rouse(self, tray: RateTray) -> None:
        try:
            self._limiter.tell_nowait(ReadTray())
            tray.roused = True
        except ActorError as error:  # full: whoever fills it has the tray read; stopped: nobody waits any more
            log.debug("[LIMITER] not roused: %s", error)


def _fate_of(turn: Turn, error: LLMError) -> Report:
    name, scope = turn.id, turn.scope
    if isinstance(error, RateLimited) and error.status is not None:
        return Report(name, "declined", None, error.limits, error.retry_after, scope=scope)
    if isinstance(error, ModelTimeout) or (isinstance(error, ModelUnavailable) and error.status in OVERLOADED):
        return Report(name, "overloaded", None, error.limits, error.retry_after, scope=scope)
    worked_on = not isinstance(error, AuthFailed | BadRequest)
    return Report(name, "failed", limits=error.limits, charged=worked_on, scope=scope)


# ---------------------------------------------------------------- taking one
async def take_lease(
    limiter: Ref[Actor],
    lease_id: str,
    tokens: int,
    *,
    scope: str = "",
    priority: Priority = "interactive",
    deadline: Seconds = math.inf,
) -> Lease:
    """Reserve one request and wait for its turn. Returns when the request may be sent; report on the lease afterwards.

    Cancelled: the reservation is given back; nothing of it remains.

    Raises:
        BadRequest: the request alone is larger than the limits allow in a minute.
        RateLimited: its turn does not come by `deadline` (trio's clock), so waiting would be, or was, in vain.
        ModelUnavailable: the limiter does not answer.
    """
    turn: Turn | None = None
    tray = _trays.get(limiter)
    try:
        if tray is not None:
            turn = tray.join(lease_id, tokens, trio.current_time(), scope, priority, deadline)
        if turn is None:
            question = _acquire(lease_id, tokens, scope, priority, deadline)
            try:
                turn = await limiter.ask(question)
            except ActorError as error:
                turn = await _ask_again(limiter, question, error)
            if turn.tray is not None and turn.tray is not tray:
                _remember(limiter, turn.tray)
        if turn.state == "waiting":
            if turn.at > deadline:
                raise _too_late(turn)
            # Trio's own trap, as the kernel's asks use it, and nothing made for it: with ten thousand callers asleep
            # whatever each of them holds is walked through by the garbage collector again and again.
            turn.waiter = task = trio.lowlevel.current_task()
            task.custom_sleep_data = turn
            await trio.lowlevel.wait_task_rescheduled(_give_up)  # the limiter sees to the deadline
        if turn.state == "refused":
            raise _refusal(limiter, turn)
    except BudgetExceeded as error:
        raise BadRequest(str(error)) from error
    except BaseException:
        if turn is None:
            await give_back(limiter, lease_id)
        else:
            Lease(limiter, turn, scope).give_back()
        raise
    return Lease(limiter, turn, scope)


def _give_up(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


def wake(turns: Iterable[Turn]) -> None:
    """Let the callers go on that sleep for these turns. For the limiter.

    One that was cancelled does not sleep any more: trio takes what it slept for out of its task when it wakes it.
    """
    reschedule = trio.lowlevel.reschedule
    for turn in turns:
        task, turn.waiter = turn.waiter, None
        if task is not None and task.custom_sleep_data is turn:
            reschedule(task)


def _remember(limiter: Ref[Actor], tray: RateTray) -> None:
    if len(_trays) >= MOST_TRAYS:  # those of limiters that were killed
        _trays.clear()
    _trays[limiter] = tray


def forget_tray(tray: RateTray) -> None:
    """Its limiter stops: whoever comes asks, and is told so."""
    for ref, known in tuple(_trays.items()):
        if known is tray:
            _trays.pop(ref, None)


async def _ask_again(limiter: Ref[Actor], message: Acquire, error: ActorError) -> Turn:
    """The same lease again reserves once, whatever a crash left behind."""
    for _ in range(TRIES - 1):
        if not isinstance(error, ActorCrashed):
            break
        try:
            return await limiter.ask(message)
        except ActorError as another:
            error = another
    raise _no_limiter(limiter, error) from error


def _no_limiter(limiter: Ref[Actor], error: Exception) -> ModelUnavailable:
    return ModelUnavailable(f"no call to a model can be made: the rate limiter {limiter.name!r} says {error}")


def _refusal(limiter: Ref[Actor], turn: Turn) -> Exception:
    error = turn.error
    if isinstance(error, BudgetExceeded):
        return BadRequest(str(error))
    if isinstance(error, RateLimited):
        return _too_late(turn)
    return _no_limiter(limiter, error or RuntimeError("nothing"))


def _too_late(turn: Turn) -> RateLimited:
    now = trio.current_time()
    waited, wait, left = now - turn.asked, max(0.0, turn.at - now), max(0.0, turn.deadline - now)
    said = f"the rate limits let this call go in {wait:.3g} s, but it must be answered within {left:.3g} s"
    if waited > 0:
        said = f"the rate limits have not let this call go within {waited:.3g} s, which was all the time it had"
    error = RateLimited(
        f"{said}. Allow more time, ask for less at once, or raise performance.rate_limiting.", retry_after=wait
    )
    error.retryable = False  # within this deadline it cannot be otherwise
    return error


async def give_back(limiter: Ref[Actor], lease_id: str) -> None:
    """Give back a lease of which only the name is known: the question was on its way when the caller was cancelled.

    Told at once, without a checkpoint, if there is room; with a full mailbox it waits for it, shielded and bounded. A
    lease that could not be given back stays charged until its minute is over.
    """
    try:
        limiter.tell_nowait(GiveBack(lease_id))
    except MailboxFull:
        with trio.move_on_after(GIVE_BACK_BOUND, shield=True):
            await limiter.tell(GiveBack(lease_id))
    except ActorError as error:
        log.debug("[LIMITER] lease %s is not given back: %s", lease_id, error)


def tell_limiter(limiter: Ref[Actor], message: Settle | PushBack) -> None:
    """Tell the limiter what came of a call, now; if it has no room the estimate stands."""
    try:
        limiter.tell_nowait(message)
    except ActorError as error:
        log.warning("[LIMITER] %s was not heard: %s", type(message).__name__, error)
