"""What a budget does to a run: what is still done near its end, and how a run ends that has spent it."""

from __future__ import annotations

import json

import pytest
import trio

import trouper
from tests.execution.stage import opened, statuses
from trouper import Budget, Effect, RunStatus, Tool, ToolContext, ToolError, tool
from trouper.actors.records import BudgetLow
from trouper.adapters import store_sqlite
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.adapters.store_memory import InMemoryStore
from trouper.runtime import EventStream, MemoryJournal


class Shop:
    """A tool that counts its calls, can be slow, and fails as often as it is told."""

    def __init__(self, *, fails: int = 0) -> None:
        self.steps: list[int] = []
        self.fails = fails

    def tools(self) -> list[Tool]:
        @tool(effect=Effect.PURE)
        async def work(ctx: ToolContext, seconds: float = 0.0, **parameters: object) -> dict[str, int]:
            self.steps.append(ctx.step_id)
            await trio.sleep(seconds)
            if self.fails > 0:
                self.fails -= 1
                raise ToolError("not yet")
            return {"n": ctx.step_id}

        return [work]


def chain(n: int, **policies: object) -> list[dict[str, object]]:
    return [{"id": i, "action": "work", "dependencies": [i - 1] if i > 1 else [], **policies} for i in range(1, n + 1)]


# ------------------------------------------------------------------ at the end of it
async def test_no_more_steps_run_than_the_budget_has_and_the_next_says_why(autojump_clock) -> None:
    shop = Shop()
    async with opened(shop.tools(), budget={"steps": 3}) as troupe:
        outcome = await troupe.run_plan(chain(5))

    assert outcome.status is RunStatus.FAILED
    assert statuses(outcome) == {1: "ok", 2: "ok", 3: "ok", 4: "failed", 5: "skipped"}
    assert outcome.steps[4].error.kind == "budget"
    assert "1 more step: 3 used, limit 3" in outcome.steps[4].error.message
    assert shop.steps == [1, 2, 3]


async def test_steps_side_by_side_cannot_pass_the_limit_together(autojump_clock) -> None:
    shop = Shop()
    wide = [{"id": n, "action": "work", "parameters": {"seconds": 1}} for n in range(1, 21)]
    parallel = {"performance": {"parallel_execution": {"max_parallel_steps": 20}}}
    async with opened(shop.tools(), budget={"steps": 7}, **parallel) as troupe:
        outcome = await troupe.run_plan(wide)

    assert len(shop.steps) == 7
    assert sorted(statuses(outcome).values()) == ["failed"] * 13 + ["ok"] * 7


async def test_each_attempt_is_a_tool_call_and_a_spent_budget_is_not_tried_again(autojump_clock) -> None:
    shop = Shop(fails=10)
    async with opened(shop.tools(), budget={"tool_calls": 3}) as troupe:
        began = trio.current_time()
        outcome = await troupe.run_plan(chain(1, max_retries=9, retry_backoff_s=1))
        took = trio.current_time() - began

    assert (len(shop.steps), outcome.steps[1].error.kind) == (3, "budget")
    assert took < 20


async def test_the_elements_of_for_each_are_tool_calls(autojump_clock) -> None:
    shop = Shop()
    step = {"id": 1, "action": "work", "for_each": list(range(10)), "parameters": {"x": "$item"}}
    async with opened(shop.tools(), budget={"tool_calls": 4}) as troupe:
        outcome = await troupe.run_plan([step])

    assert (outcome.status, len(shop.steps)) == (RunStatus.FAILED, 4)


async def test_a_run_ends_when_its_seconds_are_spent(autojump_clock) -> None:
    shop = Shop()
    async with opened(shop.tools()) as troupe:
        began = trio.current_time()
        outcome = await troupe.run_plan(chain(3, parameters={"seconds": 10}), timeout=100, budget=Budget(seconds=15.0))

        assert trio.current_time() - began == 15.0
    assert (outcome.status, outcome.error.kind) == (RunStatus.FAILED, "budget")
    assert statuses(outcome)[1] == "ok"
    assert shop.steps == [1, 2]


async def test_a_callers_budget_can_only_be_less_than_the_configurations(autojump_clock) -> None:
    shop = Shop()
    async with opened(shop.tools(), budget={"steps": 2}) as troupe:
        more = await troupe.run_plan(chain(3), budget=Budget(steps=10))
        less = await troupe.run_plan(chain(3), budget=Budget(steps=1))

    assert statuses(more) == {1: "ok", 2: "ok", 3: "failed"}
    assert statuses(less) == {1: "ok", 2: "failed", 3: "skipped"}


# ------------------------------------------------------------------ near the end of it
async def test_from_eighty_percent_on_only_what_is_necessary_is_done(autojump_clock) -> None:
    """Steps that may fail are left out, with the reason; the others go on to the limit."""
    shop = Shop()
    plan = chain(5)
    plan.insert(4, {"id": 9, "action": "work", "dependencies": [4], "critical": False})
    plan.append({"id": 8, "action": "work", "dependencies": [1], "critical": False})
    async with opened(shop.tools(), budget={"tool_calls": 6}) as troupe:
        outcome = await troupe.run_plan(plan)

    assert statuses(outcome) == {1: "ok", 2: "ok", 3: "ok", 4: "ok", 5: "ok", 8: "ok", 9: "skipped"}
    assert (outcome.steps[9].reason, outcome.status) == ("budget", RunStatus.SUCCESS_WITH_FAILURES)


async def test_a_budget_that_is_nearly_spent_is_told_once_and_at_once(autojump_clock) -> None:
    shop = Shop()
    async with opened(shop.tools(), budget={"steps": 10, "warn_at": 0.5}) as troupe:
        with troupe.system.events() as events:
            await troupe.run_plan(chain(8, parameters={"seconds": 1}))
            told = [event for event in await heard(events) if isinstance(event, BudgetLow)]

    assert [(event.what, event.used, event.limit) for event in told] == [("steps", 5, 10)]


async def heard(events: EventStream) -> list[object]:
    """What a subscription holds now."""
    found: list[object] = []
    with trio.move_on_after(0.001):
        while True:
            found.append(await anext(events))
    return found


async def test_with_a_nearly_spent_budget_nothing_is_planned_again(autojump_clock) -> None:
    shop = Shop(fails=10)
    model = ScriptedModel([json.dumps({"steps": chain(1)})] * 5)
    async with opened(shop.tools(), llm=model, budget={"model_calls": 1}) as troupe:
        outcome = await troupe.execute("Do the work of the day")

    assert (outcome.status, len(model.requests), outcome.replans) == (RunStatus.FAILED, 1, ())


# ------------------------------------------------------------------ models
async def test_a_plan_that_the_budget_does_not_allow_to_be_repaired_fails_for_that(autojump_clock) -> None:
    model = ScriptedModel(["no plan", json.dumps({"steps": chain(1)})])
    async with opened(Shop().tools(), llm=model, budget={"model_calls": 1}) as troupe:
        outcome = await troupe.execute("Do the work of the day")

    assert (outcome.status, outcome.error.kind, len(model.requests)) == (RunStatus.FAILED, "budget", 1)


async def test_tokens_and_money_are_held_to_as_well(autojump_clock) -> None:
    model = ScriptedModel([json.dumps({"steps": chain(1)})] * 2)
    async with opened(Shop().tools(), llm=model) as troupe:
        few = await troupe.execute("Do the work of the day", budget=Budget(tokens=100))
        enough = await troupe.execute("Do the work of the day", budget=Budget(tokens=100_000))

    assert (few.error.kind, len(model.requests)) == ("budget", 1)
    assert (enough.status, 0 < enough.usage.total_tokens < 100_000) == (RunStatus.SUCCESS, True)


async def test_what_a_run_has_cost_is_in_its_outcome(autojump_clock, monkeypatch) -> None:
    """The prices are in the section `llm`."""
    model = ScriptedModel([json.dumps({"steps": chain(1)})])
    monkeypatch.setattr(store_sqlite, "SqliteMemoryStore", lambda _: InMemoryStore())
    config = {
        "llm": {"prices": {"prompt": 1.0, "completion": 2.0}},
        "performance": {"caching": {"embeddings": False}},  # it is a file, and the clock is virtual
        "observability": {"log_level": "error"},
    }
    async with trouper.open_troupe(
        config, tools=Shop().tools(), llm=model, embedder=HashEmbedder(), workdir=".", journal=MemoryJournal()
    ) as troupe:
        outcome = await troupe.execute("Do the work of the day")

    usage = outcome.usage
    assert usage.cost == pytest.approx((usage.prompt_tokens + 2 * usage.completion_tokens) / 1e6) != 0
    assert outcome.as_json()["usage"]["cost"] == usage.cost


# ------------------------------------------------------------------ levels
async def test_a_plan_has_a_budget_of_its_own_within_the_requests(autojump_clock) -> None:
    shop = Shop()
    async with opened(shop.tools(), budget={"steps": 10}) as troupe:
        own = await troupe.run_plan({"budget": {"steps": 2}, "steps": chain(4)})

    assert statuses(own) == {1: "ok", 2: "ok", 3: "failed", 4: "skipped"}
    assert "the budget of the plan" in own.steps[3].error.message


def nested(budget: dict[str, object], n: int = 3, **parameters: object) -> dict[str, object]:
    inner = [{"id": 10 + i, "action": "work", "parameters": parameters} for i in range(n)]
    for one, before in zip(inner[1:], inner, strict=False):
        one["dependencies"] = [before["id"]]
    return {"steps": [{"id": 1, "plan": {"steps": inner}, "budget": budget}, {"id": 2, "action": "work"}]}


async def test_a_sub_plan_is_held_to_its_own_budget_and_the_rest_goes_on(autojump_clock) -> None:
    shop = Shop()
    async with opened(shop.tools()) as troupe:
        outcome = await troupe.run_plan(nested({"tool_calls": 2}))

    assert statuses(outcome) == {1: "failed", 2: "ok"}
    assert sorted(shop.steps) == [2, 10, 11]
    assert "sub-plan of step 1" in outcome.steps[1].error.message


async def test_what_a_sub_plan_spends_is_spent_of_the_request_too(autojump_clock) -> None:
    shop = Shop()
    async with opened(shop.tools(), budget={"tool_calls": 2}) as troupe:
        outcome = await troupe.run_plan(nested({"tool_calls": 100}, n=3))

    assert len(shop.steps) == 2
    assert outcome.status is RunStatus.FAILED


async def test_a_plans_seconds_end_it(autojump_clock) -> None:
    shop = Shop()
    async with opened(shop.tools()) as troupe:
        began = trio.current_time()
        outcome = await troupe.run_plan(
            {"budget": {"seconds": 15}, "steps": chain(3, parameters={"seconds": 10})}, timeout=100
        )

        assert trio.current_time() - began == 15.0
    assert outcome.status is RunStatus.FAILED
    assert "budget" in {outcome.error.kind if outcome.error else "", outcome.steps[2].error.kind}


async def test_a_sub_plans_seconds_end_it_and_nothing_else(autojump_clock) -> None:
    shop = Shop()
    async with opened(shop.tools()) as troupe:
        outcome = await troupe.run_plan(nested({"seconds": 15}, seconds=10), timeout=100)

    assert statuses(outcome) == {1: "failed", 2: "ok"}
    assert outcome.steps[1].ended == 15.0
    assert outcome.steps[1].error.kind == "budget"


async def test_a_model_call_of_a_tool_is_paid_by_the_plan_it_is_in(autojump_clock) -> None:
    """`summarize` asks the model, each time something else; the sub-plan may ask it once."""
    model = ScriptedModel(lambda request: "a summary")
    texts = [f"some text {i}. " * 50 for i in range(3)]
    inner = [{"id": 10 + i, "action": "summarize", "parameters": {"content": text}} for i, text in enumerate(texts)]
    inner[1]["dependencies"], inner[2]["dependencies"] = [10], [11]
    plan = {"steps": [{"id": 1, "plan": {"steps": inner}, "budget": {"model_calls": 1}}]}
    async with opened([], llm=model, performance={"background_tasks": {"verification": False}}) as troupe:
        outcome = await troupe.run_plan(plan, timeout=100)

    assert len(model.requests) == 1, outcome.as_json()
    assert outcome.status is RunStatus.FAILED


# ------------------------------------------------------------------ going on
async def test_a_run_that_is_gone_on_with_has_spent_what_it_had_spent(autojump_clock) -> None:
    """Else each suspension would give it a new budget."""
    shop, journal = Shop(), MemoryJournal()
    plan = chain(4)
    plan[2]["approval"] = True
    async with opened(shop.tools(), journal=journal, budget={"tool_calls": 3}) as troupe:
        first = await troupe.run_plan(plan)
        assert first.status is RunStatus.WAITING
        await troupe.approve(first.run_id, 3, ok=True)
        second = await troupe.resume(first.run_id)

    assert shop.steps == [1, 2, 3]
    assert statuses(second) == {1: "ok", 2: "ok", 3: "ok", 4: "failed"}
    assert second.steps[4].error.kind == "budget"
