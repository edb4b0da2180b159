"""What users of other engines suffer from, where it is about execution: one named test a pain."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import trio

from tests.execution.stage import FOREVER, Stage, opened, parallel, run, sample, statuses
from trouper import Effect, RateLimited, RunStatus, StepStatus, ToolContext, ToolError, tool
from trouper.runtime import MemoryJournal
from trouper.testing import ScriptedModel


def steps(*entries: dict[str, object]) -> list[dict[str, object]]:
    return [{"action": "work", **entry} for entry in entries]


# ------------------------------------------------------------------ barriers
async def test_a_slow_sibling_does_not_hold_up_an_unrelated_branch(autojump_clock) -> None:
    """Engines with supersteps: the fast branch waits at every level for the slowest of it."""
    stage = Stage()
    stage.seconds.update({1: 100.0, 2: 1.0, 3: 1.0, 4: 1.0})
    plan = steps({"id": 1}, {"id": 2}, {"id": 3, "dependencies": [2]}, {"id": 4, "dependencies": [3]})
    outcome = await run(plan, stage.tools(plan))

    assert [outcome.steps[n].ended for n in (2, 3, 4, 1)] == [1.0, 2.0, 3.0, 100.0]


async def test_the_successor_of_a_fast_step_starts_although_its_sibling_fails(autojump_clock) -> None:
    """One fails after 50 ms: elsewhere the slow sibling is cancelled and the fast one's successor never starts."""
    stage = Stage()
    stage.seconds.update({1: 0.01, 2: 0.05, 3: 0.5, 4: 0.1})
    stage.fail_times[2] = FOREVER
    plan = steps({"id": 1}, {"id": 2}, {"id": 3}, {"id": 4, "dependencies": [1]})
    outcome = await run(plan, stage.tools(plan))

    assert statuses(outcome) == {1: "ok", 2: "failed", 3: "ok", 4: "ok"}
    assert stage.began[4] == 0.01
    assert stage.cancelled == []


# ------------------------------------------------------------------ cancelling
async def test_sub_plans_do_not_run_on_after_the_run_was_cancelled(autojump_clock) -> None:
    """Elsewhere sub-graphs ran on after the request was gone."""
    stage = Stage()
    stage.seconds.update({21: 5.0, 22: 5.0})
    plan = [{"id": 2, "for_each": [1, 2, 3], "plan": steps({"id": 21}, {"id": 22, "dependencies": [21]})}]
    async with opened([stage.tool("work")]) as troupe:
        with trio.move_on_after(7):
            await troupe.run_plan(plan)
        calls = len(stage.calls)
        await trio.sleep(100)

    assert len(stage.calls) == calls
    assert stage.running.total() == 0
    assert stage.cancelled == [22, 22, 22]


# ------------------------------------------------------------------ fan-out
@pytest.mark.parametrize("slots", [5, 50])
async def test_792_calls_do_not_start_at_once(slots, autojump_clock) -> None:
    """One turn started 792 tool calls; the cap was looked at after all of them had started."""
    stage = Stage()
    stage.seconds[2] = 1.0
    plan = [{"id": 2, "action": "work", "for_each": list(range(792)), "parameters": {"n": "$item"}}]
    outcome = await run(plan, stage.tools(plan), **parallel(max_parallel_steps=slots))

    assert outcome.ok
    assert stage.most == slots
    assert len(stage.calls) == 792


async def test_a_limit_of_one_tool_holds_over_all_runs(autojump_clock) -> None:
    """Each crew had a limit of its own; together they went past the account's."""
    stage = Stage()
    stage.seconds.update(dict.fromkeys(range(10), 1.0))
    plan = steps(*({"id": n} for n in range(10)))
    tools = [stage.tool("work", max_concurrency=3)]
    async with opened(tools, **parallel(max_parallel_steps=10)) as troupe, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(troupe.run_plan, plan)

    assert stage.most == 3
    assert len(stage.calls) == 40


async def test_one_tool_at_its_limit_leaves_the_slots_to_others(autojump_clock) -> None:
    """Steps that wait for a full tool took every slot, so that nothing else ran."""
    stage = Stage()
    stage.seconds.update(dict.fromkeys(range(20), 10.0) | dict.fromkeys(range(20, 25), 1.0))
    narrow, wide = stage.tool("narrow", max_concurrency=1), stage.tool("wide")
    plan = [{"id": n, "action": "narrow"} for n in range(10)] + [{"id": n, "action": "wide"} for n in range(20, 25)]
    outcome = await run(plan, [narrow, wide], **parallel(max_parallel_steps=3))

    assert outcome.ok
    assert max(stage.began[n] for n in range(20, 25)) <= 3.0


async def test_caps_of_an_effect_hold_over_all_runs(autojump_clock) -> None:
    """`max_per_effect`: reading as wide as one likes, writing one at a time."""
    stage = Stage()
    stage.seconds.update(dict.fromkeys(range(12), 1.0))
    keyed: list[int] = []
    plan = [{"id": n, "action": "write" if n % 2 else "read"} for n in range(12)]
    tools = stage.tools(plan, effects={"write": Effect.KEYED})

    class Most(trio.abc.Instrument):
        def after_task_step(self, task: object) -> None:
            keyed.append(sum(stage.running[n] for n in range(1, 12, 2)))

    trio.lowlevel.add_instrument(most := Most())
    slots = parallel(max_parallel_steps=12, max_per_effect={"keyed": 1})
    async with opened(tools, **slots) as troupe, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(troupe.run_plan, plan)
    trio.lowlevel.remove_instrument(most)

    assert max(keyed) == 1
    assert stage.most > 6


# ------------------------------------------------------------------ models that are busy
async def test_three_429s_are_no_success_with_a_null_result(autojump_clock) -> None:
    """A run reported success with a null result after three 429s."""
    plan = json.dumps([{"id": 1, "action": "summarize", "parameters": {"content": "a b. c d.", "question": "what?"}}])

    def say(request) -> object:
        return plan if request.role == "planner" else RateLimited("busy", retry_after=18.0)

    async with opened(llm=ScriptedModel(say)) as troupe:
        outcome = await troupe.execute("Summarize this")

    assert outcome.status is RunStatus.FAILED
    assert outcome.steps[1].status is StepStatus.FAILED
    assert outcome.answer is None


async def test_retry_after_is_waited_for(autojump_clock) -> None:
    """The 429 said "retry in 18 s", and nobody waited."""
    plan = json.dumps([{"id": 1, "action": "work"}])
    stage = Stage()
    async with opened([stage.tool("work")], llm=ScriptedModel([RateLimited("busy", retry_after=18.0), plan])) as troupe:
        outcome = await troupe.execute("do the work")

    assert outcome.ok
    assert stage.began[1] >= 18.0


# ------------------------------------------------------------------ timeouts
async def test_the_deadline_of_a_run_fires_however_deep_the_tool_hangs(autojump_clock) -> None:
    """`max_execution_time` was ignored; runs hung for hours."""
    stage = Stage()
    stage.seconds[22] = float(FOREVER)
    plan = [{"id": 1, "for_each": [1], "plan": [{"id": 2, "plan": steps({"id": 22, "timeout_s": 1e9})}]}]
    outcome = await run(plan, stage.tools(plan), timeout=60)

    assert trio.current_time() == 60.0
    assert (outcome.status, outcome.error.kind) == (RunStatus.FAILED, "deadline")


async def test_a_run_that_is_done_does_not_hang(autojump_clock) -> None:
    """Hangs after success: whatever goes on behind the answer is bounded."""

    async def never(parameters: object, result: object, evidence: object) -> list[str]:
        await trio.sleep_forever()
        return []

    @tool(effect=Effect.PURE, verify=never)
    async def work() -> int:
        return 1

    outcome = await run([{"id": 1, "action": "work"}], [work], verifier={"timeout": 30})

    assert outcome.status is RunStatus.SUCCESS
    assert outcome.verdicts[1].verdict.value == "unverifiable"
    assert trio.current_time() <= 31


async def test_a_timed_out_step_is_not_reported_as_done(autojump_clock) -> None:
    """A planned step that timed out was reported completed, and the next one used its nothing."""
    plan, _ = sample("85_tool_hangs")
    stage = Stage()
    stage.seconds[1] = float(FOREVER)
    outcome = await run(plan, stage.tools(plan))

    assert outcome.steps[1].status is StepStatus.FAILED
    assert (outcome.steps[1].result, outcome.steps[1].error.kind) == (None, "timeout")
    assert outcome.steps[3].status is StepStatus.SKIPPED


# ------------------------------------------------------------------ retries
async def test_retries_belong_to_one_step_and_not_to_all(autojump_clock) -> None:
    """Two other calls that failed used up the retries of a third."""
    stage = Stage()
    stage.fail_times.update({1: 2, 2: 2, 3: 2})
    plan = steps(*({"id": n, "max_retries": 2} for n in (1, 2, 3)))
    outcome = await run(plan, stage.tools(plan))

    assert {step.attempts for step in outcome.steps.values()} == {3}
    assert outcome.ok


async def test_a_back_off_holds_no_slot(autojump_clock) -> None:
    """A step that waits for its next attempt kept everybody else waiting."""
    stage = Stage()
    stage.fail_times[1] = 1
    stage.seconds.update({2: 1.0, 3: 1.0})
    plan = steps({"id": 1, "max_retries": 1, "retry_backoff_s": 50}, {"id": 2}, {"id": 3})
    outcome = await run(plan, stage.tools(plan), **parallel(max_parallel_steps=1))

    assert outcome.ok
    assert stage.began[3] <= 2.0
    assert outcome.steps[1].waits["backoff"] > 10


async def test_a_sub_plan_that_was_cut_off_leaves_its_slots_to_others_in_its_pause(autojump_clock) -> None:
    """What its steps gave back was free, and nobody was told: the others waited for as long as the pause."""
    stage = Stage()
    stage.seconds.update({2: 100.0, 3: 1.0})
    late = {"id": 1, "plan": [{"id": 2, "action": "work"}], "timeout_s": 5, "max_retries": 1, "retry_backoff_s": 50}
    plan = [late, {"id": 3, "action": "work"}, {"id": 4, "action": "work", "dependencies": [3]}]
    await run(plan, [stage.tool("work")], **parallel(max_parallel_steps=1, dependency_analysis=False))

    assert [(call.step, call.began) for call in stage.calls[:3]] == [(3, 0.0), (2, 1.0), (4, 5.0)]


async def test_retries_end_at_the_deadline_and_not_behind_it(autojump_clock) -> None:
    """Backing off for an hour inside a run of a minute."""
    stage = Stage()
    stage.fail_times[1] = FOREVER
    plan = steps({"id": 1, "max_retries": 100, "retry_backoff_s": 10})
    outcome = await run(plan, stage.tools(plan), timeout=60)

    assert trio.current_time() <= 60.0
    assert outcome.status is RunStatus.FAILED
    assert 2 <= len(stage.calls) <= 6


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_a_retry_of_a_sub_plan_repeats_nothing_that_succeeded_and_nothing_that_counts_once(
    depth, autojump_clock
) -> None:
    """However deep: what had succeeded inside is kept, and a ONCE step that failed is not called again."""
    stage = Stage()
    stage.fail_times.update({92: 1, 93: FOREVER})
    inner: list[dict[str, object]] = [
        {"id": 91, "action": "send"},
        {"id": 92, "action": "work", "dependencies": [91], "critical": False},
        {"id": 93, "action": "work", "dependencies": [91]},
        {"id": 94, "action": "work", "for_each": [1, 2], "dependencies": [91]},
    ]
    for n in range(depth):
        inner = [{"id": n + 1, "plan": inner}]
    inner[0].update({"max_retries": 2, "retry_backoff_s": 0})
    outcome = await run(inner, [stage.tool("work"), stage.tool("send", Effect.ONCE)])
    called = Counter(stage.order)

    assert outcome.status is RunStatus.FAILED
    assert (called[91], called[93], called[94]) == (1, 3, 2)


async def test_a_sub_plan_whose_once_step_failed_is_not_retried(autojump_clock) -> None:
    """The plan says three times; the tool says that each call counts."""
    stage = Stage()
    stage.fail_times[2] = FOREVER
    plan = [{"id": 1, "max_retries": 3, "retry_backoff_s": 0, "plan": [{"id": 2, "action": "send"}]}]
    outcome = await run(plan, [stage.tool("send", Effect.ONCE)])

    assert outcome.status is RunStatus.FAILED
    assert stage.order == [2]


async def test_the_fallback_of_a_sub_plan_waits_for_a_slot(autojump_clock) -> None:
    """One slot: never two tools at once, whoever calls them."""
    stage = Stage()
    stage.fail_times[2] = FOREVER
    stage.seconds.update({2: 1.0, 1: 5.0, 3: 5.0, 4: 5.0})
    plan = [
        {"id": 1, "plan": [{"id": 2, "action": "work"}], "fallback": {"action": "work", "parameters": {}}},
        {"id": 3, "action": "work"},
        {"id": 4, "action": "work"},
    ]
    outcome = await run(plan, stage.tools(plan), **parallel(max_parallel_steps=1))

    assert outcome.status is RunStatus.SUCCESS
    assert outcome.steps[1].fallback
    assert stage.most == 1


# ------------------------------------------------------------------ joins
@pytest.mark.parametrize("join", ["all", "any", 2])
async def test_a_join_runs_once_and_with_what_it_needs(join, autojump_clock) -> None:
    """A join ran twice, the first time with incomplete input."""
    stage = Stage()
    stage.seconds.update({1: 1.0, 2: 2.0, 3: 3.0})
    plan = steps({"id": 1}, {"id": 2}, {"id": 3})
    plan.append({"id": 4, "action": "work", "parameters": {"x": ["$step1", "$step2", "$step3"]}, "join": join})
    await run(plan, stage.tools(plan))
    there = {"all": 3, "any": 1, 2: 2}[join]

    assert stage.order.count(4) == 1
    assert stage.began[4] == float(there)
    assert [value is not None for value in stage.received[4]["x"]] == [n < there for n in range(3)]


# ------------------------------------------------------------------ arguments
async def test_several_references_of_several_words_in_one_argument(autojump_clock) -> None:
    """Only one was replaced, only single words, and `$1` was also replaced in `$10`."""
    stage = Stage({"1": {"t": "the first text"}, "10": {"t": "the tenth one"}, "2": None})
    plan = steps({"id": 1}, {"id": 10}, {"id": 2})
    plan.append({"id": 3, "action": "work", "parameters": {"x": "$step1.t / $step10.t / $step2 / $step1.t"}})
    await run(plan, stage.tools(plan))

    assert stage.received[3] == {"x": "the first text / the tenth one / null / the first text"}


async def test_a_tool_that_raises_ends_the_run_and_does_not_spin(autojump_clock) -> None:
    """A tool that raised made the scheduler poll for ever."""
    stage = Stage()
    stage.fail_times[1] = FOREVER
    stage.how[1] = lambda: ZeroDivisionError("no")
    plan = steps({"id": 1}, {"id": 2, "dependencies": [1]})
    outcome = await run(plan, stage.tools(plan))

    assert outcome.status is RunStatus.FAILED
    assert "ZeroDivisionError" in outcome.steps[1].error.message
    assert trio.current_time() == 0.0


# ------------------------------------------------------------------ money and keys
async def test_the_key_is_that_of_the_step_and_not_of_its_place_or_attempt(autojump_clock) -> None:
    """A key made of the position in a list fails exactly when it is needed."""
    keys: list[tuple[int, str]] = []

    @tool(name="pay", effect=Effect.KEYED)
    async def pay(ctx: ToolContext) -> int:
        keys.append((ctx.step_id, ctx.idempotency_key))
        if ctx.attempt == 1:
            raise ToolError("try again")
        return 1

    plan = [{"id": n, "action": "pay", "max_retries": 1} for n in (5, 3)]
    async with opened([pay], journal=MemoryJournal()) as troupe:
        assert (await troupe.run_plan(plan)).ok

    assert Counter(keys).most_common() == [((5, keys[0][1]), 2), ((3, keys[1][1]), 2)] or len(set(keys)) == 2
    assert len({key for _, key in keys}) == 2


async def test_each_element_has_a_key_of_its_own(autojump_clock) -> None:
    """With one key for all, a payment service takes the second of five payments for a repetition."""
    keys: list[str] = []

    @tool(name="pay", effect=Effect.KEYED)
    async def pay(n: int, ctx: ToolContext) -> int:
        keys.append(ctx.idempotency_key)
        if ctx.attempt == 1:
            raise ToolError("try again")
        return n

    plan = [{"id": 1, "action": "pay", "parameters": {"n": "$item"}, "for_each": [1, 2, 3], "max_retries": 1}]
    inner = {
        "id": 2,
        "for_each": [1, 2],
        "plan": [{"id": 3, "action": "pay", "parameters": {"n": 1}, "max_retries": 1}],
    }
    assert (await run([*plan, inner], [pay])).ok

    assert len(keys) == 10
    assert set(Counter(keys).values()) == {2}
