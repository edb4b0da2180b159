"""Every sample plan through an open troupe: what is expected of it comes out, on the virtual clock."""

from __future__ import annotations

import json

import pytest
import trio

from tests.execution.stage import FOREVER, PLANS, Stage, opened, parallel, run, sample, statuses
from trouper import Effect, PlanError, RunStatus, tool

NAMES = sorted(path.name.removesuffix(".expect.json") for path in PLANS.glob("*.expect.json"))
OUTCOMES = {name: sample(name)[1]["outcome"] for name in NAMES}
GOOD = [name for name in NAMES if OUTCOMES[name] in {"ok", "runtime_error"}]
BAD = [name for name in NAMES if OUTCOMES[name] == "error"]
QUICK = [name for name in GOOD if name != "30_reverse_chain_5000"]

# Every field that a sample refers to and that its expectation gives no result for.
FIELDS = [
    "items",
    "events",
    "text",
    "info",
    "best",
    "list",
    "body",
    "v",
    "t",
    "message",
    "path",
    "outline",
    "origin",
    "destination",
    "start",
    "end",
    "nights",
    "offers",
    "budget",
    "left",
    "name",
    "total",
    "id",
    "booking",
    "days",
]


def results_of(plan: object, expected: dict) -> dict[str, object]:
    """What the fake tools give: what the expectation says, else something of every name."""
    steps = plan["steps"] if isinstance(plan, dict) else plan
    rich = {str(step["id"]): {field: f"{field} of {step['id']}" for field in FIELDS} for step in steps}
    return rich | expected.get("fake_results", {})


async def play(name: str, **options):
    """Run a sample; gives the outcome, the stage and the expectation."""
    plan, expected = sample(name)
    stage = Stage(results_of(plan, expected))
    for step in expected.get("fail", {}):
        stage.fail_times[int(step)] = FOREVER
    if name == "85_tool_hangs":
        stage.seconds[1] = FOREVER
    if name == "23_barrier_loses":
        for step in plan:
            stage.seconds[step["id"]] = step["parameters"]["ms"] / 1000
    outcome = await run(plan, stage.tools(plan), **options)
    return outcome, stage, expected


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_plan_runs_and_each_step_ends_with_one_state(name, autojump_clock) -> None:
    """Levels, dependencies and states are those of the expectation, and no step starts before what it needs."""
    outcome, stage, expected = await play(name)
    plan = outcome.plan

    assert len(plan.steps) == expected.get("n_steps", len(plan.steps))
    assert [list(level) for level in plan.levels] == expected.get("levels", [list(level) for level in plan.levels])
    if "deps" in expected:
        assert {str(i): list(needs) for i, needs in plan.dependencies.items()} == expected["deps"]
    assert list(outcome.steps) == [step.id for step in plan.steps]
    if OUTCOMES[name] == "ok" and name != "27_conditional_branches":
        assert outcome.status is RunStatus.SUCCESS
        assert set(statuses(outcome).values()) == {"ok"}
        place = {step: n for n, step in enumerate(stage.order)}
        assert all(place[need] < place[step] for step, needs in plan.dependencies.items() for need in needs)
    assert len(stage.order) == len(set(stage.order))


@pytest.mark.parametrize("name", [n for n in GOOD if "resolved" in sample(n)[1]])
async def test_each_tool_receives_its_parameters_resolved_with_their_types(name, autojump_clock) -> None:
    """0 is not false, 1 is not 1.0, text is not expanded again."""
    outcome, stage, expected = await play(name)

    for step, parameters in expected["resolved"].items():
        assert json.dumps(stage.received[int(step)]) == json.dumps(parameters)
        assert json.dumps(outcome.steps[int(step)].parameters) == json.dumps(parameters)


@pytest.mark.parametrize("name", [n for n in GOOD if OUTCOMES[n] == "runtime_error"])
async def test_what_goes_wrong_in_a_step_is_told_and_holds_up_nobody_else(name, autojump_clock) -> None:
    """The samples with a fault: the step's state, its kind of error, and what was never called."""
    outcome, stage, expected = await play(name)
    wanted = {int(i): "failed" if s == "timed_out" else s for i, s in expected["step_status"].items()}
    kind, _, culprit = expected["error"].partition(" @")

    assert statuses(outcome) == wanted
    assert outcome.steps[int(culprit)].error.kind == kind
    assert outcome.status is RunStatus.FAILED
    assert outcome.error is not None
    for step, called in expected.get("tool_called", {}).items():
        assert (int(step) in stage.received) is called
    for skipped in (i for i, status in wanted.items() if status == "skipped"):
        assert outcome.steps[skipped].cause == int(culprit)
        assert skipped not in stage.received
    assert trio.current_time() < expected.get("max_wall_s", 1)


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_plan_is_refused_with_every_problem_before_any_step_runs(name, autojump_clock) -> None:
    """The same problems as `check` reports; the tools are never called."""
    plan, expected = sample(name)
    stage = Stage()
    named = expected.get("catalogue", {}) or [f"{letter}" for letter in "abcde"]
    async with opened([stage.tool(action) for action in named]) as troupe:
        with pytest.raises(PlanError) as caught:
            await troupe.run_plan(plan)

    assert [[p.kind, p.step] for p in caught.value.problems] == expected["errors"]
    assert stage.calls == []


async def test_many_errors_name_each_place(autojump_clock) -> None:
    """Kind, step, path: enough to find each of them."""
    plan, _ = sample("73_many_errors")
    async with opened([Stage().tool(name) for name in "abcd"]) as troupe:
        with pytest.raises(PlanError) as caught:
            await troupe.run_plan(plan)

    assert all(problem.path.startswith("steps[") and problem.message for problem in caught.value.problems)


# ------------------------------------------------------------------ scenarios
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_critical_decides_what_a_failure_means(number, autojump_clock) -> None:
    """Sample 16: a tolerated failure, a fatal one, and a critical step that is refuted."""
    plan, expected = sample("16_critical_flags")
    scenario = expected["scenarios"][number]
    stage = Stage(results_of(plan, expected))
    for step in scenario.get("fail", {}):
        stage.fail_times[int(step)] = FOREVER
    refuted = [step["action"] for step in plan if str(step["id"]) in scenario.get("verify_invalid", [])]
    outcome = await run(plan, stage.tools(plan, lies=refuted))

    assert outcome.status.value == scenario["status"]
    for step, wanted in scenario["step_status"].items():
        assert statuses(outcome)[int(step)] in wanted.split("_or_")
    if refuted:
        assert outcome.steps[4].error.kind == "refuted"
        assert outcome.steps[5].cause == 4


async def test_retry_timeout_and_fallback(autojump_clock) -> None:
    """Sample 18: two failures and then success; a timeout and then the fallback; back-off on the clock."""
    plan, expected = sample("18_retry_timeout_fallback")
    [scenario] = expected["scenarios"]
    stage = Stage(results_of(plan, expected))
    stage.fail_times[1], stage.seconds[2] = scenario["fail_times"]["1"], FOREVER

    @tool(name="cached", effect=Effect.PURE)
    async def cached() -> dict[str, str]:
        return {"body": "kept"}

    outcome = await run(plan, [t for t in stage.tools(plan) if t.name != "cached"] + [cached])

    assert outcome.status is RunStatus.SUCCESS
    assert outcome.steps[1].attempts == scenario["attempts"]["1"]
    assert (outcome.steps[2].fallback, outcome.steps[2].status.value) == (True, "ok")
    assert stage.received[3] == {"message": "body of 1/kept"}
    # 0.1 s and then 0.2 s, with whatever jitter there is
    assert 0.1 <= outcome.steps[1].ended <= 1.0
    assert 0.05 <= outcome.steps[2].ended < 0.1


async def test_the_branch_whose_condition_is_false_is_skipped_and_that_is_no_failure(autojump_clock) -> None:
    """Sample 27: two exclusive branches joined by `any`."""
    outcome, stage, expected = await play("27_conditional_branches")
    [scenario] = expected["scenarios"]

    assert outcome.status.value == scenario["status"]
    for step, wanted in scenario["step_status"].items():
        status, _, reason = wanted.partition("_by_")
        assert statuses(outcome)[int(step)] == status
        assert (outcome.steps[int(step)].reason or "") == reason
    assert outcome.steps[3].error is None
    assert 3 not in stage.received


async def test_the_other_branch_when_the_weather_is_good(autojump_clock) -> None:
    """Sample 27 with the other result."""
    plan, _ = sample("27_conditional_branches")
    stage = Stage({"1": {"rain": 60}})
    outcome = await run(plan, stage.tools(plan))

    assert statuses(outcome) == {1: "ok", 2: "skipped", 3: "ok", 4: "ok"}
    assert stage.order == [1, 3, 4]


# ------------------------------------------------------------------ timing
async def test_no_barrier_costs_the_critical_path_and_a_barrier_the_sum_of_the_levels(autojump_clock) -> None:
    """Sample 23: 145 ms against 1,000 ms, exactly, on the virtual clock."""
    _, expected = sample("23_barrier_loses")
    timing = expected["timing"]
    for barrier, wanted in ((False, timing["critical_path_ms"]), (True, timing["level_barrier_ms"])):
        options = parallel(max_parallel_steps=10, level_barrier=barrier)
        outcome, stage, _ = await play("23_barrier_loses", **options)

        assert max(step.ended for step in outcome.steps.values()) == pytest.approx(wanted / 1000)
        assert stage.most == 10


async def test_with_five_slots_uneven_work_is_bound_by_the_slots(autojump_clock) -> None:
    """Sample 23 again: never more than five at once, and no more idle time than two longest steps."""
    outcome, stage, _ = await play("23_barrier_loses", **parallel(max_parallel_steps=5))
    work = sum(step["parameters"]["ms"] for step in sample("23_barrier_loses")[0]) / 1000

    assert stage.most == 5
    assert work / 5 <= max(step.ended for step in outcome.steps.values()) <= work / 5 + 0.2


async def test_fan_out_runs_side_by_side(autojump_clock) -> None:
    """Sample 06: eight look-ups of a second each, then two steps: three seconds with eight slots, not ten."""
    plan, expected = sample("06_fanout_recommendation")
    stage = Stage(results_of(plan, expected))
    stage.seconds.update(dict.fromkeys(range(1, 11), 1.0))
    outcome = await run(plan, stage.tools(plan), **parallel(max_parallel_steps=8))

    assert outcome.ok
    assert trio.current_time() == 3.0
    assert stage.most == expected["widest"]


async def test_the_trip_does_not_wait_for_the_person_where_it_need_not(autojump_clock) -> None:
    """Sample 20: while somebody thinks about step 10, the steps 5, 6 and 14 run; the keys reach the tools."""
    plan, expected = sample("20_trip_booking")
    stage = Stage(results_of(plan, expected))
    stage.seconds[10] = 1000.0  # somebody thinks
    effects = {"book_flight": Effect.KEYED, "book_hotel": Effect.KEYED, "cancel_flight": Effect.KEYED}
    outcome = await run(plan, stage.tools(plan, effects=effects), timeout=5000)
    keys = {call.step: call.key for call in stage.calls}

    assert outcome.status is RunStatus.SUCCESS
    assert all(outcome.steps[step].ended == 0 for step in (5, 6, 14))
    assert stage.began[11] == 1000
    assert (keys[11], keys[12], keys[13]) == ("flight-out", "flight-back", "hotel")
    assert "cancel_flight" not in {call.action for call in stage.calls}


async def test_a_booking_that_fails_undoes_the_one_that_can_be_undone(autojump_clock) -> None:
    """Sample 20: the hotel is full; the flight out is cancelled with the number that booking it gave."""
    plan, expected = sample("20_trip_booking")
    stage = Stage(results_of(plan, expected))
    stage.fail_times[13] = FOREVER
    effects = {"book_flight": Effect.KEYED, "book_hotel": Effect.KEYED, "cancel_flight": Effect.KEYED}
    outcome = await run(plan, stage.tools(plan, effects=effects))
    undone = [call for call in stage.calls if call.action == "cancel_flight"]

    assert outcome.status is RunStatus.FAILED
    assert statuses(outcome)[13] == "failed"
    assert statuses(outcome)[15] == statuses(outcome)[16] == "skipped"
    assert [call.parameters for call in undone] == [{"id": "booking of 11"}]
    assert outcome.steps[11].status.value == "ok"
    assert outcome.steps[11].compensation.status.value == "ok"
    assert outcome.steps[12].compensation is None


# ------------------------------------------------------------------ raw planner text
@pytest.mark.parametrize("name", sorted(p.name.removesuffix(".txt") for p in (PLANS / "raw").glob("*.txt")))
async def test_raw_planner_text_runs_whole_or_not_at_all(name, autojump_clock) -> None:
    """Text that is not clean JSON: the plan that is meant, or every problem; never a part of it."""
    text = (PLANS / "raw" / f"{name}.txt").read_text("utf-8")
    expected = json.loads((PLANS / "raw" / f"{name}.expect.json").read_text("utf-8"))
    stage = Stage({"1": {"text": "t"}})
    async with opened([stage.tool(action) for action in ("search", "reply_to_user", "a", "b")]) as troupe:
        if expected["outcome"] == "error":
            with pytest.raises(PlanError) as caught:
                await troupe.run_plan(text)
            assert [[p.kind, p.step] for p in caught.value.problems] == expected["errors"]
            assert stage.calls == []
            return
        outcome = await troupe.run_plan(text)

    assert outcome.status is RunStatus.SUCCESS
    assert sorted(stage.order) == sorted(outcome.steps)
    if name == "two_plans":
        assert [call.action for call in stage.calls] == ["a"]
    if name == "string_ids":
        assert stage.order == [1, 2]
