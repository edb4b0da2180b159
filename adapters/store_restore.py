"""Memories that were elsewhere before are put in as they were there: what is known here already stays as it is.

`remember` says a text anew, so that one that was superseded is alive again. A backup says what once was: it may bring
back what is gone here, but not what was replaced here since, and nothing comes alive that was dead there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from trouper.actors.memory_data import KeptMemory

from .memory_rows import content_key
from .store_facts import rewrite
from .store_insert import Checked, checked, insert
from .store_schema import Spaces, space_of
from .store_vectors import parts, put_all_vectors

GONE = 0
"""The id of nobody: a memory whose successor is not there, or not there yet, is superseded by it."""

_Key = tuple[str, bytes]


def restore(connection: sqlite3.Connection, rows: Sequence[KeptMemory], now: float) -> tuple[int, ...]:
    """Put memories in; gives their ids in order.

    One whose text is there, and has not expired, stays as it is. One that is new and was superseded is so here too.

    Raises:
        MemoryRefused: one cannot be stored; none was.
    """
    said = checked([row.memory for row in rows])
    keys: list[_Key] = [(row.memory.namespace, content_key(row.memory.content, row.memory.distinct)) for row in rows]
    ids = _known(connection, keys, now)
    new: dict[_Key, tuple[KeptMemory, Checked]] = {}
    for key, row, one in zip(keys, rows, said, strict=True):
        if key not in ids:
            new.setdefault(key, (row, one))
    made = insert(connection, [one for _, one in new.values()], now)
    for (key, (row, (memory, about))), number in zip(new.items(), made, strict=True):
        ids[key] = number
        if row.superseded:
            facts = about.facts(memory.content, now)
            facts.superseded_by = GONE
            rewrite(connection, number, facts)
    _count(connection, [(ids[key], row) for key, (row, _) in new.items() if row.accesses], now)
    _vectors(connection, [(ids[key], row) for key, row in zip(keys, rows, strict=True) if key not in new])
    return tuple(ids[key] for key in keys)


def _known(connection: sqlite3.Connection, wanted: Iterable[_Key], now: float) -> dict[_Key, int]:
    by_namespace: dict[str, list[bytes]] = {}
    for namespace, key in dict.fromkeys(wanted):
        by_namespace.setdefault(namespace, []).append(key)
    found: dict[_Key, int] = {}
    for namespace, keys in by_namespace.items():
        for part in parts(keys):
            query = (
                f"SELECT key, id FROM memory WHERE namespace = ? AND key IN ({','.join('?' * len(part))})"  # noqa: S608 - question marks
                " AND (superseded_by IS NOT NULL OR expires IS NULL OR expires > ?)"
            )
            found.update(
                ((namespace, key), number) for key, number in connection.execute(query, (namespace, *part, now))
            )
    return found


def _count(connection: sqlite3.Connection, rows: Iterable[tuple[int, KeptMemory]], now: float) -> None:
    """How often they were recalled elsewhere."""
    connection.executemany(
        "INSERT OR IGNORE INTO usage (id, accesses, accessed) VALUES (?, ?, ?)",
        ((number, row.accesses, now if row.accessed is None else row.accessed) for number, row in rows),
    )


def _vectors(connection: sqlite3.Connection, rows: Iterable[tuple[int, KeptMemory]]) -> None:
    """The vectors of those that are known: perhaps they have none of today's embedder yet."""
    spaces: Spaces = {}
    given = [(number, row.memory.embedder, row.memory.vector) for number, row in rows]
    put_all_vectors(
        connection,
        [
            (space_of(connection, embedder, len(vector) // 4, spaces), number, vector)
            for number, embedder, vector in given
            if vector is not None
        ],
    )
