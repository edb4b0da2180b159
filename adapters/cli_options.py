"""The options that commands share: written once, given to each command that can use them, and to no other."""

from __future__ import annotations

import functools
import math
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

import attrs
import click

from trouper.runtime import Budget, SpecError

from .cli_exit import ExitCode, Interrupted, ending_of, only
from .cli_output import Results, complain, results_apart, tell

F = TypeVar("F", bound=Callable[..., Any])
OptionName = Literal["config", "set", "workdir", "tools", "timeout", "budget", "json", "quiet"]
LIMITS = tuple(field.name for field in attrs.fields(Budget))
"""What a budget may limit."""


@attrs.frozen(kw_only=True)
class Call:
    """One call of the command line: its common options, and where its result goes."""

    results: Results
    config_file: str | None = None
    overrides: tuple[str, ...] = ()
    workdir: str | None = None
    tools: tuple[str, ...] = ()
    timeout: float | None = None
    """Seconds."""
    budget: Budget | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False


def _positive(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise click.BadParameter(f"{value:g} is not a positive number of seconds.", ctx, param)
    return value


def _budget(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Budget | None:
    """`--budget tokens=1000 --budget cost=2.5` as one budget."""
    limits: dict[str, float | int] = {}
    for value in values:
        name, equals, number = (part.strip() for part in value.partition("="))
        if not equals or name not in LIMITS:
            close = get_close_matches(name, LIMITS, n=1)
            near = f"; did you mean {close[0]}?" if close else ""
            raise click.BadParameter(f"{value!r}: write NAME=NUMBER, with one of {', '.join(LIMITS)}{near}", ctx, param)
        if name in limits:
            raise click.BadParameter(f"{name} is given twice.", ctx, param)
        try:
            limits[name] = float(number) if name in {"cost", "seconds"} else int(number)
        except ValueError:
            raise click.BadParameter(f"{value!r}: {number!r} is not a number that fits {name}.", ctx, param) from None
    try:
        return Budget(**limits) if limits else None  # type: ignore[arg-type]  # whole where it must be
    except SpecError as error:
        raise click.BadParameter(str(error), ctx, param) from None


_OPTIONS: dict[OptionName, Callable[[F], F]] = {
    "config": click.option(
        "--config", "config_file", metavar="FILE", help="The configuration; without it the one that Trouper ships."
    ),
    "set": click.option(
        "--set", "overrides", metavar="a.b.c=value", multiple=True, help="One key of the configuration. Repeatable."
    ),
    "workdir": click.option(
        "--workdir",
        metavar="DIR",
        type=click.Path(exists=True, file_okay=False),
        help="The directory that tools work in, instead of `tools.workdir`.",
    ),
    "tools": click.option(
        "--tools",
        metavar="MODULE:ATTRIBUTE",
        multiple=True,
        help="A tool of yours, or a list of them; the module may lie in the current directory. Repeatable.",
    ),
    "timeout": click.option(
        "--timeout", metavar="S", type=float, callback=_positive, help="Seconds one goal (or the command) may take."
    ),
    "budget": click.option(
        "--budget",
        metavar="NAME=N",
        multiple=True,
        callback=_budget,
        help=f"What one goal may spend: {', '.join(LIMITS)}. Repeatable.",
    ),
    "json": click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; a line for each goal."),
    "quiet": click.option("--quiet", is_flag=True, help="No progress on stderr; warnings and errors only."),
}


def with_options(*names: OptionName) -> Callable[[Callable[..., ExitCode]], Callable[..., ExitCode]]:
    """Give a command the common options it can use (and `-v`); it receives them as one `Call`.

    An exception that comes out of the command becomes its message on stderr, its object on stdout under
    `--json`, and its exit code; a traceback only with `-v`.
    """

    def decorate(command: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
        @functools.wraps(command)
        def run(**given: Any) -> ExitCode:
            common = {a.name: given.pop(a.name) for a in attrs.fields(Call) if a.name in given}
            if common.get("quiet") and common["verbose"]:
                raise click.UsageError("--quiet and -v contradict each other.")
            with results_apart() as results:
                call = Call(results=results, **common)
                try:
                    return command(call, **given)
                except click.UsageError:
                    raise  # shown with the command's usage, like those that click finds itself
                except Exception as error:  # noqa: BLE001 - each becomes a message and an exit code
                    return end_with(call, error)

        verbose = click.option("-v", "--verbose", is_flag=True, help="Debug log, and tracebacks of errors.")
        return functools.reduce(lambda made, name: _OPTIONS[name](made), reversed(names), verbose(run))

    return decorate


def end_with(call: Call, error: BaseException) -> ExitCode:
    """Say what happened, on stderr and for `--json`, and give the exit code."""
    ending = ending_of(only(error))
    wanted = not isinstance(error, Interrupted) or error.__cause__ is not None
    if call.verbose and wanted:
        tell("".join(traceback.format_exception(error)).rstrip())
    complain(ending.message)
    if call.as_json and ending.body:
        call.results.json(ending.body)
    return ending.code
