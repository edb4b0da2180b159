"""What `@tool(...)` may say about a function, checked when it is said."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, get_args

import attrs

from .permissions import PERMISSIONS
from .tool_checked import Verify
from .tool_context import Effect
from .tool_schema import is_async

Isolation = Literal["task", "thread", "process"]

Reconcile = Callable[[Mapping[str, object], str], Awaitable[object]]
"""Looks whether a call that was cut off has happened: given its parameters and its idempotency key.

`False`: it has not, and is made again. `None`: nobody can say, a person is asked. Anything else: it has, and this is
the result; `True` if there is none.
"""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def _positive(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and (isinstance(value, bool) or not value > 0):
        raise ValueError(f"{attribute.name}={value!r}: must be more than 0, or None for no limit")


@attrs.frozen(kw_only=True)
class ToolOptions:
    """The options of one tool, each in range."""

    name: str
    effect: Effect
    timeout: float | None = attrs.field(validator=_positive)
    retries: int
    max_concurrency: int | None = attrs.field(validator=_positive)
    isolation: Isolation | None
    permission: str | None
    verify: Verify | None
    reconcile: Reconcile | None

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TypeError(f"{self.name!r} is no name for a tool (letters, digits, _ . -); give it `name=`")
        if not isinstance(self.effect, Effect):
            raise TypeError(f"tool {self.name!r}: effect={self.effect!r}; write Effect.PURE, KEYED or ONCE")
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError(f"tool {self.name!r}: retries={self.retries!r} must be a whole number, 0 or more")
        if self.isolation is not None and self.isolation not in get_args(Isolation):
            raise ValueError(f"tool {self.name!r}: isolation={self.isolation!r}; use 'task', 'thread' or 'process'")
        if self.permission is not None and self.permission not in PERMISSIONS:
            known = ", ".join(PERMISSIONS)
            raise ValueError(f"tool {self.name!r}: permission={self.permission!r} is none of {known}")

    def isolation_of(self, function: Callable[..., object]) -> Isolation:
        """Where `function` is to run.

        Raises:
            TypeError: it cannot run there.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"tool {self.name!r} is a generator; return a list of what it yields")
        if self.isolation == "process":
            if problem := _unreachable(function):
                raise TypeError(
                    f"tool {self.name!r}: isolation='process' wants a function that another interpreter can import, "
                    f"and this is {problem}; define it at the top level of a module"
                )
            return "process"
        if not is_async(function):
            return self.isolation or "thread"
        if self.isolation == "thread":
            raise TypeError(
                f"tool {self.name!r} is async and isolation='thread' wants a plain function; "
                "leave `isolation` out, or write `def` instead of `async def`"
            )
        return "task"


def _unreachable(function: object) -> str:
    """Why another interpreter could not find `function` by its name."""
    name = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    if isinstance(function, functools.partial):
        return "a partial"
    if not isinstance(name, str) or not isinstance(module, str) or inspect.ismethod(function):
        return f"a {type(function).__name__}"
    if "<lambda>" in name:
        return "a lambda"
    if "<locals>" in name:
        return f"defined inside {name.split('.<locals>')[0]}()"
    main = sys.modules.get("__main__")
    if module == "__main__" and getattr(main, "__spec__", None) is None and not getattr(main, "__file__", None):
        return "defined in an interactive session"
    return ""
