"""The tables of the memory's file, and how an older file becomes one of today.

The version is in `user_version`. Version 1 had one table, vectors in it; version 2 had no pieces of the words of
scripts without spaces. A file is brought over in one transaction, so that a kill in the middle leaves the old file. A
row carries a seal over everything that it says, and so does a vector, since SQLite itself does not notice a flipped
bit inside of a text. Ids are never used twice, so that an index that is behind can name a memory that is gone but
never a wrong one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from trouper.actors.memory_data import FACT
from trouper.runtime import MemoryFailed

from .memory_rows import content_key, meta_json, row_seal, vector_seal
from .store_pieces import pieces_of

Spaces = dict[tuple[str, int], int]
"""Embedder and dimension, and the number of their vector space."""

APPLICATION_ID = 0x54525550  # "TRUP": `file` and we can tell it from somebody else's database
SCHEMA_VERSION = 3
_WORDS = """CREATE VIRTUAL TABLE words USING fts5(
    content, pieces, content='memory', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
)"""
_SCHEMA = f"""
CREATE TABLE memory (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    key BLOB NOT NULL,
    content TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    category TEXT NOT NULL,
    tags TEXT NOT NULL,
    salience REAL NOT NULL,
    half_life REAL,
    meta TEXT NOT NULL,
    told_apart TEXT NOT NULL,
    superseded_by INTEGER,
    seal BLOB NOT NULL,
    pieces TEXT,
    UNIQUE (namespace, key)
);
CREATE INDEX memory_meant ON memory (namespace, category, superseded_by, expires);
CREATE INDEX memory_expires ON memory (expires) WHERE expires IS NOT NULL;
CREATE TABLE space (number INTEGER PRIMARY KEY, embedder TEXT NOT NULL, dim INTEGER NOT NULL, UNIQUE (embedder, dim));
CREATE TABLE vector (
    space INTEGER NOT NULL,
    id INTEGER NOT NULL,
    data BLOB NOT NULL,
    seal BLOB NOT NULL
);
CREATE UNIQUE INDEX vector_of ON vector (id, space);
CREATE TABLE usage (id INTEGER PRIMARY KEY, accesses INTEGER NOT NULL, accessed REAL NOT NULL);
CREATE TABLE generation (number INTEGER NOT NULL, mark TEXT NOT NULL);
CREATE TABLE history (number INTEGER PRIMARY KEY, mark TEXT NOT NULL);
CREATE TABLE chore (name TEXT PRIMARY KEY) WITHOUT ROWID;
{_WORDS};
"""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty file; inside a transaction.

    Raises:
        sqlite3.OperationalError: this SQLite cannot do it, for one because it has no FTS5.
    """
    for statement in filter(str.strip, _SCHEMA.split(";")):
        connection.execute(statement)
    connection.execute("INSERT INTO generation VALUES (0, '')")
    _stamp(connection)


def is_new(connection: sqlite3.Connection) -> bool:
    """Whether nobody has put anything into this file."""
    return number(connection, "SELECT count(*) FROM sqlite_master") == 0 and not number(
        connection, "PRAGMA application_id"
    )


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether this is a memory of Trouper, of whatever version."""
    return number(connection, "PRAGMA application_id") == APPLICATION_ID


def version_of(connection: sqlite3.Connection) -> int:
    """The version of the tables."""
    return number(connection, "PRAGMA user_version")


def bring_over(connection: sqlite3.Connection, version: int, where: object) -> int:
    """Make a file of `version` one of today, in one transaction; gives how many memories it has.

    Raises:
        MemoryFailed: nobody knows how.
    """
    if not 1 <= version < SCHEMA_VERSION:
        raise MemoryFailed(
            f"the memory {where} has version {version}; this Trouper reads versions 1 to {SCHEMA_VERSION}. "
            "Use the Trouper that wrote it, or give `memory.path` another file."
        )
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version_of(connection) == version:  # nobody was quicker
            _from_1(connection) if version == 1 else _from_2(connection)
        count = number(connection, "SELECT count(*) FROM memory")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return count


def _from_1(connection: sqlite3.Connection) -> None:
    generation = connection.execute("SELECT number, mark FROM generation").fetchone()
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'memory'").fetchone()
    connection.execute("ALTER TABLE memory RENAME TO memory_1")
    connection.execute("DROP TABLE generation")
    create(connection)
    spaces: Spaces = {}
    old = connection.execute("SELECT id, content, created, meta, vector, embedder, seal FROM memory_1 ORDER BY id")
    for row in old:
        _bring_over_row(connection, row, spaces)
    connection.execute("UPDATE generation SET number = ?, mark = ?", generation)
    if last is not None:  # an id is not used again, also if its memory was erased long ago
        connection.execute(
            "INSERT OR IGNORE INTO sqlite_sequence SELECT 'memory', 0 WHERE NOT EXISTS "
            "(SELECT 1 FROM sqlite_sequence WHERE name = 'memory')"
        )
        connection.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'memory'", last)
    connection.execute("DROP TABLE memory_1")


def _from_2(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE memory ADD COLUMN pieces TEXT")
    # As bytes: what is damaged may be no text any more, and is still told when it is read.
    texts = connection.execute("SELECT id, CAST(content AS BLOB) FROM memory")
    found = ((pieces_of(text.decode(errors="replace")), number_) for number_, text in texts)
    connection.executemany("UPDATE memory SET pieces = ? WHERE id = ?", [one for one in found if one[0] is not None])
    connection.execute("DROP TABLE words")
    connection.execute(_WORDS)
    connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
    _stamp(connection)


def _bring_over_row(
    connection: sqlite3.Connection,
    row: tuple[int, str, float, str, bytes, str, bytes],
    spaces: Spaces,
) -> None:
    """One row of version 1. A damaged one stays damaged, so that it is still told and can be forgotten."""
    number_, content, created, meta, vector, embedder, seal = row
    whole = isinstance(content, str) and isinstance(meta, str) and isinstance(vector, bytes)
    sound = whole and row_seal([content, created, meta, embedder], vector) == seal
    found = json.loads(meta) if sound else {}
    category = found.get("kind") if isinstance(found, Mapping) else None
    category = category if isinstance(category, str) and category else FACT
    facts = ["default", content, created, None, category, "[]", 0.5, None, meta_json(found), "", None]
    connection.execute(
        "INSERT INTO memory VALUES (?, 'default', ?, ?, ?, NULL, ?, '[]', 0.5, NULL, ?, '', NULL, ?, ?)",
        (
            number_,
            content_key(content) if sound else b"%d" % number_,
            content if isinstance(content, str) else repr(content),
            created,
            category,
            meta_json(found),
            row_seal(facts) if sound else b"",
            pieces_of(content) if sound else None,
        ),
    )
    if sound:
        connection.execute(
            "INSERT INTO words (rowid, content, pieces) VALUES (?, ?, ?)", (number_, content, pieces_of(content))
        )
        space = space_of(connection, embedder, len(vector) // 4, spaces)
        connection.execute(
            "INSERT INTO vector VALUES (?, ?, ?, ?)", (space, number_, vector, vector_seal(number_, vector))
        )


def space_of(connection: sqlite3.Connection, embedder: str, dim: int, known: Spaces) -> int:
    """The number of an embedder's vectors of `dim` numbers; a new one if it has none."""
    if (embedder, dim) not in known:
        connection.execute("INSERT OR IGNORE INTO space (embedder, dim) VALUES (?, ?)", (embedder, dim))
        row = connection.execute("SELECT number FROM space WHERE embedder = ? AND dim = ?", (embedder, dim)).fetchone()
        known[embedder, dim] = int(row[0])
    return known[embedder, dim]


def _stamp(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def number(connection: sqlite3.Connection, query: str, parameters: tuple[object, ...] = ()) -> int:
    """The one number that a query gives."""
    return int(connection.execute(query, parameters).fetchone()[0])
