"""No replan does again what has been done, or may have been done."""

from __future__ import annotations

import attrs
import pytest

from tests.cast.planning import before, failed, ok, plan_of
from trouper.actors.messages import Previous
from trouper.actors.outcome import StepOutcome, StepStatus
from trouper.actors.repetition import WorkDone
from trouper.actors.tool import Effect

EFFECTS = {"search": Effect.PURE, "put": Effect.KEYED, "send": Effect.ONCE}

PLAN = plan_of(
    {"id": 1, "action": "search", "parameters": {"q": "x"}},
    {"id": 2, "action": "send", "parameters": {"to": "$step1.t", "text": "hello"}},
)
FOUND = ok(1, "search", {"t": "ann"}, q="x")
SENT = before(PLAN, FOUND, ok(2, "send", to="ann", text="hello"))
DOUBT = before(PLAN, FOUND, failed(2, "send", in_doubt=True, to="ann", text="hello"))


def problems(previous: Previous, action: str, *, step_id: int = 9, **more: object) -> list[str]:
    """What is said of a new step `step_id`, in a plan after `previous`."""
    known = [step.as_json() for step in previous.plan.steps if step.id in previous.finished]
    others = [{"id": 8, "action": "search", "parameters": {"q": "y"}}]
    plan = plan_of(*known, *others, {"id": step_id, "action": action, **more})
    return [p.message for p in WorkDone(previous, EFFECTS).problems(plan.step(step_id))]


def sends(previous: Previous, **parameters: object) -> list[str]:
    return problems(previous, "send", parameters=parameters)


# ------------------------------------------------------------------ what has been done
def test_a_call_that_was_made_is_not_made_again():
    assert sends(SENT, to="ann", text="hello") == [
        "step 9 (send) is the call of step 2 again, which has been done; use $step2 and leave it out"
    ]


def test_it_is_the_same_call_also_where_a_finished_result_stands_in_it():
    assert sends(SENT, to="$step1.t", text="hello")
    assert sends(SENT, to="{$step1.t}", text="hello")


@pytest.mark.parametrize(
    "other",
    [
        {"to": "bob", "text": "hello"},
        {"to": "ann"},
        {"to": "ann", "text": "hello", "cc": "bob"},
        {"to": "$step8.t", "text": "hello"},
        {"to": "$step1.nothing", "text": "hello"},
        {"to": ["ann"], "text": "hello"},
    ],
)
def test_another_call_or_one_that_may_be_another_is_made(other):
    """It is known what has happened, so only what is surely the same is held back."""
    assert sends(SENT, **other) == []


def test_a_pure_call_may_be_made_as_often_as_one_likes():
    assert problems(SENT, "search", parameters={"q": "x"}) == []


def test_a_keyed_call_has_another_key_in_a_new_step():
    previous = before(plan_of({"id": 1, "action": "put"}), ok(1, "put", v=1))
    assert problems(previous, "put", parameters={"v": 1})
    assert problems(previous, "put", parameters={"v": True}) == [], "true is not 1"


def test_a_tool_that_nobody_knows_counts_as_once():
    previous = before(plan_of({"id": 1, "action": "new"}), ok(1, "new", v=1))
    assert problems(previous, "new", parameters={"v": 1})


def test_a_call_that_failed_without_doubt_may_be_made_again():
    assert sends(before(PLAN, FOUND, failed(2, "send", to="ann", text="hello")), to="ann", text="hello") == []


def test_what_was_refuted_has_happened_all_the_same():
    refuted = before(PLAN, FOUND, failed(2, "send", kind="refuted", to="ann", text="hello"))
    assert sends(refuted, to="ann", text="hello")


def test_the_finished_step_itself_is_no_repetition():
    step = SENT.plan.step(2)
    assert WorkDone(SENT, EFFECTS).problems(step) == ()


# ------------------------------------------------------------------ what may have been done
@pytest.mark.parametrize(
    "same",
    [
        {"to": "ann", "text": "hello"},
        {"to": "ann"},
        {"to": "ann", "text": "hello", "cc": "bob"},
        {"to": "$step8.t", "text": "hello"},
        {"to": "$step8.t"},
        {},
    ],
)
def test_a_call_in_doubt_is_not_made_again_unless_it_is_surely_another(same):
    [problem] = sends(DOUBT, **same)
    assert problem.startswith("step 9 (send) may be the call of step 2 again, which was cut off")


@pytest.mark.parametrize("other", [{"to": "bob"}, {"to": "$step8.t", "text": "bye"}])
def test_another_call_of_the_same_tool_is_made(other):
    assert sends(DOUBT, **other) == []


def test_the_id_of_a_step_in_doubt_is_not_given_to_another():
    assert WorkDone(DOUBT, EFFECTS).in_doubt == {2}
    assert WorkDone(SENT, EFFECTS).in_doubt == frozenset()


def test_a_doubt_of_an_earlier_plan_is_not_forgotten():
    """A second replan: the plan before does not have the step any more, the outcomes do."""
    plan = plan_of({"id": 1, "action": "search"})
    previous = before(plan, FOUND, failed(2, "send", in_doubt=True, to="ann", text="hello"))

    assert sends(previous, to="ann", text="hello")


def test_a_fallback_that_was_cut_off_leaves_both_calls_in_doubt():
    """The outcome tells of one of the two only."""
    step = {"id": 1, "action": "send", "parameters": {"to": "ann"}}
    plan = plan_of(step | {"fallback": {"action": "put", "parameters": {"v": 1}}})
    previous = before(plan, failed(1, "put", in_doubt=True, v=1))

    assert sends(previous, to="ann")
    assert sends(previous, to="bob") == []


# ------------------------------------------------------------------ where calls hide
def test_the_elements_that_were_done_are_not_done_again():
    items = (ok(1, "send", to="ann"), failed(1, "send", to="bob"))
    outcome = attrs.evolve(failed(1, "send"), items=items)
    previous = before(plan_of({"id": 1, "action": "send", "parameters": {"to": "$item"}}), outcome)

    assert sends(previous, to="ann")
    assert sends(previous, to="bob") == []


def test_the_steps_of_a_plan_inside_are_not_done_again():
    inner = {7: ok(7, "send", to="ann"), 8: failed(8, "send", in_doubt=True, to="bob")}
    outcome = StepOutcome(id=1, action="plan", status=StepStatus.FAILED, steps=inner)
    previous = before(plan_of({"id": 1, "action": "send"}), outcome)

    assert sends(previous, to="ann")
    assert sends(previous, to="bob")
    assert sends(previous, to="eve") == []


def test_a_fallback_does_not_repeat_either():
    fallback = {"action": "send", "parameters": {"to": "ann", "text": "hello"}}
    assert problems(SENT, "search", parameters={"q": "y"}, fallback=fallback)


def test_a_plan_inside_does_not_repeat_either():
    inside = {"steps": [{"id": 20, "action": "send", "parameters": {"to": "ann", "text": "hello"}}]}
    known = [step.as_json() for step in SENT.plan.steps]
    plan = plan_of(*known, {"id": 9, "plan": inside})

    assert WorkDone(SENT, EFFECTS).problems(plan.step(9))


TO_EACH = {"parameters": {"to": "$item", "text": "hello"}}


@pytest.mark.parametrize("previous", [SENT, DOUBT], ids=["done", "in doubt"])
def test_each_element_of_a_list_is_looked_at(previous):
    assert problems(previous, "send", for_each=["bob", "ann"], **TO_EACH)
    assert problems(previous, "send", for_each=["bob", "eve"], **TO_EACH) == []


def test_elements_that_are_not_there_yet_may_be_the_one_in_doubt():
    assert problems(DOUBT, "send", for_each="$step8.t", **TO_EACH)
    assert problems(SENT, "send", for_each="$step8.t", **TO_EACH) == []


def test_the_elements_of_a_plan_inside_are_looked_at():
    inner = {"id": 20, "action": "send", "parameters": {"to": "$item.who", "text": "hello"}}
    known = [step.as_json() for step in SENT.plan.steps]

    def found(who: str) -> tuple:
        plan = plan_of(*known, {"id": 9, "for_each": [{"who": who}], "plan": {"steps": [inner]}})
        return WorkDone(SENT, EFFECTS).problems(plan.step(9))

    assert found("ann")
    assert found("bob") == ()


@pytest.mark.parametrize("inside", ["$step8.t", ["ann"]])
def test_a_list_in_a_list_is_not_gone_through(inside):
    """That could be a million calls. What is in doubt is held back; the elements around it are not its own."""
    inner = {"id": 20, "action": "send", "for_each": inside, "parameters": {"to": "$item", "text": "hello"}}

    def found(previous: Previous) -> tuple:
        known = [step.as_json() for step in previous.plan.steps if step.id in previous.finished]
        others = {"id": 8, "action": "search", "parameters": {"q": "y"}}
        plan = plan_of(*known, others, {"id": 9, "for_each": ["ann"], "plan": {"steps": [inner]}})
        return WorkDone(previous, EFFECTS).problems(plan.step(9))

    assert found(SENT) == ()
    assert found(DOUBT)


def test_a_part_of_a_step_that_failed_cannot_be_referred_to():
    """So the model is not told to."""
    items = (ok(1, "send", to="ann"), failed(1, "send", to="bob"))
    outcome = attrs.evolve(failed(1, "send"), items=items)
    previous = before(plan_of({"id": 1, "action": "send", "parameters": {"to": "$item"}}), outcome)

    assert sends(previous, to="ann") == ["step 9 (send) is a call again that step 1 has done already; leave it out"]
