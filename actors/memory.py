"""The memory: texts that are remembered, found again by what they mean, and outlive the process.

The store is the truth and the index a cache of it: what `remember` has answered is on the disk, and the index
can always be made again. The index is believed only while its generation is the store's. The generation grows
by one with each change that anybody commits: after a change of ours to both it must be the next one. A change by
another process, or one of ours that reached the store and not the index, leaves a gap, and an index behind a gap
is made again before the next search. A snapshot on disk carries the generation, with its random mark, and the
name of the embedder; it is loaded only if all of it fits.

Changes are handled alone, recalls beside each other: the index is never searched while it is changed.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import attrs
import trio

from trouper.runtime import (
    Actor,
    ActorCrashed,
    ActorError,
    Ask,
    ExitKind,
    ExitReason,
    LLMError,
    MemoryFailed,
    MemoryRefused,
    OnCancel,
    handler,
)

from .batcher import Embed
from .protocols import Generation, MemoryRow, MemoryStore, Vector, VectorIndex

T = TypeVar("T")
log: logging.Logger = logging.getLogger("trouper.memory")

MOST_TEXTS = 10_000
MOST_CHARACTERS = 100_000
"""Of one text. What is longer is a document, not a memory."""
MOST_QUERY = 20_000
MOST_K = 1_000

_TRIES = 3
_REEMBED_AT_ONCE = 256


@attrs.frozen
class Recalled:
    """One memory that was found: `score` is the cosine to the query (-1 to 1), `created` seconds since 1970."""

    id: int
    content: str
    score: float
    created: float
    meta: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen
class Remember(Ask[tuple[int, ...]]):
    """Keep texts; gives their ids, in order. A text that is known already keeps its id, its date and its `meta`."""

    texts: tuple[str, ...]
    meta: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen
class Recall(Ask[tuple[Recalled, ...]]):
    """The `k` memories most like `query`, best first, none below `min_score`; `None`: as configured.

    `kinds` keeps those whose `meta["kind"]` is one of these (a memory without one is a `fact`); empty: all.
    """

    query: str
    k: int | None = None
    min_score: float | None = None
    kinds: tuple[str, ...] = ()


@attrs.frozen
class Forget(Ask[int]):
    """Erase memories; gives how many were there."""

    ids: tuple[int, ...]


@attrs.frozen
class MemoryCount(Ask[int]):
    """How many memories there are."""


@attrs.frozen(kw_only=True)
class MemoryDefaults:
    """What a `Recall` that does not say takes, and when the index is written down or handled in a thread."""

    k: int = 5
    min_score: float = 0.0
    snapshot_every: int = 1_000
    """Changes after which a snapshot is written, besides the one at the end."""
    threads_above: int = 5_000
    """Vectors above which searching and adding happen in a worker thread: below it costs less than the hop."""


class Memory(Actor):
    """Answers `Remember`, `Recall`, `Forget`, `MemoryCount`; asks its peer `batcher` for vectors.

    The store is opened on first use, so that a damaged file fails the asks that need it and not the troupe.
    It is not closed here: it belongs to whoever made it, and the next incarnation needs it again.
    """

    def __init__(
        self,
        store: MemoryStore,
        index: Callable[[int], VectorIndex],
        *,
        embedder: str,
        snapshot: str | None = None,
        defaults: MemoryDefaults | None = None,
    ) -> None:
        """Give the ports and their settings.

        Args:
            store: The truth.
            index: Makes an empty index for vectors of so many numbers.
            embedder: The name of the vector space that the batcher's embedder makes.
            snapshot: Where the index is kept between runs; `None`: it is made again each time.
            defaults: See `MemoryDefaults`.
        """
        self._store = store
        self._new_index = index
        self._embedder = embedder
        self._snapshot_path = snapshot
        self._defaults = defaults if defaults is not None else MemoryDefaults()
        self._index: VectorIndex | None = None
        self._generation = Generation(-1)  # of the store, when the index was in step with it
        self._highest = 0  # the largest id in the index: ids only grow, so a larger one is new to it
        self._unsaved = 0
        self._refreshing = trio.Lock()
        self._search_thread = trio.CapacityLimiter(1)

    async def on_start(self) -> None:
        """Find the batcher."""
        self._batcher = self.ctx.peer("batcher")

    async def on_stop(self, reason: ExitReason) -> None:
        """Write the index down, unless this incarnation crashed."""
        if self._unsaved and reason.kind is not ExitKind.CRASHED:
            await self._save()

    # ------------------------------------------------------------ what is asked
    @handler(on_cancel=OnCancel.FINISH, raises=(MemoryFailed, LLMError))
    async def remember(self, message: Remember) -> tuple[int, ...]:
        """Store texts, durably before the answer. Cancelled: it ends in its own time; all are stored or none.

        Raises:
            MemoryRefused: a text or the metadata cannot be stored; nothing was.
            LLMError: a text could not be embedded; nothing was stored.
            MemoryFailed: the store failed; the message says whether anything was stored.
        """
        texts = check_texts(message.texts)
        if not texts:
            return ()
        vectors = await self._embed(texts)
        rows = [(text, message.meta, vector, self._embedder) for text, vector in zip(texts, vectors, strict=True)]
        ids = await self._store.add(rows)
        if self._index is not None and self._index.dim * 4 == len(vectors[0]):
            new = {number: vector for number, vector in zip(ids, vectors, strict=True) if number > self._highest}
            await self._off_loop(len(self._index) + len(new), self._index.add, list(new), list(new.values()))
            self._highest = max(self._highest, *ids)
            await self._changed(len(new))
        return ids

    @handler(concurrent=16, raises=(MemoryFailed, LLMError))
    async def recall(self, message: Recall) -> tuple[Recalled, ...]:
        """Find memories. Cancelled: nothing was changed, except that vectors may have been renewed.

        Raises:
            MemoryRefused: the query is empty or far too long, or `k` or `min_score` makes no sense.
            LLMError: the query could not be embedded.
            MemoryFailed: the store could not be read.
        """
        query, k, least = check_recall(message, self._defaults)
        if await self._store.count() == 0:
            return ()
        (vector,) = await self._embed((query,))
        index = await self._in_step(len(vector) // 4)
        fetch = k
        while True:
            hits = [(number, score) for number, score in await self._search(index, vector, fetch) if score >= least]
            rows = {row.id: row for row in await self._store.get([number for number, _ in hits])}
            found = [_recalled(rows[number], score) for number, score in hits if number in rows]
            kept = [memory for memory in found if is_kind(memory.meta, message.kinds)]
            if len(kept) >= k or len(hits) < fetch or fetch >= len(index):
                return tuple(kept[:k])
            fetch *= 4

    @handler(on_cancel=OnCancel.FINISH, raises=(MemoryFailed,))
    async def forget(self, message: Forget) -> int:
        """Erase memories, durably before the answer. Cancelled: it ends in its own time.

        Raises:
            MemoryRefused: an id is not a number.
            MemoryFailed: the store failed; the message says whether anything was erased.
        """
        ids = check_ids(message.ids)
        erased = await self._store.delete(ids)
        if self._index is not None:
            await self._off_loop(len(self._index), self._index.remove, ids)
            await self._changed(erased)
        return erased

    @handler(concurrent=16, raises=(MemoryFailed,))
    async def count(self, _: MemoryCount) -> int:
        """How many there are.

        Raises:
            MemoryFailed: the store could not be read.
        """
        return await self._store.count()

    # ------------------------------------------------------------ the index
    async def _in_step(self, dim: int) -> VectorIndex:
        """The index as the store is now: at hand, from the snapshot, or made again."""
        async with self._refreshing:
            generation = await self._store.generation()
            if self._index is None or self._index.dim != dim or self._generation != generation:
                self._index, self._generation = await self._made(dim, generation)
                self._highest = max(self._index.ids(), default=0)
            return self._index

    async def _made(self, dim: int, generation: Generation) -> tuple[VectorIndex, Generation]:
        index = self._new_index(dim)
        if self._index is None and self._snapshot_path is not None:
            load = functools.partial(index.load, self._snapshot_path, stamp=self._stamp(generation))
            if await trio.to_thread.run_sync(load):
                log.info("[MEMORY] %d vectors from the snapshot", len(index))
                return index, generation
        rows = await self._store.all_rows()
        vectors, changes = await self._sound_vectors(rows, dim)
        # With files there are threads, and the first use of an index may import a large library.
        size = len(vectors) if self._snapshot_path is None else math.inf
        await self._off_loop(size, index.add, list(vectors), list(vectors.values()))
        self._unsaved += len(vectors)
        log.info("[MEMORY] index of %d vectors made from the store", len(index))
        return index, await self._generation_after(generation, changes)

    async def _sound_vectors(self, rows: Sequence[MemoryRow], dim: int) -> tuple[dict[int, Vector], int]:
        """The vector of each row; those of another embedder are made again and stored. Also: how many changes."""
        sound = {r.id: r.vector for r in rows if r.vector and r.embedder == self._embedder and len(r.vector) == 4 * dim}
        other = [row for row in rows if row.id not in sound]
        changes = 0
        for start in range(0, len(other), _REEMBED_AT_ONCE):
            part = other[start : start + _REEMBED_AT_ONCE]
            made = await self._embed([row.content for row in part])
            renewed = [(row.id, vector, self._embedder) for row, vector in zip(part, made, strict=True)]
            await self._store.set_vectors(renewed)
            changes += 1
            sound.update((number, vector) for number, vector, _ in renewed)
        if other:
            log.info("[MEMORY] %d memories embedded again by %s", len(other), self._embedder)
        return sound, changes

    async def _search(self, index: VectorIndex, vector: Vector, k: int) -> tuple[tuple[int, float], ...]:
        # One search at a time: more threads would only share the same memory bandwidth.
        if len(index) <= self._defaults.threads_above:
            return index.search(vector, k)
        return await trio.to_thread.run_sync(index.search, vector, k, limiter=self._search_thread)

    async def _off_loop(self, size: float, work: Callable[..., T], *args: object) -> T:
        """Do `work` here if it is small, else in a thread; never left behind by a cancellation."""
        if size <= self._defaults.threads_above:
            return work(*args)
        return await trio.to_thread.run_sync(functools.partial(work, *args))

    async def _changed(self, changes: int) -> None:
        """The index has the change that the store has. If it was behind before, it still is: then the gap stays."""
        assert self._index is not None  # noqa: S101 - it has just been changed
        self._generation = await self._generation_after(self._generation, 1)
        self._unsaved += changes
        if self._unsaved >= max(self._defaults.snapshot_every, len(self._index) // 10):
            await self._save()

    async def _generation_after(self, before: Generation, changes: int) -> Generation:
        """The generation now if nobody but us has made `changes`, else `before`: an index of it is behind."""
        if not changes:
            return before
        try:
            now = await self._store.generation()
        except MemoryFailed as error:  # what was stored is stored; the next search will look again
            log.warning("[MEMORY] %s", error)
            return before
        return now if now.number == before.number + changes else before

    async def _save(self) -> None:
        if self._snapshot_path is None or self._index is None:
            return
        save = functools.partial(self._index.save, self._snapshot_path, stamp=self._stamp(self._generation))
        try:
            await trio.to_thread.run_sync(save)
            self._unsaved = 0
        except MemoryFailed as error:
            log.warning("[MEMORY] %s", error)

    def _stamp(self, generation: Generation) -> str:
        return f"{self._embedder}#{generation.number}#{generation.mark}"

    # ------------------------------------------------------------ vectors
    async def _embed(self, texts: Sequence[str]) -> tuple[Vector, ...]:
        """Ask the batcher; embedding has no effects, so a crash there is survived by asking again."""
        message = Embed(tuple(texts))
        for _ in range(_TRIES - 1):
            try:
                return await self._batcher.ask(message)
            except ActorCrashed as error:
                log.warning("[MEMORY] the batcher crashed, asking it again: %s", error)
            except ActorError as error:
                raise _no_vectors(len(texts), error) from error
        try:
            return await self._batcher.ask(message)
        except ActorError as error:
            raise _no_vectors(len(texts), error) from error


def _no_vectors(count: int, error: ActorError) -> MemoryFailed:
    return MemoryFailed(f"{count} texts could not be embedded, nothing was stored or searched: {error}")


def _recalled(row: MemoryRow, score: float) -> Recalled:
    return Recalled(row.id, row.content, max(-1.0, min(1.0, score)), row.created, row.meta)


def is_kind(meta: Mapping[str, object], kinds: Sequence[str]) -> bool:
    """Whether a memory is one of `kinds`; without a kind of its own it is a `fact`."""
    return not kinds or meta.get("kind", "fact") in kinds


def check_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts, if all of them can be remembered.

    Raises:
        MemoryRefused: one cannot; the message says which and why.
    """
    if isinstance(texts, str):
        raise MemoryRefused("give the texts as a tuple: `Remember((text,))`, not one text")
    if len(texts) > MOST_TEXTS:
        raise MemoryRefused(f"{len(texts):,} texts at once; at most {MOST_TEXTS:,} are taken: send them in parts")
    for number, text in enumerate(texts, 1):
        which = f"text {number} of {len(texts)}"
        if not isinstance(text, str) or not text.strip():
            raise MemoryRefused(f"{which} is empty: there is nothing to remember")
        if len(text) > MOST_CHARACTERS:
            raise MemoryRefused(
                f"{which} has {len(text):,} characters, at most {MOST_CHARACTERS:,} are taken. Remember its parts."
            )
    return tuple(texts)


def check_ids(ids: Sequence[int]) -> tuple[int, ...]:
    """Those that can be ids at all; the others are nobody's.

    Raises:
        MemoryRefused: one is not a number.
    """
    for number in ids:
        if isinstance(number, bool) or not isinstance(number, int):
            raise MemoryRefused(f"{number!r} is not the id of a memory: ids are whole numbers, as `recall` gives them")
    return tuple(number for number in ids if 0 < number < 2**63)


def check_recall(message: Recall, defaults: MemoryDefaults) -> tuple[str, int, float]:
    """Query, `k` and least score, the defaults put in.

    Raises:
        MemoryRefused: one of them makes no sense.
    """
    query, k, least = message.query, message.k, message.min_score
    if not isinstance(query, str) or not query.strip():
        raise MemoryRefused("the query is empty: say what you are looking for")
    if len(query) > MOST_QUERY:
        raise MemoryRefused(f"the query has {len(query):,} characters, at most {MOST_QUERY:,} are taken: shorten it")
    k = defaults.k if k is None else k
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MOST_K:
        raise MemoryRefused(f"k is {k!r}; give a whole number from 1 to {MOST_K}")
    least = defaults.min_score if least is None else least
    if isinstance(least, bool) or not isinstance(least, int | float) or not math.fabs(least) <= 1:
        raise MemoryRefused(f"min_score is {least!r}; give a number from -1 to 1")
    return query, k, float(least)
