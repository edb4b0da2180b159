"""The batcher: many askers, few embedding calls.

Texts that wait are collected into batches; one that two askers want at the same time is sent once. Nothing waits
when nothing is in flight, and at most some milliseconds otherwise: the calls in flight are what makes others wait,
and so what fills the next batch.

A flight belongs to everybody who waits for one of its texts. It runs in the task of one of their handlers, behind
a shield, so that this asker may go without taking the others' answer along; when the last of them has gone the
flight is cancelled. That also ends it when the actor is stopped, for then all of them go.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import attrs
import trio

from trouper.runtime import Actor, Ask, BadRequest, BadResponse, LLMError, Seconds, handler

from .protocols import Embedder, EmbeddingCache, Vector
from .vectors import embedding_key, fault_of

log: logging.Logger = logging.getLogger("trouper.memory")

MOST_ASKS = 256
"""Asks in hand at the same time; more of them wait in the mailbox."""
ON_THE_WAY = 4
"""Scheduler passes without a new text before a batch goes: what a sender needs who waits for room in the mailbox (to be
let in, to be taken out, to get a task, to join the queue)."""
LINGER: Seconds = 0.005
"""How long a batch that is not full waits for more, while another one is in flight."""


@attrs.frozen
class Embed(Ask[tuple[Vector, ...]]):
    """One vector a text, in order. Fails with the `LLMError` of the first text that could not be embedded."""

    texts: tuple[str, ...]


@attrs.frozen
class EmbedEach(Ask[tuple[Vector | LLMError, ...]]):
    """One vector a text, in order, or the error of that text alone: one that cannot be embedded fails no other."""

    texts: tuple[str, ...]


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


@attrs.frozen
class GetEmbeddingStatistics(Ask[EmbeddingStatistics]):
    """What the batcher has done so far."""


@attrs.frozen(kw_only=True)
class Batching:
    """How texts share calls. Not `enabled`: a call for each text, one at a time, nothing shared."""

    enabled: bool = True
    batch_size: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    max_concurrent_batches: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    linger: Seconds = attrs.field(default=LINGER, validator=attrs.validators.ge(0))


@attrs.define(eq=False)
class _Item:
    """One text that somebody waits for."""

    text: str
    waiters: int = 0
    flight: trio.CancelScope | None = None
    vector: Vector | None = None
    error: Exception | None = None

    @property
    def settled(self) -> bool:
        return self.vector is not None or self.error is not None


class EmbeddingBatcher(Actor):
    """Answers `Embed`. The cache, if there is one, is asked first and never fails a call."""

    def __init__(
        self, embedder: Embedder, *, cache: EmbeddingCache | None = None, batching: Batching | None = None
    ) -> None:
        batching = batching if batching is not None else Batching()
        self._embedder = embedder
        self._cache = cache
        self._shares = batching.enabled
        self._batch_size = batching.batch_size if batching.enabled else 1
        self._most_flights = batching.max_concurrent_batches if batching.enabled else 1
        self._linger = batching.linger if batching.enabled else 0.0
        self._queue: dict[_Item, None] = {}  # in order; bounded by the asks in hand
        self._known: dict[str, _Item] = {}  # queued or in flight, to be shared
        self._flying: dict[trio.CancelScope, Sequence[_Item]] = {}
        self._boarding = False  # a flight has been started and has not taken its texts yet
        self._changed = trio.lowlevel.ParkingLot()
        self._counts = EmbeddingStatistics(asks=0, texts=0, cached=0, shared=0, calls=0, items=0, failed=0)

    def statistics(self) -> EmbeddingStatistics:
        """Counters of this incarnation."""
        return self._counts

    @handler(concurrent=8)
    async def get_statistics(self, _: GetEmbeddingStatistics) -> EmbeddingStatistics:
        """The same, for others."""
        return self._counts

    @handler(concurrent=MOST_ASKS, raises=(LLMError,))
    async def embed(self, message: Embed) -> tuple[Vector, ...]:
        """Embed texts. Cancelled: what nobody else waits for is not sent, or its call is cancelled.

        Raises:
            LLMError: some kind of it, for the first text that failed; others' texts are not touched by it.
        """
        self._count(asks=1, texts=len(message.texts))
        found = await self._cached(message.texts)
        async with trio.open_nursery() as flights:
            items = [self._item(text) for text in message.texts if text not in found]
            try:
                await self._wait(items, flights)
            finally:  # before the nursery waits for a flight that may have nobody left but us
                self._release(items)
        missing = iter(items)
        return tuple(found[text] if text in found else _result(next(missing)) for text in message.texts)

    @handler(concurrent=MOST_ASKS, raises=(LLMError,))
    async def embed_each(self, message: EmbedEach) -> tuple[Vector | LLMError, ...]:
        """Embed texts, each for itself. Cancelled: as `embed`.

        Raises:
            LLMError: no text could be embedded because the embedder could not be asked.
        """
        self._count(asks=1, texts=len(message.texts))
        found = await self._cached(message.texts)
        async with trio.open_nursery() as flights:
            items = [self._item(text) for text in message.texts if text not in found]
            try:
                await self._wait(items, flights)
            finally:
                self._release(items)
        missing = iter(items)
        return tuple(found[text] if text in found else _each(next(missing)) for text in message.texts)

    # ------------------------------------------------------------ waiting
    async def _cached(self, texts: Sequence[str]) -> dict[str, Vector]:
        if self._cache is None or not texts:
            return {}
        distinct = list(dict.fromkeys(texts))
        keys = [embedding_key(self._embedder.name, text) for text in distinct]
        vectors = await self._cache.get_many(keys)
        dim = self._embedder.dim
        found = {t: v for t, v in zip(distinct, vectors, strict=True) if v is not None and fault_of(v, dim) is None}
        self._count(cached=len(found))
        return found

    def _item(self, text: str) -> _Item:
        """The item of `text`: one that is on its way already, or a new one in the queue."""
        item = self._known.get(text) if self._shares else None
        if item is None:
            item = _Item(text)
            self._queue[item] = None
            if self._shares:
                self._known[text] = item
        else:
            self._count(shared=1)
        item.waiters += 1
        return item

    async def _wait(self, items: Sequence[_Item], flights: trio.Nursery) -> None:
        # The queue is first in, first out: while the last of ours is in it, it is also for us to see that one flies.
        last = next((item for item in reversed(items) if item in self._queue), None)
        settled = 0
        while True:
            while settled < len(items) and items[settled].settled:
                settled += 1
            if settled == len(items):
                return
            if last in self._queue and not self._boarding and len(self._flying) < self._most_flights:
                self._boarding = True
                flights.start_soon(self._fly)
            await self._changed.park()

    def _release(self, items: Sequence[_Item]) -> None:
        """One asker waits no longer. Texts that nobody waits for leave the queue; an empty flight is cancelled."""
        for item in items:
            item.waiters -= 1
            if item.waiters:
                continue
            if item in self._queue:
                del self._queue[item]
                self._forget([item])
            if item.flight is not None and self._deserted(item.flight):
                self._forget(self._flying[item.flight])  # who comes now must not wait for what is called off
                item.flight.cancel(reason="nobody waits for these embeddings")

    def _deserted(self, flight: trio.CancelScope) -> bool:
        """Whether a flight is under way that nobody waits for. A settled one only fills the cache: that goes on."""
        batch = self._flying.get(flight, ())
        return any(not item.settled for item in batch) and not any(item.waiters for item in batch)

    # ------------------------------------------------------------ flying
    async def _fly(self) -> None:
        """Collect a batch, send it, settle its items."""
        with trio.CancelScope(shield=True) as scope:  # ended by `_release`, and by the embedder's own timeout
            batch: list[_Item] = []
            try:
                await self._collect()
                batch = self._board(scope)
                await self._settle(batch)
                await self._keep(batch)
            finally:
                self._flying.pop(scope, None)
                self._forget(batch)
                self._changed.unpark_all()

    async def _collect(self) -> None:
        """Let others in: those who are on their way already, and while others fly for `linger` seconds more."""
        before, idle = 0, 0
        while len(self._queue) < self._batch_size and idle < ON_THE_WAY:
            idle = 0 if len(self._queue) > before else idle + 1
            before = len(self._queue)
            await trio.lowlevel.checkpoint()
        if self._flying and self._linger and len(self._queue) < self._batch_size:
            await trio.sleep(self._linger)

    def _board(self, scope: trio.CancelScope) -> list[_Item]:
        self._boarding = False
        batch = list(self._queue)[: self._batch_size]
        for item in batch:
            del self._queue[item]
            item.flight = scope
        self._flying[scope] = batch
        self._changed.unpark_all()  # somebody takes care of the rest
        return batch

    async def _settle(self, batch: Sequence[_Item]) -> None:
        """Ask for the vectors of `batch`. A request that is not accepted is halved until the bad text is alone."""
        if not batch:
            return
        self._count(calls=1, items=len(batch))
        try:
            vectors = await self._embedder.embed([item.text for item in batch])
            self._accept(batch, vectors)
        except BadRequest as error:
            if len(batch) == 1:
                self._fail(batch, error)
                return
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
        except Exception as error:  # noqa: BLE001 - given to every waiter: LLMError is an answer, all else a crash there
            self._fail(batch, error)

    def _accept(self, batch: Sequence[_Item], vectors: Sequence[Vector]) -> None:
        if len(vectors) != len(batch):
            raise BadResponse(f"{self._embedder.name} gave {len(vectors)} vectors for {len(batch)} texts")
        for item, vector in zip(batch, vectors, strict=True):
            why = fault_of(vector, self._embedder.dim)
            if why is None:
                item.vector = vector
            else:
                self._fail([item], BadResponse(f"{self._embedder.name} gave a vector that cannot be used: {why}"))
        self._changed.unpark_all()

    def _fail(self, batch: Sequence[_Item], error: Exception) -> None:
        self._count(failed=len(batch))
        for item in batch:
            item.error = error
        self._changed.unpark_all()

    async def _keep(self, batch: Sequence[_Item]) -> None:
        """Into the cache, behind the waiters' backs; until it is there, who asks again shares the item."""
        if self._cache is None or not batch:
            return
        name = self._embedder.name
        kept = [(embedding_key(name, item.text), item.vector) for item in batch if item.vector is not None]
        await self._cache.put_many(kept)

    def _forget(self, batch: Sequence[_Item]) -> None:
        for item in batch:
            if self._known.get(item.text) is item:
                del self._known[item.text]

    def _count(self, **more: int) -> None:
        counts = self._counts
        self._counts = attrs.evolve(counts, **{name: getattr(counts, name) + n for name, n in more.items()})


def _each(item: _Item) -> Vector | LLMError:
    if isinstance(item.error, BadRequest | BadResponse):
        return item.error
    return _result(item)


def _result(item: _Item) -> Vector:
    if item.error is not None:
        raise item.error
    assert item.vector is not None  # noqa: S101 - whoever waited has waited until it was settled
    return item.vector
