"""The `$stepN` language: how a step says which results of other steps it wants.

    $step1                  the whole result of step 1
    $step1.field            a field of it, also deeper: $step1.a.b
    $step1.items[2].name    an element of a list; $step1.items.2.name says the same
    {$step1.field}          in braces, where the text goes on without a gap
    $$step1.field           no reference at all: the text `$step1.field`

Inside a step with `for_each` there are two more, with paths, braces and escapes alike: `$item` is the element,
`$index` its place in the list, counted from 0. They go by the ids `ITEM` and `INDEX`, which no step can have, so
that whoever resolves gives them among the results. Elsewhere both are plain text.

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
from collections.abc import Container, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import attrs

from ._errors import StepError, UnknownField
from ._makers import maker
from ._nearest import listed, suggestion
from ._plan_data import Path, PathKey, compact_json, fresh_copy
from ._plan_json import MAX_DEPTH
from ._plan_report import shown

ITEM: Final = -1
"""The id by which `$item` is found among the results."""

INDEX: Final = -2
"""The id by which `$index` is found among the results."""

_MARK: Final = "$step"
_REFERENCE = re.compile(
    r"(\$\$step)"  # 1: an escaped one
    r"|\{\$step([0-9]++)((?:\.[\w-]++|\[[0-9]++\])*+)\}"  # 2, 3: number and path in braces
    r"|\$step([0-9]++)((?:\.\w++|\[[0-9]++\])*+)"  # 4, 5: the same bare
)
_WITH_ITEM = re.compile(  # the same groups; `$items` is another word, `$itemの` is not, as with `$step1の`
    r"(\$\$(?:step|(?:item|index)(?![A-Za-z0-9_])))"
    r"|\{\$(?:step)?((?<=step)[0-9]++|(?<=\{\$)(?:item|index))((?:\.[\w-]++|\[[0-9]++\])*+)\}"
    r"|\$(?:step)?((?<=step)[0-9]++|(?<=\$)(?:item|index)(?![A-Za-z0-9_]))((?:\.\w++|\[[0-9]++\])*+)"
)
_ELEMENT: Final = {"item": ITEM, "index": INDEX}
_ELEMENT_NAMES: Final = {ITEM: "the element", INDEX: "the index"}
_SEGMENT = re.compile(r"\.([\w-]++)|\[([0-9]++)\]")
_DIGITS = re.compile(r"[0-9]++")
USUAL = re.compile(r"\$step([0-9]++)((?:\.\w++)*+)")  # what nearly every reference looks like
SHORT: Final = 64


@attrs.frozen(weakref_slot=False)  # so that it can have a `maker`
class Reference:
    """One `$stepN...`: of which step, which part of its result, and how it was written.

    `$item` and `$index` are references to the steps `ITEM` and `INDEX`.

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


new_reference = maker(Reference, "step", "path", "text")

Parts = tuple[str | Reference, ...]
Fill = Reference | Parts
"""What goes into a slot: the value of one bare reference, or a text put together."""


@attrs.frozen(weakref_slot=False)
class Compiled:
    """A value whose references have been found: made by `compile_value`, resolved as often as needed."""

    # Flat tuples, three places to each entry, not records: a plan of 10,000 steps has tens of thousands of entries, and
    # what the collector has to look at counts as well as what it weighs.
    _root: object
    _containers: tuple[Any, ...] = ()
    """Each list and object: itself, in which earlier one it hangs, at which key."""
    _slots: tuple[Any, ...] = ()
    """Each text to fill in: in which container it stands, at which key, with what."""

    @property
    def references(self) -> frozenset[int]:
        """The ids of the steps whose results it needs; an element of `for_each` is nobody's result."""
        found: dict[int, None] = {}
        self.add_references(found)
        return frozenset(found)

    def add_references(self, found: dict[int, None]) -> None:
        """Put the ids of those steps into `found`."""
        fill: Fill
        for fill in self._slots[2::3]:
            if type(fill) is Reference:
                if fill.step >= 0:
                    found[fill.step] = None
            else:
                found.update((part.step, None) for part in _named(fill) if part.step >= 0)

    def names_beyond(self, fields: Mapping[int, Container[PathKey]]) -> bool:
        """Whether it may name a part of a result that is not among the `fields` of that step; unsure is yes."""
        fill: Fill
        for fill in self._slots[2::3]:
            for part in (fill,) if type(fill) is Reference else _named(fill):
                known = fields.get(part.step)
                if known is not None and part.path and part.path[0] not in known:
                    return True
        return False

    @property
    def constant(self) -> bool:
        """It resolves to the same value whatever the results are."""
        return not any(_named(fill) for fill in self._slots[2::3])

    @property
    def names_element(self) -> bool:
        """It is another value for each element of a `for_each`, as far as can be seen."""
        return any(part.step < 0 for fill in self._slots[2::3] for part in _named(fill))

    def uses(self) -> Iterator[tuple[Reference, Path]]:
        """Every reference in document order, and the path of the string it stands in."""
        for parent, key, fill in _threes(self._slots):
            path = self._path(parent, key)
            for reference in _named(fill):
                yield reference, path

    def resolve(self, results: Mapping[int, object], *, lenient: bool = False) -> object:
        """The value with every reference replaced; the caller may change it, it shares nothing with `results`.

        With `lenient` a reference to a step that has no result is null, whatever its path; a result that has no
        such part is an error all the same.

        Raises:
            UnknownField: a step has no result, or its result has no such part.
            StepError: a part that is not JSON data should become text.
        """
        containers, slots = self._containers, self._slots
        if not containers:
            return _filled(slots[2], results, lenient=lenient) if slots else self._root
        if len(containers) == 3:  # most parameters are one flat object
            only: Any = containers[0].copy()
            for _, key, fill in _threes(slots):
                only[key] = _filled(fill, results, lenient=lenient)
            return only
        fresh: list[Any] = []
        for value, parent, key in _threes(containers):
            copy = value.copy()
            if fresh:
                fresh[parent][key] = copy
            fresh.append(copy)
        for parent, key, fill in _threes(slots):
            fresh[parent][key] = _filled(fill, results, lenient=lenient)
        return fresh[0]

    def _path(self, parent: int, key: PathKey) -> Path:
        if not self._containers:
            return ()
        path = [key]
        while parent:
            _, parent, key = self._containers[3 * parent : 3 * parent + 3]
            path.append(key)
        return tuple(reversed(path))


new_compiled = maker(Compiled, "_root", "_containers", "_slots")
_EMPTY_OBJECT = Compiled(None, ({}, 0, 0))


def _threes(flat: tuple[Any, ...]) -> Iterator[tuple[Any, Any, Any]]:
    entries = iter(flat)
    return zip(entries, entries, entries, strict=True)


def _named(fill: Fill) -> tuple[Reference, ...]:
    if isinstance(fill, Reference):
        return (fill,)
    return tuple(part for part in fill if isinstance(part, Reference))


def split_references(text: str, *, item: bool = False) -> Parts:
    """`text` cut into plain text and references, in order; `$$step` has become `$step` in the plain text.

    For whoever must not paste values into a text. With `item`, `$item` and `$index` are references too.
    """
    parts: list[str | Reference] = []
    plain = ""
    at = 0
    for found in (_WITH_ITEM if item else _REFERENCE).finditer(text):
        escape = found[1]
        plain += text[at : found.start()]
        at = found.end()
        if escape:
            plain += escape[1:]
            continue
        if plain:
            parts.append(plain)
            plain = ""
        parts.append(_reference(found))
    plain += text[at:]
    if plain:
        parts.append(plain)
    return tuple(parts)


def reference_at(text: str, at: int, *, item: bool = False) -> Reference | None:
    """The reference that begins at that place of the text, if one does."""
    found = (_WITH_ITEM if item else _REFERENCE).match(text, at)
    return None if found is None or found[1] else _reference(found)


def _reference(found: re.Match[str]) -> Reference:
    _, braced, inside, bare, path = found.groups()
    step, way = (bare, path) if bare else (braced, inside)
    return Reference(_ELEMENT.get(step) or _number(step), _path(way) if way else (), found[0])


def compile_value(value: object, *, item: bool = False) -> Compiled:
    """Find every reference in a JSON value, once. Text without `$step` resolves to itself.

    With `item`, `$item` and `$index` are references too. The value is not copied: do not change it afterwards.

    Raises:
        ValueError: it is nested deeper than plans may be, or contains itself.
    """
    mark = "$" if item else _MARK
    items: Iterator[tuple[PathKey, Any]]
    if isinstance(value, dict):
        if not value:
            return _EMPTY_OBJECT
        items = iter(value.items())
    elif isinstance(value, list):
        items = enumerate(value)
    elif isinstance(value, str) and mark in value:
        return Compiled(None, (), (0, 0, cut_text(value, item)))
    else:
        return Compiled(value)
    containers: list[Any] = [value, 0, 0]
    slots: list[Any] = []
    parent = 0
    above: list[tuple[int, Iterator[tuple[PathKey, Any]]]] = []
    while True:
        for key, inner in items:
            kind = type(inner)
            if kind is str:
                if mark in inner:
                    slots += parent, key, _cut_short(inner, item) if len(inner) <= SHORT else cut_text(inner, item)
            elif kind not in _PLAIN and isinstance(inner, _CONTAINERS):
                if len(above) + 1 == MAX_DEPTH:
                    raise ValueError(f"too deep: more than {MAX_DEPTH} lists and objects in one another")
                here = len(containers) // 3
                containers += inner, parent, key
                if kind is not list or not _FLAT.issuperset(map(type, inner)):
                    above.append((parent, items))
                    parent, items = here, _items(inner)
                    break
                for place, text in enumerate(inner):
                    if type(text) is str and mark in text:
                        slots += here, place, _cut_short(text, item) if len(text) <= SHORT else cut_text(text, item)
        else:
            if not above:
                return new_compiled(None, tuple(containers), tuple(slots))
            parent, items = above.pop()


_CONTAINERS: Final = (list, dict)
_PLAIN: Final = frozenset({int, float, bool, type(None)})
_FLAT: Final = _PLAIN | {str}


def cut_text(text: str, item: bool) -> Fill:
    parts = split_references(text, item=item)
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Reference) and text[0] == "$" else parts


# Steps that stand near each other often name the same results. In a plan of 10,000 steps this saves most of the
# cutting, and what is cut is shared. Only short texts are kept, so that what is kept stays small.
@lru_cache(maxsize=1024)
def _cut_short(text: str, item: bool) -> Fill:
    found = USUAL.fullmatch(text)
    if found is not None:
        step, way = found.groups()
        return new_reference(int(step), tuple(way.split(".")[1:]), text)
    return cut_text(text, item)


def _items(value: list[Any] | dict[str, Any]) -> Iterator[tuple[PathKey, Any]]:
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


def _filled(fill: Fill, results: Mapping[int, object], *, lenient: bool) -> object:
    if isinstance(fill, Reference):
        return fresh_copy(look_up(fill, results, lenient=lenient))
    return "".join(part if isinstance(part, str) else _text(part, results, lenient=lenient) for part in fill)


def _text(reference: Reference, results: Mapping[int, object], *, lenient: bool) -> str:
    value = look_up(reference, results, lenient=lenient)
    if isinstance(value, str):
        return value
    try:
        return compact_json(value)
    except (TypeError, ValueError) as error:
        raise StepError(f"{reference.text}: the value cannot be written as text: {error}") from error


def look_up(reference: Reference, results: Mapping[int, object], *, lenient: bool = False) -> object:
    """The value that a reference stands for, itself and not a copy; see `Compiled.resolve`.

    Raises:
        UnknownField: the step has no result, or its result has no such part.
    """
    if reference.step not in results:
        if lenient:
            return None
        raise UnknownField(f"{reference.text}: {_source(reference.step)}")
    value = results[reference.step]
    for depth, key in enumerate(reference.path):
        if type(value) is dict and type(key) is str and key in value:  # by far the most frequent case
            value = value[key]
        else:
            value = _part(value, key, reference, depth)
    return value


def _source(step: int) -> str:
    return f"step {step} has no result" if step >= 0 else "there is no element here"


def _part(value: object, key: PathKey, reference: Reference, depth: int) -> object:
    if isinstance(value, Mapping) and isinstance(key, str) and key in value:
        return value[key]
    if isinstance(value, list | tuple):
        index = _number(key) if isinstance(key, str) and _DIGITS.fullmatch(key) else key
        if isinstance(index, int) and index < len(value):
            return value[index]
    source = f"the result of step {reference.step}" if reference.step >= 0 else _ELEMENT_NAMES[reference.step]
    where = f"{source}{_written(reference.path[:depth])}"
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
