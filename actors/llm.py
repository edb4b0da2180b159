"""The one door to any model: who may ask which, how often, at whose expense, and what is counted of it.

Nobody else retries. An attempt is one request under one lease; between attempts the door waits, by the server's
Retry-After or by its own seeded backoff, and never past the deadline of the ask. When a model cannot answer the next
one of the role is asked. Identical requests that can only be answered in one way are sent once, and their answer may be
kept. A model that breaks its promise (raises anything but an `LLMError`) crashes the door, and the supervisor starts it
again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import attrs
import trio

from trouper.runtime import (
    Actor,
    Backoff,
    BreakerMemory,
    BreakerRules,
    BudgetExceeded,
    LLMError,
    Ref,
    Seconds,
    handler,
)

from .flights import SingleFlight
from .model_call import CallPlace, ModelCall
from .model_counts import ModelCounts, Wait
from .model_endpoint import Endpoint
from .model_events import BreakerChanged, ModelCalled, ModelFellBack, ModelText
from .model_messages import Chat, CountUsage, DropAnswer, GetLLMStatistics, GetUsage, GetWaits, deadline_of
from .model_places import Places
from .model_retries import Pauses
from .model_routes import DEFAULT, ModelEntry, ModelRoutes
from .model_spending import Prices
from .model_statistics import LLMStatistics, Tally
from .protocols import ChatModel, ChatReply, Usage
from .response_cache import ResponseCache
from .tokens import TokenEstimates

log: logging.Logger = logging.getLogger("trouper.llm")

WAITING = 1024
"""Calls that may wait inside the door; further ones wait in its mailbox."""

SINK_PATIENCE: Seconds = 30.0
"""How long a piece of a streamed answer waits for its reader."""


@attrs.frozen
class _State:
    """What outlives a crash.

    The counts are not copied with each call: their methods are complete when they return, so a crash leaves them whole,
    and what the crashed call had sent is counted too.
    """

    tally: Tally
    by_trace: ModelCounts
    breakers: tuple[tuple[str, BreakerMemory | None], ...]


class LLMDoor(Actor):
    """Answers `Chat`.

    Args:
        models: The models behind the door by name, or the only one; whoever made the ports closes them.
        limiter: Where leases come from: a ref, or the id of a peer.
        roles: Which models a role asks, in order of fallback; the others ask `default`, else the first.
        max_parallel: Calls in progress at once; further ones wait, those in the background behind the others.
        max_retries: Attempts after the first, of one model.
        max_tokens: For requests that set none; only of a model that is given without an entry.
        backoff: The wait before another attempt where the server names none.
        seed: Makes the jitter of that wait repeatable.
        prices: What its tokens cost; only of a model that is given without an entry.
        breaker: When a model is left alone; None: never.
        responses: Earlier answers, and which are kept; without it every call is sent, also one that is under way.
        estimates: How many tokens a request is likely to be; made outside, what it has learned outlives a crash.
        sink_patience: How long a streamed piece waits for its reader before the call is given up.

    A `Ledger` that came with the message under the name `budget` pays for each attempt. A call that was shared is paid
    by whoever began it; the others pay nothing, their reply is marked `cached` and has no usage.
    """

    def __init__(
        self,
        models: ChatModel | Mapping[str, ModelEntry],
        limiter: Ref[Actor] | str = "limiter",
        *,
        roles: Mapping[str, Sequence[str]] | None = None,
        max_parallel: int = 3,
        max_retries: int = 2,
        max_tokens: int | None = None,
        backoff: Backoff | None = None,
        seed: int | None = None,
        prices: Prices | None = None,
        breaker: BreakerRules | None = None,
        responses: ResponseCache | None = None,
        estimates: TokenEstimates | None = None,
        sink_patience: Seconds = SINK_PATIENCE,
    ) -> None:
        if not isinstance(models, Mapping):
            prices = prices if prices is not None else Prices()
            models = {DEFAULT: ModelEntry(model=models, prices=prices, max_tokens=max_tokens)}
        self._routes = ModelRoutes(models, roles)
        self._limiter_id = limiter
        self._places = Places(max_parallel)
        self._max_retries = max_retries
        self._pauses = Pauses(backoff, seed=seed)
        self._breaker = breaker
        self._memory: Mapping[str, BreakerMemory | None] = {}
        self._responses = responses
        self._estimates = estimates if estimates is not None else TokenEstimates()
        self._sink_patience = sink_patience
        self._tally = Tally()
        self._by_trace = ModelCounts()
        self._endpoints: dict[str, Endpoint] = {}
        self._flights: SingleFlight[bytes, ChatReply] = SingleFlight()

    async def on_start(self) -> None:
        """Find the limiter, and remember how the models did."""
        limiter = self._limiter_id
        self._endpoints = {
            name: Endpoint(name, entry, rules=self._breaker, memory=self._memory.get(name), changed=self._tell_breaker)
            for name, entry in self._routes.models.items()
        }
        self._place = CallPlace(
            ctx=self.ctx,
            limiter=self.ctx.peer(limiter) if isinstance(limiter, str) else limiter,
            routes=self._routes,
            endpoints=self._endpoints,
            places=self._places,
            pauses=self._pauses,
            counts=self._by_trace,
            tally=self._tally,
            responses=self._responses,
            estimates=self._estimates,
            max_retries=self._max_retries,
            sink_patience=self._sink_patience,
        )

    def snapshot(self) -> _State:
        """The counters and the breakers, for the next incarnation."""
        breakers = tuple((name, endpoint.memory()) for name, endpoint in self._endpoints.items())
        return _State(self._tally, self._by_trace, breakers)

    def restore(self, state: _State) -> None:
        """Go on counting."""
        self._tally, self._by_trace = state.tally, state.by_trace
        self._memory = dict(state.breakers)

    @handler(concurrent=WAITING, raises=(LLMError, BudgetExceeded))
    async def chat(self, message: Chat) -> ChatReply:
        """Ask a model, as often as `max_retries`, the budget and the deadline allow, and then the next.

        Cancelled: a call that waits gives its lease back, one in progress closes its connection and stays charged;
        one that others wait for too goes on.

        Raises:
            LLMError: the last attempt's, with a note saying how many there were.
            BudgetExceeded: the budget of the run does not allow this attempt; it was not sent.
        """
        call = ModelCall(self._place, message)
        try:
            landed = await self._flights.share(self._key(message), call.answer, deadline=deadline_of(self.ctx))
        except LLMError:
            self._tally.add(failures=1)
            raise
        if not landed.shared:
            return landed.value
        self._tally.add(shared=1)
        return attrs.evolve(landed.value, usage=Usage(), limits=None, cached=True)

    @handler(concurrent=64)
    async def count_usage(self, message: CountUsage) -> None:
        """Count what was used elsewhere, at the prices of its model if that is one of ours."""
        usage, entry = message.usage, self._routes.models.get(message.model)
        if entry is not None and not usage.cost:
            usage = attrs.evolve(usage, cost=entry.prices.cost(usage))
        self._tally.add(usage=usage)
        if message.model:
            self._tally.add_of(message.model, usage=usage)
        self._by_trace.count(message.trace, usage)

    @handler(concurrent=64)
    async def drop_answer(self, message: DropAnswer) -> None:
        """Forget what the models of that request have answered to it."""
        responses, request = self._responses, self._routes.addressed(message.request)
        if responses is None or not responses.remembers(request):
            return
        for name in self._routes.chain(message.request):
            endpoint = self._endpoints[name]
            await responses.forget(endpoint.answer_key(responses, endpoint.entry.fitted(request)))

    @handler(concurrent=64)
    async def usage(self, message: GetUsage) -> Usage:
        """Tokens and calls so far."""
        if message.trace is None:
            return self._tally.usage
        return self._by_trace.of(message.trace).usage

    @handler(concurrent=64)
    async def waits(self, message: GetWaits) -> Mapping[Wait, Seconds]:
        """Where the time went."""
        return self._by_trace.of(message.trace).waits

    @handler(concurrent=64)
    async def statistics(self, _: GetLLMStatistics) -> LLMStatistics:
        """Counters so far, and how each model does."""
        now = self._tally.statistics()
        models = dict(now.models)
        for name, endpoint in self._endpoints.items():
            models[name] = self._tally.of(name, breaker=endpoint.state, opened=endpoint.opened)
        return attrs.evolve(now, models=models)

    def _key(self, message: Chat) -> bytes | None:
        """What makes requests identical; None for one that is not to be shared."""
        responses, request = self._responses, message.request
        if responses is None or message.stream or not responses.remembers(request):
            return None
        chain = ">".join(self._routes.chain(request))
        # Not with another priority: what somebody waits for must not wait with what nobody waits for.
        return responses.key(f"{request.priority} {chain}", self._routes.addressed(request))

    def _tell_breaker(self, endpoint: Endpoint) -> None:
        log.warning("[LLM] the breaker of %s is %s now", endpoint.name, endpoint.state.value)
        if self.ctx.listening:
            self.ctx.emit(
                BreakerChanged(
                    at=trio.current_time(),
                    actor=self.ctx.name,
                    model=endpoint.name,
                    state=endpoint.state,
                    cooldown=endpoint.cooldown,
                )
            )


__all__ = [
    "BreakerChanged",
    "Chat",
    "CountUsage",
    "DropAnswer",
    "GetLLMStatistics",
    "GetUsage",
    "GetWaits",
    "LLMDoor",
    "LLMStatistics",
    "ModelCalled",
    "ModelEntry",
    "ModelFellBack",
    "ModelText",
]
