"""From whatever a tool returns to plain JSON data, bounded in size and depth.

A result is copied, so that a tool which keeps its list and goes on changing it changes nothing for others.
The walk is a loop and not a recursion: data nested a few hundred deep is legal, and must not depend on how
much stack the caller has left.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import math
import pathlib
import reprlib
import uuid
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

from trouper.runtime import BadResult

from .protocols import Json

MAX_BYTES = 10_000_000
MAX_DEPTH = 500
_INT_BITS = 4096
LARGEST_PLAIN = 1 << 62
"""Whole numbers within this need no look at their size."""
_NO_SIZE = 1 << 62
_LONGEST_NAME = 100
_SHORT = reprlib.Repr()

_Path = tuple["_Path", object] | None


@attrs.define
class _Size:
    """How many bytes the data would take as JSON, about."""

    limit: int
    used: int = 0

    def check(self, value: object) -> None:
        """Refuse what is too long by its mere length, before anybody copies it."""
        if isinstance(value, Mapping | list | tuple | set | frozenset) and self.used + 7 * len(value) > self.limit:
            self.add(7 * len(value))

    def add(self, n: int) -> None:
        self.used += n
        if self.used > self.limit:
            raise BadResult(f"the result is larger than {self.limit:,} bytes; write it to a file and return its path")


def to_json(value: object, *, limit: int = MAX_BYTES) -> Json:
    """A copy of `value` made of dicts, lists, text, numbers, truth values and None.

    attrs instances and dataclasses become dicts, tuples and sets lists (sets sorted), paths, dates, UUIDs
    and decimals text, enum members their value, whole-number keys text. `limit` is in bytes of JSON.

    Raises:
        BadResult: something is not data (named with its place), not finite, too deep, or too large.
    """
    if type(value) is dict and _flat_size(value) <= limit:
        return value.copy()
    size = _Size(limit)
    try:
        copy: Json = _copied(value, size, 0)
    except (_Deep, BadResult):
        if size.used > limit:
            raise
    else:
        return copy
    return _walked(value, limit)


def is_flat(value: object) -> bool:
    """Whether `value` is a dict of names and scalars, and not large: `to_json` of it is its shallow copy."""
    return type(value) is dict and _flat_size(value) <= MAX_BYTES


# ---------------------------------------------------------------- the quick way
# `to_json` is on the way of every step. Most results are small dicts of scalars, with the same few keys again and
# again; nearly all others are not nested deeply. Whatever else comes, and whatever is wrong, is left to the careful
# walk below, which knows the place of everything.

_seen_names: dict[tuple[object, ...], int] = {}
_MANY_NAMES = 1024
_SHALLOW = 20
_SCALARS = frozenset({str, int, float, bool, type(None)})


class _Deep(Exception):
    """Too deep for recursion."""


def _flat_size(value: dict[str, Any]) -> int:
    """The size of a dict of plain names and scalars; of anything else `_NO_SIZE` or more."""
    size = _seen_names.get(tuple(value)) or _size_of_names(value)
    for name, item in value.items():
        kind = type(item)
        if type(name) is not str:  # a subclass may equal a known name
            return _NO_SIZE
        if kind is int:
            if -LARGEST_PLAIN < item < LARGEST_PLAIN:
                continue
        elif kind is str:
            if item.isascii():
                size += len(item)
                continue
        elif item is None or kind is bool or (kind is float and item - item == 0.0):
            continue
        return _NO_SIZE
    return size


def _size_of_names(value: dict[str, Any]) -> int:
    names = tuple(value)
    if not set(map(type, names)) <= {str} or not "".join(names).isascii():
        return _NO_SIZE
    size = sum(map(len, names)) + 24 * len(names) + 2
    if size < _MANY_NAMES:
        if len(_seen_names) >= _MANY_NAMES:
            _seen_names.clear()
        _seen_names[names] = size
    return size


def _copied(value: Any, size: _Size, depth: int) -> Any:
    kind = type(value)
    if kind is dict:
        if (flat := _flat_size(value)) < _NO_SIZE:
            size.add(flat)
            return value.copy()
        return _copied_dict(value, size, depth)
    if kind is list or kind is tuple:
        return _copied_list(value, size, depth)
    if kind in _SCALARS:
        return _scalar(value, size, None)
    size.check(value)
    plain = _plain(value, None)
    return _copied(plain, size, depth) if type(plain) in {dict, list} else _scalar(plain, size, None)


def _copied_dict(value: dict[object, object], size: _Size, depth: int) -> dict[str, Json]:
    if depth == _SHALLOW:
        raise _Deep
    size.check(value)
    copy: dict[str, Json] = {}
    for name, item in _named(value, None):
        size.add(len(name) + 4)
        copy[name] = _copied(item, size, depth + 1)
    return copy


def _copied_list(value: list[Any] | tuple[Any, ...], size: _Size, depth: int) -> list[Json]:
    if depth == _SHALLOW:
        raise _Deep
    size.check(value)
    kinds = set(map(type, value))
    if len(kinds) == 1 and kinds <= _SCALARS and _are_plain(kinds.pop(), value, size):
        return list(value)
    size.add(2 + 2 * len(value))
    return [_copied(item, size, depth + 1) for item in value]


def _are_plain(kind: type, items: Collection[Any], size: _Size) -> bool:
    """Look at scalars of one kind all together: that is done in C."""
    plain = True
    if kind is str:
        plain = all(map(str.isascii, items))
    elif kind is int:
        plain = min(items) > -LARGEST_PLAIN and max(items) < LARGEST_PLAIN
    elif kind is float:
        plain = all(map(math.isfinite, items))
    if plain:
        size.add(22 * len(items) + (sum(map(len, items)) if kind is str else 0))
    return plain


# ---------------------------------------------------------------- the careful walk
def _walked(value: object, limit: int) -> Json:
    size = _Size(limit)
    out: list[Json] = [None]
    work: list[tuple[object, list[Json] | dict[str, Json], int | str, int, _Path]] = [(value, out, 0, 0, None)]
    while work:
        item, into, key, depth, path = work.pop()
        if depth > MAX_DEPTH:
            raise BadResult(f"the result is nested deeper than {MAX_DEPTH} levels (or contains itself)")
        size.check(item)
        plain = _plain(item, path)
        if isinstance(plain, dict):
            size.add(2)
            object_: dict[str, Json] = {}
            _put(into, key, object_)
            for name, inner in _named(plain, path):
                object_[name] = None  # keeps the order while the walk goes last in, first out
                size.add(len(name) + 4)
                work.append((inner, object_, name, depth + 1, (path, f".{name}")))
        elif isinstance(plain, list):
            size.add(2 + 2 * len(plain))
            list_: list[Json] = [None] * len(plain)
            _put(into, key, list_)
            work.extend((inner, list_, i, depth + 1, (path, f"[{i}]")) for i, inner in enumerate(plain))
        else:
            _put(into, key, _scalar(plain, size, path))
    return out[0]


def _put(into: list[Json] | dict[str, Json], key: int | str, value: Json) -> None:
    into[key] = value  # type: ignore[index]  # a list with an int, a dict with a str: the walk pairs them


def _plain(value: object, path: _Path) -> object:
    """One level of `value`: a dict, a list, or a scalar."""
    if isinstance(value, enum.Enum):
        return _plain(value.value, path)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, set | frozenset):
        return _in_order(value)
    cls = type(value)
    if attrs.has(cls):
        return {a.name: getattr(value, a.name) for a in attrs.fields(cls)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, pathlib.PurePath | uuid.UUID | decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise BadResult(_not_data(value, path))


def _scalar(value: object, size: _Size, path: _Path) -> Json:
    if value is None or isinstance(value, bool):
        size.add(5)
        return value
    if isinstance(value, str):
        size.add(len(value) + 2)  # before it is encoded: a hundred megabytes would hold up the loop
        try:
            size.add(len(value.encode()) - len(value))
        except UnicodeEncodeError:
            raise BadResult(f"{_where(path)} is text with half a surrogate pair, which no file can hold") from None
        return str.__str__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadResult(f"{_where(path)} is {value}, which JSON cannot carry")
        size.add(20)
        return float(value)
    if isinstance(value, int):
        if value.bit_length() > _INT_BITS:
            raise BadResult(f"{_where(path)} is a whole number of {value.bit_length()} bits, at most {_INT_BITS}")
        size.add(20)
        return int(value)
    raise BadResult(_not_data(value, path))


def _named(value: dict[object, object], path: _Path) -> Iterable[tuple[str, object]]:
    seen: set[str] = set()
    for key, inner in value.items():
        if type(key) is str and key.isascii() and key not in seen:
            seen.add(key)
            yield key, inner
            continue
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise BadResult(f"{_where(path)} has the key {_SHORT.repr(key)} ({type(key).__name__}); keys must be text")
        name = key.value if isinstance(key, enum.Enum) else key
        name = str(name)
        if name in seen:
            raise BadResult(f"{_where(path)} has two keys that both read {_SHORT.repr(name)}")
        seen.add(name)
        _scalar(name, _Size(MAX_BYTES), path)
        yield name, inner


def _in_order(values: set[object] | frozenset[object]) -> list[object]:
    """A set as a list that is the same in every run."""
    try:
        return sorted(values)  # type: ignore[type-var]  # what cannot be compared is caught below
    except TypeError:
        return sorted(values, key=lambda v: (type(v).__name__, repr(v)))


def _not_data(value: object, path: _Path) -> str:
    if inspect.iscoroutine(value):
        value.close()
        return f"{_where(path)} is a coroutine: write `async def`, so that it is awaited"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{_where(path)} is bytes, which JSON cannot carry: decode it, or write a file and return its path"
    kind = f"of the class {type(value).__name__}"
    return f"{_where(path)} is {kind}, which is no data: return dicts, lists, text and numbers"


def _where(path: _Path) -> str:
    parts: list[str] = []
    while path is not None:
        path, part = path
        text = str(part)
        parts.append(text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}...")
    return "the result" + "".join(reversed(parts))
