"""What is known of a run by its records, whatever became of the program that wrote them."""

from __future__ import annotations

import pytest

from trouper.actors.outcome import ErrorInfo, Outcome, Question, RunStatus, StepOutcome, StepStatus
from trouper.actors.records import (
    ApprovalAsked,
    ApprovalGiven,
    PlanReady,
    Record,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
)
from trouper.actors.run_history import History, RunState, history_of
from trouper.actors.tool import Effect
from trouper.runtime import parse_plan

PLAN = parse_plan([{"id": 1, "action": "a"}, {"id": 2, "action": "b", "dependencies": [1]}])
OK = StepOutcome(id=1, action="a", status=StepStatus.OK, result="x", started=0.0, ended=1.0)


def record(kind: type[Record], at: float = 0.0, **fields: object) -> Record:
    return kind(at=at, actor="o", run_id="r", **fields)


BEGINNING = (
    record(RunStarted, 10.0, goal="tidy up"),
    record(PlanReady, 10.0, plan=PLAN, planner="llm"),
    record(StepStarted, 10.0, step=1, action="a", attempt=1, effect=Effect.PURE),
    record(StepEnded, 11.0, outcome=OK),
)


def known(*records: Record) -> History:
    history = history_of(records)
    assert history is not None
    return history


def test_a_run_that_has_ended_is_what_it_said_it_was():
    outcome = Outcome(run_id="r", status=RunStatus.FAILED, error=ErrorInfo("k", "m"))

    assert known(*BEGINNING, record(RunEnded, outcome=outcome)) == History(state=RunState.ENDED, outcome=outcome)


def test_a_run_that_waits_is_suspended_with_the_questions_that_nobody_has_answered():
    questions = (Question(step=2, question="b?"), Question(step=3, question="c?"))
    ended = record(RunEnded, outcome=Outcome(run_id="r", status=RunStatus.WAITING, questions=questions))

    before = known(*BEGINNING, ended)
    after = known(*BEGINNING, ended, record(ApprovalGiven, step=2, ok=True))

    assert (before.state, before.outcome.questions) == (RunState.SUSPENDED, questions)
    assert (after.state, after.outcome.questions) == (RunState.SUSPENDED, questions[1:])


def test_a_run_that_goes_on_after_it_was_suspended_is_not_suspended():
    ended = record(RunEnded, outcome=Outcome(run_id="r", status=RunStatus.WAITING))

    assert known(*BEGINNING, ended, record(StepEnded, outcome=OK)).state is RunState.UNFINISHED


def test_a_run_without_an_end_has_what_was_finished_and_what_was_in_hand():
    history = known(*BEGINNING, record(StepStarted, 12.5, step=2, action="b", attempt=1, effect=Effect.PURE))

    assert history.state is RunState.UNFINISHED
    assert (history.outcome.goal, history.outcome.planner, history.outcome.status) == (
        "tidy up",
        "llm",
        RunStatus.CANCELLED,
    )
    assert history.outcome.steps[1] == OK
    assert (history.outcome.steps[2].status, history.outcome.steps[2].started) == (StepStatus.CANCELLED, 2.5)
    assert history.outcome.error.kind == "interrupted"


def test_a_once_tool_in_hand_leaves_the_run_in_doubt():
    history = known(*BEGINNING, record(StepStarted, 12.5, step=2, action="b", attempt=1, effect=Effect.ONCE))

    assert history.outcome.status is RunStatus.IN_DOUBT
    assert history.outcome.steps[2].status is StepStatus.IN_DOUBT
    assert history.outcome.steps[2].in_doubt


def test_what_an_unfinished_run_asks_is_known():
    history = known(*BEGINNING, record(ApprovalAsked, step=2, question="May I?"))

    assert history.outcome.questions == (Question(step=2, question="May I?"),)


def test_a_run_that_was_stopped_before_it_had_a_plan_is_known_too():
    history = known(BEGINNING[0])

    assert (history.outcome.plan, history.outcome.steps) == (None, {})


def test_no_records_are_no_history_and_records_without_a_beginning_an_error():
    assert history_of(()) is None
    with pytest.raises(ValueError, match="RunStarted"):
        history_of(BEGINNING[1:])
