"""The JSON Schema of plans: for people who write them, and for models whose output is held to a schema."""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

from collections.abc import Mapping

from ._for_each import MAX_ITEMS
from ._plan_catalogue import ActionSignature
from ._plan_data import fresh_copy
from ._plan_fields import MAX_ID
from ._step import SUB_PLAN

Schema = dict[str, object]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Schema = {"type": "string", "pattern": r"\$step[0-9]+"}
_ID: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
_TEXT: Schema = {"type": "string", "pattern": r"\S"}
_IDS: Schema = {"type": "array", "items": _ID, "description": "The ids of the steps that must be done before."}
_AMOUNT: Schema = {"type": "number", "exclusiveMinimum": 0}
_COUNT: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
_GOAL: Schema = {"type": "string"}
_NOTE: Schema = {"description": "A note of the planner; nothing runs because of it."}
_STEP: Schema = {"$ref": "#/$defs/step"}
_STEPS: Schema = {"type": "array", "minItems": 1, "items": _STEP}


def plan_schema(actions: Mapping[str, ActionSignature] | None = None) -> dict[str, object]:
    """A JSON Schema (draft 2020-12) that valid plans fit; a new one each time, the caller's to change.

    Without `actions` it describes whatever `parse_plan` takes in our own spelling, policies and all. With
    them it describes what a model should write: one object, whose steps have only the main keys and call
    only these actions with only their parameters. A schema cannot say that ids are unique or that there is
    no cycle: `parse_plan` remains the judge.
    """
    if actions is None:
        return _own(
            {"$schema": _DIALECT, "title": "Plan", "$defs": _definitions(), "anyOf": [_STEPS, _envelope(goal=_GOAL)]}
        )
    return _own(
        {
            "$schema": _DIALECT,
            "title": "Plan",
            "$defs": {"step": _step_of(actions)},
            "type": "object",
            "properties": {"reasoning": {"type": "string"}, "steps": _STEPS},
            "required": ["steps"],
            "additionalProperties": False,
        }
    )


def _own(schema: Schema) -> Schema:
    """The schema without anything of this module's or of an action's in it."""
    return {key: fresh_copy(value) for key, value in schema.items()}


def _optional(**properties: Schema) -> Schema:
    """Properties that may be left out, and `null` is as good as that."""
    return {name: {"anyOf": [schema, {"type": "null"}]} for name, schema in properties.items()}


def _envelope(*, goal: Schema, **more: Schema) -> Schema:
    """A plan as an object."""
    known = _optional(goal=goal, budget={"$ref": "#/$defs/budget"})
    return {
        "type": "object",
        "properties": {**known, "reasoning": _NOTE, "steps": _STEPS, **more},
        "required": ["steps"],
    }


def _definitions() -> Schema:
    return {
        "step": {"anyOf": [{"$ref": "#/$defs/action_step"}, {"$ref": "#/$defs/plan_step"}]},
        "action_step": _action_step(),
        "plan_step": _plan_step(),
        "call": {
            "type": "object",
            "properties": {"action": _TEXT, **_optional(parameters={"type": "object"})},
            "required": ["action"],
        },
        "budget": {
            "type": "object",
            "description": "What may be spent in all; what is not named has no limit.",
            "properties": _optional(
                tokens=_COUNT, cost=_AMOUNT, seconds=_AMOUNT, steps=_COUNT, tool_calls=_COUNT, model_calls=_COUNT
            ),
            "additionalProperties": False,
        },
    }


def _action_step() -> Schema:
    """A step that calls a tool."""
    return {
        "type": "object",
        "properties": {
            "id": _ID,
            "action": {**_TEXT, "description": "The name of a tool."},
            **_optional(
                parameters={
                    "type": "object",
                    "description": "What the tool gets. $stepN.field in a text stands for a part of step N's result.",
                },
                dependencies=_IDS,
            ),
            **_policies(),
            SUB_PLAN: {"enum": [None]},
            "budget": {"enum": [None]},
        },
        "required": ["id", "action"],
    }


def _plan_step() -> Schema:
    """A step that has a plan of its own."""
    output: Schema = {"description": "The result of the whole; by default that of the last listed step."}
    return {
        "type": "object",
        "properties": {
            "id": _ID,
            SUB_PLAN: {"anyOf": [_STEPS, _envelope(goal=_NOTE, output=output)]},
            **_optional(dependencies=_IDS, budget={"$ref": "#/$defs/budget"}),
            **_policies(),
            "action": {"enum": [SUB_PLAN, None]},
            "parameters": {"enum": [{}, None]},
        },
        "required": ["id", SUB_PLAN],
    }


def _policies() -> Schema:
    call: Schema = {"$ref": "#/$defs/call"}
    items: list[Schema] = [{"type": "array"}, {"type": "string", "pattern": r"^\$(step[0-9]+|item|index)"}]
    each: Schema = {
        "type": "object",
        "properties": {
            "items": {"anyOf": items},
            **_optional(
                max_parallel=_COUNT,
                on_failure={"enum": ["fail", "continue"]},
                max_items={**_COUNT, "description": f"More elements are an error; {MAX_ITEMS} if not given."},
            ),
        },
        "required": ["items"],
        "additionalProperties": False,
    }
    policies = _optional(
        critical={"type": "boolean"},
        timeout_s=_AMOUNT,
        max_retries={"type": "integer", "minimum": 0, "maximum": MAX_ID},
        retry_backoff_s={"type": "number", "minimum": 0},
        fallback=call,
        condition={
            "anyOf": [{"type": "boolean"}, _TEXT],
            "description": "Such as: $step1.count > 3 and not empty($step2.rows)",
        },
        for_each={"anyOf": [*items, each], "description": "$item is the element, $index its place."},
        join={"anyOf": [{"enum": ["all", "any"]}, _COUNT]},
        approval={"anyOf": [{"type": "boolean"}, _TEXT]},
        idempotency_key=_TEXT,
        compensate=call,
    )
    return {**policies, "reasoning": _NOTE, "expected_output": _NOTE}


def _step_of(actions: Mapping[str, ActionSignature]) -> Schema:
    return {"anyOf": [_call_of(name, signature) for name, signature in actions.items()]}


def _call_of(name: str, signature: ActionSignature) -> Schema:
    return {
        "type": "object",
        "properties": {
            "id": _ID,
            "action": {"const": name},
            "parameters": _parameters_of(signature),
            "dependencies": _IDS,
        },
        "required": ["id", "action", "parameters", "dependencies"],
        "additionalProperties": False,
    }


def _parameters_of(signature: ActionSignature) -> Schema:
    described = (signature.schema or {}).get("properties")
    known = described if isinstance(described, Mapping) else {}
    names = dict.fromkeys((*signature.required, *(signature.parameters or ()), *known))
    schema: Schema = {
        "type": "object",
        "properties": {name: _or_reference(known.get(name)) for name in names},
        "required": list(signature.required),
    }
    if signature.parameters is not None:
        schema["additionalProperties"] = False
    return schema


def _or_reference(schema: object) -> Schema:
    """Whatever the type of a parameter, a reference to a value of that type is a text."""
    if not isinstance(schema, Mapping):
        return {}
    own = dict(schema)
    return own if own.get("type") == "string" and "enum" not in own else {"anyOf": [own, _REFERENCE]}
