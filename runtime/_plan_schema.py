"""The JSON Schema of plans: for people who write them, and for models whose output is held to a schema."""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

from collections.abc import Mapping

from ._plan_catalogue import ActionSignature
from ._plan_data import fresh_copy
from ._plan_fields import MAX_ID

Schema = dict[str, object]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Schema = {"type": "string", "pattern": r"\$step[0-9]+"}
_ID: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
_TEXT: Schema = {"type": "string", "pattern": r"\S"}
_IDS: Schema = {"type": "array", "items": _ID, "description": "The ids of the steps that must be done before."}


def plan_schema(actions: Mapping[str, ActionSignature] | None = None) -> dict[str, object]:
    """A JSON Schema (draft 2020-12) that valid plans fit; a new one each time, the caller's to change.

    Without `actions` it describes whatever `parse_plan` takes in our own spelling, policies and all. With
    them it describes what a model should write: one object, whose steps have only the main keys and call
    only these actions with only their parameters. A schema cannot say that ids are unique or that there is
    no cycle: `parse_plan` remains the judge.
    """
    step = _any_step() if actions is None else _step_of(actions)
    steps: Schema = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}}
    envelope: Schema = {
        "type": "object",
        "properties": {"goal": {"type": "string"}, "reasoning": {"type": "string"}, "steps": steps},
        "required": ["steps"],
    }
    top = {"$schema": _DIALECT, "title": "Plan", "$defs": {"step": step}}
    if actions is None:
        return _own({**top, "anyOf": [steps, envelope]})
    properties = {"reasoning": {"type": "string"}, "steps": steps}
    return _own({**top, **envelope, "properties": properties, "additionalProperties": False})


def _own(schema: Schema) -> Schema:
    """The schema without anything of this module's or of an action's in it."""
    return {key: fresh_copy(value) for key, value in schema.items()}


def _any_step() -> Schema:
    return {
        "type": "object",
        "properties": {
            "id": _ID,
            "action": {**_TEXT, "description": "The name of a tool."},
            "parameters": {
                "type": "object",
                "description": "What the tool gets. $stepN.field in a text stands for a part of step N's result.",
            },
            "dependencies": _IDS,
            **_policies(),
        },
        "required": ["id", "action"],
    }


def _policies() -> Schema:
    call: Schema = {
        "type": "object",
        "properties": {"action": _TEXT, "parameters": {"type": "object"}},
        "required": ["action"],
    }
    return {
        "critical": {"type": "boolean"},
        "timeout_s": {"type": "number", "exclusiveMinimum": 0},
        "max_retries": {"type": "integer", "minimum": 0},
        "retry_backoff_s": {"type": "number", "minimum": 0},
        "fallback": call,
        "condition": _TEXT,
        "for_each": {"anyOf": [{"type": "array"}, {**_REFERENCE, "pattern": r"^\$step[0-9]+"}]},
        "join": {"enum": ["all", "any"]},
        "approval": {"anyOf": [{"type": "boolean"}, _TEXT]},
        "idempotency_key": _TEXT,
        "compensate": call,
        "reasoning": {"type": "string"},
        "expected_output": {"type": "string"},
    }


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
