"""`trouper run` and `trouper exec`: goals and ready plans, executed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from trouper.actors.outcome import SUSPENDED

from .cli_exit import BadInput, ExitCode, worst
from .cli_files import read_plan, read_stdin
from .cli_options import Call, end_with, with_options
from .cli_output import tell
from .cli_report import show_outcome
from .cli_session import Session, in_session, say_planner

if TYPE_CHECKING:
    from trouper.actors.outcome import Outcome
    from trouper.runtime import Plan


@click.command()
@click.argument("goals", nargs=-1, required=True, metavar="GOAL...")
@with_options("config", "set", "workdir", "tools", "timeout", "budget", "json", "quiet")
def run(call: Call, goals: tuple[str, ...]) -> ExitCode:
    """Plan and execute each GOAL, one after another in one troupe.

    `-` reads goals from standard input, one a line. The answer goes to stdout; the exit code is that of the
    worst goal.
    """
    return in_session(call, functools.partial(_run_goals, goals=list(all_goals(goals))))


@click.command("exec")
@click.argument("plan", metavar="PLAN.json")
@with_options("config", "set", "workdir", "tools", "timeout", "budget", "json", "quiet")
def exec_(call: Call, plan: str) -> ExitCode:
    """Execute a ready plan (`-`: from standard input); no model is needed."""
    from trouper.runtime import PlanError, parse_plan

    source: Plan | bytes = (text := read_plan(plan))
    try:
        source = parse_plan(text)  # before anything is opened; the troupe checks it against its tools
    except PlanError as error:
        if {problem.kind for problem in error.problems} <= {"invalid_json", "empty_plan"}:
            raise
        # All problems are told at once: the troupe looks at the text again, and knows the tools.
    return in_session(call, functools.partial(_run_plan, plan=source))


def all_goals(given: Sequence[str]) -> Iterator[str]:
    """The goals as they were given, `-` replaced by the lines of standard input; blank lines are none.

    Raises:
        BadInput: there is none at all, or one is not text.
    """
    if given.count("-") > 1:
        raise BadInput("`-` can be given once: standard input has only one end")
    lines = read_lines("goal") if "-" in given else []
    for goal in given:
        yield from lines if goal == "-" else [checked_text(goal, "a goal")]


def read_lines(what: str) -> list[str]:
    """The lines of standard input that are not blank.

    Raises:
        BadInput: there is none, or they are not text.
    """
    lines = [line.strip() for line in read_stdin().removeprefix("\ufeff").split("\n")]
    found = [line for line in lines if line]
    if not found:
        raise BadInput(f"there is no {what} on standard input; write one a line")
    return found


def checked_text(text: str, what: str) -> str:
    """`text`, if the bytes on the command line were text.

    Raises:
        BadInput: they were not.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{what} on the command line is not {sys.getfilesystemencoding()} text") from None
    return text


async def _run_goals(session: Session, goals: Sequence[str]) -> ExitCode:
    say_planner(session)
    codes = []
    for number, goal in enumerate(goals, 1):
        if len(goals) > 1 and not session.call.quiet:
            tell(f"goal {number} of {len(goals)}: {goal[:200]}")
        codes.append(await _run_goal(session, goal))
    return worst(codes)


async def _run_goal(session: Session, goal: str) -> ExitCode:
    call, troupe = session.call, session.troupe
    try:
        outcome = await session.watched(lambda: troupe.execute(goal, timeout=call.timeout, budget=call.budget))
        outcome = await answered(session, outcome)
    except Exception as error:  # noqa: BLE001 - becomes the code of this goal; the next one has its own
        return end_with(call, error)
    return show_outcome(call, session.config, outcome)


async def _run_plan(session: Session, plan: Plan | bytes) -> ExitCode:
    call, troupe = session.call, session.troupe
    outcome = await session.watched(lambda: troupe.run_plan(plan, timeout=call.timeout, budget=call.budget))
    return show_outcome(call, session.config, await answered(session, outcome))


async def answered(session: Session, outcome: Outcome) -> Outcome:
    """Put what the run asks to the person at the terminal, if there is one, and go on until it asks nothing more.

    Cancelled: what was answered is in the journal; the run is still suspended.
    """
    asker, troupe = session.asker, session.troupe
    while asker is not None and outcome.status in SUSPENDED and outcome.questions:
        for question in outcome.questions:
            ok = await asker.ask(question.question)
            await troupe.approve(outcome.run_id, question.address, ok)
        outcome = await go_on(session, outcome.run_id, outcome)
    return outcome


async def go_on(session: Session, run_id: str, before: Outcome | None) -> Outcome:
    """Go on with a run under the live view."""
    call, troupe = session.call, session.troupe
    work = functools.partial(troupe.resume, run_id, timeout=call.timeout, budget=call.budget)
    return await session.watched(work, before=before)
