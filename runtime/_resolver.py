"""Filling in references where many values are alike: as source, once for each form.

The steps of a large plan differ in the steps that they name and in a few constants, hardly in form. So what
`Compiled.resolve` finds out about a value each time is written down once, as the source of what builds values of this
form out of a tuple of what is different; attrs makes its `__init__` in the same way. Making a function of it costs as
much as resolving some hundred values: it is for whoever has many (`python -m tests.benchmarks.plans`).

What is made like this knows one kind of results only, *flat* ones, which are dicts of text and scalars: what is taken
out of those needs no copy. Whatever is different is a KeyError, upon which the caller asks `Compiled.resolve`, which
can do everything and knows what to say if something cannot be done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, cast

from ._refs import Compiled, Reference

Form = tuple[Any, ...]
"""All that values of one form have in common."""

Own = tuple[Any, ...]
"""What is different in each of them."""

Fill = Callable[[Mapping[int, Any], Own], dict[str, object]]
"""Builds a value out of the flat results by step and what is its own; KeyError if one of them is not there."""

_MOST_SLOTS = 32
_MOST_CONTAINERS = 8


def form_of(compiled: Compiled) -> tuple[Form, Own] | None:
    """The form of a value and its own part; None if it is no object, or too large or too intricate."""
    containers, slots = compiled._containers, compiled._slots
    if not containers or len(slots) > 3 * _MOST_SLOTS or len(containers) > 3 * _MOST_CONTAINERS:
        return None
    if type(containers[0]) is not dict:
        return None
    root = cast("dict[str, object]", containers[0])
    own: list[Any] = [*root.values()]
    kinds: list[Any] = [tuple(root), *map(type, own)]
    inner: dict[str, object] | list[object]
    for inner in containers[3::3]:
        own += inner.values() if isinstance(inner, dict) else inner
        kinds.append(tuple(inner) if isinstance(inner, dict) else len(inner))
    paths: list[tuple[Any, ...]] = []
    for fill in slots[2::3]:
        if type(fill) is not Reference or len(fill.path) > 1 or not isinstance(fill.path[0] if fill.path else "", str):
            return None
        own.append(fill.step)
        paths.append(fill.path)
    return (tuple(kinds), containers[4::3], containers[5::3], slots[::3], slots[1::3], tuple(paths)), tuple(own)


class Written(NamedTuple):
    """Values of one form as source."""

    values: Mapping[str, str]
    """For each key of the value an expression of the flat results, called `flat`, and of the names below."""
    constants: Mapping[str, type]
    """The class of those that are the same in every run."""
    names: tuple[str, ...]
    """What the own part is to be taken apart into, once `picked`."""
    places: tuple[int, ...]

    def picked(self, own: Own) -> Own:
        """What is needed of the own part, which `form_of` has given."""
        return tuple([own[place] for place in self.places])


@lru_cache(maxsize=256)
def written(form: Form) -> Written:
    """What `form_of` has given as source: made of literals of keys and of names of our own, of nothing else."""
    kinds, parents, keys, slot_parents, slot_keys, paths = form
    first: tuple[str, ...] = kinds[0]
    count = len(first)
    shapes: list[Any] = [first, *kinds[1 + count :]]
    classes = dict(zip(first, kinds[1 : 1 + count], strict=True))
    there: dict[tuple[int, object], str] = {}
    names: list[str] = []
    for number, shape in enumerate(shapes):
        for place, key in enumerate(range(shape) if isinstance(shape, int) else shape):
            there[number, key] = f"v{number}_{place}"
            names.append(there[number, key])
    used = set(names)
    for number, (parent, key, path) in enumerate(zip(slot_parents, slot_keys, paths, strict=True)):
        names.append(f"step{number}")
        used.discard(there[parent, key])
        used.add(names[-1])
        there[parent, key] = f"flat[step{number}]" + (f"[{path[0]!r}]" if path else ".copy()")
        if not parent:
            del classes[key]
    # From the inside out: a container hangs in an earlier one.
    for number in range(len(shapes) - 1, 0, -1):
        shape, at = shapes[number], (parents[number - 1], keys[number - 1])
        used.discard(there[at])
        if isinstance(shape, int):
            there[at] = f"[{', '.join(there[number, place] for place in range(shape))}]"
        else:
            there[at] = f"{{{', '.join(f'{key!r}: {there[number, key]}' for key in shape)}}}"
    places = tuple(place for place, name in enumerate(names) if name in used)
    values = {key: there[0, key] for key in first}
    return Written(values, classes, tuple(names[place] for place in places), places)


@lru_cache(maxsize=256)
def filler(form: Form) -> Fill:
    """The function that builds values of this form; their own parts are to be `picked`."""
    parts = written(form)
    built = ", ".join(f"{key!r}: {value}" for key, value in parts.values.items())
    taken = f" {', '.join(parts.names)}, = own\n" if parts.names else ""
    made: dict[str, Any] = {}
    source = f"def fill(flat, own):\n{taken} return {{{built}}}"
    exec(compile(source, "<values of one form>", "exec"), made)  # noqa: S102 - see `written`
    return cast("Fill", made["fill"])
