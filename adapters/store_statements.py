"""What the memory's stores say to SQLite: functions of a connection, inside of somebody else's transaction."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence

import attrs

from trouper.actors.memory_data import MemoryFilter, MemoryRow, Selection, StoreStatistics, holds
from trouper.actors.protocols import Generation, Looked, Question
from trouper.runtime import MemoryRefused

from .memory_rows import row_seal
from .store_facts import COLUMNS, as_row, checked_facts, facts_of, rewrite
from .store_insert import Checked, insert
from .store_pieces import pieces_of
from .store_schema import number
from .store_vectors import embedders, parts, products

_HISTORY = 4_096
"""So many changes back a snapshot is still known to be of this store."""


# ------------------------------------------------------------------ changing
def supersede(connection: sqlite3.Connection, ids: Sequence[int], row: Checked, now: float) -> int:
    """Put `row` in, in the place of the memories `ids`; gives its id.

    Raises:
        MemoryRefused: one of them is not there, or is the new one.
    """
    old = {known.id: known for known in get(connection, ids)}
    for wanted in ids:
        if wanted not in old or old[wanted].namespace != row[0].namespace:
            raise MemoryRefused(f"there is no memory {wanted} in {row[0].namespace!r} that could be superseded")
    (new,) = insert(connection, [row], now)
    if new in old:
        raise MemoryRefused(f"memory {new} says the same already: nothing was superseded")
    for known in old.values():
        rewrite(connection, known.id, facts_of(attrs.evolve(known, superseded_by=new)))
    return new


def mark_superseded(connection: sqlite3.Connection, pairs: Sequence[tuple[int, int]]) -> None:
    """Let the second of each pair stand for the first; pairs that are not both there are passed over."""
    there = {row.id: row for row in get(connection, [number_ for pair in pairs for number_ in pair])}
    for old, new in pairs:
        if old != new and old in there and new in there and there[old].namespace == there[new].namespace:
            rewrite(connection, old, facts_of(attrs.evolve(there[old], superseded_by=new)))


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


def texts(connection: sqlite3.Connection, ids: Sequence[int]) -> tuple[str, ...]:
    """What these say, as it stands there."""
    found: list[object] = []
    for part in parts(ids):
        query = f"SELECT content FROM memory WHERE id IN ({','.join('?' * len(part))})"  # noqa: S608 - question marks
        found += [content for (content,) in connection.execute(query, part)]
    return tuple(content for content in found if isinstance(content, str))


def look(connection: sqlite3.Connection, ids: Sequence[int], question: Question | None) -> Looked:
    """The rows that exist, in the order asked, how near they are to a question, and of which state that is."""
    rows = get(connection, ids)
    likeness = {} if question is None else products(connection, question, [row.id for row in rows])
    return Looked(generation(connection), rows, likeness)


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
    columns = ", ".join(f"memory.{name}" for name in COLUMNS.split(", "))
    query = (
        f"SELECT {columns}, accesses, accessed FROM memory LEFT JOIN usage ON usage.id = memory.id"  # noqa: S608 - ours
        f" WHERE {condition}{tail}"
    )
    for *row, accesses, accessed in connection.execute(query, (*values, *more)):
        yield as_row(row[0], checked_facts(row), accesses or 0, accessed)


def select(
    connection: sqlite3.Connection, meant: MemoryFilter, now: float, among: Sequence[int] | None = None
) -> Selection:
    """The ids that are meant; with `among` only of these."""
    condition, values = condition_of(meant, now)
    highest = number(connection, "SELECT ifnull(max(id), 0) FROM memory")
    bits = bytearray((highest >> 3) + 1)
    count = 0
    until: float | None = None
    for number_, expires in _meant(connection, condition, values, among):
        bits[number_ >> 3] |= 1 << (number_ & 7)
        count += 1
        if expires is not None and not meant.dead and (until is None or expires < until):
            until = expires
    return Selection(bits, count, until)


def _meant(
    connection: sqlite3.Connection, condition: str, values: Sequence[object], among: Sequence[int] | None
) -> Iterator[tuple[int, float | None]]:
    query = "SELECT memory.id, memory.expires FROM memory"
    if among is None:
        yield from connection.execute(f"{query} WHERE {condition}", values)
        return
    for part in parts(among):
        # NOT INDEXED: by their ids, where SQLite would look through all of a namespace.
        marks = ",".join("?" * len(part))
        yield from connection.execute(
            f"{query} NOT INDEXED WHERE memory.id IN ({marks}) AND {condition}", (*part, *values)
        )


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
    if meant.without:
        terms.append(f"memory.category NOT IN ({','.join('?' * len(meant.without))})")
        values.extend(meant.without)
    if not meant.dead:
        terms.append("memory.superseded_by IS NULL AND (memory.expires IS NULL OR memory.expires > ?)")
        values.append(now)
    for tag in meant.tags:
        terms.append(_exactly("tags", "tag_in(memory.tags, ?)", "SELECT 1 FROM json_each(memory.tags) WHERE value = ?"))
        values += [tag, tag]
    for name, wanted in meant.where:
        kinds = ", ".join(
            f"'{json.dumps(one)}'" for one in (True, False, None) if any(one is value for value in wanted)
        )
        plain = [one for one in wanted if not isinstance(one, bool | None) and "\0" not in str(one)]
        query = (
            f"SELECT 1 FROM json_each(memory.meta) AS said WHERE said.key = ? AND (said.type IN ({kinds})"  # noqa: S608 - ours
            " OR said.type IN ('text', 'integer', 'real') AND said.value IN (SELECT value FROM json_each(?)))"
        )
        terms.append(_exactly("meta", "meta_has(memory.meta, ?, ?)", query))
        values += [name, json.dumps(wanted), name, json.dumps(plain)]
    return " AND ".join(terms), values


def _exactly(column: str, slowly: str, query: str) -> str:
    """SQLite's JSON takes a NUL for the end of a text, and would find `a NUL b` by `a`: there we look ourselves."""
    return f"CASE WHEN instr(memory.{column}, '\\u0000') THEN {slowly} ELSE EXISTS ({query}) END"


def teach(connection: sqlite3.Connection) -> None:
    """Give a connection what filters ask for. Every connection of a store needs it."""
    connection.create_function("meta_has", 3, _meta_has, deterministic=True)
    connection.create_function("tag_in", 2, _tag_in, deterministic=True)


def _meta_has(meta: str, name: str, wanted: str) -> bool:
    return holds(json.loads(meta), name, json.loads(wanted))


def _tag_in(tags: str, tag: str) -> bool:
    return tag in json.loads(tags)


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
        query = f"SELECT pieces, {COLUMNS} FROM memory WHERE id IN ({marks})"  # noqa: S608 - question marks
        rows = connection.execute(query, part).fetchall()
        sound = [row for row in rows if row_seal(row[2:-1]) == row[-1] and row[0] == pieces_of(row[3])]
        damaged = damaged or len(sound) < len(rows)
        texts = [(row[1], row[3], row[0]) for row in sound]
        connection.executemany("INSERT INTO words (words, rowid, content, pieces) VALUES ('delete', ?, ?, ?)", texts)
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
