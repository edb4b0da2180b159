"""An async tool driven by hand.

Its coroutine is sent into directly, first by `Tool.call` and from its first suspension on by `drive`, which stands
between the tool and trio. A tool that never suspends then costs no task, no checkpoint and no scope. And between the
two one can see what trio does not tell: how long each stretch without a checkpoint took, and whether a cancelled tool
goes on waiting and waiting because it swallows every `Cancelled`.

Such a tool is let run into `Cancelled` a hundred times. Then `Dismissed`, which is no Exception, is thrown where it
waits, so that its `with` blocks are left in order. If it swallows that as well it is closed; if it even ignores that,
its coroutine is kept, suspended for ever, because Python would resume it once more to destroy it.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Coroutine, Generator
from time import perf_counter
from typing import TYPE_CHECKING, Any

import trio
from outcome import Error
from trio.lowlevel import current_task

from .tool_context import ToolContext
from .tool_failure import fail
from .tool_place import BARE, ToolPlace
from .tool_scopes import Scopes, hears_cancellation_of, leave_scopes

if TYPE_CHECKING:
    from .tool import Tool

PATIENCE = 100
"""Times that a tool may meet `Cancelled` after its step was cancelled."""
_DISMISSALS = 3


class Dismissed(BaseException):
    """Thrown into a tool that swallows its cancellation again and again."""


DISMISSED = object()
"""The result of a tool that was dismissed."""

_Tool = Coroutine[Any, Any, object]


class Suspended:
    """A call that has begun and waits for something: what `drive` needs to go on with it.

    Without a coroutine it has ended with the result `message` and held up the loop: there has to be a checkpoint.
    """

    __slots__ = ("coroutine", "message", "scopes")

    def __init__(self, coroutine: _Tool | None, message: Any, scopes: Scopes) -> None:
        self.coroutine: _Tool | None = coroutine
        self.message: Any = message
        self.scopes: Scopes = scopes


@types.coroutine
def drive(
    tool: Tool, ctx: ToolContext, place: ToolPlace, coroutine: _Tool, message: object, scopes: Scopes
) -> Generator[Any, Any, object]:
    """Drive the coroutine of `tool`, which has just yielded `message`, to its end and give its result.

    `scopes` are the step's, from outside the tool. Gives `DISMISSED` if it was.

    Raises:
        BaseException: what `tool_failure.judged` makes of the tool's error; and what is thrown in from outside when
            the task itself is destroyed.
    """
    met = dismissals = 0
    resume = coroutine.send
    while True:
        try:
            sent = yield message
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:  # noqa: BLE001 - trio's word on a message that it does not understand
            resume, sent = coroutine.throw, error
        else:
            resume = coroutine.send
            if type(sent) is Error and isinstance(sent.error, trio.Cancelled) and hears_cancellation_of(scopes):
                met += 1
                if met > PATIENCE:
                    if dismissals == _DISMISSALS:
                        _close(coroutine, scopes)
                        place.report_dismissed(tool, ctx)
                        return DISMISSED
                    met, dismissals = 0, dismissals + 1
                    resume, sent = coroutine.throw, Dismissed()
        began = perf_counter()
        try:
            message = resume(sent)
        except StopIteration as done:
            result = done.value
        except trio.Cancelled as error:
            if not dismissals:
                if scopes.effectively_cancelled:  # what nearly all of them are
                    raise
                fail(tool.name, error)
            result = error
        except BaseException as error:  # noqa: BLE001 - it is judged
            if not dismissals:
                fail(tool.name, error)
            result = error
        else:
            if perf_counter() - began > place.block_limit:
                place.report_blocked(tool, ctx, perf_counter() - began)
            continue
        if perf_counter() - began > place.block_limit:
            place.report_blocked(tool, ctx, perf_counter() - began)
        if dismissals:
            place.report_dismissed(tool, ctx)
            return DISMISSED
        return result


_NOBODY = ToolContext()


async def driven(tool: Tool, value: object, ctx: ToolContext = _NOBODY, place: ToolPlace = BARE) -> object:
    """Wait for what an async function of the author of `tool` gave, such as its `verify`, as for the tool itself.

    Gives `DISMISSED` if it swallowed its cancellation again and again. Cancelled: it is cancelled where it waits.

    Raises:
        TypeError: it is nothing to wait for.
        ToolError: it raised; whatever was not a Trouper error is the cause.
    """
    if not isinstance(value, Awaitable):
        raise TypeError(f"{tool.name}: a {type(value).__name__} cannot be awaited; write `async def`")
    scopes: Scopes = current_task()._cancel_status
    coroutine = value if type(value) is types.CoroutineType else waited_for(value)
    began = perf_counter()
    try:
        message = coroutine.send(None)
    except StopIteration as done:
        return done.value
    except BaseException as error:  # noqa: BLE001 - it is judged
        fail(tool.name, error)
    finally:
        if (took := perf_counter() - began) > place.block_limit:
            place.report_blocked(tool, ctx, took)
    result = await drive(tool, ctx, place, coroutine, message, scopes)
    if scopes.effectively_cancelled:
        await trio.lowlevel.checkpoint_if_cancelled()
    return result


async def waited_for(value: object) -> object:
    """What an async function gave that is no coroutine: compiled, or an object with `__await__`."""
    return await value if isinstance(value, Awaitable) else value


def _close(coroutine: _Tool, scopes: Scopes) -> None:
    """Close a coroutine, or keep it if it does not let itself be closed: Python would resume it to destroy it."""
    try:
        coroutine.close()
    except BaseException:  # noqa: BLE001 - it ignored even GeneratorExit, or failed on its way out
        if inspect.getcoroutinestate(coroutine) != inspect.CORO_CLOSED:
            # Not a list of ours: at the interpreter's end that would be emptied, and each of them resumed.
            import ctypes

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(coroutine))
    leave_scopes(scopes)
