"""Reading the entries of a plan, each on its own: one normaliser for every spelling, one draft a step.

A draft keeps what could be understood of an entry, so that the checks that compare steps with each other can
say everything true about a plan of which some parts are wrong, and nothing that only follows from those.
"""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ._errors import ProblemKind
from ._plan_data import Path, same
from ._plan_fields import POLICIES, Unfit, as_id
from ._plan_json import REPORTED, Repeated
from ._plan_report import Report, short, shown, step_text
from ._refs import Compiled, Reference, compile_value
from ._step import TEMPLATES, ActionCall, Compensation, Fallback, Parameters, Step

SPELLINGS = {
    "id": ("id", "step"),
    "action": ("action", "tool"),
    "parameters": ("parameters", "inputs", "args", "arguments"),
    "dependencies": ("dependencies", "deps", "depends_on"),
}
"""Our word for each main key, and what else it is called. Overlooking one of them would silently drop a
step's arguments or its order; any other unknown key is left alone, since models like to add their own."""

_CALLS: dict[str, type[ActionCall]] = {"fallback": Fallback, "compensate": Compensation}
_NO_INPUTS = compile_value({})
_NONE: Mapping[str, Any] = {}
_OTHER_NAMES = frozenset(name for names in SPELLINGS.values() for name in names[1:])


@attrs.define(eq=False)
class Draft:
    """What could be read of one entry. `None`: not there, or wrong and reported."""

    index: int
    raw: dict[str, object]
    report: Report
    id: int | None = None
    action: str | None = None
    parameters: Parameters | None = None
    inputs: Compiled = _NO_INPUTS
    listed: Sequence[int] = ()
    """The ids of its list of dependencies, as far as they are ids."""
    # Replaced, never changed: most steps have none of these, and an empty one of each for every step costs time.
    policies: Mapping[str, object] = _NONE
    templates: Mapping[str, Compiled] = _NONE
    calls: Mapping[str, ActionCall] = _NONE
    claims: frozenset[int] = frozenset()
    """Ids that the entry may have been meant to have, when it has none that is usable."""
    spelt_apart: bool = False
    """Its id reads like `step_1`."""
    _mentions: dict[int, tuple[Path, str]] | None = None

    def problem(self, kind: ProblemKind, path: Path, message: str) -> None:
        """Report something at `path` from this step."""
        self.report.add(kind, ("steps", self.index, *path), message, step=self.id)

    def key(self, name: str, call: Path = ()) -> str:
        """How this entry, or a call in it such as `("fallback",)`, spells one of the main keys."""
        raw = self.raw.get(str(call[0])) if call else self.raw
        return next((key for key in SPELLINGS[name] if isinstance(raw, dict) and raw.get(key) is not None), name)

    def needs(self) -> list[int]:
        """The ids it depends on, listed ones first, each once; its own among them if it names itself."""
        found = dict.fromkeys((*self.listed, *self.inputs.references))
        for compiled in self.templates.values():
            found.update(dict.fromkeys(compiled.references))
        for name, call in self.calls.items():
            own = {self.id} if name == "compensate" else set()
            found.update(dict.fromkeys(call.inputs.references - own))
        return list(found)

    def uses(self) -> Iterator[tuple[Reference, Path]]:
        """Every reference, with its path from the step."""
        sources: list[tuple[Path, Compiled]] = [((self.key("parameters"),), self.inputs)]
        sources += [((name,), compiled) for name, compiled in self.templates.items()]
        sources += [((name, self.key("parameters", (name,))), call.inputs) for name, call in self.calls.items()]
        for before, compiled in sources:
            for reference, path in compiled.uses():
                yield reference, (*before, *path)

    def mention(self, step: int) -> tuple[Path, str]:
        """Where and how it first names `step`, which is one of its needs."""
        if self._mentions is None:
            self._mentions = {}
            for path, found, said in self._named():
                self._mentions.setdefault(found, (path, said))
        return self._mentions[step]

    def _named(self) -> Iterator[tuple[Path, int, str]]:
        key = self.key("dependencies")
        listed = self.raw.get(key)
        for n, item in enumerate(listed if isinstance(listed, list) else ()):
            step = _listed_id(item)
            if step is not None:
                yield (key, n), step, step_text(step)
        for reference, path in self.uses():
            if path[0] != "compensate" or reference.step != self.id:
                yield path, reference.step, short(reference.text)

    def step(self) -> Step:
        """The finished step; only when nothing is wrong with it."""
        return Step(
            self.id,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a missing id has stopped us before
            self.action,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - the same
            self.parameters or {},
            dependencies=tuple(dict.fromkeys(self.listed)),
            inputs=self.inputs,
            templates=self.templates,
            **self.policies,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - each was checked by its own rule in POLICIES
            **self.calls,  # type: ignore[arg-type]  # made by _CALLS
        )


def read_step(index: int, entry: object, report: Report) -> Draft:
    """Understand one entry as far as possible, reporting what is wrong with it on its own."""
    draft = Draft(index, entry if isinstance(entry, dict) else {}, report)
    if isinstance(entry, dict):
        _read_id(draft)
        draft.action = _read_action(draft, draft.raw, ())
        draft.parameters, draft.inputs = _read_parameters(draft, draft.raw, ())
        _read_dependencies(draft)
        _read_policies(draft)
    elif entry is not REPORTED:
        draft.problem("wrong_type", (), f"the step is {shown(entry)}, not an object")
    if draft.id is None:
        # Nobody can say which number it was meant to have, but its place makes these likely.
        draft.claims |= {index, index + 1}
    return draft


def _pick(draft: Draft, raw: dict[str, object], name: str, before: Path) -> tuple[Path, object]:
    """The value of a main key under whichever name it has; two names with different values are a mistake."""
    if raw.keys().isdisjoint(_OTHER_NAMES):
        return (*before, name), raw.get(name)
    first, *others = SPELLINGS[name]
    key, value = first, raw.get(first)
    for other in others:
        also = raw.get(other)
        if also is None or (other == "step" and as_id(also) is None):
            continue  # `step` is often a title
        if value is None:
            key, value = other, also
        elif not _same(name, value, also) and REPORTED not in (value, also):
            message = f"says something else than {key!r}; give one of the two"
            draft.problem("wrong_type", (*before, other), f"{other!r} {message}")
            if name == "id":
                draft.claims |= {step for step in (as_id(value), as_id(also)) if step is not None}
            return (*before, key), REPORTED
    return (*before, key), value


def _same(name: str, one: object, other: object) -> bool:
    if name == "id":
        return as_id(one) == as_id(other)
    if name == "dependencies" and isinstance(one, list) and isinstance(other, list):
        return [as_id(item) for item in one] == [as_id(item) for item in other]
    return same(one, other)


def _read_id(draft: Draft) -> None:
    path, value = _pick(draft, draft.raw, "id", ())
    if value is REPORTED:
        if isinstance(draft.raw, Repeated):
            draft.claims |= {step for claim in draft.raw.claims.get("id", ()) if (step := as_id(claim)) is not None}
        return
    if value is None:
        draft.problem("missing_id", path, "the step has no id")
        return
    draft.id = as_id(value)
    draft.spelt_apart = isinstance(value, str) and ("_" in value or "-" in value)
    if draft.id is None:
        if isinstance(value, int):
            draft.claims |= {value}
        draft.problem("wrong_type", path, f"the id is {shown(value)}, not a whole number, 0 or more")


def _read_action(draft: Draft, raw: dict[str, object], before: Path) -> str | None:
    path, value = _pick(draft, raw, "action", before)
    if value is REPORTED:
        return None
    if value is None or (isinstance(value, str) and not value.strip()):
        draft.problem("missing_action", path, f"{_what(before)} names no action")
        return None
    if not isinstance(value, str):
        draft.problem("wrong_type", path, f"the action is {shown(value)}, not the name of a tool")
        return None
    return value.strip()


def _read_parameters(draft: Draft, raw: dict[str, object], before: Path) -> tuple[Parameters | None, Compiled]:
    path, value = _pick(draft, raw, "parameters", before)
    if value is REPORTED:
        return None, _NO_INPUTS
    if value is None:
        return {}, _NO_INPUTS
    if not isinstance(value, dict):
        draft.problem("wrong_type", path, f"the parameters are {shown(value)}, not an object of names and values")
        return None, _NO_INPUTS
    return value, compile_value(value)


def _read_dependencies(draft: Draft) -> None:
    path, value = _pick(draft, draft.raw, "dependencies", ())
    if value is None or value is REPORTED:
        return
    if not isinstance(value, list):
        draft.problem("wrong_type", path, f"the dependencies are {shown(value)}, not a list of step ids")
        return
    listed: list[int] = []
    for n, item in enumerate(value):
        step = _listed_id(item)
        if step is not None:
            listed.append(step)
        elif item is not REPORTED:
            draft.problem("wrong_type", (*path, n), f"a dependency is {shown(item)}, not a step id")
    draft.listed = listed


def _listed_id(item: object) -> int | None:
    if isinstance(item, int) and not isinstance(item, bool):
        return item  # also one that no step can have: that dangles, it is not of a wrong type
    return as_id(item)


def _read_policies(draft: Draft) -> None:
    for key, value in draft.raw.items():
        if value is None or value is REPORTED:
            continue
        if key in POLICIES:
            _read_policy(draft, key, value)
        elif key in _CALLS:
            _read_call(draft, key, value)


def _read_policy(draft: Draft, key: str, value: object) -> None:
    try:
        kept = POLICIES[key](value)
    except Unfit as unfit:
        draft.problem("wrong_type", (key,), f"{key!r} {unfit}")
        return
    draft.policies = {**draft.policies, key: kept}
    if key in TEMPLATES:
        draft.templates = {**draft.templates, key: compile_value(kept)}


def _read_call(draft: Draft, key: str, value: object) -> None:
    if not isinstance(value, dict):
        message = f"{key!r} is {shown(value)}, not an object with an action and its parameters"
        draft.problem("wrong_type", (key,), message)
        return
    action = _read_action(draft, value, (key,))
    parameters, inputs = _read_parameters(draft, value, (key,))
    # Kept even when its action is missing: what it refers to can still be checked.
    draft.calls = {**draft.calls, key: _CALLS[key](action or "", parameters or {}, inputs=inputs)}


def _what(before: Path) -> str:
    return f"{before[0]!r}" if before else "the step"
