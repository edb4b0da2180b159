"""Runs that were planned again, killed anywhere, and gone on with by another program from its file journal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import pytest
import trio

from tests.execution.stage import FOREVER, Stage, opened
from trouper import Checked, Effect, Outcome, RunStatus, Tool, tool
from trouper.actors.records import PlanGivenUp, PlanReady, StepStarted
from trouper.actors.replay import replay
from trouper.adapters.journal_codec import as_line, decode, encode, of_line
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.runtime import MemoryJournal, Record

FIRST = [
    {"id": 1, "action": "lies"},
    {"id": 2, "action": "look", "parameters": {"x": "$step1"}},
    {"id": 3, "action": "fails"},
    {"id": 4, "action": "book", "dependencies": [2, 3], "join": 1, "parameters": {"y": "{$step2.step} and $step3"}},
]
SECOND = [{"id": 10, "action": "look", "parameters": {"z": "$step4.step"}}, {"id": 11, "action": "fails"}]
THIRD = [{"id": 20, "action": "book", "parameters": {"n": "$step10.step"}}]


def chest(stage: Stage) -> list[Tool]:
    stage.fail_times.update({3: FOREVER, 11: FOREVER})
    stage.seconds.update({2: 1.0, 3: 1.0, 10: 1.0})

    async def look_later(parameters: object, result: object, evidence: object) -> Checked:
        await trio.sleep(5)
        return Checked(("it is not so",), ("looked again",))

    @tool(effect=Effect.PURE, verify=look_later)
    async def lies() -> dict[str, object]:
        """Say what is not so."""
        return {"step": 1}

    return [
        lies,
        stage.tool("look"),
        stage.tool("fails"),
        stage.tool("book", Effect.KEYED),
    ]


async def run(stage: Stage, journal: MemoryJournal, plans: Sequence[object], resumed: str | None = None) -> Outcome:
    model = ScriptedModel([json.dumps({"steps": plan}) for plan in plans])
    async with opened(chest(stage), llm=model, journal=journal, planner={"mode": "llm", "max_replans": 2}) as troupe:
        return await (troupe.execute("book it") if resumed is None else troupe.resume(resumed))


def from_the_file(records: Sequence[Record]) -> MemoryJournal:
    """What another program reads of these."""
    journal = MemoryJournal()
    for record in records:
        journal.append(decode(of_line(as_line(encode(record)))))
    return journal


async def test_a_run_planned_again_goes_on_from_any_record(autojump_clock) -> None:
    """Also where a finished step names one that was given up: that could neither be read nor gone on with."""
    stage, journal = Stage(), MemoryJournal()
    whole = await run(stage, journal, [FIRST, SECOND, THIRD])
    assert (whole.status, len(whole.replans)) == (RunStatus.SUCCESS, 2)
    [run_id] = await journal.runs()
    records = await journal.read(run_id)
    first = next(n for n, record in enumerate(records) if isinstance(record, PlanReady))

    for cut in range(first + 1, len(records)):
        written = records[:cut]
        made = sum(isinstance(record, PlanReady) for record in written)
        again, other = from_the_file(written), Stage()
        outcome = await run(other, again, [FIRST, SECOND, THIRD][made:] or [THIRD], run_id)

        assert outcome.status is RunStatus.SUCCESS, cut
        assert outcome.steps.keys() == whole.steps.keys(), cut
        assert [sorted(replan.failed) for replan in outcome.replans] == [[1, 3], [11]], cut
        told = replay(await again.read(run_id))
        assert told.replans == list(outcome.replans), cut
        assert told.outcomes.keys() == outcome.steps.keys(), cut
        done = {i for i, one in replay(written).outcomes.items() if one.status.value == "ok"}
        assert not done & {call.step for call in other.calls}, cut


async def test_a_plan_given_up_before_a_kill_counts_once(autojump_clock) -> None:
    """Was: twice in the records, so `max_replans` was reached too early when the program was killed again."""
    stage, journal = Stage(), MemoryJournal()
    await run(stage, journal, [FIRST, SECOND, THIRD])
    [run_id] = await journal.runs()
    written = list(await journal.read(run_id))
    for _ in range(3):
        cut = max(n for n, record in enumerate(written) if isinstance(record, PlanGivenUp)) + 1
        again = from_the_file(written[:cut])
        outcome = await run(Stage(), again, [THIRD], run_id)
        written = list(await again.read(run_id))

    assert outcome.status is RunStatus.SUCCESS
    assert len(outcome.replans) == 2
    assert Counter(r.step for r in written if isinstance(r, StepStarted))[4] == 1


@pytest.mark.parametrize("each", [None, [1, 2]])
async def test_what_half_a_plan_had_done_when_it_was_killed_is_not_counted(each, autojump_clock) -> None:
    """Its ids are free again, also those of its containers."""
    stage, journal = Stage(), MemoryJournal()
    half = [{"id": 10, "action": "look", "parameters": {"old": 1}} | ({"for_each": each} if each else {})]
    with trio.move_on_after(5.5):  # while step 10 of the second plan runs
        await run(stage, journal, [FIRST, half])
    [run_id] = await journal.runs()
    records = [r for r in await journal.read(run_id) if not isinstance(r, PlanReady) or 10 not in r.plan.dependencies]
    again, other = from_the_file(records[:-1]), Stage()
    assert any(isinstance(record, StepStarted) and record.parameters == {"old": 1} for record in records)

    outcome = await run(other, again, [[{"id": 10, "action": "look", "parameters": {"new": 1}}]], run_id)

    assert outcome.status is RunStatus.SUCCESS
    assert [call.parameters for call in other.calls if call.step == 10] == [{"new": 1}]
    assert outcome.steps[10].parameters == {"new": 1}
