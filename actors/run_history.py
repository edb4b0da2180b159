"""What the journal knows of a run, also of one that never came to its end: an outcome, and what it is doing now."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from trouper.runtime import Record

from .doubts import doubt_about
from .outcome import SUSPENDED, ErrorInfo, Outcome, RunStatus, StepOutcome, StepStatus
from .records import ApprovalGiven, PlanReady, RunEnded, RunStarted
from .replay import replay
from .runlog import RunLog
from .tool import Effect

INTERRUPTED = ErrorInfo("interrupted", "the program that ran it has gone; `trouper resume` goes on with it")


class RunState(enum.Enum):
    """Where a run is."""

    ENDED = "ended"
    SUSPENDED = "suspended"
    """It waits for a person, and no program has it in hand."""
    UNFINISHED = "unfinished"
    """It is at work, or its program has gone: the records do not tell which."""


@attrs.frozen(kw_only=True)
class History:
    """A run as its records have it."""

    state: RunState
    outcome: Outcome


def history_of(records: Sequence[Record]) -> History | None:
    """Fold the records of one run, oldest first; None if there are none.

    A run that never ended is `cancelled` here with the error `interrupted`, or `in_doubt` if a ONCE tool was in hand.

    Raises:
        ValueError: they do not begin with `RunStarted`.
    """
    if not records:
        return None
    ended = [n for n, record in enumerate(records) if isinstance(record, RunEnded)]
    if ended and all(isinstance(record, ApprovalGiven) for record in records[ended[-1] + 1 :]):
        last = records[ended[-1]]
        assert isinstance(last, RunEnded)  # noqa: S101 - that is how it was found
        if last.outcome.status not in SUSPENDED:
            return History(state=RunState.ENDED, outcome=last.outcome)
        return History(state=RunState.SUSPENDED, outcome=_answered(last.outcome, records[ended[-1] + 1 :]))
    return History(state=RunState.UNFINISHED, outcome=_unfinished(records))


def _answered(outcome: Outcome, after: Sequence[Record]) -> Outcome:
    """The outcome without the questions that have been answered since."""
    answers = [record for record in after if isinstance(record, ApprovalGiven)]
    named = {(record.step, record.inside) for record in answers}
    by_id = {record.step for record in answers if record.inside is None}
    left = (q for q in outcome.questions if q.step not in by_id and (q.step, q.inside) not in named)
    return attrs.evolve(outcome, questions=tuple(left))


def _unfinished(records: Sequence[Record]) -> Outcome:
    log = replay(records)
    for place, step in log.cut_off_once():
        if step not in place.doubts:  # nobody has gone on with it yet, and so nobody was asked
            place.doubt(doubt_about(place, step))
    steps = {**log.outcomes, **_in_hand(log)}
    doubt = any(step.in_doubt for step in steps.values())
    plans = [record for record in records if isinstance(record, PlanReady)]
    return Outcome(
        run_id=log.run_id,
        goal=next((record.goal for record in records if isinstance(record, RunStarted)), None),
        status=RunStatus.IN_DOUBT if doubt else RunStatus.CANCELLED,
        attempts=max(1, len(plans)),
        plan=log.plan,
        planner=plans[-1].planner if plans else None,
        steps=steps if log.plan is None else {s.id: steps[s.id] for s in log.plan.steps if s.id in steps},
        verdicts=dict(log.verdicts),
        questions=log.open_questions(),
        replans=tuple(log.replans),
        error=INTERRUPTED,
    )


def _in_hand(log: RunLog) -> dict[int, StepOutcome]:
    """The steps that had begun: nobody wrote down how they ended."""
    found: dict[int, StepOutcome] = {}
    for step in log.interrupted():
        begun = log.begun(step)
        if begun is None:
            continue
        once = begun.effect is Effect.ONCE and step not in log.decisions
        found[step] = StepOutcome(
            id=step,
            action=begun.action,
            status=StepStatus.IN_DOUBT if once else StepStatus.CANCELLED,
            attempts=begun.attempt,
            parameters=begun.parameters,
            error=INTERRUPTED,
            in_doubt=once,
            started=begun.at,
        )
    return found
