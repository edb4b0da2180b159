"""What is known of a run in progress, folded from its events: pure, for whoever draws it."""

from __future__ import annotations

import enum
from collections import Counter

import attrs

from trouper.actors.messages import (
    LevelStarted,
    PlanReady,
    RunEnded,
    RunStarted,
    StepEnded,
    StepProgress,
    StepStarted,
    VerdictGiven,
)
from trouper.actors.outcome import StepStatus
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


_MARKS = {
    StepStatus.OK: Mark.OK,
    StepStatus.FAILED: Mark.FAILED,
    StepStatus.SKIPPED: Mark.SKIPPED,
    StepStatus.CANCELLED: Mark.CANCELLED,
    StepStatus.WAITING: Mark.WAITING,
    StepStatus.IN_DOUBT: Mark.IN_DOUBT,
}

# The order in which steps get a line when there are not lines enough for all.
_URGENCY = {Mark.RUNNING: 0, Mark.FAILED: 1, Mark.IN_DOUBT: 1, Mark.CANCELLED: 2, Mark.OK: 3}
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
    rows: dict[int, Row] = attrs.field(factory=dict)
    levels_started: set[int] = attrs.field(factory=set)

    def take(self, event: Event) -> None:
        """Take one event into account; those it does not know change nothing."""
        if isinstance(event, RunStarted):
            self.__init__()  # type: ignore[misc]  # a new run on a clean board
            self.goal, self.began = event.goal or "", event.at
        elif isinstance(event, PlanReady):
            levels = {step: n for n, level in enumerate(event.plan.levels) for step in level}
            self.rows = {s.id: Row(s.id, s.action, levels[s.id]) for s in event.plan.steps}
            self.planner = event.planner
        elif isinstance(event, LevelStarted):
            self.levels_started.add(event.level)
        elif isinstance(event, ActorRestarting):
            self.restarts += 1
        elif isinstance(event, RunEnded):
            self.ended, self.status = event.at, event.outcome.status.value
        else:
            self._take_step(event)

    def _take_step(self, event: Event) -> None:
        if isinstance(event, StepStarted) and (row := self.rows.get(event.step)):
            row.mark, row.attempt = Mark.RUNNING, event.attempt
            row.began = event.at if row.began is None else row.began
        elif isinstance(event, StepProgress) and (row := self.rows.get(event.step)):
            row.note = event.text
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
