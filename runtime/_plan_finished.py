"""What a new plan takes over from the one before it: the steps that have finished, and ids that are used up.

A replan goes on where a run stands. The finished steps are part of the new plan and never run again; the new steps may
refer to them. A planner that repeats a finished step means that step; one that gives its id to something else has made
a mistake, since nobody could tell any more whose result it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs

from ._plan_data import same
from ._plan_draft import Draft
from ._step import Step


@attrs.frozen
class Before:
    """The finished steps, who of them waited for whom, and the ids that no new step may have."""

    steps: Mapping[int, Step]
    graph: Mapping[int, tuple[int, ...]]
    taken: Collection[int]


def before(finished: Mapping[int, Step] | None, taken: Collection[int]) -> Before:
    """What has gone before, from the steps that have finished and the other ids that are used up."""
    steps = {} if finished is None else dict(finished)
    place = {step: n for n, step in enumerate(steps)}
    graph = {
        key: tuple(sorted((need for need in step.needs if need in place), key=place.__getitem__))
        for key, step in steps.items()
    }
    inside = (step.plan.all_ids for step in steps.values() if step.plan is not None)
    return Before(steps, graph, frozenset(taken).union(*inside) - steps.keys())


NOTHING_BEFORE: Final = before(None, ())


def without_finished(drafts: Iterable[Draft], before: Before) -> list[Draft]:
    """The drafts of new steps: those that only repeat a finished one (the first time) are left out."""
    repeated: set[int] = set()
    new: list[Draft] = []
    for draft in drafts:
        finished = None if draft.id is None or draft.id in repeated else before.steps.get(draft.id)
        if finished is not None and _repeats(draft, finished):
            repeated.add(finished.id)
        else:
            new.append(draft)
    return new


def _repeats(draft: Draft, step: Step) -> bool:
    if draft.inner is None or step.plan is None:
        same_deed = draft.inner is None and step.plan is None and draft.action == step.action
        return same_deed and draft.parameters is not None and same(draft.parameters, step.parameters)
    return _same_plan(draft.inner.drafts, step.plan.steps)


def _same_plan(drafts: Sequence[Draft], steps: Sequence[Step]) -> bool:
    if len(drafts) != len(steps):
        return False
    return all(d.id == step.id and _repeats(d, step) for d, step in zip(drafts, steps, strict=True))


def old_steps(before: Before) -> tuple[Step, ...]:
    """The finished steps as part of a new plan: what they list is only what is still there."""
    return tuple(_restricted(step, before.steps) for step in before.steps.values())


def _restricted(step: Step, there: Mapping[int, Step]) -> Step:
    left = tuple(need for need in step.dependencies if need in there)
    return step if left == step.dependencies else attrs.evolve(step, dependencies=left)
