"""The planner after a failure: another plan that goes on from what is finished, or a clear no."""

from __future__ import annotations

import pytest

from tests.cast.planning import before, failed, ok, plan_of, planning, steps
from trouper.runtime import PlanningError, PlanUnusable

ONE = {"id": 1, "action": "search", "parameters": {"q": "a"}}
TWO = {"id": 2, "action": "send", "parameters": {"to": "$step1.t"}}
OLD = plan_of(ONE, TWO, {"id": 3, "action": "reply_to_user", "parameters": {"message": "$step2.to"}})
FOUND = ok(1, "search", {"t": "ann"}, q="a")
BROKEN = before(OLD, FOUND, failed(2, "send", to="ann"), why="send: no such address")
DOUBT = before(OLD, FOUND, failed(2, "send", in_doubt=True, to="ann"))
REPLY = {"id": 4, "action": "reply_to_user", "parameters": {"message": "$step1.t"}}


async def test_the_new_plan_has_the_finished_steps_and_goes_on_from_them(autojump_clock) -> None:
    async with planning([steps(REPLY)]) as cast:
        planned = await cast.plan(previous=BROKEN)

        assert planned.plan.step(1) == OLD.step(1)
        assert [step.id for step in planned.plan.steps] == [1, 4]
        assert planned.plan.dependencies[4] == (1,)


async def test_a_finished_step_that_the_model_writes_again_is_that_step(autojump_clock) -> None:
    async with planning([steps(ONE, REPLY)]) as cast:
        planned = await cast.plan(previous=BROKEN)
        assert [step.id for step in planned.plan.steps] == [1, 4]


async def test_what_has_no_effect_may_be_looked_up_again(autojump_clock) -> None:
    """A price may have changed meanwhile. Which tools have none the catalogue says."""
    async with planning([steps(ONE | {"id": 4})]) as cast:
        planned = await cast.plan(previous=BROKEN)

        assert planned.repairs == 0
        assert [step.id for step in planned.plan.steps] == [1, 4]


async def test_a_finished_id_is_not_given_to_another_step(autojump_clock) -> None:
    """It is repaired: the model hears which id is taken."""
    async with planning([steps(REPLY | {"id": 1}), steps(REPLY)]) as cast:
        planned = await cast.plan(previous=BROKEN)

        assert planned.repairs == 1
        assert "step 1" in cast.prompts[-1] or "id 1" in cast.prompts[-1]


async def test_the_id_of_a_failed_step_may_be_used_again(autojump_clock) -> None:
    """Models number anew: nothing stands under that id any more."""
    async with planning([steps(REPLY | {"id": 2})]) as cast:
        planned = await cast.plan(previous=BROKEN)
        assert planned.plan.step(2).action == "reply_to_user"


async def test_the_id_of_a_step_in_doubt_is_taken(autojump_clock) -> None:
    async with planning([steps(REPLY | {"id": 2}), steps(REPLY)]) as cast:
        planned = await cast.plan(previous=DOUBT)
        assert planned.repairs == 1
        assert [step.id for step in planned.plan.steps] == [1, 4]


async def test_a_new_plan_that_repeats_what_is_in_doubt_is_sent_back(autojump_clock) -> None:
    again = {"id": 4, "action": "send", "parameters": {"to": "ann"}}
    async with planning([steps(again), steps(REPLY)]) as cast:
        planned = await cast.plan(previous=DOUBT)

        assert planned.repairs == 1
        assert "may be the call of step 2 again" in cast.prompts[-1]


async def test_and_never_taken_however_often_the_model_insists(autojump_clock) -> None:
    again = steps({"id": 4, "action": "send", "parameters": {"to": "$step1.t"}})
    async with planning([again] * 3) as cast:
        with pytest.raises(PlanUnusable, match="its effect may have happened"):
            await cast.plan(previous=DOUBT)


@pytest.mark.parametrize("nothing", [steps(), steps(ONE), "[]"])
async def test_a_plan_without_anything_new_is_none(nothing, autojump_clock) -> None:
    """Otherwise a run with a failed step would end well by leaving it out."""
    async with planning([nothing] * 3) as cast:
        with pytest.raises(PlanUnusable, match=r"no (new )?steps"):
            await cast.plan(previous=BROKEN)


async def test_only_new_steps_count_against_the_limit(autojump_clock) -> None:
    done = [{"id": n, "action": "search", "parameters": {"q": str(n)}} for n in range(1, 41)]
    new = [{"id": n, "action": "search", "parameters": {"q": str(n)}} for n in range(101, 161)]
    previous = before(plan_of(*done), *(ok(n, "search", {"t": ""}, q=str(n)) for n in range(1, 41)))
    async with planning([steps(*new), steps(*done, *new)]) as cast:
        assert len((await cast.plan(previous=previous)).plan.steps) == 100
        assert len((await cast.plan(previous=previous)).plan.steps) == 100


async def test_the_steps_of_plans_inside_count_too(autojump_clock) -> None:
    inside = [{"id": n, "action": "search", "parameters": {"q": "a"}} for n in range(10, 90)]
    async with planning([steps({"id": 1, "plan": {"steps": inside}})] * 3) as cast:
        with pytest.raises(PlanUnusable, match="81 steps, the limit is 64"):
            await cast.plan()


async def test_the_prompt_begins_as_that_of_the_first_plan_did(autojump_clock) -> None:
    """A model server has computed all of it already, up to the goal."""
    async with planning([steps(ONE), steps(REPLY)]) as cast:
        await cast.plan()
        await cast.plan(previous=BROKEN)

        first, second = (request.messages for request in cast.model.requests)
        assert second[0] == first[0]
        assert second[1].content.startswith(first[1].content + "\n")
        assert "send: no such address" in second[1].content
        assert len(first) == len(second) == 2


async def test_the_rules_have_no_other_plan(autojump_clock) -> None:
    async with planning([], mode="rules") as cast:
        with pytest.raises(PlanningError, match="the rules have no other plan"):
            await cast.plan(previous=BROKEN)
        assert cast.planner.incarnation == 1
