"""A pool of connections that is watched: one that gives no connection though it has to is replaced.

Pools lose connections. Plain httpx 0.28 does so for ever when calls are cancelled while they connect: after a storm of
cancellations every slot says CONNECTING, nobody is connecting, and each later request waits without end. Trouper
cancels by design, so the pool is not trusted, whichever it is.

How it is told from a pool that is only busy: requests queue *here*, for one of `max_connections` places, and hold
their place until their answer is closed. Whoever has a place therefore finds a slot in the pool at once, or a
connection to be made within the connect timeout. The first thing a pool does on a connection is to read the body of
the request: that is the sign. A request with a place that shows no sign for `patience` seconds proves the pool broken.
Then the pool is replaced and counted, and the requests without a sign, of which nothing was sent, go through the new
one; those in progress end in the old one, which is closed after the last of them. A model that thinks for minutes
is no reason: its request was sent.

Over HTTP/2, where a server decides how many calls share a connection, and through a client of the caller's own, whose
limit may be lower than ours, having a place proves nothing while other calls are in progress: the request may rightly
wait for one of them. There the patience is counted only while nothing is in progress.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable

import httpx2
import trio

from trouper.actors.model_events import PoolRebuilt
from trouper.runtime import ModelUnavailable, Seconds

from .http_pooling import ClientKey

log: logging.Logger = logging.getLogger(__name__)

CLEAN_UP: Seconds = 2.0
"""How long closing a pool may take."""

REBUILDS = 2
"""How often one request may find the pool broken before it is given up."""

Ways = Callable[[], httpx2.AsyncBaseTransport]


class Watched(httpx2.AsyncBaseTransport):
    """A transport over pools that `make` makes, one at a time.

    Args:
        make: Makes a pool, at first and after each that broke.
        key: The configuration behind it, for what is told.
        patience: Seconds within which a request with a place has to be on its way; longer than connecting may take.
        slots: Whether each place has a connection of its own: not over HTTP/2, nor in a pool with other limits.
        told: Is called with each `PoolRebuilt`.
    """

    def __init__(
        self,
        make: Ways,
        *,
        key: ClientKey,
        patience: Seconds,
        slots: bool = True,
        told: Callable[[PoolRebuilt], None] | None = None,
    ) -> None:
        self.sent: int = 0
        self.rebuilt: int = 0
        self.waiting: int = 0
        self._make = make
        self._key = key
        self._patience = patience
        self._slots = slots
        self._told = told
        self._places = trio.Semaphore(key.pooling.max_connections)
        self._way = self._new_way()
        self._old: list[_Way] = []
        self._closed = False

    def _new_way(self) -> _Way:
        return _Way(self._make(), self._patience, slots=self._slots)

    @property
    def in_progress(self) -> int:
        """Requests that hold a place."""
        return self._way.in_progress + sum(way.in_progress for way in self._old)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` and wait for the head of the answer, whose closing gives the place back.

        Cancelled: the connection is closed, the place given back.

        Raises:
            httpx2.PoolTimeout: no connection was to be had, from the first pool or the next.
            ModelUnavailable: the pool is closed, or there is no other in its place.
        """
        await self._enter()
        try:
            response = await self._send(request)
        except BaseException:
            self._places.release()
            raise
        self.sent += 1
        return response

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        stream = request.stream
        for _ in range(REBUILDS + 1):
            if self._closed:
                raise ModelUnavailable(f"the connections to {self._key.origin} are closed: the troupe has ended")
            way = self._way
            way.in_progress += 1
            try:
                response = await self._through(way, request, stream)
            except BaseException:
                await self._leave(way)
                raise
            if response is not None:
                response.stream = _Answer(response.stream, way, self)
                return response
            way.in_progress -= 1
            await self._replace(way)
        raise httpx2.PoolTimeout(
            f"no connection to {self._key.origin} was to be had within {self._patience:g} s, {REBUILDS + 1} times in "
            "a row, although fewer than the pool's limit are in use",
            request=request,
        )

    async def _through(self, way: _Way, request: httpx2.Request, stream: object) -> httpx2.Response | None:
        """The head of the answer; None if the pool never began to send."""
        # A request without a body gives no sign over HTTP/2; then it is not watched.
        body = _Body(stream, way, watched="content-length" in request.headers or "transfer-encoding" in request.headers)
        request.stream = body
        way.unsent.add(body)
        way.arm(body)
        try:
            with body.scope:
                return await way.transport.handle_async_request(request)
        finally:
            way.unsent.discard(body)
        if body.begun:  # given up in the very moment it began: part of it may have been sent
            raise httpx2.WriteError("the connection pool broke while the request was being sent", request=request)
        return None

    async def _enter(self) -> None:
        """Take a place, in order of arrival. Cancelled: none was taken."""
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            self.waiting += 1
            try:
                await self._places.acquire()
            finally:
                self.waiting -= 1

    async def _leave(self, way: _Way) -> None:
        way.in_progress -= 1
        way.arm_all()
        if way.retired and not way.in_progress:
            await self._close(way)

    async def _replace(self, way: _Way) -> None:
        """Put a new pool in the place of `way`, unless somebody else has done that, or there is to be none."""
        if not way.retired and not self._closed:
            self._way = self._new_way()  # first: it may say that there is no other
            way.retired = True
            self._old.append(way)
            self._tell(way)
        for body in list(way.unsent):
            body.scope.cancel()  # they go through the new one
        if not way.in_progress:
            await self._close(way)

    def _tell(self, way: _Way) -> None:
        self.rebuilt += 1
        event = PoolRebuilt(
            at=trio.current_time(),
            actor=self._key.name,
            origin=self._key.origin,
            waiting=len(way.unsent) + 1,
            in_progress=way.in_progress - len(way.unsent),
            after=self._patience,
        )
        log.warning(
            "[HTTP] the pool of connections to %s gave none within %g s and was replaced (%d requests waited for it, "
            "%d are still being answered)",
            event.origin,
            event.after,
            event.waiting,
            event.in_progress,
        )
        if self._told is not None:
            self._told(event)

    async def _close(self, way: _Way) -> None:
        if way in self._old:
            self._old.remove(way)
            with trio.move_on_after(CLEAN_UP, shield=True):
                await way.transport.aclose()

    async def aclose(self) -> None:
        """Close all pools, whatever is in progress. Cancelled: they are closed all the same."""
        # Whoever is waiting or connecting must not open a connection that nobody would close any more.
        self._closed = True
        for way in [*self._old, self._way]:
            for body in list(way.unsent):
                body.scope.cancel()
        for way in [*self._old, self._way]:
            with trio.move_on_after(CLEAN_UP, shield=True):
                await way.transport.aclose()
        self._old.clear()


class _Way:
    """One pool: what it has in progress, and of that what it has not begun to send."""

    __slots__ = ("_patience", "_slots", "in_progress", "retired", "transport", "unsent")

    def __init__(self, transport: httpx2.AsyncBaseTransport, patience: Seconds, *, slots: bool) -> None:
        self.transport = transport
        self.in_progress = 0
        self.unsent: set[_Body] = set()
        self.retired = False
        self._patience = patience
        self._slots = slots

    def arm(self, body: _Body) -> None:
        """Begin to lose patience with `body`, if it has a right to a connection now."""
        proof = self._slots or self.in_progress == len(self.unsent)
        body.scope.deadline = trio.current_time() + self._patience if body.watched and proof else math.inf

    def arm_all(self) -> None:
        """Something was begun, or has ended: where places are not connections, that changes who has a right to one."""
        if not self._slots:
            for body in self.unsent:
                self.arm(body)


class _Body(httpx2.AsyncByteStream):
    """The body of a request. That somebody reads it is the sign that the request has its connection."""

    __slots__ = ("_stream", "_way", "begun", "scope", "watched")

    def __init__(self, stream: object, way: _Way, *, watched: bool) -> None:
        if not isinstance(stream, httpx2.AsyncByteStream):
            raise TypeError(f"a request's body has to be readable asynchronously, not a {type(stream).__name__}")
        self._stream = stream
        self._way = way
        self.watched = watched
        self.scope = trio.CancelScope()
        self.begun = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        self.scope.deadline = math.inf
        self._way.unsent.discard(self)
        self._way.arm_all()
        return self._stream.__aiter__()


class _Answer(httpx2.AsyncByteStream):
    """The body of an answer; closing it gives the place back."""

    __slots__ = ("_closed", "_stream", "_watched", "_way")

    def __init__(self, stream: object, way: _Way, watched: Watched) -> None:
        if not isinstance(stream, httpx2.AsyncByteStream):
            raise TypeError(f"an answer's body has to be readable asynchronously, not a {type(stream).__name__}")
        self._stream = stream
        self._way = way
        self._watched = watched
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        """Close the answer. Idempotent. Cancelled: it is closed all the same."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._stream.aclose()
        finally:
            self._watched._places.release()
            await self._watched._leave(self._way)
