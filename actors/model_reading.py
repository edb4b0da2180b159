"""Reading an answer while it is written: its text goes to whoever listens, and into the sink of whoever asked.

A sink is its reader's: when it is full the reading waits, and with it the model. Whoever does not read at all would
keep the connection, and a place among the parallel calls, for ever; so there is a bound on how long a piece may wait.
A sink that is closed is left alone: nobody reads any more, but the answer is still wanted.
"""

from __future__ import annotations

import trio

from trouper.runtime import Context, Seconds, StreamTruncated

from .model_events import ModelText
from .model_messages import Chat, run_of
from .protocols import ChatModel, ChatReply, ChatRequest


class Reader:
    """Reads the answers to one message, over all its attempts."""

    def __init__(self, ctx: Context, message: Chat, patience: Seconds) -> None:
        self._ctx = ctx
        self._sink = message.sink
        self._role = message.request.role
        self._patience = patience
        self.heard: bool = False
        """Text was put into the sink, or given up there: whoever reads it would read it twice after another attempt."""

    async def read(self, model: ChatModel, request: ChatRequest, attempt: int) -> ChatReply:
        """The whole answer, after all of its text was passed on.

        Raises:
            LLMError: the model's, or `StreamTruncated` where the sink was full for too long.
        """
        reply: ChatReply | None = None
        async with model.stream(request) as chunks:
            async for chunk in chunks:
                if chunk.text:
                    await self.take(chunk.text, attempt)
                reply = chunk.reply or reply
        if reply is None:
            raise RuntimeError(f"{model.name!r} ended a stream without a reply, against the port's contract")
        return reply

    async def take(self, text: str, attempt: int) -> None:
        """Pass a piece on."""
        if self._ctx.listening:
            now, ctx = trio.current_time(), self._ctx
            ctx.emit(
                ModelText(
                    at=now,
                    actor=ctx.name,
                    trace=ctx.trace,
                    run_id=run_of(ctx),
                    role=self._role,
                    attempt=attempt,
                    text=text,
                )
            )
        if self._sink is None:
            return
        try:
            taken = await self._sent(self._sink, text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._sink, self.heard = None, False
            return
        self.heard = True
        if taken:
            return
        error = StreamTruncated(
            f"nobody took a piece of the streamed answer for {self._patience:.3g} s, so the call was given up. "
            "Read the channel that was given as sink, or close it."
        )
        error.retryable = False  # it is not the model that failed
        raise error

    async def _sent(self, sink: trio.MemorySendChannel[str], text: str) -> bool:
        """Whether there was room within the patience. The quick way costs no timer; the reading itself yields."""
        try:
            sink.send_nowait(text)
        except trio.WouldBlock:
            with trio.move_on_after(self._patience) as waiting:
                await sink.send(text)
            return not waiting.cancelled_caught
        return True
