"""From the records of a run to its state: the fold that showing, answering and resuming begin with."""

from __future__ import annotations

from collections.abc import Iterable

from trouper.runtime import Record

from .outcome import Question
from .records import (
    ApprovalAsked,
    ApprovalGiven,
    AttemptFailed,
    Compensated,
    PlanGivenUp,
    PlanReady,
    PlanRetracted,
    RunResumed,
    RunStarted,
    StepEnded,
    StepStarted,
    ToolReturned,
    VerdictGiven,
)
from .runlog import RunLog, began_at


def replay(records: Iterable[Record]) -> RunLog:
    """The log that these records of one run, oldest first, add up to.

    Raises:
        ValueError: they do not begin with `RunStarted`.
    """
    log: RunLog | None = None
    for record in records:
        if isinstance(record, RunStarted):
            log = log or RunLog(record.run_id, None, began=record.at)
        elif log is None:
            raise ValueError(
                f"the records of {record.run_id!r} begin with {type(record).__name__}, not with RunStarted"
            )
        else:
            _fold(log, record)
    if log is None:
        raise ValueError("there are no records")
    if log.given_up:  # it was cut off before there was another plan
        log.take_back()
    log.place_children()
    return log


def _fold(log: RunLog, record: Record) -> None:
    if isinstance(record, RunResumed):
        log.began = began_at(record.at, record.elapsed)
        if log.given_up:  # as whoever went on did: it was cut off before there was another plan
            log.take_back()
    elif isinstance(record, PlanGivenUp):
        log.give_up()
    elif isinstance(record, PlanRetracted):
        log.retract()
    elif isinstance(record, PlanReady):
        log.adopt(record.plan)
    elif isinstance(record, StepStarted):
        place = _inside(log, record.inside)
        key = record.step if record.item is None else record.item
        place.begin(
            key,
            attempt=record.attempt,
            action=record.action,
            effect=record.effect,
            parameters=record.parameters,
            at=record.at - log.began,
        )
    elif isinstance(record, AttemptFailed):
        _inside(log, record.inside).again(record.step if record.item is None else record.item)
    elif isinstance(record, ToolReturned):
        _inside(log, record.inside).returned(record.outcome)
    elif isinstance(record, StepEnded):
        _inside(log, record.inside).correct(record.outcome, record.item)
    elif isinstance(record, VerdictGiven):
        _inside(log, record.inside).verdicts[record.step] = record.verdict
    elif isinstance(record, ApprovalAsked):
        question = Question(step=record.step, question=record.question, inside=record.inside, doubt=record.doubt)
        place = _inside(log, record.inside)
        (place.doubt if record.doubt else place.ask)(question)
    elif isinstance(record, ApprovalGiven):
        log.answer(record)
    elif isinstance(record, Compensated):
        key = record.step if record.item is None else record.item
        former = log.former(record.given_up, record.inside[0]) if record.given_up and record.inside else None
        place = _inside(log, record.inside) if former is None else _inside(former, record.inside[1:])
        place.compensated(key, record.outcome, record.given_up if place is log else None)


def _inside(log: RunLog, path: tuple[int, ...]) -> RunLog:
    for step in path:
        log = log.child(step)
    return log
