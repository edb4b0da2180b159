"""One SQLite file behind one worker thread at a time: what the memory store and the embedding cache stand on.

Each piece of work is one hop into a thread, under a limiter of one, so that the connection never sees two
threads at once and the event loop never waits for a disk. A piece of work that has begun is finished even if
its task is cancelled: it is bounded by the busy timeout and by the disk, and cutting it in the middle would
leave nobody knowing what happened. Cancelled before it began: nothing was done.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import trio

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Seconds = float

BUSY_TIMEOUT: Seconds = 5.0
"""How long another process may hold the file before we give up."""
_CLOSE_BOUND: Seconds = 10.0
_MAY_NOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)


class ClosedFile(sqlite3.ProgrammingError):
    """The file was closed by `aclose`."""


class AnotherFile(sqlite3.OperationalError):
    """Where the file was that we have open is another one, or none: what is written now nobody will find again."""


class SqliteThread:
    """A connection that is opened on first use; `prepare` makes a raw one fit for use, or raises.

    With `reading_will_do` a file that is there, and that we may only read, is opened for that: `read_only` says so,
    and work that writes raises `sqlite3.OperationalError`. Where not even SQLite's side files may be made, what is
    read is the file as it was when it was opened. With `only_this_file` work raises `AnotherFile` when the file was
    removed or replaced since: it is neither written to what is gone, nor is the log of one file read into another.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        prepare: Callable[[sqlite3.Connection], None],
        *,
        reading_will_do: bool = False,
        only_this_file: bool = False,
    ) -> None:
        self.path: Path = Path(path)
        self.read_only: bool = False
        self._prepare = prepare
        self._reading_will_do = reading_will_do
        self._only_this_file = only_this_file
        self._opened: int | None = None
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
        self._opened = self._on_disk()
        return connection

    def connect(self, path: str, *, uri: bool = False) -> sqlite3.Connection:
        """The raw connection; tests put their own in its place."""
        return sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, uri=uri)

    def _work(self, work: Work[T]) -> T:
        if self._closed:
            raise ClosedFile(f"{self.path} was closed")
        connection = self._connection or self.reopen()
        if self._only_this_file and self._on_disk() != self._opened:
            raise AnotherFile("it was removed or replaced while it was open")
        try:
            return work(connection)
        except BaseException as error:
            _let_go(error)
            raise

    def _on_disk(self) -> int | None:
        """Which file is there now, by what SQLite itself tells files apart."""
        try:
            return self.path.stat().st_ino
        except FileNotFoundError:
            return None

    def _open(self) -> sqlite3.Connection:
        self.read_only = False
        try:
            return self._open_to_write()
        except (OSError, sqlite3.Error) as error:
            if not (self._reading_will_do and _may_not_write(error) and os.access(self.path, os.R_OK)):
                raise
            self.read_only = True
            try:
                return self._open_to_read()
            except sqlite3.OperationalError as again:  # there is something in its log that we may not bring in
                raise error from again

    def _open_to_read(self) -> sqlite3.Connection:
        name = quote(str(self.path.absolute()))
        if any(Path(f"{self.path}{end}").exists() for end in ("-wal", "-shm", "-journal")):  # somebody has it open
            return self._prepared(self.connect(f"file:{name}?mode=ro", uri=True))
        return self._prepared(self.connect(f"file:{name}?mode=ro&immutable=1", uri=True))

    def _open_to_write(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Made by us, so that it is private from its first byte; SQLite gives its side files the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        return self._prepared(self.connect(str(self.path)))

    def _prepared(self, connection: sqlite3.Connection) -> sqlite3.Connection:
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


def _let_go(error: BaseException) -> None:
    """Let go of what the frames of an error hold: a cursor in one of them keeps its tables locked while it lives."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not any(cause is one for one in seen):
        traceback.clear_frames(cause.__traceback__)
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__


def _may_not_write(error: Exception) -> bool:
    """Whether it says that a file or its folder may not be written."""
    if isinstance(error, OSError):
        return error.errno in _MAY_NOT_WRITE
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


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
