"""What a memory says, as columns in the order in which they are sealed, and how a row is checked and written again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import attrs

from trouper.actors.memory_data import MemoryRow
from trouper.runtime import MemoryFailed

from .memory_rows import meta_json, row_seal, tags_json

COLUMNS = (
    "id, namespace, content, created, expires, category, tags, salience, half_life, meta, told_apart, superseded_by,"
    " seal"
)


@attrs.define
class Facts:
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
        """The seal over all of them."""
        return row_seal([self.namespace, self.content, *self.said()])

    def said(self) -> list[object]:
        """All but whose memory it is and its text."""
        return [
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


def checked_facts(columns: Sequence[object]) -> Facts:
    """What a row of `COLUMNS` says. Raises `MemoryFailed` if it is not what was written."""
    number_, *facts, seal = columns
    if row_seal(facts) != seal:
        raise MemoryFailed(
            f"memory {number_} is damaged: its row does not fit its checksum. "
            f"Forget {number_}, or put a backup of the file in its place."
        )
    return Facts(*facts)  # type: ignore[arg-type]  # the seal vouches for the types


def as_row(number_: int, facts: Facts, accesses: int = 0, accessed: float | None = None) -> MemoryRow:
    """The memory that says so."""
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
        accesses=accesses,
        accessed=accessed if accesses else None,
    )


def facts_of(row: MemoryRow) -> Facts:
    """The other way round."""
    return Facts(
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


def rewrite(connection: sqlite3.Connection, number_: int, f: Facts) -> None:
    """Write what a row says now; its id and its text stay."""
    connection.execute(
        "UPDATE memory SET created = ?, expires = ?, category = ?, tags = ?, salience = ?, half_life = ?, meta = ?,"
        " superseded_by = ?, seal = ? WHERE id = ?",
        (f.created, f.expires, f.category, f.tags, f.salience, f.half_life, f.meta, f.superseded_by, f.seal(), number_),
    )
