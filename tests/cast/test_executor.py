"""Runs of plans with fake tools, on the virtual clock: order, slots, failures, verdicts, crashes."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from trouper.actors.executor import Executor
from trouper.actors.messages import ExecutePlan
from trouper.actors.outcome import ErrorInfo, StepStatus, VerdictKind, status_of
from trouper.actors.run_place import ParallelExecution, Verification
from trouper.actors.runlog import RunLog
from trouper.actors.tool import Checked, Effect, Tool, ToolContext, tool
from trouper.actors.verifier import Verifier
from trouper.runtime import ActorCrashed, Ref, ToolError, open_system
from trouper.runtime._plan import Plan, parse_plan
from trouper.runtime.testing import When, crash

PLANS = Path(__file__).parent.parent / "data" / "plans"


class NoEvidence:
    async def read(self, path: str) -> bytes | None:
        return None


class Stage:
    """Fake tools that say when they ran and with what."""

    def __init__(self, results: Mapping[str, object] | None = None) -> None:
        self.results = results or {}
        self.calls: list[tuple[int, float, float]] = []
        self.received: dict[int, object] = {}
        self.now = self.most = 0
        self.fail_times: dict[int, int] = {}
        self.seconds: dict[int, float] = {}

    def tool(self, name: str, effect: Effect = Effect.PURE, *, lies: frozenset[int] = frozenset(), **options) -> Tool:
        async def verify(parameters: Mapping[str, object], result: object, evidence: object) -> Checked:
            refuted = isinstance(result, dict) and result.get("step") in lies
            return Checked(("it is not so",) if refuted else (), ("looked again",))

        @tool(name=name, effect=effect, verify=verify if lies else None, **options)
        async def fake(ctx: ToolContext, **parameters: object) -> object:
            """A fake."""
            return await self.run(ctx, parameters)

        return fake

    async def run(self, ctx: ToolContext, parameters: object) -> object:
        step = ctx.step_id
        self.received[step] = parameters
        began = trio.current_time()
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(self.seconds.get(step, 1.0))
        finally:
            self.now -= 1
            self.calls.append((step, began, trio.current_time()))
        if self.fail_times.get(step, 0) > 0:
            self.fail_times[step] -= 1
            raise ToolError(f"step {step} fails")
        return self.results.get(str(step), {"step": step})

    def order(self) -> list[int]:
        return [step for step, _, _ in sorted(self.calls, key=lambda call: call[1])]


def tools_for(plan: Plan, stage: Stage, **options) -> dict[str, Tool]:
    names = {step.action for step in plan.steps} | {s.fallback.action for s in plan.steps if s.fallback}
    return {name: stage.tool(name, **options) for name in names}


@asynccontextmanager
async def executor(
    tools: Mapping[str, Tool], parallel: ParallelExecution | None = None, verification: Verification | None = None
) -> AsyncIterator[Ref[Executor]]:
    async with open_system() as system:
        await system.spawn(Verifier, tools, NoEvidence(), name="verifier")
        make = functools.partial(
            Executor,
            tools,
            parallel=parallel or ParallelExecution(),
            verification=verification or Verification(),
            workspace="/nowhere",
        )
        yield await system.spawn(make, name="executor")


async def run(plan: Plan, stage: Stage, parallel: ParallelExecution | None = None, **options) -> RunLog:
    log = RunLog("r", plan, began=trio.current_time())
    async with executor(tools_for(plan, stage, **options), parallel) as ref:
        await ref.ask(ExecutePlan(log=log), timeout=1000)
    return log


def sample(name: str) -> tuple[Plan, dict[str, object]]:
    expect = json.loads((PLANS / f"{name}.expect.json").read_text())
    return parse_plan((PLANS / f"{name}.json").read_text()), expect


def plan_of(*steps: dict[str, object]) -> Plan:
    return parse_plan([{"action": "work", **step} for step in steps])


def statuses(log: RunLog) -> dict[int, str]:
    return {i: o.status.value for i, o in log.outcomes.items()}


async def test_independent_steps_overlap_and_dependants_wait(autojump_clock) -> None:
    stage = Stage()
    plan = plan_of({"id": 1}, {"id": 2}, {"id": 3, "dependencies": [1, 2]})
    await run(plan, stage)

    assert stage.calls[2] == (3, 1.0, 2.0)
    assert {c[1] for c in stage.calls[:2]} == {0.0}


async def test_no_barrier_between_levels_and_a_strict_one_on_request(autojump_clock) -> None:
    steps = ({"id": 1}, {"id": 2}, {"id": 3, "dependencies": [1]}, {"id": 4, "dependencies": [2]})
    for barrier, third_begins in ((False, 1.0), (True, 10.0)):
        stage = Stage()
        stage.seconds = {2: 10.0}
        began = trio.current_time()
        await run(plan_of(*steps), stage, ParallelExecution(level_barrier=barrier))

        assert {step: start - began for step, start, _ in stage.calls}[3] == third_begins


@pytest.mark.parametrize(
    ("parallel", "most"),
    [
        (ParallelExecution(max_parallel_steps=2), 2),
        (ParallelExecution(max_parallel_steps=7), 7),
        (ParallelExecution(enabled=False), 1),
        (ParallelExecution(dependency_analysis=False), 1),
    ],
)
async def test_never_more_steps_at_once_than_allowed(parallel, most, autojump_clock) -> None:
    stage = Stage()
    await run(plan_of(*({"id": n} for n in range(20))), stage, parallel)

    assert stage.most == most
    assert len(stage.calls) == 20


async def test_without_dependency_analysis_the_plans_own_topological_order_is_kept(autojump_clock) -> None:
    stage = Stage()
    steps = ({"id": 1}, {"id": 2}, {"id": 3, "dependencies": [2]}, {"id": 4, "dependencies": [1, 3]}, {"id": 5})
    await run(plan_of(*steps), stage, ParallelExecution(dependency_analysis=False))

    assert stage.order() == [1, 2, 3, 4, 5]


async def test_scarce_slots_go_to_the_longest_chain(autojump_clock) -> None:
    stage = Stage()
    chain = [{"id": n, "dependencies": [n - 1]} for n in range(11, 14)]
    await run(plan_of({"id": 1}, {"id": 2}, {"id": 10}, *chain), stage, ParallelExecution(max_parallel_steps=1))

    assert stage.order() == [10, 11, 12, 1, 2, 13]  # the last ones are equally long: in plan order


async def test_only_descendants_of_a_failed_step_are_skipped_each_with_its_cause(autojump_clock) -> None:
    stage = Stage()
    stage.fail_times = {1: 99}
    plan = plan_of(
        {"id": 1}, {"id": 2}, {"id": 3, "parameters": {"x": "$step1.v"}}, {"id": 4, "dependencies": [3]}, {"id": 5}
    )
    log = await run(plan, stage)

    assert statuses(log) == {1: "failed", 2: "ok", 3: "skipped", 4: "skipped", 5: "ok"}
    assert (log.outcomes[3].cause, log.outcomes[4].cause) == (1, 3)
    assert "step 1 (work), which failed (tool_error)" in log.outcomes[3].error.message
    assert 3 not in stage.received


async def test_an_unknown_field_fails_the_step_and_the_tool_is_never_called(autojump_clock) -> None:
    plan, expect = sample("80_unknown_field_at_run")
    stage = Stage(expect["fake_results"])
    log = await run(plan, stage)

    assert statuses(log) == {1: "ok", 2: "failed", 3: "ok"}
    assert log.outcomes[2].error.kind == "unknown_field"
    assert 2 not in stage.received


@pytest.mark.parametrize("name", ["09_string_templates", "13_falsy_results", "26_injection_in_result"])
async def test_references_arrive_resolved_and_results_are_never_expanded(name, autojump_clock) -> None:
    plan, expect = sample(name)
    stage = Stage(expect["fake_results"])
    await run(plan, stage)

    for step, parameters in expect["resolved"].items():
        assert stage.received[int(step)] == parameters


async def test_retry_timeout_and_fallback_of_the_sample(autojump_clock) -> None:
    plan, _ = sample("18_retry_timeout_fallback")
    stage = Stage({"1": {"body": "b1"}, "2": {"body": "b2"}})
    stage.fail_times = {1: 2}

    async def cached() -> object:
        return {"body": "from the cache"}

    tools = tools_for(plan, stage)
    tools["cached"] = tool(name="cached", effect=Effect.PURE)(cached)
    log = RunLog("r", plan, began=0)
    async with executor(tools) as ref:
        await ref.ask(ExecutePlan(log=log), timeout=100)

    assert log.outcomes[1].attempts == 3
    assert log.outcomes[2].fallback
    assert log.outcomes[2].status is StepStatus.OK
    assert stage.received[3] == {"message": "b1/from the cache"}


async def test_a_step_that_hangs_times_out_and_nothing_else_waits(autojump_clock) -> None:
    plan, _ = sample("85_tool_hangs")
    stage = Stage()
    stage.seconds = {1: 1e9}
    log = await run(plan, stage)

    assert statuses(log) == {1: "failed", 2: "ok", 3: "skipped"}
    assert log.outcomes[1].error.kind == "timeout"
    assert not log.outcomes[1].in_doubt
    assert trio.current_time() == 1.0


async def test_once_tools_are_not_retried_unless_they_say_that_nothing_happened(autojump_clock) -> None:
    tries: dict[str, int] = {"plain": 0, "nothing_happened": 0}

    @tool
    async def plain() -> object:
        tries["plain"] += 1
        raise ValueError("who knows")

    @tool
    async def nothing_happened() -> object:
        tries["nothing_happened"] += 1
        raise ToolError("busy", effect=False)

    plan = parse_plan(
        [{"id": n, "action": name, "max_retries": 2} for n, name in enumerate(("plain", "nothing_happened"))]
    )
    log = RunLog("r", plan, began=0)
    async with executor({"plain": plain, "nothing_happened": nothing_happened}) as ref:
        await ref.ask(ExecutePlan(log=log))

    assert tries == {"plain": 1, "nothing_happened": 3}
    assert statuses(log) == {0: "failed", 1: "failed"}


async def test_a_once_tool_that_is_cut_off_leaves_its_step_in_doubt(autojump_clock) -> None:
    stage = Stage()
    stage.seconds = {1: 100}
    log = await run(plan_of({"id": 1, "timeout_s": 1, "max_retries": 5}), stage, effect=Effect.ONCE)

    assert log.outcomes[1].in_doubt
    assert log.outcomes[1].attempts == 1


@pytest.mark.parametrize(("failing", "status"), [(2, "success_with_failures"), (1, "failed"), (None, "success")])
async def test_critical_decides_what_a_failure_means(failing, status, autojump_clock) -> None:
    plan, _ = sample("16_critical_flags")
    stage = Stage({"1": {"list": []}, "3": {"text": "t"}})
    stage.fail_times = {failing: 99}
    log = await run(plan, stage)

    assert status_of(plan, log.outcomes).value == status
    if failing == 1:
        assert statuses(log) == {1: "failed", 2: "ok", 3: "skipped", 4: "skipped", 5: "skipped"}


async def test_a_refuted_critical_step_blocks_its_dependants(autojump_clock) -> None:
    plan, _ = sample("16_critical_flags")
    stage = Stage({"1": {"list": []}, "3": {"text": "t"}})
    log = await run(plan, stage, lies=frozenset({4}))

    assert statuses(log) == {1: "ok", 2: "ok", 3: "ok", 4: "failed", 5: "skipped"}
    assert log.verdicts[4].verdict is VerdictKind.REFUTED
    assert log.outcomes[4].error.kind == "refuted"
    assert status_of(plan, log.outcomes).value == "failed"


async def test_a_verdict_behind_the_run_holds_nothing_up_and_still_counts(autojump_clock) -> None:
    stage = Stage()
    checked: list[float] = []

    async def slow_look(parameters: object, result: object, evidence: object) -> Checked:
        await trio.sleep(5)
        checked.append(trio.current_time())
        return Checked(("it is not so",), ("looked again",))

    @tool(effect=Effect.PURE, verify=slow_look)
    async def claims(ctx: ToolContext) -> object:
        return await stage.run(ctx, {})

    @tool(effect=Effect.PURE)
    async def uses(ctx: ToolContext) -> object:
        return await stage.run(ctx, {})

    plan = parse_plan([{"id": 1, "action": "claims"}, {"id": 2, "action": "uses", "dependencies": [1]}])
    for background, second_begins in ((True, 1.0), (False, 6.0)):
        stage.calls.clear()
        began = trio.current_time()
        log = RunLog("r", plan, began=began)
        async with executor({"claims": claims, "uses": uses}, None, Verification(background=background)) as ref:
            await ref.ask(ExecutePlan(log=log), timeout=100)

        assert log.outcomes[1].error.kind == "refuted"
        assert log.outcomes[1].result == {"step": 1}
        if background:
            assert {step: start - began for step, start, _ in stage.calls}[2] == second_begins
        else:
            assert log.outcomes[2].status is StepStatus.SKIPPED
    assert checked == [6.0, 12.0]


async def test_a_critical_step_without_a_verdict_fails_closed(autojump_clock) -> None:
    async def never(parameters: object, result: object, evidence: object) -> Checked:
        await trio.sleep_forever()
        return Checked()

    @tool(effect=Effect.PURE, verify=never)
    async def claims() -> int:
        return 1

    plan = parse_plan(
        [
            {"id": 1, "action": "claims", "critical": True},
            {"id": 2, "action": "claims", "dependencies": [1]},
            {"id": 3, "action": "claims"},
        ]
    )
    log = RunLog("r", plan, began=0)
    async with executor({"claims": claims}, None, Verification(timeout=7)) as ref:
        await ref.ask(ExecutePlan(log=log), timeout=100)

    assert statuses(log) == {1: "failed", 2: "skipped", 3: "ok"}
    assert log.outcomes[1].error.kind == "unverified"
    assert log.verdicts[3].verdict is VerdictKind.UNVERIFIABLE


async def test_an_executor_that_crashes_goes_on_from_the_log(autojump_clock) -> None:
    """What is finished is not run again; a ONCE tool in hand is in doubt and not run again either."""
    stage = Stage()
    stage.seconds = {1: 1, 2: 10, 3: 10}
    plan = parse_plan(
        [
            {"id": 1, "action": "pure"},
            {"id": 2, "action": "pure"},
            {"id": 3, "action": "once"},
            {"id": 4, "action": "pure", "dependencies": [1, 2]},
            {"id": 5, "action": "pure", "dependencies": [3]},
        ]
    )
    log = RunLog("r", plan, began=0)
    tools = {"pure": stage.tool("pure"), "once": stage.tool("once", Effect.ONCE)}
    async with executor(tools) as ref:
        async with trio.open_nursery() as nursery:

            async def first() -> None:
                with pytest.raises(ActorCrashed) as caught:
                    await ref.ask(ExecutePlan(log=log), timeout=100)
                log.settle_interrupted(ErrorInfo.of(caught.value), once_only=True)

            nursery.start_soon(first)
            await trio.sleep(5)
            crash(ref, When.NOW)
        await ref.ask(ExecutePlan(log=log), timeout=100)

    assert ref.incarnation == 2
    assert [step for step, _, _ in stage.calls].count(1) == 1
    assert [step for step, _, _ in stage.calls].count(3) == 1
    assert statuses(log) == {1: "ok", 2: "ok", 3: "failed", 4: "ok", 5: "skipped"}
    assert log.outcomes[3].in_doubt


async def test_a_long_chain_and_a_wide_plan_run(autojump_clock) -> None:
    stage = Stage()
    stage.seconds = dict.fromkeys(range(600), 0.0)
    chain = plan_of(*({"id": n, "dependencies": [n + 1] if n < 299 else []} for n in range(300)))
    wide = plan_of(*({"id": n} for n in range(600)))
    assert set(statuses(await run(chain, stage)).values()) == {"ok"}
    assert set(statuses(await run(wide, stage, ParallelExecution(max_parallel_steps=100))).values()) == {"ok"}


async def test_without_a_verifier_the_declared_output_is_the_verdict(autojump_clock) -> None:
    @tool(effect=Effect.PURE)
    async def wrong() -> list[int]:
        return "not a list"

    @tool(effect=Effect.PURE)
    async def right() -> list[int]:
        return [1]

    plan = parse_plan([{"id": 1, "action": "wrong"}, {"id": 2, "action": "right"}, {"id": 3, "action": "work"}])
    log = RunLog("r", plan, began=0)
    tools = {"wrong": wrong, "right": right, "work": Stage().tool("work")}
    async with executor(tools, None, Verification(enabled=False)) as ref:
        await ref.ask(ExecutePlan(log=log))

    assert {i: v.verdict.value for i, v in log.verdicts.items()} == {1: "refuted", 2: "ok", 3: "unverifiable"}
    assert statuses(log) == {1: "failed", 2: "ok", 3: "ok"}


async def test_the_idempotency_key_is_the_plans_with_references_resolved_or_the_steps_own(autojump_clock) -> None:
    keys: list[str] = []

    @tool(effect=Effect.KEYED)
    async def pay(ctx: ToolContext) -> dict[str, int]:
        keys.append(ctx.idempotency_key)
        if len(keys) == 1:
            raise ToolError("try again")
        return {"n": 7}

    plan = parse_plan(
        [
            {"id": 1, "action": "pay", "max_retries": 1},
            {"id": 2, "action": "pay", "idempotency_key": "order-{$step1.n}"},
        ]
    )
    log = RunLog("run-x", plan, began=0)
    async with executor({"pay": pay}) as ref:
        await ref.ask(ExecutePlan(log=log))

    assert keys == ["run-x:1", "run-x:1", "order-7"]
