"""One client's connection to the model server: HTTP/1.1 in, answers out, as slow and as broken as the script says."""

from __future__ import annotations

import json
import math
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

import h11
import trio

from trouper.runtime import Seconds

from .model_server_script import End, ServerReply, ServerRequest

if TYPE_CHECKING:
    from .model_server import Answer, ModelServer

MAX_REQUEST = 16 << 20
IDLE: Seconds = 60.0
"""How long a connection may stay silent before the server closes it."""

_TLS_ALERT = 19
"""Bytes of an encrypted TLS 1.3 record that holds an alert: two, their kind, and the tag."""


class Connection:
    """Serves the requests of `stream` until either side has had enough."""

    def __init__(self, server: ModelServer, stream: trio.SocketStream, tls: ssl.SSLContext | None) -> None:
        self._server = server
        self._socket = stream
        self._stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = stream
        self._http = h11.Connection(h11.SERVER)
        if tls is not None:
            self._stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)

    async def run(self) -> None:
        """Serve. Cancelled, or left by the client: what was being answered is dropped."""
        network = self._server.network
        with trio.move_on_after(IDLE) as patience:
            await trio.sleep(network.round_trip)  # of the connection itself, which the kernel made at once
            if isinstance(self._stream, trio.SSLStream):
                await trio.sleep(network.round_trip)
                await self._stream.do_handshake()
        if patience.cancelled_caught:
            return
        while (request := await self._read_request()) is not None:
            self._server.requests.append(request)
            self._server.count(requests=1, running=1)
            try:
                end = await self._answer(request)
            finally:
                self._server.count(running=-1)
            if end is End.RESET:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if end is not End.KEEP or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _read_request(self) -> ServerRequest | None:
        head: h11.Request | None = None
        body = bytearray()
        with trio.move_on_after(IDLE):
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(bytes(await self._stream.receive_some(65536)))
                elif isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > MAX_REQUEST:
                        return None
                elif isinstance(event, h11.EndOfMessage) and head is not None:
                    return _request_of(head, bytes(body))
                else:
                    return None
        return None

    async def _answer(self, request: ServerRequest) -> End:
        """Answer, unless the client goes away meanwhile; gives what to do with the connection."""
        end = End.CLOSE
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_client, nursery.cancel_scope)
            way = self._server.network.round_trip / 2
            await trio.sleep(way)
            answer = self._server.answer(request)
            end = await self._send(answer, way)
            nursery.cancel_scope.cancel()
        return end

    async def _watch_client(self, scope: trio.CancelScope) -> None:
        """A client that hangs up while we think is noticed, as real servers do: no answer is made for nobody."""
        try:
            seen = await self._socket.socket.recv(5, socket.MSG_PEEK)
        except OSError:
            seen = b""  # it has reset the connection: gone as well
        farewell = self._stream is not self._socket and int.from_bytes(seen[3:5], "big") == _TLS_ALERT
        if seen and not farewell:
            return  # it has sent its next request already
        self._server.count(aborted=1)
        scope.cancel()

    async def _send(self, answer: Answer, way: Seconds) -> End:
        reply = answer.reply
        streamed = reply.pieces is not None
        begun = trio.current_time() + way + reply.delay + answer.thinking.before
        await trio.sleep_until(begun + (0.0 if streamed else answer.thinking.writing))
        if reply.raw is not None:
            await self._stream.send_all(reply.raw)
            return await self._finished(End.CLOSE if reply.end is End.KEEP else reply.end)
        pieces = _cut(list(reply.pieces or ()) if streamed else [reply.body or b""], reply.cut)
        if reply.drip:
            pieces = [bytes([byte]) for piece in pieces for byte in piece]
        await self._stream.send_all(self._head(reply, answer, streamed=streamed))
        a_piece = answer.thinking.writing / len(pieces) if streamed and pieces else 0.0
        for number, piece in enumerate(pieces):
            if a_piece:
                await trio.sleep_until(begun + number * a_piece)  # by the clock: what is late does not add up
            if reply.pace:
                await trio.sleep(reply.pace)
            if reply.before is not None:
                await reply.before(number)
            if number == len(pieces) - 1:
                self._server.answered(answer)  # before the client can know: it may look at the counters at once
            await self._stream.send_all(self._http.send(h11.Data(data=piece)) or b"")
        if reply.cut is not None:
            return await self._finished(End.CLOSE if reply.end is End.KEEP else reply.end)
        if reply.end in {End.KEEP, End.CLOSE}:
            await self._stream.send_all(self._http.send(h11.EndOfMessage()) or b"")
        return await self._finished(reply.end)

    def _head(self, reply: ServerReply, answer: Answer, *, streamed: bool) -> bytes:
        headers = {"content-type": "text/event-stream" if streamed else "application/json"}
        if streamed:
            headers["transfer-encoding"] = "chunked"
        else:
            headers["content-length"] = str(len(reply.body or b""))
        headers.update(answer.headers)
        headers.update({name.lower(): value for name, value in reply.headers.items()})
        return self._http.send(h11.Response(status_code=reply.status, headers=list(headers.items()))) or b""

    async def _finished(self, end: End) -> End:
        if end is End.HANG:
            await trio.sleep(math.inf)  # until the client goes, or the server ends
        return end


def _request_of(head: h11.Request, body: bytes) -> ServerRequest:
    try:
        payload = json.loads(body) if body else None
    except (ValueError, RecursionError):
        payload = None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return ServerRequest(
        method=head.method.decode(), path=head.target.decode("latin-1").partition("?")[0], headers=headers, json=payload
    )


def _cut(pieces: Sequence[bytes], limit: int | None) -> list[bytes]:
    if limit is None:
        return list(pieces)
    kept: list[bytes] = []
    for piece in pieces:
        kept.append(piece[:limit])
        limit -= len(kept[-1])
    return [piece for piece in kept if piece]
