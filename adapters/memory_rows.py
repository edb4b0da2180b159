"""One memory as both stores keep it: what may be stored, what makes two the same, and the seal of a row. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import attrs

from trouper.actors.protocols import Vector
from trouper.runtime import MemoryRefused


@attrs.frozen(kw_only=True)
class NewRow:
    """A memory on its way into a store, checked."""

    content: str
    meta: str
    """JSON."""
    vector: Vector
    embedder: str

    @property
    def key(self) -> bytes:
        """Two memories of the same key are the same memory."""
        return content_key(self.content)


def new_row(content: str, meta: Mapping[str, object], vector: Vector, embedder: str) -> NewRow:
    """Check what a store was given.

    Raises:
        MemoryRefused: it cannot be stored; the message says what to change.
    """
    if not content:
        raise MemoryRefused("a memory needs a text; this one is empty")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise MemoryRefused(
            f"the text holds half a character (a lone surrogate at place {error.start}) and cannot be stored as UTF-8"
        ) from error
    check_vector(vector)
    return NewRow(content=content, meta=meta_json(meta), vector=bytes(vector), embedder=embedder)


def check_vector(vector: Vector) -> None:
    """Raise `MemoryRefused` unless `vector` can be one: some whole float32 numbers."""
    if not vector or len(vector) % 4:
        raise MemoryRefused(f"a vector of {len(vector)} bytes is not a row of float32 numbers")


def meta_json(meta: Mapping[str, object]) -> str:
    """The metadata as JSON text; the same mapping gives the same text.

    Raises:
        MemoryRefused: it is not JSON.
    """
    try:
        text = json.dumps(dict(meta), ensure_ascii=True, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise MemoryRefused(f"the metadata of a memory must be JSON values under text keys: {error}") from error
    if json.loads(text).keys() != meta.keys():
        raise MemoryRefused("the metadata of a memory must have text keys")
    return text


def content_key(content: str) -> bytes:
    """32 bytes that are the same for the same text only."""
    return hashlib.blake2b(content.encode(), digest_size=32).digest()


def row_seal(content: str, created: float, meta: str, vector: Vector, embedder: str) -> bytes:
    """16 bytes over a whole row: SQLite keeps no checksum of its own, and a flipped bit must not be believed."""
    told = json.dumps([content, created, meta, embedder]).encode()
    return hashlib.blake2b(told + b"\0" + vector, digest_size=16).digest()
