"""Tools: typed functions that a plan may call.

`@tool` turns a function into a frozen `Tool`: its parameters become a JSON Schema, its docstring the
description that a model reads, its return annotation the fields that later steps may refer to. What runs
it is `Tool.call`, which is the only place where a tool's function is entered: arguments are checked first
and all at once, a plain function goes to a worker thread, and what comes back is copied into plain data or
refused. Permissions, time-outs and retries are the executor's: the tool only carries the wishes.

`call` is on the way of every step, so it does nothing that this tool does not need: no limiter without
`max_concurrency`, no checkpoint and no scope for an async function that never suspends (`tool_drive` says how).
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping
from time import perf_counter
from types import CoroutineType
from typing import overload

import attrs
import trio
from trio.lowlevel import current_task

from trouper.runtime import ActionSignature, BadArguments, ToolError

from .protocols import Json, ProcessCall
from .tool_checked import Checked, Verify
from .tool_context import Effect, ToolContext
from .tool_data import to_json
from .tool_drive import DISMISSED, Suspended, drive, waited_for
from .tool_failure import fail
from .tool_options import Isolation, Reconcile, ToolOptions
from .tool_place import BARE, ToolPlace
from .tool_schema import Parameters, description_of, hints_of, is_async, parameters_of
from .tool_shapes import Shape, Taking
from .tool_threads import run_in_thread
from .tool_types import UnsupportedType, record_fields, shape_of

__all__ = ["Checked", "Effect", "Isolation", "Tool", "ToolContext", "Verify", "tool"]

# Per event loop: a tool is a module's global and outlives them.
_limiters: trio.lowlevel.RunVar[dict[Tool, trio.CapacityLimiter]] = trio.lowlevel.RunVar("tool_limiters")


_AT_ONCE: dict[Isolation, float] = {"task": math.inf, "thread": 40, "process": 8}
"""Calls of one tool at once where it does not say."""


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
    reconcile: Reconcile | None = None
    """Looks whether a call has happened that was cut off by the end of the program."""
    takes: Parameters = attrs.field(repr=False)
    """The compiled parameters."""
    gives: Shape | None = attrs.field(default=None, repr=False)
    """The compiled result."""
    wants_context: bool = attrs.field(init=False, repr=False)
    """Whether the function takes a `ToolContext`; for another one `call` only reports with it."""
    _awaited: bool = attrs.field(init=False, repr=False)
    _light: bool = attrs.field(init=False, repr=False)

    @wants_context.default
    def _takes_context(self) -> bool:
        return self.takes.context is not None

    @_awaited.default
    def _is_async(self) -> bool:
        return is_async(self.function)

    @_light.default
    def _needs_nothing(self) -> bool:
        return self.isolation == "task" and self.max_concurrency is None

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

    async def call(self, parameters: Mapping[str, object], ctx: ToolContext, place: ToolPlace = BARE) -> Json:
        """Run the tool and give its result as plain data.

        Waits for a place first if the tool has `max_concurrency`. No time limit of its own: open a scope.
        No checkpoint of its own either: with an async function that never suspends this never does.
        Cancelled: an async tool is cancelled where it waits, and closed if it goes on waiting all the same; a plain
        one runs on in its thread, unheard; a process is killed with all its children.

        Raises:
            BadArguments: the tool was not entered.
            ToolError: it raised; whatever was not a Trouper error is the cause. Or it was not entered, because too
                many threads of it hang, or because `place` has no processes.
            ToolDied: its process ended without a result.
            BadResult: what it gave back is not data, or more than 10 MB of it.
        """
        limiter: trio.CapacityLimiter | None = None
        if not self._light:
            if self.isolation != "task":
                return await self._call_elsewhere(parameters, ctx, place)
            limiter, held = self._limiter(), object()  # and not the task: a tool may call itself
            await limiter.acquire_on_behalf_of(held)
        try:
            value = self.begin(parameters, ctx, place)
            return await self.go_on(value, ctx, place) if isinstance(value, Suspended) else value
        finally:
            if limiter is not None:
                limiter.release_on_behalf_of(held)

    @property
    def awaited(self) -> bool:
        """Whether the function is async."""
        return self._awaited

    @property
    def light(self) -> bool:
        """Whether a call is nothing but a call of the function: in the event loop, however many at once."""
        return self._light

    def begin(self, parameters: Mapping[str, object], ctx: ToolContext, place: ToolPlace = BARE) -> Json | Suspended:
        """`call` of a tool that is `light`, up to its first suspension: its result, or what `go_on` needs.

        Most of what a plan calls for the sake of its arithmetic never suspends, and then costs no coroutine of ours.
        """
        arguments = self.takes.quick(parameters)
        if arguments is None:
            arguments = self._arguments(parameters)
        if self.takes.context is not None:
            arguments = {**arguments, self.takes.context: ctx}
        scopes = current_task()._cancel_status  # see `tool_scopes`; from outside what the tool may open
        suspended: Suspended | None = None
        began = perf_counter()
        try:
            value = self.function(**arguments)
            if self._awaited:
                coroutine = value if type(value) is CoroutineType else waited_for(value)
                try:
                    message = coroutine.send(None)
                except StopIteration as done:
                    value = done.value
                else:
                    suspended = Suspended(coroutine, message, scopes)
        except BaseException as error:  # noqa: BLE001 - it is judged
            fail(self.name, error)
        result: Json | Suspended
        try:
            result = suspended or to_json(value)
        except Exception as error:  # noqa: BLE001 - a mapping of the tool's own, or a dict that it goes on changing
            fail(self.name, error)
        if (took := perf_counter() - began) > place.block_limit:
            place.report_blocked(self, ctx, took)
            if suspended is None:  # its deadline may have passed, and nobody could say so: `go_on` looks
                return Suspended(None, result, scopes)
        return result

    async def go_on(self, suspended: Suspended, ctx: ToolContext, place: ToolPlace = BARE) -> Json:
        """The rest of a call that `begin` has begun; see `call`."""
        coroutine, scopes = suspended.coroutine, suspended.scopes
        result: Json = suspended.message
        if coroutine is not None:
            value = await drive(self, ctx, place, coroutine, suspended.message, scopes)
            if scopes.effectively_cancelled:  # it swallowed that, and must not be taken for one that ended in time
                await trio.lowlevel.checkpoint_if_cancelled()
            if value is DISMISSED:
                raise ToolError(f"{self.name} was closed because it swallowed its cancellation again and again")
            began = perf_counter()
            result = self._as_data(value)
            if (took := perf_counter() - began) <= place.block_limit:
                return result
            place.report_blocked(self, ctx, took)
        await trio.lowlevel.checkpoint()
        return result

    async def _call_elsewhere(self, parameters: Mapping[str, object], ctx: ToolContext, place: ToolPlace) -> Json:
        arguments = self.takes.quick(parameters)
        if arguments is None:
            arguments = self._arguments(parameters)
        if self.takes.context is not None:
            arguments = {**arguments, self.takes.context: ctx}
        limiter = self._limiter()
        try:
            if self.isolation == "process":
                async with limiter:
                    return await self._call_process(parameters, ctx, place)
            work = functools.partial(self._run_plain, arguments)
            return await run_in_thread(self, work, limiter, place.max_abandoned)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - it is judged
            fail(self.name, error)

    async def _call_process(self, parameters: Mapping[str, object], ctx: ToolContext, place: ToolPlace) -> Json:
        if place.processes is None:
            raise ToolError(f"{self.name} wants a process of its own, and this call has no `processes`", effect=False)
        context = ctx if self.takes.context is not None else None
        return await place.processes.run(
            ProcessCall(tool=self.name, function=self.function, parameters=to_json(dict(parameters)), context=context)
        )

    def _as_data(self, value: object) -> Json:
        try:
            return to_json(value)
        except Exception as error:  # noqa: BLE001 - as in `begin`
            fail(self.name, error)

    def _run_plain(self, arguments: Mapping[str, object]) -> Json:
        return to_json(self.function(**arguments))  # copied in the thread: 10 MB would hold up the loop

    def _limiter(self) -> trio.CapacityLimiter:
        try:
            limiters = _limiters.get()
        except LookupError:
            limiters = {}
            _limiters.set(limiters)
        if self not in limiters:
            limiters[self] = trio.CapacityLimiter(self.max_concurrency or _AT_ONCE[self.isolation])
        return limiters[self]

    def _arguments(self, parameters: Mapping[str, object]) -> dict[str, object]:
        taken, problems = self.takes.take(parameters)
        if problems:
            n = len(problems)
            lines = "\n".join(f"- {p}" for p in problems)
            raise BadArguments(f"{self.name} was given {n} wrong argument{'s' if n > 1 else ''}:\n{lines}")
        return taken


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
    reconcile: Reconcile | None = None,
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
    reconcile: Reconcile | None = None,
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
        isolation: "task" (in the event loop), "thread", or "process" (an interpreter of its own, with limits, killed
            when its step is cancelled); by default async functions run in the task and plain ones in a thread.
        permission: the class of leave it needs: read, write, overwrite, outside, network, memory.
        verify: re-checks a result by other means, for the verifier.
        reconcile: looks whether a call has happened during which the program was killed: an async function of the
            parameters and the idempotency key. False: it has not; None: it cannot say; anything else: its result.

    Raises:
        TypeError: the function cannot be a tool; the message names every reason.
        ValueError: an option is out of range.
    """
    if isinstance(function, Tool):
        raise TypeError(f"{function.name!r} is a tool already; decorate the function once")
    if function is not None and not callable(function):
        raise TypeError(f"@tool takes its options by keyword, as in @tool(name={function!r})")

    def make(function: Callable[..., object], names: Mapping[str, object]) -> Tool:
        return _make(
            function,
            names,
            ToolOptions(
                name=name if name is not None else getattr(function, "__name__", ""),
                effect=effect,
                timeout=timeout,
                retries=retries,
                max_concurrency=max_concurrency,
                isolation=isolation,
                permission=permission,
                verify=verify,
                reconcile=reconcile,
            ),
        )

    # The caller's local names: a TypedDict defined inside a test function is a fine annotation too.
    if function is not None:
        return make(function, sys._getframe(1).f_locals)
    return lambda function: make(function, sys._getframe(1).f_locals)


def _make(function: Callable[..., object], names: Mapping[str, object], options: ToolOptions) -> Tool:
    isolation = options.isolation_of(function)
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
        isolation=isolation,
        permission=options.permission,
        verify=options.verify,
        reconcile=options.reconcile,
        takes=takes,
        gives=gives,
    )


def _gives(function: Callable[..., object], name: str, names: Mapping[str, object]) -> Shape | None:
    """The declared result; what JSON cannot describe counts as undeclared, for `call` judges the value."""
    hint = hints_of(function, name, names).get("return", object)
    try:
        shape = shape_of(hint)
    except UnsupportedType:
        return None
    return shape if shape.schema() else None
