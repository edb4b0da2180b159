"""The memory store that forgets with the process: the fake beside `store_sqlite`, for tests and for trying out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from trouper.actors.protocols import Generation, MemoryRow, Vector
from trouper.runtime import MemoryFailed

from .memory_rows import check_vector, new_row


class InMemoryStore:
    """Port `MemoryStore` over a dict. No thread, no file; each method is a checkpoint before it does anything."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._rows: dict[int, MemoryRow] = {}
        self._ids: dict[bytes, int] = {}
        self._last = 0
        self._generation = 0
        self._closed = False

    async def add(self, rows: Sequence[tuple[str, Mapping[str, object], Vector, str]]) -> tuple[int, ...]:
        """Insert `(content, meta, vector, embedder)`; the same content again gives the old id. Ids in order."""
        checked = [new_row(*row) for row in rows]
        await self._begin()
        created = self._now()
        for row in checked:
            if row.key not in self._ids:
                self._last += 1
                self._ids[row.key] = self._last
                self._rows[self._last] = MemoryRow(
                    id=self._last,
                    content=row.content,
                    created=created,
                    meta=json.loads(row.meta),
                    vector=row.vector,
                    embedder=row.embedder,
                )
        self._generation += 1
        return tuple(self._ids[row.key] for row in checked)

    async def get(self, ids: Sequence[int]) -> tuple[MemoryRow, ...]:
        """The rows that exist, in the order asked."""
        await self._begin()
        return tuple(self._rows[number] for number in ids if number in self._rows)

    async def all_rows(self) -> tuple[MemoryRow, ...]:
        """Every row, oldest first."""
        await self._begin()
        return tuple(self._rows.values())

    async def set_vectors(self, rows: Sequence[tuple[int, Vector, str]]) -> None:
        """Replace `(id, vector, embedder)`. Ids that are gone are passed over."""
        for _, vector, _ in rows:
            check_vector(vector)
        await self._begin()
        for number, vector, embedder in rows:
            if number in self._rows:
                self._rows[number] = attrs.evolve(self._rows[number], vector=bytes(vector), embedder=embedder)
        self._generation += 1

    async def delete(self, ids: Sequence[int]) -> int:
        """Erase; gives how many were there."""
        await self._begin()
        gone = set(ids) & self._rows.keys()
        for number in gone:
            del self._rows[number]
        self._ids = {key: number for key, number in self._ids.items() if number not in gone}
        self._generation += 1
        return len(gone)

    async def count(self) -> int:
        """How many there are."""
        await self._begin()
        return len(self._rows)

    async def generation(self) -> Generation:
        """Which state this is; without a mark, since nothing that is derived from it outlives it."""
        await self._begin()
        return Generation(self._generation)

    async def aclose(self) -> None:
        """Close. Idempotent; later calls raise `MemoryFailed`."""
        await trio.lowlevel.checkpoint()
        self._closed = True

    async def _begin(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise MemoryFailed("the memory was closed. Its troupe has ended; open another.")
