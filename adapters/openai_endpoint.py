"""One OpenAI-compatible server, asked through the openai SDK's thin path.

The SDK builds the request, its headers and its address; its typed layer (transforms, pydantic) is left out, which
halves the CPU of a call, and so are its retries, which neither the limiter nor the deadline would see. Importing
this costs nothing: the SDK (about 0.5 s) is imported at the first call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trouper.runtime import AuthFailed

from .http_seam import AnswerBytes, ConnectionPooling, HttpPool, response_class, wire_faults
from .wire_errors import Asked

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"


class OpenAIEndpoint:
    """A server, a key and the pool to reach it through. Without `pool` it makes one and closes it itself."""

    def __init__(self, *, base_url: str = OPENAI_URL, api_key: str | None = None, pool: HttpPool | None = None) -> None:
        self.base_url: str = base_url.rstrip("/")
        self._key = _checked_key(api_key)
        self._own_pool = pool is None
        self._pool = pool if pool is not None else HttpPool(ConnectionPooling())
        self._sdk: openai.AsyncOpenAI | None = None

    def asked(self, path: str, model: str = "") -> Asked:
        """Whom a request to `path` goes to, for messages."""
        return Asked(f"{self.base_url}{path}", model, self._key)

    def load(self, asked: Asked) -> None:
        """Import the SDK if that has not been done: before a call's time begins to count, not out of it.

        Raises:
            LLMError: the connections are closed, or the address is none.
        """
        with wire_faults(asked):
            self._connected()

    async def post(self, path: str, body: Mapping[str, object], asked: Asked) -> AnswerBytes:
        """Send `body` as JSON and wait for the headers of the answer, which the caller closes (`aclosing`).

        Closing it before it was read to its end closes the connection. Cancelled: the connection is closed.

        Raises:
            LLMError: some kind of it, when there is no answer with status 200.
        """
        content = json.dumps(
            body, default=dict
        ).encode()  # by us: a request that is not JSON is our mistake, not the server's
        with wire_faults(asked):
            sdk, options = self._connected()
            # `cast_to` decides what is given back; the SDK's types know only of `stream`.
            response: Any = await sdk.post(
                path, cast_to=response_class(), content=content, stream=True, stream_cls=_UNUSED, options=options
            )
            return AnswerBytes(response, asked)

    async def get(self, path: str, asked: Asked) -> AnswerBytes:
        """The same without a body."""
        with wire_faults(asked):
            sdk, options = self._connected()
            response: Any = await sdk.get(
                path, cast_to=response_class(), stream=True, stream_cls=_UNUSED, options=options
            )
            return AnswerBytes(response, asked)

    def _connected(self) -> tuple[openai.AsyncOpenAI, Any]:
        import openai

        client = self._pool.client(self.base_url)  # raises if it is closed
        if self._sdk is None:
            self._sdk = openai.AsyncOpenAI(
                api_key="set for each request",  # else the SDK takes OPENAI_API_KEY, for whatever server this is
                base_url=self.base_url,
                max_retries=0,
                timeout=client.timeout,
                http_client=client,
            )
            self._sdk.organization = self._sdk.project = None  # from the environment, and meant for one server only
            # The SDK looks the platform up in a thread before its first request. No thread under a virtual
            # clock, and nobody's business: say that we do not tell.
            self._sdk._platform = "Unknown"
        return self._sdk, {"headers": {"Authorization": f"Bearer {self._key}" if self._key else openai.Omit()}}

    async def aclose(self) -> None:
        """Close the connections if they are its own. Idempotent."""
        self._sdk = None
        if self._own_pool:
            await self._pool.aclose()


_UNUSED: Any = None
"""The stream class that the SDK would parse with; never reached, because the answer is handed over unread."""


def _checked_key(api_key: str | None) -> str:
    key = (api_key or "").strip()
    for i, character in enumerate(key):
        if not "!" <= character <= "~":
            raise AuthFailed(
                f"the API key has a character that no key has (position {i + 1} of {len(key)}): check llm.api_key "
                "and OPENAI_API_KEY for a line break or a copied space"
            )
    return key
