"""The truth about memories, in one SQLite file. What was acknowledged is on the disk.

WAL with `synchronous=FULL`: a commit that returned survives a kill and a power cut. A row carries a seal over
everything it says, since SQLite itself does not notice a flipped bit inside of a text. Ids are never used twice,
so that an index that is behind can name a memory that is gone but never a wrong one. A commit that fails is
neither done nor undone until somebody looks: the file is opened again and asked.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from trouper.actors.protocols import Generation, MemoryRow, Vector
from trouper.runtime import MemoryFailed

from .memory_rows import NewRow, check_vector, new_row, row_seal
from .sqlite_thread import BUSY_TIMEOUT, ClosedFile, SqliteThread, Work, wal

T = TypeVar("T")
_log = logging.getLogger("trouper.memory")

APPLICATION_ID = 0x54525550  # "TRUP": `file` and we can tell it from somebody else's database
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE memory (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,
    content TEXT NOT NULL,
    created REAL NOT NULL,
    meta TEXT NOT NULL,
    vector BLOB NOT NULL,
    embedder TEXT NOT NULL,
    seal BLOB NOT NULL
);
CREATE TABLE generation (number INTEGER NOT NULL, mark TEXT NOT NULL);
INSERT INTO generation VALUES (0, '');
"""
_COLUMNS = "id, content, created, meta, vector, embedder, seal"
_CHECK_UP_TO = 16 * 1024 * 1024
"""Smaller files are checked as a whole when they are opened (some 10 ms); in larger ones damage shows on reading."""
_AT_ONCE = 500


class SqliteMemoryStore:
    """Port `MemoryStore`: one transaction a call, in a worker thread; durable when it returns.

    Cancelled: either nothing was done or all of it; a transaction that has begun is finished.
    Every method raises `MemoryFailed` when the file cannot be read or written; then nothing was changed,
    unless the message says that nobody knows.
    """

    def __init__(self, path: str | os.PathLike[str], *, now: Callable[[], float] = time.time) -> None:
        self._file = SqliteThread(path, self._prepare)
        self._now = now

    async def add(self, rows: Sequence[tuple[str, Mapping[str, object], Vector, str]]) -> tuple[int, ...]:
        """Insert `(content, meta, vector, embedder)`; the same content again gives the old id. Ids in order.

        Raises:
            MemoryRefused: a row cannot be stored; none was.
        """
        checked = [new_row(*row) for row in rows]
        created = self._now()
        keys = [row.key for row in checked]

        def insert(connection: sqlite3.Connection) -> tuple[int, ...]:
            connection.executemany(
                "INSERT INTO memory (key, content, created, meta, vector, embedder, seal) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (key) DO NOTHING",
                (_values(row, created) for row in checked),
            )
            found = _ids(connection, keys)
            if found is None:  # we are inside the transaction that has just put them there
                raise sqlite3.DatabaseError("rows that were inserted cannot be found again")
            return found

        return await self._change(insert, look=lambda connection: _ids(connection, keys))

    async def get(self, ids: Sequence[int]) -> tuple[MemoryRow, ...]:
        """The rows that exist, in the order asked."""

        def select(connection: sqlite3.Connection) -> tuple[MemoryRow, ...]:
            found = {row.id: row for part in _parts(ids) for row in _select(connection, part)}
            return tuple(found[number] for number in ids if number in found)

        return await self._read(select)

    async def all_rows(self) -> tuple[MemoryRow, ...]:
        """Every row, oldest first (to rebuild an index)."""
        return await self._read(
            lambda connection: tuple(map(_row, connection.execute(f"SELECT {_COLUMNS} FROM memory ORDER BY id")))  # noqa: S608 - a constant
        )

    async def set_vectors(self, rows: Sequence[tuple[int, Vector, str]]) -> None:
        """Replace `(id, vector, embedder)`: after a change of embedder. Ids that are gone are passed over.

        Raises:
            MemoryRefused: a vector cannot be one; none was replaced.
        """
        for _, vector, _ in rows:
            check_vector(vector)
        wanted = {number: (bytes(vector), embedder) for number, vector, embedder in rows}

        def update(connection: sqlite3.Connection) -> None:
            for part in _parts(list(wanted)):
                for row in _select(connection, part):
                    vector, embedder = wanted[row.id]
                    seal = row_seal(row.content, row.created, _meta_text(row), vector, embedder)
                    connection.execute(
                        "UPDATE memory SET vector = ?, embedder = ?, seal = ? WHERE id = ?",
                        (vector, embedder, seal, row.id),
                    )

        def look(connection: sqlite3.Connection) -> bool | None:
            present = [row for part in _parts(list(wanted)) for row in _select(connection, part)]
            return all((row.vector, row.embedder) == wanted[row.id] for row in present) or None

        await self._change(update, look=look)

    async def delete(self, ids: Sequence[int]) -> int:
        """Erase; gives how many were there."""
        erased = 0

        def remove(connection: sqlite3.Connection) -> int:
            nonlocal erased
            erased = 0
            for part in _parts(ids):
                marks = ",".join("?" * len(part))
                erased += connection.execute(f"DELETE FROM memory WHERE id IN ({marks})", part).rowcount  # noqa: S608 - question marks
            return erased

        def look(connection: sqlite3.Connection) -> int | None:
            return None if any(_select(connection, part) for part in _parts(ids)) else erased

        return await self._change(remove, look=look)

    async def count(self) -> int:
        """How many there are."""
        return await self._read(lambda connection: _number(connection, "SELECT count(*) FROM memory"))

    async def generation(self) -> Generation:
        """Which state this is, by whatever process it came about."""
        return await self._read(_generation)

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
                connection.execute("ROLLBACK")

        return await self._mapped(within, "read")

    async def _change(self, work: Work[T], *, look: Work[T | None] | Work[bool | None]) -> T:
        def within(connection: sqlite3.Connection) -> T:
            result = self._before_commit(connection, work)
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._look_after(error, look) is None:
                    raise
            return result

        return await self._mapped(within, "written")

    def _before_commit(self, connection: sqlite3.Connection, work: Work[T]) -> T:
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("UPDATE generation SET number = number + 1, mark = ?", (secrets.token_hex(8),))
        except BaseException:
            if connection.in_transaction:  # SQLite itself rolls back after some errors, a full disk among them
                connection.execute("ROLLBACK")
            raise
        return result

    def _look_after(self, error: sqlite3.Error, look: Work[T | None]) -> T | None:
        """What a failed commit has left behind; `None` if it is certain that it left nothing."""
        try:
            return look(self._file.reopen())
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

    # ------------------------------------------------------------ opening
    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make sure that the file is ours, whole and of our version; make it if it is new."""
        if self._is_new(connection):
            self._wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            if self._is_new(connection):  # nobody was quicker
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        else:
            self._check(connection)
            self._wal(connection)

    def _is_new(self, connection: sqlite3.Connection) -> bool:
        return _number(connection, "SELECT count(*) FROM sqlite_master") == 0 and not _number(
            connection, "PRAGMA application_id"
        )

    def _check(self, connection: sqlite3.Connection) -> None:
        path = self._file.path
        if _number(connection, "PRAGMA application_id") != APPLICATION_ID:
            raise MemoryFailed(f"{path} is a database, but not a memory of Trouper. Give `memory.path` another file.")
        version = _number(connection, "PRAGMA user_version")
        if version != SCHEMA_VERSION:
            raise MemoryFailed(
                f"the memory {path} has version {version}; this Trouper reads version {SCHEMA_VERSION}. "
                "Use the Trouper that wrote it, or give `memory.path` another file."
            )
        if path.stat().st_size <= _CHECK_UP_TO:
            verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"it is damaged: {verdict}")

    def _wal(self, connection: sqlite3.Connection) -> None:
        mode = wal(connection, synchronous=2)
        if mode != "wal":
            _log.warning("[MEMORY] no WAL on this file system (journal_mode is %s): safe, but slower", mode)


def _advice(error: Exception) -> str:
    """What to do about it now."""
    if isinstance(error, ClosedFile):
        return "Its troupe has ended; open another."
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


def _values(row: NewRow, created: float) -> tuple[object, ...]:
    seal = row_seal(row.content, created, row.meta, row.vector, row.embedder)
    return row.key, row.content, created, row.meta, row.vector, row.embedder, seal


def _ids(connection: sqlite3.Connection, keys: Sequence[bytes]) -> tuple[int, ...] | None:
    """The id of each key, in order; `None` unless all are there."""
    found: dict[bytes, int] = {}
    for part in _parts(keys):
        marks = ",".join("?" * len(part))
        found.update(connection.execute(f"SELECT key, id FROM memory WHERE key IN ({marks})", part))  # noqa: S608 - question marks
    return tuple(found[key] for key in keys) if all(key in found for key in keys) else None


def _select(connection: sqlite3.Connection, ids: Sequence[int]) -> list[MemoryRow]:
    marks = ",".join("?" * len(ids))
    return [_row(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM memory WHERE id IN ({marks})", ids)]  # noqa: S608 - constants


def _row(row: tuple[int, str, float, str, bytes, str, bytes]) -> MemoryRow:
    number, content, created, meta, vector, embedder, seal = row
    whole = isinstance(content, str) and isinstance(meta, str) and isinstance(vector, bytes)
    if not whole or row_seal(content, created, meta, vector, embedder) != seal:
        raise MemoryFailed(
            f"memory {number} is damaged: its row does not fit its checksum. "
            f"Forget {number}, or put a backup of the file in its place."
        )
    return MemoryRow(
        id=number, content=content, created=created, meta=json.loads(meta), vector=vector, embedder=embedder
    )


def _meta_text(row: MemoryRow) -> str:
    return json.dumps(row.meta, ensure_ascii=True, allow_nan=False, sort_keys=True)


def _generation(connection: sqlite3.Connection) -> Generation:
    return Generation(*connection.execute("SELECT number, mark FROM generation").fetchone())


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _parts(items: Iterable[T]) -> Iterator[list[T]]:
    """At most `_AT_ONCE` at a time: SQLite bounds the number of question marks."""
    iterator = iter(items)
    while part := list(islice(iterator, _AT_ONCE)):
        yield part
