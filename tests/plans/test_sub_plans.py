"""Plans in plans: who sees whom, who waits for whom, what comes out, and what is told when it is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trouper.runtime._budget import Budget
from trouper.runtime._errors import PlanError, PlanProblem
from trouper.runtime._plan import ActionSignature, Plan, check_json, parse_plan
from trouper.runtime._plan_check import check_alone
from trouper.runtime._plan_report import Report
from trouper.runtime._plan_steps import read_step
from trouper.runtime._refs import INDEX, ITEM


def step(step_id: object, *dependencies: object, **more: object) -> dict[str, Any]:
    return {"id": step_id, "action": "a", "dependencies": list(dependencies), **more}


def around(step_id: object, *inner: object, **more: object) -> dict[str, Any]:
    """A step with a plan of its own."""
    return {"id": step_id, "plan": {"steps": list(inner)}, **more}


def inside(plan: Plan, step_id: int) -> Plan:
    found = plan.step(step_id).plan
    assert found is not None
    return found


def problems_of(*steps: object, **options: Any) -> list[PlanProblem]:
    with pytest.raises(PlanError) as caught:
        parse_plan(list(steps), **options)
    return list(caught.value.problems)


def told(*steps: object) -> list[tuple[str, int | None, str]]:
    """Kind, step and path of each problem; decoded data and its text give the same."""
    found: list[tuple[str, int | None, str]] = [(p.kind, p.step, p.path) for p in problems_of(*steps)]
    with pytest.raises(PlanError) as caught:
        parse_plan(json.dumps(steps))
    assert [(p.kind, p.step, p.path) for p in caught.value.problems] == found
    return found


# ------------------------------------------------------------------ what a plan in a plan is


def test_a_step_may_have_a_plan_instead_of_an_action() -> None:
    plan = parse_plan([step(1), around(2, step(3), step(4, 3)), step(5, 2)])

    assert plan.step(2).action == "plan"
    assert plan.step(2).parameters == {}
    assert [inner.id for inner in inside(plan, 2).steps] == [3, 4]
    assert inside(plan, 2).dependencies == {3: (), 4: (3,)}
    assert inside(plan, 2).levels == ((3,), (4,))


def test_the_outer_plan_shows_the_step_and_nothing_inside_it() -> None:
    plan = parse_plan([step(1), around(2, step(3, 1), step(4, 3)), step(5, 2)])

    assert check_json(plan) == {
        "ok": True,
        "steps": 3,
        "levels": [[1], [2], [5]],
        "dependencies": {"1": [], "2": [1], "5": [2]},
    }
    assert plan.all_ids == {1, 2, 3, 4, 5}


def test_a_bare_list_of_steps_will_do() -> None:
    assert parse_plan([{"id": 1, "plan": [step(2), step(3, 2)]}]) == parse_plan([around(1, step(2), step(3, 2))])


@pytest.mark.parametrize("extra", [{"action": "plan"}, {"tool": "plan"}, {"parameters": {}}, {"action": None}])
def test_what_says_nothing_else_beside_the_plan_does_no_harm(extra: dict[str, object]) -> None:
    assert parse_plan([around(1, step(2), **extra)]) == parse_plan([around(1, step(2))])


@pytest.mark.parametrize(
    ("entry", "kind", "path"),
    [
        (around(1, step(2), action="a"), "wrong_type", "action"),
        (around(1, step(2), tool="a"), "wrong_type", "tool"),
        (around(1, step(2), parameters={"x": 1}), "wrong_type", "parameters"),
        (around(1, step(2), inputs=[]), "wrong_type", "inputs"),
        (around(1), "empty_plan", "plan.steps"),
        ({"id": 1, "plan": []}, "empty_plan", "plan"),
        ({"id": 1, "plan": {}}, "wrong_type", "plan"),
        ({"id": 1, "plan": "search, then read"}, "wrong_type", "plan"),
        ({"id": 1, "plan": {"steps": {"id": 2}}}, "wrong_type", "plan.steps"),
        ({"id": 1, "plan": {"steps": None}}, "wrong_type", "plan.steps"),
        ({"id": 1, "plan": None}, "missing_action", "action"),
        (around(1, "search"), "wrong_type", "plan.steps[0]"),
        (around(1, {"id": 2}), "missing_action", "plan.steps[0].action"),
        (around(1, {"action": "a"}), "missing_id", "plan.steps[0].id"),
        ({"id": 1, "plan": [step(2), step(3, timeout_s=-1)]}, "wrong_type", "plan[1].timeout_s"),
        (around(1, step(2, 9)), "dangling_dependency", "plan.steps[0].dependencies[0]"),
        (around(1, around(2, step(3, condition="if it rains"))), "wrong_type", "plan.steps[0].plan.steps[0].condition"),
    ],
)
def test_what_is_wrong_with_a_plan_in_a_plan_is_told_at_its_place(
    entry: dict[str, object], kind: str, path: str
) -> None:
    (found,) = told(step(7), entry)

    assert (found[0], found[2]) == (kind, f"steps[1].{path}")


def test_a_problem_inside_names_the_inner_step() -> None:
    assert told(around(1, step(2), step(3, 9))) == [
        ("dangling_dependency", 3, "steps[0].plan.steps[1].dependencies[0]")
    ]


def test_everything_wrong_inside_and_outside_is_told_at_once_in_document_order() -> None:
    assert told(
        step(1, 9),
        around(2, step(3, 3), {"id": 4, "tool": 5}, around(5, step(1, "x"))),
        step(6, 4, timeout_s="1"),
    ) == [
        ("dangling_dependency", 1, "steps[0].dependencies[0]"),
        ("self_reference", 3, "steps[1].plan.steps[0].dependencies[0]"),
        ("wrong_type", 4, "steps[1].plan.steps[1].tool"),
        ("duplicate_id", 1, "steps[1].plan.steps[2].plan.steps[0].id"),
        ("wrong_type", 1, "steps[1].plan.steps[2].plan.steps[0].dependencies[0]"),
        ("dangling_dependency", 6, "steps[2].dependencies[0]"),
        ("wrong_type", 6, "steps[2].timeout_s"),
    ]


def nested(depth: int) -> dict[str, Any]:
    entry = step(depth)
    for n in range(depth - 1, -1, -1):
        entry = around(n, entry)
    return entry


def test_plans_stand_at_most_eight_deep_in_one_another() -> None:
    assert parse_plan([nested(8)]).all_ids == set(range(9))
    (problem,) = problems_of(nested(9))

    assert (problem.kind, problem.step) == ("wrong_type", 8)
    assert problem.path == "steps[0]" + ".plan.steps[0]" * 8 + ".plan"
    assert "at most 8 deep" in problem.message


@pytest.mark.parametrize("depth", [60, 160])
def test_a_plan_of_any_depth_is_refused_without_recursion(depth: int) -> None:
    (problem,) = problems_of(nested(depth))

    assert (problem.kind, problem.step) == ("wrong_type", 8)


# ------------------------------------------------------------------ who sees whom


def test_ids_belong_to_the_whole_document() -> None:
    assert told(step(1), around(2, step(1)), around(3, step(4)), around(5, step(4), step(3))) == [
        ("duplicate_id", 1, "steps[1].plan.steps[0].id"),
        ("duplicate_id", 4, "steps[3].plan.steps[0].id"),
        ("duplicate_id", 3, "steps[3].plan.steps[1].id"),
    ]


def test_what_an_inner_step_needs_from_outside_the_outer_step_waits_for() -> None:
    plan = parse_plan(
        [
            step(1), step(2), step(3), step(4),
            around(5, step(6, 1, parameters={"x": "$step2.v"}), step(7, condition="$step3.ok", for_each=[])),
            around(8, step(9, fallback={"action": "b", "parameters": {"x": "$step4"}}), approval="$step1?"),
        ]
    )  # fmt: skip

    assert plan.dependencies == {1: (), 2: (), 3: (), 4: (), 5: (1, 2, 3), 8: (1, 4)}
    assert inside(plan, 5).dependencies == {6: (), 7: ()}
    assert inside(plan, 5).step(6).dependencies == (1,)
    assert plan.step(5).needs == {1, 2, 3}


def test_at_any_depth_the_step_beside_the_one_that_is_named_waits() -> None:
    plan = parse_plan([step(1), around(2, step(3), around(4, step(5, 1), step(6, 3), step(7, 5)))])
    middle = inside(plan, 2)

    assert plan.dependencies == {1: (), 2: (1,)}
    assert middle.dependencies == {3: (), 4: (3,)}
    assert inside(middle, 4).dependencies == {5: (), 6: (), 7: (5,)}


@pytest.mark.parametrize(
    "steps",
    [
        [around(1, step(2)), step(3, 2)],
        [around(1, step(2)), step(3, parameters={"x": "$step2.v"})],
        [around(1, step(2)), around(3, step(4, 2))],
        [around(1, around(4, step(2)), step(3, 2))],
        [around(1, step(2)), {"id": 3, "plan": {"steps": [step(4)], "output": "$step2"}}],
    ],
)
def test_nobody_sees_into_a_plan_from_outside(steps: list[dict[str, Any]]) -> None:
    (problem,) = problems_of(*steps)

    assert problem.kind == "dangling_dependency"
    assert "step 2 is inside the plan of another step and cannot be seen from here" in problem.message


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        (around(1, step(2, 1)), "plan.steps[0].dependencies[0]"),
        (around(1, around(2, step(3, parameters={"x": "$step1"}))), "plan.steps[0].plan.steps[0].parameters.x"),
        ({"id": 1, "plan": {"steps": [step(2)], "output": {"x": "$step1.v"}}}, "plan.output.x"),
        (around(1, step(2), condition="$step1.ok"), "condition"),
    ],
)
def test_a_step_cannot_wait_for_the_one_it_is_inside_of(entry: dict[str, Any], path: str) -> None:
    ((kind, _, found),) = told(entry)

    assert (kind, found) == ("self_reference", f"steps[0].{path}")


def test_a_circle_through_an_inner_step_is_told_where_it_names_the_other() -> None:
    (problem,) = problems_of(step(1, 2), around(2, step(3, parameters={"x": "$step1.v"})))

    assert problem.kind == "cycle"
    assert problem.message.endswith("1 -> 2 -> 1")
    (problem,) = problems_of(around(2, step(3, parameters={"x": "$step1.v"}), step(4, 1)), step(1, 2))
    assert problem.path == "steps[0].plan.steps[0].parameters.x"


def test_a_circle_inside_is_told_inside() -> None:
    assert told(around(1, step(2, 3), step(3, 2))) == [("cycle", None, "steps[0].plan.steps[0].dependencies[0]")]


def test_what_can_be_named_is_listed() -> None:
    (problem,) = problems_of(step(1), around(2, step(3), around(4, step(5, 9))), around(6, step(7)))

    assert problem.message == "step 9: there is no step 9; there are 5, 3, 1, 6"


def test_nothing_is_concluded_from_an_id_that_cannot_be_used() -> None:
    assert told(step(1), around(5, {"action": "a"}, step(3, 1)), step(4, 5)) == [
        ("missing_id", None, "steps[1].plan.steps[0].id")
    ]


def test_a_join_counts_only_the_steps_beside_it() -> None:
    plan = parse_plan([step(1), around(2, step(3), step(4, 1, 3, join=1)), step(5, 1, 2, join=2)])

    assert inside(plan, 2).step(4).enough(1) == 1
    assert told(step(1), around(2, step(3), step(4, 1, 3, join=2))) == [
        ("wrong_type", 4, "steps[1].plan.steps[1].join")
    ]
    assert parse_plan([step(1), step(2), around(3, step(4, 1), step(5, 2), join=2)]).step(3).join == 2


def test_actions_inside_are_checked_against_the_catalogue() -> None:
    catalogue = {"read": ActionSignature(["path"], ["path"], ["text"]), "a": ActionSignature()}
    entry = around(1, {"id": 2, "action": "raed"}, {"id": 3, "action": "read"}, step(4, parameters={"x": "$step3.txt"}))
    entry["plan"]["output"] = ["$step3.text", {"x": "$step3.tex"}]
    found = [(problem.kind, problem.path) for problem in problems_of(entry, catalogue=catalogue)]

    assert found == [
        ("unknown_action", "steps[0].plan.steps[0].action"),
        ("missing_parameter", "steps[0].plan.steps[1].parameters.path"),
        ("unknown_field", "steps[0].plan.steps[2].parameters.x"),
        ("unknown_field", "steps[0].plan.output[1].x"),
    ]


def test_repeated_keys_inside_are_told() -> None:
    with pytest.raises(PlanError) as caught:
        parse_plan('[{"id": 1, "plan": {"steps": [{"id": 2, "action": "a", "action": "b"}]}}]')

    assert [(p.kind, p.path) for p in caught.value.problems] == [("duplicate_key", "steps[0].plan.steps[0].action")]


# ------------------------------------------------------------------ what comes out


def test_the_result_is_the_output_or_that_of_the_last_listed_step() -> None:
    plan = parse_plan(
        [
            step(1),
            {"id": 2, "plan": {"steps": [step(3), step(4)], "output": {"sum": "$step3.n", "of": ["{$step1}", "x"]}}},
            around(5, step(7), step(6)),
        ]
    )
    results: dict[int, object] = {1: "one", 3: {"n": 3}, 4: "four", 6: "six", 7: "seven"}
    output, last = inside(plan, 2).outputs, inside(plan, 5).outputs

    assert plan.outputs is None
    assert output is not None
    assert output.resolve(results) == {"sum": 3, "of": ["one", "x"]}
    assert last is not None
    assert last.resolve(results) == "six"
    assert last.resolve({}, lenient=True) is None  # it was skipped
    assert plan.dependencies == {1: (), 2: (1,), 5: ()}


@pytest.mark.parametrize("output", [0, False, "", [], "done", {"x": None}])
def test_any_value_may_be_the_output(output: object) -> None:
    plan = parse_plan([{"id": 1, "plan": {"steps": [step(2)], "output": output}}])
    outputs = inside(plan, 1).outputs

    assert outputs is not None
    assert outputs.resolve({}) == output
    assert inside(plan, 1).as_json()["output"] == output


def test_an_output_that_names_nobody_is_told() -> None:
    assert told({"id": 1, "plan": {"steps": [step(2)], "output": [{"x": "$step9.v $step9.w"}]}}) == [
        ("dangling_dependency", 1, "steps[0].plan.output[0].x")
    ]


# ------------------------------------------------------------------ with for_each


def test_the_element_is_seen_inside_and_hidden_by_an_inner_one() -> None:
    inner = around(
        2,
        step(3, parameters={"x": "$item $index"}, condition="$item.ok and $index > 0"),
        step(4, for_each="$item.parts", parameters={"x": "$item"}, condition="$item.deep"),
        around(5, step(6, approval="{$item}?", idempotency_key="k-$item")),
        for_each="$step1",
    )
    plan = inside(parse_plan([step(1), inner]), 2)
    results: dict[int, object] = {ITEM: {"ok": True, "parts": [1, 2], "deep": 1}, INDEX: 3}

    assert plan.step(3).inputs.resolve({ITEM: "e", INDEX: 3}) == {"x": "e 3"}
    guard, each = plan.step(3).guard, plan.step(4).for_each
    assert guard is not None
    assert guard.holds(results)
    assert each is not None
    assert each.elements(results) == [1, 2]
    assert plan.step(4).guard is not None
    assert plan.step(4).inputs.resolve({ITEM: 1}) == {"x": 1}
    assert inside(plan, 5).step(6).templates["approval"].resolve({ITEM: "e"}) == "e?"
    assert inside(plan, 5).step(6).templates["idempotency_key"].resolve({ITEM: "e"}) == "k-e"


def test_the_output_may_name_the_element() -> None:
    plan = parse_plan([{"id": 1, "for_each": [1], "plan": {"steps": [step(2)], "output": ["$item", "$step2"]}}])
    outputs = inside(plan, 1).outputs

    assert outputs is not None
    assert outputs.resolve({ITEM: "e", 2: "r"}) == ["e", "r"]


def test_inside_a_step_that_need_not_wait_for_everything_a_missing_result_is_null_too() -> None:
    inner = step(4, parameters={"x": "$step2.v"})
    plan = parse_plan([step(1), step(2), around(3, inner, around(5, step(6)), join="any", dependencies=[1])])

    assert inside(plan, 3).step(4).lenient
    assert inside(inside(plan, 3), 5).step(6).lenient
    assert inside(plan, 3).step(4).enough(0) == 0
    assert not inside(parse_plan([step(2), around(3, inner, join="all")]), 3).step(4).lenient


# ------------------------------------------------------------------ budgets


def test_a_plan_and_a_step_with_a_plan_may_have_a_budget() -> None:
    plan = parse_plan(
        {
            "budget": {"tokens": 1000, "cost": 0.5, "seconds": 60, "steps": 9, "tool_calls": 8, "model_calls": 7},
            "steps": [
                {"id": 1, "plan": {"steps": [step(2)]}, "budget": {"tokens": 5, "cost": None}},
                {"id": 3, "plan": {"steps": [step(4)], "budget": {"cost": 1}}},
                {
                    "id": 5,
                    "budget": {"tokens": 5, "steps": 2},
                    "plan": {"budget": {"tokens": 9, "steps": 1, "cost": 1}, "steps": [step(6)]},
                },
            ],
        }
    )

    assert plan.budget == Budget(tokens=1000, cost=0.5, seconds=60, steps=9, tool_calls=8, model_calls=7)
    assert plan.step(1).budget == Budget(tokens=5)
    assert plan.step(3).budget == Budget(cost=1)
    assert plan.step(5).budget == Budget(tokens=5, steps=1, cost=1)
    assert inside(plan, 5).budget is None
    assert parse_plan(plan.as_json()) == plan
    assert parse_plan([step(1)]).budget is None


@pytest.mark.parametrize(
    ("budget", "path", "said"),
    [
        (5, "", "not an object of limits: tokens, cost"),
        ([], "", "a list"),
        ({"tokens": 0}, ".tokens", "the number 0, not a whole number, 1 or more"),
        ({"tokens": 1.5}, ".tokens", "not a whole number"),
        ({"steps": True}, ".steps", "true"),
        ({"cost": 0}, ".cost", "not a number above 0"),
        ({"seconds": "60"}, ".seconds", "the text '60'"),
        ({"seconds": 10**400}, ".seconds", "a huge number"),
        ({"token": 5}, ".token", "did you mean 'tokens'"),
    ],
)
def test_a_budget_that_is_none_is_told_at_its_place(budget: object, path: str, said: str) -> None:
    for where, source in [
        ("", {"steps": [step(1)], "budget": budget}),
        ("steps[0].", {"steps": [around(1, step(2), budget=budget)]}),
        ("steps[0].plan.", {"steps": [{"id": 1, "plan": {"steps": [step(2)], "budget": budget}}]}),
    ]:
        with pytest.raises(PlanError) as caught:
            parse_plan(source)  # type: ignore[arg-type]
        (problem,) = caught.value.problems
        assert (problem.kind, problem.path) == ("wrong_type", f"{where}budget{path}")
        assert problem.message.startswith(f"'budget{path}' ")
        assert said in problem.message


def test_a_budget_on_an_action_is_refused() -> None:
    assert told(step(1, budget={"tokens": 5})) == [("wrong_type", 1, "steps[0].budget")]


# ------------------------------------------------------------------ one step alone


def alone(entry: dict[str, Any], **catalogue: ActionSignature) -> list[tuple[str, str]]:
    report = Report([entry])
    draft = read_step(0, entry, report)
    check_alone(draft, catalogue or None)
    try:
        report.raise_if_any()
    except PlanError as error:
        return [(problem.kind, problem.path) for problem in error.problems]
    return []


def test_what_is_wrong_with_a_step_whatever_the_others_are_can_be_told_alone() -> None:
    assert alone(step(1, 7, 8, parameters={"x": "$step9.v"}, join=3)) == []
    assert alone(step(1, 7, join=2)) == [("wrong_type", "steps[0].join")]
    assert alone(step(1, 1)) == [("self_reference", "steps[0].dependencies[0]")]
    assert alone(around(1, step(2, 7), step(3, 2))) == []
    assert alone(around(1, step(2, 3), step(3, 2))) == [("cycle", "steps[0].plan.steps[0].dependencies[0]")]
    assert alone(around(1, step(2), step(2))) == [("duplicate_id", "steps[0].plan.steps[1].id")]
    assert alone(around(1, step(2), around(3, step(4)), step(5, 4))) == [
        ("dangling_dependency", "steps[0].plan.steps[2].dependencies[0]")
    ]
    assert alone(around(1, step(2, 7), join=1)) == []
    assert alone(around(1, step(2, 7, join=1))) == [("wrong_type", "steps[0].plan.steps[0].join")]
    assert alone(around(1, step(2, 1))) == [("self_reference", "steps[0].plan.steps[0].dependencies[0]")]
    assert alone(around(1, step(2)), b=ActionSignature()) == [("unknown_action", "steps[0].plan.steps[0].action")]


# ------------------------------------------------------------------ any of them


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[int, set[int]]]:
    """A random valid document with plans in plans, and for each step at the top whom it must wait for."""
    ids = iter(draw(st.permutations(range(40))))
    waits: dict[int, set[int]] = {}

    def block(depth: int, seen: list[int], owners: dict[int, set[int]]) -> list[dict[str, Any]]:
        """`owners`: for each visible id from outside, the set of its dependants' owner to add to."""
        steps: list[dict[str, Any]] = []
        own: list[int] = []
        for _ in range(draw(st.integers(1, 3))):
            this = next(ids)
            mine: set[int] = set()
            visible = [*seen, *own]
            named = draw(st.lists(st.sampled_from(visible), max_size=3)) if visible else []
            for other in named:
                (mine if other in own else owners[other]).add(other)
            entry: dict[str, Any] = {"id": this, "dependencies": named[:1]}
            used = {"x": [f"{{$step{other}.v}}" for other in named[1:]]}
            if depth < 2 and draw(st.booleans()):
                inner = block(depth + 1, visible, {**owners, **dict.fromkeys(own, mine)})
                entry["plan"] = {"steps": inner, "output": used} if named else {"steps": inner}
            else:
                entry |= {"action": "a", "parameters": used}
            steps.append(entry)
            own.append(this)
            if depth == 0:
                waits[this] = mine
        return steps

    return block(0, [], {}), waits


@given(trees())
@settings(max_examples=40)
def test_at_the_top_a_step_waits_for_whatever_anything_inside_it_names(
    tree: tuple[list[dict[str, Any]], dict[int, set[int]]],
) -> None:
    steps, waits = tree
    plan = parse_plan(steps)

    assert {key: set(needs) for key, needs in plan.dependencies.items()} == waits
    assert {key: set(plan.step(key).needs) for key in waits} == waits


@given(trees(), st.booleans())
@settings(max_examples=40)
def test_the_canonical_spelling_gives_an_equal_plan(
    tree: tuple[list[dict[str, Any]], dict[int, set[int]]], as_text: bool
) -> None:
    plan = parse_plan(tree[0])
    spelt = plan.as_json()
    again = parse_plan(json.dumps(spelt) if as_text else spelt)

    assert again == plan
    assert again.as_json() == spelt


@given(trees())
@settings(max_examples=40)
def test_a_step_alone_is_the_step_of_the_whole_plan(tree: tuple[list[dict[str, Any]], dict[int, set[int]]]) -> None:
    plan = parse_plan(tree[0])
    for index, entry in enumerate(tree[0]):
        report = Report(list(tree[0]))
        draft = read_step(index, entry, report)
        check_alone(draft)
        report.raise_if_any()

        assert draft.step() == plan.steps[index]
        inner = plan.steps[index].plan
        assert draft.inner_ids == (frozenset() if inner is None else inner.all_ids)
