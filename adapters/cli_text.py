"""Plans and outcomes as text for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from trouper.actors.outcome import SUSPENDED, Outcome, RunStatus, StepStatus, VerdictKind
from trouper.runtime import Plan, Step

MOST_STEPS = 200
"""Steps of a plan that are written out."""
MOST_IDS = 40
"""Ids of a level that are written out."""
_VALUE = 60


def plan_text(plan: Plan) -> str:
    """The steps level by level, each with its parameters and whom it waits for."""
    return "\n".join(_plan_lines(plan))


def levels_text(plan: Plan) -> str:
    """How many steps and levels there are, and who is in which."""
    lines = [f"{_count(len(plan.steps), 'step')} in {_count(len(plan.levels), 'level')}"]
    lines += [f"  level {n}: {_ids(level)}" for n, level in enumerate(plan.levels[:MOST_STEPS])]
    if len(plan.levels) > MOST_STEPS:
        lines.append(f"  ... and {len(plan.levels) - MOST_STEPS:,} more levels (--json has them all)")
    return "\n".join(lines)


def failure_text(outcome: Outcome) -> str | None:
    """What went wrong in a run, or what somebody should know of one that went well; None if nothing."""
    lines = list(_failure_lines(outcome))
    return "\n".join(lines) if lines else None


def _plan_lines(plan: Plan) -> Iterator[str]:
    left = MOST_STEPS
    for n, level in enumerate(plan.levels):
        if left <= 0:
            yield f"... and {len(plan.steps) - MOST_STEPS:,} more steps (--json has them all)"
            return
        yield f"level {n}"
        yield from (f"  {_step_text(plan.step(i), plan.dependencies[i])}" for i in level[:left])
        left -= len(level)


def _step_text(step: Step, after: Sequence[int]) -> str:
    given = " ".join(f"{name}={_value(value)}" for name, value in step.parameters.items())
    waits = f"  (after {_ids(after)})" if after else ""
    return f"{step.id}  {step.action} {given}".rstrip() + waits


def _value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE else text[: _VALUE - 3] + "..."


def _ids(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:MOST_IDS]))
    return shown if len(ids) <= MOST_IDS else f"{shown}, ... ({len(ids):,} steps)"


def _failure_lines(outcome: Outcome) -> Iterator[str]:
    if outcome.status in SUSPENDED:
        doubt = outcome.status is RunStatus.IN_DOUBT
        waits = "the run is in doubt; say what has happened:" if doubt else "the run waits for a person:"
        yield waits if outcome.questions else "the run is suspended; what it asked is answered"
        yield from (f"  step {question.address}: {question.question}" for question in outcome.questions)
    elif outcome.status is not RunStatus.SUCCESS:
        why = f": {outcome.error.message}" if outcome.error is not None else ""
        yield f"the run {outcome.status.value.replace('_', ' ')}{why}" if why else f"the run: {outcome.status.value}"
    for step in outcome.steps.values():
        told = outcome.error is not None and step.error is not None and step.error.message in outcome.error.message
        if step.status is StepStatus.FAILED and step.error is not None and not told:
            yield f"step {step.id} ({step.action}) failed: {step.error.message}"
        if step.in_doubt and outcome.status is not RunStatus.IN_DOUBT:
            yield f"step {step.id} ({step.action}) is in doubt: it was interrupted, its effect may have happened or not"
    for i, verdict in outcome.verdicts.items():
        if verdict.verdict is VerdictKind.REFUTED and outcome.status is not RunStatus.FAILED:
            yield f"the verifier refuted step {i}: {'; '.join(verdict.problems)}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
