"""What the command line ends with: an exit code for each outcome and error, and the words that go with it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import ClassVar

import attrs
import click

from trouper.actors.outcome import Outcome, RunStatus
from trouper.runtime import (
    ConfigError,
    DocumentsRefused,
    GoalRefused,
    MemoryRefused,
    PlanError,
    PlanUnusable,
    RunError,
    TrouperError,
    error_json,
    problems_json,
)


class ExitCode(enum.IntEnum):
    """The exit codes of `trouper`. Of several goals the highest counts, which is the worst."""

    SUCCESS = 0
    """Also when only steps marked `critical: false` failed."""
    FAILED = 1
    """What was asked for was not done."""
    BAD_INPUT = 2
    """The goal, the plan, an option, a file or the configuration cannot be used."""
    PERSON = 3
    """A person has to decide something."""
    DEADLINE = 124
    """The time given with `--timeout` was over, as in `timeout(1)`."""
    INTERRUPTED = 130
    """Ctrl-C: 128 and the signal's number, as shells have it."""
    TERMINATED = 143
    """SIGTERM: the same."""


class BadInput(click.ClickException):
    """Something the user gave cannot be used; the message says what and why."""

    exit_code: ClassVar[int] = ExitCode.BAD_INPUT


class DeadlinePassed(Exception):
    """The time given with `--timeout` was over before there was a result."""


class Interrupted(Exception):
    """A signal asked the process to end, and everything was stopped."""

    def __init__(self, code: ExitCode, name: str) -> None:
        super().__init__(f"stopped by {name}; nothing was left running")
        self.code = code


@attrs.frozen
class Ending:
    """How a command ends without a result: its exit code, the words for a person, the object for `--json`."""

    code: ExitCode
    message: str
    body: dict[str, object]


_BY_STATUS = {
    RunStatus.SUCCESS: ExitCode.SUCCESS,
    RunStatus.SUCCESS_WITH_FAILURES: ExitCode.SUCCESS,
    RunStatus.FAILED: ExitCode.FAILED,
    RunStatus.CANCELLED: ExitCode.FAILED,
    RunStatus.WAITING: ExitCode.PERSON,
    RunStatus.IN_DOUBT: ExitCode.PERSON,
}


def code_of(outcome: Outcome) -> ExitCode:
    """The exit code of a run that came to an outcome."""
    if outcome.error is not None and outcome.error.kind == "deadline":
        return ExitCode.DEADLINE
    return _BY_STATUS[outcome.status]


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code of several goals."""
    return max(codes, default=ExitCode.SUCCESS)


def ending_of(error: BaseException) -> Ending:
    """How the command ends when `error` came out of it."""
    body: dict[str, object] = {"ok": False, "error": error_json(error)}
    if isinstance(error, GoalRefused):
        return Ending(ExitCode.BAD_INPUT, "\n".join(_refusal_lines(error)), refusal_json(error))
    if isinstance(error, PlanError):
        return Ending(ExitCode.BAD_INPUT, str(error), problems_json(error))
    if isinstance(error, ConfigError):
        return Ending(ExitCode.BAD_INPUT, str(error), {**body, "problems": [attrs.asdict(p) for p in error.problems]})
    if isinstance(error, MemoryRefused | DocumentsRefused | RunError):
        return Ending(ExitCode.BAD_INPUT, str(error), body)
    if isinstance(error, click.ClickException):
        told = {"kind": "bad_input", "message": error.format_message()}
        return Ending(ExitCode(error.exit_code), error.format_message(), {"ok": False, "error": told})
    if isinstance(error, DeadlinePassed):
        told = {"kind": "deadline", "message": str(error)}
        return Ending(ExitCode.DEADLINE, str(error), {"ok": False, "error": told})
    if isinstance(error, Interrupted):
        return Ending(error.code, str(error), {})
    if isinstance(error, TrouperError):
        return Ending(ExitCode.FAILED, "\n".join(_failure_lines(error)), body)
    # Nobody foresaw this one: it is a defect, and says how to see more of it.
    words = f"this should not have happened: {type(error).__name__}: {error}\nRun it again with -v for the traceback."
    return Ending(ExitCode.FAILED, words, body)


def only(error: BaseException) -> BaseException:
    """The one error inside groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def refusal_json(error: GoalRefused) -> dict[str, object]:
    """What `--json` prints for a goal that was refused."""
    return {
        "ok": False,
        "refusal": {"reason": error.reason, "unexplained": list(error.unexplained), "patterns": list(error.patterns)},
    }


def _refusal_lines(error: GoalRefused) -> Iterator[str]:
    yield f"the goal was refused: {error.reason}"
    if error.unexplained and not all(word in error.reason for word in error.unexplained):
        yield "Not understood: " + ", ".join(repr(word) for word in error.unexplained)
    if error.patterns and not all(pattern in error.reason for pattern in error.patterns):
        yield "What the planner understands:"
        yield from (f"  - {pattern}" for pattern in error.patterns)


def _failure_lines(error: TrouperError) -> Iterator[str]:
    yield str(error)
    if isinstance(error, PlanUnusable) and error.said and error.said not in str(error):
        yield "The model's last answer was:"
        yield from (f"  {line}" for line in error.said[:2000].splitlines())
