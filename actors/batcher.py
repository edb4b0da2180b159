"""The batcher: many askers, few embedding calls.

Texts that are known come from the cache, and the rest goes out in batches (see `batches`). An endpoint costs something:
for a `MeteredEmbedder` each call is one lease of the limiter, for all its texts together, and what the server counted
is shared out by the length of the texts among those who asked for them first. It is told to the door to the models and
counted in their budgets. It is never refused by those: a run that has spent all it may is stopped by what costs more.

Local embedders need no leave and cost nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence

import attrs

from trouper.runtime import (
    Actor,
    ActorError,
    Ask,
    Backoff,
    BadRequest,
    BadResponse,
    Ledger,
    LLMError,
    Ref,
    Seconds,
    Tell,
    handler,
)

from .batch_items import Asker, Item
from .batches import Batches, BatchRules
from .flights import own_copy
from .leasing import take_lease
from .model_messages import CountUsage
from .protocols import Embedder, EmbeddingCache, MeteredEmbedder, Priority, Usage, Vector
from .tokens import TokenEstimates
from .vectors import embedding_key, fault_of, looks_sound

log: logging.Logger = logging.getLogger("trouper.memory")

MOST_ASKS = 1024
"""Asks in hand at the same time; more of them wait in the mailbox."""
MOST_BATCHES = 64
"""Calls under way at the same time, whatever is configured."""


@attrs.frozen
class Embed(Ask[tuple[Vector, ...]]):
    """One vector a text, in order. Fails with the `LLMError` of the first text that could not be embedded."""

    texts: tuple[str, ...]
    priority: Priority = attrs.field(default="interactive", kw_only=True)


@attrs.frozen
class EmbedEach(Ask[tuple[Vector | LLMError, ...]]):
    """One vector a text, in order, or the error of that text alone: one that cannot be embedded fails no other."""

    texts: tuple[str, ...]
    priority: Priority = attrs.field(default="interactive", kw_only=True)


@attrs.frozen(kw_only=True)
class EmbeddingStatistics:
    """Counters of one incarnation: `items` texts went out in `calls`; the rest was cached or shared."""

    asks: int
    texts: int
    cached: int
    shared: int
    calls: int
    items: int
    failed: int
    retries: int = 0
    """Calls that were sent again after a failure that might pass."""
    called_off: int = 0
    """Calls that lost everybody who waited."""
    usage: Usage = attrs.field(factory=Usage)
    """What the endpoint counted."""


@attrs.frozen
class GetEmbeddingStatistics(Ask[EmbeddingStatistics]):
    """What the batcher has done so far."""


@attrs.frozen
class Failure:
    """Why a text has no vector; not `own`: what befell the whole call."""

    error: LLMError
    own: bool


@attrs.frozen
class _Fly(Tell):
    """A batch is to be collected and sent."""


@attrs.frozen(kw_only=True)
class Batching:
    """How texts share calls. Not `enabled`: a call for each text, one at a time, nothing shared.

    `max_tokens` bounds one call, by estimate; `linger` is how long a batch that is not full waits while others are
    under way. The last three are of the calls: attempts after the first, the pause before them where the server names
    none, and what makes its jitter repeatable.
    """

    enabled: bool = True
    batch_size: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    max_concurrent_batches: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    max_tokens: int = attrs.field(default=100_000, validator=attrs.validators.ge(1))
    linger: Seconds = attrs.field(default=0.005, validator=attrs.validators.ge(0))
    max_retries: int = attrs.field(default=2, validator=attrs.validators.ge(0))
    backoff: Backoff = attrs.field(factory=lambda: Backoff(min=0.5, max=8.0, jitter=0.5))
    seed: int | None = None

    @property
    def rules(self) -> BatchRules:
        """The same, for any values."""
        return BatchRules(
            max_items=self.batch_size if self.enabled else 1,
            max_weight=self.max_tokens,
            max_flights=min(self.max_concurrent_batches, MOST_BATCHES) if self.enabled else 1,
            linger=self.linger if self.enabled else 0.0,
            shares=self.enabled,
            max_retries=self.max_retries,
            backoff=self.backoff,
        )


class EmbeddingBatcher(Actor):
    """Answers `Embed` and `EmbedEach`. The cache, if there is one, is asked first and never fails a call.

    Args:
        embedder: The port that is called.
        cache: Vectors already paid for.
        batching: See `Batching`.
        limiter: Where the leases of a `MeteredEmbedder` come from: a ref, or the id of a peer; None: from nobody.
        door: Who is told what was used: a ref, or the id of a peer; None: nobody.
        estimates: How many tokens a text is.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        cache: EmbeddingCache | None = None,
        batching: Batching | None = None,
        limiter: Ref[Actor] | str | None = None,
        door: Ref[Actor] | str | None = None,
        estimates: TokenEstimates | None = None,
    ) -> None:
        batching = batching if batching is not None else Batching()
        self._embedder = embedder
        self._metered: MeteredEmbedder | None = embedder if isinstance(embedder, MeteredEmbedder) else None
        self._cache = cache
        self._limiter_id = limiter
        self._door_id = door
        self._estimates = estimates if estimates is not None else TokenEstimates()
        self._batches: Batches[str, Vector] = Batches(
            self._send,
            self._launch,
            batching.rules,
            weigh=lambda text: self._estimates.text(text, embedder.name),
            landed=self._keep if cache is not None else None,
            seed=batching.seed,
        )
        self._asks = self._texts = self._cached = self._leases = 0
        self._warned = self._told = False
        self._usage = Usage()

    async def on_start(self) -> None:
        """Find the limiter and the door."""
        self._limiter: Ref[Actor] | None = self._peer(self._limiter_id)
        self._door: Ref[Actor] | None = self._peer(self._door_id)

    def _peer(self, who: Ref[Actor] | str | None) -> Ref[Actor] | None:
        return self.ctx.peer(who) if isinstance(who, str) else who

    def statistics(self) -> EmbeddingStatistics:
        """Counters of this incarnation."""
        counts = attrs.asdict(self._batches.counts())
        return EmbeddingStatistics(asks=self._asks, texts=self._texts, cached=self._cached, usage=self._usage, **counts)

    @handler(concurrent=8)
    async def get_statistics(self, _: GetEmbeddingStatistics) -> EmbeddingStatistics:
        """The same, for others."""
        return self.statistics()

    @handler(concurrent=MOST_ASKS, raises=(LLMError,))
    async def embed(self, message: Embed) -> tuple[Vector, ...]:
        """Embed texts. Cancelled: what nobody else waits for is not sent, or its call is cancelled.

        Raises:
            LLMError: some kind of it, for the first text that failed; others' texts are not touched by it.
        """
        vectors: list[Vector] = []
        for outcome in await self._outcomes(message.texts, message.priority):
            if not isinstance(outcome, bytes):
                raise own_copy(outcome.error)  # several askers may raise it
            vectors.append(outcome)
        return tuple(vectors)

    @handler(concurrent=MOST_ASKS, raises=(LLMError,))
    async def embed_each(self, message: EmbedEach) -> tuple[Vector | LLMError, ...]:
        """Embed texts, each for itself. Cancelled: as `embed`.

        Raises:
            LLMError: what befell a whole call, so that nothing is known of its texts.
        """
        outcomes = await self._outcomes(message.texts, message.priority)
        for outcome in outcomes:
            if not isinstance(outcome, bytes) and not outcome.own:
                raise own_copy(outcome.error)
        return tuple(outcome if isinstance(outcome, bytes) else outcome.error for outcome in outcomes)

    @handler(concurrent=MOST_BATCHES)
    async def fly(self, _: _Fly) -> None:
        """Send a batch."""
        await self._batches.fly()

    def _launch(self) -> None:
        # A message of its own, so that the batch is nobody's ask: it has no deadline and outlives each asker. A timer
        # needs no room in the mailbox and comes before what waits there.
        self.ctx.send_after(0.0, _Fly())

    # ------------------------------------------------------------ an ask
    async def _outcomes(self, texts: Sequence[str], priority: Priority) -> list[Vector | Failure]:
        """What becomes of each text, in order."""
        self._asks += 1
        self._texts += len(texts)
        if self._cache is None or not texts:
            return _outcomes(await self._batches.settle(texts, self._asker(priority)))
        known = await self._known(self._cache, texts)
        missing = [text for text in texts if text not in known]
        made = iter(_outcomes(await self._batches.settle(missing, self._asker(priority))) if missing else ())
        return [known[text] if text in known else next(made) for text in texts]

    def _asker(self, priority: Priority) -> Asker:
        if not self._metered:
            return Asker(deadline=self.ctx.deadline, priority=priority)
        ledger = self.ctx.baggage.get("budget")
        return Asker(
            deadline=self.ctx.deadline,
            priority=priority,
            trace=self.ctx.trace,
            ledger=ledger if isinstance(ledger, Ledger) else None,
        )

    async def _known(self, cache: EmbeddingCache, texts: Sequence[str]) -> dict[str, Vector]:
        name, dim = self._embedder.name, self._embedder.dim
        distinct = list(dict.fromkeys(texts))
        try:
            vectors = await cache.get_many([embedding_key(name, text) for text in distinct])
            known = {
                text: vector
                for text, vector in zip(distinct, vectors, strict=True)
                if vector is not None and looks_sound(vector, dim)
            }
        except Exception as error:  # noqa: BLE001 - a failing cache never fails a call
            self._missed(error)
            return {}
        self._cached += len(known)
        return known

    # ------------------------------------------------------------ a call
    async def _send(self, items: Sequence[Item[str, Vector]]) -> Sequence[Vector | LLMError]:
        texts = [item.value for item in items]
        try:
            if self._metered is not None:
                vectors = await self._leased(self._metered, items, texts)
            else:
                vectors = await self._embedder.embed(texts)
        except LLMError:
            raise
        except Exception as error:
            raise self._stumbled(error) from error
        name, dim = self._embedder.name, self._embedder.dim
        if len(vectors) != len(texts):
            raise BadResponse(f"{name} gave {len(vectors)} vectors for {len(texts)} texts")
        faults = [fault_of(vector, dim) for vector in vectors]
        return [
            vector if why is None else BadResponse(f"{name} gave a vector that cannot be used: {why}")
            for vector, why in zip(vectors, faults, strict=True)
        ]

    def _stumbled(self, error: Exception) -> BadRequest:
        """For what an embedder must not raise: it may be due to one text, and is to cost the others nothing."""
        what = f"{self._embedder.name} cannot embed this: {type(error).__name__}: {error}"
        log.log(logging.DEBUG if self._told else logging.WARNING, "[EMBEDDINGS] %s", what, exc_info=error)
        self._told = True
        return BadRequest(what)

    async def _leased(
        self, embedder: MeteredEmbedder, items: Sequence[Item[str, Vector]], texts: Sequence[str]
    ) -> Sequence[Vector]:
        """One call under one lease, its usage shared out."""
        with contextlib.ExitStack() as held:
            lease = None
            if self._limiter is not None:
                self._leases += 1
                lease = await take_lease(
                    self._limiter,
                    f"{self.ctx.name}#{self.ctx.incarnation}-{self._leases}",
                    sum(item.weight for item in items),
                    scope=embedder.name,
                    priority="interactive" if any(item.interactive for item in items) else "background",
                    deadline=max(item.deadline for item in items),
                )
                held.enter_context(lease)
            reply = await embedder.embed_metered(texts)
            if lease is not None:
                lease.settle(reply.usage.total_tokens or None, reply.limits)
        self._count(attrs.evolve(reply.usage, calls=1), items)
        self._estimates.learn_texts(texts, reply.usage.prompt_tokens, embedder.name)
        return reply.vectors

    def _count(self, usage: Usage, items: Sequence[Item[str, Vector]]) -> None:
        self._usage += usage
        for asker, part in shared_out(usage, [(item.asker, item.weight) for item in items]):
            if asker.ledger is not None:
                asker.ledger.charge("tokens", part.total_tokens)
                asker.ledger.charge("model_calls", part.calls)
            if self._door is not None:
                try:
                    self._door.tell_nowait(CountUsage(asker.trace, part, self._embedder.name))
                except ActorError as error:  # only a counter misses it
                    log.debug("[EMBEDDINGS] usage of %d tokens was not told: %s", part.total_tokens, error)

    async def _keep(self, items: Sequence[Item[str, Vector]]) -> None:
        """Into the cache, behind the waiters' backs; until it is there, who asks again shares the item."""
        name = self._embedder.name
        kept = [(embedding_key(name, item.value), item.results[0]) for item in items if item.results]
        if self._cache is not None and kept:
            try:
                await self._cache.put_many(kept)
            except Exception as error:  # noqa: BLE001 - nor does it crash a batch whose callers have their vectors
                self._missed(error)

    def _missed(self, error: Exception) -> None:
        log.log(
            logging.DEBUG if self._warned else logging.WARNING,
            "[EMBEDDINGS] the cache cannot be used (%s: %s): texts are embedded again",
            type(error).__name__,
            error,
        )
        self._warned = True


def _outcomes(items: Iterable[Item[str, Vector]]) -> list[Vector | Failure]:
    return [item.results[0] if item.error is None else Failure(item.error, item.own) for item in items]


def shared_out(usage: Usage, parts: Iterable[tuple[Asker, int]]) -> list[tuple[Asker, Usage]]:
    """The share of each run in the usage of one call, by the weight of its texts; the largest has the call itself.

    Whole tokens, and together exactly `usage`.
    """
    weights: dict[tuple[str, int], int] = {}
    askers: dict[tuple[str, int], Asker] = {}
    for asker, weight in parts:
        run = (asker.trace, id(asker.ledger))
        weights[run] = weights.get(run, 0) + weight
        askers.setdefault(run, asker)
    total = max(1, sum(weights.values()))
    ordered = sorted(weights, key=lambda run: -weights[run])  # the order of the askers where they weigh the same
    shares: list[tuple[Asker, Usage]] = []
    so_far = 0

    def cut(count: int, before: int, after: int) -> int:
        return count * after // total - count * before // total

    for number, run in enumerate(ordered):
        before, so_far = so_far, so_far + weights[run]
        after = total if number == len(ordered) - 1 else so_far
        share = Usage(
            prompt_tokens=cut(usage.prompt_tokens, before, after),
            completion_tokens=cut(usage.completion_tokens, before, after),
            cached_tokens=cut(usage.cached_tokens, before, after),
            calls=usage.calls if number == 0 else 0,
        )
        shares.append((askers[run], share))
    return shares
