"""The `$stepN` language: how a step says which results of other steps it wants.

    $step1                  the whole result of step 1
    $step1.field            a field of it, also deeper: $step1.a.b
    $step1.items[2].name    an element of a list; $step1.items.2.name says the same
    {$step1.field}          in braces, where the text goes on without a gap
    $$step1.field           no reference at all: the text `$step1.field`

A string that is exactly one bare reference *is* the value, with its type. Everything else becomes text: a
braced reference, also alone, and any reference with text around it; what is not a string goes in as compact
JSON. A bare reference ends before the first character that cannot continue it: a name goes on over letters
of any alphabet, digits and `_` (so `$step2.high°F` reads `high`, but after `$step1.title` a letter needs
braces: swallowing it into the name fails loudly, cutting a name at `é` could hit another field silently).
A dot with no name behind it is punctuation. Inside braces a name may also have hyphens. Keys of objects are
never references.

Every value is compiled once, into a list of containers and a list of slots. Resolving copies the containers
and fills the slots, without looking at any text again: a result that says `$step2.secret` stays what it is,
and no tool can change what another tool got. Both walks keep their own stack.
"""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from ._errors import StepError, UnknownField
from ._nearest import listed, suggestion
from ._plan_data import Path, PathKey, compact_json, fresh_copy
from ._plan_json import MAX_DEPTH
from ._plan_report import shown

_MARK: Final = "$step"
_REFERENCE = re.compile(
    r"(\$\$step)"  # 1: an escaped one
    r"|\{\$step([0-9]++)((?:\.[\w-]++|\[[0-9]++\])*+)\}"  # 2, 3: number and path in braces
    r"|\$step([0-9]++)((?:\.\w++|\[[0-9]++\])*+)"  # 4, 5: the same bare
)
_SEGMENT = re.compile(r"\.([\w-]++)|\[([0-9]++)\]")
_DIGITS = re.compile(r"[0-9]++")


@attrs.frozen
class Reference:
    """One `$stepN...`: of which step, which part of its result, and how it was written.

    In `path` a name is a `str` (also `.2`, which is an index where it meets a list), `[2]` is an `int`.
    """

    step: int
    path: Path
    text: str

    @property
    def field(self) -> str | None:
        """The field of the result that it begins with, if it names one."""
        first = self.path[0] if self.path else None
        return first if isinstance(first, str) and not _DIGITS.fullmatch(first) else None


Parts = tuple[str | Reference, ...]
# Plain tuples, not records: a plan of 10,000 steps makes tens of thousands of them when it is parsed.
_Container = tuple[list[Any] | dict[str, Any], int, PathKey]  # itself, in which earlier one it hangs, at which key
_Slot = tuple[int, PathKey, Parts, bool]  # in which container, at which key, the text cut up, is it one bare reference


@attrs.frozen
class Compiled:
    """A value whose references have been found: made by `compile_value`, resolved as often as needed."""

    _root: object
    _containers: tuple[_Container, ...] = ()
    _slots: tuple[_Slot, ...] = ()

    @property
    def references(self) -> frozenset[int]:
        """The ids of the steps whose results it needs."""
        return frozenset(part.step for slot in self._slots for part in slot[2] if not isinstance(part, str))

    @property
    def constant(self) -> bool:
        """It resolves to the same value whatever the results are."""
        return not self.references

    def uses(self) -> Iterator[tuple[Reference, Path]]:
        """Every reference in document order, and the path of the string it stands in."""
        for parent, key, parts, _ in self._slots:
            path = self._path(parent, key)
            for part in parts:
                if isinstance(part, Reference):
                    yield part, path

    def resolve(self, results: Mapping[int, object]) -> object:
        """The value with every reference replaced; the caller may change it, it shares nothing with `results`.

        Raises:
            UnknownField: a step has no result, or its result has no such part.
            StepError: a part that is not JSON data should become text.
        """
        if not self._containers:
            return _filled(self._slots[0], results) if self._slots else self._root
        fresh: list[Any] = [value.copy() for value, _, _ in self._containers]
        for n, (_, parent, key) in enumerate(self._containers):
            if n:
                fresh[parent][key] = fresh[n]
        for slot in self._slots:
            fresh[slot[0]][slot[1]] = _filled(slot, results)
        return fresh[0]

    def _path(self, parent: int, key: PathKey) -> Path:
        if not self._containers:
            return ()
        path = [key]
        while parent:
            _, parent, key = self._containers[parent]
            path.append(key)
        return tuple(reversed(path))


_EMPTY_OBJECT = Compiled(None, (({}, 0, 0),))


def split_references(text: str) -> Parts:
    """`text` cut into plain text and references, in order; `$$step` has become `$step` in the plain text.

    For whoever must not paste values into a text, such as an evaluator of conditions.
    """
    parts: list[str | Reference] = []
    plain = ""
    at = 0
    for found in _REFERENCE.finditer(text):
        escape, braced, inside, bare, path = found.groups()
        plain += text[at : found.start()]
        at = found.end()
        if escape:
            plain += _MARK
            continue
        if plain:
            parts.append(plain)
            plain = ""
        step, way = (bare, path) if bare else (braced, inside)
        parts.append(Reference(_number(step), _path(way) if way else (), found[0]))
    plain += text[at:]
    if plain:
        parts.append(plain)
    return tuple(parts)


def compile_value(value: object) -> Compiled:
    """Find every reference in a JSON value, once. Text without `$step` resolves to itself.

    The value is not copied: do not change it afterwards.

    Raises:
        ValueError: it is nested deeper than plans may be, or contains itself.
    """
    if isinstance(value, str) and _MARK in value:
        return Compiled(None, (), (_slot(0, 0, value),))
    if not isinstance(value, list | dict):
        return Compiled(value)
    if not value and isinstance(value, dict):
        return _EMPTY_OBJECT
    containers: list[_Container] = [(value, 0, 0)]
    slots: list[_Slot] = []
    stack = [(0, _items(value))]
    while stack:
        parent, items = stack[-1]
        for key, item in items:
            if isinstance(item, str):
                if _MARK in item:
                    slots.append(_slot(parent, key, item))
            elif isinstance(item, list | dict):
                if len(stack) == MAX_DEPTH:
                    raise ValueError(f"too deep: more than {MAX_DEPTH} lists and objects in one another")
                stack.append((len(containers), _items(item)))
                containers.append((item, parent, key))
                break
        else:
            stack.pop()
    return Compiled(None, tuple(containers), tuple(slots))


def _slot(parent: int, key: PathKey, text: str) -> _Slot:
    parts = split_references(text)
    return parent, key, parts, len(parts) == 1 and not isinstance(parts[0], str) and text[0] == "$"


def _items(value: list[Any] | dict[str, Any]) -> Iterator[tuple[PathKey, object]]:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value)


def _path(way: str) -> Path:
    if "[" not in way:
        return tuple(way[1:].split("."))
    segments = (segment.groups() for segment in _SEGMENT.finditer(way))
    return tuple(name if name is not None else _number(index) for name, index in segments)


def _number(digits: str) -> int:
    # No step and no list goes beyond a hundred digits, and Python refuses to read more than 4,300 of them.
    return int(digits) if len(digits) < 100 else int(digits.lstrip("0")[:100] or "0")


# ------------------------------------------------------------------ looking up


def _filled(slot: _Slot, results: Mapping[int, object]) -> object:
    _, _, parts, alone = slot
    if alone and isinstance(parts[0], Reference):
        return fresh_copy(_look_up(parts[0], results))
    return "".join(part if isinstance(part, str) else _text(part, results) for part in parts)


def _text(reference: Reference, results: Mapping[int, object]) -> str:
    value = _look_up(reference, results)
    if isinstance(value, str):
        return value
    try:
        return compact_json(value)
    except (TypeError, ValueError) as error:
        raise StepError(f"{reference.text}: the value cannot be written as text: {error}") from error


def _look_up(reference: Reference, results: Mapping[int, object]) -> object:
    if reference.step not in results:
        raise UnknownField(f"{reference.text}: step {reference.step} has no result")
    value = results[reference.step]
    for depth, key in enumerate(reference.path):
        value = _part(value, key, reference, depth)
    return value


def _part(value: object, key: PathKey, reference: Reference, depth: int) -> object:
    if isinstance(value, Mapping) and isinstance(key, str) and key in value:
        return value[key]
    if isinstance(value, list | tuple):
        index = _number(key) if isinstance(key, str) and _DIGITS.fullmatch(key) else key
        if isinstance(index, int) and index < len(value):
            return value[index]
    where = f"the result of step {reference.step}{_written(reference.path[:depth])}"
    raise UnknownField(f"{reference.text}: {where} {_lack(value, key)}")


def _lack(value: object, key: PathKey) -> str:
    """What is there instead of `key`, in words."""
    if isinstance(value, Mapping):
        if isinstance(key, int):
            return f"is an object, not a list, so it has no [{key}]; it has {listed(value)}"
        return f"has no field {key!r}; it has {listed(value)}{suggestion(key, map(str, value))}"
    if isinstance(value, list | tuple):
        return f"is a list of {len(value)}, so it has no {_written((key,))}"
    return f"is {shown(value)}, so it has no {_written((key,))}"


def _written(path: Path) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
