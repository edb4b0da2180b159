"""What could be understood of one entry of a plan, before the steps are compared with each other.

A draft keeps whatever is usable of its entry, so that the checks can say everything true about a plan of which some
parts are wrong, and nothing that only follows from those.
"""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from ._condition import Condition
from ._errors import ProblemKind
from ._for_each import ForEach
from ._plan_data import Path
from ._plan_fields import as_id
from ._plan_object import Plan
from ._plan_report import Report, short, step_text
from ._refs import Compiled, Reference, compile_value
from ._step import SUB_PLAN, ActionCall, Parameters, Step, plain_step

SPELLINGS: Final = {
    "id": ("id", "step"),
    "action": ("action", "tool"),
    "parameters": ("parameters", "inputs", "args", "arguments"),
    "dependencies": ("dependencies", "deps", "depends_on"),
}
"""Our word for each main key, and what else it is called. Overlooking one of them would silently drop a
step's arguments or its order; any other unknown key is left alone, since models like to add their own."""

NO_INPUTS: Final = compile_value({})
_NONE: Mapping[str, Any] = {}


@attrs.frozen
class Checked:
    """The graph of a plan: dependencies in plan order, and the levels that follow."""

    dependencies: dict[int, tuple[int, ...]]
    levels: tuple[tuple[int, ...], ...]


@attrs.define(eq=False)
class Draft:
    """What could be read of one entry. `None`: not there, or wrong and reported."""

    at: Path
    """Where the entry stands, from the root."""
    raw: dict[str, object]
    report: Report
    id: int | None = None
    action: str | None = None
    parameters: Parameters | None = None
    inputs: Compiled = NO_INPUTS
    listed: Sequence[int] = ()
    """The ids of its list of dependencies, as far as they are ids."""
    # Replaced, never changed: most steps have none of these, and an empty one of each for every step costs time.
    policies: Mapping[str, object] = _NONE
    templates: Mapping[str, Compiled] = _NONE
    calls: Mapping[str, ActionCall] = _NONE
    guard: Condition | None = None
    for_each: ForEach | None = None
    inner: InnerDraft | None = None
    """Its own plan."""
    borrowed: dict[int, tuple[Path, str]] | None = None
    """The steps beside it that something in its own plan names, and where and how it does so first."""
    claims: frozenset[int] = frozenset()
    """Ids that the entry may have been meant to have, when it has none that is usable."""
    inside_lenient: bool = False
    """It is in the plan of a step that need not wait for everything."""
    spelt_apart: bool = False
    """Its id reads like `step_1`."""
    _mentions: dict[int, tuple[Path, str]] | None = None

    @property
    def plain(self) -> bool:
        """It sets no policy and has no plan of its own."""
        return not (self.policies or self.calls or self.inner or self.for_each)

    def problem(self, kind: ProblemKind, path: Path, message: str) -> None:
        """Report something at `path` from this step."""
        self.report.add(kind, (*self.at, *path), message, step=self.id)

    def key(self, name: str, call: Path = ()) -> str:
        """How this entry, or a call in it such as `("fallback",)`, spells one of the main keys."""
        raw = self.raw.get(str(call[0])) if call else self.raw
        return next((key for key in SPELLINGS[name] if isinstance(raw, dict) and raw.get(key) is not None), name)

    def needs(self) -> dict[int, None]:
        """The ids it depends on, listed ones first, each once; its own among them if it names itself.

        Without what its own plan names: those may be steps in there.
        """
        found = dict.fromkeys(self.listed)
        self.inputs.add_references(found)
        if self.templates:
            for compiled in self.templates.values():
                compiled.add_references(found)
        if self.guard is not None:
            found.update(dict.fromkeys(self.guard.references))
        if self.for_each is not None:
            self.for_each.source.add_references(found)
        if self.calls:
            for name, call in self.calls.items():
                own = {self.id} if name == "compensate" else set()
                found.update(dict.fromkeys(call.inputs.references - own))
        return found

    def uses(self) -> Iterator[tuple[Reference, Path]]:
        """Every reference to a step, with its path from this one; without those in its own plan."""
        sources: list[tuple[Path, Compiled]] = [((self.key("parameters"),), self.inputs)]
        if self.guard is not None:
            yield from ((reference, ("condition",)) for reference in self.guard.uses() if reference.step >= 0)
        if self.for_each is not None:
            written: Path = ("for_each", "items") if isinstance(self.raw.get("for_each"), dict) else ("for_each",)
            sources.append((written, self.for_each.source))
        sources += [((name,), compiled) for name, compiled in self.templates.items()]
        sources += [((name, self.key("parameters", (name,))), call.inputs) for name, call in self.calls.items()]
        for before, compiled in sources:
            for reference, path in compiled.uses():
                if reference.step >= 0:
                    yield reference, (*before, *path)

    def output_uses(self) -> Iterator[tuple[Reference, Path]]:
        """Every reference to a step in the output of its own plan, with its path from this step."""
        if self.inner is not None and self.inner.outputs is not None:
            for reference, path in self.inner.outputs.uses():
                if reference.step >= 0:
                    yield reference, (SUB_PLAN, "output", *path)

    def mention(self, step: int) -> tuple[Path, str]:
        """Where and how it first names `step`, which is one of its needs or borrowed."""
        if self._mentions is None:
            self._mentions = {}
            for path, found, said in self._named():
                self._mentions.setdefault(found, (path, said))
        return (self.borrowed or {})[step] if step not in self._mentions else self._mentions[step]

    def _named(self) -> Iterator[tuple[Path, int, str]]:
        key = self.key("dependencies")
        listed = self.raw.get(key)
        for n, item in enumerate(listed if isinstance(listed, list) else ()):
            step = listed_id(item)
            if step is not None:
                yield (key, n), step, step_text(step)
        for reference, path in self.uses():
            if path[0] != "compensate" or reference.step != self.id:
                yield path, reference.step, short(reference.text)

    @property
    def inner_ids(self) -> frozenset[int]:
        """The ids of the steps in its own plan, at any depth."""
        inside = () if self.inner is None else self.inner.drafts
        own = {draft.id for draft in inside if draft.id is not None}
        return frozenset(own.union(*(draft.inner_ids for draft in inside)))

    def step(self) -> Step:
        """The finished step; only when nothing is wrong with it and its own plan has been checked."""
        dependencies = tuple(dict.fromkeys(self.listed))
        if self.plain:
            action, values = self.action, self.parameters or {}
            return plain_step(
                self.id, action, values, dependencies, self.inputs, self.templates, self.guard, self.inside_lenient
            )
        return Step(
            self.id,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a missing id has stopped us before
            SUB_PLAN if self.inner is not None else self.action,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - the same
            self.parameters or {},
            dependencies=dependencies,
            inputs=self.inputs,
            templates=self.templates,
            guard=self.guard,
            for_each=self.for_each,
            plan=None if self.inner is None else self.inner.plan(),
            inside_lenient=self.inside_lenient,
            **self.policies,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - each was checked by its own rule
            **self.calls,  # type: ignore[arg-type]  # made by _CALLS
        )


@attrs.define(eq=False)
class InnerDraft:
    """What could be read of the plan that a step has instead of an action."""

    at: Path
    """Where the list of its steps stands, from the step."""
    drafts: list[Draft] = attrs.Factory(list)
    output: object = None
    outputs: Compiled | None = None
    goal: str | None = None
    reasoning: str | None = None
    checked: Checked | None = None

    def plan(self) -> Plan:
        """The finished plan; only when nothing is wrong with it and it has been checked."""
        if self.checked is None:
            raise ValueError("a sub-plan becomes a plan only after its steps have been compared")
        last = self.drafts[-1].id
        return Plan(
            steps=tuple(draft.step() for draft in self.drafts),
            dependencies=self.checked.dependencies,
            levels=self.checked.levels,
            goal=self.goal,
            reasoning=self.reasoning,
            output=self.output,
            outputs=compile_value(f"$step{last}") if self.outputs is None else self.outputs,
        )


def listed_id(item: object) -> int | None:
    """The step id that an entry of a list of dependencies is."""
    if isinstance(item, int) and not isinstance(item, bool):
        return item  # also one that no step can have: that dangles, it is not of a wrong type
    return as_id(item)
