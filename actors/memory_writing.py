"""How the store is changed: embedded first, then one transaction, then what is derived, under the lane."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import attrs
import trio

from trouper.runtime import MemoryFailed, MemoryRefused

from .memory_data import KeptMemory, NewMemory
from .memory_derived import Derived, Embed
from .memory_messages import (
    MemoryDefaults,
    NearDuplicate,
    NearDuplicates,
    Remember,
    Remembered,
    check_texts,
    new_memories,
)
from .memory_near import Near, near_duplicates, refuse, with_what_was_said
from .protocols import EmbeddingCache, MemoryStore, Vector, VectorIndex
from .vectors import embedding_key

T = TypeVar("T")
log: logging.Logger = logging.getLogger("trouper.memory")

_KEYS_AT_ONCE = 1_000
_ROWS_AT_ONCE = 2_000


async def new_rows(message: Remember, defaults: MemoryDefaults, now: float) -> Sequence[NewMemory]:
    """What a message wants to be stored; of ten thousand so many at a time that others have their turn.

    Raises:
        MemoryRefused: it cannot be; the message says which text and why.
    """
    texts = check_texts(message.texts)
    if len(texts) <= _ROWS_AT_ONCE:
        return new_memories(message, defaults, now)
    rows: list[NewMemory] = []
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        await trio.lowlevel.checkpoint()
        some = attrs.evolve(message, texts=texts[start : start + _ROWS_AT_ONCE])
        rows += new_memories(some, defaults, now)
    return rows


class Writing:
    """Every change of the memory. Methods may be called by several tasks; each takes the lane for itself.

    All raise `MemoryFailed` (the message says whether anything was changed), `MemoryRefused` (nothing was) and, where
    texts are embedded, `LLMError` (nothing was).
    """

    def __init__(
        self,
        store: MemoryStore,
        derived: Derived,
        *,
        new_index: Callable[[int], VectorIndex],
        embed: Embed,
        embedder: str | None,
        defaults: MemoryDefaults,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._derived = derived
        self._new_index = new_index
        self._embed = embed
        self._embedder = embedder
        self._defaults = defaults

    async def put(self, rows: Sequence[NewMemory], policy: NearDuplicates = "keep") -> Remembered:
        """Store memories, all or none, and deal with near duplicates as `policy` says."""
        if not rows:
            return Remembered()
        rows = await self._with_vectors(rows)
        vectors = [row.vector for row in rows if row.vector is not None]
        async with self._derived.lane.lock:
            near: tuple[Near, ...] = ()
            if policy != "keep" and len(vectors) == len(rows) and self._embedder is not None:
                await self._derived.in_step(len(vectors[0]) // 4)
                threshold = self._defaults.near_threshold
                near = await near_duplicates(self._store, self._derived, self._new_index, rows, vectors, threshold)
                refuse(rows, near, policy)
                rows = await with_what_was_said(self._store, rows, near)
            ids = await self._changing(self._add(rows))
            merged = await self._merge(rows, ids, near)
        await self._derived.add_formerly(ids, rows)
        return Remembered(ids, merged)

    async def restore(self, rows: Sequence[KeptMemory]) -> tuple[int, ...]:
        """Store memories as they were elsewhere, all or none."""
        if not rows:
            return ()
        made = await self._with_vectors([row.memory for row in rows])
        kept = [attrs.evolve(row, memory=memory) for row, memory in zip(rows, made, strict=True)]
        async with self._derived.lane.lock:
            ids = await self._changing(self._restore(kept, made))
        await self._derived.add_formerly(ids, made)
        return ids

    async def supersede(self, ids: Sequence[int], row: NewMemory) -> int:
        """Let one memory stand for others."""
        (made,) = await self._with_vectors([row])
        async with self._derived.lane.lock:
            new = await self._changing(self._supersede(ids, made))
        await self._derived.add_formerly((new,), (made,))
        return new

    async def mark_superseded(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Let memories that are there stand for others that are there."""

        async def mark() -> tuple[None, int]:
            await self._store.mark_superseded(pairs)
            self._derived.selections.removed([old for old, _ in pairs], only_living=True)
            return None, 1

        async with self._derived.lane.lock:
            await self._changing(mark())

    async def erase(self, ids: Sequence[int]) -> int:
        """Erase memories and every trace of them; gives how many were there."""
        texts = await self._store.texts(ids) if self._cache is not None else ()
        async with self._derived.lane.lock:
            erased = await self._changing(self._delete(ids))
            if erased:
                await self._derived.erase_snapshot()
        await self._store.scrub()
        if self._cache is not None and texts:
            await self._forget_vectors(self._cache, texts)
        return erased

    async def _forget_vectors(self, cache: EmbeddingCache, texts: Sequence[str]) -> None:
        """Let the cache forget the vectors of texts, of every embedder that this store knows. Takes no lane."""
        names = await self._store.embedder_names()
        if self._embedder is not None:
            names |= {self._embedder}
        for start in range(0, len(texts), _KEYS_AT_ONCE):
            part = texts[start : start + _KEYS_AT_ONCE]
            await cache.forget([embedding_key(name, text) for name in sorted(names) for text in part])

    async def save(self) -> None:
        """Write the index down, if it has changed and is in step. A store that cannot be read costs a warning."""
        async with self._derived.lane.lock:
            try:
                await self._save()
            except MemoryFailed as error:
                log.warning("[MEMORY] the index was not written down: %s", error)

    # ------------------------------------------------------------ under the lane
    async def _changing(self, work: Awaitable[tuple[T, int]]) -> T:
        """Do `work`, which gives its result and how many changes of the store it was; then see where we are."""
        before = self._derived.generation
        try:
            result, changes = await work
        except MemoryRefused:
            raise
        except MemoryFailed:
            self._derived.lost_step()
            raise
        await self._derived.took(before, changes)
        space = self._derived.space
        if space is not None and space.unsaved >= max(self._defaults.snapshot_every, len(space.index) // 10):
            await self._save()
        return result

    async def _add(self, rows: Sequence[NewMemory]) -> tuple[tuple[int, ...], int]:
        ids = await self._store.add(rows)
        await self._derived.added(ids, rows)
        return ids, 1

    async def _restore(self, kept: Sequence[KeptMemory], rows: Sequence[NewMemory]) -> tuple[tuple[int, ...], int]:
        ids = await self._store.restore(kept)
        await self._derived.added(ids, rows)
        return ids, 1

    async def _supersede(self, ids: Sequence[int], row: NewMemory) -> tuple[int, int]:
        new = await self._store.supersede(ids, row)
        self._derived.selections.removed(ids, only_living=True)
        await self._derived.added((new,), (row,))
        return new, 1

    async def _delete(self, ids: Sequence[int]) -> tuple[int, int]:
        erased = await self._store.delete(ids)
        await self._derived.removed(ids)
        return erased, 1

    async def _merge(
        self, rows: Sequence[NewMemory], ids: Sequence[int], near: Sequence[Near]
    ) -> tuple[NearDuplicate, ...]:
        """Let rows that are stored now stand for what they nearly say."""
        merged: list[NearDuplicate] = []
        gone: set[int] = set()
        for one in near:
            new, old = ids[one.index], ids[one.row] if one.row is not None else one.id
            if old is None or old == new or old in gone or new in gone:
                continue
            await self._changing(self._supersede((old,), rows[one.index]))
            gone.add(old)
            merged.append(NearDuplicate(one.index, old, one.score))
            log.info("[MEMORY] memory %d stands for %d now, which is nearly the same (%.3f)", new, old, one.score)
        return tuple(merged)

    async def _save(self) -> None:
        space, state = self._derived.space, self._derived.generation
        # One that is behind may hold what somebody else has erased since.
        if space is not None and state is not None and state == await self._store.generation():
            await space.save(state)

    async def _with_vectors(self, rows: Sequence[NewMemory]) -> tuple[NewMemory, ...]:
        """The rows; those without a vector of today's embedder get one. Takes no lane: embedding may be slow."""
        embedder = self._embedder
        if embedder is None:
            return tuple(rows)
        wanting = [n for n, row in enumerate(rows) if row.vector is None or row.embedder != embedder]
        made: dict[int, Vector] = {}
        if wanting:
            made = dict(zip(wanting, await self._embed([rows[n].content for n in wanting]), strict=True))
        given: list[NewMemory] = []
        for n, row in enumerate(rows, 1):
            given.append(row.embedded(made[n - 1], embedder) if n - 1 in made else row)
            if n % _ROWS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return tuple(given)
