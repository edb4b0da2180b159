"""Against a catalogue the actions, their parameters and the fields that references name are checked too."""

from __future__ import annotations

from typing import Any

import pytest

from trouper.runtime._errors import ConfigError, PlanError
from trouper.runtime._plan import ActionSignature, catalogue_from_json, parse_plan

CATALOGUE = {
    "search": ActionSignature(["query"], ["query", "limit"], ["paths", "count"]),
    "read": ActionSignature(["path"], outputs=["text"]),
    "anything": ActionSignature(),
    "silent": ActionSignature(outputs=()),
}
SEARCH = {"id": 1, "action": "search", "parameters": {"query": "x"}}


def told(*steps: dict[str, Any]) -> list[tuple[str, int | None, str]]:
    with pytest.raises(PlanError) as caught:
        parse_plan(list(steps), catalogue=CATALOGUE)
    return [(problem.kind, problem.step, problem.path) for problem in caught.value.problems]


def message(*steps: dict[str, Any]) -> str:
    with pytest.raises(PlanError) as caught:
        parse_plan(list(steps), catalogue=CATALOGUE)
    return caught.value.problems[0].message


def test_a_plan_that_fits_the_catalogue_passes() -> None:
    plan = parse_plan(
        [
            SEARCH,
            {"id": 2, "action": "read", "parameters": {"path": "$step1.paths[0]", "whatever": "$step1.count"}},
            {"id": 3, "action": "anything", "parameters": {"x": "$step2.text", "y": "$step1"}},
            {"id": 4, "action": "anything", "parameters": {"x": "$step3.who.knows", "y": "$step1.0", "z": "$step1[0]"}},
        ],
        catalogue=CATALOGUE,
    )

    assert len(plan.steps) == 4


def test_without_a_catalogue_nothing_of_this_is_checked() -> None:
    assert parse_plan([{"id": 1, "action": "nonsense"}, {"id": 2, "action": "n", "parameters": {"x": "$step1.no"}}])


def test_an_empty_catalogue_knows_no_action() -> None:
    with pytest.raises(PlanError, match="there is no action 'search'; there are none"):
        parse_plan([SEARCH], catalogue={})


def test_an_unknown_action_is_told_with_the_near_name() -> None:
    step = {"id": 1, "action": "serch", "parameters": {"x": 1}}

    assert told(step) == [("unknown_action", 1, "steps[0].action")]
    assert "did you mean 'search'" in message(step)
    assert "there are search, read, anything, silent" in message({"id": 1, "action": "zzz"})
    assert told({"id": 1, "tool": "serch"}) == [("unknown_action", 1, "steps[0].tool")]


@pytest.mark.parametrize("name", ["SEARCH", "Search", "sEarhc"])
def test_a_name_in_capitals_is_near(name: str) -> None:
    assert "did you mean 'search'" in message({"id": 1, "action": name})


def test_nothing_is_concluded_from_an_unknown_action() -> None:
    step = {"id": 2, "action": "read", "parameters": {"path": "$step1.nope"}}

    assert told({"id": 1, "action": "serch"}, step) == [("unknown_action", 1, "steps[0].action")]


def test_each_missing_parameter_is_told() -> None:
    catalogue = {"move": ActionSignature(["source", "target"])}
    with pytest.raises(PlanError) as caught:
        parse_plan([{"id": 1, "tool": "move", "inputs": {}}, {"id": 2, "action": "move"}], catalogue=catalogue)

    assert [(p.kind, p.step, p.path) for p in caught.value.problems] == [
        ("missing_parameter", 1, "steps[0].inputs.source"),
        ("missing_parameter", 1, "steps[0].inputs.target"),
        ("missing_parameter", 2, "steps[1].parameters.source"),
        ("missing_parameter", 2, "steps[1].parameters.target"),
    ]


def test_a_parameter_that_is_null_is_there() -> None:
    assert parse_plan([{"id": 1, "action": "search", "parameters": {"query": None}}], catalogue=CATALOGUE)


def test_wrong_parameters_are_not_missing_ones_on_top() -> None:
    assert told({"id": 1, "action": "search", "parameters": "x"}) == [("wrong_type", 1, "steps[0].parameters")]


def test_a_parameter_that_the_action_does_not_have_is_an_unknown_field() -> None:
    step = {"id": 1, "action": "search", "parameters": {"query": "x", "limits": 3}}

    assert told(step) == [("unknown_field", 1, "steps[0].parameters.limits")]
    assert "it takes query, limit; did you mean 'limit'?" in message(step)


def test_a_field_that_the_action_does_not_give_is_told_once_a_step() -> None:
    step = {"id": 2, "action": "anything", "parameters": {"a": "$step1.path", "b": ["{$step1.path} $step1.path[0]"]}}

    assert told(SEARCH, step) == [("unknown_field", 2, "steps[1].parameters.a")]
    assert message(SEARCH, step) == "$step1.path: 'search' gives paths, count, not 'path'; did you mean 'paths'?"


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"condition": "$step1.n > 1"}, "condition"),
        ({"for_each": "$step1.n"}, "for_each"),
        ({"approval": "{$step1.n}?"}, "approval"),
        ({"fallback": {"tool": "anything", "inputs": {"x": "$step1.n"}}}, "fallback.inputs.x"),
        ({"compensate": {"action": "anything", "parameters": {"x": "$step1.n"}}}, "compensate.parameters.x"),
    ],
)
def test_fields_are_checked_wherever_references_stand(policy: dict[str, Any], path: str) -> None:
    assert told(SEARCH, {"id": 2, "action": "anything", **policy}) == [("unknown_field", 2, f"steps[1].{path}")]


def test_a_compensation_is_held_to_what_its_own_step_gives() -> None:
    undo = {"action": "anything", "parameters": {"good": "$step1.count", "bad": "$step1.id"}}

    assert told({**SEARCH, "compensate": undo}) == [("unknown_field", 1, "steps[0].compensate.parameters.bad")]


def test_an_action_that_gives_nothing_has_no_fields() -> None:
    use = {"id": 2, "action": "anything", "parameters": {"x": "$step1.any"}}

    assert told({"id": 1, "action": "silent"}, use) == [("unknown_field", 2, "steps[1].parameters.x")]


def test_a_step_that_runs_for_each_element_gives_a_list_whatever_its_action_gives() -> None:
    use = {"id": 2, "action": "anything", "parameters": {"x": "$step1.any"}}

    assert parse_plan([{**SEARCH, "for_each": [1, 2]}, use], catalogue=CATALOGUE)


def test_fields_of_a_step_whose_id_is_taken_twice_are_left_alone() -> None:
    use = {"id": 2, "action": "anything", "parameters": {"x": "$step1.any"}}

    assert told(SEARCH, {"id": 1, "action": "anything"}, use) == [("duplicate_id", 1, "steps[1].id")]


@pytest.mark.parametrize("name", ["fallback", "compensate"])
def test_calls_in_a_step_are_held_to_the_catalogue(name: str) -> None:
    assert told({**SEARCH, name: {"action": "nope"}}) == [("unknown_action", 1, f"steps[0].{name}.action")]
    assert told({**SEARCH, name: {"action": "read"}}) == [("missing_parameter", 1, f"steps[0].{name}.parameters.path")]
    assert told({**SEARCH, name: {"action": "search", "inputs": {"query": "", "q": ""}}}) == [
        ("unknown_field", 1, f"steps[0].{name}.inputs.q")
    ]
    assert told({**SEARCH, name: {"parameters": {}}}) == [("missing_action", 1, f"steps[0].{name}.action")]


def test_thousands_of_unknown_names_do_not_take_minutes() -> None:
    """Near names are looked for among a bounded number of short ones."""
    catalogue = {f"action_number_{n}": ActionSignature() for n in range(3000)}
    steps = [{"id": n, "action": "x" * 10_000 + str(n)} for n in range(2000)]
    with pytest.raises(PlanError) as caught:
        parse_plan(steps, catalogue=catalogue)

    assert len(caught.value.problems) == 2000
    assert all(len(problem.message) < 600 for problem in caught.value.problems)


def test_a_required_parameter_is_one_the_action_takes() -> None:
    catalogue = {"move": ActionSignature(["source"], ["target"])}

    assert parse_plan([{"id": 1, "action": "move", "parameters": {"source": 1, "target": 2}}], catalogue=catalogue)


# ------------------------------------------------------------------ the catalogue as JSON


def test_a_catalogue_is_read_from_its_json() -> None:
    found = catalogue_from_json(
        {
            "search": {"required": ["query"], "parameters": ["query", "limit"], "outputs": ["paths"]},
            "read": {"required": ["path"], "parameters": {"path": {"type": "string"}}, "description": "Reads."},
            "reply": {},
            "none": {"required": None, "outputs": None, "schema": {"type": "object"}},
        }
    )

    assert found == {
        "search": ActionSignature(["query"], ["query", "limit"], ["paths"]),
        "read": ActionSignature(["path"], ["path"]),
        "reply": ActionSignature(),
        "none": ActionSignature(schema={"type": "object"}),
    }


def test_every_mistake_in_a_catalogue_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        catalogue_from_json(
            {"a": ["query"], "b": {"required": "query"}, "c": {"outputs": ["x", 5]}, "d": {"requird": []},
             "e": {"schema": 1}, "f": {"parameters": 3}}
        )  # fmt: skip

    assert [(problem.path, problem.nearest) for problem in caught.value.problems] == [
        ("a", None), ("b.required", None), ("c.outputs[1]", None), ("d.requird", "required"), ("e.schema", None),
        ("f.parameters", None),
    ]  # fmt: skip


@pytest.mark.parametrize("source", [[], "x", None, 3])
def test_a_catalogue_is_an_object(source: object) -> None:
    with pytest.raises(ConfigError, match="not an object of action names"):
        catalogue_from_json(source)
