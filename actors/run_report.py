"""What a run spent its time on, read off its outcome: rows for a Gantt, the critical path, what waiting cost.

How a step's times are read: it is `ready` when its inputs are there; then a person is asked (`waits["approval"]`), then
it waits for a slot until it has `started`; until it has `ended` its tool works, it backs off between attempts, and
where its verdict gates others it waits for that.

The critical path is the *measured* one: from the step that ended last back to whatever let it begin, which is the
dependency that ended last, or, where its inputs were there before it got a slot, the step that gave the slot back.
What is on that path is what the run's time went to; the rest had time to spare.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from trouper.runtime import Seconds

from .outcome import Outcome, StepOutcome, StepStatus
from .run_advice import KINDS, Advice, Scheduling, advise, costs
from .run_times import JITTER, Timed, inner_steps, timed_steps, works_of

NOTICEABLE: Seconds = 1e-3
"""A shorter wait for a slot is the program's own time between two steps."""


class Held(enum.Enum):
    """What a step on the critical path waited for last."""

    START = "start"
    DEPENDENCY = "dependency"
    SLOT = "slot"
    BUSY = "busy"
    """There were slots: the tool, its kind of effect or the event loop took no more."""
    BARRIER = "barrier"


@attrs.frozen(kw_only=True)
class ReportRow:
    """One line of the Gantt. Times are seconds since the run began; a step that never began has none."""

    label: str
    """The step's id; `3.4` is step 4 in the sub-plan of step 3, `3[0]` the first element of its `for_each`."""
    action: str
    level: int
    depth: int
    status: StepStatus
    note: str = ""
    """Why it is not ok."""
    ready: Seconds | None = None
    started: Seconds | None = None
    ended: Seconds | None = None
    critical: bool = False
    """Whether it is on the critical path."""

    @property
    def seconds(self) -> Seconds | None:
        """How long it took; None if it never began."""
        return None if self.started is None or self.ended is None else self.ended - self.started


@attrs.frozen(kw_only=True)
class Link:
    """One step of the critical path and what let it begin."""

    step: int
    held_by: Held
    took: Seconds
    """What of its time lies on the path."""


@attrs.frozen(kw_only=True)
class Waited:
    """Seconds of one kind of waiting, of all steps together, and by how much the run was longer for it."""

    kind: str
    total: Seconds
    cost: Seconds | None = None
    """None: it cannot be said."""


@attrs.frozen(kw_only=True)
class RunReport:
    """See the head of the file."""

    rows: tuple[ReportRow, ...]
    span: Seconds
    """From the beginning of the run to the end of its last step."""
    chain: Seconds
    """The longest chain of steps that needed each other: no number of slots makes the run shorter than that."""
    path: tuple[Link, ...]
    waits: tuple[Waited, ...]
    advice: tuple[Advice, ...] = ()


def report_of(outcome: Outcome, scheduling: Scheduling | None = None) -> RunReport:
    """The report of a run; without the flags it was scheduled by there is no advice."""
    plan = outcome.plan
    timed = timed_steps(plan, outcome.steps) if plan is not None else {}
    barrier = scheduling is not None and scheduling.level_barrier
    path = _walk_back(timed, barrier=barrier, slots=scheduling.slots if scheduling is not None else None)
    span = max((one.ended for one in timed.values()), default=0.0)
    works = works_of(plan, timed) if plan is not None else {}
    waits = _waits(outcome, timed, barrier=barrier)
    cost = {} if scheduling is None else costs(works, scheduling, span, KINDS & waits.keys())
    return RunReport(
        rows=tuple(_rows(outcome, frozenset(link.step for link in path))),
        span=span,
        chain=min(_chain(timed), span),
        path=path,
        waits=tuple(_waited(kind, total, cost.get(kind)) for kind, total in waits.items()),
        advice=() if scheduling is None else advise(works, scheduling, span),
    )


# ------------------------------------------------------------------ rows
def _rows(outcome: Outcome, critical: frozenset[int]) -> Iterator[ReportRow]:
    plan = outcome.plan
    levels = {} if plan is None else {step: n for n, level in enumerate(plan.levels) for step in level}
    for generation, given_up in enumerate(outcome.replans, 1):
        for step in given_up.failed.values():
            yield from _rows_of(step, f"{step.id} (plan {generation})", 0, 0, critical=False)
    for step in outcome.steps.values():
        yield from _rows_of(step, str(step.id), levels.get(step.id, 0), 0, critical=step.id in critical)


def _rows_of(step: StepOutcome, label: str, level: int, depth: int, *, critical: bool) -> Iterator[ReportRow]:
    yield ReportRow(
        label=label,
        action=step.action,
        level=level,
        depth=depth,
        status=step.status,
        note=_note(step),
        ready=step.ready if step.ready is not None else step.started,
        started=step.started,
        ended=step.ended,
        critical=critical,
    )
    for n, item in enumerate(step.items):
        yield from _rows_of(item, f"{label}[{n}]", level, depth + 1, critical=False)
    for inner in step.steps.values():
        yield from _rows_of(inner, f"{label}.{inner.id}", level, depth + 1, critical=False)
    if step.compensation is not None:
        yield from _rows_of(step.compensation, f"{label} undone", level, depth + 1, critical=False)


def _note(step: StepOutcome) -> str:
    if step.status is StepStatus.OK:
        return "fallback" if step.fallback else ""
    why = step.reason or (step.error.kind if step.error is not None else "")
    return why if step.cause is None else f"{why} {step.cause}"


# ------------------------------------------------------------------ the critical path
def _chain(timed: Mapping[int, Timed]) -> Seconds:
    """The longest chain by measured times; linear, in the order in which the steps became ready."""
    through: dict[int, Seconds] = {}
    for one in sorted(timed.values(), key=lambda t: (t.ended, t.started)):
        before = max((through.get(need, 0.0) for need in one.needs), default=0.0)
        through[one.id] = before + one.ended - one.started
    return max(through.values(), default=0.0)


def _walk_back(timed: Mapping[int, Timed], *, barrier: bool, slots: int | None) -> tuple[Link, ...]:
    if not timed:
        return ()
    by_freed = sorted(timed.values(), key=lambda one: (one.freed, one.id))
    moments = [one.freed for one in by_freed]
    taken = _Taken(timed.values(), slots)
    at: Timed | None = max(timed.values(), key=lambda one: one.ended)
    until = at.ended if at is not None else 0.0
    links: list[Link] = []
    seen: set[int] = set()
    while at is not None:
        seen.add(at.id)
        holder = _gave_the_slot(at, by_freed, moments, seen) if at.queued >= NOTICEABLE else None
        if holder is not None:
            held = Held.BARRIER if barrier and holder.level < at.level else Held.SLOT
            if held is Held.SLOT and taken.had_more(max(at.ready, holder.started), holder):
                held = Held.BUSY
        else:
            holder = max((timed[i] for i in at.needs if i not in seen), key=lambda one: one.ended, default=None)
            held = Held.START if holder is None else Held.DEPENDENCY
        links.append(Link(step=at.id, held_by=held, took=max(0.0, until - at.started)))
        if holder is not None:
            until = min(until, at.started, holder.ended if held is Held.DEPENDENCY else holder.freed)
        at = holder
    return tuple(reversed(links))


class _Taken:
    """How many of the `slots` were taken when; a step that is made of others takes none, they do."""

    def __init__(self, timed: Iterable[Timed], slots: int | None) -> None:
        self._slots = slots
        timed = tuple(timed)
        all_ = [one for one in (*timed, *inner_steps(timed)) if not one.made_of]
        self._from = sorted(one.started for one in all_)
        self._until = sorted(one.freed for one in all_)

    def had_more(self, ready: Seconds, holder: Timed) -> bool:
        """Whether there was another, half way between there and when `holder` gave its own back."""
        moment = (ready + holder.freed) / 2
        taken = bisect_right(self._from, moment) - bisect_right(self._until, moment)
        return self._slots is not None and taken < self._slots


def _gave_the_slot(one: Timed, by_freed: Sequence[Timed], moments: Sequence[Seconds], seen: set[int]) -> Timed | None:
    """The last step that gave a slot back while this one waited for one."""
    at = bisect_right(moments, one.started + JITTER)
    while at and moments[at - 1] > one.ready + JITTER:
        at -= 1
        if by_freed[at].id not in seen and by_freed[at].started < one.started:
            return by_freed[at]
    return None


# ------------------------------------------------------------------ waiting
def _waits(outcome: Outcome, timed: Mapping[int, Timed], *, barrier: bool) -> dict[str, Seconds]:
    """The seconds of each kind of waiting that there was."""
    began = min((one.ready for one in timed.values()), default=0.0)
    everyone = [*timed.values(), *inner_steps(timed.values())]
    behind_barrier = _behind_barrier(timed) if barrier else 0.0
    totals = {
        "dependencies": sum(one.ready - began for one in timed.values()),
        "slots": sum(one.queued for one in everyone) - behind_barrier,
        "barrier": behind_barrier,
        "approval": sum(one.approval for one in everyone),
        "verifier": sum(one.verifier for one in everyone),
        "backoff": sum(one.backoff for one in everyone),
    }
    for kind, seconds in _others(outcome):
        totals[kind] = totals.get(kind, 0.0) + seconds
    return {kind: total for kind, total in totals.items() if total >= NOTICEABLE}


def _waited(kind: str, total: Seconds, cost: Seconds | None) -> Waited:
    # What comes between a failed plan and the next one is not all planning: no wait costs more than it took.
    return Waited(kind=kind, total=total, cost=None if cost is None else min(cost, total))


def _behind_barrier(timed: Mapping[int, Timed]) -> Seconds:
    """How long steps were kept back by levels before theirs, with everything that they need there."""
    over: dict[int, Seconds] = {}
    for one in timed.values():
        over[one.level] = max(over.get(one.level, 0.0), one.ended)
    opened: dict[int, Seconds] = {}
    latest = 0.0
    for level in sorted(over):
        opened[level], latest = latest, max(latest, over[level])
    return sum(max(0.0, min(one.started, opened[one.level]) - one.ready - one.approval) for one in timed.values())


def _others(outcome: Outcome) -> Iterator[tuple[str, Seconds]]:
    """What the run as a whole waited for, and the steps for what is not a kind of its own above."""
    yield from outcome.waits.items()
    for step in outcome.steps.values():
        yield from ((kind, seconds) for kind, seconds in step.waits.items() if kind not in _OF_STEPS)


_OF_STEPS = frozenset({"approval", "verifier", "backoff"})
