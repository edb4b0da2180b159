"""Several models through an open troupe: the planner's fallback, the verifier's opinion, answers that are kept."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import trouper
from tests.execution.stage import opened, statuses
from trouper import ChatRequest, Effect, RunStatus, Troupe, VerdictKind, tool
from trouper.actors.llm import GetLLMStatistics
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.llm_scripted import Delay, ScriptedModel
from trouper.adapters.model_server import model_server
from trouper.adapters.model_server_script import ServerReply, ServerRequest
from trouper.runtime import BreakerState, MemoryJournal, ModelUnavailable

PLAN = json.dumps({"steps": [{"id": 1, "action": "calculate", "parameters": {"expression": "6 * 7"}}]})
YES = '{"supported": true, "confidence": 0.9, "why": "it says so"}'
NO = '{"supported": false, "confidence": 0.9, "why": "that is no name"}'
GOAL = "Multiply six by seven"


@tool(effect=Effect.PURE)
async def name_of(number: int) -> object:
    """The name of somebody."""
    return "Ann" if number == 1 else number


def naming(critical: bool | None = None) -> list[dict[str, object]]:
    steps: list[dict[str, object]] = [
        {"id": 1, "action": "name_of", "parameters": {"number": 1}},
        {"id": 2, "action": "name_of", "parameters": {"number": 2}, "dependencies": [1]},
    ]
    if critical is not None:
        steps[0]["critical"] = critical
    return steps


@asynccontextmanager
async def served(config: dict[str, object], tmp_path: Path, llm: OpenAIModel | None = None) -> AsyncIterator[Troupe]:
    # No memory is near enough to be shown to the planner: with one of the last run the question would be another one.
    whole = {"memory": {"path": str(tmp_path / "memory.sqlite"), "min_score": 1.0}, **config}
    async with trouper.open_troupe(whole, llm=llm, workdir=tmp_path, journal=MemoryJournal()) as troupe:
        yield troupe


# ------------------------------------------------------------------ over real HTTP
@pytest.mark.io
async def test_the_planner_goes_on_with_the_next_model_and_then_leaves_the_broken_one_alone(tmp_path) -> None:
    """A gateway that answers 503 to everything, and a second server: each goal is planned, the first is soon spared."""
    async with model_server(lambda _: ServerReply(status=503)) as broken, model_server(lambda _: PLAN) as well:
        config = {
            "llm": {
                "base_url": broken.base_url,
                "api_key": None,
                "model": "large",
                "max_retries": 0,
                "models": {"spare": {"base_url": well.base_url, "model": "small", "prices": {"prompt": 1e6}}},
                "roles": {"planner": ["default", "spare"]},
                "breaker": {"failures": 2, "cooldown": 600.0},
            },
            "performance": {"caching": {"responses": "off"}},
        }
        async with served(config, tmp_path) as troupe:
            outcomes = [await troupe.execute(GOAL, timeout=30) for _ in range(3)]
            statistics = await troupe.system.find("troupe/llm").ask(GetLLMStatistics())

    assert [outcome.status for outcome in outcomes] == [RunStatus.SUCCESS] * 3
    assert (broken.statistics.requests, well.statistics.requests) == (2, 3)
    assert well.requests[0].payload["model"] == "small"
    assert (statistics.models["default"].breaker, statistics.models["spare"].fell_back) == (BreakerState.OPEN, 0)
    assert outcomes[0].usage.cost == outcomes[0].usage.prompt_tokens > 0


@pytest.mark.io
@pytest.mark.parametrize(("mode", "asked"), [("deterministic", 1), ("all", 1), ("off", 2)])
async def test_the_same_goal_again_is_planned_from_what_the_model_has_said_unless_that_is_off(
    mode, asked, tmp_path
) -> None:
    """Also in another process, as here in another troupe: the answers are on the disk."""
    async with model_server(lambda _: PLAN) as server:
        config = {
            "llm": {"base_url": server.base_url, "api_key": None},
            "performance": {"caching": {"responses": mode, "responses_on_disk": True}},
        }
        outcomes = []
        for _ in range(2):
            async with served(config, tmp_path) as troupe:
                outcomes.append(await troupe.execute(GOAL, timeout=30))

    assert server.statistics.chats == asked
    assert [outcome.steps[1].result["value"] for outcome in outcomes] == [42, 42]
    assert [outcome.usage.calls for outcome in outcomes] == [1, asked - 1]


@pytest.mark.io
async def test_two_models_of_one_name_behind_two_addresses_do_not_share_answers_on_the_disk(tmp_path) -> None:
    other = PLAN.replace("6 * 7", "6 * 8")
    async with model_server(lambda _: PLAN) as first, model_server(lambda _: other) as second:
        values = []
        for server in (first, second, first):
            model = OpenAIModel(model="default", base_url=server.base_url)
            config = {"performance": {"caching": {"responses_on_disk": True}}}
            async with served(config, tmp_path, llm=model) as troupe:
                values.append((await troupe.execute(GOAL, timeout=30)).steps[1].result["value"])
            await model.aclose()

    assert values == [42, 48, 42]
    assert (first.statistics.chats, second.statistics.chats) == (1, 1)


@pytest.mark.io
async def test_a_plan_that_could_not_be_used_is_not_kept(tmp_path) -> None:
    """The first answer is no plan, its repair is one: when the goal comes again the model is asked again."""
    said: list[str] = []

    def answer(request: ServerRequest) -> str:
        said.append("x")
        return "I am not sure." if len(said) == 1 else PLAN

    async with model_server(answer) as server:
        config = {
            "llm": {"base_url": server.base_url, "api_key": None},
            "performance": {"caching": {"responses_on_disk": True}},
        }
        for _ in range(2):
            async with served(config, tmp_path) as troupe:
                assert (await troupe.execute(GOAL, timeout=30)).status is RunStatus.SUCCESS

    assert len(said) == 3  # not sure, the plan; then the plan at once


# ------------------------------------------------------------------ the verifier's opinion
@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [(YES, VerdictKind.OK, RunStatus.SUCCESS), (NO, VerdictKind.REFUTED, RunStatus.FAILED)],
)
async def test_with_a_model_for_the_verifier_what_nobody_can_check_gets_an_opinion(
    answer, kind, status, autojump_clock
) -> None:
    model = ScriptedModel(lambda request: answer if request.role == "verifier" else "[]")
    async with opened([name_of], llm=model, verifier={"model": True}) as troupe:
        outcome = await troupe.run_plan(naming())

    assert (outcome.verdicts[1].verdict, outcome.status) == (kind, status)
    assert {request.priority for request in model.requests} == {"background"}
    assert outcome.usage.calls == len(model.requests) == 2


async def test_without_it_nobody_is_asked(autojump_clock) -> None:
    model = ScriptedModel(lambda request: YES)
    async with opened([name_of], llm=model) as troupe:
        outcome = await troupe.run_plan(naming())

    assert (model.requests, outcome.verdicts[1].verdict) == ([], VerdictKind.UNVERIFIABLE)


@pytest.mark.parametrize(
    ("critical", "told"),
    [(True, {1: "failed", 2: "skipped"}), (None, {1: "ok", 2: "ok"})],
    ids=["critical", "not critical"],
)
@pytest.mark.parametrize("failure", [ModelUnavailable("down"), "rubbish"], ids=["down", "rubbish"])
async def test_an_opinion_that_cannot_be_had_fails_a_critical_step_and_no_other(
    failure, critical, told, autojump_clock
) -> None:
    def answer(_: ChatRequest) -> object:
        if isinstance(failure, Exception):
            failure.retryable = False
        return failure

    async with opened([name_of], llm=ScriptedModel(answer), verifier={"model": True}) as troupe:
        outcome = await troupe.run_plan(naming(critical))

    assert statuses(outcome) == told
    assert outcome.verdicts[1].verdict is VerdictKind.UNVERIFIABLE
    if critical:
        assert outcome.steps[1].error is not None
        assert outcome.steps[1].error.kind == "unverified"


async def test_the_elements_of_a_step_are_asked_about_side_by_side(autojump_clock) -> None:
    """Ten elements with an opinion of a second each, as many calls at once as there may be: not ten seconds."""
    model = ScriptedModel(lambda _: Delay(1.0, YES))
    plan = [{"id": 1, "action": "name_of", "for_each": list(range(10)), "parameters": {"number": "$item"}}]
    fast = {"parallel_execution": {"max_parallel_llm_calls": 6}}
    async with opened([name_of], llm=model, verifier={"model": True}, performance=fast) as troupe:
        began = trio.current_time()
        outcome = await troupe.run_plan(plan)

        assert trio.current_time() - began == 2.0  # five at once: the last place is not for the background
    assert (outcome.verdicts[1].verdict, len(model.requests)) == (VerdictKind.OK, 10)


async def test_one_element_whose_opinion_cannot_be_had_leaves_the_step_without_a_verdict(autojump_clock) -> None:
    model = ScriptedModel(lambda request: "rubbish" if '"number": 3' in request.messages[-1].content else YES)
    plan = [{"id": 1, "action": "name_of", "for_each": list(range(6)), "parameters": {"number": "$item"}}]
    async with opened([name_of], llm=model, verifier={"model": True}) as troupe:
        outcome = await troupe.run_plan([{**plan[0], "critical": True}])

    assert (outcome.steps[1].status.value, outcome.steps[1].error.kind) == ("failed", "unverified")


# ------------------------------------------------------------------ the time of a run
async def test_a_turn_that_comes_after_the_end_of_the_run_is_refused_at_once(autojump_clock) -> None:
    """The asks of a run may take 45 s longer than the run: the limiter has to know of the run, not of the ask."""
    limits = {"performance": {"rate_limiting": {"rpm_limit": 1, "safety_margin": 1.0}}}
    plan = json.dumps([{"id": 1, "action": "name_of", "parameters": {"number": 1}}])  # no thread: the clock is virtual
    async with opened([name_of], llm=ScriptedModel([plan, plan]), **limits) as troupe:
        first = await troupe.execute(GOAL, timeout=30)
        began = trio.current_time()
        second = await troupe.execute(GOAL, timeout=30)

    assert first.status is RunStatus.SUCCESS
    assert second.error is not None
    assert second.error.kind == "rate_limited"
    assert "must be answered within 30 s" in second.error.message
    assert trio.current_time() - began < 1


@pytest.mark.io
async def test_a_model_that_hangs_leaves_its_substitute_half_of_the_run(tmp_path, mock_clock) -> None:
    mock_clock.rate = 1.0  # real, because of the memory's threads; half of the run is over at once

    def hang(_: ServerRequest) -> ServerReply:
        mock_clock.jump(61.0)
        return ServerReply(delay=math.inf)

    silent = model_server(hang)
    async with silent, model_server(lambda _: PLAN) as well:
        config = {
            "llm": {
                "base_url": silent.base_url,
                "api_key": None,
                "models": {"spare": {"base_url": well.base_url}},
                "roles": {"planner": ["default", "spare"]},
            },
        }
        async with served(config, tmp_path) as troupe:
            outcome = await troupe.execute(GOAL, timeout=120)

    assert outcome.status is RunStatus.SUCCESS
    assert (silent.statistics.requests, well.statistics.requests) == (1, 1)
