"""One SQLite file behind one worker thread at a time: what the memory store and the embedding cache stand on.

Each piece of work is one hop into a thread, under a limiter of one, so that the connection never sees two
threads at once and the event loop never waits for a disk. A piece of work that has begun is finished even if
its task is cancelled: it is bounded by the busy timeout and by the disk, and cutting it in the middle would
leave nobody knowing what happened. Cancelled before it began: nothing was done.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Seconds = float

BUSY_TIMEOUT: Seconds = 5.0
"""How long another process may hold the file before we give up."""
_CLOSE_BOUND: Seconds = 10.0


class ClosedFile(sqlite3.ProgrammingError):
    """The file was closed by `aclose`."""


class SqliteThread:
    """A connection that is opened on first use; `prepare` makes a raw one fit for use, or raises."""

    def __init__(self, path: str | os.PathLike[str], prepare: Callable[[sqlite3.Connection], None]) -> None:
        self.path: Path = Path(path)
        self._prepare = prepare
        self._limiter = trio.CapacityLimiter(1)
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def run(self, work: Work[T]) -> T:
        """Do `work` with the connection, in a thread. Raises what it raises; sqlite3 errors and OSError as they are.

        Cancelled: either `work` was not begun, or it was done to its end.
        """
        return await trio.to_thread.run_sync(self._work, work, limiter=self._limiter)

    async def aclose(self) -> None:
        """Close the file after the work in hand. Idempotent; later work raises `ClosedFile`.

        What was never opened is closed without a thread.
        """
        if self._connection is None and not self._limiter.borrowed_tokens:
            self._closed = True
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(_CLOSE_BOUND, shield=True):
            await trio.to_thread.run_sync(self._close, limiter=self._limiter)

    def reopen(self) -> sqlite3.Connection:
        """A new connection instead of the present one; for use inside of work, when the old one is in doubt."""
        self._drop()
        self._connection = connection = self._open()
        return connection

    def connect(self, path: str) -> sqlite3.Connection:
        """The raw connection; tests put their own in its place."""
        return sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)

    def _work(self, work: Work[T]) -> T:
        if self._closed:
            raise ClosedFile(f"{self.path} was closed")
        return work(self._connection or self.reopen())

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Made by us, so that it is private from its first byte; SQLite gives its side files the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = self.connect(str(self.path))
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def wal(connection: sqlite3.Connection, synchronous: int) -> str:
    """Set the journal to WAL and `synchronous` (1 normal, 2 full); gives the journal mode that holds.

    Some network file systems have no WAL: then the rollback journal stays, which is slower and as safe.

    Raises:
        sqlite3.OperationalError: the setting of `synchronous` did not hold, so that nothing would be durable.
    """
    mode = str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
    connection.execute(f"PRAGMA synchronous={synchronous}")
    held = int(connection.execute("PRAGMA synchronous").fetchone()[0])
    if held != synchronous:
        raise sqlite3.OperationalError(f"PRAGMA synchronous is {held} instead of {synchronous}")
    return mode
