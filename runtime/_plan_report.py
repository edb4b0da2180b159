"""Collecting what is wrong with a plan, so that all of it is said at once, in the order of the document."""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

import re

import attrs

from ._errors import PlanError, PlanProblem, ProblemKind
from ._plan_data import Path
from ._plan_json import REPORTED, Repeated

_PLAIN_KEY = re.compile(r"\w[\w-]*")
_SHOWN = 40
_LONG = 80


@attrs.define
class Report:
    """The problems so far. `entries` are the raw steps, to know which key of a step came first."""

    entries: list[object] = attrs.Factory(list)
    _found: list[tuple[tuple[int, ...], PlanProblem]] = attrs.Factory(list)
    _places: dict[int, dict[str, int]] = attrs.Factory(dict)

    def add(self, kind: ProblemKind, path: Path, message: str, *, step: int | None = None) -> None:
        """Note one problem at `path` from the root (`("steps", 1, "parameters", "x")`)."""
        problem = PlanProblem(kind=kind, message=message, step=step, path=path_text(path))
        self._found.append((self._place(path), problem))

    @property
    def clean(self) -> bool:
        """Nothing is wrong so far."""
        return not self._found

    def raise_if_any(self) -> None:
        """Raise every problem noted so far, if there is one.

        Raises:
            PlanError: with the problems in document order.
        """
        if self._found:
            raise PlanError(problem for _, problem in sorted(self._found, key=lambda found: found[0]))

    def _place(self, path: Path) -> tuple[int, ...]:
        """Where in the document a path leads: the place of each key among its neighbours."""
        if len(path) < 2 or path[0] != "steps":
            return (-1,)
        found: list[int] = []
        value: object = self.entries
        for key in path[1:]:
            if isinstance(key, int):
                found.append(key)
                value = value[key] if isinstance(value, list) and key < len(value) else None
            else:
                known = self._places_of(value)
                found.append(known.get(key, len(known)))
                value = value.get(key) if isinstance(value, dict) else None
        return tuple(found)

    def _places_of(self, value: object) -> dict[str, int]:
        # Kept, since a thousand problems in one object must not mean a thousand counts of its keys.
        if not isinstance(value, dict):
            return {}
        if id(value) not in self._places:
            self._places[id(value)] = {key: n for n, key in enumerate(value)}
        return self._places[id(value)]


def path_text(path: Path) -> str:
    """`steps[1].parameters.x`, the way a path is written in messages."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif _PLAIN_KEY.fullmatch(key):
            text += f".{key}" if text else key
        else:
            text += f'["{key}"]'
    return text


def shown(value: object) -> str:
    """A value for a message: short, and with its type where that is the point."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value[:_SHOWN]!r}" + ("..." if len(value) > _SHOWN else "")
    if isinstance(value, int | float):
        # A number may be longer than Python is willing to print.
        return f"the number {value!r}" if abs(value) < 10**_SHOWN else "a huge number"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"


def short(text: str) -> str:
    """A text for a message, cut where it would fill the screen."""
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def step_text(step: int) -> str:
    """`step 3`, also for a number that Python refuses to print."""
    return f"step {step}" if abs(step) < 10**_SHOWN else "step with so huge a number"


def report_repeated_keys(root: object, bare: bool, report: Report) -> None:
    """Note every object below `root` that gives a key twice, wherever it is. `bare`: the plan is a list."""
    work: list[tuple[object, Path]] = [(root, ("steps",) if bare else ())]
    while work:
        value, path = work.pop()
        if isinstance(value, Repeated):
            names = list(value.claims)
            said = " and ".join(repr(name) for name in names)
            where = (*path, names[0]) if len(names) == 1 else path
            report.add("duplicate_key", where, f"the same object has {said} more than once; which one counts?")
        if isinstance(value, dict):
            work.extend((item, (*path, key)) for key, item in value.items() if item is not REPORTED)
        elif isinstance(value, list):
            work.extend((item, (*path, n)) for n, item in enumerate(value))
