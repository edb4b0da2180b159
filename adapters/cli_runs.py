"""`trouper runs`, `show`, `approve` and `resume`: what the journal holds, and going on with it."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import attrs
import click
import trio

from .cli_exit import BadInput, ExitCode
from .cli_options import Call, with_options
from .cli_output import tell
from .cli_report import commands_of, report_of_run, show_outcome, terminal_width
from .cli_run import answered, go_on
from .cli_session import Session, configuration, in_session, journal_of
from .cli_text import failure_text

if TYPE_CHECKING:
    from trouper.actors.outcome import Outcome
    from trouper.actors.run_history import History

    from .journal_files import FileJournal, Glance

SHOWN = 20
"""Runs that are listed."""
MOST_ANSWER = 2000
"""Characters of an answer that `show` prints."""


@attrs.frozen(kw_only=True)
class Kept:
    """A run of the journal: what it came to and when it began, or why its file cannot be read."""

    run_id: str
    glance: Glance | None = None
    history: History | None = None
    damage: str = ""

    @property
    def status(self) -> str:
        """As an outcome has it, or `running`, `interrupted`, `unreadable`."""
        from trouper.actors.run_history import RunState

        if self.history is None:
            return "unreadable" if self.damage else "empty"
        if self.history.state is RunState.UNFINISHED:
            return "running" if self.glance is not None and self.glance.held else "interrupted"
        return self.history.outcome.status.value

    @property
    def created(self) -> float:
        """Seconds since 1970."""
        return self.glance.created if self.glance is not None else 0.0


# ------------------------------------------------------------------ runs
@click.command()
@click.option("-n", "most", metavar="N", type=click.IntRange(1), default=SHOWN, help=f"At most so many; {SHOWN}.")
@with_options("config", "set", "json")
def runs(call: Call, most: int) -> ExitCode:
    """List the runs of the journal, the last one first."""
    journal = journal_of(configuration(call))
    kept = trio.run(_newest, journal, most)
    if call.as_json:
        call.results.json({"runs": [_run_json(run) for run in kept]})
    elif kept:
        call.results.text("\n".join(_table([_HEAD, *map(_cells, kept)])))
    else:
        tell(f"there are no runs in {journal.directory} yet")
    return ExitCode.SUCCESS


async def _newest(journal: FileJournal, most: int) -> list[Kept]:
    ids = await journal.runs()
    return [await _kept(journal, run_id) for run_id in reversed(ids[-most:])]


async def _kept(journal: FileJournal, run_id: str) -> Kept:
    from trouper.actors.run_history import history_of
    from trouper.runtime import JournalError

    try:
        glance = journal.glance(run_id)
        # Most runs have ended, and then the last record says it all.
        history = _of_ends(glance) or history_of(await journal.read(run_id))
    except (JournalError, ValueError) as error:
        return Kept(run_id=run_id, damage=str(error))
    return Kept(run_id=run_id, glance=glance, history=history)


def _of_ends(glance: Glance | None) -> History | None:
    from trouper.actors.records import RunEnded
    from trouper.actors.run_history import history_of

    if glance is None or glance.first is None or not isinstance(glance.last, RunEnded):
        return None
    return history_of((glance.first, glance.last))


_HEAD = ("RUN", "WHEN", "STATUS", "STEPS", "CALLS", "TOKENS", "COST", "GOAL")
_RIGHT = {"STEPS", "CALLS", "TOKENS", "COST"}


def _cells(run: Kept) -> tuple[str, ...]:
    when = _when(run.created)
    if run.history is None:
        return (run.run_id, when, run.status, "", "", "", "", run.damage)
    outcome = run.history.outcome
    usage = outcome.usage
    counts = _counts(run.history)
    return (
        run.run_id,
        when,
        run.status,
        f"{counts['ok']}/{sum(counts.values())}",
        str(usage.calls),
        str(usage.total_tokens),
        f"{usage.cost:.4g}" if usage.cost else "",
        _goal(run.history),
    )


def _goal(history: History) -> str:
    outcome = history.outcome
    if outcome.goal is not None:
        return " ".join(outcome.goal.split())[:60]
    actions = [step.action for step in outcome.plan.steps] if outcome.plan is not None else []
    return f"(a plan: {', '.join(actions[:3])}{', ...' if len(actions) > 3 else ''})" if actions else "(no plan)"


def _counts(history: History) -> Counter[str]:
    """How many steps ended how; those that never began are `pending`."""
    outcome = history.outcome
    counts = Counter(step.status.value for step in outcome.steps.values())
    planned = len(outcome.plan.steps) if outcome.plan is not None else 0
    if planned > counts.total():
        counts["pending"] = planned - counts.total()
    return counts


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for cell, width, name in zip(row, wide, _HEAD, strict=True)
        ).rstrip()
        for row in rows
    ]


def _when(created: float) -> str:
    return f"{datetime.fromtimestamp(created).astimezone():%Y-%m-%d %H:%M:%S}" if created else ""


def _run_json(run: Kept) -> dict[str, object]:
    told: dict[str, object] = {"run_id": run.run_id, "created": run.created, "status": run.status}
    if run.history is None:
        return {**told, "error": run.damage or None}
    outcome = run.history.outcome
    usage = outcome.usage
    return {
        **told,
        "goal": outcome.goal,
        "steps": dict(_counts(run.history)),
        "questions": [question.as_json() for question in outcome.questions],
        "calls": usage.calls,
        "tokens": usage.total_tokens,
        "cost": usage.cost,
        "rate_limited": usage.rate_limited,
        "error": outcome.error.as_json() if outcome.error is not None else None,
    }


# ------------------------------------------------------------------ show
@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--mermaid", is_flag=True, help="The plan as a Mermaid flowchart, with the state of each step.")
@with_options("config", "set", "json")
def show(call: Call, run_id: str, *, mermaid: bool) -> ExitCode:
    """Show RUN again: what it came to and where its time went. The beginning of its name is enough."""
    if mermaid and call.as_json:
        raise click.UsageError("give one of --mermaid and --json.")
    config = configuration(call)
    run = trio.run(_found, journal_of(config), run_id)
    if run.history is None:
        raise BadInput(run.damage or f"nothing was written down of {run.run_id}")
    outcome = run.history.outcome
    if call.as_json:
        call.results.json({**outcome.as_json(), "created": run.created, "state": run.history.state.value})
    elif mermaid:
        if outcome.plan is None:
            raise BadInput(f"{run.run_id} never had a plan")
        from .mermaid_text import mermaid_of_run

        call.results.text(mermaid_of_run(outcome.plan, outcome.steps))
    else:
        call.results.text("\n".join(_story(call, run, report_of_run(config, outcome, width=terminal_width()))))
    return ExitCode.SUCCESS


def _story(call: Call, run: Kept, report: str) -> list[str]:
    assert run.history is not None  # noqa: S101 - `show` has looked
    outcome = run.history.outcome
    lines = [f"{run.run_id}  {run.status}  {_when(run.created)}".rstrip()]
    if outcome.goal is not None:
        lines.append(f"goal: {outcome.goal}")
    if outcome.answer is not None:
        cut = outcome.answer[:MOST_ANSWER]
        lines.append(f"answer: {cut}{'...' if len(outcome.answer) > MOST_ANSWER else ''}")
    if (trouble := failure_text(outcome)) is not None:
        lines.append(trouble)
    lines += [f"  {command}" for command in commands_of(call, outcome)]
    return [*lines, report] if report else lines


async def _found(journal: FileJournal, run_id: str) -> Kept:
    return await _kept(journal, await find_run(journal, run_id))


async def find_run(journal: FileJournal, run_id: str) -> str:
    """The run that is meant: its name, or the beginning of it if there is only one such run.

    Raises:
        BadInput: there is none, or more than one.
    """
    ids = await journal.runs()
    if run_id in ids:
        return run_id
    near = [known for known in ids if run_id and known.startswith(run_id)]
    if len(near) == 1:
        return near[0]
    if near:
        raise BadInput(f"{run_id} is the beginning of {len(near)} runs: {', '.join(near[-5:])}")
    last = f"; the last one is {ids[-1]}" if ids else ""
    raise BadInput(f"there is no run {run_id!r} in {journal.directory}{last}")


# ------------------------------------------------------------------ approve and resume
def _address(_: click.Context, __: click.Parameter, value: str) -> int | str:
    """A step by its id, or by its address inside of others."""
    if re.fullmatch(r"\d{1,18}", value):
        return int(value)
    if re.fullmatch(r"\d{1,18}(\.\d{1,18}){1,64}", value):
        return value
    raise click.BadParameter(f"{value!r} is no step: give its id, or its address such as 3.1.7.")


def _is_doubt(outcome: Outcome, step: int | str) -> bool:
    """Whether what is asked about that step is whether it has happened."""
    asked = [q for q in outcome.questions if str(step) in {q.address, str(q.step)}]
    return asked[0].doubt if asked else True  # a run that was killed asks only when somebody goes on with it


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("step", metavar="STEP", callback=_address)
@click.option("--no", "declined", is_flag=True, help="The step may not run; one in doubt has not happened.")
@click.option("--note", metavar="TEXT", help="Why, for whoever reads the outcome.")
@click.option("--result", metavar="JSON", help="What a step in doubt that has happened gave; null otherwise.")
@with_options("config", "set", "json", "quiet")
def approve(
    call: Call, run_id: str, step: int | str, *, declined: bool, note: str | None, result: str | None
) -> ExitCode:
    """Answer what RUN asks about STEP: yes, or with --no the contrary. `trouper resume` then goes on.

    STEP is its id, or its address inside of other steps, such as 3.1.7. Of a step that is in doubt yes means that it
    has happened, and --no that it has not: it is run then.
    """
    answer = _Answer(ok=not declined, note=note, result=_result_of(result))
    return in_session(call, functools.partial(_approve, run_id=run_id, step=step, answer=answer))


@attrs.frozen(kw_only=True)
class _Answer:
    ok: bool
    note: str | None
    result: object


def _result_of(text: str | None) -> object:
    try:
        return json.loads(text) if text is not None else None
    except ValueError as error:
        raise BadInput(f"--result is no JSON: {error}") from error


async def _approve(session: Session, run_id: str, step: int | str, answer: _Answer) -> ExitCode:
    from trouper.actors.outcome import RunStatus

    call, journal, ok = session.call, session.journal, answer.ok
    run_id = await _free_run(journal, run_id)
    before = (await _kept(journal, run_id)).history
    doubt = before is not None and before.outcome.status is RunStatus.IN_DOUBT and _is_doubt(before.outcome, step)
    await session.troupe.approve(run_id, step, ok, answer.note, result=answer.result)
    history = (await _kept(journal, run_id)).history
    left = history.outcome.questions if history is not None else ()
    if call.as_json:
        told = [question.as_json() for question in left]
        call.results.json({"ok": True, "run_id": run_id, "step": step, "approved": ok, "questions": told})
    else:
        open_ = f"; it still asks about step {', '.join(q.address for q in left)}" if left else ""
        said = ("has happened", "has not happened") if doubt else ("may run", "was declined")
        call.results.text(f"Step {step} of {run_id} {said[not ok]}{open_}.")
        if not left and not call.quiet:
            tell(f"go on with: trouper resume {run_id}   # and the --tools that it was begun with")
    return ExitCode.SUCCESS


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@with_options("config", "set", "workdir", "tools", "timeout", "budget", "json", "quiet")
def resume(call: Call, run_id: str | None) -> ExitCode:
    """Go on with RUN, or with the last one that did not come to its end. Finished steps are not run again."""
    return in_session(call, functools.partial(_resume, run_id=run_id))


async def _resume(session: Session, run_id: str | None) -> ExitCode:
    call, journal = session.call, session.journal
    chosen = await _last_open(journal) if run_id is None else await _free_run(journal, run_id)
    if not call.quiet:
        tell(f"run: {chosen}")
    history = (await _kept(journal, chosen)).history
    outcome = await go_on(session, chosen, history.outcome if history is not None else None)
    return show_outcome(call, session.config, await answered(session, outcome))


async def _free_run(journal: FileJournal, run_id: str) -> str:
    """The run that is meant, if no other program has it in hand."""
    found = await find_run(journal, run_id)
    glance = journal.glance(found)
    if glance is not None and glance.held:
        raise BadInput(f"another program has {found} in hand: answer it there, or wait until it has ended")
    return found


async def _last_open(journal: FileJournal) -> str:
    from trouper.actors.run_history import RunState

    for run_id in reversed(await journal.runs()):
        run = await _kept(journal, run_id)
        open_ = run.history is not None and run.history.state is not RunState.ENDED
        if open_ and not (run.glance is not None and run.glance.held):
            return run_id
    raise BadInput(f"every run in {journal.directory} has come to its end")
