"""The vectors of one embedder: an index, and how it is brought to what the store has.

An id is never used twice and its vector never changes, so an index of any earlier state of the same store is brought
up to date by the ids alone: what it has and the store has not is taken out, what the store has and it has not is put
in. Whether a state is an earlier one of this store is the store's word (`knows`): a store that was made anew, or put
back from a backup and gone another way, does not know it, and then nothing of the index is believed.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from trouper.runtime import MemoryFailed

from .memory_data import Selection
from .protocols import Generation, Vector, VectorIndex, VectorRows

T = TypeVar("T")
log: logging.Logger = logging.getLogger("trouper.memory")

_A_READ = 2_000
"""Vectors in one read of the store: what is done with all of them in one piece then takes 3 ms at most."""
_BY_ID = 2_000
"""So many missing vectors are read by their ids; if there are more, all are read and the missing ones taken."""
_PUT_IN_HERE = 250
"""To put one in costs as much as to look at twenty: after so many the loop comes round."""


class Lane:
    """Where work on indexes happens: here if it is small, else in one thread; one piece at a time.

    Whoever holds `lock` has the indexes for itself: a search never sees half a change.
    """

    def __init__(self, threads_above: int, *, threads: bool) -> None:
        self.lock: trio.Lock = trio.Lock()
        self._threads_above = threads_above
        self._limiter = trio.CapacityLimiter(1)
        self._cold = threads

    def is_here(self, size: float) -> bool:
        """Whether work on so many vectors is done in the loop."""
        return size <= self._threads_above and not self._cold

    async def warm(self, index: VectorIndex, count: int) -> None:
        """Tell an index what to expect; the first time in a thread in any case: it may import a large library."""
        await self.run(count, index.expect, count)
        self._cold = False

    async def run(self, size: float, work: Callable[..., T], *args: object) -> T:
        """Do `work`; it is not left behind by a cancellation."""
        if self.is_here(size):
            return work(*args)
        return await trio.to_thread.run_sync(functools.partial(work, *args), limiter=self._limiter)


class VectorSpace:
    """One embedder's vectors of one length. Every method wants `lane.lock` to be held, unless it says otherwise."""

    def __init__(
        self,
        store: VectorRows,
        index: VectorIndex,
        *,
        embedder: str,
        lane: Lane,
        snapshot: str | None = None,
        about: str = "[MEMORY]",
    ) -> None:
        """Give the index to fill, where it is kept, and `about`, whose it is in log lines."""
        self.index: VectorIndex = index
        self.embedder: str = embedder
        self.dim: int = index.dim
        self.unsaved: int = 0
        self.saved: int = 0
        self._store = store
        self._lane = lane
        self._snapshot = snapshot
        self._about = about
        self._loaded = False
        self._log: list[tuple[Sequence[int], Sequence[Vector] | None]] | None = None
        self._saving = trio.Lock()

    # ------------------------------------------------------------ in step with the store
    async def catch_up(self) -> None:
        """Bring the index to what the store has. Cancelled: it is behind, and so is what is said of it."""
        if not self._loaded:
            await self._load()
        wanted = await self._store.vector_ids(self.embedder, self.dim)
        await self._lane.warm(self.index, len(wanted))
        gone, new = await self._lane.run(len(wanted), self._difference, wanted)
        if gone:
            await self.remove(gone)
        if not new:
            return
        if len(new) <= _BY_ID:
            found = await self._store.vectors_of(self.embedder, self.dim, new)
            await self.add([number for number, _ in found], [vector for _, vector in found])
            return
        after = new[0] - 1
        while part := await self._store.vectors(self.embedder, self.dim, after, _A_READ):
            after = part[-1][0]
            pairs = [pair for pair in part if pair[0] not in self.index]
            await self.add([number for number, _ in pairs], [vector for _, vector in pairs])
        log.info("%s index of %d vectors made from the store", self._about, len(self.index))

    async def _load(self) -> None:
        if self._snapshot is not None:
            stamp = await self._lane.run(math.inf, self.index.stamp_at, self._snapshot)
            state = self._state_of(stamp)
            if stamp is not None and state is not None and await self._store.knows(state):
                load = functools.partial(self.index.load, self._snapshot, stamp=stamp)
                if await self._lane.run(math.inf, load):
                    log.info("%s %d vectors from the snapshot", self._about, len(self.index))
        self._loaded = True

    def _difference(self, wanted: Sequence[int]) -> tuple[list[int], list[int]]:
        # One by one, not by sets: those of a million are made in one piece, and nobody else comes round meanwhile.
        new = [number for number in wanted if number not in self.index]
        if len(self.index) == len(wanted) - len(new):
            return [], new
        known = frozenset(wanted)
        return [number for number in self.index.ids() if number not in known], new

    # ------------------------------------------------------------ changing and searching
    async def add(self, ids: Sequence[int], vectors: Sequence[Vector]) -> None:
        """Put in what the store has. Cancelled: the first of them may be in."""
        size = len(self.index) + len(ids)
        at_once = _PUT_IN_HERE if self._lane.is_here(size) else len(ids)
        for start in range(0, len(ids), at_once or 1):
            if start:
                await trio.lowlevel.checkpoint()
            some, theirs = ids[start : start + at_once], vectors[start : start + at_once]
            await self._lane.run(size, self.index.add, some, theirs)
            self._changed(some, theirs)

    async def remove(self, ids: Sequence[int]) -> None:
        """Take out what the store has no more."""
        if await self._lane.run(len(self.index), self.index.remove, ids):
            self._changed(ids, None)

    async def search(self, vector: Vector, k: int, among: Selection) -> tuple[tuple[int, float], ...]:
        """The nearest of a selection."""
        return await self._lane.run(len(self.index), self.index.search, vector, k, among)

    def _changed(self, ids: Sequence[int], vectors: Sequence[Vector] | None) -> None:
        self.unsaved += len(ids)
        if self._log is not None:
            self._log.append((ids, vectors))

    # ------------------------------------------------------------ another kind of index
    async def change_kind(self) -> bool:
        """Build an index of the kind that suits, and put it in the place of this one. Takes `lane.lock` itself.

        While it is built, which may take minutes, the old one is searched and changed as ever; what has changed
        meanwhile is done to the new one too. Cancelled: the old one stays.
        """
        async with self._lane.lock:
            if self._log is not None or not self.index.outgrown():
                return False
            build = await self._lane.run(math.inf, self.index.successor)
            self._log = []
        try:
            # A thread of its own: searches go on. Left behind when we are stopped: what it makes is dropped.
            other = await trio.to_thread.run_sync(build, abandon_on_cancel=True)
            del build
            async with self._lane.lock:
                for ids, vectors in self._log:
                    if vectors is None:
                        await self._lane.run(len(other), other.remove, ids)
                    else:
                        await self._lane.run(len(other) + len(ids), other.add, ids, vectors)
                log.info("%s the index is %s now, %d vectors", self._about, other.kind, len(other))
                former, self.index = self.index, other
                self.unsaved += len(other)
                await self._lane.run(len(former), former.clear)
        finally:
            self._log = None
        return True

    async def let_go(self) -> None:
        """Let the vectors go; to be asked nothing more. They are freed in a thread: a million hold the loop up."""
        await self._lane.run(len(self.index), self.index.clear)

    # ------------------------------------------------------------ snapshots
    async def save(self, state: Generation) -> None:
        """Write the index down as that of `state`; one that cannot be written costs a warning.

        `lane.lock` is held by the caller: the index is not changed meanwhile, and recalls wait. With 100,000 vectors
        that is half a second, every so many changes.
        """
        if self._snapshot is None or not self.unsaved:
            return
        stamp = f"{self.embedder}#{state.number}#{state.mark}"
        try:
            await self._lane.run(math.inf, functools.partial(self.index.save, self._snapshot, stamp=stamp))
            self.unsaved = 0
            self.saved += 1
        except MemoryFailed as error:
            log.warning("%s %s", self._about, error)

    def _state_of(self, stamp: str | None) -> Generation | None:
        if stamp is None:
            return None
        embedder, _, state = stamp.rpartition("#")[0].rpartition("#")
        mark = stamp.rpartition("#")[2]
        return Generation(int(state), mark) if embedder == self.embedder and state.isdecimal() else None
