"""The memory store that forgets with the process: the same statements over a database without a file."""

from __future__ import annotations

import sqlite3
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

import trio

from trouper.runtime import MemoryFailed

from . import store_statements as say
from .store_schema import create
from .store_sql import SqlMemoryStore, Work

T = TypeVar("T")


class InMemoryStore(SqlMemoryStore):
    """Port `MemoryStore` in memory. No thread, no file; each method is a checkpoint before it does anything."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        super().__init__(now)
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def scrub(self) -> None:
        """Nothing is on any disk."""
        await self._begin()

    async def aclose(self) -> None:
        """Close. Idempotent; later calls raise `MemoryFailed`."""
        await trio.lowlevel.checkpoint()
        self._closed = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _read(self, work: Work[T]) -> T:
        connection = await self._begin()
        connection.execute("BEGIN")
        try:
            return work(connection)
        finally:
            connection.execute("ROLLBACK")

    async def _change(self, work: Work[T], *, counts: bool = True) -> T:
        connection = await self._begin()
        connection.execute("BEGIN")
        try:
            result = work(connection)
            if counts:
                say.next_generation(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result

    async def _begin(self) -> sqlite3.Connection:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise MemoryFailed("the memory was closed. Its troupe has ended; open another.")
        if self._connection is None:
            self._connection = connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            # Nobody has to close what has no file; Python 3.13 warns of a connection that is only dropped. No
            # `__del__`: in a cycle the connection's own may come first.
            weakref.finalize(self, connection.close)
            create(connection)
            say.teach(connection)
        return self._connection
