"""One SQLite file of values by key that may all be lost: what the caches on disk stand on.

A cache never fails a call: whatever goes wrong is a miss and one warning. `synchronous=NORMAL` is enough, since a lost
entry costs its making. A value carries a checksum over its key and itself: a damaged one is a miss, not a wrong answer.

Several processes may use one file: readers never wait, writers wait for each other up to `BUSY_TIMEOUT`.

Rows are found by the first 8 bytes of their key as a number: the index is half as large and the search a third faster
than by the key itself, and the checksum tells keys apart that begin alike. Row ids count upwards, so the oldest rows
lie together and are forgotten cheaply. No `mmap`: it reads faster, and a file cut short by others would kill us.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from .sqlite_thread import BUSY_TIMEOUT, SqliteThread, Work, wal

T = TypeVar("T")
_log = logging.getLogger("trouper.cache")

_VERSION = 2
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS kept (id INTEGER PRIMARY KEY, key INTEGER NOT NULL UNIQUE,"
    " seal INTEGER NOT NULL, form INTEGER NOT NULL, value BLOB NOT NULL)"
)
_PUT = (
    "INSERT INTO kept (key, seal, form, value) VALUES (?, ?, ?, ?) ON CONFLICT (key)"
    " DO UPDATE SET seal = excluded.seal, form = excluded.form, value = excluded.value"
)
_FIRST_FORM = ("id", "key", "vector")
"""The columns of the table `embedding` of version 1: it is dropped, its texts are embedded again."""
_PAGE = 8192
"""Fits some vectors: 20 % faster to write than SQLite's 4096."""
_PAGES_KB = 16_384
"""What SQLite keeps in memory of a large file: reading is a third faster than with its 2 MB."""
_AT_ONCE = 500
_PRUNE_SHARE = 10
"""A full cache forgets its oldest tenth, so that it is pruned seldom."""
_LEAST_KEY = 12


Row = tuple[int, bytes]
"""The form of a value, in the words of the cache that wrote it, and the value; plain, it is half a microsecond less."""


class CacheFile:
    """At most `max_items` rows in one file, opened on first use.

    Args:
        path: The file; made with its folders, readable by its owner only.
        max_items: The oldest rows are forgotten when there are more.
        loss: What the warning says it costs when the file cannot be used.

    Cancelled: what a thread has begun is finished; nothing is half written.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_items: int, loss: str) -> None:
        if max_items < 1:
            raise ValueError(f"max_items={max_items}: a cache holds at least one entry; or switch it off")
        self._file = SqliteThread(path, _prepare)
        self._max_items = max_items
        self._loss = loss
        self._warned = False
        self._count: int | None = None  # at most so many rows of ours and others'; counted again when it matters

    async def get_many(self, keys: Sequence[bytes], convert: Callable[[Mapping[bytes, Row]], T], nothing: T) -> T:
        """What `convert` makes, in the thread, of the rows that are known; `nothing` if the file cannot be read."""
        return await self._tried(lambda connection: convert(_lookup(connection, keys)), nothing)

    async def put_many(self, rows: Callable[[], Sequence[tuple[bytes, Row]]]) -> None:
        """Keep what `rows` makes in the thread."""
        await self._tried(lambda connection: self._insert(connection, rows()), None)

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Keep these no longer."""
        numbers = [(_number(key),) for key in keys]
        await self._tried(
            lambda connection: connection.executemany("DELETE FROM kept WHERE key = ?", numbers).rowcount, 0
        )

    async def erase(self, keys: Sequence[bytes]) -> None:
        """Keep these no longer, and no trace of them; another process that reads just now may keep the log."""
        numbers = [(_number(key),) for key in keys]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany("DELETE FROM kept WHERE key = ?", numbers)
            finally:
                connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

        await self._tried(work, None)

    async def aclose(self) -> None:
        """Close. Idempotent; afterwards everything is a miss."""
        self._warned = True  # misses of a closed cache are nobody's trouble
        await self._file.aclose()

    async def _tried(self, work: Work[T], otherwise: T) -> T:
        try:
            return await self._file.run(work)
        except Exception as error:  # noqa: BLE001 - a damaged file raises what it likes: rows nobody asked for, text
            if not self._warned:
                self._warned = True
                _log.warning(
                    "[CACHE] %s cannot be used (%s): %s. Delete the file if it is damaged; nothing but time is lost.",
                    self._file.path,
                    error,
                    self._loss,
                )
            return otherwise

    def _insert(self, connection: sqlite3.Connection, rows: Sequence[tuple[bytes, Row]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(
                _PUT, ((_number(k), zlib.crc32(v, zlib.crc32(k, form)), form, v) for k, (form, v) in rows)
            )
            self._prune(connection, len(rows))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _prune(self, connection: sqlite3.Connection, added: int) -> None:
        if self._count is not None:
            self._count += added
        if self._count is None or self._count > self._max_items:
            self._count = int(connection.execute("SELECT count(*) FROM kept").fetchone()[0])
        if self._count > self._max_items:
            oldest = self._count - self._max_items + self._max_items // _PRUNE_SHARE
            connection.execute("DELETE FROM kept WHERE id IN (SELECT id FROM kept ORDER BY id LIMIT ?)", (oldest,))
            self._count -= oldest


def _prepare(connection: sqlite3.Connection) -> None:
    """Two processes that open a new file at once get `database is locked` from the switch to WAL, without any wait."""
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute(f"PRAGMA page_size={_PAGE}")  # of a new file; an older one keeps its own
            connection.execute(f"PRAGMA cache_size=-{_PAGES_KB}")
            connection.execute("PRAGMA secure_delete=ON").fetchone()
            wal(connection, synchronous=1)
            connection.execute("BEGIN IMMEDIATE")
            _make(connection)
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise
            if time.monotonic() > until:
                raise
            time.sleep(0.01)  # in a thread of its own
        else:
            return


def _make(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == _VERSION:
        return
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    columns = tuple(row[1] for row in connection.execute("PRAGMA table_info(embedding)"))
    if version or tables - {"embedding"} or (tables and columns != _FIRST_FORM):
        raise sqlite3.DatabaseError(f"it is no cache that this version reads (user_version {version})")
    if tables:
        connection.execute("DROP TABLE embedding")
    connection.execute(_SCHEMA)
    connection.execute(f"PRAGMA user_version={_VERSION}")


def _lookup(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Row]:
    by_number = {_number(key): key for key in keys}
    crc32 = zlib.crc32
    found: dict[bytes, Row] = {}
    for part in _parts(list(by_number)):
        marks = ",".join("?" * len(part))
        query = f"SELECT key, seal, form, value FROM kept WHERE key IN ({marks})"  # noqa: S608 - question marks
        for number, seal, form, value in connection.execute(query, part):
            key = by_number[number]
            if isinstance(value, bytes) and seal == crc32(value, crc32(key, form)):
                found[key] = (form, value)
    return found


def _number(key: bytes) -> int:
    if len(key) < _LEAST_KEY:
        raise ValueError(f"a key of {len(key)} bytes: give a hash of at least {_LEAST_KEY}")
    return int.from_bytes(key[:8], "little", signed=True)


def _parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), _AT_ONCE):
        yield numbers[start : start + _AT_ONCE]
