"""Indexed documents in one SQLite file: which files, in which pieces, with vectors and a full-text index beside them.

Everything here can be made again from the files themselves, so a commit need not survive a power cut
(`synchronous=NORMAL`), but it is whole or not there: a file and all its pieces are replaced in one transaction.
Ids of pieces are never used twice, so an index of vectors that is behind can miss a piece and never name a wrong one.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from trouper.actors.protocols import DocumentCounts, Generation, KnownDocument, NewDocument, PassageRow, Vector
from trouper.runtime import DocumentsFailed

from .sqlite_thread import BUSY_TIMEOUT, AnotherFile, ClosedFile, SqliteThread, Work, wal
from .store_pieces import parted, pieces_of

T = TypeVar("T")

APPLICATION_ID = 0x54525544  # "TRUD": `file` and we can tell it from somebody else's database
SCHEMA_VERSION = 2
_TABLES = """
CREATE TABLE document (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    recipe TEXT NOT NULL,
    embedder TEXT NOT NULL,
    indexed REAL NOT NULL
);
CREATE TABLE passage (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    text TEXT NOT NULL,
    headings TEXT NOT NULL,
    first_line INTEGER NOT NULL,
    last_line INTEGER NOT NULL,
    page INTEGER,
    vector BLOB
);
CREATE INDEX passage_of_document ON passage (document);
CREATE TABLE generation (number INTEGER NOT NULL);
INSERT INTO generation VALUES (0);
"""
_WORDS = """
ALTER TABLE passage ADD COLUMN pieces TEXT NOT NULL DEFAULT '';
UPDATE passage SET pieces = pieces_of(text, headings) WHERE pieces_of(text, headings) <> '';
CREATE VIRTUAL TABLE passage_words USING fts5 (
    text, headings, pieces, content='passage', content_rowid='id', tokenize='porter unicode61'
);
INSERT INTO passage_words (passage_words) VALUES ('rebuild');
CREATE TRIGGER passage_added AFTER INSERT ON passage BEGIN
    INSERT INTO passage_words (rowid, text, headings, pieces) VALUES (new.id, new.text, new.headings, new.pieces);
END;
CREATE TRIGGER passage_removed AFTER DELETE ON passage BEGIN
    INSERT INTO passage_words (passage_words, rowid, text, headings, pieces)
    VALUES ('delete', old.id, old.text, old.headings, old.pieces);
END;
"""
"""What version 2 added: `pieces` is what stands for words in scripts that put no spaces between them."""
_FORMER_WORDS = """
DROP TRIGGER passage_added;
DROP TRIGGER passage_removed;
DROP TABLE passage_words;
"""
_OF_SPACE = """
FROM passage JOIN document ON document.id = passage.document
WHERE document.embedder = ? AND length(passage.vector) = ?
"""
_AT_ONCE = 500
_WORD = re.compile(r"\w+")
MOST_WORDS = 64
"""Of a query, that are looked for."""


class SqliteDocumentStore:
    """Port `DocumentStore`, in a worker thread. A file that may only be read is read, and cannot be changed.

    Cancelled: either nothing was done or all of it; a transaction that has begun is finished.
    """

    def __init__(self, path: str | os.PathLike[str], *, now: Callable[[], float] = time.time) -> None:
        self._file = SqliteThread(path, self._prepare, reading_will_do=True, only_this_file=True)
        self._now = now

    async def known(self) -> Mapping[str, KnownDocument]:
        """Every indexed file by its path."""

        def select(connection: sqlite3.Connection) -> dict[str, KnownDocument]:
            rows = connection.execute("SELECT path, digest, recipe, embedder FROM document")
            return {
                path: KnownDocument(digest=digest, recipe=recipe, embedder=name) for path, digest, recipe, name in rows
            }

        return await self._mapped(select, "read")

    async def replace(self, documents: Sequence[NewDocument]) -> None:
        """Put these files in the place of what was known of them, all or none."""
        now = self._now()

        def put(connection: sqlite3.Connection) -> None:
            _remove(connection, [new.document.path for new in documents])
            for new in documents:
                _insert(connection, new, now)

        await self._change(put)

    async def remove(self, paths: Sequence[str]) -> int:
        """Forget these files; gives how many were known."""
        return await self._change(lambda connection: _remove(connection, paths)) if paths else 0

    async def passages(self, ids: Sequence[int]) -> tuple[PassageRow, ...]:
        """The pieces that exist, in the order asked."""

        def select(connection: sqlite3.Connection) -> tuple[PassageRow, ...]:
            found = {row.id: row for part in _parts(ids) for row in _passages(connection, part)}
            return tuple(found[number] for number in ids if number in found)

        return await self._mapped(select, "read")

    async def matching(self, query: str, k: int) -> tuple[tuple[int, float], ...]:
        """At most `k` pieces that share words with `query`, best first; the score is BM25, larger for better ones."""
        pieces, rest = parted(query)
        words = list(dict.fromkeys([*(word.lower() for word in _WORD.findall(rest)), *pieces]))[:MOST_WORDS]
        if not words:
            return ()
        # Every word is quoted, so that none of them is an operator.
        wanted = " OR ".join(f'"{word}"' for word in words)

        def select(connection: sqlite3.Connection) -> tuple[tuple[int, float], ...]:
            rows = connection.execute(
                "SELECT rowid, -bm25(passage_words, 1.0, 0.5) AS score FROM passage_words WHERE passage_words MATCH ?"
                " ORDER BY score DESC, rowid LIMIT ?",
                (wanted, k),
            )
            return tuple((int(number), float(score)) for number, score in rows)

        return await self._mapped(select, "read")

    async def vector_ids(self, embedder: str, dim: int) -> tuple[int, ...]:
        """The pieces that have a vector of `dim` numbers from this embedder, by id."""
        found = f"SELECT passage.id {_OF_SPACE} ORDER BY passage.id"

        def select(connection: sqlite3.Connection) -> tuple[int, ...]:
            return tuple(number for (number,) in connection.execute(found, (embedder, 4 * dim)))

        return await self._mapped(select, "read")

    async def vectors(self, embedder: str, dim: int, after: int, limit: int) -> Sequence[tuple[int, Vector]]:
        """At most `limit` of those vectors whose ids are larger than `after`, by id."""
        found = f"SELECT passage.id, passage.vector {_OF_SPACE} AND passage.id > ? ORDER BY passage.id LIMIT ?"

        def select(connection: sqlite3.Connection) -> list[tuple[int, Vector]]:
            return list(connection.execute(found, (embedder, 4 * dim, after, limit)))

        return await self._mapped(select, "read")

    async def vectors_of(self, embedder: str, dim: int, ids: Sequence[int]) -> Sequence[tuple[int, Vector]]:
        """Those vectors of these pieces, as far as there are any."""

        def select(connection: sqlite3.Connection) -> list[tuple[int, Vector]]:
            found: list[tuple[int, Vector]] = []
            for part in _parts(ids):
                marks = ",".join("?" * len(part))
                query = f"SELECT passage.id, passage.vector {_OF_SPACE} AND passage.id IN ({marks})"
                found += connection.execute(query, (embedder, 4 * dim, *part))
            return found

        return await self._mapped(select, "read")

    async def knows(self, state: Generation) -> bool:
        """Whether `state` was before. No file is kept beside this one that outlives it, so its number says enough."""
        return state.number <= await self.generation()

    async def counts(self) -> DocumentCounts:
        """How much there is."""

        def select(connection: sqlite3.Connection) -> DocumentCounts:
            files = connection.execute("SELECT count(*) FROM document").fetchone()[0]
            return DocumentCounts(
                files=files, passages=connection.execute("SELECT count(*) FROM passage").fetchone()[0]
            )

        return await self._mapped(select, "read")

    async def generation(self) -> int:
        """Which state this is: it grows with each change, by whatever process."""
        return await self._mapped(
            lambda connection: int(connection.execute("SELECT number FROM generation").fetchone()[0]), "read"
        )

    async def aclose(self) -> None:
        """Close. Idempotent; later calls raise `DocumentsFailed`."""
        await self._file.aclose()

    # ------------------------------------------------------------ transactions
    async def _change(self, work: Work[T]) -> T:
        def within(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("UPDATE generation SET number = number + 1")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself rolls back after some errors
                    connection.execute("ROLLBACK")
                raise
            return result

        return await self._mapped(within, "written")

    async def _mapped(self, work: Work[T], done: str) -> T:
        try:
            return await self._file.run(work)
        except ClosedFile as error:
            raise DocumentsFailed(f"the documents {self._file.path} are closed: the troupe has ended") from error
        except (sqlite3.OperationalError, PermissionError) as error:
            raise DocumentsFailed(f"the documents {self._file.path} could not be {done}: {_why(error)}") from error
        except (sqlite3.Error, OSError, ValueError) as error:
            raise DocumentsFailed(
                f"the documents {self._file.path} could not be {done}: {error}. "
                "They can be made again: delete that file and run `trouper index` on the same paths."
            ) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and application != APPLICATION_ID:
            raise ValueError("it is somebody else's database; set documents.path to another file")
        if not empty and version not in (1, SCHEMA_VERSION):
            raise ValueError(f"it was made by another version of Trouper (format {version}, not {SCHEMA_VERSION})")
        if self._file.read_only:  # it can be searched
            return
        wal(connection, 1)
        connection.execute("PRAGMA foreign_keys=ON")
        connection.create_function("pieces_of", 2, _pieces, deterministic=True)
        if version != SCHEMA_VERSION:
            _bring_over(connection)


def _why(error: Exception) -> str:
    """What happened, and what to do about it now."""
    text = str(error)
    if isinstance(error, AnotherFile):
        return f"{text}. Start anew the programs that have it open"
    if "locked" in text:
        return f"another process has kept it busy for {BUSY_TIMEOUT:g} s; see who does, and try again"
    if "full" in text:
        return f"{text}. Free some space and do it again: what was written before stays"
    if isinstance(error, PermissionError) or "readonly" in text or "unable to open" in text:
        return f"{text}. Check that the file and its folder may be written, or give `documents.path` another file"
    return text


def _bring_over(connection: sqlite3.Connection) -> None:
    """Make the tables, or those that version 1 did not have, unless another process does so at this very moment."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version != SCHEMA_VERSION:
            for statement in _statements((_FORMER_WORDS if version else _TABLES) + _WORDS):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pieces(text: str, headings: str) -> str:
    return pieces_of(f"{headings} {text}") or ""


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit in between."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _remove(connection: sqlite3.Connection, paths: Sequence[str]) -> int:
    return sum(connection.execute("DELETE FROM document WHERE path = ?", (path,)).rowcount for path in paths)


def _insert(connection: sqlite3.Connection, new: NewDocument, now: float) -> None:
    file = new.document
    cursor = connection.execute(
        "INSERT INTO document (path, digest, size, changed, recipe, embedder, indexed) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (file.path, file.digest, file.size, file.changed, new.recipe, new.embedder, now),
    )
    connection.executemany(
        "INSERT INTO passage (document, text, headings, first_line, last_line, page, vector, pieces)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, pieces_of(?2, ?3))",
        (
            (
                cursor.lastrowid,
                piece.text,
                json.dumps(piece.headings, ensure_ascii=False),
                piece.first_line,
                piece.last_line,
                piece.page,
                vector,
            )
            for piece, vector in new.pieces
        ),
    )


def _passages(connection: sqlite3.Connection, ids: Sequence[int]) -> Iterator[PassageRow]:
    marks = ",".join("?" * len(ids))
    rows = connection.execute(
        "SELECT passage.id, path, text, headings, first_line, last_line, page, size, changed FROM passage"  # noqa: S608 - question marks
        f" JOIN document ON document.id = passage.document WHERE passage.id IN ({marks})",
        ids,
    )
    for number, path, text, headings, first, last, page, size, changed in rows:
        yield PassageRow(
            id=number,
            path=path,
            text=text,
            first_line=first,
            last_line=last,
            page=page,
            headings=tuple(json.loads(headings)),
            size=size,
            changed=changed,
        )


def _parts(ids: Sequence[int]) -> Iterator[list[int]]:
    left = iter(ids)
    while part := list(islice(left, _AT_ONCE)):
        yield part
