"""Steps that run once for each element: how that is written, and what `$item` and `$index` mean where."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.runtime._errors import PlanError, StepError, UnknownField
from trouper.runtime._for_each import ForEach
from trouper.runtime._plan import Plan, parse_plan
from trouper.runtime._refs import INDEX, ITEM, Reference, compile_value, split_references

ELEMENT: dict[int, object] = {ITEM: {"name": "Ada", "tags": ["x", {"y": 2}], "a-b": 1}, INDEX: 4, 1: {"v": "one"}}


def step(step_id: int, **more: object) -> dict[str, object]:
    return {"id": step_id, "action": "a", **more}


def read(value: object) -> ForEach:
    found = parse_plan([step(1), step(2, for_each=value)]).step(2).for_each
    assert found is not None
    return found


def told(*steps: dict[str, object]) -> list[tuple[str, int | None, str]]:
    with pytest.raises(PlanError) as caught:
        parse_plan(list(steps))
    return [(problem.kind, problem.step, problem.path) for problem in caught.value.problems]


# ------------------------------------------------------------------ the policy


def test_a_list_a_reference_and_an_object_say_the_same() -> None:
    assert read([1, 2]) == read({"items": [1, 2]}) == ForEach([1, 2])
    assert read("$step1.items") == read({"items": "$step1.items", "max_parallel": None}) == ForEach("$step1.items")


def test_the_object_has_limits_and_what_a_failure_means() -> None:
    each = read({"items": "$step1", "max_parallel": 3, "on_failure": "continue", "max_items": 20})

    assert (each.max_parallel, each.on_failure, each.max_items) == (3, "continue", 20)
    assert each.as_json() == {"items": "$step1", "max_parallel": 3, "on_failure": "continue", "max_items": 20}
    assert read("$step1").as_json() == "$step1"
    assert read({"items": [1], "max_parallel": 2}).as_json() == {"items": [1], "max_parallel": 2}


def test_by_default_a_thousand_elements_are_the_most_and_a_failure_counts() -> None:
    each = read("$step1")

    assert (each.max_parallel, each.on_failure, each.max_items) == (None, "fail", 1000)


@pytest.mark.parametrize(
    ("value", "path", "said"),
    [
        ({}, ".items", "missing"),
        ({"items": None}, ".items", "missing"),
        ({"items": "names"}, ".items", "not a list or one bare reference such as"),
        ({"items": {}}, ".items", "an object"),
        ({"items": [], "max_parallel": 0}, ".max_parallel", "the number 0, not a whole number, 1 or more"),
        ({"items": [], "max_parallel": True}, ".max_parallel", "true"),
        ({"items": [], "max_items": 1.5}, ".max_items", "1.5"),
        ({"items": [], "on_failure": "skip"}, ".on_failure", "not 'fail' or 'continue'"),
        ({"items": [], "on_failure": []}, ".on_failure", "a list"),
        ({"items": [], "max_paralel": 3}, ".max_paralel", "did you mean 'max_parallel'"),
        ({"items": [1, 2, 3], "max_items": 2}, ".items", "3 elements, more than max_items allows: 2"),
        (list(range(1001)), "", "1001 elements"),
        ("$step1.a $step1.b", "", "not a list or one bare reference such as"),
        (5, "", "nor an object with items"),
    ],
)
def test_what_is_wrong_with_it_is_told_at_its_place(value: object, path: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse_plan([step(1), step(2, for_each=value)])
    (problem,) = caught.value.problems

    assert (problem.kind, problem.step, problem.path) == ("wrong_type", 2, f"steps[1].for_each{path}")
    assert problem.message.startswith(f"'for_each{path}' ")
    assert said in problem.message


def test_all_that_is_wrong_is_told_at_once() -> None:
    value = {"items": "$step9", "max_parallel": 0, "on_failure": 1, "x": 2}

    assert told(step(1, for_each=value)) == [
        ("dangling_dependency", 1, "steps[0].for_each.items"),
        ("wrong_type", 1, "steps[0].for_each.max_parallel"),
        ("wrong_type", 1, "steps[0].for_each.on_failure"),
        ("wrong_type", 1, "steps[0].for_each.x"),
    ]


def test_the_elements_come_from_the_results() -> None:
    assert read("$step1.items").elements({1: {"items": ["a", 0, None]}}) == ["a", 0, None]
    assert read(["x", "$step1.n", {"deep": "{$step1.n}"}]).elements({1: {"n": 3}}) == ["x", 3, {"deep": "3"}]
    assert read("$step1").elements({1: []}) == []


def test_the_elements_are_the_callers_to_change() -> None:
    each = read([["x"]])
    found: Any = each.elements({})
    found[0].append("y")

    assert each.elements({}) == [["x"]]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"items": {"a": 1}}, r"\$step1.items: it is an object, not a list"),
        ({"items": "abc"}, "the text 'abc', not a list"),
        ({"items": None}, "null, not a list"),
        ({"items": [0] * 1001}, "1001 elements, more than the 1000"),
    ],
)
def test_what_is_no_list_or_too_long_a_one_is_an_error_of_the_step(result: object, said: str) -> None:
    with pytest.raises(StepError, match=said):
        read("$step1.items").elements({1: result})


def test_a_list_that_is_missing_is_an_error_unless_its_step_need_not_have_run() -> None:
    with pytest.raises(UnknownField, match="step 1 has no result"):
        read("$step1.items").elements({})
    with pytest.raises(StepError, match="null, not a list"):
        read("$step1.items").elements({}, lenient=True)


# ------------------------------------------------------------------ $item and $index


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$item.name", "Ada"),
        ("$item.tags[1].y", 2),
        ("$item.tags.0", "x"),
        ("$index", 4),
        ("{$index}", "4"),
        ("{$item.a-b}", "1"),
        ("no. $index: $item.name.", "no. 4: Ada."),
        ("$item.name and $step1.v", "Ada and one"),
        ("{$item.name}s", "Adas"),
        ("$indexの", "4の"),
        ("$items", "$items"),
        ("$item_name", "$item_name"),
        ("$index5", "$index5"),
        ("{$items}", "{$items}"),
        ("$$item", "$item"),
        ("$$index.", "$index."),
        ("$$items", "$$items"),
        ("{$$item}", "{$item}"),
        ("$$step1", "$step1"),
        ("$ item", "$ item"),
        ("costs $5", "costs $5"),
    ],
)
def test_inside_a_for_each_the_element_can_be_named(text: str, value: object) -> None:
    plan = parse_plan([step(1), step(2, for_each=[1], parameters={"x": [text]})])

    assert plan.step(2).inputs.resolve(ELEMENT) == {"x": [value]}


@pytest.mark.parametrize("text", ["$item", "{$item.x}", "$index", "$$item", "a $item b"])
def test_elsewhere_it_is_plain_text(text: str) -> None:
    plan = parse_plan([step(1, parameters={"x": text}), step(2, for_each=[text])])

    assert plan.step(1).inputs.resolve({}) == {"x": text}
    each = plan.step(2).for_each
    assert each is not None
    assert each.elements({}) == [text]


def test_everything_that_is_done_for_an_element_may_name_it_and_what_is_done_once_may_not() -> None:
    each = step(
        2,
        for_each="$step1",
        parameters={"x": "$item"},
        fallback={"action": "b", "parameters": {"x": "$item"}},
        compensate={"action": "c", "parameters": {"x": "$item $step2"}},
        idempotency_key="k-{$item}",
        approval="really $item?",
    )
    found = parse_plan([step(1), each]).step(2)
    results: dict[int, object] = {ITEM: "e", 2: "r"}

    assert found.inputs.resolve(results) == {"x": "e"}
    assert found.fallback is not None
    assert found.fallback.inputs.resolve(results) == {"x": "e"}
    assert found.compensate is not None
    assert found.compensate.inputs.resolve(results) == {"x": "e r"}
    assert found.templates["idempotency_key"].resolve(results) == "k-e"
    assert found.templates["approval"].resolve(results) == "really $item?"
    assert found.needs == {1}


def test_its_own_condition_is_decided_before_there_is_an_element() -> None:
    assert told(step(1, for_each=[1], condition="$item > 3")) == [("wrong_type", 1, "steps[0].condition")]


def test_the_element_is_nobodys_result_and_makes_no_dependency() -> None:
    plan = parse_plan([step(1), step(2, for_each="$step1", parameters={"x": "$item.a", "y": "$index"})])

    assert plan.dependencies == {1: (), 2: (1,)}
    compiled = plan.step(2).inputs
    assert compiled.references == frozenset()
    assert not compiled.constant


def test_a_part_that_the_element_does_not_have_is_told() -> None:
    plan = parse_plan([step(1), step(2, for_each="$step1", parameters={"x": "$item.nme"})])

    with pytest.raises(UnknownField, match=r"\$item.nme: the element has no field 'nme'; .*did you mean 'name'"):
        plan.step(2).inputs.resolve(ELEMENT)
    with pytest.raises(UnknownField, match="there is no element here"):
        plan.step(2).inputs.resolve({})


def test_an_element_is_data_and_never_expanded() -> None:
    plan = parse_plan([step(1), step(2, for_each="$step1", parameters={"x": "$item", "y": "<{$item}>"})])

    assert plan.step(2).inputs.resolve({ITEM: "$step1 $item", 1: "LEAK"}) == {
        "x": "$step1 $item",
        "y": "<$step1 $item>",
    }


def test_a_tool_that_changes_its_element_changes_nobody_elses() -> None:
    element = {"rows": [1]}
    compiled = parse_plan([step(1, for_each=[1], parameters={"x": "$item"})]).step(1).inputs
    received: Any = compiled.resolve({ITEM: element})
    received["x"]["rows"].append(2)

    assert element == {"rows": [1]}


# ------------------------------------------------------------------ any of them


@given(st.lists(st.sampled_from(
    ["$step1", "{$step3}", "$$step", "$item", "$index.a", "{$item[0]}", "$$item", "$$index", *"${}.s1 é"]
)))  # fmt: skip
def test_cutting_a_text_loses_nothing(pieces: list[str]) -> None:
    text = "".join(pieces)
    parts = split_references(text, item=True)
    together = "".join(part if isinstance(part, str) else part.text for part in parts)

    assert together.count("$") >= text.count("$") - text.count("$$")
    assert together.replace("$", "") == text.replace("$", "")
    assert all(
        part.step in {ITEM, INDEX, 1, 3, 11, 31} or part.step > 31 for part in parts if isinstance(part, Reference)
    )


@given(st.text(alphabet="$stepitemindex1.{}[] a", max_size=40))
def test_what_names_no_element_reads_the_same_in_and_out_of_a_for_each(text: str) -> None:
    if "$item" in text or "$index" in text:
        return
    assert split_references(text, item=True) == split_references(text)


@given(st.integers() | st.text() | st.lists(st.integers()) | st.none() | st.booleans())
def test_whatever_the_element_is_it_arrives_unchanged(element: object) -> None:
    assert compile_value({"a": ["$item"]}, item=True).resolve({ITEM: element}) == {"a": [element]}


each_values = st.lists(st.integers(), max_size=3) | st.fixed_dictionaries(
    {"items": st.lists(st.integers(), max_size=3) | st.just("$step1.x")},
    optional={
        "max_parallel": st.integers(1, 9),
        "on_failure": st.sampled_from(["fail", "continue"]),
        "max_items": st.integers(3, 2000),
    },
)


@given(each_values)
def test_the_canonical_spelling_gives_an_equal_plan(value: object) -> None:
    plan = parse_plan([step(1), step(2, for_each=value)])
    again: Plan = parse_plan(plan.as_json())

    assert again == plan
    assert again.as_json() == plan.as_json()
