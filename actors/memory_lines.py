"""Memories as lines of JSON: how they are carried from one place to another. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import attrs

from trouper.runtime import MemoryRefused

from .memory_data import KeptMemory, MemoryRow, NewMemory, check_writable
from .memory_messages import check_texts

MOST_TOLD = 50
"""Lines of an import that are named with what is wrong with them; the others are counted."""
_LONGEST_NAME = 200
_MOST_TAGS = 64
_YEARS = (-62_135_596_800, 253_402_300_799)
"""The years 1 to 9999: a date beyond them is milliseconds that somebody took for seconds."""
_BEFORE = {"accesses": 0, "accessed": None}
"""What exports of earlier versions do not have."""


@attrs.frozen
class MemoryLine:
    """What a line of an export says: the id that the memory had, the memory, and the id of its successor."""

    id: int
    kept: KeptMemory
    superseded_by: int | None


def exported(row: MemoryRow) -> str:
    """A memory as one line, whatever its text holds."""
    facts = {
        "id": row.id,
        "content": row.content,
        "namespace": row.namespace,
        "category": row.category,
        "tags": list(row.tags),
        "salience": row.salience,
        "half_life": row.half_life,
        "created": row.created,
        "expires": row.expires,
        "meta": dict(row.meta),
        "distinct": row.distinct,
        "superseded_by": row.superseded_by,
        "accesses": row.accesses,
        "accessed": row.accessed,
    }
    line = json.dumps(facts, ensure_ascii=False)
    # U+2028 and the like end a line for many readers; half a character, which metadata may hold, is no UTF-8.
    plain = len(line.splitlines()) == 1 and not any("\ud800" <= character <= "\udfff" for character in line)
    return line if plain else json.dumps(facts)


def imported(line: str, namespace: str | None = None) -> MemoryLine:
    """What a line says; with `namespace` the memory goes there.

    Raises:
        MemoryRefused: it is not one of an export; the message says why.
    """
    try:
        given: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MemoryRefused(f"it is not JSON ({error})") from error
    if not isinstance(given, dict):
        raise MemoryRefused("it is not a JSON object")
    given = {**_BEFORE, **given}
    if missing := [name for name in _CHECKS if name not in given]:
        raise MemoryRefused(f"it has no {', '.join(map(repr, missing))}")
    for name, check in _CHECKS.items():
        check(given[name], name)
    memory = NewMemory(
        content=given["content"],
        namespace=given["namespace"] if namespace is None else namespace,
        category=given["category"],
        tags=tuple(given["tags"]),
        salience=given["salience"],
        half_life=given["half_life"],
        expires=given["expires"],
        created=given["created"],
        meta=given["meta"],
        distinct=given["distinct"],
    )
    kept = KeptMemory(
        memory=memory,
        superseded=given["superseded_by"] is not None,
        accesses=given["accesses"],
        accessed=given["accessed"],
    )
    return MemoryLine(given["id"], kept, given["superseded_by"])


def refusal(bad: Mapping[int, str]) -> MemoryRefused:
    """What is told of an import with these lines that are no memories: nothing of it was stored."""
    told = [f"line {place}: {why}" for place, why in list(bad.items())[:MOST_TOLD]]
    if len(bad) > MOST_TOLD:
        told.append(f"and {len(bad) - MOST_TOLD} more lines")
    many = "a line is" if len(bad) == 1 else f"{len(bad)} lines are"
    return MemoryRefused(f"{many} not as `export` writes them, nothing was imported: {'; '.join(told)}")


# ------------------------------------------------------------------ checks
def _content(value: object, _: str) -> None:
    if not isinstance(value, str):
        raise MemoryRefused(f"'content' is {value!r}, not a text")
    check_texts((value,))


def _name(value: object, name: str) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_NAME:
        raise MemoryRefused(f"{name!r} is {value!r}, not a name of 1 to {_LONGEST_NAME} characters")
    check_writable(value, repr(name))


def _text(value: object, name: str) -> None:
    if not isinstance(value, str):
        raise MemoryRefused(f"{name!r} is {value!r}, not a text")
    check_writable(value, repr(name))


def _tags(value: object, name: str) -> None:
    if not isinstance(value, list) or len(value) > _MOST_TAGS:
        raise MemoryRefused(f"{name!r} is {value!r}, not a list of at most {_MOST_TAGS}")
    for tag in value:
        _name(tag, "a tag")


def _meta(value: object, name: str) -> None:
    if not isinstance(value, dict):
        raise MemoryRefused(f"{name!r} is {value!r}, not an object")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise MemoryRefused(f"{name!r} holds what is not JSON ({error})") from error


def _number(value: object, name: str, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise MemoryRefused(f"{name!r} is {value!r}, not a number from {least:g} to {most:g}")


def _salience(value: object, name: str) -> None:
    _number(value, name, 0, 1)


def _half_life(value: object, name: str) -> None:
    if value is not None:
        _number(value, name, math.ulp(0.0), 1e300)


def _date(value: object, name: str) -> None:
    _number(value, name, *_YEARS)


def _perhaps_date(value: object, name: str) -> None:
    if value is not None:
        _date(value, name)


def _expires(value: object, name: str) -> None:
    if value is not None:
        _number(value, name, -1e300, 1e300)


def _whole(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise MemoryRefused(f"{name!r} is {value!r}, not a whole number")


def _perhaps_whole(value: object, name: str) -> None:
    if value is not None:
        _whole(value, name)


_CHECKS = {
    "id": _whole,
    "content": _content,
    "namespace": _name,
    "category": _name,
    "tags": _tags,
    "salience": _salience,
    "half_life": _half_life,
    "created": _date,
    "expires": _expires,
    "meta": _meta,
    "distinct": _text,
    "superseded_by": _perhaps_whole,
    "accesses": _whole,
    "accessed": _perhaps_date,
}
