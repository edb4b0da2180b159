"""The command line: `trouper`. Each command has a file of its own, which is imported when that command is given.

So `trouper --help` takes what click takes, and a command pays for what it uses.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from trouper._version import __version__

_COMMANDS = {
    "approve": ("cli_runs", "Answer what a run asks about a step: yes or no."),
    "bench": ("cli_bench", "Measure what each optimisation is worth."),
    "check": ("cli_plans", "Validate a plan and show its levels."),
    "demo": ("cli_demo", "Search a small project, write a report and remember it."),
    "doctor": ("cli_doctor", "Show what is installed, reachable and writable."),
    "exec": ("cli_run", "Execute a ready plan; no model is needed."),
    "forget": ("cli_memory", "Erase memories for good."),
    "index": ("cli_documents", "Index documents, for `search`."),
    "memory": ("cli_memory", "Look at the memory as a whole, or carry it elsewhere."),
    "plan": ("cli_plans", "Plan a goal and show the plan; nothing is executed."),
    "recall": ("cli_memory", "Show what is remembered about something, best first."),
    "remember": ("cli_memory", "Remember texts."),
    "resume": ("cli_runs", "Go on with a run that did not come to its end."),
    "run": ("cli_run", "Plan and execute goals, one after another."),
    "runs": ("cli_runs", "List the runs of the journal, the last one first."),
    "search": ("cli_documents", "Show the passages that answer a question, best first."),
    "show": ("cli_runs", "Show what a run came to and where its time went."),
}
"""Each command, the file it is in, and what the list of commands says of it."""


class Commands(click.Group):
    """A group that knows its commands by name and summary until one is called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and command_of(command.name or ""), rest


def command_of(name: str) -> click.Command:
    """The command of that name with its options; imports what it needs.

    Raises:
        KeyError: there is none.
    """
    file, _ = _COMMANDS[name]
    module = importlib.import_module(f".{file}", __package__)
    command: click.Command = getattr(module, "exec_" if name == "exec" else name)  # `exec` is Python's
    return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trouper")
def trouper() -> None:
    """Trouper turns a goal into a plan, runs it, checks it and answers.

    stdout carries the result only. Exit codes: 0 success, 1 the run failed, 2 bad input or configuration, 3 a
    person is needed, 124 deadline, 130 interrupted, 143 terminated.
    """


for _name, _entry in _COMMANDS.items():
    trouper.add_command(click.Command(_name, short_help=_entry[1]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and give its exit code. Whatever goes wrong is a message on stderr, never a traceback."""
    try:
        code = trouper.main(list(arguments), prog_name="trouper", standalone_mode=False)
    except click.Abort:  # Ctrl-C outside of a run
        from .cli_exit import ExitCode
        from .cli_output import complain

        complain("interrupted")
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code if isinstance(code, int) else 0
