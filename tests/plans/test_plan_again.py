"""A plan that goes on where another stood: finished steps are taken over, and their ids are used up."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.runtime._errors import PlanError, PlanProblem
from trouper.runtime._plan import ActionSignature, Plan, Step, parse_plan


def step(step_id: object, *dependencies: object, **more: object) -> dict[str, Any]:
    return {"id": step_id, "action": "a", "dependencies": list(dependencies), **more}


BEFORE = parse_plan(
    [
        step(1, parameters={"x": 1}),
        step(2, 1, 3, join="any"),
        step(3),
        {"id": 4, "plan": [step(5), step(6, 2)]},
    ]
)
FINISHED = {n: BEFORE.step(n) for n in (1, 2, 4)}


def again(*steps: object, finished: dict[int, Step] | None = None, taken: Collection[int] = ()) -> Plan:
    return parse_plan(list(steps), finished=FINISHED if finished is None else finished, taken=taken)


def problems_of(*steps: object, taken: Collection[int] = ()) -> list[PlanProblem]:
    with pytest.raises(PlanError) as caught:
        again(*steps, taken=taken)
    return list(caught.value.problems)


def test_the_finished_steps_come_first_and_new_ones_may_refer_to_them() -> None:
    plan = again(step(7, 2, parameters={"x": "$step1.v"}), step(8, 7, condition="$step4.ok"))

    assert [found.id for found in plan.steps] == [1, 2, 4, 7, 8]
    assert plan.dependencies == {1: (), 2: (1,), 4: (2,), 7: (1, 2), 8: (4, 7)}
    assert plan.levels == ((1,), (2,), (4, 7), (8,))
    assert plan.step(1) is FINISHED[1]


def test_a_finished_step_waits_only_for_what_is_still_there() -> None:
    plan = again(step(7, 2))

    assert plan.step(2).dependencies == (1,)
    assert parse_plan(plan.as_json()) == plan


def test_a_step_that_only_repeats_a_finished_one_is_that_step() -> None:
    repeated = [step(1, parameters={"x": 1}), step(2, 1), {"id": 4, "plan": [step(5), step(6, 2)]}]

    assert again(*repeated, step(7, 2)) == again(step(7, 2))


def test_what_a_repeated_step_waits_for_does_not_matter_any_more() -> None:
    assert again(step(2, 3, 99), step(7, 2)) == again(step(7, 2))


@pytest.mark.parametrize(
    "other",
    [
        step(1, parameters={"x": 2}),
        step(1, parameters={"x": True}),
        step(1, parameters={"x": 1}, action="b"),
        {"id": 1, "plan": [step(7)]},
        {"id": 4, "action": "plan"},
        {"id": 4, "plan": [step(5)]},
        {"id": 4, "plan": [step(6), step(5)]},
        {"id": 4, "plan": [step(5, action="b"), step(6)]},
    ],
)
def test_another_step_cannot_have_the_id_of_a_finished_one(other: dict[str, Any]) -> None:
    problems = problems_of(step(9), other)
    problem = next(problem for problem in problems if problem.step == other["id"])

    assert {found.kind for found in problems} == {"duplicate_id"}
    assert problem.path == "steps[1].id"
    assert "is that of a finished step" in problem.message


def test_a_finished_step_is_repeated_once_at_most() -> None:
    (problem,) = problems_of(step(2), step(2))

    assert (problem.kind, problem.path) == ("duplicate_id", "steps[1].id")


def test_ids_that_are_used_up_are_not_used_again_and_have_no_result() -> None:
    problems = problems_of(step(3), step(7, 3), around := {"id": 8, "plan": [step(10)]}, taken=[3, 10])

    assert around["id"] == 8
    assert [(problem.kind, problem.step, problem.path) for problem in problems] == [
        ("duplicate_id", 3, "steps[0].id"),
        ("dangling_dependency", 7, "steps[1].dependencies[0]"),
        ("duplicate_id", 10, "steps[2].plan[0].id"),
    ]
    assert "was that of a step of the earlier plan" in problems[0].message
    assert "step 3 of the earlier plan has no result; there are 1, 2, 4, 7, 8" in problems[1].message


def test_an_id_inside_a_finished_step_is_used_up_too() -> None:
    (problem,) = problems_of(step(5))

    assert problem.kind == "duplicate_id"


def test_nobody_sees_into_a_finished_plan() -> None:
    (problem,) = problems_of(step(7, 5))

    assert problem.kind == "dangling_dependency"


def test_a_finished_id_may_be_among_the_taken_ones() -> None:
    assert again(step(1, parameters={"x": 1}), step(7, 1), taken=[1, 2, 3, 4]).step(7).dependencies == (1,)


def test_nothing_new_is_a_plan_of_what_is_done() -> None:
    assert [found.id for found in again(step(2)).steps] == [1, 2, 4]


def test_no_steps_at_all_is_no_plan() -> None:
    (problem,) = problems_of()

    assert problem.kind == "empty_plan"


def test_the_fields_of_finished_results_are_checked_against_the_catalogue() -> None:
    catalogue = {"a": ActionSignature(outputs=["value"])}
    with pytest.raises(PlanError) as caught:
        parse_plan(
            [step(7, parameters={"x": "$step1.valu", "y": "$step1.value", "z": "$step4.anything"})],
            finished=FINISHED,
            catalogue=catalogue,
        )
    (problem,) = caught.value.problems

    assert (problem.kind, problem.path) == ("unknown_field", "steps[0].parameters.x")
    assert "did you mean 'value'" in problem.message


def test_the_result_of_a_finished_for_each_is_a_list_whatever_its_action_gives() -> None:
    done = parse_plan([step(1, for_each=["x"])]).step(1)
    plan = parse_plan(
        [step(2, parameters={"x": "$step1.0"}), step(3, parameters={"x": "$step1.count"})],
        finished={1: done},
        catalogue={"a": ActionSignature(outputs=["value"])},
    )

    assert plan.levels == ((1,), (2, 3))


def test_what_undoes_a_finished_step_may_name_others_and_itself() -> None:
    undo = {"action": "undo", "parameters": {"own": "$step2.id", "other": "$step1.id"}}
    before = parse_plan([step(1), step(2, compensate=undo)])
    plan = parse_plan([step(3)], finished={1: before.step(1), 2: before.step(2)})

    assert plan.dependencies == {1: (), 2: (1,), 3: ()}


def test_without_finished_steps_nothing_is_different() -> None:
    assert again(step(1), finished={}) == parse_plan([step(1)])


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_whatever_has_finished_the_new_plan_can_be_ordered(finished: set[int], named: set[int]) -> None:
    """A chain of which any steps are finished, and a new step that refers to some of them."""
    chain = parse_plan([step(n, *([n - 1] if n else [])) for n in range(10)])
    old = {n: chain.step(n) for n in sorted(finished)}
    source = [step(99, *sorted(named))]
    if not named <= finished:
        with pytest.raises(PlanError):
            parse_plan(source, finished=old, taken=set(range(10)) - finished)
        return
    plan = parse_plan(source, finished=old, taken=set(range(10)) - finished)

    assert set(plan.dependencies) == {*finished, 99}
    assert set(plan.dependencies[99]) == named
    assert all(set(plan.dependencies[n]) == {n - 1} & finished for n in finished)
    assert sorted(n for level in plan.levels for n in level) == sorted({*finished, 99})
