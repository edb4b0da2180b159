"""After a failure the planner is asked again: what is finished stays, nothing of it runs a second time."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import trio

import trouper
from tests.cast.planning import steps
from tests.execution.stage import opened, statuses
from trouper import Effect, RunStatus, Tool, ToolContext, ToolError, tool
from trouper.actors.records import PlanReady
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.adapters.model_server import model_server
from trouper.runtime import BadRequest, MemoryJournal

GOAL = "Find the price of the train and send it to Ann"

FIND = {"id": 1, "action": "find", "parameters": {"q": "train"}}
SIDE = {"id": 2, "action": "find", "parameters": {"q": "slow"}}
SEND = {"id": 3, "action": "send", "parameters": {"to": "ann", "text": "$step1.found"}}
TELL = {"id": 4, "action": "tell", "parameters": {"text": "$step3.sent"}}
FIRST = steps(FIND, SIDE, SEND, TELL)

CALL = {"id": 5, "action": "phone", "parameters": {"to": "ann", "text": "$step1.found"}}
SAY = {"id": 6, "action": "tell", "parameters": {"text": "{$step5.said} ({$step2.found})"}}
SECOND = steps(CALL, SAY)


class World:
    """Tools that count their calls; `send` fails as it is told to."""

    def __init__(self, *, fails: str = "raises", times: float = math.inf) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.fails = fails
        self.times = times

    def tools(self) -> list[Tool]:
        async def look_again(parameters, result, evidence) -> list[str]:
            return ["nobody got it"] if self.fails == "refuted" else []

        @tool(effect=Effect.PURE)
        async def find(q: str) -> dict[str, str]:
            self.calls["find", q] += 1
            await trio.sleep(5 if q == "slow" else 0)
            return {"found": f"the {q}"}

        @tool(effect=Effect.ONCE, verify=look_again)
        async def send(to: str, text: str) -> dict[str, str]:
            self.calls["send", to] += 1
            if self.calls["send", to] <= self.times:
                if self.fails == "raises":
                    raise ToolError("the mail server is down")
                if self.fails == "hangs":
                    await trio.sleep_forever()
            return {"sent": text}

        @tool(effect=Effect.ONCE)
        async def phone(to: str, text: str) -> dict[str, str]:
            self.calls["phone", to] += 1
            return {"said": text}

        @tool(effect=Effect.PURE)
        async def tell(text: str) -> str:
            self.calls["tell", text] += 1
            return text

        return [find, send, phone, tell]


def heard(model: ScriptedModel, number: int) -> str:
    """What the model was asked last in one of its calls."""
    return model.requests[number].messages[-1].content


async def test_a_failed_step_is_planned_around_and_finished_steps_never_run_again(autojump_clock) -> None:
    """Siblings of the failed step finish first; the new plan takes their results by id."""
    world, model = World(), ScriptedModel([FIRST, SECOND])
    async with opened(world.tools(), llm=model) as troupe:
        outcome = await troupe.execute(GOAL)

        assert outcome.status is RunStatus.SUCCESS, outcome.error
        assert outcome.steps[6].result == "the train (the slow)"
        assert statuses(outcome) == {1: "ok", 2: "ok", 5: "ok", 6: "ok"}
        assert world.calls["find", "train"] == world.calls["find", "slow"] == 1
        assert world.calls["send", "ann"] == 1


async def test_the_model_hears_what_is_finished_and_what_failed_and_why(autojump_clock) -> None:
    world, model = World(), ScriptedModel([FIRST, SECOND])
    async with opened(world.tools(), llm=model) as troupe:
        await troupe.execute(GOAL)

        first, second = heard(model, 0), heard(model, 1)
        assert second.startswith(first)
        assert '"result": {"found": "the slow"}' in second
        assert "the mail server is down" in second
        assert "- Finished: 1-2." in second


async def test_a_model_that_writes_the_whole_plan_again_loses_nothing(autojump_clock) -> None:
    """Finished steps are recognised, and what failed or never began is replaced under its old id."""
    world = World()
    again = steps(FIND, SIDE, CALL | {"id": 3}, TELL | {"parameters": {"text": "$step3.said"}})
    async with opened(world.tools(), llm=ScriptedModel([FIRST, again])) as troupe:
        outcome = await troupe.execute(GOAL)

        assert outcome.ok, outcome.error
        assert statuses(outcome) == {1: "ok", 2: "ok", 3: "ok", 4: "ok"}
        assert outcome.steps[3].action == "phone"
        assert outcome.replans[0].failed[3].action == "send"
        assert world.calls["find", "train"] == world.calls["find", "slow"] == world.calls["phone", "ann"] == 1


async def test_elements_that_were_done_are_not_done_again(autojump_clock) -> None:
    """One letter of three could not be sent: the next plan sends that one only, whatever the model writes first."""
    world = World(times=0)
    letters = {"id": 1, "action": "send", "parameters": {"to": "$item", "text": "hello"}}
    tools = world.tools()

    @tool(name="send", effect=Effect.ONCE)
    async def send(to: str, text: str) -> dict[str, str]:
        world.calls["send", to] += 1
        if to == "bob" and world.calls["send", to] == 1:
            raise ToolError("no such address")
        return {"sent": to}

    script = [
        steps(letters | {"for_each": ["ann", "bob", "eve"]}),
        steps(letters | {"for_each": ["ann", "bob", "eve"]}),
        steps(letters | {"id": 2, "for_each": ["bob"]}),
    ]
    model = ScriptedModel(script)
    async with opened([t for t in tools if t.name != "send"] + [send], llm=model) as troupe:
        outcome = await troupe.execute(GOAL)

        assert outcome.ok, outcome.error
        assert world.calls["send", "ann"] == 1
        assert world.calls["send", "bob"] == 2
        assert "that step 1 has done already" in heard(model, 2)


async def test_the_plan_that_was_given_up_is_in_the_outcome(autojump_clock) -> None:
    world = World()
    async with opened(world.tools(), llm=ScriptedModel([FIRST, SECOND])) as troupe:
        outcome = await troupe.execute(GOAL)

        [replan] = outcome.replans
        assert [step.id for step in replan.plan.steps] == [1, 2, 3, 4]
        assert replan.failed[3].error.message == "the mail server is down"
        assert [step.id for step in outcome.plan.steps] == [1, 2, 5, 6]
        assert outcome.as_json()["replans"][0]["failed"]["3"]["status"] == "failed"


async def test_both_plans_are_in_the_journal(autojump_clock) -> None:
    journal = MemoryJournal()
    async with opened(World().tools(), llm=ScriptedModel([FIRST, SECOND]), journal=journal) as troupe:
        outcome = await troupe.execute(GOAL)

        records = await journal.read(outcome.run_id)
        assert [r.generation for r in records if isinstance(r, PlanReady)] == [1, 2]


async def test_a_refuted_step_is_planned_around_too(autojump_clock) -> None:
    """Its tool said that it had worked, the verifier found that it had not."""
    world, model = World(fails="refuted"), ScriptedModel([FIRST, SECOND])
    async with opened(world.tools(), llm=model) as troupe:
        outcome = await troupe.execute(GOAL)

        assert outcome.status is RunStatus.SUCCESS, outcome.error
        assert "nobody got it" in heard(model, 1)
        assert world.calls["send", "ann"] == 1
        assert outcome.replans[0].failed[3].error.kind == "refuted"


async def test_the_same_call_again_after_it_was_refuted_is_sent_back(autojump_clock) -> None:
    world = World(fails="refuted")
    model = ScriptedModel([FIRST, steps(SEND | {"id": 5}), SECOND])
    async with opened(world.tools(), llm=model) as troupe:
        outcome = await troupe.execute(GOAL)

        assert outcome.ok
        assert world.calls["send", "ann"] == 1
        assert "step 3 has done already" in heard(model, 2)


async def test_a_call_in_doubt_is_never_made_again(autojump_clock) -> None:
    """It was cut off by its timeout: the letter may be on its way. The model insists, and does not get its way."""
    world = World(fails="hangs")
    first, again = steps(FIND, SEND | {"timeout_s": 1}), steps(SEND | {"id": 5})
    model = ScriptedModel(lambda request: first if len(model.requests) == 1 else again)
    async with opened(world.tools(), llm=model) as troupe:
        outcome = await troupe.execute(GOAL, timeout=600)

        assert not outcome.ok
        assert world.calls["send", "ann"] == 1
        assert "may be the call of step 3 again" in heard(model, 2)
        assert outcome.steps[3].in_doubt


async def test_what_is_in_doubt_can_be_gone_around(autojump_clock) -> None:
    world = World(fails="hangs")
    model = ScriptedModel([steps(FIND, SEND | {"timeout_s": 1}), steps(CALL)])
    async with opened(world.tools(), llm=model) as troupe:
        outcome = await troupe.execute(GOAL, timeout=600)

        assert outcome.steps[5].status.value == "ok"
        assert world.calls == {("find", "train"): 1, ("send", "ann"): 1, ("phone", "ann"): 1}


# ------------------------------------------------------------------ bounds
@pytest.mark.parametrize("most", [0, 1, 3])
async def test_there_are_at_most_max_replans(most, autojump_clock) -> None:
    """Each further plan fails like the one before it; then the run has failed, with what was finished."""
    world = World()
    model = ScriptedModel(
        lambda request: FIRST if len(model.requests) == 1 else steps(SEND | {"id": 10 + len(model.requests)})
    )
    async with opened(world.tools(), llm=model, planner={"max_replans": most}) as troupe:
        outcome = await troupe.execute(GOAL)

        assert outcome.status is RunStatus.FAILED
        assert len(model.requests) == 1 + most
        assert world.calls["send", "ann"] == 1 + most
        assert len(outcome.replans) == most
        assert outcome.steps[1].status.value == "ok"


async def test_a_tolerated_failure_is_no_reason_for_another_plan(autojump_clock) -> None:
    world, model = World(), ScriptedModel([steps(FIND, SEND | {"critical": False})])
    async with opened(world.tools(), llm=model) as troupe:
        outcome = await troupe.execute(GOAL)

        assert outcome.status is RunStatus.SUCCESS_WITH_FAILURES
        assert len(model.requests) == 1


async def test_the_deadline_bounds_all_plans_together(autojump_clock) -> None:
    world = World()
    model = ScriptedModel(lambda request: FIRST if len(model.requests) == 1 else steps(SEND | {"id": 9}), pace=20.0)
    async with opened(world.tools(), llm=model, planner={"max_replans": 10}) as troupe:
        with trio.fail_after(700):
            outcome = await troupe.execute(GOAL, timeout=600)

        assert outcome.error.kind == "deadline"
        assert outcome.steps[1].status.value == "ok"
        assert model.calls_open == 0


# ------------------------------------------------------------------ planners that do not help
async def test_a_new_plan_that_cannot_be_run_is_repaired(autojump_clock) -> None:
    world = World()
    model = ScriptedModel([FIRST, steps(CALL | {"id": 1}, SAY), SECOND])
    async with opened(world.tools(), llm=model) as troupe:
        outcome = await troupe.execute(GOAL)

        assert outcome.ok
        assert len(outcome.replans) == 1
        assert world.calls["find", "train"] == world.calls["phone", "ann"] == 1


@pytest.mark.parametrize("second", [["I do not know."] * 3, [BadRequest("no")]], ids=["no plan", "no model"])
async def test_a_model_that_cannot_plan_anew_leaves_the_failure_as_it_is(second, autojump_clock) -> None:
    """What was finished is in the outcome, and so is what failed."""
    world = World()
    async with opened(world.tools(), llm=ScriptedModel([FIRST, *second])) as troupe:
        outcome = await troupe.execute(GOAL)

        assert outcome.status is RunStatus.FAILED
        assert statuses(outcome) == {1: "ok", 2: "ok", 3: "failed", 4: "skipped"}
        assert "the mail server is down" in outcome.error.message


async def test_the_rules_do_not_plan_anew(autojump_clock) -> None:
    world = World()

    @tool(name="calculate", effect=Effect.PURE)
    async def calculate(ctx: ToolContext, expression: str) -> float:
        """Instead of the built-in one."""
        world.calls["calculate", expression] += 1
        raise ToolError("no numbers today")

    async with opened([calculate], planner={"mode": "rules"}) as troupe:
        outcome = await troupe.execute("What is 2 + 3?")

        assert outcome.status is RunStatus.FAILED
        assert "no numbers today" in outcome.error.message
        assert outcome.replans == ()
        assert world.calls.total() == 1


async def test_a_ready_plan_is_run_as_it_is(autojump_clock) -> None:
    """Whoever brings a plan wants that one."""
    world, model = World(), ScriptedModel([SECOND])
    async with opened(world.tools(), llm=model) as troupe:
        outcome = await troupe.run_plan(FIRST)

        assert outcome.status is RunStatus.FAILED
        assert model.requests == []


# ------------------------------------------------------------------ over a real connection
@pytest.mark.io
async def test_a_model_behind_a_real_connection_plans_anew(tmp_path) -> None:
    world = World()
    async with model_server([FIRST.replace("slow", "fast"), SECOND]) as server:
        config = {"llm": {"base_url": server.base_url}, "memory": {"path": str(tmp_path / "memory.sqlite")}}
        async with trouper.open_troupe(config, tools=world.tools(), embedder=HashEmbedder()) as troupe:
            outcome = await troupe.execute(GOAL, timeout=90)

        asked = [request.json["messages"] for request in server.requests]
        assert outcome.steps[6].result == "the train (the fast)"
        assert [len(messages) for messages in asked] == [2, 2]
        assert asked[1][1]["content"].startswith(asked[0][1]["content"])
        assert world.calls["find", "train"] == world.calls["send", "ann"] == world.calls["phone", "ann"] == 1
