"""Everything wrong with a plan is said at once, once, in document order, with its kind, step and path."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from trouper.runtime._errors import PlanError, PlanProblem
from trouper.runtime._for_each import ForEach
from trouper.runtime._plan import Step, parse_plan, problems_json


def step(step_id: object, *dependencies: object, **more: object) -> dict[str, object]:
    return {"id": step_id, "action": "a", "dependencies": list(dependencies), **more}


def problems_of(source: object) -> list[PlanProblem]:
    with pytest.raises(PlanError) as caught:
        parse_plan(source)  # type: ignore[arg-type]
    return list(caught.value.problems)


def told(source: object) -> list[tuple[str, int | None, str]]:
    """Kind, step and path of each problem; decoded data and its text give the same."""
    found = [(problem.kind, problem.step, problem.path) for problem in problems_of(source)]
    if not isinstance(source, str):
        text = json.dumps(source)
        assert [(problem.kind, problem.step, problem.path) for problem in problems_of(text)] == found
    return found


# ------------------------------------------------------------------ the plan as a whole


@pytest.mark.parametrize(
    ("source", "kind", "path", "said"),
    [
        ([], "empty_plan", "steps", "no steps"),
        ({"steps": []}, "empty_plan", "steps", "no steps"),
        ({}, "empty_plan", "", "no steps"),
        ({"goal": "g", "reasoning": "impossible"}, "empty_plan", "", "no steps"),
        (None, "wrong_type", "", "the plan is null"),
        (42, "wrong_type", "", "the number 42"),
        (True, "wrong_type", "", "true"),
        ({"steps": None}, "wrong_type", "steps", "null"),
        ({"steps": "1. search"}, "wrong_type", "steps", "'steps' is the text '1. search', not a list of steps"),
        ({"ok": True, "plan": "1. search"}, "wrong_type", "", "no 'steps', only ok, plan"),
        ({"ok": False, "plan": [{"id": 1, "action": "a"}]}, "wrong_type", "", "no 'steps', only ok, plan"),
        ({"ok": True, "plan": {"goal": "g", "steps": []}}, "empty_plan", "steps", "no steps"),
        ({"success": True, "plan": []}, "empty_plan", "steps", "no steps"),
        ({"steps": {"1": {"action": "a"}}}, "wrong_type", "steps", "an object"),
        ({"plan": [{"id": 1, "action": "a"}]}, "wrong_type", "", "no 'steps', only plan"),
        ({"step": [{"id": 1, "action": "a"}]}, "wrong_type", "", "did you mean 'step'"),
        ({"id": 1, "action": "a"}, "wrong_type", "", "a single step, not a plan"),
        ({"goal": 5, "steps": [{"id": 1, "action": "a"}]}, "wrong_type", "goal", "the number 5"),
    ],
)
def test_what_is_no_list_of_steps_is_told(source: object, kind: str, path: str, said: str) -> None:
    assert told(source) == [(kind, None, path)]
    assert said in problems_of(source)[0].message


@pytest.mark.parametrize("said", [{"ok": True, "planner": "rules", "form": None, "levels": [[1]]}, {"success": True}])
def test_a_plan_in_what_a_planner_says_about_it_is_that_plan(said: dict[str, object]) -> None:
    """What `trouper plan --json` prints can be run as it is."""
    plain = {"goal": "g", "steps": [{"id": 1, "action": "a"}, {"id": 2, "action": "b", "dependencies": [1]}]}

    for plan in (plain, plain["steps"]):
        for source in ({**said, "plan": plan}, json.dumps({**said, "plan": plan})):
            assert parse_plan(source) == parse_plan(plan)
    assert told({**said, "plan": [{"id": 1, "action": "a", "dependencies": [2]}]}) == [
        ("dangling_dependency", 1, "steps[0].dependencies[0]")
    ]
    assert told(json.dumps({**said, "plan": plain}).replace('"goal": "g"', '"goal": "g", "goal": "h"')) == [
        ("duplicate_key", None, "plan.goal")
    ]


def test_text_that_is_a_json_scalar_is_of_the_wrong_type() -> None:
    assert told('"search the web"') == [("wrong_type", None, "")]


def test_step_objects_one_a_line_are_refused_rather_than_the_last_run() -> None:
    assert told('{"id": 1, "action": "a"}\n{"id": 2, "action": "b"}') == [("wrong_type", None, "")]


# ------------------------------------------------------------------ single steps


@pytest.mark.parametrize("entry", ["search", 3, None, True, 1.5, [], [1]])
def test_a_step_that_is_no_object_is_of_the_wrong_type(entry: object) -> None:
    assert told([step(1), entry, step(3, 1)]) == [("wrong_type", None, "steps[1]")]


def test_an_empty_step_lacks_its_id_and_its_action() -> None:
    assert told([{}]) == [("missing_id", None, "steps[0].id"), ("missing_action", None, "steps[0].action")]


@pytest.mark.parametrize("bad", [True, False, 1.5, 1.0, -1, "one", "", "1.5", "-1", [1], {"n": 1}, 2**63, "9" * 19])
def test_an_id_is_a_whole_number_and_true_is_not_one(bad: object) -> None:
    assert told([step(7), step(bad)]) == [("wrong_type", None, "steps[1].id")]


@pytest.mark.parametrize("bad", [5, True, ["a"], {"name": "a"}])
def test_an_action_is_text(bad: object) -> None:
    assert told([step(1, action=bad)]) == [("wrong_type", 1, "steps[0].action")]


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_action_is_missing(blank: object) -> None:
    assert told([step(1, action=blank)]) == [("missing_action", 1, "steps[0].action")]


@pytest.mark.parametrize("bad", ["x", ["x"], 1, False])
def test_parameters_are_an_object(bad: object) -> None:
    assert told([step(1, parameters=bad)]) == [("wrong_type", 1, "steps[0].parameters")]


@pytest.mark.parametrize("bad", ["1", 1, {"1": True}, True])
def test_dependencies_are_a_list(bad: object) -> None:
    assert told([step(1), {**step(2), "dependencies": bad}]) == [("wrong_type", 2, "steps[1].dependencies")]


def test_every_wrong_item_of_a_list_of_dependencies_is_told() -> None:
    found = told([step(1), step(2, *[True, 1, 1.5, None, [1], {"id": 1}, "first", ""])])

    assert found == [("wrong_type", 2, f"steps[1].dependencies[{n}]") for n in (0, 2, 3, 4, 5, 6, 7)]


POLICIES: dict[str, tuple[list[Any], list[Any]]] = {
    "critical": ([True, False], ["true", 1, 0, [], {}]),
    "timeout_s": ([1, 0.5, 10**6], [0, -1, "2", True, [], 10**400]),
    "max_retries": ([0, 3], [-1, 1.0, 2.5, "3", True, [], 2**63]),
    "retry_backoff_s": ([0, 0.1, 5], [-0.1, "1", False, {}]),
    "condition": (["$step1.n > 3", "true", True, False], ["", " ", 1, [], {}]),
    "for_each": (
        [[1, 2], [], "$step1.items", "$step1"],
        ["items", "{$step1.items}", "$step1.a b", 3, True, "", "$item"],
    ),
    "join": (["all", "any"], ["ALL", "", 0, -1, 1, 1.0, True, ["all"], {}]),
    "approval": ([True, False, "Really?"], ["", 1, [], {}]),
    "idempotency_key": (["k", "k-{$step1.id}"], ["", 5, True, []]),
}


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, (good, _) in POLICIES.items() for v in good])
def test_a_policy_keeps_its_value(name: str, value: object) -> None:
    plan = parse_plan([step(1), step(2, **{name: value})])

    assert plan.step(2).as_json()[name] == value


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, (_, bad) in POLICIES.items() for v in bad])
def test_a_policy_of_another_type_or_out_of_range_is_refused(name: str, value: object) -> None:
    source = [step(1), step(2, **{name: value})]

    assert told(source) == [("wrong_type", 2, f"steps[1].{name}")]
    assert problems_of(source)[0].message.startswith(f"'{name}' is ")


@pytest.mark.parametrize("name", ["timeout_s", "retry_backoff_s"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_time_is_a_number_that_ends(name: str, value: float) -> None:
    (problem,) = problems_of([step(1, **{name: value})])

    assert (problem.kind, problem.step, problem.path) == ("wrong_type", 1, f"steps[0].{name}")


@pytest.mark.parametrize("name", ["fallback", "compensate"])
@pytest.mark.parametrize(
    ("value", "kind", "path"),
    [
        ("cached", "wrong_type", ""),
        ([], "wrong_type", ""),
        (True, "wrong_type", ""),
        ({}, "missing_action", ".action"),
        ({"parameters": {}}, "missing_action", ".action"),
        ({"action": 5}, "wrong_type", ".action"),
        ({"action": "b", "parameters": []}, "wrong_type", ".parameters"),
        ({"tool": "b", "inputs": "x"}, "wrong_type", ".inputs"),
        ({"action": "b", "parameters": {"x": ["$step9"]}}, "dangling_dependency", ".parameters.x[0]"),
    ],
)
def test_a_call_in_a_step_is_checked_like_a_step(name: str, value: object, kind: str, path: str) -> None:
    assert told([step(1, **{name: value})]) == [(kind, 1, f"steps[0].{name}{path}")]


# ------------------------------------------------------------------ spellings


def test_the_other_dialect_says_the_same() -> None:
    """`tool`, `inputs`, `deps` and text ids, also in calls."""
    ours = [
        {"id": 1, "action": "search", "parameters": {"q": "x"}, "dependencies": []},
        {"id": 2, "action": "read", "parameters": {"p": "$step1.path"}, "dependencies": [1],
         "fallback": {"action": "cached", "parameters": {"k": 1}}},
    ]  # fmt: skip
    theirs = [
        {"id": "step_1", "tool": "search", "inputs": {"q": "x"}, "deps": [], "title": "Find", "type": "atomic"},
        {"id": "step_2", "tool": "read", "inputs": {"p": "$step1.path"}, "deps": ["step_1"], "status": "pending",
         "fallback": {"tool": "cached", "inputs": {"k": 1}}},
    ]  # fmt: skip

    assert parse_plan(theirs) == parse_plan(ours)


@pytest.mark.parametrize(
    "entry",
    [
        {"step": 2, "action": "b", "args": {"x": 1}, "depends_on": [1]},
        {"step": "2", "tool": "b", "arguments": {"x": 1}, "deps": ["step 1"]},
        {"id": "Step2", "action": "b", "tool": "b", "parameters": {"x": 1}, "inputs": {"x": 1}, "deps": ["$step1"]},
        {"id": 2, "step": "Do b", "action": " b ", "parameters": {"x": 1}, "dependencies": ["step-1"], "deps": [1]},
        {"id": 2, "step": "2", "tool": None, "action": "b", "inputs": {"x": 1}, "parameters": None, "deps": ["01"]},
    ],
)
def test_every_spelling_of_a_step_gives_the_same_step(entry: dict[str, object]) -> None:
    plan = parse_plan([step(1), entry])

    assert plan == parse_plan([step(1), {"id": 2, "action": "b", "parameters": {"x": 1}, "dependencies": [1]}])


@pytest.mark.parametrize(
    ("one", "other", "values"),
    [
        ("id", "step", (1, 2)),
        ("action", "tool", ("a", "b")),
        ("parameters", "inputs", ({"x": 1}, {"x": 2})),
        ("parameters", "args", ({"x": 1}, {"x": True})),
        ("dependencies", "deps", ([], [7])),
    ],
)
def test_two_spellings_that_say_different_things_are_refused(one: str, other: str, values: tuple[Any, Any]) -> None:
    """Also when one of them alone would be wrong in another way: that is not said on top."""
    entry = {"id": 1, "action": "a", one: values[0], other: values[1]}
    found = told([entry])

    assert found == [("wrong_type", None if one == "id" else 1, f"steps[0].{other}")]


def test_null_is_as_good_as_absent() -> None:
    names = ["parameters", "dependencies", *POLICIES, "fallback", "compensate", "reasoning", "expected_output"]

    assert parse_plan([{"id": 1, "action": "a", **dict.fromkeys(names)}]) == parse_plan([{"id": 1, "action": "a"}])


def test_keys_that_nobody_knows_are_left_alone() -> None:
    plan = parse_plan([step(1, title="t", priority=3, meta={"x": ["$step9"]})])

    assert plan == parse_plan([step(1)])


def test_text_ids_are_the_same_numbers_everywhere() -> None:
    plan = parse_plan([{"id": "1", "action": "a"}, {"id": 2, "action": "b", "deps": ["1"]},
                       {"id": "step_3", "action": "c", "deps": [2, "step_1"], "inputs": {"x": "$step2"}}])  # fmt: skip

    assert plan.dependencies == {1: (), 2: (1,), 3: (1, 2)}
    assert told([step("1"), step(1)]) == [("duplicate_id", 1, "steps[1].id")]


def test_a_reference_spelt_like_such_an_id_is_not_left_as_text() -> None:
    """With ids like `step_1` a model means `$step_1` as a reference; in other plans it is plain text."""
    entries = [step("step_1"), step("step_2", parameters={"x": ["see $step_1.v"]})]

    assert told(entries) == [("dangling_dependency", 2, "steps[1].parameters.x[0]")]
    assert "write $step1" in problems_of(entries)[0].message
    assert parse_plan([step(1), step(2, parameters={"x": "see $step_1.v"})]).dependencies == {1: (), 2: ()}


# ------------------------------------------------------------------ steps compared


def test_each_further_step_with_a_taken_id_is_told() -> None:
    assert told([step(1), step(1), step(2), step(1)]) == [
        ("duplicate_id", 1, "steps[1].id"),
        ("duplicate_id", 1, "steps[3].id"),
    ]


def test_a_step_with_a_taken_id_closes_no_cycle() -> None:
    """Which of the two is meant nobody knows, so nothing is concluded from it."""
    assert told([step(1), step(2, 1), step(1, 2)]) == [("duplicate_id", 1, "steps[2].id")]


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        (step(2, 2), "dependencies[0]"),
        (step(2, 1, 2, 2), "dependencies[1]"),
        (step(2, "2"), "dependencies[0]"),
        (step(2, parameters={"x": {"y": ["a", "{$step2.v}"]}}), "parameters.x.y[1]"),
        (step(2, 2, parameters={"x": "$step2"}), "dependencies[0]"),
        (step(2, condition="$step2.ok"), "condition"),
        (step(2, for_each="$step2.items"), "for_each"),
        (step(2, approval="Run {$step2.x}?"), "approval"),
        (step(2, idempotency_key="k{$step2}"), "idempotency_key"),
        (step(2, fallback={"action": "b", "parameters": {"x": "$step2"}}), "fallback.parameters.x"),
    ],
)
def test_a_step_that_waits_for_itself_is_told_once(entry: dict[str, object], path: str) -> None:
    assert told([step(1), entry]) == [("self_reference", 2, f"steps[1].{path}")]


def test_a_compensation_may_refer_to_its_own_step_only_freely() -> None:
    undo = {"action": "undo", "parameters": {"own": "$step2.id", "other": "$step1.id"}}

    assert parse_plan([step(1), step(2, compensate=undo)]).dependencies == {1: (), 2: (1,)}
    assert told([step(2, compensate=undo)]) == [("dangling_dependency", 2, "steps[0].compensate.parameters.other")]


@pytest.mark.parametrize("field", ["condition", "for_each", "approval", "idempotency_key"])
def test_references_in_policies_are_dependencies(field: str) -> None:
    assert parse_plan([step(1), step(2, **{field: "$step1.x"})]).dependencies == {1: (), 2: (1,)}


@pytest.mark.parametrize(
    ("join", "needs", "enough"),
    [(None, 3, 3), ("all", 3, 3), ("any", 3, 1), ("any", 0, 0), (1, 3, 1), (2, 3, 2), (3, 3, 3), (3, 2, 2)],
)
def test_a_join_says_how_many_dependencies_are_enough(join: Any, needs: int, enough: int) -> None:
    found = Step(9, "a", join=join)

    assert found.enough(needs) == enough
    assert found.lenient is (join not in {None, "all"})


@pytest.mark.parametrize(
    ("entry", "there"),
    [
        (step(4, join=1), 0),
        (step(4, 1, 2, join=3), 2),
        (step(4, 1, 1, join=2), 1),
        (step(4, 1, parameters={"x": "$step1"}, join=2), 1),
    ],
)
def test_a_join_of_more_than_there_are_is_refused(entry: dict[str, object], there: int) -> None:
    source = [step(1), step(2), entry]

    assert told(source) == [("wrong_type", 4, "steps[2].join")]
    steps = "step" if there == 1 else "steps"
    assert f"more than the {there} {steps} that it waits for" in problems_of(source)[0].message


def test_a_join_counts_what_is_referred_to_and_what_is_missing() -> None:
    """That something it waits for is not there is one mistake, not two."""
    assert parse_plan([step(1), step(2, 1, condition="$step3.ok", join=2), step(3)]).step(2).join == 2
    assert told([step(1), step(2, 1, 9, join=2)]) == [("dangling_dependency", 2, "steps[1].dependencies[1]")]


def test_a_condition_in_prose_is_refused_with_what_is_expected() -> None:
    (problem,) = problems_of([step(1), step(2, condition="Execute only if step 1 found something")])

    assert (problem.kind, problem.step, problem.path) == ("wrong_type", 2, "steps[1].condition")
    assert problem.message.startswith("'condition' does not parse at character 1: found 'Execute', expected a value")
    assert "such as $step1.count > 3" in problem.message


def test_references_in_a_fallback_are_dependencies() -> None:
    fallback = {"action": "b", "parameters": {"x": ["{$step1.v}!"]}}

    assert parse_plan([step(1), step(2, fallback=fallback)]).dependencies == {1: (), 2: (1,)}


def test_a_dependency_on_nothing_is_told_once_a_target_with_what_was_written() -> None:
    entry = step(2, 9, 9, -1, parameters={"x": "$step9.v", "y": ["{$step7.v} $step7.w"], "z": "$step1"})
    source = [step(1), entry]

    assert told(source) == [
        ("dangling_dependency", 2, "steps[1].dependencies[0]"),
        ("dangling_dependency", 2, "steps[1].dependencies[2]"),
        ("dangling_dependency", 2, "steps[1].parameters.y[0]"),
    ]
    assert "$step7.v" in problems_of(source)[2].message


def test_a_huge_number_of_a_step_is_just_a_step_that_is_not_there() -> None:
    assert told([step(1, parameters={"x": "$step" + "9" * 5000})]) == [
        ("dangling_dependency", 1, "steps[0].parameters.x")
    ]
    (problem,) = problems_of([step(1, 10**5000)])
    assert problem.kind == "dangling_dependency"


@pytest.mark.parametrize(
    ("steps", "drawn"),
    [
        ([step(1, 2), step(2, 1)], ["1 -> 2 -> 1"]),
        ([step(3, 1), step(1, 2), step(2, 3)], ["3 -> 1 -> 2 -> 3"]),
        ([step(1, 2), step(2, 1), step(3, 4), step(4, 3), step(5, 1, 3)], ["1 -> 2 -> 1", "3 -> 4 -> 3"]),
        ([step(1, 2, 3), step(2, 1), step(3, 1)], ["1 -> 2 -> 1"]),
        ([step(1, parameters={"x": "$step2.a"}), step(2, condition="$step1.b")], ["1 -> 2 -> 1"]),
        ([step(1), step(2, 1, 4), step(3, 2), step(4, 3)], ["2 -> 4 -> 3 -> 2"]),
    ],
)
def test_each_tangle_of_cycles_is_drawn_once(steps: list[dict[str, object]], drawn: list[str]) -> None:
    """One problem a strongly connected component, along a shortest cycle of it."""
    found = problems_of(steps)

    assert [problem.message.rpartition(": ")[2] for problem in found] == drawn
    assert {(problem.kind, problem.step) for problem in found} == {("cycle", None)}


def test_a_cycle_and_a_self_reference_are_two_mistakes() -> None:
    assert told([step(1, 2), step(2, 1, 2)]) == [
        ("cycle", None, "steps[0].dependencies[0]"),
        ("self_reference", 2, "steps[1].dependencies[1]"),
    ]


def test_a_very_long_cycle_is_found_without_recursion_and_told_briefly() -> None:
    n = 5000
    (problem,) = problems_of([step(i, i % n + 1) for i in range(1, n + 1)])

    assert problem.kind == "cycle"
    assert problem.message.endswith("-> ... -> 1 (5000 steps)")
    assert len(problem.message) < 500


# ------------------------------------------------------------------ one mistake, one problem


@pytest.mark.parametrize(
    ("broken", "kind", "path"),
    [
        ({"action": "a"}, "missing_id", "id"),
        ({"id": "second", "action": "a"}, "wrong_type", "id"),
        ({"id": True, "action": "a"}, "wrong_type", "id"),
        ({"id": 2, "step": 3, "action": "a"}, "wrong_type", "step"),
    ],
)
def test_nothing_is_concluded_from_an_id_that_cannot_be_used(broken: object, kind: str, path: str) -> None:
    """Step 3 depends on what the second entry was surely meant to be; only that entry is wrong."""
    assert told([step(1), broken, step(4, 2)]) == [(kind, None, f"steps[1].{path}")]


def test_what_is_wrong_all_the_same_is_told_beside_an_unusable_id() -> None:
    source = [step(1), {"parameters": [], "dependencies": [77, True]}, step(3, 99)]

    assert told(source) == [
        ("wrong_type", None, "steps[1].parameters"),
        ("dangling_dependency", None, "steps[1].dependencies[0]"),
        ("wrong_type", None, "steps[1].dependencies[1]"),
        ("missing_id", None, "steps[1].id"),
        ("missing_action", None, "steps[1].action"),
        ("dangling_dependency", 3, "steps[2].dependencies[0]"),
    ]


def test_problems_come_in_document_order_whatever_found_them() -> None:
    source = {
        "goal": 1,
        "steps": [
            {"critical": "true", "id": 1, "parameters": {"x": "$step1", "y": "$step8"}, "action": ""},
            "search",
            {"id": 1, "action": "b", "timeout_s": -1, "dependencies": "1"},
            step(5, 6),
            step(6, 5, max_retries=1.5),
        ],
    }

    assert told(source) == [
        ("wrong_type", None, "goal"),
        ("wrong_type", 1, "steps[0].critical"),
        ("self_reference", 1, "steps[0].parameters.x"),
        ("dangling_dependency", 1, "steps[0].parameters.y"),
        ("missing_action", 1, "steps[0].action"),
        ("wrong_type", None, "steps[1]"),
        ("duplicate_id", 1, "steps[2].id"),
        ("wrong_type", 1, "steps[2].timeout_s"),
        ("wrong_type", 1, "steps[2].dependencies"),
        ("cycle", None, "steps[3].dependencies[0]"),
        ("wrong_type", 6, "steps[4].max_retries"),
    ]


def test_paths_quote_keys_that_are_no_names() -> None:
    assert told([step(1, parameters={"a b": {"": ["$step9"]}})])[0][2] == 'steps[0].parameters["a b"][""][0]'


# ------------------------------------------------------------------ repeated keys


@pytest.mark.parametrize(
    ("text", "path", "named"),
    [
        ('[{"id": 1, "action": "a", "action": "a"}]', "steps[0].action", ["'action'"]),
        ('{"steps": [], "steps": [{"id": 1, "action": "a"}]}', "steps", ["'steps'"]),
        ('{"goal": "a", "goal": "b", "steps": [{"id": 1, "action": "a"}]}', "goal", ["'goal'"]),
        ('[{"id": 1, "action": "a", "parameters": {"x": [{"k": 1, "k": 1}]}}]', "steps[0].parameters.x[0].k", ["'k'"]),
        ('[{"id": 1, "action": "a", "note": {"k": 1, "k": 2}}]', "steps[0].note.k", ["'k'"]),
        ('[{"id": 1, "id": 2, "id": 3, "action": "a", "tool": "a"}]', "steps[0].id", ["'id'"]),
        ('[{"id": 1, "action": "a", "tool": "b", "tool": "c"}]', "steps[0].tool", ["'tool'"]),
        ('[{"id": 1, "id": 2, "action": "a", "action": "b"}]', "steps[0]", ["'id'", "'action'"]),
        ('Plan: [{"id": 1, "action": "a", "x": {"a": 1, "\\u0061": 2}}] ok', "steps[0].x.a", ["'a'"]),
        (
            '[{"id": 1, "action": "a", "fallback": {"action": "b", "action": "c"}}]',
            "steps[0].fallback.action",
            ["'action'"],
        ),
    ],
)
def test_a_repeated_key_is_told_and_nothing_is_guessed(text: str, path: str, named: list[str]) -> None:
    (problem,) = problems_of(text)

    assert (problem.kind, problem.step, problem.path) == ("duplicate_key", None, path)
    assert all(name in problem.message for name in named)


def test_other_mistakes_are_told_beside_a_repeated_key() -> None:
    """Step 3 may well mean one of the two ids; 9 it cannot mean."""
    text = '[{"id": 1, "id": 2, "action": "a"}, {"id": 3, "action": "b", "dependencies": [1, 2, 9]}, {"id": 3}]'

    assert told(text) == [
        ("duplicate_key", None, "steps[0].id"),
        ("dangling_dependency", 3, "steps[1].dependencies[2]"),
        ("duplicate_id", 3, "steps[2].id"),
        ("missing_action", 3, "steps[2].action"),
    ]


# ------------------------------------------------------------------ decoded data that JSON could not say


@pytest.mark.parametrize(
    ("value", "path", "said"),
    [
        (float("nan"), "steps[0].parameters.x", "nan is not a JSON number"),
        ([1, float("inf")], "steps[0].parameters.x[1]", "inf is not"),
        (datetime.date(2026, 1, 1), "steps[0].parameters.x", "a date is not JSON data"),
        ({"y": {1, 2}}, "steps[0].parameters.x.y", "a set is not"),
        (b"x", "steps[0].parameters.x", "a bytes is not"),
        ({1: "a"}, "steps[0].parameters.x", "the key 1 is not text"),
    ],
)
def test_decoded_data_must_be_what_json_can_say(value: object, path: str, said: str) -> None:
    (problem,) = problems_of([step(1, parameters={"x": value})])

    assert (problem.kind, problem.step, problem.path) == ("wrong_type", 1, path)
    assert said in problem.message


def test_what_is_wrong_outside_of_the_steps_names_no_step() -> None:
    """Another list of the document has nothing to do with the steps, however many it has."""
    source = {"steps": [step(1)], "notes": [1, 2, float("nan")]}

    assert [(p.kind, p.step, p.path) for p in problems_of(source)] == [("wrong_type", None, "notes[2]")]


def test_a_plan_that_contains_itself_is_refused() -> None:
    loop: dict[str, object] = {}
    loop["again"] = loop

    assert [p.kind for p in problems_of([step(1, parameters=loop)])] == ["invalid_json"]


def test_what_comes_out_shares_nothing_with_what_went_in() -> None:
    source = [step(1, parameters={"x": [1], "t": (1, 2)}, for_each=[[1]])]
    plan = parse_plan(source)
    source[0]["parameters"]["x"].append(2)  # type: ignore[index]
    source[0]["for_each"][0].append(2)  # type: ignore[index]

    assert plan.step(1).parameters == {"x": [1], "t": [1, 2]}
    assert plan.step(1).for_each == ForEach([[1]])


def test_problems_have_the_json_shape_of_the_command_line() -> None:
    with pytest.raises(PlanError) as caught:
        parse_plan([step(1), step(2, parameters={"x": "$step7.v"})])

    assert problems_json(caught.value) == {
        "ok": False,
        "problems": [
            {
                "kind": "dangling_dependency",
                "step": 2,
                "path": "steps[1].parameters.x",
                "message": "$step7.v: there is no step 7; there are 1, 2",
            }
        ],
    }
