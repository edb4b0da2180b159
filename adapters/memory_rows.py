"""One memory as a store keeps it: what may be stored, what makes two the same, and the seals. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

from trouper.actors.memory_data import NewMemory, check_writable
from trouper.actors.protocols import Vector
from trouper.runtime import MemoryRefused

MOST_TAGS = 64
_LONGEST_NAME = 200


def check_text(text: str) -> None:
    """Raise `MemoryRefused` unless `text` can be what a memory says."""
    if not text:
        raise MemoryRefused("a memory needs a text; this one is empty")
    check_writable(text, "the text")


def check_said(row: NewMemory) -> None:
    """Check what is said of a memory besides its text, its vector and its metadata.

    Raises:
        MemoryRefused: it cannot be stored; the message says what to change.
    """
    check_name(row.namespace, "namespace")
    check_name(row.category, "category")
    check_writable(row.distinct, "what tells it apart")
    if len(row.tags) > MOST_TAGS:
        raise MemoryRefused(f"{len(row.tags)} tags on one memory; at most {MOST_TAGS} are taken")
    for tag in row.tags:
        check_name(tag, "tag")
    if not (_is_number(row.salience) and 0 <= row.salience <= 1):
        raise MemoryRefused(f"salience is {row.salience!r}; give a number from 0 to 1")
    if row.half_life is not None and not (_is_number(row.half_life) and row.half_life > 0):
        raise MemoryRefused(f"half_life is {row.half_life!r}; give seconds, more than 0, or nothing")
    for name, moment in (("expires", row.expires), ("created", row.created)):
        if moment is not None and not _is_number(moment):
            raise MemoryRefused(f"{name} is {moment!r}; give seconds since 1970")


def check_name(name: str, what: str) -> None:
    """Raise `MemoryRefused` unless `name` can be the name of a namespace, a category or a tag."""
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME:
        raise MemoryRefused(f"{what} {name!r}: give a name of 1 to {_LONGEST_NAME} characters")
    check_writable(name, f"the {what}")


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


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
    if not all(isinstance(name, str) for name in meta):
        raise MemoryRefused("the metadata of a memory must have text keys")
    return text


def tags_json(tags: Sequence[str]) -> str:
    """The tags as JSON text, each once, in the order given."""
    return json.dumps(list(dict.fromkeys(tags)), ensure_ascii=True)


def content_key(content: str, distinct: str = "") -> bytes:
    """32 bytes that are the same for the same text (and the same `distinct`) only."""
    salt = hashlib.blake2b(distinct.encode(), digest_size=16).digest() if distinct else b""
    return hashlib.blake2b(content.encode(), digest_size=32, salt=salt).digest()


def row_seal(facts: Sequence[object], rest: bytes = b"") -> bytes:
    """16 bytes over a whole row: SQLite keeps no checksum of its own, and a flipped bit must not be believed."""
    return hashlib.blake2b(json.dumps(facts).encode() + b"\0" + rest, digest_size=16).digest()


def seal_around(namespace: str, said: Sequence[object]) -> tuple[bytes, bytes]:
    """What `row_seal` hashes before and after the text of a row: the same for all rows that say the same besides."""
    return f"[{json.dumps(namespace)}, ".encode(), f", {json.dumps(said)[1:]}\0".encode()


def seal_between(around: tuple[bytes, bytes], content: str) -> bytes:
    """The same as `row_seal([namespace, content, *said])`, for a third of the time."""
    before, after = around
    return hashlib.blake2b(before + json.dumps(content).encode() + after, digest_size=16).digest()


def vector_seal(number: int, vector: Vector) -> bytes:
    """8 bytes over a vector and whose it is."""
    return hashlib.blake2b(vector, digest_size=8, salt=number.to_bytes(8, "little", signed=True)).digest()
