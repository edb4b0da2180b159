"""The answers of the OpenAI chat protocol without the wire: JSON to records. Pure: no I/O.

Nothing that a server says is believed before it was looked at: content type, UTF-8, JSON, `choices`, the message, its
tool calls, its refusal, its finish reason. What passes is a `ChatReply`; everything else is an `LLMError`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Never, cast

import attrs

from trouper.actors.protocols import ChatReply, Usage
from trouper.runtime import LengthCut, LLMError, Refused

from .wire_errors import Asked, bad_response, payload_error, quoted, whole_text
from .wire_tools import calls_of

_STOPPED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})
_CALLS = frozenset({"tool_calls", "tool_use", "function_call"})
_CUT = frozenset({"length", "max_tokens", "model_length"})

MOST_TOKENS = 1_000_000_000
"""In one answer. A larger count is somebody's mistake, and would stop everybody who is limited by it."""


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


def reply_from(asked: Asked, payload: Mapping[str, object], tools: Collection[str] = ()) -> ChatReply:
    """The reply of a plain, unstreamed answer; `tools` are the names that were offered.

    Raises:
        Refused: the model, or a filter before it, declined.
        LengthCut: the answer was cut at the token limit.
        BadResponse: anything else that is not a whole answer.
    """
    choice = first_choice(asked, payload)
    message = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(message, Mapping):
        raise bad_response(asked, "it has no choices with a message", json.dumps(payload))
    ending = Ending(asked, reason_of(asked, choice), refusal_of(asked, message))
    asks = bool(message.get("tool_calls"))
    text = text_of(asked, message.get("content"))
    if text is None and not asks and not ending.refusal and ending.finish_reason in _STOPPED:
        raise bad_response(asked, "its message has no content", json.dumps(payload))
    ending.check(text or "", asks=asks)
    calls = calls_of(asked, message.get("tool_calls"), tools)
    return ChatReply(
        text=whole_text(asked, text or ""),
        model=name_of(payload, asked.model),
        finish_reason="tool_calls" if calls else "stop",
        usage=usage_of(payload.get("usage")),
        tool_calls=calls,
    )


def first_choice(asked: Asked, payload: Mapping[str, object]) -> Mapping[str, object] | None:
    """The choice with index 0, None where there is no choice at all (stream events may have none)."""
    choices = payload.get("choices")
    if not isinstance(choices, list):
        raise bad_response(asked, "it has no `choices`", json.dumps(payload))
    for choice in choices:
        if not isinstance(choice, Mapping):
            raise bad_response(asked, "one of its `choices` is not an object", json.dumps(payload))
        index = choice.get("index", 0)
        if isinstance(index, bool) or not isinstance(index, int):
            raise bad_response(asked, f"one of its `choices` has the index {index!r}", json.dumps(payload))
        if index == 0:
            return cast("Mapping[str, object]", choice)
    return None


def reason_of(asked: Asked, choice: Mapping[str, object]) -> str | None:
    """Why the model stopped; None if it has not, or did not say."""
    reason = choice.get("finish_reason")
    if reason is not None and not isinstance(reason, str):
        raise bad_response(asked, f"its finish reason is {reason!r:.100}", json.dumps(choice))
    return reason or None


def says_whole(reason: str) -> bool:
    """Whether a model that stopped for this reason had finished."""
    return reason in _STOPPED or reason in _CALLS


def refusal_of(asked: Asked, message: Mapping[str, object]) -> str:
    """The words by which the model declines; "" if it does not."""
    refusal = message.get("refusal")
    if refusal and not isinstance(refusal, str):
        raise bad_response(asked, "its refusal is not text", json.dumps(message))
    return refusal if isinstance(refusal, str) else ""


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
    return name.encode("utf-8", "replace").decode() if isinstance(name, str) and name else default


def usage_of(usage: object) -> Usage:
    """Tokens as counted by the server; zero where it said nothing usable, or nothing that can be.

    Cached tokens are part of the prompt's. They are said in four ways: OpenAI's and llama.cpp's details, DeepSeek's
    hits, Anthropic's reads, and a plain `cached_tokens`.
    """
    if not isinstance(usage, Mapping):
        return Usage(calls=1)
    details = usage.get("prompt_tokens_details")
    said = (
        details.get("cached_tokens") if isinstance(details, Mapping) else None,
        usage.get("prompt_cache_hit_tokens"),
        usage.get("cache_read_input_tokens"),
        usage.get("cached_tokens"),
    )
    prompt = _count(usage.get("prompt_tokens"))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=min(prompt, max(map(_count, said))),
        calls=1,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS else 0


@attrs.frozen
class Ending:
    """How an answer ended, checked once it is whole."""

    asked: Asked
    finish_reason: str | None
    refusal: str

    def check(self, text: str, *, asks: bool) -> None:
        """Nothing if the model finished it; otherwise the error that says why it did not. `asks`: for tools.

        An answer that asks for tools ends with `tool_calls`, or with `stop` where one tool was demanded by name.
        """
        if self.refusal:
            raise self._error(Refused, "declined", self.refusal, "Word the request differently.")
        if self.finish_reason == "content_filter":
            raise self._error(Refused, "was stopped by a content filter", text, "Word the request differently.")
        if self.finish_reason in _CUT:
            raise self._error(LengthCut, "was cut at its token limit", text, "Raise max_tokens, or ask for less.")
        if self.finish_reason in _CALLS:
            if not asks:
                raise bad_response(self.asked, f"it ends with {self.finish_reason!r} and has no tool calls", text)
        elif self.finish_reason not in _STOPPED:
            raise bad_response(self.asked, f"its finish reason is {self.finish_reason!r}", text)

    def _error(self, kind: type[LLMError], what: str, said: str, advice: str) -> LLMError:
        # `said` is whole here, not the first characters: whoever repairs a cut plan needs all of it.
        said = self.asked.clean(said)
        return kind(f"the answer of {self.asked} {what}: {quoted(said)}. {advice}", status=200, said=said)
