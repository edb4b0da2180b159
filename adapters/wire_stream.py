"""A streamed answer of the OpenAI chat protocol, put together out of its events. Pure: no I/O."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from trouper.actors.protocols import ChatChunk, ChatReply, Usage
from trouper.runtime import LLMError, StreamTruncated

from .wire_errors import Asked, bad_response, payload_error, quoted, whole_text
from .wire_openai import (
    Ending,
    first_choice,
    load_object,
    name_of,
    reason_of,
    refusal_of,
    says_whole,
    text_of,
    usage_of,
)
from .wire_sse import SseEvent
from .wire_tools import CallPieces

MAX_TEXT = 16 << 20
"""Characters of a streamed answer that are kept."""

_FIRST_HALF, _LAST_FIRST_HALF = "\ud800", "\udbff"


class ChatAssembler:
    """Puts a streamed answer together: `feed` events, then `finish`.

    An answer is whole after a finish reason or `[DONE]`, whichever comes first, and only then. Text that comes
    after the finish reason is an error, not a longer answer. An event that is sent twice in the middle cannot be
    told from a model that repeats itself: the protocol numbers nothing.
    """

    def __init__(self, asked: Asked, tools: Collection[str] = ()) -> None:
        self._asked = asked
        self._tools = tools
        self._calls = CallPieces(asked)
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._size = 0
        self._model = asked.model
        self._usage = Usage(calls=1)
        self._half = ""
        self._begun = False
        self._says = False
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
            LLMError: the event is an error report, or not part of a chat stream, and the answer was not whole yet.
        """
        if self.done or not event.data.strip():
            return None
        if event.data.strip() == "[DONE]":
            self.done = True
            return None
        try:
            payload = self._payload(event)
            self._model = name_of(payload, self._model)
            if payload.get("usage") is not None:
                self._usage = usage_of(payload["usage"])
            choice = first_choice(self._asked, payload)
        except LLMError:
            if self.whole:  # noise, or a report on what came behind the answer
                return None
            raise
        return self._take(choice) if choice is not None else None

    def _payload(self, event: SseEvent) -> dict[str, object]:
        payload = load_object(self._asked, event.data)
        if event.name == "error":
            raise payload_error(self._asked, payload)
        return payload

    def _take(self, choice: Mapping[str, object]) -> ChatChunk | None:
        self._begun = True
        delta = choice.get("delta")
        if delta is not None and not isinstance(delta, Mapping):
            raise bad_response(self._asked, "a `delta` of its stream is not an object", json.dumps(choice))
        delta = delta or {}
        self._says |= "content" in delta
        text = self._joined(text_of(self._asked, delta.get("content")) or "")
        refusal = refusal_of(self._asked, delta)
        calls = delta.get("tool_calls")
        if (text or calls) and self._finish_reason is not None:
            raise bad_response(self._asked, "its stream goes on after the finish reason", json.dumps(delta))
        reason = reason_of(self._asked, choice)
        if reason is not None and (self._finish_reason is None or says_whole(self._finish_reason)):
            self._finish_reason = reason  # one that says it was cut is not taken back
        if refusal:
            self._keep(self._refusal, refusal)
        self._grow(self._calls.feed(calls), "its tool calls")
        if not text:
            return None
        self._keep(self._text, text)
        return ChatChunk(text=text)

    def _joined(self, text: str) -> str:
        """`text` without half a character at its end, and with the one that was held back at its beginning.

        JSON spells characters beyond the first 65,536 in two halves, and some servers cut between them.
        """
        text, self._half = self._half + text, ""
        if text and _FIRST_HALF <= text[-1] <= _LAST_FIRST_HALF:
            text, self._half = text[:-1], text[-1]
        return whole_text(self._asked, text)

    def _keep(self, where: list[str], text: str) -> None:
        self._grow(len(text), text)
        where.append(text)

    def _grow(self, size: int, said: str) -> None:
        self._size += size
        if self._size > MAX_TEXT:
            raise bad_response(self._asked, f"its stream is longer than {MAX_TEXT:,} characters", said)

    def finish(self) -> ChatReply:
        """The whole reply.

        Raises:
            StreamTruncated: the stream ended before the model said that it had finished.
            Refused, LengthCut, BadResponse: as for a plain answer.
        """
        if not self.whole or not self._begun:  # `[DONE]` alone is the end of nothing
            raise self.truncated("it ended")
        text = self.text
        Ending(self._asked, self._finish_reason or "stop", "".join(self._refusal)).check(text, asks=self._calls.any)
        if not self._says and not self._calls.any:
            raise bad_response(self._asked, "no `delta` of its stream has a content")
        calls = self._calls.finish(self._tools)
        return ChatReply(
            text=whole_text(self._asked, text + self._half),
            model=self._model,
            finish_reason="tool_calls" if calls else "stop",
            usage=self._usage,
            tool_calls=calls,
        )

    def truncated(self, how: str) -> StreamTruncated:
        """The error for a stream that stops here."""
        said = self._asked.clean(self.text)
        return StreamTruncated(
            f"the stream of {self._asked} broke off: {how} after {len(said):,} characters, before the model said "
            f"that it had finished. It had said {quoted(said)}. Try again.",
            said=said,
        )
