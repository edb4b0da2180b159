"""A run that is followed: its own events and the pieces of its models' answers, and it never outlives its block."""

from __future__ import annotations

import json

import pytest
import trio

from tests.execution.stage import opened
from trouper import Effect, GoalRefused, Plan, RunStatus, tool
from trouper.actors.model_events import ModelCalled, ModelText
from trouper.actors.records import PlanReady, RunEnded, RunStarted, StepEnded, StepStarted
from trouper.actors.run_stream import RunStream
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.runtime import Event


def plan_of(action: str, **parameters: object) -> str:
    return json.dumps({"steps": [{"id": 1, "action": action, "parameters": parameters, "dependencies": []}]})


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ModelText))


@tool(effect=Effect.PURE)
async def double(number: int) -> dict[str, int]:
    """Double a number."""
    await trio.sleep(1.0)
    return {"value": 2 * number}


def model() -> ScriptedModel:
    return ScriptedModel(lambda request: plan_of("double", number=8 if "eight" in request.messages[-1].content else 7))


async def followed(stream: RunStream) -> list[Event]:
    async with stream as events:
        return [event async for event in events]


async def test_a_run_is_followed_from_its_start_to_its_end_with_all_that_its_model_says(autojump_clock) -> None:
    async with opened([double], llm=model()) as troupe, troupe.stream("Double seven") as events:
        with pytest.raises(RuntimeError, match="has not ended"):
            _ = events.outcome
        seen = [event async for event in events]
        outcome = events.outcome

    assert text_of(seen) == plan_of("double", number=7)
    kinds = [type(event) for event in seen]
    order = [RunStarted, ModelText, ModelCalled, PlanReady, StepEnded, RunEnded]
    assert [kind for kind in dict.fromkeys(kinds) if kind in order] == order
    assert StepStarted in kinds
    assert (outcome.status, outcome.steps[1].result) == (RunStatus.SUCCESS, {"value": 14})
    assert isinstance(seen[-1], RunEnded)
    assert seen[-1].outcome == outcome
    assert events.dropped == 0


async def test_two_runs_at_once_are_told_apart(autojump_clock) -> None:
    told: dict[str, list[Event]] = {}
    async with opened([double], llm=model()) as troupe:

        async def follow(goal: str) -> None:
            told[goal] = await followed(troupe.stream(goal))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, "Double seven")
            nursery.start_soon(follow, "Double eight")

    assert text_of(told["Double seven"]) == plan_of("double", number=7)
    assert text_of(told["Double eight"]) == plan_of("double", number=8)
    assert len({event.run_id for event in told["Double seven"]}) == 1


@pytest.mark.parametrize("how", ["left", "cancelled", "raised"])
async def test_a_block_that_is_left_early_ends_the_run(how: str, autojump_clock) -> None:
    done: list[str] = []

    @tool(effect=Effect.PURE)
    async def slow() -> dict[str, bool]:
        """Take its time."""
        try:
            await trio.sleep(100.0)
        finally:
            done.append("ended")
        done.append("whole")
        return {"done": True}

    scripted = ScriptedModel(lambda _: plan_of("slow"))
    async with opened([slow], llm=scripted) as troupe:
        began = trio.current_time()

        async def follow() -> None:
            async with troupe.stream("Be slow") as events:
                async for event in events:
                    if not isinstance(event, StepStarted):
                        continue
                    await trio.sleep(1.0)
                    if how == "raised":
                        raise KeyError("mine")
                    if how == "left":
                        return
            pytest.fail("the run was waited for")

        if how == "raised":
            with pytest.raises(KeyError, match="mine"):  # itself, and in no group
                await follow()
        elif how == "left":
            await follow()
        else:
            with trio.move_on_after(2.0):
                await follow()
        await trio.sleep(1.0)

        assert trio.current_time() - began < 10.0
        assert done == ["ended"]
        again = await troupe.run_plan(json.loads(plan_of("slow")), timeout=200.0)
        assert again.status is RunStatus.SUCCESS


@pytest.mark.parametrize("read", [True, False])
async def test_a_goal_that_is_none_is_refused_out_of_the_block(read: bool, autojump_clock) -> None:
    async with opened([double], llm=model()) as troupe:
        with pytest.raises(GoalRefused):
            async with troupe.stream("  ") as events:
                if read:
                    async for _ in events:
                        pass
                    pytest.fail("it has told nothing")
                await trio.sleep(1.0)


async def test_a_slow_reader_holds_nothing_up_and_knows_what_it_missed(autojump_clock) -> None:
    async with opened([double], llm=model()) as troupe:
        began = trio.current_time()
        async with troupe.stream("Double seven", capacity=2) as events:
            await trio.sleep(5.0)
            seen = [event async for event in events]

            assert events.outcome.status is RunStatus.SUCCESS
            assert (len(seen) <= 2, events.dropped > 0) == (True, True)
            assert trio.current_time() - began < 6.0


async def test_without_its_block_a_stream_shows_the_right_line(autojump_clock) -> None:
    async with opened([double], llm=model()) as troupe:
        with pytest.raises(TypeError, match=r"`async with troupe.stream\(goal\) as events:`"):
            async for _ in troupe.stream("Double seven"):
                pass
        stream = troupe.stream("Double seven")
        await followed(stream)
        with pytest.raises(RuntimeError, match="of one run"):
            await followed(stream)


async def test_a_failed_run_ends_the_events_and_is_an_outcome(autojump_clock) -> None:
    async with opened([double], llm=ScriptedModel(lambda _: "no plan")) as troupe:
        events = troupe.stream("Double seven", timeout=30.0)
        assert isinstance((await followed(events))[-1], RunEnded)

    assert events.outcome.error is not None
    assert events.outcome.error.kind == "plan_unusable"


async def test_a_plan_is_a_plan_and_can_be_run(autojump_clock) -> None:
    async with opened([double], llm=model()) as troupe:
        plan = await troupe.plan("Double seven")
        told = await troupe.planned("Double seven")
        outcome = await troupe.run_plan(plan)

    assert isinstance(plan, Plan)
    assert [step.action for step in plan.steps] == ["double"]
    assert (told.planner, told.plan) == ("llm", plan)
    assert outcome.steps[1].result == {"value": 14}
