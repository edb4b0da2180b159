"""The schema of plans says what `parse_plan` says, as far as a schema can."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from trouper.runtime._errors import PlanError
from trouper.runtime._plan import ActionSignature, Step, parse_plan
from trouper.runtime._plan_schema import plan_schema

SAMPLES = Path(__file__).parent.parent / "data" / "plans"
OK = [p for p in sorted(SAMPLES.glob("[0-4]*.json")) if not p.name.endswith(".expect.json")]
OF_SHAPE = ["58_missing_action", "62_dependency_items_wrong", "63_parameters_not_an_object", "66_step_not_an_object",
            "68_empty_plan", "73_many_errors"]  # fmt: skip
ACTIONS = {
    "search": ActionSignature(["query"], ["query", "limit"], schema={
        "type": "object", "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
    }),
    "reply": ActionSignature(),
}  # fmt: skip
STEP = {"id": 2, "action": "a"}
TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
    "null": type(None),
}  # fmt: skip


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """The part of JSON Schema that our schemas use."""
    unknown = schema.keys() - {
        "$schema", "title", "description", "$defs", "$ref", "anyOf", "type", "enum", "const", "pattern", "minimum",
        "maximum", "exclusiveMinimum", "items", "minItems", "properties", "required", "additionalProperties",
    }  # fmt: skip
    assert not unknown
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        return any(fits(value, one, root) for one in schema["anyOf"])
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind in {"integer", "number"})):
        return False
    if ("enum" in schema and value not in schema["enum"]) or ("const" in schema and value != schema["const"]):
        return False
    return fits_inside(value, schema, root)


def fits_inside(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, int | float):
        above = schema.get("exclusiveMinimum", -math.inf)
        return schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf) and value > above
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(fits(i, schema.get("items", {}), root) for i in value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        closed = schema.get("additionalProperties") is False and value.keys() - properties.keys()
        known = all(fits(item, properties[key], root) for key, item in value.items() if key in properties)
        return known and not closed and set(schema.get("required", ())) <= value.keys()
    return True


@pytest.mark.parametrize("path", OK, ids=lambda path: path.stem)
def test_every_good_sample_fits(path: Path) -> None:
    schema = plan_schema()

    assert fits(json.loads(path.read_text()), schema, schema)


@pytest.mark.parametrize("name", OF_SHAPE)
def test_a_sample_of_the_wrong_shape_does_not_fit(name: str) -> None:
    schema = plan_schema()

    assert not fits(json.loads((SAMPLES / f"{name}.json").read_text()), schema, schema)


@pytest.mark.parametrize(
    "policy",
    [
        {"critical": "true"}, {"critical": True}, {"timeout_s": 0}, {"timeout_s": 0.1}, {"max_retries": -1},
        {"max_retries": True}, {"max_retries": 2}, {"retry_backoff_s": -1}, {"retry_backoff_s": 0}, {"join": "some"},
        {"join": "any"}, {"join": 0}, {"join": True}, {"join": 1, "dependencies": [1]}, {"join": 1.5},
        {"approval": True}, {"approval": ""}, {"approval": "OK?"}, {"condition": ""}, {"condition": 1},
        {"condition": False}, {"condition": "$step1.n > 3"}, {"fallback": {}}, {"fallback": {"action": "b"}},
        {"for_each": "x"}, {"for_each": "$step1.x"}, {"for_each": []}, {"for_each": {}}, {"for_each": {"items": []}},
        {"for_each": {"items": "x"}}, {"for_each": {"items": "$step1", "max_parallel": 2, "on_failure": "continue"}},
        {"for_each": {"items": [], "on_failure": "stop"}}, {"for_each": {"items": [], "max_items": 0}},
        {"for_each": {"items": [], "other": 1}}, {"plan": [{"id": 3, "action": "a"}]}, {"budget": {"tokens": 5}},
        {"compensate": "b"}, {"idempotency_key": 5}, {"idempotency_key": "k"}, {"parameters": []}, {"id": True},
        {"id": -1}, {"id": 1.5}, {"action": " "}, {"dependencies": [True]}, {"dependencies": 1}, {"reasoning": "r"},
        {"reasoning": 5}, {"reasoning": ["r"]}, {"expected_output": {}}, {"max_retries": 2**63}, {"critical": None},
        {"parameters": None}, {"dependencies": None}, {"dependencies": [None]}, {"for_each": None}, {"fallback": None},
        {"fallback": {"action": None}}, {"fallback": {"action": "b", "parameters": None}}, {"join": None},
        {"for_each": {"items": [], "max_items": None}}, {"for_each": {"items": None}}, {"id": None}, {"action": None},
        {"timeout_s": None, "condition": None, "approval": None, "idempotency_key": None, "budget": None},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_the_schema_and_the_parser_agree_on_every_field(policy: dict[str, Any]) -> None:
    plan = [{"id": 1, "action": "a"}, {"id": 2, "action": "a", **policy}]
    schema = plan_schema()
    try:
        parse_plan(plan)
    except PlanError:
        assert not fits(plan, schema, schema)
    else:
        assert fits(plan, schema, schema)


def test_the_schema_knows_every_field_of_a_step() -> None:
    schema: Any = plan_schema()
    compiled = {"inputs", "templates", "guard", "inside_lenient"}

    for kind in ("action_step", "plan_step"):
        assert schema["$defs"][kind]["properties"].keys() == {f.name for f in attrs.fields(Step)} - compiled


@pytest.mark.parametrize(
    "entry",
    [
        {"plan": [STEP]}, {"plan": {"steps": [STEP]}}, {"plan": {"steps": [STEP], "output": {"x": "$step2"}}},
        {"plan": [STEP], "budget": {"tokens": 5, "cost": 0.5}}, {"plan": {"steps": [STEP], "budget": {"seconds": 1}}},
        {"plan": [STEP], "for_each": ["x"], "condition": "1 == 1", "critical": True},
        {"plan": [STEP], "action": "plan"},
        {"plan": [STEP], "parameters": {}}, {"plan": {"steps": [{"id": 2, "plan": [{"id": 3, "action": "a"}]}]}},
        {"plan": []}, {"plan": {}}, {"plan": {"steps": []}}, {"plan": "x"}, {"plan": [{"id": 2}]}, {"plan": ["x"]}, {},
        {"plan": [STEP], "action": "a"}, {"plan": [STEP], "parameters": {"x": 1}}, {"action": "a", "budget": {}},
        {"plan": [STEP], "budget": {"tokens": 0}}, {"plan": [STEP], "budget": {"money": 1}},
        {"plan": [STEP], "budget": 5}, {"plan": [STEP], "budget": None}, {"plan": [STEP], "budget": {"tokens": None}},
        {"plan": {"steps": [STEP], "output": None, "goal": None}}, {"plan": {"steps": None}},
        {"plan": {"steps": [STEP], "goal": 5}},
        {"plan": [{"id": 2, "plan": [{"id": 3}]}]},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_the_schema_and_the_parser_agree_on_plans_in_plans(entry: dict[str, Any]) -> None:
    plan = [{"id": 1, **entry}]
    schema = plan_schema()
    try:
        parse_plan(plan)
    except PlanError:
        assert not fits(plan, schema, schema)
    else:
        assert fits(plan, schema, schema)


@pytest.mark.parametrize(
    "budget",
    [{}, None, {"tokens": 1, "model_calls": 2}, {"cost": None}, {"cost": "x"}, {"steps": 1.5}, [], {"step": 1}],
)
def test_the_schema_and_the_parser_agree_on_the_budget_of_a_plan(budget: Any) -> None:
    plan = {"steps": [STEP], "budget": budget}
    schema = plan_schema()
    try:
        parse_plan(plan)
    except PlanError:
        assert not fits(plan, schema, schema)
    else:
        assert fits(plan, schema, schema)


@pytest.mark.parametrize(
    ("call", "good"),
    [
        ({"action": "search", "parameters": {"query": "x"}}, True),
        ({"action": "search", "parameters": {"query": "$step0.q", "limit": 3}}, True),
        ({"action": "search", "parameters": {"query": "x", "limit": "$step0.n"}}, True),
        ({"action": "reply", "parameters": {"anything": [1]}}, True),
        ({"action": "search", "parameters": {"query": "x", "limit": "three"}}, False),
        ({"action": "search", "parameters": {"limit": 3}}, False),
        ({"action": "search", "parameters": {"query": "x", "other": 1}}, False),
        ({"action": "delete", "parameters": {}}, False),
        ({"action": "reply", "parameters": {}, "critical": True}, False),
        ({"action": "reply"}, False),
    ],
)
def test_a_schema_for_given_actions_holds_a_model_to_them(call: dict[str, Any], good: bool) -> None:
    schema = plan_schema(ACTIONS)
    plan = {"reasoning": "r", "steps": [{"id": 1, "dependencies": [], **call}]}

    assert fits(plan, schema, schema) is good
    assert not fits(plan["steps"], schema, schema)  # a model gives one object
    if good:
        fitting: list[Any] = [{"id": 0, "action": "reply"}, *plan["steps"]]
        assert parse_plan(fitting, catalogue=ACTIONS)


def test_a_schema_is_the_callers_to_change() -> None:
    schema: Any = plan_schema()
    schema["$defs"]["action_step"]["properties"]["id"]["type"] = "string"
    schema["$defs"]["call"]["properties"]["action"]["pattern"] = "x"

    assert plan_schema() != schema
    again: Any = plan_schema()
    assert again["$defs"]["action_step"]["properties"]["id"]["type"] == "integer"
    assert json.loads(json.dumps(again)) == again
