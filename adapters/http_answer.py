"""The answer to one request: its headers, and its body, bounded, wherever somebody stops reading it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

import trio

from trouper.runtime import Seconds, ServerLimits

from .http_faults import MAX_ERROR_BODY, StatusAnswered, fault
from .wire_errors import Asked, bad_response
from .wire_limits import server_limits

if TYPE_CHECKING:
    import httpx2

MAX_BODY = 32 << 20
"""Bytes of an answer that are read at most."""

CLEAN_UP: Seconds = 2.0
"""How long closing one answer may take."""


REPORT: Seconds = 2.0
"""How long the report of an error may take: the status is known, and a 429 must not wait for its words."""


def response_class() -> type[httpx2.Response]:
    """What to ask the SDK for, so that it hands the answer over unread and unparsed."""
    import httpx2

    return httpx2.Response


async def raise_status(response: httpx2.Response) -> None:
    """Read the report of an answer that is not 200, bounded in size and time, close it, and raise `StatusAnswered`.

    Runs on each answer, inside the client where there is one, before anybody could read its body without a bound.
    """
    if response.status_code == 200:
        return
    answer = AnswerBytes(response, Asked(""))
    body = bytearray()
    try:
        with trio.move_on_after(REPORT) as reading:
            async for piece in answer:
                body += piece
                if len(body) >= MAX_ERROR_BODY:
                    break
        if reading.cancelled_caught:
            body += b" (the report did not end)"
    except Exception as error:  # noqa: BLE001 - the status is the news; the rest of the report is lost
        body += f" (the report broke off: {type(error).__name__})".encode()
    finally:
        await answer.aclose()
    raise StatusAnswered(response.status_code, answer.headers, bytes(body[:MAX_ERROR_BODY]))


class AnswerBytes(AsyncIterator[bytes]):
    """The body of an answer, piece by piece. `aclose` frees or closes the connection."""

    def __init__(self, response: httpx2.Response, asked: Asked) -> None:
        self.headers: dict[str, str] = headers_of(response)
        self.content_type: str = self.headers.get("content-type", "")
        self.encoding: str = self.headers.get("content-encoding", "identity").strip().lower()
        self._response = response
        self._asked = asked
        self._pieces: AsyncIterator[bytes] | None = None
        self._closed = False

    @property
    def limits(self) -> ServerLimits | None:
        """What the headers say of the server's rate limits."""
        return server_limits(self.headers)

    def __aiter__(self) -> AnswerBytes:
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Cancelled: the connection is closed."""
        pieces = self._opened()
        try:
            return await pieces.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as error:
            raise fault(self._asked, error) from error

    async def read(self, limit: int = MAX_BODY) -> bytes:
        """All of it.

        Raises:
            BadResponse: it is longer than `limit` bytes.
        """
        first = b""
        body: bytearray | None = None  # most answers are one piece, which is then not copied
        async for piece in self:
            if body is None and not first:
                first = piece
            else:
                body = body if body is not None else bytearray(first)
                body += piece
            if len(first if body is None else body) > limit:
                raise bad_response(self._asked, f"it is longer than {limit:,} bytes", bytes((body or first)[:1000]))
        return first if body is None else bytes(body)

    def _opened(self) -> AsyncIterator[bytes]:
        if self.encoding not in {"", "identity"}:
            raise bad_response(self._asked, f"it is compressed ({self.encoding}), which was not asked for")
        if self._pieces is None:
            stream = self._response.stream
            if not hasattr(stream, "__aiter__"):
                raise bad_response(self._asked, "it was read by somebody else already")
            self._pieces = stream.__aiter__()
        return self._pieces

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end, close it otherwise. Never blocks for long."""
        if self._closed:
            return
        self._closed = True
        with trio.move_on_after(CLEAN_UP, shield=True):
            await self._response.aclose()
            if isinstance(self._pieces, AsyncGenerator):
                await self._pieces.aclose()


def headers_of(response: httpx2.Response) -> dict[str, str]:
    """The headers by their names in lower case; one that comes twice is joined by a comma."""
    headers: dict[str, str] = {}
    for raw, value in response.headers.raw:
        name = raw.decode("latin-1").lower()
        text = value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


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
