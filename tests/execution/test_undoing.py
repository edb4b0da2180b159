"""What a failed run has done is undone: latest first, each by what its step says, bounded, and told."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import trio

from tests.execution.stage import FOREVER, Stage, opened, run
from trouper import Effect, Outcome, RunStatus, StepStatus, ToolContext, ToolError, tool
from trouper.actors.records import Compensated
from trouper.actors.replay import replay
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.runtime import MemoryJournal


def done(number: int, *needs: int, action: str = "book", **more: object) -> dict[str, object]:
    """A step that can be undone."""
    undo = {"action": "undo", "parameters": {"of": f"$step{number}.step", "n": number}}
    return {"id": number, "action": action, "dependencies": list(needs), "compensate": undo, **more}


def failing(number: int, *needs: int) -> dict[str, object]:
    return {"id": number, "action": "fails", "dependencies": list(needs)}


def chest(stage: Stage, effect: Effect = Effect.KEYED) -> list[object]:
    stage.fail_times[99] = FOREVER
    return [
        stage.tool("book", effect),
        stage.tool("look", Effect.PURE),
        stage.tool("fails", Effect.PURE),
        stage.tool("undo", Effect.KEYED),
    ]


def undone(stage: Stage) -> list[object]:
    return [call.parameters.get("n") for call in stage.calls if call.action == "undo"]


async def test_latest_first(autojump_clock) -> None:
    """By when they ended, not by their numbers or their places in the plan."""
    stage = Stage()
    stage.seconds.update({1: 1.0, 2: 5.0, 3: 3.0})
    plan = [done(3), done(1), done(2), done(4, 2), failing(99, 4)]
    outcome = await run(plan, chest(stage))

    assert outcome.status is RunStatus.FAILED
    assert undone(stage) == [4, 2, 3, 1]
    assert all(outcome.steps[n].compensation.status is StepStatus.OK for n in (1, 2, 3, 4))
    ends = [outcome.steps[n].compensation for n in (4, 2, 3, 1)]
    assert all(before.ended <= after.started for before, after in pairwise(ends))


async def test_one_that_cannot_be_undone_does_not_keep_the_others_from_it(autojump_clock) -> None:
    """And its own outcome says why."""
    stage = Stage()

    @tool(name="undo", effect=Effect.KEYED)
    async def undo(of: int, n: int) -> None:
        stage.ended.append((n, 0.0))
        if n == 2:
            raise ToolError("it is too late")

    plan = [done(1), done(2, 1), done(3, 2), failing(99, 3)]
    outcome = await run(plan, [t for t in chest(stage) if t.name != "undo"] + [undo])

    assert outcome.steps[2].compensation.status is StepStatus.FAILED
    assert "too late" in outcome.steps[2].compensation.error.message
    assert outcome.steps[3].compensation.status is outcome.steps[1].compensation.status is StepStatus.OK
    assert outcome.steps[2].status is StepStatus.OK  # it was done, and it still is


async def test_undoing_is_bounded(autojump_clock) -> None:
    """`run.compensation_timeout`, for all of it."""
    stage = Stage()

    @tool(name="undo", effect=Effect.KEYED)
    async def undo(of: int, n: int) -> None:
        await trio.sleep_forever()

    plan = [done(1), done(2, 1), failing(99, 2)]
    tools = [t for t in chest(stage) if t.name != "undo"] + [undo]
    outcome = await run(plan, tools, run={"compensation_timeout": 7.0})

    assert outcome.status is RunStatus.FAILED
    assert trio.current_time() == 7.0
    assert outcome.steps[2].compensation.status is StepStatus.FAILED
    assert outcome.steps[1].compensation.status is StepStatus.SKIPPED


@pytest.mark.parametrize("effect", list(Effect))
async def test_only_what_had_an_effect_is_undone(effect, autojump_clock) -> None:
    stage = Stage()
    outcome = await run([done(1), failing(99, 1)], chest(stage, effect))

    assert outcome.status is RunStatus.FAILED
    assert undone(stage) == ([] if effect is Effect.PURE else [1])


async def test_what_failed_is_skipped_or_is_in_doubt_is_not_undone(autojump_clock) -> None:
    """Nobody knows whether there is anything to undo."""
    stage = Stage()
    stage.fail_times[1] = FOREVER
    stage.seconds[2] = float(FOREVER)
    plan = [done(1), done(2, timeout_s=1), done(3, 1), done(4)]
    outcome = await run(plan, chest(stage, Effect.ONCE))

    assert outcome.steps[2].in_doubt
    assert undone(stage) == [4]


async def test_each_element_is_undone_with_its_own_result(autojump_clock) -> None:
    """With `$item` and `$index`, and only those that were done."""
    stage, seen = Stage(), []

    @tool(name="book", effect=Effect.KEYED)
    async def book(what: str) -> dict[str, str]:
        if what == "c":
            raise ToolError("sold out")
        return {"booking": f"B-{what}"}

    @tool(name="undo", effect=Effect.KEYED)
    async def undo(booking: str, what: str, place: int) -> None:
        seen.append((booking, what, place))

    undo_call = {"action": "undo", "parameters": {"booking": "$step1.booking", "what": "$item", "place": "$index"}}
    each = {"items": ["a", "b", "c"], "on_failure": "continue"}
    plan = [
        {"id": 1, "action": "book", "parameters": {"what": "$item"}, "for_each": each, "compensate": undo_call},
        failing(99, 1),
    ]
    outcome = await run(plan, [book, undo, *(t for t in chest(stage) if t.name == "fails")])

    assert sorted(seen) == [("B-a", "a", 0), ("B-b", "b", 1)]
    assert [item.compensation is not None for item in outcome.steps[1].items] == [True, True, False]


async def test_what_was_done_inside_a_sub_plan_is_undone_too(autojump_clock) -> None:
    """Of a sub-plan that succeeded, and of one that failed in its middle."""
    stage = Stage()
    plan = [
        {"id": 1, "plan": [done(11), done(12, 11)]},
        {"id": 2, "dependencies": [1], "plan": [done(21), failing(99, 21)]},
    ]
    outcome = await run(plan, chest(stage))

    assert outcome.status is RunStatus.FAILED
    assert undone(stage) == [21, 12, 11]
    assert outcome.steps[1].steps[11].compensation.status is StepStatus.OK


async def test_a_late_run_is_undone_beyond_its_deadline(autojump_clock) -> None:
    """The deadline is the run's; undoing has its own bound."""
    stage = Stage()
    stage.seconds[2] = float(FOREVER)
    outcome = await run([done(1), done(2, 1)], chest(stage), timeout=10)

    assert (outcome.status, outcome.error.kind) == (RunStatus.FAILED, "deadline")
    assert undone(stage) == [1]


async def test_a_tolerated_failure_undoes_nothing(autojump_clock) -> None:
    stage = Stage()
    outcome = await run([done(1), {**failing(99, 1), "critical": False}], chest(stage))

    assert outcome.status is RunStatus.SUCCESS_WITH_FAILURES
    assert undone(stage) == []


async def test_undoing_has_a_key_of_its_own_and_is_written_down(autojump_clock) -> None:
    """Not the key of what it undoes: a service would take it for a repetition."""
    stage, journal, keys = Stage(), MemoryJournal(), []

    @tool(name="undo", effect=Effect.KEYED)
    async def undo(of: int, n: int, ctx: ToolContext) -> None:
        keys.append(ctx.idempotency_key)

    tools = [t for t in chest(stage) if t.name != "undo"] + [undo]
    async with opened(tools, journal=journal) as troupe:
        outcome: Outcome = await troupe.run_plan([done(1), failing(99, 1)])
    records = [r for r in await journal.read(outcome.run_id) if isinstance(r, Compensated)]

    assert keys[0] != stage.calls[0].key
    assert [(record.step, record.outcome.status) for record in records] == [(1, StepStatus.OK)]
    assert outcome.as_json()["steps"]["1"]["compensation"]["action"] == "undo"


# ------------------------------------------------------------------ after another plan
def planned_twice(first: list[dict[str, object]]) -> dict[str, object]:
    """A model that has this plan, and then one more, which fails too."""
    second = [{"id": 90, "action": "fails", "parameters": {"differently": True}}]
    model = ScriptedModel([json.dumps({"steps": plan}) for plan in (first, second)])
    return {"llm": model, "planner": {"mode": "llm", "max_replans": 1}}


@pytest.mark.parametrize("each", [None, [1, 2]])
async def test_what_was_done_inside_a_failed_step_is_undone_after_another_plan_has_failed_too(
    each, autojump_clock
) -> None:
    """Was: a plan that was given up took along what had been done inside its failed steps."""
    stage, journal = Stage(), MemoryJournal()
    stage.fail_times[90] = FOREVER
    outer = {"id": 1, "plan": [done(2), failing(99, 2)]} | ({"for_each": each} if each else {})
    async with opened(chest(stage), journal=journal, **planned_twice([outer])) as troupe:
        outcome = await troupe.execute("book it")

    assert (outcome.status, outcome.attempts) == (RunStatus.FAILED, 2)
    assert undone(stage) == [2] * (len(each) if each else 1)
    [given_up] = outcome.replans
    inside = [item.steps[2] for item in given_up.failed[1].items] if each else [given_up.failed[1].steps[2]]
    assert [one.compensation.status for one in inside] == [StepStatus.OK] * len(inside)
    told = replay(await journal.read(outcome.run_id))
    assert told.replans == list(outcome.replans)


async def test_a_later_plan_may_use_the_numbers_of_what_was_given_up(autojump_clock) -> None:
    """What was done under the same number before is nothing that the new step has done, and both are undone."""
    stage, journal = Stage(), MemoryJournal()
    stage.seconds.update({2: 1.0, 3: 1.0})
    stage.fail_times[99] = FOREVER
    again = [done(2, parameters={"n": 1}), done(3, 2, parameters={"n": 2}), failing(99, 3)]
    plans = [[{"id": 1, "plan": inside}] for inside in ([done(2), failing(99, 2)], again)]
    model = ScriptedModel([json.dumps({"steps": plan}) for plan in plans])
    chosen = {"llm": model, "planner": {"mode": "llm", "max_replans": 1}}
    async with opened(chest(stage), journal=journal, **chosen) as troupe:
        outcome = await troupe.execute("book it")

    assert (outcome.status, outcome.attempts) == (RunStatus.FAILED, 2)
    assert [call.step for call in stage.calls if call.action == "book"] == [2, 2, 3]
    assert undone(stage) == [3, 2, 2]
    assert len({call.key for call in stage.calls if call.action == "undo"}) == 3
    first, last = outcome.replans[0].failed[1].steps, outcome.steps[1].steps
    assert [one.compensation.status for one in (first[2], last[2], last[3])] == [StepStatus.OK] * 3
    told = replay(await journal.read(outcome.run_id))
    assert told.replans == list(outcome.replans)
    assert told.outcomes[1] == outcome.steps[1]


async def test_a_refuted_step_is_undone_after_another_plan_has_failed_too(autojump_clock) -> None:
    """Was: the executor crashed, because the step was not among those of the last plan, and no more was undone."""
    stage = Stage()
    stage.fail_times[90] = FOREVER
    tools = [stage.tool("lies", Effect.KEYED, lies=True), *chest(stage)]
    first = [done(1), done(2, 1, action="lies")]
    async with opened(tools, **planned_twice(first)) as troupe:
        outcome = await troupe.execute("book it")

    assert (outcome.status, outcome.attempts) == (RunStatus.FAILED, 2)
    assert undone(stage) == [2, 1]
    assert outcome.replans[0].failed[2].compensation.status is StepStatus.OK
    assert outcome.steps[90].status is StepStatus.FAILED
