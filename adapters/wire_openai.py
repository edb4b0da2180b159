"""The OpenAI chat protocol without the wire: requests to JSON, JSON and stream events to records.

Nothing that a server says is believed before it was looked at: content type, UTF-8, JSON, `choices`, the message,
its refusal, its finish reason. What passes is a `ChatReply`; everything else is an `LLMError`. Pure: no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Never, cast

import attrs

from trouper.actors.protocols import ChatChunk, ChatReply, ChatRequest, Usage
from trouper.runtime import BadRequest, LengthCut, LLMError, Refused, StreamTruncated

from .wire_errors import Asked, bad_response, payload_error, quoted
from .wire_sse import SseEvent

MAX_TEXT = 16 << 20
"""Characters of a streamed answer that are kept."""

_STOPPED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})
_CUT = frozenset({"length", "max_tokens", "model_length"})


# ---------------------------------------------------------------- what we send
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
    except (ValueError, TypeError, KeyError, AttributeError):
        return "", said
    return (param if isinstance(param, str) else ""), (message if isinstance(message, str) else said)


def chat_body(request: ChatRequest, model: str, dialect: Dialect, *, stream: bool) -> dict[str, object]:
    """The JSON of one chat call. A schema goes as `response_format`, or as words where that is not taken."""
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    body: dict[str, object] = {"model": model, "messages": messages}
    if request.schema is not None:
        if dialect.schema:
            body["response_format"] = {"type": "json_schema", "json_schema": _named_schema(request)}
        else:
            messages.append({"role": "system", "content": _schema_in_words(request.schema)})
    if request.max_tokens is not None:
        body[dialect.max_tokens] = request.max_tokens
    if request.temperature is not None and dialect.temperature:
        body["temperature"] = request.temperature
    if request.seed is not None and dialect.seed:
        body["seed"] = request.seed
    if stream:
        body["stream"] = True
        if dialect.stream_usage:
            body["stream_options"] = {"include_usage": True}
    return body


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


# ---------------------------------------------------------------- what comes back
def parse_object(asked: Asked, body: bytes, content_type: str) -> dict[str, object]:
    """The JSON object that a server answered with.

    Raises:
        BadResponse: another content type, not UTF-8, not JSON, not an object.
        LLMError: the object is an error report.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind and not kind.endswith("json"):
        raise bad_response(asked, f"its content type is {kind!r}, not JSON", body)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_response(asked, f"it is not UTF-8 ({error.reason} at byte {error.start})", body) from error
    return load_object(asked, text)


def load_object(asked: Asked, text: str) -> dict[str, object]:
    """`text` as a JSON object; NaN, which is not JSON, is refused like any other mistake."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        what = "it is empty" if not text.strip() else f"it is not JSON ({error})"
        raise bad_response(asked, what, text) from error
    if not isinstance(value, dict):
        raise bad_response(asked, f"it is a JSON {type(value).__name__}, not an object", text)
    if value.get("error"):
        raise payload_error(asked, value["error"])
    return value


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def reply_from(asked: Asked, payload: Mapping[str, object]) -> ChatReply:
    """The reply of a plain, unstreamed answer.

    Raises:
        Refused: the model, or a filter before it, declined.
        LengthCut: the answer was cut at the token limit.
        BadResponse: anything else that is not a whole answer.
    """
    choice = first_choice(asked, payload)
    message = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(message, Mapping):
        raise bad_response(asked, "it has no choices with a message", json.dumps(payload))
    said = _Said(asked, finish_reason=choice.get("finish_reason"), refusal=message.get("refusal"))
    text = text_of(asked, message.get("content"))
    if text is None and not said.refusal and said.finish_reason in _STOPPED:
        raise bad_response(asked, "its message has no content", json.dumps(payload))
    return ChatReply(
        text=said.check(text or ""),
        model=name_of(payload, asked.model),
        finish_reason="stop",
        usage=usage_of(payload.get("usage")),
    )


def first_choice(asked: Asked, payload: Mapping[str, object]) -> Mapping[str, object] | None:
    """The choice with index 0, None where there is no choice at all (stream events may have none)."""
    choices = payload.get("choices")
    if not isinstance(choices, list):
        raise bad_response(asked, "it has no `choices`", json.dumps(payload))
    for choice in choices:
        if not isinstance(choice, Mapping):
            raise bad_response(asked, "one of its `choices` is not an object", json.dumps(payload))
        if choice.get("index", 0) == 0:
            return cast("Mapping[str, object]", choice)
    return None


def text_of(asked: Asked, content: object) -> str | None:
    """The text of a message's content: a string, or a list of text parts; None if it is null."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        if len(parts) == len(content) and all(isinstance(part, str) for part in parts):
            return "".join(cast("list[str]", parts))
    raise bad_response(asked, "the content of its message is not text", json.dumps(content))


def name_of(payload: Mapping[str, object], default: str) -> str:
    """The model that says it answered."""
    name = payload.get("model")
    return name if isinstance(name, str) and name else default


def usage_of(usage: object) -> Usage:
    """Tokens as counted by the server; zero where it said nothing usable."""
    if not isinstance(usage, Mapping):
        return Usage(calls=1)
    details = usage.get("prompt_tokens_details")
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0,
        calls=1,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


@attrs.frozen
class _Said:
    """How an answer ended, checked once it is whole."""

    asked: Asked
    finish_reason: object
    refusal: object

    def check(self, text: str) -> str:
        """`text` if the model finished it; otherwise the error that says why it did not."""
        if isinstance(self.refusal, str) and self.refusal:
            raise self._error(Refused, "declined", self.refusal, "Word the request differently.")
        if self.finish_reason == "content_filter":
            raise self._error(Refused, "was stopped by a content filter", text, "Word the request differently.")
        if self.finish_reason in _CUT:
            raise self._error(LengthCut, "was cut at its token limit", text, "Raise max_tokens, or ask for less.")
        if self.finish_reason not in _STOPPED:
            raise bad_response(self.asked, f"its finish reason is {self.finish_reason!r}", text)
        return text

    def _error(self, kind: type[LLMError], what: str, said: str, advice: str) -> LLMError:
        # `said` is whole here, not the first characters: whoever repairs a cut plan needs all of it.
        said = self.asked.clean(said)
        return kind(f"the answer of {self.asked} {what}: {quoted(said)}. {advice}", status=200, said=said)


# ---------------------------------------------------------------- a stream
class ChatAssembler:
    """Puts a streamed answer together: `feed` events, then `finish`.

    An answer is whole after a finish reason or `[DONE]`, whichever comes first, and only then. Text that comes
    after the finish reason is an error, not a longer answer. An event that is sent twice in the middle cannot be
    told from a model that repeats itself: the protocol numbers nothing.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._size = 0
        self._model = asked.model
        self._usage = Usage(calls=1)
        self._finish_reason: str | None = None
        self.done: bool = False
        """`[DONE]` was read: nothing more will come."""

    @property
    def whole(self) -> bool:
        """Whether the model has said that it finished."""
        return self.done or self._finish_reason is not None

    @property
    def text(self) -> str:
        """What has come so far."""
        return "".join(self._text)

    def feed(self, event: SseEvent) -> ChatChunk | None:
        """Take one event; gives the text it brought, if any.

        Raises:
            LLMError: the event is an error report, or not part of a chat stream.
        """
        if self.done or not event.data.strip():
            return None
        if event.data.strip() == "[DONE]":
            self.done = True
            return None
        payload = load_object(self._asked, event.data)
        if event.name == "error":
            raise payload_error(self._asked, payload)
        self._model = name_of(payload, self._model)
        if payload.get("usage") is not None:
            self._usage = usage_of(payload["usage"])
        choice = first_choice(self._asked, payload)
        return self._take(choice) if choice is not None else None

    def _take(self, choice: Mapping[str, object]) -> ChatChunk | None:
        delta = choice.get("delta")
        if delta is not None and not isinstance(delta, Mapping):
            raise bad_response(self._asked, "a `delta` of its stream is not an object", json.dumps(choice))
        delta = delta or {}
        text = text_of(self._asked, delta.get("content")) or ""
        refusal = delta.get("refusal")
        if text and self._finish_reason is not None:
            raise bad_response(self._asked, "its stream goes on after the finish reason", text)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._finish_reason = reason
        if isinstance(refusal, str) and refusal:
            self._keep(self._refusal, refusal)
        if not text:
            return None
        self._keep(self._text, text)
        return ChatChunk(text=text)

    def _keep(self, where: list[str], text: str) -> None:
        self._size += len(text)
        if self._size > MAX_TEXT:
            raise bad_response(self._asked, f"its stream is longer than {MAX_TEXT:,} characters", text)
        where.append(text)

    def finish(self) -> ChatReply:
        """The whole reply.

        Raises:
            StreamTruncated: the stream ended before the model said that it had finished.
            Refused, LengthCut, BadResponse: as for a plain answer.
        """
        if not self.whole:
            raise self.truncated("it ended")
        ending = _Said(self._asked, self._finish_reason or "stop", "".join(self._refusal))
        return ChatReply(text=ending.check(self.text), model=self._model, finish_reason="stop", usage=self._usage)

    def truncated(self, how: str) -> StreamTruncated:
        """The error for a stream that stops here."""
        said = self._asked.clean(self.text)
        return StreamTruncated(
            f"the stream of {self._asked} broke off: {how} after {len(said):,} characters, before the model said "
            f"that it had finished. It had said {quoted(said)}. Try again.",
            said=said,
        )
