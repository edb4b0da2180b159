"""One call to a model on its way: down the chain of its role, attempt by attempt.

For each attempt, in this order: a place among the parallel calls, a part of the budget, a lease of the limiter, leave
of the breaker, the request. What is still in hand when an attempt ends is handed back exactly once, however it ends.

A model that is followed by another one has half of the time that is left when its first attempt gets a place: behind
a server that hangs nothing else would remain for the one that was configured for just that.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping

import attrs
import trio

from trouper.runtime import (
    Actor,
    BudgetExceeded,
    Context,
    Ledger,
    LLMError,
    ModelTimeout,
    RateLimited,
    Ref,
    Seconds,
)

from .leasing import take_lease
from .model_breaks import Breaks
from .model_counts import ModelCounts, Wait, Waiting
from .model_endpoint import Endpoint
from .model_events import ModelCalled, ModelFellBack
from .model_messages import Chat, deadline_of, run_of
from .model_places import Places
from .model_reading import Reader
from .model_retries import Pauses
from .model_routes import ModelRoutes, falls_back
from .model_spending import ModelSpending
from .model_statistics import Tally
from .protocols import ChatReply, ChatRequest, Usage
from .response_cache import ResponseCache
from .tokens import TokenEstimates, answer_tokens

log: logging.Logger = logging.getLogger("trouper.llm")


FAIR: Seconds = 10.0
"""A model that was cut off before it had this long has not failed: it is the caller who is in a hurry."""


SPILL: Seconds = 15.0
"""A call that would wait longer than this for the limits of a model goes to the one that follows it."""


@attrs.frozen(kw_only=True, eq=False)
class CallPlace:
    """What every call finds around it; made by the door, once a life."""

    ctx: Context
    limiter: Ref[Actor]
    routes: ModelRoutes
    endpoints: Mapping[str, Endpoint]
    places: Places
    pauses: Pauses
    counts: ModelCounts
    tally: Tally
    responses: ResponseCache | None
    estimates: TokenEstimates
    max_retries: int
    sink_patience: Seconds
    leases: itertools.count[int] = attrs.field(factory=itertools.count)
    breaks: Breaks = attrs.field(factory=Breaks)

    def waiting(self, what: Wait) -> Waiting:
        """Count what the block waits for."""
        return self.counts.waiting(self.ctx.trace, what)

    def count(self, endpoint: str, usage: Usage) -> None:
        """Count what was used: in all, of that model, and in the trace in hand."""
        self.tally.add(usage=usage)
        self.tally.add_of(endpoint, usage=usage)
        self.counts.count(self.ctx.trace, usage)


class ModelCall:
    """One call. `answer` is awaited once, where the trace, the deadline and the ledger are those of its message."""

    def __init__(self, place: CallPlace, message: Chat) -> None:
        self._place = place
        self._ctx = place.ctx
        self._request = place.routes.addressed(message.request)
        self._chain = [place.endpoints[name] for name in place.routes.chain(message.request)]
        self._reader = Reader(place.ctx, message, place.sink_patience) if message.stream else None
        self._attempts = 0
        self._sent = False
        """The attempt in hand has left."""
        self._hurried = False
        """The attempt in hand was cut off before it had had a fair time."""
        self._until: Seconds | None = None
        """Until when the model in hand may take; known with its first place."""
        self._before: LLMError | None = None

    async def answer(self) -> ChatReply:
        """The answer of the first model of the chain that gives one.

        Cancelled: an attempt that waits gives its lease back, one in progress closes its connection and stays charged.

        Raises:
            LLMError: of the last model that was asked, with a note on how many attempts there were.
            BudgetExceeded: the budget does not allow this attempt; it was not sent.
        """
        chain = self._unbroken()
        for endpoint, following in itertools.zip_longest(chain, chain[1:]):
            try:
                return await self._of(endpoint, last=following is None)
            except BudgetExceeded as error:
                raise error from self._before
            except LLMError as error:
                if self._heard and falls_back(error):
                    self._place.breaks.broke_off(self._ctx.trace, self._request.role, endpoint, error)
                if following is None or self._heard or (self._sent and not falls_back(error)):
                    if self._attempts > 1:
                        error.add_note(f"This was attempt {self._attempts}.")
                    raise
                self._fall_back(endpoint, following, error)
        raise AssertionError("unreachable: the last model answers or raises")

    def _unbroken(self) -> list[Endpoint]:
        """The chain from the first model on that has not broken off while the same was asked before."""
        chain = self._chain
        first, error = self._place.breaks.first_of(chain, self._ctx.trace, self._request.role)
        if error is not None:
            self._fall_back(chain[first - 1], chain[first], error)
        return chain[first:]

    @property
    def _heard(self) -> bool:
        """Somebody has read text of it: what follows would say it again."""
        return self._reader is not None and self._reader.heard

    # ------------------------------------------------------------ one model
    async def _of(self, endpoint: Endpoint, *, last: bool) -> ChatReply:
        """Its answer: an earlier one, or that of one of as many attempts as it may have."""
        request, responses, key = endpoint.entry.fitted(self._request), self._place.responses, None
        if responses is not None and responses.remembers(request):
            key = endpoint.answer_key(responses, request)
            known = await responses.get(key)
            if known is not None:
                return await self._known(endpoint, known)
        reply = await self._asked(endpoint, request, last=last)
        if responses is not None and key is not None:
            await responses.put(key, reply)
        return reply

    async def _known(self, endpoint: Endpoint, reply: ChatReply) -> ChatReply:
        """An earlier answer: it costs nothing, and is read like any other."""
        self._place.tally.add(cached=1)
        self._place.tally.add_of(endpoint.name, cached=1)
        if self._reader is not None and reply.text:
            await self._reader.take(reply.text, self._attempts)
        return attrs.evolve(reply, usage=Usage(), limits=None, cached=True)

    async def _asked(self, endpoint: Endpoint, request: ChatRequest, *, last: bool) -> ChatReply:
        self._until = None
        endpoint.retries.called()
        for failures in itertools.count(1):
            try:
                return await self._in_its_place(endpoint, request, last=last)
            except LLMError as error:
                wait = self._wait_after(error, endpoint, failures, last=last)
                if wait is None:
                    raise
                self._before = error
                log.info("[LLM] attempt %d failed (%s), another in %.3g s", self._attempts, error.kind, wait)
            with self._place.waiting("backoff"):
                await trio.sleep(wait)
            self._place.tally.add(retries=1)
        raise AssertionError("unreachable: attempts end")

    async def _in_its_place(self, endpoint: Endpoint, request: ChatRequest, *, last: bool) -> ChatReply:
        """One attempt, in a place among the parallel calls and at the budget's expense."""
        self._sent = self._hurried = False
        endpoint.check()
        with self._place.waiting("places"):
            seat = await self._place.places.take(request.priority)
        with seat:
            if self._until is None:
                now, until = trio.current_time(), deadline_of(self._ctx)
                self._until = until if last else now + (until - now) / 2
            ledger = self._ctx.baggage.get("budget")
            estimate = self._place.estimates.prompt(request, _model_of(endpoint, request)), answer_tokens(request)
            paid = ModelSpending(ledger if isinstance(ledger, Ledger) else None, estimate, endpoint.entry.prices)
            with paid:
                return await self._attempt(endpoint, request, paid, until=self._until, last=last)

    async def _attempt(
        self, endpoint: Endpoint, request: ChatRequest, paid: ModelSpending, *, until: Seconds, last: bool
    ) -> ChatReply:
        """One request under one lease."""
        place = self._place
        with place.waiting("limiter"):
            lease = await take_lease(
                place.limiter,
                f"{self._ctx.name}#{self._ctx.incarnation}-{next(place.leases)}",
                paid.estimate,
                scope=endpoint.scope,
                priority=request.priority,
                deadline=until if last else min(until, trio.current_time() + SPILL),
            )
        try:
            leave = endpoint.admit()
        except LLMError:
            lease.give_back()
            raise
        self._attempts += 1
        self._sent = True
        paid.sent()
        place.tally.add(attempts=1)
        place.tally.add_of(endpoint.name, attempts=1)
        began = trio.current_time()
        try:
            with place.waiting("model"):
                reply = await self._within(endpoint, request, None if last else until)
        except LLMError as error:
            if self._hurried:
                lease.settle(None)
                endpoint.withdrawn(leave)
            else:
                lease.failed(error)
                endpoint.ended(leave, error)
            self._count_failure(endpoint, error)
            self._tell(endpoint, request, began, error=error.kind)
            raise
        except BaseException:
            lease.settle(None)  # nobody knows how far the model had come
            endpoint.withdrawn(leave)
            raise
        lease.settle(reply.usage.total_tokens or None, limits=reply.limits)
        endpoint.ended(leave)
        paid.settle(reply)
        place.estimates.learn(request, reply.usage.prompt_tokens, _model_of(endpoint, request))
        usage = attrs.evolve(reply.usage, cost=endpoint.entry.prices.cost(reply.usage))
        place.count(endpoint.name, usage)
        self._tell(endpoint, request, began, usage=usage)
        return attrs.evolve(reply, usage=usage)

    async def _within(self, endpoint: Endpoint, request: ChatRequest, until: Seconds | None) -> ChatReply:
        """The model's answer, as long as it may take."""
        if until is None:  # the deadline of the message ends it
            return await self._reply(endpoint, request)
        began = trio.current_time()
        with trio.move_on_at(until):
            return await self._reply(endpoint, request)
        self._hurried = until - began < FAIR
        raise ModelTimeout(
            f"the model {endpoint.name!r} gave no answer in {until - began:.3g} s, which is all it may take of the "
            "time that is left where another model follows it. Allow more time, or name it last in llm.roles."
        )

    async def _reply(self, endpoint: Endpoint, request: ChatRequest) -> ChatReply:
        if self._reader is None:
            return await endpoint.entry.model.complete(request)
        return await self._reader.read(endpoint.entry.model, request, self._attempts)

    # ------------------------------------------------------------ after it
    def _wait_after(self, error: LLMError, endpoint: Endpoint, failures: int, *, last: bool) -> Seconds | None:
        """Seconds until the next attempt at that model; None if there is to be none."""
        if not (self._sent and error.retryable) or failures > self._place.max_retries or self._heard:
            return None
        now = trio.current_time()
        wait = error.retry_after if error.retry_after is not None else self._place.pauses.after(failures)
        if self._until is None or now + wait >= self._until or endpoint.shut_at(now + wait):
            return None
        if not last and wait > SPILL:
            return None
        asked_for = error.retry_after is not None  # the server itself wants it to be tried again
        return wait if asked_for or endpoint.retries.take(now) else None

    def _fall_back(self, endpoint: Endpoint, following: Endpoint, error: LLMError) -> None:
        # Once a model is left alone every call falls back at once: that was told when its breaker opened.
        level = logging.WARNING if self._sent else logging.DEBUG
        log.log(level, "[LLM] %s does not answer (%s), asking %s: %s", endpoint.name, error.kind, following.name, error)
        self._before = error
        self._place.tally.add(fell_back=1)
        self._place.tally.add_of(endpoint.name, fell_back=1)
        if self._ctx.listening:
            self._ctx.emit(
                ModelFellBack(
                    at=trio.current_time(),
                    actor=self._ctx.name,
                    trace=self._ctx.trace,
                    run_id=run_of(self._ctx),
                    role=self._request.role,
                    model=endpoint.name,
                    following=following.name,
                    error=error.kind,
                )
            )

    def _count_failure(self, endpoint: Endpoint, error: LLMError) -> None:
        self._place.tally.add_of(endpoint.name, failures=1)
        if isinstance(error, RateLimited) and error.status is not None:  # the server's word, not our own limiter's
            self._place.tally.add(rate_limited=1)
            self._place.tally.add_of(endpoint.name, rate_limited=1)
            self._place.count(endpoint.name, Usage(rate_limited=1))

    def _tell(
        self,
        endpoint: Endpoint,
        request: ChatRequest,
        began: Seconds,
        *,
        usage: Usage | None = None,
        error: str | None = None,
    ) -> None:
        now, model = trio.current_time(), _model_of(endpoint, request)
        log.debug("[LLM] %s call to %s took %.3g s: %s", request.role, model, now - began, error or usage)
        if self._ctx.listening:
            self._ctx.emit(
                ModelCalled(
                    at=now,
                    actor=self._ctx.name,
                    trace=self._ctx.trace,
                    run_id=run_of(self._ctx),
                    role=request.role,
                    model=model,
                    endpoint=endpoint.name,
                    attempt=self._attempts,
                    seconds=now - began,
                    usage=usage,
                    error=error,
                )
            )


def _model_of(endpoint: Endpoint, request: ChatRequest) -> str:
    """What the server calls the model that answers."""
    return request.model or endpoint.entry.model.name
