"""The truth about memories, in one SQLite file. What was acknowledged is on the disk, what was erased is not.

WAL with `synchronous=FULL`: a commit that returned survives a kill and a power cut. A commit that fails is neither
done nor undone until somebody looks: the file is opened again and asked for the mark that the change has left.
Pages that become free are overwritten (`secure_delete`). What is still in the index of words or in the log of the
database after an erasure is taken out by `scrub`, which is owed, in the file itself, until it was done.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from trouper.actors.protocols import Generation
from trouper.runtime import MemoryFailed

from . import store_statements as say
from .sqlite_thread import BUSY_TIMEOUT, AnotherFile, ClosedFile, SqliteThread, wal
from .store_schema import SCHEMA_VERSION, bring_over, create, is_new, is_ours, number, version_of
from .store_sql import SqlMemoryStore, Work

T = TypeVar("T")
_log = logging.getLogger("trouper.memory")

_CHECK_UP_TO = 16 * 1024 * 1024
"""Smaller files are checked as a whole when they are opened (some 10 ms); in larger ones damage shows on reading."""
_PAGE = 8192
"""Of a new file: five vectors of 384 numbers fill one, where two leave a quarter of 4096 bytes empty. A fifth less to
write, and to keep."""
_PAGES_KB = 16_384
"""What SQLite keeps of the file in memory: the keys of 100,000 memories and the words of a question, which its usual
2 MB push out of each other's way."""
_VACUUM_ABOVE = 0.2
"""The share of free pages at which a scrub writes the file anew without them."""


class SqliteMemoryStore(SqlMemoryStore):
    """Port `MemoryStore` over a file, in a worker thread; see `SqlMemoryStore` for what each method does.

    Cancelled: a transaction that has begun is finished.
    """

    def __init__(self, path: str | os.PathLike[str], *, now: Callable[[], float] = time.time) -> None:
        super().__init__(now)
        self._file = SqliteThread(path, self._prepare, reading_will_do=True, only_this_file=True)

    async def scrub(self) -> None:
        """See to it that no file of the database holds a byte of what was erased.

        Another process that is reading may keep the log of the database from being emptied; that is logged, and done
        by the next scrub.
        """
        await self._mapped(self._scrub, "written")

    async def aclose(self) -> None:
        """Close. Idempotent; later calls raise `MemoryFailed`."""
        await self._file.aclose()

    # ------------------------------------------------------------ transactions
    async def _read(self, work: Work[T]) -> T:
        def within(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

        return await self._mapped(within, "read")

    async def _change(self, work: Work[T], *, counts: bool = True) -> T:
        def within(connection: sqlite3.Connection) -> T:
            result, made = self._before_commit(connection, work, counts=counts)
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                if not self._happened(error, made):
                    raise
            return result

        return await self._mapped(within, "written")

    def _before_commit(
        self, connection: sqlite3.Connection, work: Work[T], *, counts: bool
    ) -> tuple[T, Generation | None]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            made = say.next_generation(connection) if counts else None
        except BaseException:
            if connection.in_transaction:  # SQLite itself rolls back after some errors, a full disk among them
                connection.execute("ROLLBACK")
            raise
        return result, made

    def _happened(self, error: sqlite3.Error, made: Generation | None) -> bool:
        """Whether a commit that reported an error was done nevertheless."""
        try:
            connection = self._file.reopen()
            return made is not None and say.knows(connection, made)
        except (sqlite3.Error, OSError, MemoryFailed) as again:
            raise MemoryFailed(
                f"the memory {self._file.path} could not be written ({error}) and not be read again ({again}): nobody "
                "knows whether the change was stored. When the disk is well, do it again: the same text is stored once."
            ) from error

    async def _mapped(self, work: Work[T], what: str) -> T:
        try:
            return await self._file.run(work)
        except (sqlite3.Error, OSError) as error:
            raise MemoryFailed(
                f"the memory {self._file.path} could not be {what}: {error}. {_advice(error)}"
            ) from error

    # ------------------------------------------------------------ erasing
    def _scrub(self, connection: sqlite3.Connection) -> None:
        if not number(connection, "SELECT count(*) FROM chore WHERE name = 'scrub'"):
            return
        # FTS5 marks a word as deleted and keeps it until its segments are merged.
        connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        free, pages = number(connection, "PRAGMA freelist_count"), number(connection, "PRAGMA page_count")
        if free > _VACUUM_ABOVE * pages:
            connection.execute("VACUUM")
        connection.execute("DELETE FROM chore WHERE name = 'scrub'")
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            connection.execute("INSERT OR IGNORE INTO chore VALUES ('scrub')")
            _log.warning("[MEMORY] %s is in use: what was erased is in its log until it is free", self._file.path)

    # ------------------------------------------------------------ opening
    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make sure that the file is ours, whole and of our version; make it if it is new."""
        say.teach(connection)
        if self._file.read_only:
            self._prepare_to_read(connection)
            return
        connection.execute("PRAGMA secure_delete = ON").fetchone()
        connection.execute(f"PRAGMA cache_size = -{_PAGES_KB}")
        connection.execute(f"PRAGMA page_size = {_PAGE}")  # an older file keeps its own
        if is_new(connection):
            self._wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            if is_new(connection):  # nobody was quicker
                create(connection)
            connection.execute("COMMIT")
            return
        self._check(connection)
        self._wal(connection)
        version = version_of(connection)
        if version != SCHEMA_VERSION:
            count = bring_over(connection, version, self._file.path)
            _log.info("[MEMORY] %s brought over from version %d, %d memories", self._file.path, version, count)
        if self._is_small():
            self._check_words(connection)
        self._scrub(connection)

    def _prepare_to_read(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA cache_size = -{_PAGES_KB}")
        self._check(connection)
        version = version_of(connection)
        if version != SCHEMA_VERSION:
            raise MemoryFailed(
                f"the memory {self._file.path} has version {version} and must be brought over to {SCHEMA_VERSION}, "
                "but it may not be written. Let it be written once, or give `memory.path` a copy of it."
            )
        _log.info("[MEMORY] %s may only be read: nothing can be remembered or forgotten", self._file.path)

    def _check(self, connection: sqlite3.Connection) -> None:
        if not is_ours(connection):
            raise MemoryFailed(
                f"{self._file.path} is a database, but not a memory of Trouper. Give `memory.path` another file."
            )
        if self._is_small():
            verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"it is damaged: {verdict}")

    def _is_small(self) -> bool:
        return self._file.path.stat().st_size <= _CHECK_UP_TO

    def _check_words(self, connection: sqlite3.Connection) -> None:
        """The index of words is derived: one that does not fit its memories is made again."""
        try:
            connection.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
        except sqlite3.OperationalError:  # somebody is writing: then somebody has looked before
            return
        except sqlite3.DatabaseError as error:
            connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
            _log.warning("[MEMORY] the index of words of %s was damaged and is made again: %s", self._file.path, error)

    def _wal(self, connection: sqlite3.Connection) -> None:
        mode = wal(connection, synchronous=2)
        if mode != "wal":
            _log.warning("[MEMORY] no WAL on this file system (journal_mode is %s): safe, but slower", mode)

    def _size(self) -> int:
        try:
            return self._file.path.stat().st_size
        except FileNotFoundError:
            return 0


def _advice(error: Exception) -> str:
    """What to do about it now."""
    if isinstance(error, ClosedFile):
        return "Its troupe has ended; open another."
    if isinstance(error, AnotherFile):
        return "Start anew the programs that have it open, and stop them before such a change: SQLite cannot follow it."
    text = str(error).lower()
    if "locked" in text or "busy" in text:
        return f"Another process has held it for {BUSY_TIMEOUT:g} s; see who does, and try again."
    if "full" in text or "no space" in text:
        return "Nothing was stored: free some space and do it again."
    if "readonly" in text or "read-only" in text or "permission" in text or "unable to open" in text:
        return "Check that the file and its folder may be written, or give `memory.path` another file."
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return "Move the file away (`sqlite3 FILE .recover` may save what is in it) or put a backup in its place."
    return "Check the disk and the permissions of the folder."
