"""What a memory store does, in transactions that somebody else carries out: the same for a file and for none."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from trouper.actors.memory_data import KeptMemory, MemoryFilter, MemoryRow, NewMemory, Selection, StoreStatistics
from trouper.actors.protocols import Generation, Looked, Question, Vector

from . import store_statements as say
from . import store_vectors as vec
from .store_insert import checked, insert_all
from .store_restore import restore
from .store_schema import number
from .store_variety import varied
from .store_words import find_words

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class SqlMemoryStore(ABC):
    """Port `MemoryStore` in SQL. One transaction a call, durable when it returns.

    Cancelled: either nothing was done or all of it. Every method raises `MemoryFailed` when the store cannot be read
    or written; then nothing was changed, unless the message says that nobody knows.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now: Callable[[], float] = now

    @abstractmethod
    async def _read(self, work: Work[T]) -> T:
        """Do `work` in a transaction that changes nothing."""

    @abstractmethod
    async def _change(self, work: Work[T], *, counts: bool = True) -> T:
        """Do `work` in a transaction. With `counts` it is another state of the store afterwards."""

    @abstractmethod
    async def scrub(self) -> None:
        """See to it that no file holds a byte of what was erased."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close. Idempotent; later calls raise `MemoryFailed`."""

    # ------------------------------------------------------------ putting in
    async def add(self, rows: Sequence[NewMemory]) -> tuple[int, ...]:
        """Put memories in; gives their ids in order.

        One whose text is there keeps its id and what it says, and lives as long as the longer of both; one that is
        there but superseded or expired begins anew under its old id.

        Raises:
            MemoryRefused: a row cannot be stored; none was.
        """
        given = tuple(rows)
        now = self._now()
        return await self._change(lambda connection: insert_all(connection, given, now))

    async def restore(self, rows: Sequence[KeptMemory]) -> tuple[int, ...]:
        """Put memories in as they were elsewhere; gives their ids in order. See `store_restore`.

        Raises:
            MemoryRefused: a row cannot be stored; none was.
        """
        given, now = tuple(rows), self._now()
        return await self._change(lambda connection: restore(connection, given, now))

    async def supersede(self, ids: Sequence[int], row: NewMemory) -> int:
        """Put `row` in, in the place of others, which are kept and not found any more; gives its id.

        Raises:
            MemoryRefused: it cannot be stored, or one of the others is not there. Nothing was done.
        """
        now = self._now()

        def work(connection: sqlite3.Connection) -> int:
            (one,) = checked([row])
            return say.supersede(connection, ids, one, now)

        return await self._change(work)

    async def mark_superseded(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Let the second of each pair stand for the first; pairs that are not both there are passed over."""
        given = tuple(pairs)
        await self._change(lambda connection: say.mark_superseded(connection, given))

    async def set_vectors(self, rows: Sequence[tuple[int, Vector, str]]) -> None:
        """Store `(id, vector, embedder)`. Ids that are gone are passed over, and so is a vector that is there.

        Raises:
            MemoryRefused: a vector cannot be one; none was stored.
        """
        vec.check_vectors(rows)
        given = tuple(rows)
        await self._change(lambda connection: vec.put_vectors(connection, given))

    async def drop_vectors(self, embedder: str, dim: int) -> None:
        """Let the vectors of an embedder go."""
        await self._change(lambda connection: vec.drop_vectors(connection, embedder, dim))

    async def count_uses(self, uses: Mapping[int, int]) -> None:
        """Add to how often memories were recalled. That is no change of what is found."""
        now, given = self._now(), dict(uses)
        await self._change(lambda connection: say.count_uses(connection, given, now), counts=False)

    # ------------------------------------------------------------ reading
    async def get(self, ids: Sequence[int]) -> tuple[MemoryRow, ...]:
        """The rows that exist, in the order asked."""
        wanted = tuple(ids)
        return await self._read(lambda connection: say.get(connection, wanted))

    async def page(self, after: int, limit: int, meant: MemoryFilter) -> tuple[MemoryRow, ...]:
        """At most `limit` memories that are meant, whose ids are larger than `after`, by id."""
        now = self._now()
        return await self._read(lambda connection: say.page(connection, after, limit, meant, now))

    async def select(self, meant: MemoryFilter) -> Selection:
        """The ids of what is meant, now."""
        now = self._now()
        return await self._read(lambda connection: say.select(connection, meant, now))

    async def select_among(self, filters: Sequence[MemoryFilter], ids: Sequence[int]) -> tuple[Selection, ...]:
        """Which of `ids` each of the filters means, now."""
        now, given, among = self._now(), tuple(filters), tuple(dict.fromkeys(ids))
        return await self._read(
            lambda connection: tuple(say.select(connection, meant, now, among) for meant in given),
        )

    async def find_words(
        self, query: str, limit: int, among: Selection, *, thorough: bool = False
    ) -> tuple[tuple[int, float], ...]:
        """At most `limit` memories of `among` that share words with `query`: id and score (0 to 1), best first.

        Words that many have are left out, unless `thorough`, for the time that they take.
        """
        return await self._read(lambda connection: find_words(connection, query, among, limit, thorough=thorough))

    async def look(self, ids: Sequence[int], question: Question | None = None) -> Looked:
        """The rows that exist, in the order asked, how near they are to a question, and of which state that is."""
        wanted = tuple(ids)
        return await self._read(lambda connection: say.look(connection, wanted, question))

    async def vary(
        self, embedder: str, dim: int, scores: Mapping[int, float], k: int, diversity: float
    ) -> tuple[int, ...]:
        """At most `k` of the memories in `scores`, each chosen for its score and for being unlike those before it."""
        given = dict(scores)
        return await self._read(lambda connection: varied(connection, embedder, dim, given, k, diversity))

    async def vector_ids(self, embedder: str, dim: int) -> tuple[int, ...]:
        """The ids that have a vector of this embedder and length."""
        return await self._read(lambda connection: vec.vector_ids(connection, embedder, dim))

    async def vectors(self, embedder: str, dim: int, after: int, limit: int) -> list[tuple[int, Vector]]:
        """At most `limit` of those vectors whose ids are larger than `after`, by id."""
        return await self._read(lambda connection: vec.vectors(connection, embedder, dim, after, limit))

    async def vectors_of(self, embedder: str, dim: int, ids: Sequence[int]) -> list[tuple[int, Vector]]:
        """Those vectors of these memories, as far as there are any."""
        wanted = tuple(ids)
        return await self._read(lambda connection: vec.vectors_of(connection, embedder, dim, wanted))

    async def without_vector(self, embedder: str, dim: int, after: int, limit: int) -> tuple[tuple[int, str], ...]:
        """At most `limit` memories that have no such vector, whose ids are larger than `after`: id and text."""
        return await self._read(lambda connection: vec.without_vector(connection, embedder, dim, after, limit))

    async def embedders(self) -> Mapping[tuple[str, int], int]:
        """How many vectors there are by embedder and dimension."""
        return await self._read(vec.embedders)

    async def embedder_names(self) -> frozenset[str]:
        """Who has made vectors that are here, or was to; without counting them, which looks at every one."""
        return await self._read(vec.embedder_names)

    async def expired(self, limit: int) -> tuple[int, ...]:
        """At most `limit` memories whose time has passed."""
        now = self._now()
        return await self._read(lambda connection: say.expired(connection, now, limit))

    async def texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        """What these memories say, as far as they are there; of damaged ones, what is in their place."""
        wanted = tuple(dict.fromkeys(ids))
        return await self._read(lambda connection: say.texts(connection, wanted))

    async def count(self) -> int:
        """How many memories there are, dead ones too."""
        return await self._read(lambda connection: number(connection, "SELECT count(*) FROM memory"))

    async def generation(self) -> Generation:
        """Which state this is, by whatever process it came about."""
        return await self._read(say.generation)

    async def knows(self, state: Generation) -> bool:
        """Whether the store was in this state before; False for one that it does not remember."""
        return await self._read(lambda connection: say.knows(connection, state))

    async def statistics(self) -> StoreStatistics:
        """What there is."""
        now, size = self._now(), self._size()
        return await self._read(lambda connection: say.statistics(connection, now, size))

    # ------------------------------------------------------------ taking out
    async def delete(self, ids: Sequence[int]) -> int:
        """Erase; gives how many were there. `scrub` afterwards."""
        gone = tuple(ids)
        return await self._change(lambda connection: say.delete(connection, gone))

    def _size(self) -> int:
        """Bytes on disk."""
        return 0
