"""A plain function that hangs is left behind: counted, bounded, and without its place."""

import threading
import time

import pytest
import trio
import trio.testing

from trouper.actors.tool import ToolContext, tool
from trouper.actors.tool_counts import ToolCounts, tool_statistics
from trouper.actors.tool_place import ToolPlace
from trouper.actors.tool_threads import _Work
from trouper.runtime import ToolError

pytestmark = pytest.mark.io
CTX = ToolContext(run_id="r", step_id=3)


class Hanging:
    """A tool whose calls hang until `finish` is set."""

    def __init__(self, **options):
        self.started = threading.Semaphore(0)
        self.finish = threading.Event()
        self.entered = 0

        @tool(name="hang", **options)
        def hang(wait: bool) -> str:
            self.entered += 1
            self.started.release()
            if wait:
                self.finish.wait(60)
            return "done"

        self.tool = hang

    async def leave(self, n=1, place=None):
        """Have `n` calls left behind in their threads."""
        async with trio.open_nursery() as nursery:
            for _ in range(n):
                nursery.start_soon(self.tool.call, {"wait": True}, CTX, place or ToolPlace())
            for _ in range(n):
                await trio.to_thread.run_sync(self.started.acquire)
            nursery.cancel_scope.cancel()


async def until(condition):
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - a thread makes it so, and has no way to tell
            await trio.sleep(0.001)


@pytest.fixture
def make_hanging():
    made = []

    def make(**options):
        made.append(Hanging(**options))
        return made[-1]

    yield make
    for hanging in made:
        hanging.finish.set()


async def test_cancelling_leaves_a_plain_tool_behind_and_gives_its_place_to_the_next(make_hanging):
    """A place that only a hung thread could give back would be lost for ever."""
    hanging = make_hanging(max_concurrency=1)
    await hanging.leave()

    with trio.fail_after(60):
        assert await hanging.tool.call({"wait": False}, CTX) == "done"
    assert tool_statistics().abandoned_now == 1


async def test_left_threads_are_counted_until_they_end(make_hanging):
    hanging = make_hanging()
    await hanging.leave(3)
    during = tool_statistics()
    hanging.finish.set()
    await until(lambda: not tool_statistics().abandoned_now)

    assert (during.abandoned_now, during.abandoned_total) == (3, 3)
    assert tool_statistics().abandoned_total == 3


async def test_a_tool_of_which_too_many_threads_hang_is_refused_before_it_starts(make_hanging):
    hanging, place = make_hanging(), ToolPlace(max_abandoned=2)
    await hanging.leave(2, place)
    entered = hanging.entered

    with pytest.raises(ToolError, match="hang was not started: 2 threads of it still hang") as caught:
        await hanging.tool.call({"wait": False}, CTX, place)

    assert (hanging.entered, caught.value.effect) == (entered, False)
    assert tool_statistics().refused_total == 1


async def test_threads_that_hang_are_no_other_tools_business(make_hanging):
    hanging, other, place = make_hanging(), make_hanging(), ToolPlace(max_abandoned=1)
    await hanging.leave(1, place)

    assert await other.tool.call({"wait": False}, CTX, place) == "done"


async def test_a_refused_tool_works_again_when_its_threads_have_ended(make_hanging):
    hanging, place = make_hanging(), ToolPlace(max_abandoned=1)
    await hanging.leave(1, place)
    hanging.finish.set()
    await until(lambda: not tool_statistics().abandoned_now)

    assert await hanging.tool.call({"wait": False}, CTX, place) == "done"


async def test_a_call_that_ends_in_time_leaves_nothing_behind(make_hanging):
    hanging = make_hanging()
    for _ in range(3):
        await hanging.tool.call({"wait": False}, CTX)

    assert tool_statistics().abandoned_total == 0


async def test_a_thread_that_is_cancelled_before_it_begins_never_begins(make_hanging):
    hanging = make_hanging()
    with trio.CancelScope() as scope:
        scope.cancel()
        await hanging.tool.call({"wait": False}, CTX)

    assert scope.cancelled_caught
    assert hanging.entered == 0
    assert tool_statistics().abandoned_total == 0


def test_a_thread_that_is_left_before_it_begins_never_begins():
    """It was started, and before it came to run nobody waited for it any more: then its effect must not happen."""
    entered = []
    work = _Work(tool(print_nothing), lambda: entered.append(1), counts := ToolCounts())

    assert work.leave() is False
    assert work.run() is None
    assert (entered, counts.abandoned_total) == ([], 0)


def print_nothing(): ...


async def test_max_concurrency_bounds_the_threads_that_somebody_waits_for():
    running, most, lock, go_on = 0, 0, threading.Lock(), threading.Event()

    @tool(max_concurrency=2)
    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go_on.wait(60)
        with lock:
            running -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(work.call, {}, CTX)
        await until(lambda: running == 2)
        await trio.testing.wait_all_tasks_blocked(0.02)  # a third one would have begun by now
        go_on.set()

    assert most == 2


def test_a_left_thread_takes_nothing_from_the_next_event_loop(make_hanging):
    hanging = make_hanging(max_concurrency=1)

    async def again():
        with trio.fail_after(60):
            assert await hanging.tool.call({"wait": False}, CTX, ToolPlace(max_abandoned=1)) == "done"
        return tool_statistics().abandoned_now

    trio.run(hanging.leave)

    assert trio.run(again) == 0


def test_a_thread_that_ends_after_its_event_loop_ends_in_silence(make_hanging, capfd):
    hanging = make_hanging()
    trio.run(hanging.leave)
    hanging.finish.set()
    for thread in threading.enumerate():
        if thread.name == "tool hang":
            thread.join(0.2)

    assert capfd.readouterr().err == ""


async def test_a_cancelled_that_a_thread_raises_by_itself_is_a_failure():
    """`from_thread` gives threads a `Cancelled` of their own; one that was not asked for is a foreign one."""
    caught, started = [], threading.Event()

    @tool
    def first():
        started.set()
        while True:
            time.sleep(0.001)
            try:
                trio.from_thread.check_cancelled()
            except trio.Cancelled as error:
                caught.append(error)
                raise

    @tool
    def second():
        raise caught[0]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.call, {}, CTX)
        await trio.to_thread.run_sync(started.wait)
        nursery.cancel_scope.cancel()
    await until(lambda: caught)

    with pytest.raises(ToolError, match="although its step was not cancelled"):
        await second.call({}, CTX)
