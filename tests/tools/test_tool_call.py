"""`Tool.call`: where the function runs, what its failures become, and what happens on cancel."""

import math
import sys
import threading

import pytest
import trio

from trouper.actors.tool import ToolContext, tool
from trouper.actors.tool_drive import Suspended
from trouper.actors.tool_place import ToolPlace
from trouper.actors.tool_quick import LEARN, Deep, QuickTool
from trouper.runtime import BadArguments, BadResult, ToolError

CTX = ToolContext(run_id="r", step_id=3, workspace="/w")


@pytest.mark.io
async def test_a_plain_function_runs_in_a_thread_and_an_async_one_in_the_task():
    here = threading.get_ident()

    @tool
    def plain() -> bool:
        return threading.get_ident() == here

    @tool
    async def coroutine() -> bool:
        await trio.lowlevel.checkpoint()
        return threading.get_ident() == here

    @tool(isolation="task")
    def inline() -> bool:
        return threading.get_ident() == here

    assert await plain.call({}, CTX) is False
    assert await coroutine.call({}, CTX) is True
    assert await inline.call({}, CTX) is True


async def test_the_context_arrives_under_any_name():
    @tool
    async def work(n: int, about: ToolContext) -> list:
        about.progress("half")
        return [n, about.run_id, about.step_id, about.attempt, math.isinf(about.deadline)]

    assert await work.call({"n": 1}, CTX) == [1, "r", 3, 1, True]


async def test_wrong_arguments_do_not_reach_the_function():
    entered = []

    @tool
    async def work(n: int):
        entered.append(n)

    with pytest.raises(BadArguments):
        await work.call({"n": "1"}, CTX)

    assert entered == []


@pytest.mark.io
@pytest.mark.parametrize("isolation", ["task", "thread"])
async def test_whatever_a_tool_raises_becomes_a_tool_error_with_its_cause(isolation):
    @tool(isolation=isolation)
    def work():
        raise KeyError("goal")

    with pytest.raises(ToolError, match=r"^work raised KeyError: 'goal'$") as caught:
        await work.call({}, CTX)

    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.effect is None


@pytest.mark.io
@pytest.mark.parametrize("isolation", ["task", "thread"])
async def test_a_tool_that_exits_fails_and_ends_nobody_else(isolation):
    @tool(isolation=isolation)
    def work():
        sys.exit(3)

    with pytest.raises(ToolError, match="work raised SystemExit: 3"):
        await work.call({}, CTX)


async def test_our_own_errors_come_through_as_they_are():
    mine = ToolError("no ink", effect=False)

    @tool
    async def work():
        raise mine

    with pytest.raises(ToolError) as caught:
        await work.call({}, CTX)

    assert caught.value is mine


async def test_an_error_inside_the_tools_own_nursery_is_the_error():
    @tool
    async def typed():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, ToolError("no ink"))

    @tool
    async def other():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, OSError("no disk"))

    async def fail(error):
        raise error

    with pytest.raises(ToolError, match=r"^no ink$"):
        await typed.call({}, CTX)
    with pytest.raises(ToolError, match="other raised OSError: no disk"):
        await other.call({}, CTX)


async def test_a_coroutine_in_disguise_is_named():
    async def inner(): ...

    @tool(isolation="task")
    def work():
        return inner()

    with pytest.raises(BadResult, match="the result is a coroutine: write `async def`"):
        await work.call({}, CTX)


async def test_cancelling_cancels_an_async_tool(autojump_clock):
    ended = []

    @tool
    async def work():
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    start = trio.current_time()
    with trio.move_on_after(5) as scope:
        await work.call({}, CTX)

    assert scope.cancelled_caught
    assert ended == [start + 5]


async def test_a_tool_that_swallows_its_cancellation_has_not_ended_in_time(autojump_clock):
    @tool
    async def stubborn() -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return "all well"

    with trio.move_on_after(1) as scope:
        await stubborn.call({}, CTX)

    assert scope.cancelled_caught


async def test_max_concurrency_bounds_async_calls(autojump_clock):
    running, most = 0, 0

    @tool(max_concurrency=2)
    async def work():
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(work.call, {}, CTX)

    assert most == 2
    assert trio.current_time() - start == 3


async def test_a_tool_may_call_itself():
    @tool
    async def down(n: int) -> int:
        return 0 if n == 0 else 1 + await down.call({"n": n - 1}, CTX)

    assert await down.call({"n": 3}, CTX) == 3


def test_one_tool_serves_many_runs():
    @tool(max_concurrency=1)
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 1

    async def twice():
        return await work.call({}, CTX) + await work.call({}, CTX)

    assert [trio.run(twice), trio.run(twice)] == [2, 2]


async def test_the_prepared_beginning_does_what_the_general_one_does(autojump_clock):
    """`QuickTool` knows the tool after some calls; nothing else about the call is different."""

    class Odd(dict):
        def items(self):
            raise ValueError("odd")

    @tool
    async def work(kind: str, items: list) -> object:
        items.append(1)
        if kind == "late":
            await trio.sleep(1)
        if kind == "raise":
            raise KeyError("goal")
        return Odd(a=1) if kind == "odd" else {"n": len(items)}

    async def told(begin, parameters):
        place = ToolPlace()
        try:
            value = begin(parameters, CTX, place)
            if isinstance(value, Suspended):
                return "suspended", await work.go_on(value, CTX, place)
        except ToolError as error:
            return type(error), str(error)
        return "at once", value

    made = QuickTool(work)

    def quick(parameters, ctx, place):
        value = made.begin(parameters, ctx, trio.lowlevel.current_task()._cancel_status)
        return value.value if isinstance(value, Deep) else value

    given = [{"kind": kind, "items": []} for kind in ("plain", "late", "raise", "odd")]
    given += [{"kind": 1, "items": []}, {"kind": "plain"}, {"kind": "plain", "items": [], "more": 1}]
    first = made.begin
    for parameters in given * (1 + LEARN // 2):
        assert await told(quick, parameters) == await told(work.begin, parameters)
    assert made.begin is not first, "it never learned anything"
    assert all(not parameters.get("items") for parameters in given)
