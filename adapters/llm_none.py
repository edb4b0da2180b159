"""The model that is not there: what stands behind the door when none is configured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from trouper.actors.protocols import ChatChunk, ChatReply, ChatRequest
from trouper.runtime import ModelUnavailable


class NoModel:
    """Port `ChatModel`: every call says how to configure one."""

    name = "none"

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Refuse."""
        raise self._unconfigured(request)

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatChunk]]:
        """Refuse."""
        raise self._unconfigured(request)

    async def aclose(self) -> None:
        """Nothing is open."""

    def _unconfigured(self, request: ChatRequest) -> ModelUnavailable:
        error = ModelUnavailable(
            f"the {request.role} wants a model and none is configured: set OPENAI_API_KEY, or `llm.base_url` "
            "for a server of your own"
        )
        error.retryable = False  # it will not be there in a second either
        return error
