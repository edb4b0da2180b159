"""The command line: `trouper`. Each command has a file of its own; here they are put together.

Nothing heavy is imported before a command needs it, so that `trouper --help` and `trouper check` are quick.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from trouper._version import __version__

from .cli_bench import bench
from .cli_demo import demo
from .cli_doctor import doctor
from .cli_documents import index, search
from .cli_exit import ExitCode
from .cli_memory import forget, memory, recall, remember
from .cli_output import complain
from .cli_plans import check, plan
from .cli_run import exec_
from .cli_run import run as run_command
from .cli_runs import approve, resume, runs, show


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trouper")
def trouper() -> None:
    """Trouper turns a goal into a plan, runs it, checks it and answers.

    stdout carries the result only. Exit codes: 0 success, 1 the run failed, 2 bad input or configuration, 3 a
    person is needed, 124 deadline, 130 interrupted, 143 terminated.
    """


_RUNS = (run_command, plan, check, exec_, runs, show, approve, resume)
for _command in (*_RUNS, remember, recall, forget, memory, index, search, demo, bench, doctor):
    trouper.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and give its exit code. Whatever goes wrong is a message on stderr, never a traceback."""
    try:
        code = trouper.main(list(arguments), prog_name="trouper", standalone_mode=False)
    except click.Abort:  # Ctrl-C outside of a run
        complain("interrupted")
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code if isinstance(code, int) else ExitCode.SUCCESS
