"""The local model: port `ChatModel` over a server that an actor of ours has in a child process.

What is asked and answered goes through the same adapter as with every other server. What is added: the call waits for
the server where there is none yet, goes to the slot of its role, and a prompt that begins with a long fixed text has
that text computed once and kept on disk.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import attrs

from trouper.actors.protocols import ChatChunk, ChatReply, ChatRequest
from trouper.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Backoff,
    ChildSpec,
    LengthCut,
    ModelUnavailable,
    Ref,
    Restart,
    Seconds,
    Shutdown,
    SupervisorSpec,
    TrouperError,
)

from .llm_openai import OpenAIModel
from .local_server import KeepPrefix, LocalServer, ServerPlace, UseServer
from .local_settings import LocalSettings

WORTH_KEEPING = 400
"""Characters of a first message from which its computation is worth a file."""

CRASHES = 5
"""Ends of the process within `PERIOD` after which there is no further one."""

PERIOD: Seconds = 120.0


class LocalModel:
    """A model in a file. It answers where `child` is in the tree, and says `ModelUnavailable` everywhere else.

    Args:
        settings: The file, and how it is served.
        timeout: Seconds that one call may take, the start of the server not included.
        name: What it is called in logs and routes.
    """

    def __init__(self, settings: LocalSettings, *, timeout: Seconds = 120.0, name: str = "local") -> None:
        self.name: str = name
        self.settings: LocalSettings = settings
        self._timeout = timeout
        self._server: Ref[Actor] | None = None

    def child(self, child_id: str = "local_llm", *, backoff: Backoff | None = None) -> ChildSpec:
        """What belongs into the tree: a supervisor of its own, so that its end is not the troupe's.

        A server that dies too often stays down, and so does nothing else. `backoff` is the wait before another one.
        """

        def make() -> LocalServer:
            return LocalServer(self.settings, self._bind)

        server = ChildSpec(
            id="server",
            start=make,
            # Cancelled at once: nobody asks any more when the tree is taken down, and the process has its own grace.
            shutdown=Shutdown.BRUTAL,
            backoff=backoff if backoff is not None else Backoff(min=0.1, max=10.0),
        )
        tree = SupervisorSpec(intensity=CRASHES, period=PERIOD, children=[server])
        return ChildSpec(id=child_id, start=tree, restart=Restart.TRANSIENT)

    def _bind(self, server: Ref[Actor]) -> None:
        self._server = server

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask and wait for the whole answer. Cancelled: the connection is closed, and the server stops writing.

        Raises:
            LLMError: some kind of it.
        """
        try:
            async with self._place(request) as model:
                reply = await model.complete(attrs.evolve(request, model=""))
        except LengthCut:
            self._keep(request)  # the prompt was computed all the same
            raise
        self._keep(request)
        return reply

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncGenerator[AsyncIterator[ChatChunk], None]:
        """Ask and read the answer as it comes. Leaving the block early stops the server's writing.

        Raises:
            LLMError: some kind of it, on entering or while reading.
        """
        async with self._place(request) as model, model.stream(attrs.evolve(request, model="")) as chunks:
            yield chunks
        self._keep(request)

    async def aclose(self) -> None:
        """Nothing: the process ends with the tree."""

    @asynccontextmanager
    async def _place(self, request: ChatRequest) -> AsyncGenerator[OpenAIModel, None]:
        """A model for one call, at the place that the server's actor gives."""
        if self._server is None:
            raise _down("it is not part of a running troupe")
        prefix = _fixed(request)
        async with AsyncExitStack() as stack:
            try:
                # No deadline of its own: it lasts as long as the call, and that has one.
                places = await stack.enter_async_context(
                    self._server.stream(UseServer(role=request.role, prefix=prefix), timeout=math.inf)
                )
                place = await anext(places)
            except ActorCrashed as error:
                raise ModelUnavailable(f"the local model cannot be asked: {error}") from error
            except ActorStopped as error:
                raise _down("its server has died too often, or the troupe is ending") from error
            yield _model_at(place, self._timeout)

    def _keep(self, request: ChatRequest) -> None:
        """After an answer: have the beginning of its prompt kept. If it cannot be told, the next answer tells it."""
        prefix = _fixed(request)
        if prefix and self._server is not None:
            with suppress(TrouperError):
                self._server.tell_nowait(KeepPrefix(request.role, prefix))


def _model_at(place: ServerPlace, timeout: Seconds) -> OpenAIModel:
    return OpenAIModel(
        model="local",
        base_url=place.base_url,
        api_key=place.key,
        pool=place.pool,
        timeout=timeout,
        extra_body={"cache_prompt": True} | ({} if place.slot is None else {"id_slot": place.slot}),
    )


def _fixed(request: ChatRequest) -> str:
    """The text that a prompt of this kind always begins with, if it is worth keeping."""
    first = request.messages[0] if request.messages else None
    fixed = first is not None and first.role == "system" and len(first.content) >= WORTH_KEEPING
    return first.content if first is not None and fixed and not request.tools else ""


def _down(why: str) -> ModelUnavailable:
    error = ModelUnavailable(f"the local model cannot be asked: {why}.")
    error.retryable = False
    return error
