"""A call of a simple async tool up to its first suspension, with everything looked up beforehand.

`Tool.begin` does the same for every tool. This one knows the tool: its arguments are each of one class, it does not
want a context, it runs in the event loop. What is not as expected is left to `Tool.begin`, before the tool is entered.
Between the two there is half of what a plain step costs (`python -m tests.benchmarks.plans`).
"""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Any

from .protocols import Json
from .tool import Tool
from .tool_context import ToolContext
from .tool_data import to_json
from .tool_drive import Suspended, waited_for
from .tool_failure import fail
from .tool_place import ToolPlace
from .tool_scopes import Scopes

Begin = Callable[[dict[str, Any], ToolContext, ToolPlace, Scopes], Json | Suspended]


def quick_begin(tool: Tool) -> Begin:
    """`tool.begin` for a tool that is `light`; `scopes` are those of the task. Who calls watches how long it takes."""
    kinds = tool.takes.kinds
    function, name = tool.function, tool.name
    checks, copied, count = tuple(kinds.items()), tool.takes.copied, len(kinds)

    def slowly(parameters: dict[str, Any], ctx: ToolContext, place: ToolPlace, _: Scopes) -> Json | Suspended:
        return tool.begin(parameters, ctx, place)

    def begin(parameters: dict[str, Any], ctx: ToolContext, place: ToolPlace, scopes: Scopes) -> Json | Suspended:
        if len(parameters) != count:
            return tool.begin(parameters, ctx, place)
        try:
            for key, kind in checks:
                if type(parameters[key]) is not kind:
                    return tool.begin(parameters, ctx, place)
        except KeyError:
            return tool.begin(parameters, ctx, place)
        arguments = parameters.copy()
        for key in copied:
            arguments[key] = arguments[key].copy()
        try:
            coroutine = function(**arguments)
            if type(coroutine) is not CoroutineType:
                coroutine = waited_for(coroutine)
            try:
                return Suspended(coroutine, coroutine.send(None), scopes)
            except StopIteration as done:
                return to_json(done.value)
        except BaseException as error:  # noqa: BLE001 - it is judged
            fail(name, error)

    simple = tool.light and tool.awaited and not tool.wants_context and tool.takes.rest is None
    return begin if simple and object not in kinds.values() else slowly
