"""The rate limiter: one actor that says when the next call to a model may go.

A lease names an instant. Nobody waits inside the limiter: the caller sleeps until its instant and asks once more,
because a server's Retry-After may have moved everybody meanwhile. Leases are named by the caller, so that one whose
answer never arrived (the caller was cancelled, the limiter crashed) can still be given back.

The arithmetic is `TokenBucket`; it is handed in, so that what was spent outlives a crash of this actor.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import attrs
import trio

from trouper.runtime import (
    Actor,
    ActorCrashed,
    ActorError,
    Ask,
    BadRequest,
    BucketStatistics,
    BudgetExceeded,
    Lease,
    MailboxFull,
    ModelUnavailable,
    OnCancel,
    RateLimited,
    Ref,
    Seconds,
    Tell,
    TokenBucket,
    handler,
)

log: logging.Logger = logging.getLogger("trouper.limiter")

TRIES = 3
"""How often a caller asks a limiter that crashes with the question in hand."""

GIVE_BACK_BOUND: Seconds = 1.0
"""How long a cancelled caller waits for room in the limiter's mailbox; then its lease expires by itself."""


@attrs.frozen(kw_only=True)
class Acquire(Ask[Lease]):
    """Reserve one request of `tokens` tokens under the name `lease_id`; the same name again reserves once.

    `model` says for which model, for logs; all models share one budget today.
    """

    lease_id: str
    tokens: int
    model: str = ""


@attrs.frozen
class Confirm(Ask[Lease]):
    """The lease as it stands now. Ask at its instant: a push back may have moved it further away."""

    lease_id: str


@attrs.frozen
class Settle(Tell):
    """The request used so many tokens."""

    lease_id: str
    used_tokens: int


@attrs.frozen
class GiveBack(Tell):
    """The request was never sent; an unknown lease changes nothing."""

    lease_id: str


@attrs.frozen
class PushBack(Tell):
    """A server wishes us to wait so many seconds: nothing goes before that, whoever it belongs to."""

    seconds: Seconds


@attrs.frozen
class GetLimiterStatistics(Ask["LimiterStatistics"]):
    """What the limiter has done and holds."""


@attrs.frozen(kw_only=True)
class LimiterStatistics:
    """Counters of this incarnation, and the window as the bucket has it (`None` when limiting is off)."""

    acquired: int = 0
    settled: int = 0
    given_back: int = 0
    push_backs: int = 0
    refused: int = 0
    bucket: BucketStatistics | None = None


class Limiter(Actor):
    """Answers `Acquire` under the limits of `bucket`; without one every lease may go at once.

    Build the bucket outside and hand the same one to every incarnation:
    `bucket = TokenBucket(Limits(rpm=...)); ChildSpec(id="limiter", start=functools.partial(Limiter, bucket))`.
    Its methods are complete when they return, so a crash between two of them leaves it whole.
    """

    def __init__(self, bucket: TokenBucket | None, *, now: Callable[[], Seconds] = trio.current_time) -> None:
        self._bucket = bucket
        self._now = now
        self._counts = LimiterStatistics()

    @handler(on_cancel=OnCancel.FINISH, raises=(BudgetExceeded,))
    async def acquire(self, message: Acquire) -> Lease:
        """Reserve at the earliest instant that the limits allow; never waits for it.

        Raises:
            BudgetExceeded: the request alone is larger than a minute allows; nothing was reserved.
        """
        now = self._now()
        if self._bucket is None:
            self._count("acquired")
            return Lease(message.lease_id, now, message.tokens)
        try:
            lease = self._bucket.reserve(message.lease_id, message.tokens, now)
        except BudgetExceeded:
            self._count("refused")
            raise
        self._count("acquired")
        return lease

    @handler(on_cancel=OnCancel.FINISH)
    async def confirm(self, message: Confirm) -> Lease:
        """The lease as it stands; one that is over, or of no bucket, may go now."""
        try:
            if self._bucket is not None:
                return self._bucket.lease(message.lease_id)
        except KeyError:
            log.debug("[LIMITER] lease %s is over", message.lease_id)
        return Lease(message.lease_id, self._now(), 0)

    @handler
    async def settle(self, message: Settle) -> None:
        """Charge what was used."""
        self._count("settled")
        if self._bucket is not None:
            self._bucket.settle(message.lease_id, message.used_tokens, self._now())

    @handler
    async def give_back(self, message: GiveBack) -> None:
        """Undo a reservation whose request was never sent."""
        self._count("given_back")
        if self._bucket is not None:
            self._bucket.give_back(message.lease_id, self._now())

    @handler
    async def push_back(self, message: PushBack) -> None:
        """Let nothing go for a while."""
        self._count("push_backs")
        log.warning("[LIMITER] the server wants a pause of %.3g s", message.seconds)
        if self._bucket is not None:
            self._bucket.retry_after(message.seconds, self._now())

    @handler(on_cancel=OnCancel.FINISH)
    async def statistics(self, _: GetLimiterStatistics) -> LimiterStatistics:
        """Counters and the state of the window."""
        bucket = self._bucket.statistics(self._now()) if self._bucket is not None else None
        return attrs.evolve(self._counts, bucket=bucket)

    def _count(self, what: str) -> None:
        self._counts = attrs.evolve(self._counts, **{what: getattr(self._counts, what) + 1})


# ---------------------------------------------------------------- the caller's side
async def take_lease(
    limiter: Ref[Actor], lease_id: str, tokens: int, *, model: str = "", deadline: Seconds = math.inf
) -> Lease:
    """Reserve one request and wait for its instant. Returns when the request may be sent; settle it afterwards.

    Cancelled: the reservation is given back; nothing of it remains.

    Raises:
        BadRequest: the request alone is larger than the limits allow in a minute.
        RateLimited: its instant lies after `deadline` (trio's clock), so waiting would be in vain.
        ModelUnavailable: the limiter does not answer.
    """
    try:
        lease = await _ask(limiter, Acquire(lease_id=lease_id, tokens=tokens, model=model))
        while (wait := lease.at - trio.current_time()) > 0:
            if lease.at > deadline:
                raise _too_late(wait, deadline)
            await trio.sleep(wait)
            lease = await _ask(limiter, Confirm(lease_id))
    except BudgetExceeded as error:
        raise BadRequest(str(error)) from error
    except BaseException:
        await give_back(limiter, lease_id)
        raise
    return lease


async def _ask(limiter: Ref[Actor], message: Acquire | Confirm) -> Lease:
    for last in (False,) * (TRIES - 1) + (True,):
        try:
            return await limiter.ask(message)
        except ActorCrashed as error:  # the same lease again reserves once, whatever the crash left behind
            if last:
                raise _no_limiter(limiter, error) from error
        except ActorError as error:
            raise _no_limiter(limiter, error) from error
    raise AssertionError("unreachable: the last try returns or raises")


def _no_limiter(limiter: Ref[Actor], error: ActorError) -> ModelUnavailable:
    return ModelUnavailable(f"no call to a model can be made: the rate limiter {limiter.name!r} says {error}")


def _too_late(wait: Seconds, deadline: Seconds) -> RateLimited:
    left = deadline - trio.current_time()
    error = RateLimited(
        f"the rate limits let this call go in {wait:.3g} s, but it must be answered within {left:.3g} s. "
        "Allow more time, ask for less at once, or raise performance.rate_limiting.",
        retry_after=wait,
    )
    error.retryable = False  # within this deadline it cannot be otherwise
    return error


async def give_back(limiter: Ref[Actor], lease_id: str) -> None:
    """Give a lease back for a caller that is being cancelled: sent at once, without a checkpoint, if there is room.

    With a full mailbox it waits for room, shielded and bounded; a lease that could not be given back stays charged
    until its minute is over.
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
