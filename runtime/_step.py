"""One step of a plan: which tool, with what, after whom, and what if it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import attrs

from ._plan_data import fresh_copy
from ._refs import Compiled, compile_value

Parameters = dict[str, object]


def _compiled_parameters(call: ActionCall | Step) -> Compiled:
    return compile_value(call.parameters)


def _compiled_templates(step: Step) -> dict[str, Compiled]:
    return {name: compile_value(value) for name in TEMPLATES if (value := getattr(step, name)) is not None}


TEMPLATES: Final = ("condition", "for_each", "approval", "idempotency_key")
"""The policies that may hold references; those references are dependencies."""

_inputs = attrs.Factory(_compiled_parameters, takes_self=True)


_templates = attrs.Factory(_compiled_templates, takes_self=True)


@attrs.frozen
class ActionCall:
    """An action and what it is called with; `inputs` are the parameters, ready to be resolved."""

    action: str
    parameters: Parameters = attrs.Factory(dict[str, object])
    inputs: Compiled = attrs.field(default=_inputs, eq=False, repr=False, kw_only=True)

    def as_json(self) -> dict[str, object]:
        """`{"action", "parameters"}`."""
        return {"action": self.action, "parameters": fresh_copy(self.parameters)}


@attrs.frozen
class Fallback(ActionCall):
    """What is called instead when the step itself has failed for good."""


@attrs.frozen
class Compensation(ActionCall):
    """What undoes the step when the run fails after it; it may refer to the step's own result."""


@attrs.frozen
class Step:
    """One call of a tool. Steps come from `parse_plan`, which has checked every field.

    Attributes:
        id: The number by which references and dependencies name it.
        action: The tool's name.
        parameters: What the tool is called with, as written: with references. `inputs.resolve(results)`
            gives what the tool receives. Do not change it: `inputs` was compiled from it.
            In the same way `templates` has, compiled, those of `condition`, `for_each`, `approval` and
            `idempotency_key` that are set.
        dependencies: Only those that were listed; `Plan.dependencies` also has the referenced ones.
        critical: None: its failure fails the run, its verdict gates nothing. True: dependants also wait
            for its verdict. False: its failure is tolerated.
        timeout_s: Seconds that one attempt may take.
        max_retries: Attempts after the first.
        retry_backoff_s: Seconds before the first of them.
        fallback: What answers instead if the step fails.
        condition: Run only if this holds; else the step is skipped, which is no failure.
        for_each: A list, or the one reference that gives it: run once for each element.
        join: Whether all dependencies must be done or any of them is enough.
        approval: Ask a person first (True, or the question to ask).
        idempotency_key: What makes a repetition recognisable outside.
        compensate: What undoes it.
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
    condition: str | None = attrs.field(default=None, kw_only=True)
    for_each: str | list[object] | None = attrs.field(default=None, kw_only=True)
    join: Literal["all", "any"] | None = attrs.field(default=None, kw_only=True)
    approval: bool | str | None = attrs.field(default=None, kw_only=True)
    idempotency_key: str | None = attrs.field(default=None, kw_only=True)
    compensate: Compensation | None = attrs.field(default=None, kw_only=True)
    reasoning: str | None = attrs.field(default=None, kw_only=True)
    expected_output: str | None = attrs.field(default=None, kw_only=True)
    inputs: Compiled = attrs.field(default=_inputs, eq=False, repr=False, kw_only=True)
    templates: Mapping[str, Compiled] = attrs.field(default=_templates, eq=False, repr=False, kw_only=True)

    def as_json(self) -> dict[str, object]:
        """The step as a plan spells it: the four main keys always, a policy only where it is set."""
        calls = ((name, getattr(self, name)) for name in ("fallback", "compensate"))
        return {
            "id": self.id,
            "action": self.action,
            "parameters": fresh_copy(self.parameters),
            "dependencies": list(self.dependencies),
            **{name: fresh_copy(value) for name, value in self._plain_policies()},
            **{name: call.as_json() for name, call in calls if call is not None},
        }

    def _plain_policies(self) -> Iterator[tuple[str, object]]:
        for name in PLAIN_POLICIES:
            value = getattr(self, name)
            if value is not None:
                yield name, value


PLAIN_POLICIES = (
    "critical",
    "timeout_s",
    "max_retries",
    "retry_backoff_s",
    "condition",
    "for_each",
    "join",
    "approval",
    "idempotency_key",
    "reasoning",
    "expected_output",
)
"""The optional keys of a step whose value is not a call."""
