"""The one place where traffic to models touches an HTTP library.

It is httpx2, the maintained continuation of httpx that the openai SDK is built on. Plain httpx 0.28 loses its pool
for ever in a storm of cancellations (all slots stuck in CONNECTING), and Trouper cancels by design.

One pooled client serves every model of a troupe. The SSL context is made once a process: loading the system's CA
store costs about 40 ms of CPU, more than a request. Errors leave as `LLMError` kinds; the body of an answer whose
status is not 200 is read here, bounded, so that nothing further up can be fed without end.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from trouper.runtime import BadRequest, BadResponse, LLMError, ModelUnavailable, Seconds

from .wire_errors import DOCTOR, Asked, bad_response, status_error

if TYPE_CHECKING:
    import httpx2

MAX_BODY = 32 << 20
"""Bytes of an answer that are read at most."""

MAX_ERROR_BODY = 64 << 10
"""Bytes of an error report that are read at most."""

CLEAN_UP: Seconds = 2.0
"""How long closing one answer may take."""


def _at_least_one(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} must be a whole number of at least 1, not {value!r}")


def _whole(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{attribute.name} must be a whole number that is not negative, not {value!r}")


def _not_negative(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{attribute.name} must be a number that is not negative, not {value!r}")


@attrs.frozen(kw_only=True)
class ConnectionPooling:
    """How connections to model servers are kept.

    Args:
        enabled: False: every request opens a connection of its own and closes it.
        max_connections: Most connections open at once; further requests wait, under their own deadline.
        max_keepalive: Most idle connections that are kept.
        keepalive_expiry: Seconds after which an idle connection is closed.
    """

    enabled: bool = True
    max_connections: int = attrs.field(default=100, validator=_at_least_one)
    max_keepalive: int = attrs.field(default=50, validator=_whole)
    keepalive_expiry: Seconds = attrs.field(default=30.0, validator=_not_negative)


class StatusAnswered(Exception):
    """The server answered with another status than 200; raised from inside the client, bounded body and all."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class HttpPool:
    """Connections to model servers, shared by all models of a troupe. Importing and creating it costs nothing.

    Give it to `OpenAIModel` and `OpenAIEmbedder`, and close it after them.
    """

    def __init__(
        self,
        pooling: ConnectionPooling | None = None,
        *,
        connect_timeout: Seconds = 10.0,
        write_timeout: Seconds = 30.0,
    ) -> None:
        self.pooling: ConnectionPooling = pooling if pooling is not None else ConnectionPooling()
        self._connect_timeout = connect_timeout
        self._write_timeout = write_timeout
        self._clients: dict[bool, httpx2.AsyncClient] = {}
        self._closed = False

    def client(self, base_url: str) -> httpx2.AsyncClient:
        """The client for `base_url`: one for all TLS servers, one for all plain ones, made when first needed.

        Raises:
            ModelUnavailable: the pool is closed.
        """
        if self._closed:
            raise ModelUnavailable("the connections to the model server are closed: the troupe has ended")
        tls = base_url.lower().startswith("https:")
        if tls not in self._clients:
            self._clients[tls] = self._make(tls)
        return self._clients[tls]

    def _make(self, tls: bool) -> httpx2.AsyncClient:
        import httpx2

        pooling = self.pooling
        return httpx2.AsyncClient(
            verify=ca_store() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # the latter trusts nobody
            limits=httpx2.Limits(
                max_connections=pooling.max_connections,
                max_keepalive_connections=pooling.max_keepalive if pooling.enabled else 0,
                keepalive_expiry=pooling.keepalive_expiry,
            ),
            # No read timeout: a model may think for minutes before the first byte, and a per-read timeout does
            # not stop a server that drips. The caller's total deadline does both.
            timeout=httpx2.Timeout(connect=self._connect_timeout, write=self._write_timeout, read=None, pool=None),
            # A short answer gains nothing by compression; a hostile one could unfold to a thousand times its size.
            headers={"accept-encoding": "identity"},
            # A proxy from the environment is not for this machine's own servers.
            mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
            event_hooks={"response": [_raise_status]},
        )

    async def aclose(self) -> None:
        """Close all connections. Idempotent. Cancelled: they are closed all the same."""
        self._closed = True
        clients, self._clients = self._clients, {}
        for client in clients.values():
            with trio.move_on_after(CLEAN_UP, shield=True):
                await client.aclose()
        await trio.lowlevel.checkpoint()


@functools.cache
def ca_store() -> ssl.SSLContext:
    """The CA certificates of this machine, read once: about 40 ms of CPU each time otherwise."""
    import httpx2

    return httpx2.create_ssl_context()


def response_class() -> type[httpx2.Response]:
    """What to ask the SDK for, so that it hands the answer over unread and unparsed."""
    import httpx2

    return httpx2.Response


async def _raise_status(response: httpx2.Response) -> None:
    """Runs inside the client on each answer, before anybody could read its body without a bound."""
    if response.status_code == 200:
        return
    body = bytearray()
    chunks = response.aiter_raw()
    try:
        async for chunk in chunks:
            body += chunk
            if len(body) >= MAX_ERROR_BODY:
                break
    except Exception as error:  # noqa: BLE001 - the status is the news; the rest of the report is lost
        body += f" (the report broke off: {type(error).__name__})".encode()
    finally:
        await leave(response, chunks)
    raise StatusAnswered(response.status_code, dict(response.headers), bytes(body[:MAX_ERROR_BODY]))


@contextmanager
def wire_faults(asked: Asked) -> Iterator[None]:
    """Whatever the HTTP client raises inside becomes an `LLMError` kind, chained. `Cancelled` passes."""
    try:
        yield
    except LLMError:
        raise
    except StatusAnswered as answer:
        raise status_error(asked, answer.status, answer.headers, answer.body) from None
    except Exception as error:
        raise _fault(asked, error) from error


def _fault(asked: Asked, error: Exception) -> LLMError:
    import httpx2

    cause = _root(error, (httpx2.HTTPError, httpx2.InvalidURL))
    detail = asked.clean(_words(cause))
    if isinstance(cause, httpx2.InvalidURL | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return BadRequest(f"{asked} cannot be asked: {detail}. Check llm.base_url and llm.api_key.")
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return ModelUnavailable(
            f"no connection to {asked}: {detail}. Is it running, and is llm.base_url right? {DOCTOR}"
        )
    if isinstance(cause, httpx2.TransportError | OSError | trio.BrokenResourceError | trio.ClosedResourceError):
        return ModelUnavailable(f"{asked} broke the connection: {detail}. Try again. {DOCTOR}")
    # Whatever is left is the client stumbling over what the server sent (cookies, headers, encodings): ours to
    # type, never to let through.
    return BadResponse(f"{asked} sent what the HTTP client cannot read: {detail}. {DOCTOR}")


def _root(error: BaseException, kinds: tuple[type[Exception], ...]) -> BaseException:
    """The client's own error: the SDK wraps it in one that says "Connection error." and nothing else."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, kinds):
        link = link.__cause__
    return error if link is None else link


def _words(error: BaseException) -> str:
    """The name of `error` and what it says; where it is silent, as with TLS, what lies underneath says."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, BaseExceptionGroup | trio.Cancelled):
        if str(link):
            return f"{type(error).__name__}: {link}"
        link = link.__cause__ or link.__context__  # the client cuts causes (`from None`), contexts stay
    return type(error).__name__


class AnswerBytes(AsyncIterator[bytes]):
    """The body of an answer, piece by piece. `aclose` frees or closes the connection."""

    def __init__(self, response: httpx2.Response, asked: Asked) -> None:
        self.content_type: str = response.headers.get("content-type", "")
        self._response = response
        self._asked = asked
        self._chunks: AsyncGenerator[bytes, None] = response.aiter_raw()
        self.encoding: str = response.headers.get("content-encoding", "identity").strip().lower()

    def __aiter__(self) -> AnswerBytes:
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Cancelled: the connection is closed."""
        if self.encoding not in {"", "identity"}:
            raise bad_response(self._asked, f"it is compressed ({self.encoding}), which was not asked for")
        with wire_faults(self._asked):
            async for chunk in self._chunks:
                return chunk
        raise StopAsyncIteration

    async def read(self, limit: int = MAX_BODY) -> bytes:
        """All of it.

        Raises:
            BadResponse: it is longer than `limit` bytes.
        """
        body = bytearray()
        async for chunk in self:
            body += chunk
            if len(body) > limit:
                raise bad_response(self._asked, f"it is longer than {limit:,} bytes", bytes(body[:1000]))
        return bytes(body)

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end, close it otherwise. Never blocks for long."""
        await leave(self._response, self._chunks)


async def leave(response: httpx2.Response, chunks: AsyncGenerator[bytes, None]) -> None:
    """Close an answer wherever its reading stands, also when cancelled.

    The client's body generators are nested, and closing the outer one leaves the inner ones to the garbage
    collector, which warns about each. So the connection is closed first, and then they are run to the end that
    this brings them to: at most what was already received, then the error of a closed socket.
    """
    with trio.move_on_after(CLEAN_UP, shield=True):
        await response.aclose()
        try:
            async for _ in chunks:
                pass
        except Exception:  # noqa: BLE001 - it says that the connection is closed, which is what was wanted
            return
