"""How memories are put into the store, a thousand as cheaply as one can: what they share is checked and written once.

Of a thousand texts of one message only the texts and the vectors differ. So what is said of them is looked at and
turned into columns once, a seal is the hash of a few prepared pieces, ids are given out here (nobody else can, inside
of the transaction) and each table takes its rows in one call.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import attrs

from trouper.actors.memory_data import NewMemory
from trouper.actors.protocols import Vector

from .memory_rows import (
    check_said,
    check_text,
    check_vector,
    content_key,
    meta_json,
    seal_around,
    seal_between,
    tags_json,
)
from .store_facts import COLUMNS, Facts, checked_facts, rewrite
from .store_pieces import pieces_of
from .store_schema import Spaces, space_of
from .store_vectors import parts, put_all_vectors

_SLICE = 100
_NEW = (
    "INSERT INTO memory (id, namespace, key, content, created, expires, category, tags, salience, half_life, meta,"
    " told_apart, superseded_by, seal, pieces) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?)"
)


@attrs.define
class Said:
    """What is said of a memory besides its text, as columns; `created` is None for now."""

    namespace: str
    created: float | None
    expires: float | None
    category: str
    tags: str
    salience: float
    half_life: float | None
    meta: str
    told_apart: str

    def facts(self, content: str, now: float) -> Facts:
        """All columns of a memory of which this is said."""
        created = now if self.created is None else self.created
        about = (self.expires, self.category, self.tags, self.salience, self.half_life, self.meta, self.told_apart)
        return Facts(self.namespace, content, created, *about)


Checked = tuple[NewMemory, Said]


def checked(rows: Sequence[NewMemory]) -> list[Checked]:
    """The rows with what is said of each, if all of them can be stored; one `Said` for those that share everything.

    Raises:
        MemoryRefused: one cannot.
    """
    found: list[Checked] = []
    before: NewMemory | None = None
    for row in rows:
        if before is None or not _say_the_same(row, before):
            check_said(row)
            said = _said(row)
            before = row
        check_text(row.content)
        if row.vector is not None:
            check_vector(row.vector)
        found.append((row, said))
    return found


def _say_the_same(row: NewMemory, other: NewMemory) -> bool:
    """Whether the same objects are said of both. Equal is not enough: so are `1` and `True` in metadata."""
    return (
        row.namespace is other.namespace
        and row.category is other.category
        and row.tags is other.tags
        and row.meta is other.meta
        and row.salience is other.salience
        and row.half_life is other.half_life
        and row.expires is other.expires
        and row.created is other.created
        and row.distinct is other.distinct
    )


def _said(row: NewMemory) -> Said:
    return Said(
        row.namespace,
        _real(row.created),
        _real(row.expires),
        row.category,
        tags_json(row.tags),
        float(row.salience) + 0.0,
        _real(row.half_life),
        meta_json(row.meta),
        row.distinct,
    )


def _real(value: float | None) -> float | None:
    """As SQLite gives it back: it knows no `-0.0`, and a row that comes back differently would be taken for damaged."""
    return None if value is None else float(value) + 0.0


@attrs.define
class _There:
    """A memory that the store has, or will have when the new ones are put in."""

    id: int
    facts: Facts
    said: Said | None = None
    """What is said of one that is new, as long as that is all."""
    new: bool = False

    def alive(self, now: float) -> bool:
        expires = self.facts.expires
        return self.facts.superseded_by is None and (expires is None or expires > now)


def insert_all(connection: sqlite3.Connection, rows: Sequence[NewMemory], now: float) -> tuple[int, ...]:
    """Put rows in, a slice at a time.

    What a slice makes is gone before the collector of garbage wakes up, which it does every 700 objects. A thousand
    rows at once would make it look at everything there is in the process, and the loop wait for that.

    Raises:
        MemoryRefused: one cannot be stored; roll back.
    """
    ids: list[int] = []
    for start in range(0, len(rows), _SLICE):
        ids += insert(connection, checked(rows[start : start + _SLICE]), now)
    return tuple(ids)


def insert(connection: sqlite3.Connection, rows: Sequence[Checked], now: float) -> tuple[int, ...]:
    """Put rows in; one that is there already keeps its id and what it says, and lives as long as the longer of both.

    One that is there but dead begins anew under its old id.
    """
    keys = [content_key(row.content, row.distinct) for row, _ in rows]
    known = _known(connection, [(row.namespace, key) for (row, _), key in zip(rows, keys, strict=True)])
    spaces: Spaces = {}
    ids: list[int] = []
    vectors: list[tuple[int, int, Vector]] = []
    new: list[tuple[bytes, _There]] = []
    following = _following(connection)
    for (row, said), key in zip(rows, keys, strict=True):
        there = known.get((row.namespace, key))
        if there is None:
            there = _There(following + len(new), said.facts(row.content, now), said, new=True)
            known[row.namespace, key] = there
            new.append((key, there))
        elif not there.alive(now):
            there.facts = said.facts(row.content, now)
            _write_again(connection, there)
        elif there.facts.expires is not None and (row.expires is None or row.expires > there.facts.expires):
            there.facts.expires = said.expires
            _write_again(connection, there)
        ids.append(there.id)
        if row.vector is not None:
            vectors.append((space_of(connection, row.embedder, len(row.vector) // 4, spaces), there.id, row.vector))
    _put(connection, new)
    put_all_vectors(connection, vectors)
    return tuple(ids)


def _following(connection: sqlite3.Connection) -> int:
    """The next id: no id is given twice, also if its memory was erased."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'memory'").fetchone()
    return 1 if row is None else int(row[0]) + 1


def _write_again(connection: sqlite3.Connection, there: _There) -> None:
    there.said = None
    if not there.new:  # else it is written with the others, as it is then
        rewrite(connection, there.id, there.facts)


def _put(connection: sqlite3.Connection, new: Sequence[tuple[bytes, _There]]) -> None:
    pieces = [pieces_of(there.facts.content) for _, there in new]
    connection.executemany(_NEW, _columns(new, pieces))
    texts = [(there.id, there.facts.content, some) for (_, there), some in zip(new, pieces, strict=True)]
    connection.executemany("INSERT INTO words (rowid, content, pieces) VALUES (?, ?, ?)", texts)


def _columns(new: Sequence[tuple[bytes, _There]], pieces: Sequence[str | None]) -> Iterator[tuple[object, ...]]:
    said: Said | None = None
    around = (b"", b"")
    for (key, there), some in zip(new, pieces, strict=True):
        f = there.facts
        if there.said is None:
            seal = f.seal()
        else:
            if there.said is not said:
                said, around = there.said, seal_around(f.namespace, f.said())
            seal = seal_between(around, f.content)
        yield (
            there.id,
            f.namespace,
            key,
            f.content,
            f.created,
            f.expires,
            f.category,
            f.tags,
            f.salience,
            f.half_life,
            f.meta,
            f.told_apart,
            seal,
            some,
        )


def _known(connection: sqlite3.Connection, wanted: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], _There]:
    found: dict[tuple[str, bytes], _There] = {}
    by_namespace: dict[str, list[bytes]] = {}
    for namespace, key in dict.fromkeys(wanted):
        by_namespace.setdefault(namespace, []).append(key)
    for namespace, keys in by_namespace.items():
        for part in parts(keys):
            marks = ",".join("?" * len(part))
            query = f"SELECT key, {COLUMNS} FROM memory WHERE namespace = ? AND key IN ({marks})"  # noqa: S608 - constants
            for key, *columns in connection.execute(query, (namespace, *part)):
                found[namespace, key] = _There(columns[0], checked_facts(columns))
    return found
