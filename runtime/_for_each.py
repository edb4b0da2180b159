"""Running a step once for each element of a list: where the elements come from, and how many at a time."""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import attrs

from ._errors import StepError
from ._nearest import listed, suggestion
from ._plan_data import Path, fresh_copy
from ._plan_fields import MAX_ID, one_reference
from ._plan_json import REPORTED
from ._plan_report import short, shown
from ._refs import Compiled, compile_value

MAX_ITEMS: Final = 1000
"""How many elements a list may have if the plan does not say."""

OnFailure = Literal["fail", "continue"]


def _compiled_items(each: ForEach) -> Compiled:
    return compile_value(each.items)


@attrs.frozen
class ForEach:
    """A step with this runs once for each element; its result is the list of the elements' results, in order.

    Attributes:
        items: As written: a list, or the one bare reference that gives it.
        max_parallel: Elements at a time; None: as many as there are slots.
        on_failure: `fail`: one failed element fails the step. `continue`: it is tolerated, its place in the
            result is null.
        max_items: More elements than this are an error, not a fan-out.
        source: `items`, compiled.
    """

    items: str | list[object]
    max_parallel: int | None = attrs.field(default=None, kw_only=True)
    on_failure: OnFailure = attrs.field(default="fail", kw_only=True)
    max_items: int = attrs.field(default=MAX_ITEMS, kw_only=True)
    source: Compiled = attrs.field(
        default=attrs.Factory(_compiled_items, takes_self=True), eq=False, repr=False, kw_only=True
    )

    def elements(self, results: Mapping[int, object], *, lenient: bool = False) -> list[object]:
        """The elements, given the results so far; the caller's to change.

        Raises:
            UnknownField: a reference leads nowhere.
            StepError: what it leads to is no list, or one of more than `max_items`.
        """
        found = self.source.resolve(results, lenient=lenient)
        what = f"{self.items}: it" if isinstance(self.items, str) else "for_each"
        if not isinstance(found, list):
            raise StepError(f"{what} is {shown(found)}, not a list to go through")
        if len(found) > self.max_items:
            raise StepError(f"{what} has {len(found)} elements, more than the {self.max_items} that max_items allows")
        return found

    def as_json(self) -> object:
        """As a plan spells it: only the items where nothing else is said."""
        items = fresh_copy(self.items)
        default = {"max_parallel": None, "on_failure": "fail", "max_items": MAX_ITEMS}
        said = {name: value for name, usual in default.items() if (value := getattr(self, name)) != usual}
        return {"items": items, **said} if said else items


_KEYS = ("items", "max_parallel", "on_failure", "max_items")


@attrs.define
class ReadForEach:
    """What could be read of a `for_each`; the path of each problem begins below that key."""

    each: ForEach | None
    problems: list[tuple[Path, str]]


def read_for_each(value: object, *, item: bool = False) -> ReadForEach:
    """Understand a `for_each`, as far as possible. `item`: an outer `for_each` gives `$item` to this one."""
    if not isinstance(value, dict):
        unfit = _unfit_items(value, item=item)
        if unfit:
            return ReadForEach(None, [((), f"{unfit}, nor an object with items")])
        return _limited(value, {}, [], item=item)
    problems = list(_problems(value))
    items = value.get("items")
    if items is None:
        problems.append((("items",), "is missing: say which list to go through"))
    elif items is not REPORTED:
        unfit = _unfit_items(items, item=item)
        if not unfit:
            return _limited(items, value, problems, item=item)
        problems.append((("items",), unfit))
    return ReadForEach(None, problems)


def _limited(
    items: object, options: Mapping[str, object], problems: list[tuple[Path, str]], *, item: bool
) -> ReadForEach:
    """The finished value, unless its own list is longer than it allows. What was wrong keeps its default."""
    wrong = {path[0] for path, _ in problems}
    said = {
        name: option
        for name in _KEYS[1:]
        if name not in wrong and (option := options.get(name)) is not None and option is not REPORTED
    }
    each = ForEach(items, **said, source=compile_value(items, item=item))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - checked above
    if isinstance(items, list) and len(items) > each.max_items:
        path: Path = ("items",) if options else ()
        problems.append((path, f"has {len(items)} elements, more than max_items allows: {each.max_items}"))
    return ReadForEach(each, problems)


def _unfit_items(value: object, *, item: bool) -> str:
    if isinstance(value, list) or one_reference(value, item=item):
        return ""
    if isinstance(value, str):
        return f"is {shown(value)}, not a list or one bare reference such as $step1.items"
    return f"is {shown(value)}, not a list or one bare reference"


def _problems(value: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    for name, option in value.items():
        if name not in _KEYS:
            yield (name,), f"is not known here; there are {listed(_KEYS)}{suggestion(short(name), _KEYS)}"
        elif option is None or option is REPORTED:
            continue
        elif name in {"max_parallel", "max_items"} and not _at_least_one(option):
            yield (name,), f"is {shown(option)}, not a whole number, 1 or more"
        elif name == "on_failure" and option not in ("fail", "continue"):
            yield (name,), f"is {shown(option)}, not 'fail' or 'continue'"


def _at_least_one(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ID
