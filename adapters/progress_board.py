"""What is known of a run in progress, folded from its events: pure, for whoever draws it."""

from __future__ import annotations

import enum
from collections import Counter

import attrs

from trouper.actors.outcome import Outcome, StepStatus
from trouper.actors.records import (
    ApprovalAsked,
    ApprovalGiven,
    AttemptFailed,
    BudgetLow,
    Compensated,
    LevelStarted,
    LoopBlocked,
    PlanGivenUp,
    PlanReady,
    RunEnded,
    RunResumed,
    RunStarted,
    StepEnded,
    StepProgress,
    StepStarted,
    VerdictGiven,
)
from trouper.runtime import ActorRestarting, Event


class Mark(enum.Enum):
    """What a step is doing."""

    WAITING = "waiting"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    IN_DOUBT = "in doubt"
    ASKED = "asks you"


_MARKS = {
    StepStatus.OK: Mark.OK,
    StepStatus.FAILED: Mark.FAILED,
    StepStatus.SKIPPED: Mark.SKIPPED,
    StepStatus.CANCELLED: Mark.CANCELLED,
    StepStatus.WAITING: Mark.WAITING,
    StepStatus.IN_DOUBT: Mark.IN_DOUBT,
}

# The order in which steps get a line when there are not lines enough for all.
_URGENCY = {Mark.ASKED: 0, Mark.RUNNING: 0, Mark.FAILED: 1, Mark.IN_DOUBT: 1, Mark.CANCELLED: 2, Mark.OK: 3}
_LEAST_URGENT = 4


@attrs.define
class Row:
    """One step. `began` and `ended` are on trio's clock."""

    step: int
    action: str
    level: int
    mark: Mark = Mark.WAITING
    attempt: int = 0
    began: float | None = None
    ended: float | None = None
    note: str = ""
    """What the tool said last, or why the step failed."""
    verdict: str = ""
    parts: int = 0
    """Elements of its `for_each` that have ended."""

    def seconds(self, now: float) -> float | None:
        """How long it has been running, or ran; None if it never began."""
        return None if self.began is None else (now if self.ended is None else self.ended) - self.began


@attrs.define
class Board:
    """The state of the run that is being watched."""

    goal: str = ""
    planner: str = ""
    began: float | None = None
    ended: float | None = None
    status: str = ""
    restarts: int = 0
    replans: int = 0
    warning: str = ""
    """What somebody who watches should know: a budget that is nearly spent, a tool that holds up the program."""
    rows: dict[int, Row] = attrs.field(factory=dict)
    levels_started: set[int] = attrs.field(factory=set)
    before: Outcome | None = None
    """What the run had come to when it was suspended, if this is one that goes on."""

    def take(self, event: Event) -> None:
        """Take one event into account; those it does not know change nothing."""
        if isinstance(event, RunStarted):
            self.__init__()  # type: ignore[misc]  # a new run on a clean board
            self.goal, self.began = event.goal or "", event.at
        elif isinstance(event, RunResumed):
            self._go_on(event)
        elif isinstance(event, PlanReady):
            self._take_plan(event)
        elif isinstance(event, LevelStarted):
            self.levels_started.add(event.level)
        elif isinstance(event, ActorRestarting):
            self.restarts += 1
        elif isinstance(event, RunEnded):
            self.ended, self.status = event.at, event.outcome.status.value
        elif isinstance(event, PlanGivenUp):
            self.warning = f"planning again: {event.why}"
        elif isinstance(event, BudgetLow):
            self.warning = f"{event.used:g} of {event.limit:g} {event.what} of the budget are spent"
        elif isinstance(event, LoopBlocked):
            self.warning = f"step {event.step} ({event.action}) held up the program for {event.seconds:.2f} s"
        elif getattr(event, "inside", ()):
            self._take_part(event)
        else:
            self._take_step(event)

    def _go_on(self, event: RunResumed) -> None:
        """The rows of what was known before; what waited then waits again."""
        known = self.before
        if known is None or known.plan is None or known.run_id != event.run_id:
            return
        self.began, self.ended, self.status = event.at - event.elapsed, None, ""
        self.goal, self.planner = known.goal or "", known.planner or ""
        levels = {step: n for n, level in enumerate(known.plan.levels) for step in level}
        for step in known.plan.steps:
            row = self.rows[step.id] = Row(step.id, step.action, levels[step.id])
            outcome = known.steps.get(step.id)
            if outcome is not None and outcome.started is not None and outcome.ended is not None:
                row.mark, row.attempt = _MARKS[outcome.status], outcome.attempts
                row.began, row.ended = self.began + outcome.started, self.began + outcome.ended

    def _take_plan(self, event: PlanReady) -> None:
        """A new plan takes the rows of the finished steps over from the one before."""
        levels = {step: n for n, level in enumerate(event.plan.levels) for step in level}
        done = {i: row for i, row in self.rows.items() if row.mark is Mark.OK} if event.generation > 1 else {}
        self.rows = {s.id: done.get(s.id) or Row(s.id, s.action, levels[s.id]) for s in event.plan.steps}
        for row in done.values():
            row.level = levels.get(row.step, row.level)
        self.planner = event.planner
        self.replans, self.warning = event.generation - 1, ""

    def _take_part(self, event: Event) -> None:
        """Something inside a step: an element of its `for_each`, or a step of its sub-plan."""
        outer = self.rows.get(event.inside[0])  # type: ignore[attr-defined]  # `take` has looked
        if outer is None:
            return
        if isinstance(event, StepEnded):
            outer.parts += 1
            outer.note = f"{outer.parts} done"
        elif isinstance(event, ApprovalAsked):
            outer.mark, outer.note = Mark.ASKED, event.question

    def _take_step(self, event: Event) -> None:
        if isinstance(event, StepStarted) and (row := self.rows.get(event.step)):
            row.mark, row.attempt = Mark.RUNNING, event.attempt
            row.began = event.at if row.began is None else row.began
        elif isinstance(event, StepProgress) and (row := self.rows.get(event.step)):
            row.note = event.text
        elif isinstance(event, AttemptFailed) and (row := self.rows.get(event.step)):
            row.note = f"{event.error.message}; again in {event.pause:.1f} s"
        elif isinstance(event, ApprovalAsked) and (row := self.rows.get(event.step)):
            row.mark, row.note = Mark.ASKED, event.question
        elif isinstance(event, ApprovalGiven) and (row := self.rows.get(event.step)):
            row.mark, row.note = Mark.WAITING, ""
        elif isinstance(event, Compensated) and (row := self.rows.get(event.step)):
            row.note = "undone" if event.outcome.status is StepStatus.OK else "could not be undone"
        elif isinstance(event, VerdictGiven) and (row := self.rows.get(event.step)):
            row.verdict = event.verdict.verdict.value
        elif isinstance(event, StepEnded) and (row := self.rows.get(event.outcome.id)):
            outcome = event.outcome
            row.mark, row.ended = _MARKS[outcome.status], event.at
            row.note = outcome.error.message if outcome.error is not None else ""

    def counts(self) -> Counter[Mark]:
        """How many steps are in each state."""
        return Counter(row.mark for row in self.rows.values())

    def shown(self, most: int) -> list[Row]:
        """At most `most` rows in plan order, level by level: what runs, then what failed, then what ended last."""
        rows = list(self.rows.values())
        if len(rows) > most:
            rows = sorted(rows, key=lambda r: (_URGENCY.get(r.mark, _LEAST_URGENT), -(r.ended or 0.0)))[:most]
        return sorted(rows, key=lambda r: (r.level, r.step))
