"""What a command says of a run that has come to an outcome: the answer, what went wrong, where its time went."""

from __future__ import annotations

import shlex
import shutil
from typing import TYPE_CHECKING

from trouper.actors.outcome import SUSPENDED

from .cli_exit import ExitCode, code_of
from .cli_options import Call
from .cli_output import complain, stderr_is_terminal, tell
from .cli_text import failure_text

if TYPE_CHECKING:
    from trouper.actors.outcome import Outcome
    from trouper.actors.run_advice import Scheduling

    from .config_model import Config

WIDTH = 100
"""Characters of a line where nobody looks at a terminal."""


def show_outcome(call: Call, config: Config, outcome: Outcome) -> ExitCode:
    """The answer or the JSON to stdout; to stderr what went wrong, what a person is asked, and the report."""
    if call.as_json:
        call.results.json(outcome.as_json())
    elif outcome.answer is not None:
        call.results.text(outcome.answer)
    if (trouble := failure_text(outcome)) is not None:
        complain(trouble)
    for command in commands_of(call, outcome):
        tell(f"  {command}")
    if not (call.as_json or call.quiet) and (report := report_of_run(config, outcome, width=terminal_width())):
        tell(report)
    return code_of(outcome)


def commands_of(call: Call, outcome: Outcome) -> list[str]:
    """The commands that answer what a run asks, and go on with it."""
    if outcome.status not in SUSPENDED:
        return []
    common = _options(call, "config_file", "overrides")
    every = _options(call, "config_file", "overrides", "workdir", "tools")
    run = shlex.quote(outcome.run_id)
    answers = [
        f"trouper approve{common} {run} {question.address}   # {_YES[question.doubt]}" for question in outcome.questions
    ]
    return [*answers, f"trouper resume{every} {run}"]


_YES = {False: "or with --no", True: "it has happened; or with --no"}
_NAMES = {"config_file": "--config", "overrides": "--set", "workdir": "--workdir", "tools": "--tools"}


def _options(call: Call, *fields: str) -> str:
    """The options of this call that the next one needs as well."""
    words: list[str] = []
    for field in fields:
        given = getattr(call, field)
        for value in given if isinstance(given, tuple) else (given,):
            if value is not None:
                words += [_NAMES[field], value]
    return f" {shlex.join(words)}" if words else ""


def report_of_run(config: Config, outcome: Outcome, *, width: int = WIDTH) -> str:
    """The Gantt of a run with what waiting cost; empty if it had no plan."""
    from trouper.actors.run_report import report_of

    from .gantt_text import report_text

    return report_text(report_of(outcome, scheduling_of(config)), width=width)


def scheduling_of(config: Config) -> Scheduling:
    """The flags of the configuration that decide when steps run."""
    from trouper.actors.run_advice import Scheduling

    fast = config.performance
    steps = fast.parallel_execution
    return Scheduling(
        max_parallel_steps=steps.max_parallel_steps,
        enabled=steps.enabled,
        dependency_analysis=steps.dependency_analysis,
        level_barrier=steps.level_barrier,
        background_verification=fast.background_tasks.verification,
    )


def terminal_width() -> int:
    """Of the terminal that stderr is, or the usual one."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if stderr_is_terminal() else WIDTH
