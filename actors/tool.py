"""Tools: typed functions that a plan may call.

`@tool` turns a function into a frozen `Tool`: its parameters become a JSON Schema, its docstring the
description that a model reads, its return annotation the fields that later steps may refer to. What runs
it is `Tool.call`, which is the only place where a tool's function is entered: arguments are checked first
and all at once, a plain function goes to a worker thread, and what comes back is copied into plain data or
refused. Permissions, time-outs and retries are the executor's: the tool only carries the wishes.
"""

from __future__ import annotations

import enum
import functools
import inspect
import math
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, get_args, overload

import attrs
import trio

from trouper.runtime import ActionSignature, BadArguments, ToolError, TrouperError

from .permissions import PERMISSIONS
from .protocols import Evidence, Json
from .tool_data import to_json
from .tool_schema import Parameters, description_of, hints_of, is_async, parameters_of
from .tool_shapes import Shape, Taking
from .tool_types import UnsupportedType, record_fields, shape_of

Isolation = Literal["task", "thread", "process"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


class Effect(enum.Enum):
    """What it means to run a tool twice."""

    PURE = "pure"
    """Nothing happens outside: run it as often as you like."""
    KEYED = "keyed"
    """Something happens, but the same call again changes nothing more."""
    ONCE = "once"
    """Each call counts: never repeated unless the tool says that nothing had happened."""


def _silent(message: str) -> None:
    """Progress that nobody listens to."""


@attrs.frozen(kw_only=True)
class ToolContext:
    """What a tool may know about the step it runs for. Take it as `ctx: ToolContext`."""

    run_id: str = ""
    step_id: int = 0
    attempt: int = 1
    """1 for the first try."""
    idempotency_key: str = ""
    """The same for each attempt of the same step of the same run."""
    deadline: float = math.inf
    """When the step must have ended, on trio's clock."""
    workspace: str = ""
    """The work directory as an absolute path."""
    progress: Callable[[str], None] = _silent
    """Tells whoever watches how far it is; from any thread."""


@attrs.frozen
class Checked:
    """What came of checking a result: what was compared, and what did not agree.

    No `checks` means that nothing could be compared: the result is unverifiable, which is not the same as right.
    """

    problems: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()

    @property
    def verdict(self) -> Literal["ok", "refuted", "unverifiable"]:
        """`refuted` with any problem, `ok` with checks and none, else `unverifiable`."""
        if self.problems:
            return "refuted"
        return "ok" if self.checks else "unverifiable"

    def __add__(self, other: Checked) -> Checked:
        return Checked(self.problems + other.problems, self.checks + other.checks)


Verify = Callable[[Mapping[str, object], Json, Evidence], Awaitable["Checked | list[str]"]]
"""Re-checks a result by other means: `async def verify(parameters, result, evidence)`."""

# Per run and not per tool: a thread that was abandoned when its run ended never gives its token back, and a
# tool outlives runs (it is a module's global).
_limiters: trio.lowlevel.RunVar[dict[Tool, trio.CapacityLimiter]] = trio.lowlevel.RunVar("tool_limiters")

_DEFAULT_THREADS = 40


@attrs.frozen(kw_only=True, eq=False)
class Tool:
    """One thing that a plan can call, compared by identity. Made by `@tool`."""

    name: str
    description: str
    function: Callable[..., object]
    schema: Mapping[str, object]
    """JSON Schema of the parameters."""
    required: tuple[str, ...]
    parameters: tuple[str, ...] | None
    """The names it takes; None if it takes any."""
    outputs: tuple[str, ...] | None = None
    """The fields of its result; None if they are not declared."""
    output_schema: Mapping[str, object] | None = None
    effect: Effect = Effect.ONCE
    timeout: float | None = None
    """Seconds that one attempt may take; the executor holds it to that."""
    retries: int = 0
    max_concurrency: int | None = None
    """How many calls may run at once, over all runs in the same event loop."""
    isolation: Isolation = "task"
    permission: str | None = None
    """The class of leave that the executor must obtain before the call; None needs none."""
    verify: Verify | None = None
    takes: Parameters = attrs.field(repr=False)
    """The compiled parameters."""
    gives: Shape | None = attrs.field(default=None, repr=False)
    """The compiled result."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        """The plain function as it was written: a tool stays callable in its own module and its tests."""
        return self.function(*args, **kwargs)

    def signature(self) -> ActionSignature:
        """What the plan parser needs to know about this tool."""
        return ActionSignature(self.required, self.parameters, self.outputs, schema=self.schema)

    def check_arguments(self, parameters: Mapping[str, object]) -> None:
        """Refuse arguments that the tool does not take.

        Strict: `"false"` is not false, `True` is not 1; only a whole number is fine where a number is wanted.

        Raises:
            BadArguments: every unknown name, missing name and wrong type, in one message.
        """
        self._arguments(parameters)

    def check_output(self, result: object) -> list[str]:
        """Where `result` (as `call` gave it) is not what the tool declares; empty if nothing is declared."""
        if self.gives is None:
            return []
        taking = Taking([], closed=False)
        self.gives.take(result, "result", taking)
        return taking.problems

    async def call(self, parameters: Mapping[str, object], ctx: ToolContext) -> Json:
        """Run the tool and give its result as plain data.

        Waits for a place first if the tool has `max_concurrency`. No time limit of its own: open a scope.
        Cancelled: an async tool is cancelled where it waits; a plain one runs on in its thread, unheard, and
        keeps its place of `max_concurrency` until it ends.

        Raises:
            BadArguments: the tool was not entered.
            ToolError: it raised; whatever was not a Trouper error is the cause.
            BadResult: what it gave back is not data, or more than 10 MB of it.
        """
        arguments = self._arguments(parameters)
        if self.takes.context is not None:
            arguments[self.takes.context] = ctx
        try:
            return await self._enter(arguments)
        except TrouperError:
            raise
        except ExceptionGroup as group:
            raise self._failed(_only(group)) from group
        except (Exception, SystemExit) as error:
            # SystemExit too: a tool that calls `sys.exit` has failed, and must not end everybody else.
            raise self._failed(error) from error

    async def _enter(self, arguments: dict[str, object]) -> Json:
        limiter = self._limiter()
        if self.isolation == "thread":
            run = functools.partial(self._run_plain, arguments)
            return await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=limiter)
        place = object()  # one task may call the same tool from inside the tool
        await limiter.acquire_on_behalf_of(place)
        try:
            value = self.function(**arguments)
            if inspect.isawaitable(value) and is_async(self.function):
                value = await value
            # A tool that swallowed its cancellation must not be taken for one that ended in time.
            await trio.lowlevel.checkpoint_if_cancelled()
            return to_json(value)
        finally:
            limiter.release_on_behalf_of(place)

    def _run_plain(self, arguments: dict[str, object]) -> Json:
        return to_json(self.function(**arguments))  # copied in the thread: 10 MB would hold up the loop

    def _limiter(self) -> trio.CapacityLimiter:
        try:
            limiters = _limiters.get()
        except LookupError:
            limiters = {}
            _limiters.set(limiters)
        if self not in limiters:
            threads = self.isolation == "thread"
            limiters[self] = trio.CapacityLimiter(self.max_concurrency or (_DEFAULT_THREADS if threads else math.inf))
        return limiters[self]

    def _arguments(self, parameters: Mapping[str, object]) -> dict[str, object]:
        taken, problems = self.takes.take(parameters)
        if problems:
            n = len(problems)
            lines = "\n".join(f"- {p}" for p in problems)
            raise BadArguments(f"{self.name} was given {n} wrong argument{'s' if n > 1 else ''}:\n{lines}")
        return taken

    def _failed(self, error: BaseException) -> TrouperError:
        if isinstance(error, TrouperError):
            return error
        return ToolError(f"{self.name} raised {type(error).__name__}: {error}")


def _only(group: BaseException) -> BaseException:
    """The error inside groups of one: what the tool's author would call *the* error."""
    while isinstance(group, BaseExceptionGroup) and len(group.exceptions) == 1:
        group = group.exceptions[0]
    return group


@overload
def tool(function: Callable[..., object], /) -> Tool: ...


@overload
def tool(
    *,
    name: str | None = None,
    effect: Effect = Effect.ONCE,
    timeout: float | None = None,
    retries: int = 0,
    max_concurrency: int | None = None,
    isolation: Isolation | None = None,
    permission: str | None = None,
    verify: Verify | None = None,
) -> Callable[[Callable[..., object]], Tool]: ...


def tool(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    effect: Effect = Effect.ONCE,
    timeout: float | None = None,
    retries: int = 0,
    max_concurrency: int | None = None,
    isolation: Isolation | None = None,
    permission: str | None = None,
    verify: Verify | None = None,
) -> Tool | Callable[[Callable[..., object]], Tool]:
    """Make a tool of a typed function: `@tool`, or `@tool(effect=Effect.PURE, timeout=5)`.

    The function is async, or plain and then run in a thread. Its parameters may be text, numbers, truth
    values, None, lists, tuples, sets, dicts with text keys, `Literal`, unions, enums, `TypedDict`, attrs
    classes and dataclasses; one without annotation takes anything. `**parameters` takes any name.
    `ctx: ToolContext` receives the context and is not shown to the planner.

    Args:
        function: the function, when used without options.
        name: what plans call it; the function's own name otherwise.
        effect: what running it twice means; `ONCE` if nothing is said.
        timeout: seconds that one attempt may take.
        retries: how often a failed attempt may be repeated, as far as `effect` allows.
        max_concurrency: how many calls may run at once.
        isolation: "task" (in the event loop), or "thread"; async functions run in the task.
        permission: the class of leave it needs: read, write, overwrite, outside, network, memory.
        verify: re-checks a result by other means, for the verifier.

    Raises:
        TypeError: the function cannot be a tool; the message names every reason.
        ValueError: an option is out of range, or not there yet (`isolation="process"`).
    """
    if isinstance(function, Tool):
        raise TypeError(f"{function.name!r} is a tool already; decorate the function once")
    if function is not None and not callable(function):
        raise TypeError(f"@tool takes its options by keyword, as in @tool(name={function!r})")

    def make(function: Callable[..., object], names: Mapping[str, object]) -> Tool:
        return _make(
            function,
            names,
            _Options(
                name=name if name is not None else getattr(function, "__name__", ""),
                effect=effect,
                timeout=timeout,
                retries=retries,
                max_concurrency=max_concurrency,
                isolation=isolation,
                permission=permission,
                verify=verify,
            ),
        )

    # The caller's local names: a TypedDict defined inside a test function is a fine annotation too.
    if function is not None:
        return make(function, sys._getframe(1).f_locals)
    return lambda function: make(function, sys._getframe(1).f_locals)


def _positive(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and (isinstance(value, bool) or not value > 0):
        raise ValueError(f"{attribute.name}={value!r}: must be more than 0, or None for no limit")


@attrs.frozen(kw_only=True)
class _Options:
    name: str
    effect: Effect
    timeout: float | None = attrs.field(validator=_positive)
    retries: int
    max_concurrency: int | None = attrs.field(validator=_positive)
    isolation: Isolation | None
    permission: str | None
    verify: Verify | None

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TypeError(f"{self.name!r} is no name for a tool (letters, digits, _ . -); give it `name=`")
        if not isinstance(self.effect, Effect):
            raise TypeError(f"tool {self.name!r}: effect={self.effect!r}; write Effect.PURE, KEYED or ONCE")
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError(f"tool {self.name!r}: retries={self.retries!r} must be a whole number, 0 or more")
        if self.isolation is not None and self.isolation not in get_args(Isolation):
            raise ValueError(f"tool {self.name!r}: isolation={self.isolation!r}; use 'task' or 'thread'")
        if self.isolation == "process":
            raise ValueError(
                f"tool {self.name!r}: isolation='process' does not exist yet; leave it out to run "
                "plain functions in a thread"
            )
        if self.permission is not None and self.permission not in PERMISSIONS:
            known = ", ".join(PERMISSIONS)
            raise ValueError(f"tool {self.name!r}: permission={self.permission!r} is none of {known}")


def _make(function: Callable[..., object], names: Mapping[str, object], options: _Options) -> Tool:
    takes = parameters_of(function, options.name, ToolContext, names)
    gives = _gives(function, options.name, names)
    return Tool(
        name=options.name,
        description=description_of(function),
        function=function,
        schema=takes.schema(),
        required=tuple(p.name for p in takes.items if p.required),
        parameters=None if takes.rest is not None else tuple(p.name for p in takes.items),
        outputs=record_fields(gives),
        output_schema=gives.schema() if gives is not None else None,
        effect=options.effect,
        timeout=options.timeout,
        retries=options.retries,
        max_concurrency=options.max_concurrency,
        isolation=_isolation(function, options),
        permission=options.permission,
        verify=options.verify,
        takes=takes,
        gives=gives,
    )


def _isolation(function: Callable[..., object], options: _Options) -> Isolation:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"tool {options.name!r} is a generator; return a list of what it yields")
    if not is_async(function):
        return options.isolation or "thread"
    if options.isolation == "thread":
        raise TypeError(
            f"tool {options.name!r} is async and isolation='thread' wants a plain function; "
            "leave `isolation` out, or write `def` instead of `async def`"
        )
    return "task"


def _gives(function: Callable[..., object], name: str, names: Mapping[str, object]) -> Shape | None:
    """The declared result; what JSON cannot describe counts as undeclared, for `call` judges the value."""
    hint = hints_of(function, name, names).get("return", object)
    try:
        shape = shape_of(hint)
    except UnsupportedType:
        return None
    return shape if shape.schema() else None
