"""Which of a plan's policies are carried out. One that is not is refused: nothing is passed over in silence."""

from __future__ import annotations

from trouper.runtime import Plan, PlanError, PlanProblem

NOT_YET = ("condition", "for_each", "join", "approval", "compensate")
"""Policies that plans may have and `check` understands, and that are not executed yet."""

_NOTHING: tuple[object, ...] = (None, False, "all")
"""What says the same as leaving the policy out."""


def unsupported(plan: Plan) -> tuple[PlanProblem, ...]:
    """One problem for each policy in the plan that would not be carried out."""
    return tuple(
        PlanProblem(
            kind="unsupported_policy",
            step=step.id,
            path=f"steps[{place}].{name}",
            message=f"`{name}` is not executed yet: the plan can be checked but not run; take it out of step {step.id}",
        )
        for place, step in enumerate(plan.steps)
        for name in NOT_YET
        if getattr(step, name) not in _NOTHING
    )


def require_supported(plan: Plan) -> Plan:
    """The plan itself; raises `PlanError` with every policy that would not be carried out."""
    problems = unsupported(plan)
    if problems:
        raise PlanError(problems)
    return plan
