"""What a level of plain steps is: nothing as long as none suspends, and its own nursery from then on."""

from __future__ import annotations

import trio
import trio.testing

from tests.execution.test_plain_made import place_for
from trouper import Effect, MemoryJournal, StepStatus, Tool, parse_plan, tool
from trouper.actors.plan_run import PlanRun
from trouper.actors.records import LevelStarted
from trouper.actors.runlog import RunLog


class Spawned(trio.abc.Instrument):
    """Counts the tasks that are begun."""

    def __init__(self) -> None:
        self.tasks = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += 1


def sleepers(cancelled: list[int]) -> Tool:
    """A plain tool that waits as long as it is told; 0 does not wait at all."""

    @tool(effect=Effect.PURE)
    async def rest(n: int, seconds: float, before: list) -> dict:
        """Wait."""
        try:
            if seconds:
                await trio.sleep(seconds)
        except trio.Cancelled:
            cancelled.append(n)
            raise
        return {"n": n, "before": len(before)}

    return rest


def step(n: int, seconds: float, *needs: int) -> dict[str, object]:
    parameters = {"n": n, "seconds": seconds, "before": [f"$step{one}.n" for one in needs]}
    return {"id": n, "action": "rest", "parameters": parameters}


async def test_levels_whose_steps_never_suspend_cost_no_task(autojump_clock) -> None:
    """A chain of 300: one task for all of it, and each of the 300 levels is told of."""
    rest = sleepers([])
    plan = parse_plan([step(n, 0.0, *((n - 1,) if n > 1 else ())) for n in range(1, 301)])
    spawned = Spawned()
    async with place_for([rest], full=True, slots=5) as place:
        log = RunLog("run", plan, began=trio.current_time())
        trio.lowlevel.add_instrument(spawned)
        await PlanRun(log, place).run()
        trio.lowlevel.remove_instrument(spawned)

    assert all(one.status is StepStatus.OK for one in log.outcomes.values())
    assert spawned.tasks <= 2


async def test_each_level_with_a_step_that_waits_has_a_nursery_that_cancels_it_alone(autojump_clock) -> None:
    """Three levels overlap: some of their steps wait, all of them began in the same loop."""
    cancelled: list[int] = []
    rest = sleepers(cancelled)
    plan = parse_plan(
        [
            step(1, 0.0),
            step(2, 100.0),
            step(3, 100.0),
            step(4, 0.0, 1),
            step(5, 100.0, 1),
            step(6, 100.0, 1),
            step(7, 100.0, 4),
            step(8, 100.0, 4),
        ]
    )
    async with place_for([rest], full=False, slots=20) as place, trio.open_nursery() as outside:
        log = RunLog("run", plan, began=trio.current_time())
        run = PlanRun(log, place)
        outside.start_soon(run.run)
        await trio.testing.wait_all_tasks_blocked()
        nurseries = [level._nursery for level in run.levels]
        assert len({id(nursery) for nursery in nurseries}) == 3
        assert all(nursery is not None and nursery is not run._nursery for nursery in nurseries)
        # The level's own task waits in one step, each of the others in one of its own.
        assert [len(nursery.child_tasks) for nursery in nurseries] == [1, 1, 1]

        run.levels[1].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(cancelled) == [5, 6]
        run.levels[0].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(cancelled) == [2, 3, 5, 6]
        outside.cancel_scope.cancel()

    assert sorted(cancelled) == [2, 3, 5, 6, 7, 8]


async def test_a_level_is_told_of_once_whether_or_not_it_gets_a_nursery(autojump_clock) -> None:
    from tests.execution.test_plain_steps import Case, troupe_for

    for seed in range(20):
        case = Case.at_random(seed)
        async with troupe_for(case, 3, MemoryJournal()) as troupe:
            with troupe.system.events(10_000) as told:
                outcome = await troupe.run_plan(case.plan())
                levels = [event.level for event in told.take_nowait() if isinstance(event, LevelStarted)]
        assert outcome.ok
        assert sorted(levels) == list(range(len(outcome.plan.levels)))
