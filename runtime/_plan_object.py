"""What a plan is once it has been read: steps, who waits for whom, and what it may spend."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ._budget import Budget
from ._nearest import listed
from ._plan_data import fresh_copy
from ._ready import critical_path, sequential
from ._refs import Compiled
from ._step import Step


def _by_id(plan: Plan) -> dict[int, Step]:
    return {step.id: step for step in plan.steps}


@attrs.frozen(kw_only=True)
class Plan:
    """Steps that can be run: made by `parse_plan`, which has checked them; not built by hand.

    Attributes:
        steps: In the order of the document, which need not be an order to run them in.
        dependencies: For each step, in plan order, whom it waits for: listed and referenced, in plan order.
            Of a sub-plan only its own steps: whom they wait for outside, the step that has the plan waits for.
        levels: The steps by the longest chain that leads to them; inside a level in plan order.
        goal: What the plan is for.
        reasoning: What the planner noted about it.
        budget: What running it may spend.
        output: Of a sub-plan, what its result is made of, as written; None: the result of its last listed step.
        outputs: Of a sub-plan, its result, ready to be resolved; None: this is no sub-plan.
    """

    steps: tuple[Step, ...]
    dependencies: Mapping[int, tuple[int, ...]]
    levels: tuple[tuple[int, ...], ...]
    goal: str | None = None
    reasoning: str | None = None
    budget: Budget | None = None
    output: object = None
    outputs: Compiled | None = attrs.field(default=None, eq=False, repr=False)
    _steps_by_id: Mapping[int, Step] = attrs.field(
        default=attrs.Factory(_by_id, takes_self=True), init=False, eq=False, repr=False
    )

    def step(self, step_id: int) -> Step:
        """The step with this id; those of sub-plans are in the plan of their step.

        Raises:
            KeyError: there is none.
        """
        if step_id not in self._steps_by_id:
            raise KeyError(f"the plan has no step {step_id}; it has {listed(self._steps_by_id)}")
        return self._steps_by_id[step_id]

    @property
    def order(self) -> tuple[int, ...]:
        """One order in which the steps can run one after another; the document's wherever that is possible."""
        return sequential(self.dependencies)

    @property
    def critical_path(self) -> tuple[int, ...]:
        """The longest chain of steps; with measured times use `critical_path` of the ready set's module."""
        return critical_path(self.dependencies)

    @property
    def needs(self) -> frozenset[int]:
        """The ids of the steps outside the plan that something in it names; none but in a sub-plan."""
        found: set[int] = set() if self.outputs is None else set(self.outputs.references)
        for step in self.steps:
            found |= step.needs
        return frozenset(found.difference(self._steps_by_id))

    @property
    def all_ids(self) -> frozenset[int]:
        """The ids of its steps and of those in their sub-plans."""
        found = set(self._steps_by_id)
        for step in self.steps:
            if step.plan is not None:
                found |= step.plan.all_ids
        return frozenset(found)

    def as_json(self) -> dict[str, object]:
        """The plan in its one canonical spelling; `parse_plan` of it gives an equal plan. The caller's to change."""
        plan: dict[str, object] = {n: note for n in ("goal", "reasoning") if (note := getattr(self, n)) is not None}
        if self.budget is not None:
            plan["budget"] = self.budget.as_json()
        plan["steps"] = [step.as_json() for step in self.steps]
        if self.output is not None:
            plan["output"] = fresh_copy(self.output)
        return plan

    def as_mermaid(self) -> str:
        """The plan as a Mermaid flowchart, an arrow from each dependency to the step that waits for it."""
        boxes = [f'  s{step.id}["{step.id} {_mermaid_text(step.action)}"]' for step in self.steps]
        arrows = [f"  s{d} --> s{step}" for step, needs in self.dependencies.items() for d in needs]
        return "\n".join(["graph TD", *boxes, *arrows]) + "\n"


def _mermaid_text(text: str) -> str:
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("\n", " ")
