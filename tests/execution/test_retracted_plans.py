"""Plans that are taken back while they are being written: nothing of them is taken for anything of the next."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

import pytest
import trio
import trio.testing

from tests.execution.stage import opened
from tests.execution.test_crash_everywhere import PATIENT, CrashAt
from trouper import Checked, Effect, PlanError, RunStatus, Tool, ToolError, tool
from trouper.actors.records import PlanReady, PlanRetracted, StepEnded, StepStarted, VerdictGiven
from trouper.runtime import MemoryJournal


def text(*steps: dict[str, object]) -> str:
    return json.dumps({"steps": [{"action": "work", **step} for step in steps]})


FIRST = text(
    {"id": 1, "parameters": {"of": "first"}},
    {"id": 2, "parameters": {"of": "first", "seconds": 1}},
    {"id": 3, "parameters": {"of": "first", "seconds": 50}},
    {"id": 4, "parameters": {"of": "first", "seconds": 50, "n": "$item"}, "for_each": [1, 2, 3]},
)
SECOND = text(
    {"id": 1, "parameters": {"of": "second", "seconds": 5}},
    {"id": 2, "parameters": {"of": "$step1.of", "seconds": 1}},
    {"id": 4, "parameters": {"of": "$step2.of"}},
)


async def mended(first: str = FIRST, second: str = SECOND) -> AsyncIterator[str]:
    """A plan, and two seconds later another one in its place."""
    yield first
    await trio.sleep(2)
    yield f"\nNo, better:\n{second}"
    await trio.sleep(1)


def worker(calls: list[object]) -> Tool:
    @tool(name="work", effect=Effect.PURE)
    async def work(of: str, seconds: float = 0, n: int = 0) -> dict[str, object]:
        calls.append(of)
        await trio.sleep(seconds)
        return {"of": of}

    return work


async def test_a_run_killed_after_any_record_uses_no_result_of_a_retracted_plan(autojump_clock) -> None:
    journal = MemoryJournal()
    async with opened([worker([])], journal=journal) as troupe:
        whole = await troupe.run_plan(mended())
    [run_id] = await journal.runs()
    records = await journal.read(run_id)
    ready = next(n for n, record in enumerate(records) if isinstance(record, PlanReady))
    assert any(isinstance(record, StepEnded) for record in records[:ready])
    assert any(isinstance(record, PlanRetracted) for record in records[:ready])
    wanted = {1: {"of": "second"}, 2: {"of": "second"}, 4: {"of": "second"}}
    assert {i: one.result for i, one in whole.steps.items()} == wanted

    for cut in range(ready + 1, len(records)):
        again, calls = MemoryJournal(), []
        for record in records[:cut]:
            again.append(record)
        async with opened([worker(calls)], journal=again) as troupe:
            outcome = await troupe.resume(run_id)
        assert {i: one.result for i, one in outcome.steps.items()} == wanted, cut
        assert set(calls) <= {"second"}, cut


@pytest.mark.parametrize("time", range(10))
async def test_nothing_is_written_of_a_plan_after_it_was_retracted(time, autojump_clock) -> None:
    """Not even of a step, or an element, that ends in the very turn in which it is taken back."""
    journal = MemoryJournal()
    each = {"id": 8, "parameters": {"of": "first", "seconds": 2, "n": "$item"}, "for_each": [1, 2]}
    first = text(*({"id": n, "parameters": {"of": "first", "seconds": 2}} for n in (1, 2, 3)), each)
    async with opened([worker([])], journal=journal) as troupe:
        outcome = await troupe.run_plan(mended(first))

    assert outcome.status is RunStatus.SUCCESS
    records = await journal.read(outcome.run_id)
    after = records[next(n for n, record in enumerate(records) if isinstance(record, PlanRetracted)) :]
    assert {record.outcome.result["of"] for record in after if isinstance(record, StepEnded)} == {"second"}
    assert {record.parameters["of"] for record in after if isinstance(record, StepStarted)} == {"second"}


async def test_a_verdict_that_comes_late_says_nothing_of_the_step_that_has_the_id_now(autojump_clock) -> None:
    """The first plan's step 1 is looked at for a minute and refuted: by then step 1 is another one, and good."""
    journal = MemoryJournal()

    async def look(parameters: Mapping[str, object], result: object, evidence: object) -> Checked:
        await trio.sleep(60 if parameters["of"] == "first" else 0)
        return Checked(("it is not so",) if parameters["of"] == "first" else (), ("looked",))

    @tool(name="work", effect=Effect.PURE, verify=look)
    async def work(of: str, seconds: float = 0, n: int = 0) -> dict[str, object]:
        await trio.sleep(seconds)
        return {"of": of}

    slow = text({"id": 1, "parameters": {"of": "second"}}, {"id": 2, "parameters": {"of": "second", "seconds": 99}})
    async with opened([work], journal=journal, verifier={"timeout": 500}) as troupe:
        outcome = await troupe.run_plan(mended(second=slow))

    assert outcome.status is RunStatus.SUCCESS
    assert {i: verdict.verdict.value for i, verdict in outcome.verdicts.items()} == {1: "ok", 2: "ok"}
    said = [r for r in await journal.read(outcome.run_id) if isinstance(r, VerdictGiven)]
    assert [(record.step, record.verdict.verdict.value) for record in said] == [(1, "ok"), (2, "ok")]


@pytest.mark.parametrize("n", range(30, 130, 3))
async def test_a_crash_of_the_executor_beside_it_changes_nothing(n, autojump_clock) -> None:
    """Before, between and behind: what the first life has of the retracted plan is no more than what the second has."""
    calls: list[object] = []
    async with opened([worker(calls)], **PATIENT) as troupe:
        instrument = CrashAt(troupe, "executor", n)
        trio.lowlevel.add_instrument(instrument)
        outcome = await troupe.run_plan(mended())
        trio.lowlevel.remove_instrument(instrument)
        await trio.testing.wait_all_tasks_blocked()

    assert outcome.status is RunStatus.SUCCESS
    assert {one.result["of"] for one in outcome.steps.values()} == {"second"}


async def test_a_plan_retracted_while_nobody_has_the_run_is_taken_back_by_who_has_it_next(autojump_clock) -> None:
    """The executor has crashed and takes its time to come back; meanwhile there is another plan."""
    calls: list[object] = []
    patient = {"supervision": {"intensity": 10, "backoff": {"min": 30.0, "max": 31.0}}}
    async with opened([worker(calls)], **patient) as troupe, trio.open_nursery() as nursery:

        async def crash_soon() -> None:
            await trio.sleep(1.5)
            CrashAt(troupe, "executor", 1).before_task_step(None)

        nursery.start_soon(crash_soon)
        outcome = await troupe.run_plan(mended())

    assert outcome.status is RunStatus.SUCCESS
    assert outcome.steps[2].parameters == {"of": "second", "seconds": 1}
    assert calls.count("second") == 3


async def test_when_no_other_plan_comes_nothing_of_the_retracted_one_is_left(autojump_clock) -> None:
    """Neither a task nor a verdict, and whoever waits does not wait for them."""

    async def look(parameters: Mapping[str, object], result: object, evidence: object) -> Checked:
        await trio.sleep(20)
        return Checked((), ("looked",))

    @tool(name="work", effect=Effect.PURE, verify=look)
    async def work(of: str, seconds: float = 0, n: int = 0) -> dict[str, object]:
        await trio.sleep(seconds)
        return {"of": of}

    async with opened([work]) as troupe:
        tasks = trio.lowlevel.current_statistics().tasks_living
        with pytest.raises(PlanError):
            await troupe.run_plan(mended(second='{"steps": [{"id": 1, "action": "wo'))

        assert trio.current_time() == 3.0
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_a_step_that_comes_while_the_executor_is_down_is_told_of_by_who_has_the_run_next(autojump_clock) -> None:
    """Was: the dead run skipped it behind a step that had failed, and nothing of that was written down."""
    journal = MemoryJournal()
    patient = {"supervision": {"intensity": 10, "backoff": {"min": 30.0, "max": 31.0}}}

    @tool(name="work", effect=Effect.PURE)
    async def work(of: str) -> None:
        raise ToolError("no")

    async def pieces() -> AsyncIterator[str]:
        yield '{"steps": [{"id": 1, "action": "work", "parameters": {"of": "x"}}, '
        await trio.sleep(2)
        yield '{"id": 2, "action": "work", "parameters": {"of": "$step1"}}, '
        await trio.sleep(100)
        yield '{"id": 3, "action": "work", "parameters": {"of": "$step2"}}]}'

    async with opened([work], journal=journal, **patient) as troupe, trio.open_nursery() as nursery:

        async def crash_soon() -> None:
            await trio.sleep(1.5)
            CrashAt(troupe, "executor", 1).before_task_step(None)

        nursery.start_soon(crash_soon)
        outcome = await troupe.run_plan(pieces())

    assert [outcome.steps[n].status.value for n in (1, 2, 3)] == ["failed", "skipped", "skipped"]
    ends = [record.outcome.id for record in await journal.read(outcome.run_id) if isinstance(record, StepEnded)]
    assert ends == [1, 2, 3]
