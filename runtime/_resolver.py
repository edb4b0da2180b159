"""Filling in references in a loop: what `Compiled.resolve` does, prepared for one value.

Most references name one field of a result, and what they name is text or a number. So the way to each is laid out
beforehand and gone without looking left or right; whatever is not as expected is left to `Compiled.resolve`, which
does it again from the beginning, slowly, and knows what to say if it cannot be done. It costs memory, so it is made by
whoever runs a plan and not by whoever reads one. `python -m tests.benchmarks.plans` shows what it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ._plan_data import fresh_copy
from ._refs import Compiled, Reference

Resolve = Callable[[Mapping[int, object]], object]

_CONTAINERS = frozenset({list, dict, tuple})
_ASTRAY = (KeyError, IndexError, TypeError, AttributeError)


def resolver(compiled: Compiled) -> Resolve:
    """`compiled.resolve`, for whoever calls it again and again."""
    containers, slots = compiled._containers, compiled._slots
    fields = [_field(fill) for fill in slots[2::3]]
    if not containers or None in fields:
        return compiled.resolve
    inner = tuple(zip(containers[3::3], containers[4::3], containers[5::3], strict=True))
    ways = tuple((parent, key, *way) for parent, key, way in zip(slots[::3], slots[1::3], fields, strict=True) if way)
    # What each function needs stands in its defaults and not in cells: a plan has one for every step, and what has to
    # be fetched from memory for a step costs more than what is done with it.
    if not inner:
        return _flat(containers[0], tuple(way[1:] for way in ways), compiled.resolve)
    if len(inner) == 1:
        if [way[:2] for way in ways] == [(1, n) for n in range(len(inner[0][0]))] and isinstance(inner[0][0], list):
            return _all_inside(containers[0], inner[0][2], tuple(way[2:] for way in ways), compiled.resolve)
        return _one_inside(containers[0], inner[0][0], inner[0][2], ways, compiled.resolve)
    return _any(containers[0], inner, ways, compiled.resolve)


def _flat(root: Any, ways: tuple[Any, ...], slowly: Resolve) -> Resolve:
    def resolve(results: Mapping[int, Any], root: Any = root, ways: Any = ways, slowly: Resolve = slowly) -> object:
        top = root.copy()
        try:
            for key, step, field in ways:
                value = results[step][field]
                top[key] = value if type(value) not in _CONTAINERS else fresh_copy(value)
        except _ASTRAY:
            return slowly(results)
        return top

    return resolve


def _all_inside(root: Any, place: Any, ways: tuple[Any, ...], slowly: Resolve) -> Resolve:
    """A list of nothing but references: what a step that puts results together has."""

    def resolve(
        results: Mapping[int, Any],
        root: Any = root,
        place: Any = place,
        ways: Any = ways,
        slowly: Resolve = slowly,
    ) -> object:
        try:
            found = [results[step][field] for step, field in ways]
        except _ASTRAY:
            return slowly(results)
        if not _CONTAINERS.isdisjoint(map(type, found)):
            found = [fresh_copy(value) for value in found]
        top = root.copy()
        top[place] = found
        return top

    return resolve


def _one_inside(root: Any, inside: Any, place: Any, ways: tuple[Any, ...], slowly: Resolve) -> Resolve:
    def resolve(
        results: Mapping[int, Any],
        root: Any = root,
        inside: Any = inside,
        place: Any = place,
        ways: Any = ways,
        slowly: Resolve = slowly,
    ) -> object:
        top = root.copy()
        new = top[place] = inside.copy()
        try:
            for parent, key, step, field in ways:
                value = results[step][field]
                (new if parent else top)[key] = value if type(value) not in _CONTAINERS else fresh_copy(value)
        except _ASTRAY:
            return slowly(results)
        return top

    return resolve


def _any(root: Any, inner: tuple[Any, ...], ways: tuple[Any, ...], slowly: Resolve) -> Resolve:
    def resolve(
        results: Mapping[int, Any], root: Any = root, inner: Any = inner, ways: Any = ways, slowly: Resolve = slowly
    ) -> object:
        top = root.copy()
        made = [top]
        for value, parent, key in inner:
            new = made[parent][key] = value.copy()
            made.append(new)
        try:
            for parent, key, step, field in ways:
                value = results[step][field]
                made[parent][key] = value if type(value) not in _CONTAINERS else fresh_copy(value)
        except _ASTRAY:
            return slowly(results)
        return top

    return resolve


def _field(fill: object) -> tuple[int, str] | None:
    """The step and the field, if it is one bare reference to a field of a result."""
    if isinstance(fill, Reference) and len(fill.path) == 1 and isinstance(fill.path[0], str):
        return fill.step, fill.path[0]
    return None
