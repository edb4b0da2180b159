"""The public fake: a chat model that says what a script tells it, in virtual time, and passes the same contract.

```python
model = ScriptedModel(["first answer", Delay(2.0, "late answer"), RateLimited("busy", retry_after=1.0)])
```
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from trouper.actors.protocols import ChatChunk, ChatReply, ChatRequest, Usage
from trouper.actors.tokens import estimate_tokens
from trouper.runtime import BadRequest, BadResponse, LengthCut, Refused, Seconds, StreamTruncated


@attrs.frozen
class Delay:
    """Say `reply` after `seconds` on trio's clock."""

    seconds: Seconds
    reply: Scripted = ""


@attrs.frozen
class BreakOff:
    """Say `text`, then break off: a stream ends without a finish reason, a plain call fails the same way."""

    text: str = ""


@attrs.frozen
class Pieces:
    """Say `pieces`, streamed in exactly these.

    `before` is awaited with the number of each piece before it comes, and with how many there are before the end: so
    that a test can hold the model up in the middle of its answer.
    """

    pieces: Sequence[str]
    before: Callable[[int], Awaitable[None]] | None = attrs.field(default=None, kw_only=True)


Scripted = str | ChatReply | Exception | Delay | BreakOff | Pieces
"""One entry of a script: what to say, what to raise, or either after a while."""

Script = Iterable[Scripted] | Callable[[ChatRequest], "Scripted | Awaitable[Scripted]"]


class ScriptedModel:
    """Port `ChatModel` without a model.

    Args:
        script: The replies in order, or a function (plain or async) of the request. Texts are counted in tokens by
            the house's estimate; a `ChatReply` is given as it is; an exception is raised; a reply whose finish
            reason is `length` or `content_filter` raises what the real adapter raises.
        name: What the replies say they came from.
        chunk: Characters of a streamed piece.
        pace: Seconds before each streamed piece.

    `requests` records what it was asked, `calls_open` how many calls are in progress.
    """

    def __init__(self, script: Script = (), *, name: str = "scripted", chunk: int = 16, pace: Seconds = 0.0) -> None:
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1 character, not {chunk}")
        self.name = name
        self.requests: list[ChatRequest] = []
        self.calls_open = 0
        self.pace = pace
        self._chunk = chunk
        self._function = script if callable(script) else None
        self._entries: Iterator[Scripted] = iter(()) if callable(script) else iter(script)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """The next reply of the script.

        Raises:
            BadRequest: the script has no reply left.
        """
        with self._open(request):
            said = await self._next(request)
            for number in range(len(said.pieces) + 1):
                await said.before(number)
            return self.ended(said)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """The next reply of the script in pieces; the last chunk carries the reply."""
        with self._open(request):
            yield _Chunks(await self._next(request), self)

    async def aclose(self) -> None:
        """Nothing is open. Idempotent."""
        await trio.lowlevel.checkpoint()

    def _open(self, request: ChatRequest) -> _Call:
        self.requests.append(request)
        return _Call(self)

    async def _next(self, request: ChatRequest) -> _Said:
        said = await self._scripted(request)
        while isinstance(said, Delay):
            await trio.sleep(said.seconds)
            said = said.reply
        await trio.lowlevel.checkpoint()
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Pieces):
            reply = self._reply(request, "".join(said.pieces))
            return _Said(reply, tuple(said.pieces), said.before or _at_once)
        reply_or_end = self._reply(request, said) if isinstance(said, str) else said
        return _Said(reply_or_end, tuple(self._cut(reply_or_end.text)))

    async def _scripted(self, request: ChatRequest) -> Scripted:
        if self._function is not None:
            said = self._function(request)
            return await said if inspect.isawaitable(said) else said
        for entry in self._entries:
            return entry
        last = request.messages[-1].content if request.messages else ""
        raise BadRequest(
            f"the script of {self.name!r} has no reply for request {len(self.requests)} "
            f"(role {request.role!r}, last message {last[:80]!r}). Add one to the script."
        )

    def _reply(self, request: ChatRequest, text: str) -> ChatReply:
        prompt = sum(estimate_tokens(message.content) for message in request.messages)
        usage = Usage(prompt_tokens=prompt, completion_tokens=estimate_tokens(text), calls=1)
        return ChatReply(text=text, model=request.model or self.name, usage=usage)

    def broken_off(self, text: str) -> StreamTruncated:
        """The error for an answer of which only `text` came."""
        return StreamTruncated(f"the script of {self.name!r} broke off after {len(text)} characters", said=text)

    def ended(self, said: _Said) -> ChatReply:
        """The reply that `said` ends with; raises what the real adapter raises for one that does not end well."""
        if isinstance(said.end, BreakOff):
            raise self.broken_off(said.end.text)
        return _finished(said.end)

    def _cut(self, text: str) -> Iterator[str]:
        return (text[i : i + self._chunk] for i in range(0, len(text), self._chunk))


async def _at_once(_: int) -> None:
    """Hold nothing up."""


@attrs.frozen
class _Said:
    """What one call is answered with: in which pieces, and how it ends."""

    end: ChatReply | BreakOff
    pieces: tuple[str, ...]
    before: Callable[[int], Awaitable[None]] = _at_once


class _Call:
    """Counts one call while it is in progress, however it ends."""

    def __init__(self, model: ScriptedModel) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._model.calls_open += 1

    def __exit__(self, *_: object) -> None:
        self._model.calls_open -= 1


class _Chunks(AsyncIterator[ChatChunk]):
    def __init__(self, said: _Said, model: ScriptedModel) -> None:
        self._said = said
        self._model = model
        self._given = 0
        self._reading = False
        self._ended = False

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> ChatChunk:
        if self._reading:  # like the real one: what a cancelled read had in hand is lost
            raise self._model.broken_off(self._said.end.text)
        if self._ended:
            await trio.lowlevel.checkpoint()
            raise StopAsyncIteration
        self._reading = True
        await trio.sleep(self._model.pace)
        await self._said.before(self._given)
        self._reading = False
        if self._given < len(self._said.pieces):
            self._given += 1
            return ChatChunk(text=self._said.pieces[self._given - 1])
        reply = self._model.ended(self._said)
        self._ended = True
        return ChatChunk(reply=reply)


def _finished(reply: ChatReply) -> ChatReply:
    """`reply` if it ended as an answer does; otherwise what the real adapter raises for its finish reason."""
    if reply.finish_reason == "stop" or (reply.finish_reason == "tool_calls" and reply.tool_calls):
        return reply
    if reply.finish_reason == "length":
        raise LengthCut(f"the scripted answer was cut at its token limit: {reply.text[:80]!r}", said=reply.text)
    if reply.finish_reason == "content_filter":
        raise Refused(f"the scripted answer was stopped by a content filter: {reply.text[:80]!r}", said=reply.text)
    raise BadResponse(f"the scripted answer has the finish reason {reply.finish_reason!r}", said=reply.text)
