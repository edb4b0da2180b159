"""The ways a request can take: our own pool of sockets, a proxy, or a client that the caller brought."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol

import httpcore2
import httpx2
import trio

from trouper.runtime import BadRequest, ModelUnavailable

from .http_network import Network
from .http_pooling import ClientKey
from .http_trust import trust_of


@functools.lru_cache(maxsize=16)
def ca_store(ca_file: str | None = None) -> ssl.SSLContext:
    """The certificates that are trusted, read once a process: about 40 ms of CPU each time otherwise.

    Those of this machine; or, with `ca_file`, those in that file and no others.

    Raises:
        OSError: the file cannot be read, or has no certificates.
    """
    if ca_file is None:
        return httpx2.create_ssl_context()
    return trust_of(ca_file)


@functools.cache
def _nobody() -> ssl.SSLContext:
    """A context that trusts nobody, for connections without TLS: the client wants one, and this costs nothing."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def context_of(key: ClientKey) -> ssl.SSLContext:
    """Whom a client of this configuration trusts.

    Raises:
        BadRequest: its file has no certificates.
    """
    if key.scheme != "https":
        return _nobody()
    try:
        return ca_store(key.ca_file)
    except OSError as error:
        raise BadRequest(f"llm.ca_file: {key.ca_file!r} has no certificates that can be read ({error})") from error


class Pooled(httpx2.AsyncBaseTransport):
    """Our own pool of sockets to one server."""

    def __init__(self, pool: httpcore2.AsyncConnectionPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` and wait for the head of the answer."""
        url = request.url
        sent = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            answer = await self._pool.handle_async_request(sent)
        except Exception as error:
            ours = translated(error)
            if ours is error:
                raise  # never from itself: whoever follows the causes would go round in a circle
            raise ours from error
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_Pieces(answer.stream),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


def way_of(key: ClientKey, network: Network) -> httpx2.AsyncBaseTransport:
    """A pool for `key` whose sockets `network` opens, through a proxy if it names one.

    Raises:
        BadRequest: `ca_file` has no certificates.
        ModelUnavailable: the environment names a proxy that cannot be used.
    """
    if key.proxy is None:
        return Pooled(
            httpcore2.AsyncConnectionPool(
                ssl_context=context_of(key),
                max_connections=key.pooling.max_connections,
                max_keepalive_connections=_kept(key),
                keepalive_expiry=key.pooling.keepalive_expiry,
                http2=key.http2,
                uds=key.uds,
                network_backend=network,
            )
        )
    try:
        return _proxied(key, httpx2.Proxy(key.proxy), network)
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        raise ModelUnavailable(
            f"the proxy that the environment names for {key.origin} cannot be used: {error}. Correct HTTPS_PROXY, or "
            "put the host into NO_PROXY."
        ) from error


def _proxied(key: ClientKey, proxy: httpx2.Proxy, network: Network) -> httpx2.AsyncBaseTransport:
    url = proxy.url
    address = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    if url.scheme.startswith("socks"):
        import_module("socksio")  # httpcore2 says only much later, and in other words, that it is not there
        return Pooled(
            httpcore2.AsyncSOCKSProxy(
                proxy_url=address,
                proxy_auth=proxy.raw_auth,
                ssl_context=context_of(key),
                max_connections=key.pooling.max_connections,
                max_keepalive_connections=_kept(key),
                keepalive_expiry=key.pooling.keepalive_expiry,
                http2=key.http2,
                network_backend=network,
            )
        )
    return Pooled(
        httpcore2.AsyncHTTPProxy(
            proxy_url=address,
            proxy_auth=proxy.raw_auth,
            proxy_ssl_context=ca_store() if url.scheme == "https" else None,
            ssl_context=context_of(key),
            max_connections=key.pooling.max_connections,
            max_keepalive_connections=_kept(key),
            keepalive_expiry=key.pooling.keepalive_expiry,
            http2=key.http2,
            network_backend=network,
        )
    )


def _kept(key: ClientKey) -> int:
    return key.pooling.max_keepalive if key.pooling.enabled else 0


class CallersClient(Protocol):
    """What is used of a client that a caller brings: an `AsyncClient` of httpx2, or of httpx."""

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: AsyncIterable[bytes],
        headers: list[tuple[bytes, bytes]],
        extensions: dict[str, Any],
    ) -> Any:
        """A request with the client's own headers and settings."""
        ...

    async def send(self, request: Any, *, stream: bool, follow_redirects: bool) -> Any:
        """Send it."""
        ...

    async def aclose(self) -> None:
        """Close it."""
        ...


class Through(httpx2.AsyncBaseTransport):
    """Requests through a client that the caller brought; its own authentication, proxies and certificates count."""

    def __init__(self, client: CallersClient, *, owned: bool) -> None:
        self._client = client
        self._owned = owned

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` through it. Errors are the client's own."""
        stream = request.stream
        if not isinstance(stream, httpx2.AsyncByteStream):
            raise TypeError(f"a request's body has to be readable asynchronously, not a {type(stream).__name__}")
        theirs = self._client.build_request(
            request.method,
            str(request.url),
            headers=request.headers.raw,
            content=stream,
            extensions=request.extensions,
        )
        try:
            answer = await self._client.send(theirs, stream=True, follow_redirects=False)
        except Exception as error:
            ours = translated(error)
            if ours is error:
                raise  # never from itself: whoever follows the causes would go round in a circle
            raise ours from error
        return httpx2.Response(
            answer.status_code,
            headers=answer.headers.raw,
            stream=_Pieces(answer.stream, nested=True),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close it, if it was made for us."""
        if self._owned:
            await self._client.aclose()
        else:
            await trio.lowlevel.checkpoint()


class _Pieces(httpx2.AsyncByteStream):
    """A body of any of the libraries as one of httpx2, read once."""

    __slots__ = ("_body", "_nested", "_pieces")

    def __init__(self, body: Any, *, nested: bool = False) -> None:
        self._body = body
        self._pieces: Any = None
        self._nested = nested

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._pieces is None:
            self._pieces = self._body.__aiter__()
        return self

    async def __anext__(self) -> bytes:
        try:
            piece: bytes = await self._pieces.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as error:
            ours = translated(error)
            if ours is error:
                raise  # never from itself: whoever follows the causes would go round in a circle
            raise ours from error
        return piece

    async def aclose(self) -> None:
        """Close the body wherever its reading stands, and whoever reads it."""
        not_again(self._body)
        await self._body.aclose()
        pieces, self._pieces = self._pieces, None
        if pieces is None:
            return
        if self._nested:
            # The generators of plain httpx do not close the ones inside them; so they are run to their end, which
            # is near: the connection is closed.
            with suppress(Exception):
                async for _ in pieces:
                    pass
        elif isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


_INNER = ("_stream", "_httpcore_stream", "_connection")
"""Under these names the libraries keep what lies under the body of an answer, down to its connection."""


def not_again(body: object) -> None:
    """See to it that the connection is used no more if the server has sent more than the answer that `body` is of.

    A second answer to one question lies in the parser then, and would be taken for the answer to the next question on
    that connection, which the server would never have seen. httpcore2 looks only at the socket, which has been read.
    Its parser is reached through private names: nothing public tells, and a test fails if they change.
    """
    link: Any = body
    while link is not None:
        parser = getattr(link, "_h11_state", None)
        if parser is not None:
            if parser.trailing_data[0]:
                link._keepalive_expiry = -1.0  # its pool closes it as soon as it is idle
            return
        link = next((inner for name in _INNER if (inner := getattr(link, name, None)) is not None), None)


def translated(error: Exception) -> Exception:
    """`error` of httpcore2 or httpx as the one of httpx2 that has its name; any other as it is."""
    for kind in type(error).__mro__:
        ours = getattr(httpx2, kind.__name__, None)
        if isinstance(ours, type) and issubclass(ours, httpx2.TransportError) and not isinstance(error, ours):
            return ours(str(error))
    return error
