"""What the memory's stores say to SQLite: functions of a connection, inside of somebody else's transaction."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import attrs

from trouper.actors.memory_data import MemoryFilter, MemoryRow, NewMemory, Selection, StoreStatistics
from trouper.actors.protocols import Generation, Vector
from trouper.runtime import MemoryFailed, MemoryRefused

from .memory_rows import check_new, content_key, meta_json, row_seal, tags_json
from .store_schema import Spaces, number, space_of
from .store_vectors import embedders, parts, put_all_vectors

T = TypeVar("T")

_HISTORY = 4_096
"""So many changes back a snapshot is still known to be of this store."""
_COLUMNS = (
    "id, namespace, content, created, expires, category, tags, salience, half_life, meta, told_apart, superseded_by,"
    " seal"
)
_NEW = (
    "INSERT INTO memory (namespace, key, content, created, expires, category, tags, salience, half_life, meta,"
    " told_apart, superseded_by, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)"
)


# ------------------------------------------------------------------ putting in
@attrs.define
class _Facts:
    """A row's columns in the order in which they are sealed."""

    namespace: str
    content: str
    created: float
    expires: float | None
    category: str
    tags: str
    salience: float
    half_life: float | None
    meta: str
    told_apart: str
    superseded_by: int | None = None

    def seal(self) -> bytes:
        return row_seal(
            [
                self.namespace,
                self.content,
                self.created,
                self.expires,
                self.category,
                self.tags,
                self.salience,
                self.half_life,
                self.meta,
                self.told_apart,
                self.superseded_by,
            ]
        )


def checked(rows: Sequence[NewMemory]) -> list[tuple[NewMemory, str]]:
    """The rows with their metadata as text, if all of them can be stored.

    Raises:
        MemoryRefused: one cannot.
    """
    metas: dict[int, str] = {}  # one mapping for a thousand rows is the usual case
    found: list[tuple[NewMemory, str]] = []
    for row in rows:
        check_new(row)
        meta = metas.get(id(row.meta))
        if meta is None:
            meta = metas[id(row.meta)] = meta_json(row.meta)
        found.append((row, meta))
    return found


def insert(connection: sqlite3.Connection, rows: Sequence[tuple[NewMemory, str]], now: float) -> tuple[int, ...]:
    """Put rows in; one that is there already keeps its id and what it says, and lives as long as the longer of both.

    One that is there but dead begins anew under its old id.
    """
    keys = [content_key(row.content, row.distinct) for row, _ in rows]
    known = _known(connection, [(row.namespace, key) for (row, _), key in zip(rows, keys, strict=True)])
    spaces: Spaces = {}
    ids: list[int] = []
    found: list[tuple[int, int, Vector]] = []
    for (row, meta), key in zip(rows, keys, strict=True):
        there = known.get((row.namespace, key))
        if there is None:
            there = known[row.namespace, key] = _insert(connection, row, meta, key, now)
        elif not there.alive(now):
            there.facts = _facts(row, meta, now)
            _rewrite(connection, _as_row(there.id, there.facts))
        elif there.facts.expires is not None and (row.expires is None or row.expires > there.facts.expires):
            there.facts.expires = row.expires
            _rewrite(connection, _as_row(there.id, there.facts))
        ids.append(there.id)
        if row.vector is not None:
            found.append((space_of(connection, row.embedder, len(row.vector) // 4, spaces), there.id, row.vector))
    put_all_vectors(connection, found)
    return tuple(ids)


@attrs.define
class _There:
    """A memory that the store has."""

    id: int
    facts: _Facts

    def alive(self, now: float) -> bool:
        expires = self.facts.expires
        return self.facts.superseded_by is None and (expires is None or expires > now)


def _known(connection: sqlite3.Connection, wanted: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], _There]:
    found: dict[tuple[str, bytes], _There] = {}
    by_namespace: dict[str, list[bytes]] = {}
    for namespace, key in dict.fromkeys(wanted):
        by_namespace.setdefault(namespace, []).append(key)
    for namespace, keys in by_namespace.items():
        for part in parts(keys):
            marks = ",".join("?" * len(part))
            query = f"SELECT key, {_COLUMNS} FROM memory WHERE namespace = ? AND key IN ({marks})"  # noqa: S608 - constants
            for key, *columns in connection.execute(query, (namespace, *part)):
                found[namespace, key] = _There(columns[0], _checked_facts(columns))
    return found


def _facts(row: NewMemory, meta: str, now: float) -> _Facts:
    created = now if row.created is None else row.created
    return _Facts(
        row.namespace,
        row.content,
        float(created),
        None if row.expires is None else float(row.expires),
        row.category,
        tags_json(row.tags),
        float(row.salience),
        None if row.half_life is None else float(row.half_life),
        meta,
        row.distinct,
    )


def _insert(connection: sqlite3.Connection, row: NewMemory, meta: str, key: bytes, now: float) -> _There:
    f = _facts(row, meta, now)
    values = (f.namespace, key, f.content, f.created, f.expires, f.category, f.tags, f.salience, f.half_life, f.meta)
    cursor = connection.execute(_NEW, (*values, f.told_apart, f.seal()))
    assert cursor.lastrowid is not None  # noqa: S101 - an insert has one
    connection.execute("INSERT INTO words (rowid, content) VALUES (?, ?)", (cursor.lastrowid, f.content))
    return _There(cursor.lastrowid, f)


def _as_row(number_: int, facts: _Facts) -> MemoryRow:
    return MemoryRow(
        id=number_,
        namespace=facts.namespace,
        content=facts.content,
        created=facts.created,
        expires=facts.expires,
        category=facts.category,
        tags=tuple(json.loads(facts.tags)),
        salience=facts.salience,
        half_life=facts.half_life,
        meta=json.loads(facts.meta),
        distinct=facts.told_apart,
        superseded_by=facts.superseded_by,
    )


def _rewrite(connection: sqlite3.Connection, row: MemoryRow) -> None:
    """Write what a row says now; its id and its text stay."""
    f = _Facts(
        row.namespace,
        row.content,
        row.created,
        row.expires,
        row.category,
        tags_json(row.tags),
        row.salience,
        row.half_life,
        meta_json(row.meta),
        row.distinct,
        row.superseded_by,
    )
    connection.execute(
        "UPDATE memory SET created = ?, expires = ?, category = ?, tags = ?, salience = ?, half_life = ?, meta = ?,"
        " superseded_by = ?, seal = ? WHERE id = ?",
        (f.created, f.expires, f.category, f.tags, f.salience, f.half_life, f.meta, f.superseded_by, f.seal(), row.id),
    )


def supersede(connection: sqlite3.Connection, ids: Sequence[int], row: NewMemory, meta: str, now: float) -> int:
    """Put `row` in, in the place of the memories `ids`; gives its id.

    Raises:
        MemoryRefused: one of them is not there, or is the new one.
    """
    old = {known.id: known for known in get(connection, ids)}
    for wanted in ids:
        if wanted not in old or old[wanted].namespace != row.namespace:
            raise MemoryRefused(f"there is no memory {wanted} in {row.namespace!r} that could be superseded")
    (new,) = insert(connection, [(row, meta)], now)
    if new in old:
        raise MemoryRefused(f"memory {new} says the same already: nothing was superseded")
    for known in old.values():
        _rewrite(connection, attrs.evolve(known, superseded_by=new))
    return new


def mark_superseded(connection: sqlite3.Connection, pairs: Sequence[tuple[int, int]]) -> None:
    """Let the second of each pair stand for the first; pairs that are not both there are passed over."""
    there = {row.id: row for row in get(connection, [number_ for pair in pairs for number_ in pair])}
    for old, new in pairs:
        if old != new and old in there and new in there and there[old].namespace == there[new].namespace:
            _rewrite(connection, attrs.evolve(there[old], superseded_by=new))


def count_uses(connection: sqlite3.Connection, uses: Mapping[int, int], now: float) -> None:
    """Add to how often memories were recalled."""
    connection.executemany(
        "INSERT INTO usage (id, accesses, accessed) SELECT id, ?, ? FROM memory WHERE id = ?"
        " ON CONFLICT (id) DO UPDATE SET accesses = accesses + excluded.accesses, accessed = excluded.accessed",
        [(times, now, number_) for number_, times in uses.items()],
    )


# ------------------------------------------------------------------ reading
def get(connection: sqlite3.Connection, ids: Sequence[int]) -> tuple[MemoryRow, ...]:
    """The rows that exist, in the order asked."""
    found: dict[int, MemoryRow] = {}
    for part in parts(dict.fromkeys(ids)):
        marks = ",".join("?" * len(part))
        found.update((row.id, row) for row in _rows(connection, f"memory.id IN ({marks})", part))
    return tuple(found[number_] for number_ in ids if number_ in found)


def page(
    connection: sqlite3.Connection, after: int, limit: int, meant: MemoryFilter, now: float
) -> tuple[MemoryRow, ...]:
    """At most `limit` rows that are meant, with larger ids than `after`, by id."""
    condition, values = condition_of(meant, now)
    tail = " ORDER BY memory.id LIMIT ?"
    return tuple(_rows(connection, f"{condition} AND memory.id > ?", (*values, after), tail, limit))


def _rows(
    connection: sqlite3.Connection, condition: str, values: Sequence[object], tail: str = "", *more: object
) -> Iterator[MemoryRow]:
    columns = ", ".join(f"memory.{name}" for name in _COLUMNS.split(", "))
    query = (
        f"SELECT {columns}, accesses, accessed FROM memory LEFT JOIN usage ON usage.id = memory.id"  # noqa: S608 - ours
        f" WHERE {condition}{tail}"
    )
    for *row, accesses, accessed in connection.execute(query, (*values, *more)):
        yield _row(row, accesses or 0, accessed)


def _row(columns: Sequence[object], accesses: int = 0, accessed: float | None = None) -> MemoryRow:
    row = _as_row(columns[0], _checked_facts(columns))  # type: ignore[arg-type]  # an id
    return attrs.evolve(row, accesses=accesses, accessed=accessed) if accesses else row


def _checked_facts(columns: Sequence[object]) -> _Facts:
    """What a row says. Raises `MemoryFailed` if it is not what was written."""
    number_, *facts, seal = columns
    if row_seal(facts) != seal:
        raise MemoryFailed(
            f"memory {number_} is damaged: its row does not fit its checksum. "
            f"Forget {number_}, or put a backup of the file in its place."
        )
    return _Facts(*facts)  # type: ignore[arg-type]  # the seal vouches for the types


def select(connection: sqlite3.Connection, meant: MemoryFilter, now: float) -> Selection:
    """The ids that are meant."""
    condition, values = condition_of(meant, now)
    highest = number(connection, "SELECT ifnull(max(id), 0) FROM memory")
    bits = bytearray((highest >> 3) + 1)
    count = 0
    until: float | None = None
    query = f"SELECT memory.id, memory.expires FROM memory WHERE {condition}"  # noqa: S608 - ours
    for number_, expires in connection.execute(query, values):
        bits[number_ >> 3] |= 1 << (number_ & 7)
        count += 1
        if expires is not None and not meant.dead and (until is None or expires < until):
            until = expires
    return Selection(bits, count, until)


def condition_of(meant: MemoryFilter, now: float) -> tuple[str, list[object]]:
    """The filter as SQL over the table `memory`, and its values; the same as `MemoryFilter.matches`."""
    terms: list[str] = ["1"]
    values: list[object] = []
    if meant.namespace is not None:
        terms.append("memory.namespace = ?")
        values.append(meant.namespace)
    if meant.categories:
        terms.append(f"memory.category IN ({','.join('?' * len(meant.categories))})")
        values.extend(meant.categories)
    if not meant.dead:
        terms.append("memory.superseded_by IS NULL AND (memory.expires IS NULL OR memory.expires > ?)")
        values.append(now)
    for tag in meant.tags:
        terms.append("EXISTS (SELECT 1 FROM json_each(memory.tags) WHERE value = ?)")
        values.append(tag)
    for name, wanted in meant.where:
        tests: list[str] = []
        values.append(name)
        for one in wanted:
            if isinstance(one, bool) or one is None:
                tests.append(f"type = '{json.dumps(one)}'")
            else:
                kinds = "type = 'text'" if isinstance(one, str) else "type IN ('integer', 'real')"
                tests.append(f"({kinds} AND value = ?)")
                values.append(one)
        test = " OR ".join(tests) or "0"
        terms.append(f"EXISTS (SELECT 1 FROM json_each(memory.meta) WHERE key = ? AND ({test}))")  # noqa: S608 - ours
    return " AND ".join(terms), values


def generation(connection: sqlite3.Connection) -> Generation:
    """Which state this is."""
    return Generation(*connection.execute("SELECT number, mark FROM generation").fetchone())


def next_generation(connection: sqlite3.Connection) -> Generation:
    """Make this another state than the one before."""
    mark = secrets.token_hex(8)
    connection.execute("UPDATE generation SET number = number + 1, mark = ?", (mark,))
    now = generation(connection)
    connection.execute("INSERT OR REPLACE INTO history VALUES (?, ?)", (now.number, now.mark))
    connection.execute("DELETE FROM history WHERE number <= ?", (now.number - _HISTORY,))
    return now


def knows(connection: sqlite3.Connection, state: Generation) -> bool:
    """Whether the store was in this state before, as far as it remembers."""
    return (
        number(connection, "SELECT count(*) FROM history WHERE number = ? AND mark = ?", (state.number, state.mark)) > 0
        or generation(connection) == state
    )


def statistics(connection: sqlite3.Connection, now: float, size: int) -> StoreStatistics:
    """What there is."""
    counted = connection.execute(
        "SELECT count(*), count(superseded_by), count(CASE WHEN expires <= ? THEN 1 END),"
        " count(DISTINCT namespace) FROM memory",
        (now,),
    ).fetchone()
    categories = connection.execute("SELECT category, count(*) FROM memory GROUP BY category ORDER BY category")
    return StoreStatistics(
        memories=counted[0],
        superseded=counted[1],
        expired=counted[2],
        namespaces=counted[3],
        categories=dict(categories),
        embedded={f"{name} ({dim})": count for (name, dim), count in embedders(connection).items()},
        bytes=size,
        generation=generation(connection).number,
    )


# ------------------------------------------------------------------ taking out
def delete(connection: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Erase memories with all that was derived from them; gives how many were there."""
    erased, damaged = 0, False
    for part in parts(dict.fromkeys(ids)):
        marks = ",".join("?" * len(part))
        rows = connection.execute(f"SELECT {_COLUMNS} FROM memory WHERE id IN ({marks})", part).fetchall()  # noqa: S608 - question marks
        sound = [row for row in rows if row_seal(row[1:-1]) == row[-1]]
        damaged = damaged or len(sound) < len(rows)
        texts = [(row[0], row[2]) for row in sound]
        connection.executemany("INSERT INTO words (words, rowid, content) VALUES ('delete', ?, ?)", texts)
        for table in ("vector", "usage", "memory"):
            connection.execute(f"DELETE FROM {table} WHERE id IN ({marks})", part)  # noqa: S608 - constants
        erased += len(rows)
    if damaged:  # nobody knows under which words it stands
        connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
    if erased:
        connection.execute("INSERT OR IGNORE INTO chore VALUES ('scrub')")
    return erased


def expired(connection: sqlite3.Connection, now: float, limit: int) -> tuple[int, ...]:
    """At most `limit` memories whose time has passed."""
    rows = connection.execute("SELECT id FROM memory WHERE expires <= ? ORDER BY expires LIMIT ?", (now, limit))
    return tuple(number_ for (number_,) in rows)
