"""A run that is cut off anywhere goes on from its journal: neither what is finished is done again nor what is in doubt.

The journal of a whole run is cut after each of its records in turn, as a kill would; another troupe goes on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import trio

from tests.execution import thirty
from tests.execution.stage import FOREVER, Stage, opened, parallel, statuses
from trouper import Effect, NotWaiting, Outcome, RunStatus, StepStatus, Tool, ToolContext, UnknownRun, tool
from trouper.actors.records import RunEnded, StepEnded, StepStarted
from trouper.runtime import MemoryJournal, Record


async def whole_run() -> tuple[Record, ...]:
    """Everything that is written of the thirty steps when nothing cuts them off."""
    journal = MemoryJournal()
    async with opened(thirty.tools(Stage()), journal=journal, **parallel(max_parallel_steps=5)) as troupe:
        await troupe.run_plan(thirty.PLAN)
    return tuple(await journal.read((await journal.runs())[0]))


async def go_on(records: Sequence[Record]) -> tuple[Outcome, Stage, tuple[Record, ...]]:
    """Another program that has these records."""
    journal, stage = MemoryJournal(), Stage()
    for record in records:
        journal.append(record)
    async with opened(thirty.tools(stage), journal=journal, **parallel(max_parallel_steps=5)) as troupe:
        outcome = await troupe.resume(records[0].run_id)
    return outcome, stage, tuple(await journal.read(records[0].run_id))


def finished_in(records: Sequence[Record]) -> Counter[int]:
    """The calls that had ended well, by step (elements count each)."""
    ends = {(r.inside, r.outcome.id, r.item): r.outcome for r in records if isinstance(r, StepEnded)}
    containers = {9, 26} | ({8} if any(id_ == 8 and item is None for _, id_, item in ends) else set())
    return Counter(
        id_
        for (_, id_, _), outcome in ends.items()
        if outcome.status is StepStatus.OK and id_ not in containers and not outcome.items
    )


def in_hand(records: Sequence[Record], effect: Effect) -> set[int]:
    """The steps with that effect that had begun and not ended."""
    begun = {r.step for r in records if isinstance(r, StepStarted) and r.effect is effect}
    return begun - {r.outcome.id for r in records if isinstance(r, StepEnded)}


@pytest.mark.parametrize("offset", range(4))
async def test_a_run_cut_off_after_any_record_goes_on(offset, autojump_clock) -> None:
    """Every fourth record, four times over: together all of them."""
    records = await whole_run()
    for cut in range(2 + offset, len(records), 4):
        written = records[:cut]
        outcome, stage, after = await go_on(written)
        called = Counter(call.step for call in stage.calls)
        lost = in_hand(written, Effect.ONCE)

        assert after[: len(written)] == written
        assert set(outcome.steps) == thirty.IDS, cut
        for i, times in finished_in(written).items():
            assert called[i] <= {8: 3 - times, 14: 0}.get(i, 0), (cut, i)  # nothing finished is called again
        assert not any(called[i] for i in lost), (cut, lost)
        for i in lost - {92}:
            assert outcome.steps[i].in_doubt, (cut, i)
        if not lost:
            thirty.uncut(outcome)
        else:
            assert outcome.status is RunStatus.IN_DOUBT, cut
            assert {question.step for question in outcome.questions} >= lost, cut
        [end] = [record for record in after[len(written) :] if isinstance(record, RunEnded)]
        assert end.outcome == outcome


async def test_a_run_that_was_only_begun_cannot_be_gone_on_with(autojump_clock) -> None:
    """There is no plan to go on with."""
    records = await whole_run()
    journal = MemoryJournal()
    journal.append(records[0])
    async with opened(thirty.tools(Stage()), journal=journal) as troupe:
        with pytest.raises(NotWaiting, match="plan"):
            await troupe.resume(records[0].run_id)


async def test_a_run_that_has_ended_gives_its_outcome_again_and_runs_nothing(autojump_clock) -> None:
    """Resuming is harmless."""
    records = await whole_run()
    outcome, stage, after = await go_on(records)

    assert stage.calls == []
    assert after == records
    assert outcome == thirty.ended(records)


async def test_the_last_run_that_is_not_at_an_end_is_meant_if_none_is_named(autojump_clock) -> None:
    """Not one that is at work."""
    stage, journal = Stage(), MemoryJournal()
    stage.seconds[7] = float(FOREVER)
    asks = [{"id": 1, "action": "work", "approval": True}]
    async with opened([stage.tool("work")], journal=journal) as troupe, trio.open_nursery() as nursery:
        with pytest.raises(UnknownRun):
            await troupe.resume()
        first = await troupe.run_plan(asks)
        second = await troupe.run_plan(asks)
        await troupe.run_plan([{"id": 2, "action": "work"}])
        nursery.start_soon(troupe.run_plan, [{"id": 7, "action": "work"}])
        await trio.testing.wait_all_tasks_blocked()
        assert (await troupe.resume()).run_id == second.run_id
        await troupe.approve(second.run_id, 1, ok=True)
        assert (await troupe.resume()).status is RunStatus.SUCCESS
        assert (await troupe.resume()).run_id == first.run_id
        nursery.cancel_scope.cancel()


async def test_a_run_at_work_is_not_resumed_beside_itself(autojump_clock) -> None:
    stage, journal = Stage(), MemoryJournal()
    stage.seconds[7] = float(FOREVER)
    async with opened([stage.tool("work")], journal=journal) as troupe, trio.open_nursery() as nursery:
        nursery.start_soon(troupe.run_plan, [{"id": 7, "action": "work"}])
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NotWaiting, match="at work"):
            await troupe.resume((await journal.runs())[0])
        nursery.cancel_scope.cancel()

    assert stage.order == [7]


async def test_a_run_can_be_cut_off_again_and_again(autojump_clock) -> None:
    """Each time a little further; in the end everything was done once."""
    journal, stage = MemoryJournal(), Stage()
    plan = [{"id": n, "action": "work", "dependencies": [n - 1] if n else []} for n in range(12)]
    stage.seconds.update(dict.fromkeys(range(12), 1.0))
    tools = [stage.tool("work", Effect.KEYED)]
    lives = 0
    while True:
        lives += 1
        async with opened(tools, journal=journal) as troupe:
            runs = await journal.runs()
            written = list(await journal.read(runs[0])) if runs else []
            with trio.move_on_after(2.5):
                outcome = await (troupe.resume(runs[0]) if runs else troupe.run_plan(plan))
                break
        # A kill writes no end: what was written of being cancelled is taken away again.
        kept = await journal.read((await journal.runs())[0])
        fresh = MemoryJournal()
        for record in kept:
            if not isinstance(record, RunEnded) and not _is_cancelled(record):
                fresh.append(record)
        assert len(await fresh.read(kept[0].run_id)) > len(written)
        journal = fresh

    finished = Counter(step for step, _ in stage.ended)
    assert outcome.status is RunStatus.SUCCESS
    assert lives > 3
    assert set(statuses(outcome).values()) == {"ok"}
    # The step that was in hand at each kill is KEYED: it runs again with the same key.
    assert sum(finished.values()) == 12 + lives - 1
    assert len({(call.step, call.key) for call in stage.calls}) == 12


def _is_cancelled(record: Record) -> bool:
    return isinstance(record, StepEnded) and record.outcome.status is StepStatus.CANCELLED


async def test_a_plan_whose_tools_are_gone_is_refused_when_it_is_resumed(autojump_clock) -> None:
    """With the same words as when it is run, and nothing is written."""
    journal, stage = MemoryJournal(), Stage()
    async with opened([stage.tool("work")], journal=journal) as troupe:
        waiting = await troupe.run_plan([{"id": 1, "action": "work", "approval": True}])
    written = await journal.read(waiting.run_id)
    async with opened([stage.tool("other")], journal=journal) as troupe:
        with pytest.raises(Exception, match="no action 'work'"):
            await troupe.resume(waiting.run_id)

    assert await journal.read(waiting.run_id) == written


async def test_times_go_on_where_they_were(autojump_clock) -> None:
    """Seconds since the run began: a person's night counts for nothing, and no step ends before it started."""
    journal, stage = MemoryJournal(), Stage()
    stage.seconds.update({1: 5.0, 2: 5.0})
    plan = [{"id": 1, "action": "work"}, {"id": 2, "action": "work", "approval": True, "dependencies": [1]}]
    async with opened([stage.tool("work")], journal=journal) as troupe:
        waiting = await troupe.run_plan(plan)
        await trio.sleep(30_000)
        await troupe.approve(waiting.run_id, 2, ok=True)
        outcome = await troupe.resume(waiting.run_id)

    assert outcome.steps[1] == waiting.steps[1]
    assert outcome.steps[2].started >= outcome.steps[1].ended == 5.0
    assert outcome.steps[2].ended == outcome.steps[2].started + 5.0


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_kill_while_the_fallback_of_a_once_step_runs_does_not_call_it_again(hangs, autojump_clock) -> None:
    """The last call that was begun is the fallback's, which may be repeated; the first one may not."""
    stage, journal = Stage(), MemoryJournal()
    stage.fail_times[1] = FOREVER
    plan = [{"id": 1, "action": "send", "timeout_s": 1, "fallback": {"action": "instead", "parameters": {}}}]

    def chest() -> list[Tool]:
        @tool(name="send")
        async def send(ctx: ToolContext) -> None:
            await stage.work("send", ctx, {})
            if hangs:
                await trio.sleep_forever()

        @tool(name="instead", effect=Effect.KEYED)
        async def instead() -> int:
            await trio.sleep(10)
            return 1

        return [send, instead]

    if hangs:
        stage.fail_times.clear()
    async with opened(chest(), journal=journal) as troupe:
        with trio.move_on_after(5):
            await troupe.run_plan(plan)
    [run_id] = await journal.runs()
    killed = MemoryJournal()
    for record in await journal.read(run_id):
        if not isinstance(record, RunEnded | StepEnded):
            killed.append(record)
    async with opened(chest(), journal=killed) as troupe:
        outcome = await troupe.resume(run_id)

    assert [call.action for call in stage.calls] == ["send"]
    assert outcome.steps[1].status is StepStatus.IN_DOUBT
