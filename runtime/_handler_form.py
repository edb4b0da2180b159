"""Whether a method has the form of a handler, and how it is shown when it has not."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable
from typing import Any, cast

from ._mistakes import lines, short, written


def check_form(method: Any, *, inline: bool) -> None:
    """Whether the method is a function of the colour that it was marked as."""
    if not inspect.isfunction(method):
        wrapped = isinstance(method, staticmethod | classmethod)
        shown = f"@{type(cast('object', method)).__name__}" if wrapped else reprlib.repr(method)
        raise TypeError(
            lines(
                f"@handler stands above a method; this is {shown}",
                wrong=f"@handler\n{shown}\nasync def ..." if wrapped else f"handler({shown})",
                right="@handler\nasync def add(self, message: Add) -> int: ...",
            )
        )
    name, shown = short(method.__qualname__), head(method)
    is_async = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
    if inline:
        if is_async:
            raise TypeError(
                lines(
                    f"{name} is inline: it runs in the sender's own task and cannot wait, so it is a plain `def`",
                    wrong=f"@handler(inline=True)\nasync {shown}",
                    right=f"@handler(inline=True)\n{shown}",
                )
            )
        if inspect.isgeneratorfunction(method):
            raise TypeError(
                lines(
                    f"{name} is inline and gives one answer: it has a `return`, not a `yield`",
                    wrong=f"@handler(inline=True)\n{head(method, body='yield ...')}",
                    right=f"@handler(inline=True)\n{head(method, body='return ...')}",
                )
            )
    elif not is_async:
        raise TypeError(
            lines(
                f"{name} is not async: a handler is an `async def`, or inline",
                wrong=f"@handler\n{shown}",
                right=f"@handler\nasync {shown}",
            )
        )


def line(method: Callable[..., Any], *, message: str | None = None, returns: str | None = None, body: str = "") -> str:
    """The head of a method as it is written, but for what is given."""
    plain = not (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
    return f"{'' if plain else 'async '}{head(method, message=message, returns=returns, body=body)}"


def head(method: Callable[..., Any], *, message: str | None = None, returns: str | None = None, body: str = "") -> str:
    """The same without `async`."""
    signature = inspect.signature(method)
    parameters = ", ".join(map(_parameter, signature.parameters.values()))
    if message is not None:
        parameters = f"self, message: {message}"
    if returns is None and signature.return_annotation is not inspect.Signature.empty:
        returns = written(signature.return_annotation)
    arrow = f" -> {returns}" if returns is not None else ""
    return f"def {method.__name__}({parameters}){arrow}: {body or '...'}"


def _parameter(parameter: inspect.Parameter) -> str:
    kind = parameter.kind
    stars = "*" if kind is inspect.Parameter.VAR_POSITIONAL else "**" if kind is inspect.Parameter.VAR_KEYWORD else ""
    annotated = f": {written(parameter.annotation)}" if parameter.annotation is not inspect.Parameter.empty else ""
    return f"{stars}{parameter.name}{annotated}"
