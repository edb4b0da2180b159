"""A chat model behind any OpenAI-compatible server: OpenAI's own, a local llama.cpp, vLLM, Ollama, a gateway.

One call is one request: nothing is retried here, so that the limiter and the deadline see every attempt. What the
server turns out not to take (a JSON schema, `stream_options`, `max_tokens` under that name ...) is learned: the
call that taught it fails with a `BadRequest` marked `retryable`, and the next one speaks the smaller dialect. A
schema that may not be sent as `response_format` goes into the prompt in words.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import attrs
import trio

from trouper.actors.protocols import ChatChunk, ChatReply, ChatRequest
from trouper.runtime import BadRequest, LLMError, ModelTimeout, ModelUnavailable, Seconds, ServerLimits

from .http_answer import AnswerBytes
from .http_seam import HttpPool
from .openai_endpoint import OPENAI_URL, OpenAIEndpoint
from .wire_errors import Asked, bad_response
from .wire_openai import parse_object, reply_from
from .wire_request import Dialect, chat_body
from .wire_sse import SseDecoder, SseError
from .wire_stream import ChatAssembler

if TYPE_CHECKING:
    import openai

CHAT = "/chat/completions"

TAIL: Seconds = 5.0
"""How long to wait for usage and `[DONE]` once the model has said that it finished."""

DRAIN: Seconds = 0.25
"""How long the end of a finished stream may take to arrive, so that its connection can be used again."""


class OpenAIModel:
    """Port `ChatModel` over one server.

    Args:
        model: The model to ask where a request names none.
        base_url: The API's address, usually ending in `/v1`.
        api_key: None for a server that wants none; it is never read from the environment here.
        pool: Connections shared with others; without it the model has its own and closes them.
        timeout: Seconds that one call may take in all, streamed or not.
        idle_timeout: Seconds without a byte after which a stream is given up.
        extra_body: Fields that are put into the body of every chat call, over those of the protocol.
        sdk: Ask through this client of the openai SDK (Azure's, or one with credentials that change): its address and
            credentials count instead of `base_url` and `api_key`; its connections and its retries do not.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str = OPENAI_URL,
        api_key: str | None = None,
        pool: HttpPool | None = None,
        timeout: Seconds = 120.0,
        idle_timeout: Seconds = 60.0,
        extra_body: Mapping[str, object] | None = None,
        sdk: openai.AsyncOpenAI | None = None,
    ) -> None:
        self.name: str = model
        self._endpoint = OpenAIEndpoint(base_url=base_url, api_key=api_key, pool=pool, sdk=sdk)
        self._extra_body = dict(extra_body or {})
        self._timeout = timeout
        self._idle_timeout = idle_timeout
        self._dialects: dict[str, Dialect] = {}

    @property
    def identity(self) -> str:
        """A hash of all that decides who answers and what is asked of them: address, key, further fields."""
        told = json.dumps([self._endpoint.identity, self._extra_body], sort_keys=True, default=repr)
        return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask and wait for the whole answer. Cancelled: the connection is closed, nothing is retried.

        Raises:
            LLMError: some kind of it.
        """
        asked, body = self._prepare(request, stream=False)
        with trio.move_on_after(self._timeout), self._learning(request, body):
            async with aclosing(await self._endpoint.post(CHAT, body, asked)) as answer:
                with _limits_told(answer):
                    payload = parse_object(asked, await answer.read(), answer.content_type)
                    return _with_limits(reply_from(asked, payload, _names(request)), answer.limits)
        raise _too_slow(asked, f"no whole answer within {self._timeout:g} s")

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Ask and read the answer as it comes: `async with model.stream(request) as chunks: async for ...`.

        The last chunk carries the reply. Leaving the block early, or being cancelled in it, closes the connection.

        Raises:
            LLMError: some kind of it, on entering or while reading.
        """
        asked, body = self._prepare(request, stream=True)
        deadline = trio.current_time() + self._timeout
        answer: AnswerBytes | None = None
        with trio.move_on_at(deadline), self._learning(request, body):
            answer = await self._endpoint.post(CHAT, body, asked)
        if answer is None:
            raise _too_slow(asked, f"no answer began within {self._timeout:g} s")
        chunks = _Chunks(answer, asked, deadline, self._idle_timeout, _names(request))
        try:
            yield chunks
        finally:
            await chunks.aclose()

    async def models(self) -> tuple[str, ...]:
        """The models the server says it has (`GET /models`), sorted: what `trouper doctor` shows.

        Raises:
            LLMError: some kind of it.
        """
        asked = self._endpoint.asked("/models")
        self._endpoint.load(asked)
        with trio.move_on_after(min(self._timeout, 15.0)):
            async with aclosing(await self._endpoint.get("/models", asked)) as answer:
                payload = parse_object(asked, await answer.read(), answer.content_type)
            entries = payload.get("data")
            if not isinstance(entries, list):
                raise bad_response(asked, "its list of models has no `data`")
            names = (entry.get("id") for entry in entries if isinstance(entry, dict))
            return tuple(sorted(name for name in names if isinstance(name, str)))
        raise _too_slow(asked, "no list of models came")

    async def warm_up(self, connections: int = 1) -> int:
        """Open so many connections before the first call, without a request; gives how many could be opened.

        A server that is not there is no error here. Cancelled: those that were opened are kept.
        """
        return await self._endpoint.warm_up(connections)

    async def aclose(self) -> None:
        """Close the connections, unless they are shared. Idempotent."""
        await self._endpoint.aclose()

    def _prepare(self, request: ChatRequest, *, stream: bool) -> tuple[Asked, dict[str, object]]:
        model = request.model or self.name
        asked = self._endpoint.asked(CHAT, model)
        self._endpoint.load(asked)
        body = chat_body(request, model, self._dialects.get(model, Dialect()), stream=stream)
        return asked, body | self._extra_body

    @contextmanager
    def _learning(self, request: ChatRequest, body: dict[str, object]) -> Iterator[None]:
        """Remember what the server refuses to take, and say that the next try will be different."""
        try:
            yield
        except BadRequest as error:
            model = request.model or self.name
            smaller = self._dialects.get(model, Dialect()).without(error, body)
            if smaller is not None:
                self._dialects[model] = smaller
                error.retryable = True
                error.retry_after = 0.0
                error.add_note("Asked again, the request goes without what the server refused.")
            raise


@contextmanager
def _limits_told(answer: AnswerBytes) -> Iterator[None]:
    """Errors that are found in an answer tell what its headers said of the server's limits."""
    try:
        yield
    except LLMError as error:
        error.limits = answer.limits
        raise


def _with_limits(reply: ChatReply, limits: ServerLimits | None) -> ChatReply:
    return reply if limits is None else attrs.evolve(reply, limits=limits)


def _names(request: ChatRequest) -> frozenset[str]:
    return frozenset(tool.name for tool in request.tools)


def _too_slow(asked: Asked, what: str) -> ModelTimeout:
    return ModelTimeout(
        f"{asked} was too slow: {what}. Raise llm.timeout, ask for a shorter answer, or use a faster model."
    )


class _Chunks(AsyncIterator[ChatChunk]):
    """The chunks of one streamed answer. Ends normally only after the chunk with the reply was given out."""

    def __init__(
        self, answer: AnswerBytes, asked: Asked, deadline: Seconds, idle_timeout: Seconds, tools: frozenset[str]
    ) -> None:
        self._answer = answer
        self._asked = asked
        self._deadline = deadline
        self._idle_timeout = idle_timeout
        self._events = SseDecoder()
        self._tools = tools
        self._assembler = ChatAssembler(asked, tools)
        self._ready: deque[ChatChunk] = deque()
        self._error: Exception | None = None
        self._ended = False

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> ChatChunk:
        """The next chunk. Cancelled: the connection is closed, and the stream cannot be taken up again."""
        if not self._ready:
            await self._fill()
        else:
            await trio.lowlevel.checkpoint()
        if self._ready:
            return self._ready.popleft()
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def _fill(self) -> None:
        """Read until there is a chunk to give, or the stream is over."""
        if self._ended or self._error is not None:
            await trio.lowlevel.checkpoint()
            return
        # A cancelled read has closed the connection, so that the next one finds the end of the stream too early.
        try:
            if "event-stream" in self._answer.content_type.lower():
                await self._read_events()
            else:
                await self._read_plain()
        except Exception as error:  # noqa: BLE001 - kept until the text that came before it was given out
            if isinstance(error, LLMError) and error.limits is None:
                error.limits = self._answer.limits
            self._error, self._ended = error, True

    async def _read_events(self) -> None:
        while not self._ready and not self._ended:
            data = await self._next_bytes()
            try:
                events = self._events.feed(data) if data else []
            except SseError as error:
                if not self._assembler.whole:
                    raise bad_response(self._asked, f"its stream is broken: {error}", data) from error
                data, events = b"", []
            for event in events:
                chunk = self._assembler.feed(event)
                if chunk is not None:
                    self._ready.append(chunk)
            if not data or self._assembler.done:
                self._ended = True
                self._ready.append(ChatChunk(reply=_with_limits(self._assembler.finish(), self._answer.limits)))

    async def _next_bytes(self) -> bytes:
        """The next piece, b"" at the end; after the finish reason nothing that goes wrong matters any more."""
        whole = self._assembler.whole
        patience = TAIL if whole else self._idle_timeout
        try:
            with trio.move_on_at(min(self._deadline, trio.current_time() + patience)):
                return await anext(self._answer, b"")
        except LLMError as error:
            if whole:
                return b""
            if isinstance(error, ModelUnavailable):
                raise self._assembler.truncated("the connection broke") from error
            raise
        if whole:
            return b""
        if trio.current_time() >= self._deadline:
            raise _too_slow(self._asked, "its stream did not end in time")
        raise _too_slow(self._asked, f"nothing came for {patience:g} s in the middle of its stream")

    async def _read_plain(self) -> None:
        """A server that does not stream and says so by its content type: one chunk with everything."""
        with trio.move_on_at(self._deadline):
            payload = parse_object(self._asked, await self._answer.read(), self._answer.content_type)
            reply = _with_limits(reply_from(self._asked, payload, self._tools), self._answer.limits)
            self._ready.extend([ChatChunk(text=reply.text), ChatChunk(reply=reply)])
            self._ended = True
            return
        raise _too_slow(self._asked, "its answer did not end in time")

    async def aclose(self) -> None:
        """Close the answer; after `[DONE]` read the few bytes that end it, so that its connection is used again."""
        if self._assembler.done:
            with trio.move_on_after(DRAIN, shield=True), suppress(LLMError):
                await self._answer.read(limit=4096)
        await self._answer.aclose()


__all__ = ["OpenAIModel"]
