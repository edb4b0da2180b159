"""The short way through a plan that is right: most steps of a large plan say only what every step says.

Such a step becomes a `Step` at once, without a draft, and what it waits for is looked up while it is read. Any other
is read as a draft, like everywhere. The short way never says what is wrong. It gives up at the first doubt, and then
the long way (`_plan_steps`, `_plan_check`) reads the same entries again: so every message is made in one place, and a
plan that comes out here is the one that would come out there. For 10,000 steps it takes half of the time
(`python -m tests.benchmarks.parsing`).
"""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, Final

import attrs

from ._plan_catalogue import Catalogue, call_problems
from ._plan_draft import NO_INPUTS, Checked, Draft
from ._plan_fields import MAX_ID
from ._plan_json import MAX_DEPTH, Document, keys_if_shallow
from ._plan_report import Report
from ._plan_steps import read_step
from ._ready import levels
from ._refs import SHORT, USUAL, Compiled, Fill, Reference, compile_value, cut_text, new_compiled, new_reference
from ._step import SUB_PLAN, Step, plain_step

_FOUR: Final = itemgetter("id", "action", "parameters", "dependencies")
_THREE: Final = itemgetter("id", "action", "parameters")
_SIZES: Final = (4, 3)
_NOTHING: Final[list[object]] = []
_NO_TEMPLATES: Final[Mapping[str, Compiled]] = {}
_STRICT: Final = False
"""The step is not `inside_lenient`: it is in no other's plan."""
_MARK: Final = "$step"
_ABOVE: Final = 3
"""In so many lists and objects the parameters of a step stand: the plan, its steps, the step."""


@attrs.frozen
class Quick:
    """The steps of a plan that is right, and its graph."""

    steps: tuple[Step, ...]
    checked: Checked


class _Doubt(Exception):
    """Something is wrong, or takes a longer look to be sure of."""


def read_quickly(document: Document, catalogue: Catalogue | None) -> Quick | None:
    """The steps of the plan that a document is; None if the long way must be taken. Reports nothing.

    Of a document that is not proven it also counts the keys.
    """
    value = document.value
    entries = value.get("steps") if type(value) is dict else value
    if document.repeated or type(entries) is not list or not entries:
        return None
    if any(type(entry) is dict and SUB_PLAN in entry for entry in entries):
        return None  # seen now, not after most of the work
    reader = _Reader(catalogue, counts=document.keys is not None)
    try:
        for index, entry in enumerate(entries):
            reader.read(index, entry)
        if type(value) is dict:
            reader.count({**value, "steps": None})
        if document.keys not in (None, reader.keys):
            return None
        graph = reader.graph
        by_level = reader.finish()
        if catalogue is not None:
            reader.check_fields(catalogue)
    except _Doubt:
        return None
    return Quick(tuple(reader.steps), Checked(graph, by_level))


class _Reader:
    """What is known of the steps so far."""

    __slots__ = (
        "_ascending",
        "_catalogue",
        "_compiled",
        "_counts",
        "_cuts",
        "_drafts",
        "_fitting",
        "_last",
        "_later",
        "_level",
        "_levels",
        "_report",
        "_ways",
        "graph",
        "keys",
        "steps",
    )

    def __init__(self, catalogue: Catalogue | None, *, counts: bool) -> None:
        self.keys: int = 0
        """How many keys the objects have that were read."""
        self.steps: list[Step] = []
        self.graph: dict[int, tuple[int, ...]] = {}
        self._counts: bool = counts
        self._report: Report = Report()
        """What the drafts would say; nobody reads it."""
        self._catalogue: Catalogue | None = catalogue
        self._fitting: set[tuple[str, ...]] = set()
        """Calls that the catalogue allows: the action and the names of the parameters."""
        self._cuts: dict[str, Fill] = {}
        """What each text with references is."""
        self._ways: dict[str, tuple[str, ...]] = {}
        """The path that each `.a.b` is."""
        self._compiled: list[Compiled] = []
        """Values whose references are not in `_cuts`."""
        self._drafts: list[Draft] = []
        self._level: dict[int, int] = {}
        self._levels: list[list[int]] = []
        self._later: list[tuple[int, dict[int, None]]] = []
        """Steps whose dependencies can be ordered only when all steps are known."""
        self._ascending: bool = True
        self._last: int = -1

    def read(self, index: int, entry: object) -> None:
        """Take one entry.

        Raises:
            _Doubt: it may be wrong.
        """
        if type(entry) is not dict:
            raise _Doubt
        size = len(entry)
        listed: Any = _NOTHING
        try:
            if size == 4:
                number, action, parameters, listed = _FOUR(entry)
            else:
                number, action, parameters = _THREE(entry)
        except KeyError:
            self._read_draft(index, entry)
            return
        if (
            type(number) is not int
            or size not in _SIZES
            or type(action) is not str
            or type(parameters) is not dict
            or type(listed) is not list
            or not 0 <= number <= MAX_ID
            or not (name := action.strip())
        ):
            self._read_draft(index, entry)
            return
        for one in listed:
            if type(one) is not int:
                self._read_draft(index, entry)
                return
        if self._catalogue is not None and (name, *parameters) not in self._fitting:
            self._check_call(name, parameters, self._catalogue)
        self.keys += size + len(parameters)
        needs: dict[int, None] = dict.fromkeys(listed)
        dependencies = tuple(needs)
        inputs = self._compile(parameters, needs) if parameters else NO_INPUTS
        self._place(number, needs, dependencies)
        self.steps.append(plain_step(number, name, parameters, dependencies, inputs, _NO_TEMPLATES, None, _STRICT))

    def _read_draft(self, index: int, entry: dict[str, object]) -> None:
        self.count(entry)
        draft = read_step(index, entry, self._report)
        if not self._report.clean or draft.id is None or draft.spelt_apart:
            raise _Doubt
        if self._catalogue is not None:
            self._check_call(draft.action, draft.parameters, self._catalogue)
            for call in draft.calls.values():
                self._check_call(call.action, call.parameters, self._catalogue)
        needs = draft.needs()
        join = draft.policies.get("join")
        if isinstance(join, int) and join > len(needs):
            raise _Doubt
        self._drafts.append(draft)
        self._place(draft.id, needs, tuple(needs))
        self.steps.append(draft.step())

    def count(self, value: dict[str, object], known: int = 0) -> None:
        """Count the keys in an object but for those `known`.

        Raises:
            _Doubt: something stands too deep in it, perhaps.
        """
        if self._counts:
            keys = keys_if_shallow(value, MAX_DEPTH - _ABOVE)
            if keys is None:
                raise _Doubt
            self.keys += keys - known

    def _check_call(self, action: str | None, parameters: Mapping[str, object] | None, catalogue: Catalogue) -> None:
        for _ in call_problems(action, parameters, catalogue):
            raise _Doubt
        if action is not None and parameters is not None:
            self._fitting.add((action, *parameters))

    # ------------------------------------------------------------------ who waits for whom

    def _place(self, number: int, needs: dict[int, None], listed: tuple[int, ...]) -> None:
        """Put a step into the graph and into its level; `listed` is what it may share its dependencies with."""
        graph, level = self.graph, self._level
        if number > self._last:
            self._last = number
        elif number in graph:
            raise _Doubt
        else:
            self._ascending = False
        here = 0
        for one in needs:
            before = level.get(one, -1)
            if before < 0:  # it comes later, or not at all
                graph[number] = ()
                self._later.append((number, needs))
                return
            if before >= here:
                here = before + 1
        if len(needs) < 2:
            graph[number] = listed if len(listed) == len(needs) else tuple(needs)
        elif self._ascending:
            order = tuple(sorted(needs))  # by number is in plan order
            graph[number] = listed if listed == order else order
        else:
            graph[number] = ()
            self._later.append((number, needs))
        level[number] = here
        if here == len(self._levels):
            self._levels.append([])
        self._levels[here].append(number)

    def finish(self) -> tuple[tuple[int, ...], ...]:
        """Order what could not be ordered before; the levels.

        Raises:
            _Doubt: a step waits for one that is not there, for itself or in a circle.
        """
        graph = self.graph
        if self._later:
            place = {number: n for n, number in enumerate(graph)}
            for number, needs in self._later:
                if not needs.keys() <= place.keys():
                    raise _Doubt
                graph[number] = tuple(sorted(needs, key=place.__getitem__))
        if len(self._level) == len(graph):
            return tuple(map(tuple, self._levels))
        found = levels(graph)
        if sum(map(len, found)) < len(graph):  # a circle, if only of one step
            raise _Doubt
        return found

    # ------------------------------------------------------------------ references

    def _compile(self, parameters: dict[str, Any], needs: dict[int, None]) -> Compiled:
        """The same as `compile_value`; the steps that it names are put into `needs`."""
        cuts = self._cuts
        containers: list[Any] = [parameters, 0, 0]
        slots: list[Any] = []
        for key, inner in parameters.items():
            kind = type(inner)
            if kind is str:
                if _MARK in inner:
                    fill = cuts.get(inner)
                    if fill is None:
                        fill = self._cut(inner)
                    slots += 0, key, fill
                    if type(fill) is Reference:
                        needs[fill.step] = None
                    else:
                        _add_named(fill, needs)
            elif kind is list:
                here = len(containers) // 3
                containers += inner, 0, key
                for place, text in enumerate(inner):
                    kind = type(text)
                    if kind is str:
                        if _MARK in text:
                            fill = cuts.get(text)
                            if fill is None:
                                fill = self._cut(text)
                            slots += here, place, fill
                            if type(fill) is Reference:
                                needs[fill.step] = None
                            else:
                                _add_named(fill, needs)
                    elif kind not in _PLAIN:
                        return self._compile_deep(parameters, needs)
            elif kind not in _PLAIN:
                return self._compile_deep(parameters, needs)
        return new_compiled(None, tuple(containers), tuple(slots))

    def _compile_deep(self, parameters: dict[str, Any], needs: dict[int, None]) -> Compiled:
        self.count(parameters, len(parameters))
        found = compile_value(parameters)
        found.add_references(needs)
        self._compiled.append(found)
        return found

    def _cut(self, text: str) -> Fill:
        fill: Fill
        found = USUAL.fullmatch(text) if len(text) <= SHORT else None
        if found is None:
            fill = cut_text(text, item=False)
        else:
            step, way = found.groups()
            path = self._ways.get(way)
            if path is None:
                path = self._ways[way] = tuple(way.split(".")[1:])
            fill = new_reference(int(step), path, text)
        self._cuts[text] = fill
        return fill

    # ------------------------------------------------------------------ fields

    def check_fields(self, catalogue: Catalogue) -> None:
        """Look whether every field that is named is there, as far as the catalogue knows.

        Raises:
            _Doubt: one may not be.
        """
        gives = {name: frozenset(known.outputs) for name, known in catalogue.items() if known.outputs is not None}
        if not gives:
            return
        outputs = {s.id: gives[s.action] for s in self.steps if s.action in gives and s.for_each is None}
        for fill in self._cuts.values():
            if type(fill) is Reference:
                known = outputs.get(fill.step)
                if known is not None and fill.path and fill.path[0] not in known:
                    _look_closely(fill, known)
            else:
                _look_at(fill, outputs)
        for compiled in self._compiled:
            _look_at((reference for reference, _ in compiled.uses()), outputs)
        for draft in self._drafts:
            _look_at((reference for reference, _ in draft.uses()), outputs)


_PLAIN: Final = frozenset({int, float, bool, type(None)})


def _add_named(fill: Fill, needs: dict[int, None]) -> None:
    if not isinstance(fill, Reference):
        needs.update((part.step, None) for part in fill if isinstance(part, Reference))


def _look_at(parts: Iterable[str | Reference] | Reference, outputs: Mapping[int, frozenset[str]]) -> None:
    for part in () if isinstance(parts, Reference) else parts:
        if isinstance(part, Reference) and (known := outputs.get(part.step)) is not None:
            _look_closely(part, known)


def _look_closely(reference: Reference, known: frozenset[str]) -> None:
    if reference.field is not None and reference.field not in known:
        raise _Doubt
