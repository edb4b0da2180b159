"""One OpenAI-compatible server, asked over the shared pool: directly, or through a client of the openai SDK.

The direct path builds the request itself: an address, six headers, JSON. It needs neither the SDK's typed layer
(transforms, pydantic), nor its request machinery, nor its import (half a second of CPU), and takes about a third of
the CPU of a plain SDK call. `tests/benchmarks/door.py` measures both.

Whoever needs what the SDK knows (Azure's addresses, rotating credentials, headers of an organisation) hands in an
`AsyncOpenAI` of their own. Its addresses, headers and credentials then count; its connections and its retries do
not, which neither the limiter nor the deadline would see.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trouper._version import __version__
from trouper.runtime import AuthFailed, BadRequest

from .http_answer import AnswerBytes, raise_status, response_class
from .http_faults import wire_faults
from .http_pooling import ConnectionPooling
from .http_seam import HttpPool
from .wire_errors import Asked, shown_by

if TYPE_CHECKING:
    import httpx2
    import openai

    from .http_watchdog import Watched

OPENAI_URL = "https://api.openai.com/v1"


class OpenAIEndpoint:
    """A server, a key and the pool to reach it through.

    Args:
        base_url: The API's address, usually ending in `/v1`.
        api_key: None for a server that wants none; it is never read from the environment here.
        pool: Connections shared with others; without it the endpoint makes a pool and closes it itself.
        sdk: Ask through this client of the SDK, whose address and credentials count instead of the two above.

    Raises:
        AuthFailed: the key has a character that no header can carry.
        TypeError: `sdk` is none that can be awaited.
    """

    def __init__(
        self,
        *,
        base_url: str = OPENAI_URL,
        api_key: str | None = None,
        pool: HttpPool | None = None,
        sdk: openai.AsyncOpenAI | None = None,
    ) -> None:
        if sdk is not None and not inspect.iscoroutinefunction(getattr(sdk, "post", None)):
            raise TypeError(f"sdk= takes an AsyncOpenAI of the openai SDK, not a {type(sdk).__name__}")
        self.base_url: str = (str(sdk.base_url) if sdk is not None else base_url).rstrip("/")
        self._key = _checked_key(api_key if sdk is None else sdk.api_key)
        self._own_pool = pool is None
        self._pool = pool if pool is not None else HttpPool(ConnectionPooling())
        self._sdk = _Sdk(sdk, self.base_url, self._pool) if sdk is not None else None
        self._heads: dict[str, tuple[httpx2.URL, httpx2.Headers]] = {}
        self._secrets = shown_by(self._key, *_told_of(self.base_url))

    @property
    def identity(self) -> str:
        """Where it is and by which key it is asked, as a hash: nothing can be read from it."""
        return hashlib.blake2b(f"{self.base_url}\n{self._key}".encode(), digest_size=16).hexdigest()

    def asked(self, path: str, model: str = "") -> Asked:
        """Whom a request to `path` goes to, for messages."""
        return Asked(f"{self.base_url}{path}", model, self._secrets)

    def load(self, asked: Asked) -> None:
        """Import the HTTP library if that has not been done: before a call's time begins to count, not out of it.

        Raises:
            LLMError: the connections are closed, or the address is none.
        """
        with wire_faults(asked):
            self._connected()

    async def warm_up(self, connections: int) -> int:
        """Open so many connections beforehand: see `HttpPool.warm_up`."""
        return await self._pool.warm_up(self.base_url, connections)

    async def post(self, path: str, body: Mapping[str, object], asked: Asked) -> AnswerBytes:
        """Send `body` as JSON and wait for the headers of the answer, which the caller closes (`aclosing`).

        Closing it before it was read to its end closes the connection. Cancelled: the connection is closed.

        Raises:
            LLMError: some kind of it, when there is no answer with status 200.
        """
        try:
            content = json.dumps(body, default=dict, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise BadRequest(f"{asked} was not asked: the request is no JSON ({error})") from error
        return await self._send("POST", path, content, asked)

    async def get(self, path: str, asked: Asked) -> AnswerBytes:
        """The same without a body."""
        return await self._send("GET", path, b"", asked)

    async def _send(self, method: str, path: str, content: bytes, asked: Asked) -> AnswerBytes:
        with wire_faults(asked):
            if self._sdk is not None:
                return AnswerBytes(await self._sdk.send(method, path, content), asked)
            response = await self._connected().handle_async_request(self._request(method, path, content))
            if response.status_code != 200:
                await raise_status(response)
            return AnswerBytes(response, asked)

    def _connected(self) -> Watched:
        return self._pool.transport(self.base_url)

    def _request(self, method: str, path: str, content: bytes) -> httpx2.Request:
        import httpx2

        head = self._heads.get(path)
        if head is None:
            url = httpx2.URL(f"{self.base_url}{path}")
            head = self._heads[path] = (url, self._headers(url))
        url, headers = head
        headers = httpx2.Headers(headers)
        headers["content-length"] = str(len(content))
        return httpx2.Request(
            method,
            url,
            headers=headers,
            stream=httpx2.ByteStream(content),
            extensions={"timeout": self._pool.timeouts},
        )

    def _headers(self, url: httpx2.URL) -> httpx2.Headers:
        import httpx2

        headers = {
            "host": url.netloc.decode("ascii"),
            "accept": "application/json, text/event-stream",
            # A short answer gains nothing by compression; a hostile one could unfold to a thousand times its size.
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": f"trouper/{__version__}",
        }
        if url.userinfo:
            headers["authorization"] = f"Basic {_basic(url.userinfo)}"
        elif self._key:
            headers["authorization"] = f"Bearer {self._key}"
        headers["content-length"] = "0"  # each request says its own
        return httpx2.Headers(headers, encoding="ascii")

    async def aclose(self) -> None:
        """Close the connections if they are its own. Idempotent."""
        if self._own_pool:
            await self._pool.aclose()


class _Sdk:
    """The SDK's own path, over our connections."""

    def __init__(self, sdk: openai.AsyncOpenAI, base_url: str, pool: HttpPool) -> None:
        self._given = sdk
        self._base_url = base_url
        self._pool = pool
        self._ours: openai.AsyncOpenAI | None = None

    async def send(self, method: str, path: str, content: bytes) -> httpx2.Response:
        client = self._pool.client(self._base_url)  # raises if it is closed
        if self._ours is None or self._ours._client is not client:
            self._ours = self._given.with_options(http_client=client, max_retries=0, timeout=client.timeout)
            # The SDK looks the platform up in a thread before its first request. No thread under a virtual
            # clock, and nobody's business: say that we do not tell.
            self._ours._platform = "Unknown"
        # `cast_to` decides what is given back; the SDK's types know only of `stream`.
        told: Any = {"cast_to": response_class(), "stream": True, "stream_cls": None}
        if method == "GET":
            response: Any = await self._ours.get(path, **told)
        else:
            # As an object, not as bytes: Azure's client reads the model out of it.
            response = await self._ours.post(path, body=json.loads(content), **told)
        if not isinstance(response, response_class()):
            raise TypeError(f"the SDK gave a {type(response).__name__}")
        return response


def _basic(userinfo: str | bytes) -> str:
    """User and password of an address, as the header of basic authentication has them."""
    return base64.b64encode(urllib.parse.unquote_to_bytes(userinfo)).decode()


def _told_of(base_url: str) -> tuple[str, ...]:
    """What of the user and the password in an address no message may show, if it has any."""
    userinfo, at, _ = base_url.partition("://")[2].partition("/")[0].rpartition("@")  # one that is none is told later
    password = userinfo.partition(":")[2]
    return (password, urllib.parse.unquote(password), _basic(userinfo)) if at else ()


def _checked_key(api_key: str | None) -> str:
    key = (api_key or "").strip()
    for i, character in enumerate(key):
        if not "!" <= character <= "~":
            raise AuthFailed(
                f"the API key has a character that no key has (position {i + 1} of {len(key)}): check llm.api_key "
                "and OPENAI_API_KEY for a line break or a copied space"
            )
    return key
