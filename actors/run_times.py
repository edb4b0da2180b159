"""The steps of a run that ran, by what they spent their time on; and the same steps as work to be scheduled again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count

import attrs

from trouper.runtime import Plan, Seconds

from .outcome import StepOutcome
from .run_advice import Work

JITTER: Seconds = 1e-5
"""Times are rounded: what differs by less is the same moment."""


@attrs.frozen(kw_only=True)
class Timed:
    """A step that ran, and whom it waited for."""

    id: int
    level: int
    needs: tuple[int, ...]
    ready: Seconds
    started: Seconds
    ended: Seconds
    approval: Seconds
    backoff: Seconds
    verifier: Seconds
    items: tuple[StepOutcome, ...] = ()
    steps: tuple[StepOutcome, ...] = ()

    @property
    def made_of(self) -> tuple[StepOutcome, ...]:
        """Elements and steps of a sub-plan."""
        return self.items + self.steps

    @property
    def freed(self) -> Seconds:
        """When it gave its slot back: a verdict is awaited without one."""
        return max(self.started, self.ended - self.verifier)

    @property
    def queued(self) -> Seconds:
        """How long it waited for a slot."""
        return max(0.0, self.started - self.ready - self.approval)


def timed_steps(plan: Plan, steps: Mapping[int, StepOutcome]) -> dict[int, Timed]:
    """The steps of the plan that ran, by id."""
    levels = {step: n for n, level in enumerate(plan.levels) for step in level}
    return {
        i: _as_timed(step, levels[i], _awaited(step, plan.dependencies.get(i, ()), steps))
        for i, step in steps.items()
        if i in levels and step.started is not None and step.ended is not None
    }


def _as_timed(step: StepOutcome, level: int, needs: tuple[int, ...]) -> Timed:
    started = max(0.0, step.started or 0.0)
    return Timed(
        id=step.id,
        level=level,
        needs=needs,
        ready=min(started, max(0.0, _ready(step))),
        started=started,
        ended=max(started, step.ended or 0.0),
        approval=step.waits.get("approval", 0.0),
        backoff=step.waits.get("backoff", 0.0),
        verifier=step.waits.get("verifier", 0.0),
        items=step.items,
        steps=tuple(step.steps.values()),
    )


def _ready(step: StepOutcome) -> Seconds:
    return step.ready if step.ready is not None else step.started or 0.0


def _awaited(step: StepOutcome, needs: Iterable[int], steps: Mapping[int, StepOutcome]) -> tuple[int, ...]:
    """The dependencies that were there in time: with `join` a step does not wait for all of them."""
    latest = _ready(step) + JITTER
    known = ((i, steps.get(i)) for i in needs)
    return tuple(
        i
        for i, need in known
        if need is not None and need.started is not None and need.ended is not None and need.ended <= latest
    )


def inner_steps(steps: Iterable[Timed]) -> Iterator[Timed]:
    """Elements and steps of sub-plans, however deep."""
    left = [(inner, one.level) for one in steps for inner in one.made_of]
    while left:
        step, level = left.pop()
        left += [(inner, level) for inner in (*step.items, *step.steps.values())]
        if step.started is not None and step.ended is not None:
            yield _as_timed(step, level, ())


def works_of(plan: Plan, timed: Mapping[int, Timed]) -> dict[int, Work]:
    """The steps as the model of the executor takes them.

    The elements of a `for_each` compete for slots like steps. A sub-plan is one piece of work that takes no slot.
    """
    fresh = count(1)
    return {i: work for one in timed.values() for i, work in _work(plan, timed, one, fresh)}


def _work(plan: Plan, timed: Mapping[int, Timed], one: Timed, fresh: Iterator[int]) -> Iterator[tuple[int, Work]]:
    came = max((timed[need].ended for need in one.needs), default=0.0)
    whole = Work(
        needs=one.needs,
        level=one.level,
        planning=max(0.0, one.ready - came),
        approval=one.approval,
        hold=max(0.0, one.ended - one.started - one.backoff - one.verifier),
        after=one.backoff,
        verdict=one.verifier,
        gated=plan.step(one.id).critical is True,
        slot=not one.made_of,
    )
    elements = [_as_timed(item, one.level, ()) for item in one.items if item.started is not None]
    if not elements or any(element.made_of for element in elements):
        yield one.id, whole
        return
    ids = [-next(fresh) for _ in elements]  # ids of steps are not negative
    for i, element in zip(ids, elements, strict=True):
        hold = element.ended - element.started - element.backoff
        yield i, attrs.evolve(whole, hold=max(0.0, hold), after=element.backoff, verdict=0.0, slot=True)
    yield one.id, attrs.evolve(whole, needs=tuple(ids), planning=0.0, approval=0.0, hold=0.0)
