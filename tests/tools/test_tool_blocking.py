"""A tool that holds up the event loop is named, with how long nothing else could run."""

import pytest
import trio

from trouper.actors import tool as tool_module
from trouper.actors import tool_drive
from trouper.actors.tool import ToolContext, tool
from trouper.actors.tool_counts import tool_statistics

CTX = ToolContext(run_id="r", step_id=3)


@pytest.fixture
def clock(monkeypatch):
    """`perf_counter` moves only when a tool says so."""

    class Clock:
        now = 0.0

    clock = Clock()
    for module in (tool_module, tool_drive):
        monkeypatch.setattr(module, "perf_counter", lambda: clock.now)
    return clock


@pytest.mark.parametrize("kind", ["before it waits", "after it waited", "without waiting", "plain"])
async def test_a_tool_that_holds_up_the_loop_is_named_with_its_seconds(kind, clock, caplog, make_reports):
    if kind == "plain":

        @tool(isolation="task")
        def hog():
            clock.now += 0.7
    else:

        @tool
        async def hog():
            if kind == "after it waited":
                await trio.lowlevel.checkpoint()
            clock.now += 0.7
            if kind == "before it waits":
                await trio.lowlevel.checkpoint()

    reports = make_reports(block_limit=0.5)
    await hog.call({}, CTX, reports.place)

    assert reports.blocked == [("hog", 3, pytest.approx(0.7))]
    assert "hog held up the event loop for 0.70 s" in caplog.text
    assert tool_statistics().blocked_total == 1


async def test_many_short_stretches_do_not_block(clock, make_reports):
    @tool
    async def polite():
        for _ in range(10):
            clock.now += 0.4
            await trio.lowlevel.checkpoint()

    reports = make_reports(block_limit=0.5)
    await polite.call({}, CTX, reports.place)

    assert reports.blocked == []


async def test_a_tool_that_blocked_past_its_deadline_is_late(clock, mock_clock, make_reports):
    """trio sees deadlines only between tasks, so after a long stretch there is a checkpoint."""

    @tool
    async def hog() -> str:
        clock.now += 5
        mock_clock.jump(5)
        return "all well"

    with trio.move_on_after(1) as scope:
        await hog.call({}, CTX, make_reports(block_limit=0.5).place)

    assert scope.cancelled_caught
