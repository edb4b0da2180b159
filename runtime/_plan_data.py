"""JSON values in memory: a copy of one's own, and the compact text of one. Nothing here recurses."""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import attrs

from ._plan_json import MAX_DEPTH, REPORTED

PathKey = str | int
Path = tuple[PathKey, ...]
_Container = list[Any] | dict[Any, Any]


@attrs.frozen
class Fault:
    """Something in decoded data that JSON could not have said."""

    kind: Literal["wrong_type", "invalid_json"]
    path: Path
    message: str


def adopt(source: object) -> tuple[object, list[Fault]]:
    """A copy of decoded data that is nobody else's, and what in it is not JSON.

    Tuples become lists and any mapping a dict. What is not JSON is replaced by `REPORTED`.
    """
    faults: list[Fault] = []
    root: list[Any] = [source]
    work: list[tuple[_Container, Path]] = [(root, ())]
    while work:
        holder, path = work.pop()
        items: Iterable[tuple[Any, object]] = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in items:
            if type(value) in _PLAIN:
                continue
            below = (*path, key) if holder is not root else ()
            fresh = _own(value, below, faults)
            holder[key] = fresh
            if isinstance(fresh, list | dict):
                work.append((fresh, below))
    return root[0], faults


_PLAIN = frozenset({str, int, bool, type(None)})


def _own(value: object, path: Path, faults: list[Fault]) -> object:
    """`value` itself, or its shallow copy; `REPORTED` if it is not JSON."""
    fault = ""
    if isinstance(value, Mapping | list | tuple) and len(path) >= MAX_DEPTH:
        # Also the end of a list that contains itself.
        message = f"too deep: more than {MAX_DEPTH} lists and objects in one another"
        faults.append(Fault("invalid_json", path, message))
        return REPORTED
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, Mapping):
        odd = (key for key in value if not isinstance(key, str))
        faults.extend(Fault("wrong_type", path, f"the key {key!r} is not text") for key in odd)
        return {key: item for key, item in value.items() if isinstance(key, str)}
    if isinstance(value, float) and not math.isfinite(value):
        fault = f"{value!r} is not a JSON number"
    elif not isinstance(value, bool | int | float | str):
        fault = f"a {type(value).__name__} is not JSON data"
    if not fault:
        return value
    faults.append(Fault("wrong_type", path, fault))
    return REPORTED


def fresh_copy(value: object) -> object:
    """`value` with every list and dict in it new; whoever gets it may change it without anyone noticing.

    What is shared inside `value` (or contains itself) is shared in the copy: the cost is that of what is there.
    """
    if not isinstance(value, list | tuple | dict):
        return value
    copies: dict[int, _Container] = {}
    root = _shallow(value)
    copies[id(value)] = root
    work = [root]
    while work:
        holder = work.pop()
        items: Iterator[tuple[Any, object]] = iter(holder.items()) if isinstance(holder, dict) else enumerate(holder)
        for key, item in items:
            if isinstance(item, list | tuple | dict):
                copy = copies.get(id(item))
                if copy is None:
                    copy = copies[id(item)] = _shallow(item)
                    work.append(copy)
                holder[key] = copy
    return root


def _shallow(value: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> _Container:
    return dict(value) if isinstance(value, dict) else list(value)


def same(one: object, other: object) -> bool:
    """Whether two JSON values are equal, `true` and 1 told apart."""
    work = [(one, other)]
    while work:
        a, b = work.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            if a.keys() != b.keys():
                return False
            work.extend((item, b[key]) for key, item in a.items())
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            work.extend(zip(a, b, strict=True))
        elif type(a) is not type(b) or a != b:
            return False
    return True


def texts(value: object) -> Iterator[tuple[Path, str]]:
    """Every string in a value (keys are none), with its path."""
    work: list[tuple[Path, object]] = [((), value)]
    while work:
        path, item = work.pop()
        if isinstance(item, str):
            yield path, item
        elif isinstance(item, dict):
            work.extend(((*path, key), child) for key, child in reversed(item.items()))
        elif isinstance(item, list):
            work.extend(((*path, n), child) for n, child in reversed(list(enumerate(item))))


def compact_json(value: object) -> str:
    """`value` as JSON on one line without spaces; text in it keeps its letters.

    Raises:
        TypeError: something in it is not JSON data.
        ValueError: it contains itself, or a number that JSON does not have.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        return "".join(_pieces(value))


def _pieces(root: object) -> Iterator[str]:
    """The same text for a value that is too deep for the standard library."""
    inside: set[int] = set()  # the containers that are open
    work: list[tuple[str | None, object]] = [(None, root)]  # (text to write, or None for a value; the value)
    while work:
        text, value = work.pop()
        if text is not None:
            yield text
            inside.discard(id(value))
        elif isinstance(value, dict | list | tuple):
            if id(value) in inside:
                raise ValueError("it contains itself")
            inside.add(id(value))
            work.extend(_opened(value))
        else:
            yield compact_json(value)


def _opened(value: dict[object, object] | list[object] | tuple[object, ...]) -> list[tuple[str | None, object]]:
    """What to write for one container, last thing first; its closing bracket carries the container itself."""
    left, right = "{}" if isinstance(value, dict) else "[]"
    todo: list[tuple[str | None, object]] = [(left, None)]
    for n, item in enumerate(value):
        if n:
            todo.append((",", None))
        if isinstance(value, dict):
            todo += [(compact_json(str(item)) + ":", None), (None, value[item])]
        else:
            todo.append((None, item))
    return [*todo, (right, value)][::-1]
