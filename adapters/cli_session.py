"""A troupe for one command: configuration, tools and log first, so that a mistake in them costs nothing."""

from __future__ import annotations

import functools
import gc
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from .cli_exit import DeadlinePassed
from .cli_options import Call
from .cli_output import stderr_is_terminal, tell
from .cli_signals import run_until_signalled
from .cli_tools import load_tools
from .progress_log import level_of, logging_to, write_line

if TYPE_CHECKING:
    from trouper.actors.outcome import Outcome
    from trouper.actors.tool import Tool
    from trouper.actors.troupe_ref import Troupe

    from .asker_terminal import TerminalAsker
    from .config_model import Config
    from .journal_files import FileJournal
    from .progress import Screen, View

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Session:
    """An open troupe and the terminal it may be watched on."""

    call: Call
    config: Config
    troupe: Troupe
    journal: FileJournal
    screen: Screen | None
    asker: TerminalAsker | None

    async def watched(
        self, work: Callable[[], Awaitable[T]], *, before: Outcome | None = None, view: View | None = None
    ) -> T:
        """Do `work` under the live view, where there is one; `before` is what a run that goes on had come to.

        `view` is what to show instead of the steps of a run.
        """
        if self.screen is None:
            return await work()
        with self.troupe.events() as events:
            return await self.screen.watch(events, work, before=before, view=view)

    async def in_time(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` within `--timeout`.

        Raises:
            DeadlinePassed: it took longer and was cancelled.
        """
        seconds = self.call.timeout
        if seconds is None:
            return await work()
        with trio.move_on_after(seconds):
            return await work()
        raise DeadlinePassed(f"there was no result within {seconds:g} s (--timeout)")


def in_session(call: Call, body: Callable[[Session], Awaitable[T]], *, config: Config | None = None) -> T:
    """Run `body` with a troupe of the call's configuration and tools; gives and raises what `body` does.

    Args:
        call: The options.
        body: What to do with the troupe.
        config: Used instead of the file and the keys that the options name.

    Raises:
        ConfigError: with every mistake of the configuration.
        BadInput: a tool could not be loaded.
        Interrupted: a signal came; the troupe has been stopped.
    """
    config = config if config is not None else configuration(call)
    tools = load_tools(call.tools)
    screen = _screen(call, config)
    level = level_of(config.observability.log_level, verbose=call.verbose, quiet=call.quiet, view=screen is not None)
    with logging_to(screen.line if screen is not None else write_line, level, verbose=call.verbose):
        return run_until_signalled(functools.partial(_open_and_do, call, body, config, tools, screen))


def configuration(call: Call) -> Config:
    """The configuration of a call.

    Raises:
        ConfigError: with every mistake.
    """
    from .config_yaml import load_config

    return load_config(call.config_file, overrides=call.overrides)


def journal_of(config: Config) -> FileJournal:
    """Where the command line keeps its runs; whoever opens it closes it."""
    from .journal_files import FileJournal, journal_directory

    secrets = (config.llm.api_key.reveal(),) if config.llm.api_key is not None else ()
    return FileJournal(journal_directory(config.journal.path), config.journal.keep, secrets=secrets)


def _screen(call: Call, config: Config) -> Screen | None:
    """The live view is for a person who sees stderr and did not ask for less, or for every line of the log."""
    wanted = not (call.as_json or call.quiet or call.verbose or config.observability.log_level == "debug")
    if not (wanted and stderr_is_terminal()):
        return None
    from .progress import Screen

    return Screen()


async def _open_and_do(
    call: Call, body: Callable[[Session], Awaitable[T]], config: Config, tools: list[Tool], screen: Screen | None
) -> T:
    from .asker_terminal import TerminalAsker, can_ask
    from .wiring import open_troupe

    asker = TerminalAsker(screen) if can_ask() else None
    if asker is not None:
        # The person is asked as soon as the run is suspended: to wait for an answer before that would be to wait.
        config = attrs.evolve(config, run=attrs.evolve(config.run, approval_wait=0.0))
    journal = journal_of(config)
    try:
        async with open_troupe(config, tools=tools, workdir=call.workdir, asker=asker, journal=journal) as troupe:
            # What there is now is no garbage: modules and classes, some 250,000 objects. To look at them again, which
            # the collector does when it likes and once more at the exit, held up every task for 20 to 60 ms, and was
            # a tenth of the CPU time of `trouper recall`. A command may decide that for its process; a library may not.
            gc.freeze()
            return await body(
                Session(call=call, config=config, troupe=troupe, journal=journal, screen=screen, asker=asker)
            )
    finally:
        await journal.aclose()


def say_planner(session: Session) -> None:
    """The first line of a run: which planner is at work, and why."""
    if not session.call.quiet:
        tell(f"planner: {session.troupe.planner} ({session.troupe.why})")
