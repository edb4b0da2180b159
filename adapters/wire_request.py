"""A chat request as the JSON of the OpenAI protocol, in the dialect that a server was found to take. Pure: no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs

from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.runtime import BadRequest

from .wire_tools import asked_call, offered, tool_choice


@attrs.frozen(kw_only=True)
class Dialect:
    """What a server was found not to take. It starts as the full protocol and only ever shrinks."""

    schema: bool = True
    stream_usage: bool = True
    temperature: bool = True
    seed: bool = True
    max_tokens: str = "max_tokens"

    def without(self, error: BadRequest, sent: Mapping[str, object]) -> Dialect | None:
        """The smaller dialect for a server that answered `error` to the request `sent`; None if none would help.

        Where the server names the parameter (`param`) only that counts: its message may echo the whole request.
        """
        if error.status not in {400, 422}:
            return None
        param, message = _complaint(error.said)
        blamed = (param or message).lower()
        if "response_format" in sent and any(w in blamed for w in ("response_format", "json_schema", "schema")):
            return attrs.evolve(self, schema=False)
        if "stream_options" in sent and "stream_options" in blamed:
            return attrs.evolve(self, stream_usage=False)
        if "max_tokens" in sent and "max_tokens" in blamed + message and "max_completion_tokens" in message:
            return attrs.evolve(self, max_tokens="max_completion_tokens")
        if "temperature" in sent and "temperature" in blamed:
            return attrs.evolve(self, temperature=False)
        if "seed" in sent and "seed" in blamed:
            return attrs.evolve(self, seed=False)
        return None


def _complaint(said: str) -> tuple[str, str]:
    """The parameter that an error report blames ("" if it names none), and its words."""
    try:
        report = json.loads(said)["error"]
        param, message = report.get("param"), report.get("message")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "", said
    return (param if isinstance(param, str) else ""), (message if isinstance(message, str) else said)


def chat_body(request: ChatRequest, model: str, dialect: Dialect, *, stream: bool) -> dict[str, object]:
    """The JSON of one chat call. A schema goes as `response_format`, or as words where that is not taken."""
    messages = [_message(message) for message in request.messages]
    body: dict[str, object] = {"model": model, "messages": messages}
    if request.tools:
        body["tools"] = offered(request.tools)
        if request.tool_choice is not None:
            body["tool_choice"] = tool_choice(request.tool_choice)
    if request.schema is not None:
        if dialect.schema:
            body["response_format"] = {"type": "json_schema", "json_schema": _named_schema(request)}
        else:
            messages.append({"role": "system", "content": _schema_in_words(request.schema)})
    if request.max_tokens is not None:
        body[dialect.max_tokens] = request.max_tokens
    if request.temperature is not None and dialect.temperature:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.stop:
        body["stop"] = list(request.stop)
    if request.seed is not None and dialect.seed:
        body["seed"] = request.seed
    if stream:
        body["stream"] = True
        if dialect.stream_usage:
            body["stream_options"] = {"include_usage": True}
    return body


def _message(message: ChatMessage) -> dict[str, object]:
    told: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        told["tool_calls"] = [asked_call(call) for call in message.tool_calls]
        if not message.content:
            told["content"] = None  # a text that is empty is refused by some servers, a missing one by others
    if message.tool_call_id is not None:
        told["tool_call_id"] = message.tool_call_id
    return told


def _named_schema(request: ChatRequest) -> dict[str, object]:
    return {"name": request.schema_name, "schema": request.schema, "strict": is_strict(request.schema)}


def _schema_in_words(schema: Mapping[str, object]) -> str:
    return (
        "Answer with one JSON value and nothing else: no prose, no code fence. It must match this JSON Schema:\n"
        + json.dumps(schema, separators=(",", ":"), default=dict)
    )


def is_strict(schema: object) -> bool:
    """Whether every object in `schema` names all its properties and allows no others.

    Only such schemas may be sent with `strict: true`; others are sent without, which some servers enforce anyway.
    """
    if isinstance(schema, list | tuple):
        return all(is_strict(part) for part in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties")
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or not isinstance(properties, Mapping):
            return False
        if not isinstance(required, list | tuple) or set(required) != set(properties):
            return False
        return all(is_strict(part) for part in properties.values())
    return all(is_strict(part) for part in schema.values())
