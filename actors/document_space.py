"""The vectors of all passages, in step with the store whenever they are searched.

The same as the memory does with its vectors (`memory_space`), with what documents do not need left away: there is one
embedder, no filter, and no snapshot.
"""

from __future__ import annotations

from collections.abc import Callable

from .memory_space import Lane, VectorSpace
from .protocols import DocumentStore, Vector, VectorIndex


class PassageSpace:
    """An index of the passages that have a vector of one embedder; for any number of askers at once."""

    def __init__(self, store: DocumentStore, index: Callable[[int], VectorIndex], embedder: str) -> None:
        """Give the truth, what makes an empty index for vectors of so many numbers, and whose vectors are meant."""
        self._store = store
        self._new_index = index
        self._embedder = embedder
        self._lane = Lane(-1, threads=True)  # always in a thread: a first search imports a large library
        self._space: VectorSpace | None = None
        self._generation = -1  # of the store, that the index shows

    async def search(self, vector: Vector, k: int) -> tuple[tuple[int, float], ...]:
        """The nearest passages. Cancelled: the index may be behind, which the next search makes good.

        Raises:
            DocumentsFailed: the store could not be read.
        """
        async with self._lane.lock:
            index = (await self._in_step(len(vector) // 4)).index
            return await self._lane.run(len(index), index.search, vector, k)

    def outgrown(self) -> bool:
        """Whether another kind of index would suit so many passages better."""
        return self._space is not None and self._space.index.outgrown()

    async def grow(self) -> None:
        """Put an index of the kind that suits in the place of this one; it is searched as ever meanwhile.

        Cancelled: the old one stays.
        """
        if self._space is not None:
            await self._space.change_kind()

    async def _in_step(self, dim: int) -> VectorSpace:
        generation = await self._store.generation()
        space = self._space
        if space is None or space.dim != dim or generation < self._generation:
            self._generation = -1
            former, index = space, self._new_index(dim)
            self._space = space = VectorSpace(
                self._store, index, embedder=self._embedder, lane=self._lane, about="[DOCUMENTS]"
            )
            if former is not None:
                await former.let_go()
        if self._generation != generation:
            self._generation = -1
            await space.catch_up()
            self._generation = generation
        return space
