"""The one door to any model: a place among the parallel calls, a part of the budget, a lease, the call, its usage.

Nobody else retries. An attempt is one request under one lease; between attempts the door waits, by the server's
Retry-After or by its own seeded backoff, and never past the deadline of the ask. A model that breaks its promise
(raises anything but an `LLMError`) crashes the door, and the supervisor starts it again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from contextlib import AbstractContextManager

import attrs
import trio

from trouper.runtime import (
    Actor,
    Ask,
    Backoff,
    BudgetExceeded,
    Event,
    Ledger,
    LLMError,
    RateLimited,
    Ref,
    Seconds,
    handler,
)

from .limiter import PushBack, Settle, take_lease, tell_limiter
from .model_counts import ModelCounts, TraceCounts, Wait
from .model_spending import ModelSpending, Prices
from .protocols import ChatModel, ChatReply, ChatRequest, Usage
from .tokens import estimate_request

log: logging.Logger = logging.getLogger("trouper.llm")

WAITING = 1024
"""Calls that may wait inside the door; further ones wait in its mailbox."""


@attrs.frozen(kw_only=True)
class Chat(Ask[ChatReply]):
    """Ask a model. With `stream` its text is told as it comes: as `ModelText` events, and into `sink` if given.

    The sink is yours to bound and to close; a full one slows the reading, a closed one is left alone. Once text went
    into it a failed call is not tried again, so what you read is never said twice.
    """

    request: ChatRequest
    stream: bool = False
    sink: trio.MemorySendChannel[str] | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen
class GetUsage(Ask[Usage]):
    """What the models have counted, in all or for the calls of one trace."""

    trace: str | None = None


@attrs.frozen
class GetWaits(Ask[Mapping[Wait, Seconds]]):
    """Seconds that the calls of a trace have waited, by what: `limiter`, `model`, `places`, `backoff`."""

    trace: str


@attrs.frozen
class GetLLMStatistics(Ask["LLMStatistics"]):
    """What the door has done."""


@attrs.frozen(kw_only=True)
class LLMStatistics:
    """Counters since the start, kept over crashes. `usage.calls` are answers; `attempts` were sent."""

    usage: Usage = attrs.field(factory=Usage)
    attempts: int = 0
    retries: int = 0
    rate_limited: int = 0
    failures: int = 0


@attrs.frozen(kw_only=True)
class ModelText(Event):
    """A piece of an answer that is being streamed. A further attempt says it from the beginning."""

    trace: str
    role: str
    attempt: int
    text: str


@attrs.frozen(kw_only=True)
class ModelCalled(Event):
    """An attempt has ended, with usage or with the kind of its error; neither prompt nor answer."""

    trace: str
    role: str
    model: str
    attempt: int
    seconds: Seconds
    usage: Usage | None = None
    error: str | None = None


@attrs.frozen
class _State:
    """What outlives a crash."""

    statistics: LLMStatistics
    by_trace: tuple[tuple[str, TraceCounts], ...]


class LLMDoor(Actor):
    """Answers `Chat`.

    Args:
        model: The port behind the door; whoever made it closes it.
        limiter: Where leases come from: a ref, or the id of a peer.
        max_parallel: Calls in progress at once; further ones wait, first come first served.
        max_retries: Attempts after the first.
        max_tokens: For requests that set none.
        backoff: The wait before another attempt where the server names none.
        seed: Makes the jitter of that wait repeatable.
        prices: What its tokens cost.

    A `Ledger` that came with the message under the name `budget` pays for each attempt.
    """

    def __init__(
        self,
        model: ChatModel,
        limiter: Ref[Actor] | str = "limiter",
        *,
        max_parallel: int = 3,
        max_retries: int = 2,
        max_tokens: int | None = None,
        backoff: Backoff | None = None,
        seed: int | None = None,
        prices: Prices | None = None,
    ) -> None:
        self._model = model
        self._limiter_id = limiter
        self._places = trio.Semaphore(max_parallel, max_value=max_parallel)
        self._max_retries = max_retries
        self._max_tokens = max_tokens
        self._backoff = backoff if backoff is not None else Backoff(min=0.5, max=8.0, jitter=0.5)
        self._random = random.Random(seed)  # noqa: S311 - jitter, not secrets
        self._statistics = LLMStatistics()
        self._prices = prices if prices is not None else Prices()
        self._by_trace = ModelCounts()
        self._leases = 0

    async def on_start(self) -> None:
        """Find the limiter."""
        limiter = self._limiter_id
        self._limiter = self.ctx.peer(limiter) if isinstance(limiter, str) else limiter

    def snapshot(self) -> _State:
        """The counters, for the next incarnation."""
        return _State(self._statistics, self._by_trace.kept())

    def restore(self, state: _State) -> None:
        """Go on counting."""
        self._statistics = state.statistics
        self._by_trace = ModelCounts(state.by_trace)

    @handler(concurrent=WAITING, raises=(LLMError, BudgetExceeded))
    async def chat(self, message: Chat) -> ChatReply:
        """Ask the model, as often as `max_retries`, the budget and the deadline allow.

        Cancelled: a call that waits gives its lease back, one in progress closes its connection and stays charged.

        Raises:
            LLMError: the last attempt's, with a note saying how many there were.
            BudgetExceeded: the budget of the run does not allow this attempt; it was not sent.
        """
        if message.request.max_tokens is None and self._max_tokens is not None:
            message = attrs.evolve(message, request=attrs.evolve(message.request, max_tokens=self._max_tokens))
        call, before = _Call(message, 1), None
        while True:
            try:
                return await self._in_its_place(call)
            except BudgetExceeded as error:
                raise error from before
            except LLMError as error:
                wait = self._wait_after(error, call)
                if wait is None:
                    self._add(failures=1)
                    if call.number > 1:
                        error.add_note(f"This was attempt {call.number}.")
                    raise
                log.info("[LLM] attempt %d failed (%s), another in %.3g s", call.number, error.kind, wait)
                with self._waiting("backoff"):
                    await trio.sleep(wait)
                before = error
            call = _Call(message, call.number + 1)
            self._add(retries=1)

    @handler(concurrent=64)
    async def usage(self, message: GetUsage) -> Usage:
        """Tokens and calls so far."""
        if message.trace is None:
            return self._statistics.usage
        return self._by_trace.of(message.trace).usage

    @handler(concurrent=64)
    async def waits(self, message: GetWaits) -> Mapping[Wait, Seconds]:
        """Where the time went."""
        return self._by_trace.of(message.trace).waits

    @handler(concurrent=64)
    async def statistics(self, _: GetLLMStatistics) -> LLMStatistics:
        """Counters so far."""
        return self._statistics

    # ------------------------------------------------------------ one attempt
    async def _in_its_place(self, call: _Call) -> ChatReply:
        """One attempt, in a place among the parallel calls and at the budget's expense."""
        with self._waiting("places"):
            await self._places.acquire()
        try:
            ledger = self.ctx.baggage.get("budget")
            paid = ModelSpending(ledger if isinstance(ledger, Ledger) else None, call.message.request, self._prices)
            with paid:
                return await self._attempt(call, paid)
        finally:
            self._places.release()

    async def _attempt(self, call: _Call, paid: ModelSpending) -> ChatReply:
        """One request under one lease."""
        request = call.message.request
        self._leases += 1
        with self._waiting("limiter"):
            lease = await take_lease(
                self._limiter,
                f"{self.ctx.name}#{self.ctx.incarnation}-{self._leases}",
                estimate_request(request),
                model=request.model or self._model.name,
                deadline=self.ctx.deadline,
            )
        self._add(attempts=1)
        paid.sent()
        began = trio.current_time()
        try:
            with self._waiting("model"):
                reply = await (self._streamed(call) if call.message.stream else self._model.complete(request))
        except LLMError as error:
            self._tell(call, began, error=error.kind)
            if _declined(error):
                self._count(Usage(rate_limited=1))
            raise
        paid.settle(reply)
        if reply.usage.total_tokens:
            tell_limiter(self._limiter, Settle(lease.id, reply.usage.total_tokens))
        usage = attrs.evolve(reply.usage, cost=self._prices.cost(reply.usage))
        self._count(usage)
        self._tell(call, began, usage=usage)
        return attrs.evolve(reply, usage=usage)

    def _waiting(self, what: Wait) -> AbstractContextManager[None]:
        return self._by_trace.waiting(self.ctx.trace, what)

    async def _streamed(self, call: _Call) -> ChatReply:
        reply: ChatReply | None = None
        async with self._model.stream(call.message.request) as chunks:
            async for chunk in chunks:
                if chunk.text:
                    await self._pass_on(call, chunk.text)
                reply = chunk.reply or reply
        if reply is None:
            raise RuntimeError(f"{self._model.name!r} ended a stream without a reply, against the port's contract")
        return reply

    async def _pass_on(self, call: _Call, text: str) -> None:
        if self.ctx.listening:
            now, who = trio.current_time(), self.ctx.name
            role = call.message.request.role
            self.ctx.emit(ModelText(at=now, actor=who, trace=self.ctx.trace, role=role, attempt=call.number, text=text))
        if call.message.sink is not None and not call.sink_gone:
            try:
                await call.message.sink.send(text)
                call.sent = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                call.sink_gone = True  # nobody reads any more; the answer is still wanted

    # ------------------------------------------------------------ after it
    def _wait_after(self, error: LLMError, call: _Call) -> Seconds | None:
        """Seconds until the next attempt; None if there is to be none."""
        wait = error.retry_after
        if wait is None:
            wait = self._jittered(call.number - 1)
        if _declined(error):
            self._add(rate_limited=1)
            tell_limiter(self._limiter, PushBack(wait))
        if not error.retryable or call.number > self._max_retries or call.sent:
            return None
        if trio.current_time() + wait >= self.ctx.deadline:
            return None
        return wait

    def _jittered(self, retries: int) -> Seconds:
        base = min(self._backoff.max, self._backoff.min * 2.0 ** min(retries, 32))
        return base * (1.0 + self._backoff.jitter * self._random.random())

    def _count(self, usage: Usage) -> None:
        self._add(usage=usage)
        self._by_trace.count(self.ctx.trace, usage)

    def _add(self, usage: Usage | None = None, **counts: int) -> None:
        now = self._statistics
        changed = {name: getattr(now, name) + count for name, count in counts.items()}
        self._statistics = attrs.evolve(now, usage=now.usage + usage if usage is not None else now.usage, **changed)

    def _tell(self, call: _Call, began: Seconds, *, usage: Usage | None = None, error: str | None = None) -> None:
        request, now = call.message.request, trio.current_time()
        model = request.model or self._model.name
        log.debug("[LLM] %s call to %s took %.3g s: %s", request.role, model, now - began, error or usage)
        if self.ctx.listening:
            self.ctx.emit(
                ModelCalled(
                    at=now,
                    actor=self.ctx.name,
                    trace=self.ctx.trace,
                    role=request.role,
                    model=model,
                    attempt=call.number,
                    seconds=now - began,
                    usage=usage,
                    error=error,
                )
            )


def _declined(error: LLMError) -> bool:
    """Whether that is the server's word on its limits, not our own limiter's."""
    return isinstance(error, RateLimited) and error.status is not None


class _Call:
    """One attempt: its number, and whether the caller has seen text of it."""

    def __init__(self, message: Chat, number: int) -> None:
        self.message = message
        self.number = number
        self.sent = False
        self.sink_gone = False
