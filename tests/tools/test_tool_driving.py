"""An async tool is driven by hand: nothing is paid for what it does not do, and swallowed cancellations have an end."""

import contextlib

import attrs
import pytest
import trio

from trouper.actors import tool_drive
from trouper.actors.tool import ToolContext, tool
from trouper.actors.tool_counts import tool_statistics
from trouper.actors.tool_drive import driven
from trouper.runtime import ToolError

CTX = ToolContext(run_id="r", step_id=3)


# ------------------------------------------------------------ what is not paid for
def test_a_tool_that_never_suspends_needs_no_event_loop_pass():
    """`call` comes to its end in one go, whatever else is ready: it is no checkpoint."""

    @tool
    async def quick(n: int) -> dict:
        return {"n": n}

    async def main():
        ran = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, ran)
            await quick.call({"n": 1}, CTX)
            return tuple(ran)

    async def note(ran):
        ran.append("another task")

    assert trio.run(main) == ()


async def test_arguments_of_the_declared_types_are_not_converted_but_lists_are_copied():
    given = []

    @tool
    async def work(items: list):
        items.sort()
        given.append(items)

    mine = [2, 1]
    await work.call({"items": mine}, CTX)

    assert (given, mine) == ([[1, 2]], [2, 1])


async def test_an_awaitable_that_is_no_coroutine_is_awaited_too(autojump_clock):
    async def late_value():
        await trio.sleep(3)
        return "late"

    class Late:
        def __await__(self):
            return late_value().__await__()

    @tool
    async def work() -> str: ...

    late = attrs.evolve(work, function=Late)
    object.__setattr__(late, "_awaited", True)  # as Cython marks its functions

    assert await late.call({}, CTX) == "late"


# ------------------------------------------------------------ swallowing the cancellation
@tool
async def patient():
    while True:
        with contextlib.suppress(trio.Cancelled):
            await trio.sleep_forever()


@tool
async def stubborn():
    while True:
        with contextlib.suppress(BaseException):
            await trio.sleep_forever()


@tool
async def stubborn_in_a_scope():
    with trio.CancelScope():
        while True:
            with contextlib.suppress(BaseException):
                await trio.sleep(1)


@tool
async def patient_with_children():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        while True:
            with contextlib.suppress(trio.Cancelled):
                await trio.sleep(1)


@tool
async def stubborn_with_children():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        while True:
            with contextlib.suppress(BaseException):
                await trio.sleep(1)


SWALLOWERS = [patient, stubborn, stubborn_in_a_scope, patient_with_children, stubborn_with_children]


@pytest.mark.parametrize("swallower", SWALLOWERS, ids=lambda t: t.name)
async def test_a_tool_that_swallows_every_cancellation_is_closed_and_named(
    swallower, autojump_clock, caplog, make_reports
):
    """Its step is cancelled, the scopes and tasks around it are in order, and somebody is told its name."""
    reports = make_reports()
    before = trio.lowlevel.current_statistics().tasks_living
    start = trio.current_time()

    with trio.move_on_after(5) as scope:
        await swallower.call({}, CTX, reports.place)
    ended = trio.current_time()
    await trio.testing.wait_all_tasks_blocked()

    assert scope.cancelled_caught
    assert ended == start + 5
    assert reports.dismissed == [(swallower.name, 3)]
    assert f"{swallower.name} swallowed its cancellation" in caplog.text
    assert tool_statistics().dismissed_total == 1
    assert trio.lowlevel.current_statistics().tasks_living == before
    await trio.sleep(1)  # the task's own scopes are what they were


async def test_the_scopes_of_a_dismissed_tool_are_left_in_order(autojump_clock, make_reports):
    """What stands in its `finally` is done, and may even wait."""
    done = []

    @tool
    async def tidy():
        try:
            await patient.function()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            done.append(trio.current_time())

    start = trio.current_time()
    with trio.move_on_after(1):
        await tidy.call({}, CTX, make_reports().place)

    assert done == [start + 3]


async def test_a_tool_with_many_time_limits_of_its_own_is_left_alone(autojump_clock, make_reports):
    """They end in `Cancelled` as well, and have nothing to do with the step."""

    @tool
    async def polling() -> int:
        for _ in range(5 * tool_drive.PATIENCE):
            with trio.move_on_after(0.01):
                await trio.sleep_forever()
        return 1

    reports = make_reports()

    assert await polling.call({}, CTX, reports.place) == 1
    assert reports.dismissed == []


async def test_cleaning_up_behind_a_shield_is_not_swallowing(autojump_clock, make_reports):
    ended = []

    @tool
    async def thorough():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                for _ in range(5 * tool_drive.PATIENCE):
                    await trio.sleep(0.01)
            ended.append("clean")

    reports = make_reports()
    with trio.move_on_after(1) as scope:
        await thorough.call({}, CTX, reports.place)

    assert (scope.cancelled_caught, ended, reports.dismissed) == (True, ["clean"], [])


# ------------------------------------------------------------ whatever else an author writes
async def test_other_functions_of_an_author_are_driven_in_the_same_way(autojump_clock, make_reports):
    """A `verify` that swallows its cancellation, or raises, is as harmless as a tool that does."""

    async def good():
        await trio.sleep(1)
        return 7

    async def bad():
        await trio.sleep(1)
        raise OSError("no disk")

    reports = make_reports()
    with trio.move_on_after(5) as scope:
        await driven(patient, patient.function(), CTX, reports.place)

    assert scope.cancelled_caught
    assert reports.dismissed == [("patient", 3)]
    assert await driven(patient, good()) == 7
    with pytest.raises(ToolError, match="patient raised OSError: no disk"):
        await driven(patient, bad())
    with pytest.raises(TypeError, match="a int cannot be awaited; write `async def`"):
        await driven(patient, 7)
