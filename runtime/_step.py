"""One step of a plan: which tool, with what, after whom, and what if it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal

import attrs

from ._budget import Budget
from ._condition import Condition, read_condition
from ._for_each import ForEach
from ._makers import maker
from ._plan_data import fresh_copy
from ._refs import Compiled, compile_value

if TYPE_CHECKING:
    from ._plan_object import Plan

Parameters = dict[str, object]
Join = Literal["all", "any"] | int

TEMPLATES: Final = ("approval", "idempotency_key")
"""The policies whose text may hold references; those references are dependencies."""

SUB_PLAN: Final = "plan"
"""The action of a step that has a plan of its own."""


def _compiled_call(call: ActionCall) -> Compiled:
    return compile_value(call.parameters)


def _compiled_parameters(step: Step) -> Compiled:
    return compile_value(step.parameters, item=step.for_each is not None)


def _compiled_templates(step: Step) -> dict[str, Compiled]:
    # Approval is asked for once, a key is made for each element.
    each = step.for_each is not None
    values = ((name, getattr(step, name)) for name in TEMPLATES)
    return {name: compile_value(v, item=each and name != "approval") for name, v in values if v is not None}


def _read_guard(step: Step) -> Condition | None:
    return None if step.condition is None else read_condition(step.condition)


_call_inputs = attrs.Factory(_compiled_call, takes_self=True)
_inputs = attrs.Factory(_compiled_parameters, takes_self=True)
_templates = attrs.Factory(_compiled_templates, takes_self=True)
_guard = attrs.Factory(_read_guard, takes_self=True)


@attrs.frozen
class ActionCall:
    """An action and what it is called with; `inputs` are the parameters, ready to be resolved."""

    action: str
    parameters: Parameters = attrs.Factory(dict[str, object])
    inputs: Compiled = attrs.field(default=_call_inputs, eq=False, repr=False, kw_only=True)

    def as_json(self) -> dict[str, object]:
        """`{"action", "parameters"}`."""
        return {"action": self.action, "parameters": fresh_copy(self.parameters)}


@attrs.frozen
class Fallback(ActionCall):
    """What is called instead when the step itself has failed for good."""


@attrs.frozen
class Compensation(ActionCall):
    """What undoes the step when the run fails after it; it may refer to the step's own result."""


@attrs.frozen(weakref_slot=False)  # so that it can have a `maker`
class Step:
    """One call of a tool. Steps come from `parse_plan`, which has checked every field.

    Attributes:
        id: The number by which references and dependencies name it.
        action: The tool's name; `plan` if the step has a plan of its own.
        parameters: What the tool is called with, as written: with references. `inputs.resolve(results)`
            gives what the tool receives. Do not change it: `inputs` was compiled from it.
            In the same way `templates` has, compiled, those of `approval` and `idempotency_key` that are set.
        dependencies: Only those that were listed; `Plan.dependencies` also has the referenced ones.
        critical: None: its failure fails the run, its verdict gates nothing. True: dependants also wait
            for its verdict. False: its failure is tolerated.
        timeout_s: Seconds that one attempt may take.
        max_retries: Attempts after the first.
        retry_backoff_s: Seconds before the first of them.
        fallback: What answers instead if the step fails.
        condition: As written; `guard` decides it. Run only if it holds; else the step is skipped, which is
            no failure.
        for_each: Run once for each element of a list.
        join: How many of its dependencies must be done: `all` (the same as None), `any` of them, or so many.
        approval: Ask a person first (True, or the question to ask).
        idempotency_key: What makes a repetition recognisable outside.
        compensate: What undoes it.
        plan: A plan of its own instead of a tool; the policies are those of the whole of it.
        budget: What its own plan may spend.
        reasoning: A note of the planner's.
        expected_output: A note of the planner's.
    """

    id: int
    action: str
    parameters: Parameters = attrs.Factory(dict[str, object])
    dependencies: tuple[int, ...] = attrs.field(default=(), kw_only=True)
    critical: bool | None = attrs.field(default=None, kw_only=True)
    timeout_s: float | None = attrs.field(default=None, kw_only=True)
    max_retries: int | None = attrs.field(default=None, kw_only=True)
    retry_backoff_s: float | None = attrs.field(default=None, kw_only=True)
    fallback: Fallback | None = attrs.field(default=None, kw_only=True)
    condition: bool | str | None = attrs.field(default=None, kw_only=True)
    for_each: ForEach | None = attrs.field(default=None, kw_only=True)
    join: Join | None = attrs.field(default=None, kw_only=True)
    approval: bool | str | None = attrs.field(default=None, kw_only=True)
    idempotency_key: str | None = attrs.field(default=None, kw_only=True)
    compensate: Compensation | None = attrs.field(default=None, kw_only=True)
    plan: Plan | None = attrs.field(default=None, kw_only=True)
    budget: Budget | None = attrs.field(default=None, kw_only=True)
    reasoning: str | None = attrs.field(default=None, kw_only=True)
    expected_output: str | None = attrs.field(default=None, kw_only=True)
    inputs: Compiled = attrs.field(default=_inputs, eq=False, repr=False, kw_only=True)
    templates: Mapping[str, Compiled] = attrs.field(default=_templates, eq=False, repr=False, kw_only=True)
    guard: Condition | None = attrs.field(default=_guard, eq=False, repr=False, kw_only=True)
    inside_lenient: bool = attrs.field(default=False, eq=False, repr=False, kw_only=True)
    """It is in the plan of a step that is `lenient`."""

    @property
    def lenient(self) -> bool:
        """It may run without the results of some of its dependencies: references to those are null."""
        return self.inside_lenient or (self.join is not None and self.join != "all")

    def enough(self, dependencies: int) -> int:
        """How many of so many dependencies must be done before it can start."""
        if self.join is None or self.join == "all":
            return dependencies
        return min(1 if self.join == "any" else self.join, dependencies)

    @property
    def needs(self) -> frozenset[int]:
        """The ids of the steps outside it that it names: listed, referenced, or named inside its own plan."""
        found = {*self.dependencies, *self.inputs.references}
        for compiled in self.templates.values():
            found |= compiled.references
        if self.guard is not None:
            found |= self.guard.references
        if self.for_each is not None:
            found |= self.for_each.source.references
        if self.fallback is not None:
            found |= self.fallback.inputs.references
        if self.compensate is not None:
            found |= self.compensate.inputs.references - {self.id}
        if self.plan is not None:  # as deep as plans may be in one another
            found |= self.plan.needs
        return frozenset(found)

    def as_json(self) -> dict[str, object]:
        """The step as a plan spells it: the main keys always, a policy only where it is set."""
        calls = ((name, getattr(self, name)) for name in ("fallback", "compensate"))
        return {
            "id": self.id,
            **self._deed(),
            "dependencies": list(self.dependencies),
            **{name: fresh_copy(value) for name, value in self._plain_policies()},
            **{name: call.as_json() for name, call in calls if call is not None},
        }

    def _deed(self) -> dict[str, object]:
        if self.plan is not None:
            return {"plan": self.plan.as_json()}
        return {"action": self.action, "parameters": fresh_copy(self.parameters)}

    def _plain_policies(self) -> Iterator[tuple[str, object]]:
        for name in PLAIN_POLICIES:
            value = getattr(self, name)
            if value is not None:
                yield name, value
        if self.for_each is not None:
            yield "for_each", self.for_each.as_json()
        if self.budget is not None:
            yield "budget", self.budget.as_json()


plain_step = maker(Step, "id", "action", "parameters", "dependencies", "inputs", "templates", "guard", "inside_lenient")
"""A step without any policy, as most of the steps of a large plan are: its fields in this order."""

PLAIN_POLICIES = (
    "critical",
    "timeout_s",
    "max_retries",
    "retry_backoff_s",
    "condition",
    "join",
    "approval",
    "idempotency_key",
    "reasoning",
    "expected_output",
)
"""The optional keys of a step whose value is kept as it is written."""
