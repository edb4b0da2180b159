"""What a plan offers once it is made: dependencies, levels, its canonical spelling, a picture."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trouper.runtime._budget import Budget
from trouper.runtime._errors import PlanError
from trouper.runtime._for_each import ForEach
from trouper.runtime._plan import Compensation, Fallback, Plan, check_json, parse_plan
from trouper.runtime._refs import ITEM
from trouper.runtime._step import Step

EVERYTHING: dict[str, Any] = {
    "goal": "all of it",
    "reasoning": "to see every key",
    "steps": [
        {"id": 0, "action": "a", "parameters": {}, "dependencies": []},
        {
            "id": 7,
            "action": "b",
            "parameters": {"x": ["$step0.v", "$$step0"], "größe": 1.5},
            "dependencies": [0],
            "critical": False,
            "timeout_s": 2.5,
            "max_retries": 3,
            "retry_backoff_s": 0.1,
            "condition": "$step0.n > 3",
            "for_each": "$step0.items",
            "join": "any",
            "approval": "Send {$step0.n}?",
            "idempotency_key": "k",
            "reasoning": "because",
            "expected_output": "text",
            "fallback": {"action": "c", "parameters": {"y": "$step0"}},
            "compensate": {"action": "d", "parameters": {"id": "$step7.id $item"}},
        },
        {
            "id": 8,
            "plan": {
                "goal": "the inner one",
                "reasoning": "also",
                "steps": [{"id": 9, "action": "e", "parameters": {"x": "$item"}, "dependencies": [0]}],
                "output": {"x": ["$step9", "$$step9", "$index"]},
            },
            "dependencies": [7, 0],
            "condition": False,
            "for_each": {"items": [1, "$step0"], "max_parallel": 2, "on_failure": "continue", "max_items": 3},
            "join": 2,
            "budget": {"tokens": 5, "cost": 0.5},
        },
    ],
    "budget": {"seconds": 60.0, "steps": 3},
}


def test_every_field_arrives_in_the_step() -> None:
    plan = parse_plan(EVERYTHING)
    step = plan.step(7)

    assert (plan.goal, plan.reasoning) == ("all of it", "to see every key")
    assert (step.critical, step.timeout_s, step.max_retries, step.retry_backoff_s) == (False, 2.5, 3, 0.1)
    assert step.fallback == Fallback("c", {"y": "$step0"})
    assert step.compensate == Compensation("d", {"id": "$step7.id $item"})
    assert step.reasoning == "because"
    assert plan.step(0) == Step(0, "a")
    assert plan.step(8).plan == Plan(
        goal="the inner one", reasoning="also", steps=(Step(9, "e", {"x": "$item"}, dependencies=(0,)),),
        dependencies={9: ()}, levels=((9,),), output={"x": ["$step9", "$$step9", "$index"]},
    )  # fmt: skip
    assert plan.step(8).condition is False
    assert plan.step(8).for_each == ForEach([1, "$step0"], max_parallel=2, on_failure="continue", max_items=3)
    assert (plan.step(8).join, plan.step(8).budget) == (2, Budget(tokens=5, cost=0.5))
    assert plan.budget == Budget(seconds=60, steps=3)


def test_what_a_step_refers_to_is_compiled_once_for_every_place() -> None:
    step = parse_plan(EVERYTHING).step(7)
    results: dict[int, object] = {0: {"v": 1, "n": 4, "items": [1, 2]}, 7: {"id": "i"}, ITEM: "e"}

    assert step.inputs.resolve(results) == {"x": [1, "$step0"], "größe": 1.5}
    assert step.for_each is not None
    assert step.for_each.source.resolve(results) == [1, 2]
    assert step.templates["approval"].resolve(results) == "Send 4?"
    assert step.guard is not None
    assert step.guard.references == {0}
    assert step.guard.holds(results)
    assert step.fallback is not None
    assert step.fallback.inputs.resolve(results) == {"y": {"v": 1, "n": 4, "items": [1, 2]}}
    assert step.compensate is not None
    assert step.compensate.inputs.resolve(results) == {"id": "i e"}


def test_a_step_built_by_hand_is_compiled_too() -> None:
    step = Step(1, "a", {"x": "$step2 $item"}, for_each=ForEach("$step3"), condition="$step4.ok", approval="$item?")

    assert step.inputs.resolve({2: "b", ITEM: "c"}) == {"x": "b c"}
    assert step.for_each is not None
    assert step.for_each.source.references == {3}
    assert step.guard is not None
    assert step.guard.references == {4}
    assert step.needs == {2, 3, 4}
    assert step.templates["approval"].resolve({}) == "$item?"
    assert Fallback("a", {"x": "$step2.v"}).inputs.resolve({2: {"v": 1}}) == {"x": 1}


def test_the_canonical_spelling_is_the_document_in_our_words() -> None:
    assert parse_plan(EVERYTHING).as_json() == EVERYTHING
    assert parse_plan([{"tool": "a", "id": "1", "title": "t", "critical": None}]).as_json() == {
        "steps": [{"id": 1, "action": "a", "parameters": {}, "dependencies": []}]
    }


def test_the_canonical_spelling_is_the_callers_to_change() -> None:
    plan = parse_plan(EVERYTHING)
    spelt: Any = plan.as_json()
    spelt["steps"][1]["parameters"]["x"].append(1)
    spelt["steps"][1]["fallback"]["parameters"]["y"] = 2
    spelt["steps"][1]["dependencies"].append(5)

    assert plan.as_json() == EVERYTHING


def test_the_goal_that_is_handed_in_goes_before_the_documents() -> None:
    assert parse_plan(EVERYTHING, goal="mine").goal == "mine"
    assert parse_plan(EVERYTHING["steps"], goal="mine").goal == "mine"
    assert parse_plan(EVERYTHING["steps"]).goal is None


def test_notes_that_are_no_text_do_no_harm() -> None:
    plan = parse_plan({"reasoning": ["a"], "steps": [{"id": 1, "action": "a", "reasoning": 5, "expected_output": {}}]})

    assert plan.reasoning is None
    assert plan.step(1).reasoning is None


def test_dependencies_and_levels_are_in_plan_order_whatever_the_ids() -> None:
    plan = parse_plan(
        [
            {"id": 9, "action": "a", "parameters": {"x": "$step3 $step5"}, "dependencies": [8, 5]},
            {"id": 8, "action": "a"},
            {"id": 3, "action": "a"},
            {"id": 5, "action": "a", "dependencies": [8]},
        ]
    )

    assert list(plan.dependencies.items()) == [(9, (8, 3, 5)), (8, ()), (3, ()), (5, (8,))]
    assert plan.levels == ((8, 3), (5,), (9,))
    assert plan.order == (8, 3, 5, 9)
    assert plan.critical_path == (8, 5, 9)
    assert plan.step(9).dependencies == (8, 5)
    assert check_json(plan) == {
        "ok": True,
        "steps": 4,
        "levels": [[8, 3], [5], [9]],
        "dependencies": {"9": [8, 3, 5], "8": [], "3": [], "5": [8]},
    }


def test_a_step_that_is_not_there_is_a_key_error_that_says_what_is() -> None:
    with pytest.raises(KeyError, match="no step 4; it has 0, 7, 8"):
        parse_plan(EVERYTHING).step(4)


def test_the_picture_has_a_box_a_step_and_an_arrow_a_dependency() -> None:
    plan = parse_plan([{"id": 1, "action": 'say "hi"'}, {"id": 2, "action": "b", "parameters": {"x": "$step1"}}])

    assert plan.as_mermaid() == 'graph TD\n  s1["1 say #quot;hi#quot;"]\n  s2["2 b"]\n  s1 --> s2\n'


# ------------------------------------------------------------------ any plan


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[int, set[int]]]:
    """The steps of a random valid plan, and for each the ids it names somewhere."""
    ids = draw(st.lists(st.integers(0, 60), min_size=1, max_size=10, unique=True))
    steps: list[dict[str, Any]] = []
    named: dict[int, set[int]] = {}
    for n, step in enumerate(ids):
        some = st.lists(st.sampled_from(ids[:n]), max_size=3) if n else st.just([])
        listed, used, fallback, condition = (draw(some) for _ in range(4))
        entry: dict[str, Any] = {"id": step, "action": draw(st.sampled_from(["a", "größe", "x y"]))}
        entry["parameters"] = {f"p{k}": [{"v": f"{{$step{other}.v}} $5"}] for k, other in enumerate(used)}
        if listed or draw(st.booleans()):
            entry["dependencies"] = listed
        if fallback:
            entry["fallback"] = {"action": "f", "parameters": {"x": [f"$step{other}" for other in fallback]}}
        if condition:
            entry["condition"] = " or ".join(f"$step{other}.ok" for other in condition)
        count = len({*listed, *used, *fallback, *condition})
        entry |= draw(st.fixed_dictionaries({}, optional={
            "critical": st.booleans(), "timeout_s": st.floats(0.1, 1e6), "max_retries": st.integers(0, 5),
            "join": st.sampled_from(["all", "any", *range(1, count + 1)]), "approval": st.booleans(),
            "reasoning": st.text(), "for_each": st.sampled_from([[1, "x"], {"items": [], "max_parallel": 2}]),
        }))  # fmt: skip
        steps.append(entry)
        named[step] = {*listed, *used, *fallback, *condition}
    return draw(st.permutations(steps)), named


@given(documents())
@settings(max_examples=60)
def test_dependencies_are_the_listed_united_with_the_referenced(
    document: tuple[list[dict[str, Any]], dict[int, set[int]]],
) -> None:
    steps, named = document
    plan = parse_plan(steps)
    place = {entry["id"]: n for n, entry in enumerate(steps)}

    assert {step: set(needs) for step, needs in plan.dependencies.items()} == named
    assert [list(needs) for needs in plan.dependencies.values()] == [
        sorted(named[entry["id"]], key=place.__getitem__) for entry in steps
    ]
    level = {step: n for n, ids in enumerate(plan.levels) for step in ids}
    assert all(level[need] < level[step] for step, needs in named.items() for need in needs)


@given(documents(), st.booleans())
@settings(max_examples=60)
def test_the_canonical_spelling_gives_an_equal_plan(
    document: tuple[list[dict[str, Any]], dict[int, set[int]]], as_text: bool
) -> None:
    plan = parse_plan(document[0])
    spelt = plan.as_json()
    again: Plan = parse_plan(json.dumps(spelt) if as_text else spelt)

    assert again == plan
    assert again.as_json() == spelt


# ------------------------------------------------------------------ size


def test_a_plan_of_ten_thousand_steps_is_parsed_in_one_go() -> None:
    n = 10_000
    steps = [
        {"id": i, "action": "noop", "parameters": {"x": f"$step{i - 7}.v"} if i > 7 else {}, "dependencies": [1]}
        for i in range(2, n + 1)
    ]
    plan = parse_plan(json.dumps([*steps, {"id": 1, "action": "noop"}]))

    assert len(plan.steps) == n
    assert plan.dependencies[9] == (2, 1)
    assert len(plan.levels) == 1 + -(-(n - 1) // 7)


def test_a_wide_join_and_a_step_full_of_mistakes_are_not_quadratic() -> None:
    """Ten thousand dependencies of one step, then as many dangling ones: seconds if each looked at all others."""
    n = 10_000
    steps: list[dict[str, Any]] = [{"id": i, "action": "a"} for i in range(n)]
    join = {"id": n, "action": "b", "parameters": {str(i): f"{{$step{i}}}" for i in range(n)}}

    assert parse_plan([*steps, join]).dependencies[n] == tuple(range(n))
    with pytest.raises(PlanError) as caught:
        parse_plan([join])
    assert [problem.kind for problem in caught.value.problems] == ["dangling_dependency"] * n
