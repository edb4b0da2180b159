"""The executor crashes in the middle of a run, everywhere: the run goes on, and nothing finished is done again."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
import trio.testing

from tests.execution import thirty
from tests.execution.stage import Stage, opened, parallel
from trouper import RunStatus, StepStatus, Troupe
from trouper.actors.records import StepEnded
from trouper.runtime import MemoryJournal
from trouper.testing import When, crash

PATIENT = {"supervision": {"intensity": 1000, "backoff": {"min": 0.001, "max": 0.002}}}


class CrashAt(trio.abc.Instrument):
    """Crashes an actor of a troupe before the n-th step of any task, if it is at work then."""

    def __init__(self, troupe: Troupe, name: str, n: int) -> None:
        self.ref = troupe.system.find(f"troupe/{name}")
        self.left = n
        self.hit = False

    def before_task_step(self, task: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.hit = True
            crash(self.ref, When.NOW)


async def crashed_run(troupe: Troupe, name: str, n: int):
    """A run of the thirty steps with a crash before the n-th step of any task; None: it had ended by then."""
    instrument = CrashAt(troupe, name, n)
    trio.lowlevel.add_instrument(instrument)
    try:
        outcome = await troupe.run_plan(thirty.PLAN)
    finally:
        trio.lowlevel.remove_instrument(instrument)
    await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(1)  # the next incarnation is there
    return outcome if instrument.hit else None


def new(stage: Stage) -> None:
    """Forget what was played so far."""
    stage.calls.clear()
    stage.ended.clear()
    stage.cancelled.clear()
    stage.running.clear()


@pytest.mark.parametrize("offset", range(4))
async def test_an_executor_that_crashes_at_any_moment_goes_on_from_what_is_written(offset, autojump_clock) -> None:
    """Every fourth step of the scheduler, four times over: together all of them."""
    stage, journal = Stage(), MemoryJournal(keep=4)
    seen: set[RunStatus] = set()
    options = {**PATIENT, **parallel(max_parallel_steps=thirty.SLOTS)}
    async with opened(thirty.tools(stage), journal=journal, **options) as troupe:
        tasks = trio.lowlevel.current_statistics().tasks_living
        n, outcome = offset + 1, True
        while outcome is not None:
            new(stage)
            outcome = await crashed_run(troupe, "executor", n)
            n += 4
            if outcome is None:
                break
            records = await journal.read((await journal.runs())[-1])
            assert thirty.check_end(records, stage) == outcome
            _check_crash(outcome, stage, records)
            seen.add(outcome.status)
            assert trio.lowlevel.current_statistics().tasks_living <= tasks + 1
    assert n > 100
    assert RunStatus.SUCCESS_WITH_FAILURES in seen
    assert seen <= {RunStatus.SUCCESS_WITH_FAILURES, RunStatus.FAILED}


def _check_crash(outcome, stage: Stage, records) -> None:
    finished = {r.outcome.id for r in records if isinstance(r, StepEnded) and r.outcome.status is StepStatus.OK}
    called = Counter(call.step for call in stage.calls)
    cut = {i for i in stage.cancelled if i in thirty.ONCE}
    for i in finished - {6, 8, 9, 26}:
        # A step that was cut off and is no ONCE step runs once more; one that had finished does not.
        assert called[i] <= 1 + stage.cancelled.count(i), i
    if not cut:
        thirty.uncut(outcome)
    else:
        [lost] = cut
        assert called[lost] == 1
        assert outcome.status is RunStatus.FAILED
    assert stage.cancelled.count(2) <= 1


@pytest.mark.parametrize("name", ["verifier", "orchestrator"])
@pytest.mark.parametrize("n", range(20, 400, 45))
async def test_a_crash_of_the_others_leaves_one_end_for_each_step_too(name, n, autojump_clock) -> None:
    """A verifier without an answer; an orchestrator whose run is over: the caller has an outcome that says so."""
    stage = Stage()
    options = {**PATIENT, **parallel(max_parallel_steps=thirty.SLOTS)}
    async with opened(thirty.tools(stage), **options) as troupe:
        with trio.fail_after(10 * thirty.LONGEST):
            outcome = await crashed_run(troupe, name, n)
            again = await troupe.run_plan([thirty.step(1, "quick")])

        assert stage.running.total() == 0
        assert again.ok
    if outcome is None:
        return
    assert all(count <= 1 for i, count in Counter(call.step for call in stage.calls).items() if i in thirty.ONCE)
    if name == "orchestrator" and not outcome.steps:
        assert outcome.status is RunStatus.FAILED
        assert outcome.error.kind == "actor_crashed"
    else:
        assert set(outcome.steps) == thirty.IDS


@pytest.mark.parametrize("crashes", [1, 2, 3, 5])
async def test_an_executor_that_crashes_again_and_again_gives_up_at_last(crashes, autojump_clock) -> None:
    """Up to two crashes are survived; with more the run has failed and says why, and its steps have ends."""
    stage, journal = Stage(), MemoryJournal()
    plan = [thirty.step(1, "quick"), thirty.step(2, "pure", 1), thirty.step(3, "quick", 2)]
    async with opened(thirty.tools(stage), journal=journal, **PATIENT) as troupe:
        ref = troupe.system.find("troupe/executor")
        outcomes = []
        async with trio.open_nursery() as nursery:

            async def go() -> None:
                outcomes.append(await troupe.run_plan(plan))

            nursery.start_soon(go)
            for _ in range(crashes):
                await trio.sleep(0.5)
                crash(ref, When.NOW)

    [outcome] = outcomes
    states = {i: one.status.value for i, one in outcome.steps.items()}
    assert [call.step for call in stage.calls].count(1) == 1
    if crashes < 3:
        assert outcome.status is RunStatus.SUCCESS
        assert set(states.values()) == {"ok"}
    else:
        assert outcome.status is RunStatus.FAILED
        assert outcome.error.kind == "actor_crashed"
        assert states == {1: "ok", 2: "cancelled", 3: "skipped"}
