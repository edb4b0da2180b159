"""The vectors of memories, as statements to SQLite: what is put beside a memory, and read to make an index."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from trouper.actors.protocols import Question, Vector
from trouper.runtime import MemoryFailed

from .index_vectors import rows, scores_of
from .memory_rows import check_vector, vector_seal
from .store_schema import Spaces, space_of

T = TypeVar("T")

_AT_ONCE = 500
"""Ids in one statement: SQLite bounds the number of question marks."""


def put_vectors(connection: sqlite3.Connection, rows: Sequence[tuple[int, Vector, str]]) -> None:
    """Vectors of memories that are there; others are passed over."""
    spaces: Spaces = {}
    there: set[int] = set()
    for part in parts([number_ for number_, _, _ in rows]):
        there.update(existing(connection, part))
    given = [
        (space_of(connection, embedder, len(vector) // 4, spaces), number_, vector)
        for number_, vector, embedder in rows
        if number_ in there
    ]
    put_all_vectors(connection, given)


def check_vectors(rows: Sequence[tuple[int, Vector, str]]) -> None:
    """Raise `MemoryRefused` unless all of them can be vectors."""
    for _, vector, _ in rows:
        check_vector(vector)


def put_all_vectors(connection: sqlite3.Connection, rows: Sequence[tuple[int, int, Vector]]) -> None:
    """`(space, id, vector)`. A vector is never changed: an index that has it by its id is right about it."""
    connection.executemany(
        "INSERT OR IGNORE INTO vector (space, id, data, seal) VALUES (?, ?, ?, ?)",
        ((space, number_, bytes(vector), vector_seal(number_, vector)) for space, number_, vector in rows),
    )


def drop_vectors(connection: sqlite3.Connection, embedder: str, dim: int) -> None:
    """Let the vectors of a space go."""
    connection.execute("DELETE FROM vector WHERE space = ?", (_space(connection, embedder, dim),))
    connection.execute("DELETE FROM space WHERE embedder = ? AND dim = ?", (embedder, dim))


def _space(connection: sqlite3.Connection, embedder: str, dim: int) -> int:
    """The number of a vector space; one that no vector has if there is none."""
    row = connection.execute("SELECT number FROM space WHERE embedder = ? AND dim = ?", (embedder, dim)).fetchone()
    return -1 if row is None else int(row[0])


def vector_ids(connection: sqlite3.Connection, embedder: str, dim: int) -> tuple[int, ...]:
    """The memories that have a vector of this space, by id."""
    space = _space(connection, embedder, dim)
    found = connection.execute("SELECT id FROM vector WHERE space = ? ORDER BY id", (space,))
    return tuple(number_ for (number_,) in found)


def vectors(
    connection: sqlite3.Connection, embedder: str, dim: int, after: int, limit: int
) -> list[tuple[int, Vector]]:
    """At most `limit` vectors of this space whose ids are larger than `after`, by id."""
    found = connection.execute(
        "SELECT id, data, seal FROM vector WHERE space = ? AND id > ? ORDER BY id LIMIT ?",
        (_space(connection, embedder, dim), after, limit),
    )
    return _all_sound(found)


def vectors_of(connection: sqlite3.Connection, embedder: str, dim: int, ids: Sequence[int]) -> list[tuple[int, Vector]]:
    """The vectors of these memories, as far as there are any."""
    space = _space(connection, embedder, dim)
    found: list[tuple[int, Vector]] = []
    for part in parts(ids):
        query = f"SELECT id, data, seal FROM vector WHERE space = ? AND id IN ({','.join('?' * len(part))})"  # noqa: S608 - question marks
        found += _all_sound(connection.execute(query, (space, *part)))
    return found


def products(connection: sqlite3.Connection, question: Question, ids: Sequence[int]) -> dict[int, float]:
    """The product of the question's vector with the vector of each of these memories that has one, as it is stored."""
    dim = len(question.vector) // 4
    pairs = vectors_of(connection, question.embedder, dim, ids)
    if not pairs:
        return {}
    matrix = rows([vector for _, vector in pairs], dim)
    return scores_of(matrix, rows([question.vector], dim)[0], [number_ for number_, _ in pairs])


def _all_sound(rows_: Iterable[tuple[int, bytes, bytes]]) -> list[tuple[int, Vector]]:
    """The pairs, if each fits its seal. One loop without calls of ours: it is a tenth of making a large index."""
    found: list[tuple[int, Vector]] = []
    blake2b = hashlib.blake2b
    for number_, data, seal in rows_:
        salt = number_.to_bytes(8, "little", signed=True)
        if not isinstance(data, bytes) or blake2b(data, digest_size=8, salt=salt).digest() != seal:
            raise MemoryFailed(
                f"the vector of memory {number_} is damaged: it does not fit its checksum. "
                f"Forget {number_}, or put a backup of the file in its place."
            )
        found.append((number_, data))
    return found


def without_vector(
    connection: sqlite3.Connection, embedder: str, dim: int, after: int, limit: int
) -> tuple[tuple[int, str], ...]:
    """At most `limit` memories that have no vector of this space, with larger ids than `after`: id and text."""
    found = connection.execute(
        "SELECT id, content FROM memory WHERE id > ? AND NOT EXISTS"
        " (SELECT 1 FROM vector WHERE vector.id = memory.id AND space = ?) ORDER BY id LIMIT ?",
        (after, _space(connection, embedder, dim), limit),
    )
    return tuple(found)


def embedders(connection: sqlite3.Connection) -> dict[tuple[str, int], int]:
    """How many vectors there are by embedder and dimension."""
    found = connection.execute(
        "SELECT embedder, dim, (SELECT count(*) FROM vector WHERE vector.space = space.number) FROM space"
    )
    return {(embedder, dim): count for embedder, dim, count in found if count}


def embedder_names(connection: sqlite3.Connection) -> frozenset[str]:
    """Who has made vectors, or was to."""
    return frozenset(name for (name,) in connection.execute("SELECT embedder FROM space"))


def existing(connection: sqlite3.Connection, ids: Sequence[int]) -> list[int]:
    """Those that are there."""
    marks = ",".join("?" * len(ids))
    return [number_ for (number_,) in connection.execute(f"SELECT id FROM memory WHERE id IN ({marks})", ids)]  # noqa: S608 - question marks


def parts(items: Iterable[T]) -> Iterator[list[T]]:
    """At most so many at a time as one statement takes."""
    iterator = iter(items)
    while part := list(islice(iterator, _AT_ONCE)):
        yield part
