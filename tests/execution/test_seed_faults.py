"""What the system that this one replaces promised of execution and did not do: one named test a fault.

The table that they come from has, for each promise, what was seen when it was probed; each docstring says it.
"""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from tests.execution.stage import FOREVER, Stage, heard, opened, parallel, run, statuses
from trouper import Checked, Effect, PlanError, RunStatus, ToolContext, tool
from trouper.runtime import parse_plan
from trouper.testing import ScriptedModel


def steps(*entries: dict[str, object]) -> list[dict[str, object]]:
    return [{"action": "work", **entry} for entry in entries]


# ------------------------------------------------------------------ the parallel executor
async def test_the_async_way_runs_plans_of_several_steps_inside_a_running_loop(autojump_clock) -> None:
    """Was: `execute_async` called `asyncio.run` in the running loop, a RuntimeError for every plan of two steps."""
    stage = Stage()
    stage.seconds.update({1: 5.0, 2: 5.0})
    plan = steps({"id": 1}, {"id": 2}, {"id": 3, "dependencies": [1, 2]})
    outcome = await run(plan, stage.tools(plan))

    assert outcome.status is RunStatus.SUCCESS
    assert trio.current_time() == 5.0  # side by side


@pytest.mark.parametrize("most", [1, 2, 5])
async def test_max_parallel_steps_is_enforced(most, autojump_clock) -> None:
    """Was: read, logged, never enforced; a limit of 2 gave 6 at once."""
    stage = Stage()
    plan = steps(*({"id": n} for n in range(12)))
    stage.seconds.update(dict.fromkeys(range(12), 1.0))
    outcome = await run(plan, stage.tools(plan), **parallel(max_parallel_steps=most))

    assert outcome.ok
    assert stage.most == most


# ------------------------------------------------------------------ references and dependencies
@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("{$step1.a}-{$step2.b}", "A-B"),
        ("$step1.a,$step2.b", "A,B"),
        ("$step1.a tail", "A tail"),
        ("$step2.b and $step1.a.", "B and A."),
    ],
)
async def test_every_reference_in_a_text_is_a_dependency_and_is_filled_in(text, received, autojump_clock) -> None:
    """Was: the pattern ate to the next blank, so that the second reference of such a text was lost."""
    stage = Stage({"1": {"a": "A"}, "2": {"b": "B"}})
    stage.seconds.update({1: 1.0, 2: 2.0})
    plan = steps({"id": 1}, {"id": 2}, {"id": 3, "parameters": {"x": text}})
    outcome = await run(plan, stage.tools(plan))

    assert outcome.steps[3].parameters == {"x": received}
    assert set(outcome.plan.dependencies[3]) == ({1, 2} if "2" in text else {1})


@pytest.mark.parametrize(("text", "received"), [("$step1", [{"y": 7}]), ("$step1[0].y", 7), ("$step1.0.y", 7)])
async def test_a_whole_result_and_an_index_are_references_too(text, received, autojump_clock) -> None:
    """Was: `$step1` alone and `$step1[0].y` gave no dependency at all."""
    stage = Stage({"1": [{"y": 7}]})
    plan = steps({"id": 2, "parameters": {"x": text}}, {"id": 1})
    outcome = await run(plan, stage.tools(plan))

    assert outcome.plan.dependencies[2] == (1,)
    assert stage.received[2] == {"x": received}


async def test_lists_in_lists_are_resolved_and_null_is_a_value(autojump_clock) -> None:
    """Was: lists in lists stayed as they were, and a null result left the placeholder."""
    stage = Stage({"1": {"v": 1, "none": None}})
    plan = steps({"id": 1}, {"id": 2, "parameters": {"x": [[["$step1.v"], {"y": ["{$step1.v}"]}]], "n": "$step1.none"}})
    await run(plan, stage.tools(plan))

    assert stage.received[2] == {"x": [[[1], {"y": ["1"]}]], "n": None}


async def test_a_result_that_looks_like_a_reference_is_never_expanded(autojump_clock) -> None:
    """Was: a page that said `$step2.secret` got the secret."""
    stage = Stage({"1": {"text": "$step2.secret {$step2.secret} $item $$step2"}, "2": {"secret": "LEAK"}})
    plan = steps(
        {"id": 1},
        {"id": 2},
        {"id": 3, "dependencies": [2], "parameters": {"x": "$step1.text", "y": "says {$step1.text}"}},
        {"id": 4, "dependencies": [2], "parameters": {"z": "$step3.x"}},
    )
    stage.results = {**stage.results, "3": {"x": "$step2.secret"}}
    await run(plan, stage.tools(plan))

    assert "LEAK" not in json.dumps(stage.received)
    assert stage.received[3]["x"] == "$step2.secret {$step2.secret} $item $$step2"
    assert stage.received[4] == {"z": "$step2.secret"}


# ------------------------------------------------------------------ failure
async def test_a_failed_implicit_dependency_skips_the_step(autojump_clock) -> None:
    """Was: only explicit ones did; the tool was called with the literal text `$step1.v`."""
    stage = Stage()
    stage.fail_times[1] = FOREVER
    plan = steps({"id": 1}, {"id": 2, "parameters": {"x": ["$step1.v"]}}, {"id": 3, "parameters": {"y": "$step2.w"}})
    outcome = await run(plan, stage.tools(plan))

    assert statuses(outcome) == {1: "failed", 2: "skipped", 3: "skipped"}
    assert (outcome.steps[2].reason, outcome.steps[2].cause) == ("dependency", 1)
    assert set(stage.received) == {1}


async def test_a_run_with_a_failed_and_a_skipped_step_is_no_success(autojump_clock) -> None:
    """Was: SUCCESS, with every step counted as completed."""
    stage = Stage()
    stage.fail_times[2] = FOREVER
    plan = steps({"id": 1}, {"id": 2}, {"id": 3, "dependencies": [2]})
    outcome = await run(plan, stage.tools(plan))
    told = outcome.as_json()

    assert (outcome.status, outcome.ok, outcome.answer) == (RunStatus.FAILED, False, None)
    assert [told["steps"][step]["status"] for step in "123"] == ["ok", "failed", "skipped"]
    assert outcome.error.kind == "tool_error"


async def test_siblings_of_a_failed_step_finish_and_their_results_are_kept(autojump_clock) -> None:
    """Was: the first retryable failure of a level returned at once and dropped what its siblings had done."""
    stage = Stage()
    stage.fail_times[1] = FOREVER
    stage.seconds.update({2: 30.0, 3: 40.0})
    plan = steps({"id": 1}, {"id": 2}, {"id": 3}, {"id": 4, "dependencies": [2, 3]})
    outcome = await run(plan, stage.tools(plan))

    assert statuses(outcome) == {1: "failed", 2: "ok", 3: "ok", 4: "ok"}
    assert outcome.steps[3].result == {"step": 3}
    assert stage.cancelled == []


async def test_a_replan_keeps_what_is_finished_and_runs_none_of_it_again(autojump_clock) -> None:
    """Was: results of siblings, effects done, were dropped, and the next plan did the effects again."""
    first = steps({"id": 1}, {"id": 2}, {"id": 3, "dependencies": [1, 2]})
    second = steps({"id": 4, "parameters": {"x": "$step1.step"}})
    stage = Stage()
    stage.fail_times[2] = FOREVER
    stage.seconds[1] = 3.0  # still running when its sibling fails
    model = ScriptedModel([json.dumps(first), json.dumps(second)])
    async with opened([stage.tool("work", Effect.KEYED)], llm=model) as troupe:
        outcome = await troupe.execute("do the work")

    assert stage.order.count(1) == 1
    assert stage.received[4] == {"x": 1}
    assert outcome.status is RunStatus.SUCCESS
    assert (outcome.attempts, len(outcome.replans)) == (2, 1)


# ------------------------------------------------------------------ verdicts
async def test_dependants_of_a_critical_step_wait_for_its_verdict(autojump_clock) -> None:
    """Was: "waits when critical", and nothing ever waited."""
    stage = Stage()

    async def look(parameters: object, result: object, evidence: object) -> Checked:
        await trio.sleep(5)
        return Checked((), ("looked",))

    @tool(effect=Effect.PURE, verify=look)
    async def claims(ctx: ToolContext) -> object:
        return await stage.work("claims", ctx, {})

    plan = [
        {"id": 1, "action": "claims", "critical": True},
        {"id": 2, "action": "work", "dependencies": [1]},
        {"id": 3, "action": "work"},
    ]
    outcome = await run(plan, [claims, stage.tool("work")])

    assert outcome.ok
    assert (stage.began[2], stage.began[3]) == (5.0, 0.0)


async def test_a_verdict_behind_the_run_changes_how_it_ends(autojump_clock) -> None:
    """Was: an invalid verdict changed nothing in parallel mode, and pending ones were orphaned."""
    stage = Stage()

    async def look(parameters: object, result: object, evidence: object) -> Checked:
        await trio.sleep(5)
        return Checked(("it is not so",), ("looked",))

    @tool(effect=Effect.PURE, verify=look)
    async def claims(ctx: ToolContext) -> object:
        return await stage.work("claims", ctx, {})

    plan = [{"id": 1, "action": "claims"}, {"id": 2, "action": "work", "dependencies": [1]}]
    outcome = await run(plan, [claims, stage.tool("work")])

    assert stage.began[2] == 0.0
    assert trio.current_time() >= 5.0  # the verdict is in before the answer
    assert outcome.status is RunStatus.FAILED
    assert outcome.verdicts[1].verdict.value == "refuted"
    assert outcome.steps[1].error.kind == "refuted"


async def test_a_critical_step_whose_check_breaks_has_failed(autojump_clock) -> None:
    """Was: an error of the verifier counted as valid."""
    stage = Stage()

    async def look(parameters: object, result: object, evidence: object) -> Checked:
        await trio.sleep_forever()
        return Checked()

    @tool(effect=Effect.PURE, verify=look)
    async def claims() -> int:
        return 1

    plan = [{"id": 1, "action": "claims", "critical": True}, {"id": 2, "action": "work", "dependencies": [1]}]
    outcome = await run(plan, [claims, stage.tool("work")])

    assert statuses(outcome) == {1: "failed", 2: "skipped"}
    assert outcome.steps[1].error.kind == "unverified"
    assert 2 not in stage.received


async def test_the_verifier_sees_one_step_and_nothing_of_the_others(autojump_clock) -> None:
    """Was: it was given whole previous results."""
    seen: list[object] = []

    async def look(parameters: object, result: object, evidence: object) -> Checked:
        seen.append((dict(parameters), result))
        return Checked((), ("looked",))

    @tool(effect=Effect.PURE, verify=look)
    async def claims(x: int) -> int:
        return x + 1

    stage = Stage({"1": {"x": 1, "private": "OTHER"}})
    plan = [{"id": 1, "action": "work"}, {"id": 2, "action": "claims", "parameters": {"x": "$step1.x"}}]
    await run(plan, [claims, stage.tool("work")])

    assert seen == [({"x": 1}, 2)]


# ------------------------------------------------------------------ time
async def test_steps_have_timeouts_retries_and_backoff(autojump_clock) -> None:
    """Was: no step timeout, no retry in the executor."""
    stage = Stage()
    stage.seconds.update({1: FOREVER})
    stage.fail_times[2] = 2
    plan = steps({"id": 1, "timeout_s": 3}, {"id": 2, "max_retries": 2, "retry_backoff_s": 1})
    outcome = await run(plan, stage.tools(plan))

    assert outcome.steps[1].error.kind == "timeout"
    assert outcome.steps[1].ended == 3.0
    assert (outcome.steps[2].status.value, outcome.steps[2].attempts) == ("ok", 3)
    first, second, third = (call.began for call in stage.calls if call.step == 2)
    assert 0 < second - first < third - second


async def test_a_cancelled_run_stops_its_tools_where_they_wait(autojump_clock) -> None:
    """Was: cancelling was a flag that was looked at between steps."""
    stage = Stage()
    plan = steps(*({"id": n} for n in range(3)))
    stage.seconds.update(dict.fromkeys(range(3), float(FOREVER)))
    async with opened(stage.tools(plan)) as troupe:
        with trio.move_on_after(2) as scope:
            await troupe.run_plan(plan)

        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()  # the caller goes at once, the tools in the same moment
        assert sorted(stage.cancelled) == [0, 1, 2]
    assert trio.current_time() == 2.0


async def test_what_happens_is_told_while_it_happens(autojump_clock) -> None:
    """Was: the "streaming" entry told the start and the end and nothing between."""
    stage = Stage()
    stage.seconds[1] = 1.0
    plan = steps({"id": 1}, {"id": 2, "dependencies": [1]})
    async with opened(stage.tools(plan)) as troupe, heard(troupe) as told:
        assert (await troupe.run_plan(plan)).ok

    known = {"RunStarted", "PlanReady", "StepStarted", "StepEnded", "RunEnded"}
    names = [type(event).__name__ for event in told]
    assert [name for name in names if name in known] == [
        "RunStarted",
        "PlanReady",
        "StepStarted",
        "StepEnded",
        "StepStarted",
        "StepEnded",
        "RunEnded",
    ]
    assert 1.0 in {event.at for event in told if type(event).__name__ == "StepEnded"}


# ------------------------------------------------------------------ plans
async def test_cycles_and_missing_steps_are_named_and_nothing_runs(autojump_clock) -> None:
    """Was: RecursionError, or ValueError from `max()` of nothing; the same id twice overwrote silently."""
    stage = Stage()
    plan = steps({"id": 1, "dependencies": [2]}, {"id": 2, "parameters": {"x": "$step1"}}, {"id": 3}, {"id": 3})
    plan.append({"id": 4, "action": "work", "dependencies": [99]})
    async with opened([stage.tool("work")]) as troupe:
        with pytest.raises(PlanError) as caught:
            await troupe.run_plan(plan)

    problems = {problem.kind: problem for problem in caught.value.problems}
    assert set(problems) == {"cycle", "duplicate_id", "dangling_dependency"}
    assert "1 -> 2 -> 1" in problems["cycle"].message
    assert "99" in problems["dangling_dependency"].message
    assert stage.calls == []


async def test_a_chain_of_1500_steps_listed_backwards_runs(autojump_clock) -> None:
    """Was: RecursionError."""
    stage = Stage()
    plan = steps(*({"id": n, "dependencies": [n + 1] if n < 1499 else []} for n in range(1500)))
    outcome = await run(plan, stage.tools(plan))

    assert outcome.status is RunStatus.SUCCESS
    assert stage.order == list(range(1499, -1, -1))


def test_the_validator_reads_what_the_planner_writes_in_both_spellings() -> None:
    """Was: the strict one read `tool`, `deps`, `inputs` while the planner wrote `action`, `dependencies`."""
    one = [{"id": 1, "action": "a"}, {"id": 2, "action": "b", "parameters": {"x": 1}, "dependencies": [1]}]
    other = [{"id": "step_1", "tool": "a"}, {"id": "2", "tool": "b", "inputs": {"x": 1}, "deps": ["step_1"]}]

    assert parse_plan(one).as_json() == parse_plan(other).as_json()


async def test_a_dependency_may_have_a_larger_id_and_must_exist(autojump_clock) -> None:
    """Was: ids had to grow along dependencies, implicit ones were not looked at, and none had to exist."""
    stage = Stage()
    plan = steps({"id": 1, "parameters": {"x": "$step9.step"}}, {"id": 9})
    assert (await run(plan, stage.tools(plan))).ok
    assert stage.order == [9, 1]

    with pytest.raises(PlanError, match=r"\$step8"):
        parse_plan(steps({"id": 1, "parameters": {"x": "$step8.step"}}, {"id": 9}))
