"""Vectors already paid for, in one SQLite file: a text that was embedded once is not embedded again.

A cache never fails a call: whatever goes wrong is a miss and one warning. `synchronous=NORMAL` is enough, since
a lost entry costs one embedding. A vector carries a checksum: a damaged one is a miss, not a wrong answer.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from trouper.actors.protocols import Vector

from .sqlite_thread import SqliteThread, Work, wal

T = TypeVar("T")
_log = logging.getLogger("trouper.memory")

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS embedding (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL)"
)
_AT_ONCE = 500
_PRUNE_SHARE = 10
"""A full cache forgets its oldest tenth, so that it is pruned seldom."""


class SqliteEmbeddingCache:
    """Port `EmbeddingCache`. Holds at most `max_items` vectors (200,000 of 256 numbers are some 230 MB).

    Cancelled: what a thread has begun is finished; nothing is half written.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_items: int = 200_000) -> None:
        if max_items < 1:
            raise ValueError(f"max_items={max_items}: a cache holds at least one vector; or switch it off")
        self._file = SqliteThread(path, _prepare)
        self._max_items = max_items
        self._warned = False

    async def get_many(self, keys: Sequence[bytes]) -> tuple[Vector | None, ...]:
        """What is known, `None` where nothing is (or the cache cannot be read)."""
        nothing: dict[bytes, Vector] = {}
        found = await self._tried(lambda connection: _lookup(connection, keys), nothing)
        return tuple(found.get(key) for key in keys)

    async def put_many(self, items: Sequence[tuple[bytes, Vector]]) -> None:
        """Keep these; the oldest are forgotten when there are too many."""
        if items:
            await self._tried(lambda connection: self._insert(connection, items), None)

    async def aclose(self) -> None:
        """Close. Idempotent; afterwards everything is a miss."""
        self._warned = True  # misses of a closed cache are nobody's trouble
        await self._file.aclose()

    async def _tried(self, work: Work[T], otherwise: T) -> T:
        try:
            return await self._file.run(work)
        except (sqlite3.Error, OSError) as error:
            if not self._warned:
                self._warned = True
                _log.warning(
                    "[EMBEDDING CACHE] %s cannot be used (%s): texts are embedded again. "
                    "Delete the file if it is damaged; nothing but time is lost.",
                    self._file.path,
                    error,
                )
            return otherwise

    def _insert(self, connection: sqlite3.Connection, items: Sequence[tuple[bytes, Vector]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(
                "INSERT INTO embedding (key, vector) VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET vector = excluded.vector",
                ((key, _sealed(vector)) for key, vector in items),
            )
            self._prune(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _prune(self, connection: sqlite3.Connection) -> None:
        count = connection.execute("SELECT count(*) FROM embedding").fetchone()[0]
        if count > self._max_items:
            oldest = count - self._max_items + self._max_items // _PRUNE_SHARE
            connection.execute(
                "DELETE FROM embedding WHERE id IN (SELECT id FROM embedding ORDER BY id LIMIT ?)", (oldest,)
            )


def _prepare(connection: sqlite3.Connection) -> None:
    wal(connection, synchronous=1)
    connection.execute(_SCHEMA)


def _lookup(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Vector]:
    found: dict[bytes, Vector] = {}
    for part in _parts(keys):
        marks = ",".join("?" * len(part))
        query = f"SELECT key, vector FROM embedding WHERE key IN ({marks})"  # noqa: S608 - question marks
        for key, sealed in connection.execute(query, part):
            vector = _opened(sealed)
            if vector is not None:
                found[key] = vector
    return found


def _sealed(vector: Vector) -> bytes:
    return vector + zlib.crc32(vector).to_bytes(4, "little")


def _opened(sealed: object) -> Vector | None:
    if not isinstance(sealed, bytes) or len(sealed) < 8:
        return None
    vector, seal = sealed[:-4], sealed[-4:]
    return vector if zlib.crc32(vector).to_bytes(4, "little") == seal else None


def _parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
