"""What is derived from the store, and how it is kept in step: the vectors, and who is meant by which filter.

All of it has one generation, that of the store's state which it shows. Whoever changes the store says so here, under
the lane, and if the change was the only one the generation moves on with it; else it stays behind, and the next
recall brings everything up to date.

After a change of embedder most memories have no vector that today's queries compare with. They are embedded again
behind the scenes, and until that is done the former vectors serve, if their embedder is still to be had; if not,
what has no vector yet is found by its words.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from trouper.runtime import BadRequest, LLMError, MemoryFailed

from .memory_data import NewMemory
from .memory_selections import Selections
from .memory_space import Lane, VectorSpace
from .protocols import Embedder, Generation, MemoryStore, Vector, VectorIndex

log: logging.Logger = logging.getLogger("trouper.memory")

FEW = 64
"""So many memories without a vector are embedded before the search that finds them out; more of them behind it."""
A_PART = 256

Embed = Callable[[Sequence[str]], Awaitable[tuple[Vector, ...]]]


class Derived:
    """The vectors and the selections of one store. All but `lane` and `embed_part` wants `lane.lock` to be held."""

    def __init__(
        self,
        store: MemoryStore,
        new_index: Callable[[int], VectorIndex],
        *,
        embedder: str,
        embed: Embed,
        embed_behind: Embed,
        former: Callable[[str], Embedder | None] | None,
        snapshot: str | None,
        threads_above: int,
        now: Callable[[], float],
    ) -> None:
        self.lane: Lane = Lane(threads_above, threads=snapshot is not None)
        self.selections: Selections = Selections(store, now)
        self.space: VectorSpace | None = None
        self.former: VectorSpace | None = None
        self.former_embedder: Embedder | None = None
        self.waiting: int = 0
        """Memories without a vector, as far as they were counted."""
        self._store = store
        self._new_index = new_index
        self._embedder = embedder
        self._embed = embed
        self._embed_behind = embed_behind
        self._find_former = former
        self._snapshot = snapshot
        self._generation: Generation | None = None
        self._hopeless: set[int] = set()  # cannot be embedded, whoever asks

    @property
    def generation(self) -> Generation | None:
        """Which state of the store this shows."""
        return self._generation

    def shows(self, dim: int | None) -> bool:
        """Whether there is something to search, of some state of the store; not whether that is the last one."""
        return self._generation is not None and (dim is None or (self.space is not None and self.space.dim == dim))

    # ------------------------------------------------------------ in step
    async def in_step(self, dim: int | None) -> None:
        """Bring everything to what the store has; `dim` is how long today's vectors are, None if there are none."""
        if dim is not None and (self.space is None or self.space.dim != dim):
            await self._new_space(dim)
            self._generation = None
        now = await self._store.generation()
        if self._generation != now:
            await self._catch_up(now)

    async def _new_space(self, dim: int) -> None:
        before, self.space = (
            self.space,
            VectorSpace(
                self._store, self._new_index(dim), embedder=self._embedder, lane=self.lane, snapshot=self._snapshot
            ),
        )
        if before is not None:
            await before.let_go()

    async def drop_former(self) -> None:
        """Let go of what has served until now."""
        former, self.former, self.former_embedder = self.former, None, None
        if former is not None:
            await former.let_go()

    async def _catch_up(self, now: Generation) -> None:
        self.selections.clear()
        known = self._generation is None or await self._store.knows(self._generation)
        self._generation = None
        if not known and self.space is not None:  # another store lies where ours was
            await self._new_space(self.space.dim)
            await self.drop_former()
        if self.space is None:
            self._generation = now
            return
        changes = await self._give_vectors(self.space)
        await self.space.catch_up()
        if self.former is not None:
            await self.former.catch_up()
        self._generation = now
        await self.took(now, changes)

    async def took(self, before: Generation | None, changes: int) -> None:
        """`changes` of ours were made to the store and to what is derived; before them it was `before`."""
        if before is None or not changes or self._generation != before:
            return
        try:
            now = await self._store.generation()
        except MemoryFailed as error:  # what was stored is stored; the next search will look again
            log.warning("[MEMORY] %s", error)
            return
        if now.number == before.number + changes:
            self._generation = now

    def lost_step(self) -> None:
        """Nobody knows whether the store was changed."""
        self._generation = None

    async def added(self, ids: Sequence[int], rows: Sequence[NewMemory]) -> None:
        """The store has these now; some of them may have been there before."""
        await self.selections.put(ids, {row.namespace for row in rows})
        space = self.space
        if space is None or self._generation is None:
            return
        given = {
            number: row.vector
            for number, row in zip(ids, rows, strict=True)
            if row.vector is not None and row.embedder == space.embedder and len(row.vector) == 4 * space.dim
        }
        await self._into(space, given)

    async def _into(self, space: VectorSpace, vectors: Mapping[int, Vector]) -> None:
        # What is there has this vector already, and some kinds of index would make a copy of it.
        new = [number for number in vectors if number not in space.index]
        await space.add(new, [vectors[number] for number in new])

    async def add_formerly(self, ids: Sequence[int], rows: Sequence[NewMemory]) -> None:
        """Let new memories be found in the space that still serves. Takes the lane; a failure is only logged."""
        embedder, space = self.former_embedder, self.former
        if embedder is None or space is None:
            return
        try:
            vectors = dict(zip(ids, await embedder.embed([row.content for row in rows]), strict=True))
            async with self.lane.lock:
                before = self._generation
                await self._store.set_vectors([(n, vector, space.embedder) for n, vector in vectors.items()])
                await self._into(space, vectors)
                await self.took(before, 1)
        except (LLMError, MemoryFailed) as error:
            log.warning("[MEMORY] new memories are found by their words until all are embedded: %s", error)

    async def removed(self, ids: Sequence[int]) -> None:
        """The store has these no more."""
        self.selections.removed(ids)
        for space in (self.space, self.former):
            if space is not None:
                await space.remove(ids)

    async def erase_snapshot(self) -> None:
        """Erase the snapshot: it holds what was forgotten. Raises `MemoryFailed`."""
        if self._snapshot is None:
            return
        index = self.space.index if self.space is not None else self._new_index(1)
        await self.lane.run(math.inf, index.erase_at, self._snapshot)
        if self.space is not None:
            self.space.unsaved += 1

    # ------------------------------------------------------------ memories without a vector
    async def _give_vectors(self, space: VectorSpace) -> int:
        """Embed what has no vector, if it is little; gives how many changes of the store that were."""
        rows = await self._store.without_vector(space.embedder, space.dim, 0, FEW + len(self._hopeless) + 1)
        wanting = [row for row in rows if row[0] not in self._hopeless]
        self.waiting = len(wanting)
        if not wanting:
            return 0
        if len(wanting) <= FEW:
            try:
                pairs = await self._embedded(wanting, self._embed)
            except (LLMError, MemoryFailed) as error:
                log.warning("[MEMORY] %d memories have no vector yet: %s", len(wanting), error)
                return 0
            self.waiting = 0
            try:
                return await self._store_vectors(space, pairs)
            except MemoryFailed as error:  # a file that may only be read: they are found by their words
                log.warning("[MEMORY] the vectors of %d memories were not stored: %s", len(pairs), error)
                return 0
        await self._find_former_space(space)
        return 0

    async def _find_former_space(self, space: VectorSpace) -> None:
        """Let the vectors of another embedder serve, if there are enough of them and it can still be asked."""
        if self.former is not None or self._find_former is None:
            return
        counts = await self._store.embedders()
        others = {key: count for key, count in counts.items() if key != (space.embedder, space.dim)}
        if not others:
            return
        name, dim = max(others, key=lambda key: others[key])
        if others[name, dim] <= counts.get((space.embedder, space.dim), 0):
            return
        self.former_embedder = self._find_former(name)
        if self.former_embedder is not None:
            self.former = VectorSpace(self._store, self._new_index(dim), embedder=name, lane=self.lane)
            log.info("[MEMORY] until all is embedded by %s the vectors of %s serve", space.embedder, name)

    async def embed_part(self, after: int) -> int | None:
        """Give vectors to some of those that have none; takes the lane itself.

        Cancelled: what was embedded may be lost, nothing else.

        Returns:
            The last id that was tried; None: there are no more, and what served meanwhile has gone.

        Raises:
            LLMError: the embedder cannot be asked now.
            MemoryFailed: the store failed.
        """
        space = self.space
        if space is None:
            return None
        rows = await self._store.without_vector(space.embedder, space.dim, after, A_PART)
        wanting = [row for row in rows if row[0] not in self._hopeless]
        pairs = await self._embedded(wanting, self._embed_behind)
        async with self.lane.lock:
            if self.space is not space:
                return None
            before = self._generation
            changes = await self._store_vectors(space, pairs)
            await self._into(space, dict(pairs))
            if not rows:
                await self.drop_former()
                self.waiting = 0
                log.info("[MEMORY] every memory is embedded by %s", space.embedder)
            await self.took(before, changes)
        return rows[-1][0] if rows else None

    async def drop_others(self) -> int:
        """Let go of the vectors of every other embedder; gives how many embedders that were. Takes the lane itself.

        Not done by itself: another program may be using them.
        """
        async with self.lane.lock:
            if self.space is None or self.former is not None:
                return 0
            before = self._generation
            others = [key for key in await self._store.embedders() if key != (self.space.embedder, self.space.dim)]
            for name, dim in others:
                await self._store.drop_vectors(name, dim)
            await self.took(before, len(others))
            return len(others)

    async def _store_vectors(self, space: VectorSpace, pairs: Sequence[tuple[int, Vector]]) -> int:
        if not pairs:
            return 0
        await self._store.set_vectors([(number, vector, space.embedder) for number, vector in pairs])
        return 1

    async def _embedded(self, rows: Sequence[tuple[int, str]], embed: Embed) -> list[tuple[int, Vector]]:
        """The vectors of these; a text that no embedder takes is found by its words only, and is not asked again."""
        if not rows:
            return []
        try:
            vectors = await embed([text for _, text in rows])
            return [(number, vector) for (number, _), vector in zip(rows, vectors, strict=True)]
        except BadRequest as error:
            if len(rows) == 1:
                log.warning("[MEMORY] memory %d cannot be embedded, it is found by its words: %s", rows[0][0], error)
                self._hopeless.add(rows[0][0])
                return []
        await trio.lowlevel.checkpoint()
        middle = len(rows) // 2
        return [*await self._embedded(rows[:middle], embed), *await self._embedded(rows[middle:], embed)]
