"""A run of thirty steps, cut off everywhere: each step has one end, and nothing is left of it.

The cut comes before the n-th step of any task of the run, for each n until the run ends by itself. What is left is
looked for in the journal, in the tools, in trio's count of tasks, and by running another plan that needs every slot.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.execution import thirty
from tests.execution.stage import FOREVER, Stage, opened, parallel
from trouper import Outcome, RunStatus, StepStatus, Troupe, tool
from trouper.runtime import MemoryJournal, Record


class CutAt(trio.abc.Instrument):
    """Cancels a scope before the n-th step of any task."""

    def __init__(self, scope: trio.CancelScope, n: int) -> None:
        self.scope = scope
        self.left = n
        self.cut = False

    def before_task_step(self, task: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.cut = True
            self.scope.cancel()


async def until_quiet() -> int:
    """Wait until nobody does anything any more; how many tasks there are then."""
    await trio.testing.wait_all_tasks_blocked()
    return trio.lowlevel.current_statistics().tasks_living


async def records_of(journal: MemoryJournal, run: int) -> tuple[Record, ...]:
    """Of the run that was started as the n-th."""
    return tuple(await journal.read((await journal.runs())[run]))


async def check_slots(troupe: Troupe, stage: Stage) -> None:
    """Another plan has every slot, and every place of the tool that takes two calls at a time."""
    stage.most = 0
    wide = [thirty.step(n, "pure") for n in range(1000, 1000 + thirty.SLOTS)]
    capped = [thirty.step(n, "checked") for n in range(2000, 2002)]
    began = trio.current_time()
    outcome = await troupe.run_plan(wide)
    assert (outcome.status, stage.most) == (RunStatus.SUCCESS, thirty.SLOTS)
    assert trio.current_time() == began + 1.0
    stage.most = 0
    assert (await troupe.run_plan(capped)).ok
    assert stage.most == 2


def new(stage: Stage) -> None:
    """Forget what was played so far."""
    stage.calls.clear()
    stage.ended.clear()
    stage.cancelled.clear()
    stage.running.clear()


async def test_a_run_that_is_not_cut_off_ends_as_it_must(autojump_clock) -> None:
    """The measure of the tests below."""
    stage, journal = Stage(), MemoryJournal()
    async with opened(thirty.tools(stage), journal=journal, **parallel(max_parallel_steps=thirty.SLOTS)) as troupe:
        outcome = await troupe.run_plan(thirty.PLAN)

        thirty.uncut(outcome)
        assert thirty.check_end(await records_of(journal, 0), stage) == outcome
    assert len({call.step for call in stage.calls}) == 30


@pytest.mark.parametrize("offset", range(4))
async def test_a_caller_cancelled_at_any_checkpoint_leaves_one_end_for_each_step(offset, autojump_clock) -> None:
    """Every fourth step of the scheduler, four times over: together all of them."""
    stage, journal = Stage(), MemoryJournal(keep=8)
    cuts, statuses = 0, set()
    async with opened(thirty.tools(stage), journal=journal, **parallel(max_parallel_steps=thirty.SLOTS)) as troupe:
        assert (await troupe.run_plan([thirty.step(1, "quick")])).ok  # whatever is made at first use is made
        tasks = await until_quiet()
        n, hit = offset + 1, True
        while hit:
            new(stage)
            with trio.CancelScope() as scope:
                instrument = CutAt(scope, n)
                trio.lowlevel.add_instrument(instrument)
                try:
                    await troupe.run_plan(thirty.PLAN)
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            hit = scope.cancelled_caught
            assert await until_quiet() == tasks, n
            if hit and n < 8 and not await journal.runs():
                n += 4
                continue  # before the orchestrator had it: there is no run
            ids = await journal.runs()
            records = await journal.read(ids[-1])
            if len(records) > 1 and not _is_short(records):
                outcome = thirty.check_end(records, stage)
                statuses.add(outcome.status)
                cuts += hit
            if n % 40 == offset + 1:
                await check_slots(troupe, stage)
            n += 4

    assert cuts > 25
    assert statuses == {RunStatus.CANCELLED, RunStatus.SUCCESS_WITH_FAILURES}


def _is_short(records: object) -> bool:
    """Of the plan that looks at the slots, or of the first."""
    return len(thirty.ended(records).steps) != len(thirty.IDS)


@pytest.mark.parametrize("tenths", range(0, 120, 7))
async def test_a_deadline_at_any_time_is_an_outcome_with_one_end_for_each_step(tenths, autojump_clock) -> None:
    """`timeout`: the run has failed for its deadline; what was finished stands."""
    stage, journal = Stage(), MemoryJournal()
    timeout = tenths / 10 + 0.05
    async with opened(thirty.tools(stage), journal=journal, **parallel(max_parallel_steps=thirty.SLOTS)) as troupe:
        tasks = await until_quiet()
        outcome = await troupe.run_plan(thirty.PLAN, timeout=timeout)

        assert thirty.check_end(await records_of(journal, 0), stage) == outcome
        assert await until_quiet() == tasks
        await check_slots(troupe, stage)
    if outcome.status is RunStatus.SUCCESS_WITH_FAILURES:
        thirty.uncut(outcome)
    else:
        assert outcome.status is RunStatus.FAILED
        assert outcome.error.kind == "deadline"
        states = {one.status for one in outcome.steps.values()}
        assert states & {StepStatus.CANCELLED, StepStatus.SKIPPED, StepStatus.FAILED}


@pytest.mark.parametrize("steps", [40, 1000])
async def test_many_sleeping_steps_are_cancelled_together(steps, autojump_clock) -> None:
    """All of them see it, in no time, and nothing is left."""
    stage = Stage()
    plan = [thirty.step(n, "sleep") for n in range(steps)]
    stage.seconds.update(dict.fromkeys(range(steps), float(FOREVER)))
    journal = MemoryJournal()
    tools = stage.tools(plan)
    async with opened(tools, journal=journal, **parallel(max_parallel_steps=steps)) as troupe:
        tasks = await until_quiet()
        with trio.move_on_after(3) as scope:
            await troupe.run_plan(plan)
        assert scope.cancelled_caught
        assert await until_quiet() == tasks

        outcome = thirty.ended(await records_of(journal, 0))
        assert trio.current_time() == 3.0
        assert sorted(stage.cancelled) == list(range(steps))
        assert {one.status for one in outcome.steps.values()} == {StepStatus.CANCELLED}


async def test_what_was_cut_off_and_counts_once_is_in_doubt_and_the_rest_is_cancelled(autojump_clock) -> None:
    """A cancelled run says of each step what is known of it."""
    stage, journal = Stage(), MemoryJournal()
    tools = thirty.tools(stage)
    plan = [thirty.step(1, "once"), thirty.step(2, "pure"), thirty.step(3, "quick"), thirty.step(4, "quick", 1)]
    async with opened(tools, journal=journal) as troupe:
        with trio.move_on_after(0.5):
            await troupe.run_plan(plan)
        await until_quiet()  # the caller goes at once; what was in hand is settled behind it
        outcome: Outcome = thirty.ended(await records_of(journal, 0))

    assert {i: one.status.value for i, one in outcome.steps.items()} == {
        1: "failed",
        2: "cancelled",
        3: "ok",
        4: "skipped",
    }
    assert outcome.steps[1].in_doubt
    assert outcome.status is RunStatus.CANCELLED


async def test_two_runs_know_nothing_of_each_others_end(autojump_clock) -> None:
    """One is cancelled, the other ends as if it had been alone."""
    stage, journal = Stage(), MemoryJournal()
    async with opened(thirty.tools(stage), journal=journal) as troupe, trio.open_nursery() as nursery:
        outcomes: list[Outcome] = []

        async def stay() -> None:
            outcomes.append(await troupe.run_plan(thirty.PLAN))

        async def go() -> None:
            with trio.move_on_after(2.5):
                await troupe.run_plan(thirty.PLAN)

        nursery.start_soon(stay)
        nursery.start_soon(go)

    [outcome] = outcomes
    thirty.uncut(outcome)


async def test_a_tool_that_is_cancelled_may_clean_up_but_not_for_ever(autojump_clock) -> None:
    """Its `finally` runs; the run ends when it has."""
    cleaned: list[float] = []

    @tool(name="work")
    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(2, shield=True):
                await trio.sleep(1)
                cleaned.append(trio.current_time())

    async with opened([work]) as troupe:
        with trio.move_on_after(5) as scope:
            await troupe.run_plan([{"id": 1, "action": "work"}])

        assert scope.cancelled_caught
        assert trio.current_time() == 5.0  # the caller goes at once
        await trio.sleep(3)
        assert cleaned == [6.0]
