"""Sockets for the HTTP client: counted, opened beforehand on request, and written to once a request.

httpcore2 takes a network backend as a public argument of its pool; this is ours, for trio only. It does four things
that the one it ships does not:

- The head of a request and its body leave in one write. The protocol hands them over separately, which costs a
  system call and a packet each. They are held until the next read, the first moment at which they have to be on
  their way: over HTTP/1.1 a client that reads has said everything. HTTP/2 reads and writes at once, so nothing is held.
- A connection whose making is cancelled is closed, and never kept by the pool: not in the middle of a TLS handshake,
  where the one it ships leaves the socket to the garbage collector, nor in the very moment of success (`handed_over`).
- Connections can be made before anybody asks (`warm_up`): the round trips of TCP and TLS, without a request that
  the server would count.
- Every socket is counted when it is opened and when it is closed.
"""

from __future__ import annotations

import math
import select
import ssl
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httpcore2
import trio

from trouper.runtime import Seconds

HELD = 64 << 10
"""Bytes of a request that are held at most; a larger one leaves in pieces."""

FRAME: Seconds = 5.0
"""How long sending one frame on a shared connection may take, and with it how long a cancellation may be held up."""

Address = tuple[str, int]


class Wire(httpcore2.AsyncNetworkStream):
    """One connection."""

    __slots__ = ("_closed", "_held", "_held_timeout", "_hold", "_network", "_stream", "handshaken")

    def __init__(self, stream: trio.abc.Stream, network: Network) -> None:
        self._stream = stream
        self._network = network
        self._held = b""
        self._held_timeout: Seconds | None = None
        self._hold = True
        self._closed = False
        self.handshaken: str | None = None
        """The host that TLS was agreed on with, if that has been done already."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, b"" at the end. Cancelled: nothing was read."""
        if self._held:
            with suppress(httpcore2.WriteError):  # a server may answer without having read all: that is worth more
                await self._flush()
        try:
            if timeout is None:
                return bytes(await self._stream.receive_some(max_bytes))
            with trio.fail_after(timeout):
                return bytes(await self._stream.receive_some(max_bytes))
        except trio.TooSlowError as error:
            raise httpcore2.ReadTimeout(str(error)) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.ReadError(_words(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Hold `buffer`, or send it. Cancelled while sending: over HTTP/1.1 the connection is of no use any more."""
        if not buffer:
            return
        self._held += buffer
        self._held_timeout = timeout
        if not self._hold or len(self._held) >= HELD:
            await self._flush()

    async def _flush(self) -> None:
        held, self._held = self._held, b""
        timeout = math.inf if self._held_timeout is None else self._held_timeout
        # A frame that is cut off by a cancellation would break the connection for all others that share it; so over
        # HTTP/2 it is sent to its end, which is near, before the cancellation goes on.
        shared = not self._hold
        try:
            with trio.fail_after(min(timeout, FRAME) if shared else timeout, shield=shared):
                await self._stream.send_all(held)
        except trio.TooSlowError as error:
            raise httpcore2.WriteTimeout(str(error)) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.WriteError(_words(error)) from error

    async def aclose(self) -> None:
        """Close it. Idempotent. Cancelled: it is closed all the same."""
        if not self._closed:
            self._closed = True
            self._network.open -= 1
        await self._stream.aclose()

    async def drop(self) -> None:
        """Close the socket without taking leave of the other side. Does not block, cancelled or not."""
        if not self._closed:
            self._closed = True
            self._network.open -= 1
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Agree on TLS, unless that was done beforehand. Cancelled: the socket is closed."""
        if self.handshaken is not None and self.handshaken == server_hostname:
            return await self.handed_over()
        stream = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True, server_side=False
        )
        try:
            with trio.fail_after(math.inf if timeout is None else timeout):
                await stream.do_handshake()
        except BaseException as error:
            await self.drop()
            if isinstance(error, trio.TooSlowError):
                raise httpcore2.ConnectTimeout("the TLS handshake took too long") from error
            if isinstance(error, trio.BrokenResourceError | trio.ClosedResourceError | OSError):
                raise httpcore2.ConnectError(_words(error)) from error
            raise
        self._stream = stream
        self._hold = stream.selected_alpn_protocol() != "h2"
        self.handshaken = server_hostname
        return await self.handed_over()

    async def handed_over(self) -> Wire:
        """This connection, for the pool to keep. Cancelled: it is closed.

        A cancellation that came while the last step of connecting was succeeding is still to be delivered. httpcore2
        would meet it between keeping a new connection and using it, and never use that connection again, nor close
        it: after enough of these its pool is full of them.
        """
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            await self.drop()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """What httpcore2 asks: whether TLS was agreed on, and whether an idle connection has been closed."""
        stream = self._stream
        if info == "ssl_object":
            return _Agreed(stream.selected_alpn_protocol()) if isinstance(stream, trio.SSLStream) else None
        socket = _socket_of(stream)
        if info == "is_readable" and socket is not None:
            return _holds_back(stream) or socket.is_readable()
        return socket if info == "socket" else None

    @property
    def left(self) -> bool:
        """Whether the other side has closed a connection that was not used yet.

        That it can be read says nothing here: after a TLS handshake tickets come, over HTTP/2 settings.
        """
        socket = _socket_of(self._stream)
        if socket is None or not hasattr(select, "POLLRDHUP"):
            return bool(self.get_extra_info("is_readable"))
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))


def _socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType | None:
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    return stream.socket if isinstance(stream, trio.SocketStream) else None


def _holds_back(stream: trio.abc.Stream) -> bool:
    """Whether TLS has taken more from the socket than was asked for: the socket then says nothing of it."""
    if not isinstance(stream, trio.SSLStream):
        return False
    encrypted = getattr(stream, "_incoming", None)  # private: if it is not there any more, a test says so
    return bool(stream.pending() or (encrypted is not None and encrypted.pending))


class _Agreed:
    """What of a TLS object httpcore2 looks at: the protocol that both sides agreed on."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: str | None) -> None:
        self._protocol = protocol

    def selected_alpn_protocol(self) -> str | None:
        return self._protocol


class Network(httpcore2.AsyncNetworkBackend):
    """Opens the connections of one client."""

    def __init__(self) -> None:
        self.opened: int = 0
        self.open: int = 0
        self._warm: deque[tuple[Seconds, Address, Wire]] = deque()
        self._closed = False

    @property
    def warm(self) -> int:
        """Connections that were opened beforehand and that nobody has used yet."""
        return len(self._warm)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection, one that was opened beforehand if there is one. Cancelled: none was opened."""
        warm = await self._take(host, port)
        if warm is not None:
            return await warm.handed_over()
        try:
            with trio.fail_after(math.inf if timeout is None else timeout):
                stream = await trio.open_tcp_stream(host, port, local_address=local_address)
        except trio.TooSlowError as error:
            raise httpcore2.ConnectTimeout(f"nobody answered within {timeout:g} s") from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        for option in socket_options or ():
            stream.setsockopt(*option)
        return await self._wire(stream).handed_over()

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002 - those are TCP's
    ) -> httpcore2.AsyncNetworkStream:
        """The same through a socket of the file system."""
        try:
            with trio.fail_after(math.inf if timeout is None else timeout):
                stream = await trio.open_unix_socket(path)
        except trio.TooSlowError as error:
            raise httpcore2.ConnectTimeout(f"nobody answered within {timeout:g} s") from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return await self._wire(stream).handed_over()

    async def sleep(self, seconds: float) -> None:
        """Between two attempts to connect, of which httpcore2 makes one here."""
        await trio.sleep(seconds)

    def _wire(self, stream: trio.abc.Stream) -> Wire:
        self.opened += 1
        self.open += 1
        return Wire(stream, self)

    # ------------------------------------------------------------ beforehand
    async def warm_up(
        self,
        host: str,
        port: int,
        *,
        keep: Seconds,
        timeout: Seconds,
        tls: ssl.SSLContext | None = None,
        alpn: tuple[str, ...] = ("http/1.1",),
    ) -> None:
        """Open one connection to `host` and keep it `keep` seconds for the first who wants one.

        Cancelled: none was opened.

        Raises:
            httpcore2.ConnectError: nobody there, or no TLS.
            httpcore2.ConnectTimeout: `timeout` seconds were not enough.
        """
        try:
            with trio.fail_after(timeout):
                stream = await trio.open_tcp_stream(host, port)
        except trio.TooSlowError as error:
            raise httpcore2.ConnectTimeout(f"nobody answered within {timeout:g} s") from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        wire = self._wire(stream)
        if tls is not None:
            tls.set_alpn_protocols(list(alpn))  # the context is shared; httpcore2 sets it before each handshake too
            await wire.start_tls(tls, host, timeout)
        if self._closed:
            await wire.drop()
            return
        self._warm.append((trio.current_time() + keep, (host, port), wire))

    async def _take(self, host: str, port: int) -> Wire | None:
        """A connection that was opened beforehand and is still good."""
        found: Wire | None = None
        kept: deque[tuple[Seconds, Address, Wire]] = deque()
        stale: list[Wire] = []
        while self._warm:
            until, address, wire = self._warm.popleft()
            if until <= trio.current_time() or wire.left:
                stale.append(wire)
            elif found is None and address == (host, port):
                found = wire
            else:
                kept.append((until, address, wire))
        self._warm = kept
        for wire in stale:
            await wire.drop()
        return found

    async def aclose(self) -> None:
        """Close what was opened beforehand and not used. Cancelled: it is closed all the same."""
        self._closed = True
        while self._warm:
            _, _, wire = self._warm.popleft()
            await wire.drop()


def _words(error: BaseException) -> str:
    """What `error` says; where trio says nothing, what lies underneath."""
    link: BaseException | None = error
    for _ in range(32):  # a library may close them to a circle
        if link is None:
            break
        if str(link):
            return str(link)
        link = link.__cause__ or link.__context__
    return type(error).__name__
