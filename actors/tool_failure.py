"""What an error that came out of a tool's function means for its step.

A tool is somebody else's code, so anything may come out of it: `SystemExit`, a `CancelledError` of another library, a
`Cancelled` that belongs to a scope of somebody else. None of that may pass for a cancellation of the step or end
everybody else. What passes as it is: our own errors, Ctrl-C, and `Cancelled` while this task is in fact cancelled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NoReturn

import trio

from trouper.runtime import ToolError, TrouperError

_MOST = 2000
_MANY = 5


def judged(tool: str, error: BaseException) -> BaseException:
    """What to raise for `error`, which the function of the tool called `tool` has raised."""
    if isinstance(error, TrouperError | KeyboardInterrupt):
        return error
    if isinstance(error, BaseExceptionGroup):
        return _of_group(tool, error)
    if isinstance(error, trio.Cancelled):
        return error if _cancelled() else _foreign(tool)
    # Exceptions, and whatever else: a tool that calls `sys.exit` has failed, and must not end everybody else.
    return ToolError(f"{tool} raised {told(error)}")


def fail(tool: str, error: BaseException) -> NoReturn:
    """Raise what `error` means, with it as the cause."""
    failure = judged(tool, error)
    if failure is error:
        raise error
    raise failure from error


def told(error: BaseException) -> str:
    """Class and message, in bounds, even of an error that cannot say what it is."""
    try:
        message = str(error)
    except Exception as second:  # noqa: BLE001 - the error's own `__str__` is somebody else's code too
        message = f"(its message could not be read: {type(second).__name__})"
    if len(message) > _MOST:
        message = f"{message[:_MOST]}... ({len(message):,} characters)"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _of_group(tool: str, group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Errors count before cancellation: what failed while it was cancelled has failed."""
    leaves = list(_leaves(group))
    if any(isinstance(e, KeyboardInterrupt) for e in leaves):
        return group
    errors = [e for e in leaves if not isinstance(e, trio.Cancelled)]
    if not errors:
        return group if _cancelled() else _foreign(tool)
    if len(errors) == 1:
        return judged(tool, errors[0])  # what the tool's author would call *the* error
    more = f" and {len(errors) - _MANY} more" if len(errors) > _MANY else ""
    return ToolError(f"{tool} raised {len(errors)} errors: {'; '.join(told(e) for e in errors[:_MANY])}{more}")


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending.extend(reversed(error.exceptions))
        else:
            yield error


def _cancelled() -> bool:
    """Whether the scopes of this task are cancelled, which are the step's: the tool has left its own."""
    return trio.current_effective_deadline() == -math.inf


def _foreign(tool: str) -> ToolError:
    return ToolError(
        f"{tool} raised trio.Cancelled although its step was not cancelled. It kept a Cancelled that it had caught "
        "and raised it again outside its scope; catch trio.Cancelled only to clean up, and raise it again there."
    )
