"""What an HTTP client raises, as one of our errors."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

import trio

from trouper.runtime import BadRequest, BadResponse, LLMError, ModelUnavailable

from .wire_errors import DOCTOR, Asked, status_error

MOST_LINKS = 32
"""Causes of an error that are looked at."""

MAX_ERROR_BODY = 64 << 10
"""Bytes of an error report that are read at most."""


class StatusAnswered(Exception):
    """The server answered with another status than 200; raised from inside the client, bounded body and all."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class wire_faults:  # noqa: N801 - used like a function; a class costs a third of a generator, on each read
    """`with wire_faults(asked):` whatever the HTTP client raises inside becomes an `LLMError` kind, chained.

    `Cancelled` passes.
    """

    __slots__ = ("_asked",)

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, LLMError | StopAsyncIteration):
            return
        answer = _root(error, (StatusAnswered, LLMError))
        if isinstance(answer, LLMError):
            raise answer from None  # ours, wrapped by the SDK
        if isinstance(answer, StatusAnswered):
            raise status_error(self._asked, answer.status, answer.headers, answer.body) from None
        raise fault(self._asked, error) from error


def fault(asked: Asked, error: Exception) -> LLMError:
    """The error for what the client raised."""
    import httpx2

    cause = _root(error, (httpx2.HTTPError, httpx2.InvalidURL))
    detail = asked.clean(_words(cause))
    if isinstance(cause, httpx2.InvalidURL | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return BadRequest(f"{asked} cannot be asked: {detail}. Check llm.base_url and llm.api_key.")
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return ModelUnavailable(
            f"no connection to {asked}: {detail}. Is it running, and is llm.base_url right? {DOCTOR}"
        )
    if isinstance(cause, httpx2.PoolTimeout):
        return ModelUnavailable(f"no connection to {asked}: {detail}. Try again. {DOCTOR}")
    if isinstance(cause, httpx2.TransportError | OSError | trio.BrokenResourceError | trio.ClosedResourceError):
        return ModelUnavailable(f"{asked} broke the connection: {detail}. Try again. {DOCTOR}")
    # Whatever is left is the client stumbling over what the server sent (cookies, headers, encodings): ours to
    # type, never to let through.
    return BadResponse(f"{asked} sent what the HTTP client cannot read: {detail}. {DOCTOR}")


def _root(error: BaseException, kinds: tuple[type[Exception], ...]) -> BaseException:
    """The client's own error: the SDK wraps it in one that says "Connection error." and nothing else."""
    for link in _links(error):
        if isinstance(link, kinds):
            return link
    return error


def _words(error: BaseException) -> str:
    """The name of `error` and what it says; where it is silent, as with TLS, what lies underneath says."""
    for link in _links(error, contexts=True):  # the client cuts causes (`from None`), contexts stay
        if isinstance(link, BaseExceptionGroup | trio.Cancelled):
            break
        if str(link):
            return f"{type(error).__name__}: {link}"
    return type(error).__name__


def _links(error: BaseException, *, contexts: bool = False) -> Iterator[BaseException]:
    """`error` and what caused it, one after another; a library may close them to a circle, so only so many."""
    link: BaseException | None = error
    for _ in range(MOST_LINKS):
        if link is None:
            return
        yield link
        link = link.__cause__ or (link.__context__ if contexts else None)
