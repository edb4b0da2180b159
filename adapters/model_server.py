"""A small real HTTP server that speaks the OpenAI protocol, for tests: ours and those of our users.

```python
async with model_server(["hello", ServerReply(status=429, headers={"retry-after": "2"})]) as server:
    model = OpenAIModel(model="test", base_url=server.base_url)
```
It answers `POST /v1/chat/completions` (plain and streamed), `POST /v1/embeddings` (vectors that depend on the text
alone) and `GET /v1/models`, and it can be told to do everything that real servers do wrong. Everything is bounded:
requests by size, connections by number, waits by time. It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum

import attrs
import h11
import trio

from trouper.runtime import Seconds

from .model_server_replies import chat_reply, embeddings_reply, error_body, models_reply

MAX_REQUEST = 16 << 20
MAX_CONNECTIONS = 512
IDLE: Seconds = 60.0
"""How long a connection may stay silent before the server closes it."""
KEPT_REQUESTS = 10_000


class End(Enum):
    """What happens to the connection when a reply has been sent, or cut."""

    KEEP = "keep"
    """It is kept, as HTTP/1.1 does."""
    CLOSE = "close"
    """It is closed."""
    RESET = "reset"
    """It is reset: the client's next read fails."""
    HANG = "hang"
    """Nothing more is sent, and nothing closed."""


@attrs.frozen(kw_only=True)
class ServerReply:
    """What to answer one request with. The defaults are a good answer; every field but `text` is for bad ones.

    Args:
        text: What the model says.
        words: What it says instead of `text`, streamed in exactly these pieces.
        before: Awaited with the number of each streamed piece before it is sent, so that a test can hold the model up
            in the middle of its answer.
        finish_reason: Why it stopped; None leaves it out.
        refusal: The model declines with these words instead.
        usage: Whether token counts are told.
        delay: Seconds before the headers.
        pace: Seconds before each streamed piece, or before each byte of a body when `drip` is set.
        drip: Send the body byte by byte.
        status: The status.
        headers: Further headers; they replace those of the same name.
        body: The body instead of the one made from `text`; for a stream all of its bytes.
        pieces: A stream's pieces, one write each, instead of those made from `text`.
        done: Whether a stream ends with `[DONE]`.
        cut: Send so many bytes of the body at most, then do what `end` says.
        end: What happens to the connection then.
        raw: Send exactly these bytes instead of an HTTP answer.
    """

    text: str = "hello"
    words: Sequence[str] = ()
    before: Callable[[int], Awaitable[None]] | None = None
    finish_reason: str | None = "stop"
    refusal: str | None = None
    usage: bool = True
    delay: Seconds = 0.0
    pace: Seconds = 0.0
    drip: bool = False
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | None = None
    pieces: Sequence[bytes] | None = None
    done: bool = True
    cut: int | None = None
    end: End = End.KEEP
    raw: bytes | None = None


@attrs.frozen(kw_only=True)
class ServerRequest:
    """One request as the server read it; header names in lower case, `json` None if the body is none."""

    method: str
    path: str
    headers: Mapping[str, str]
    json: object


@attrs.frozen(kw_only=True)
class ServerStatistics:
    """Counters since the server began. `aborted` calls lost their client before the answer was sent."""

    requests: int = 0
    connections: int = 0
    connections_open: int = 0
    running: int = 0
    most_running: int = 0
    aborted: int = 0


Entry = str | ServerReply
ServerScript = Iterable[Entry] | Callable[[ServerRequest], Entry]


class ModelServer:
    """A running server; comes from `model_server`. `requests` are the latest it read, `statistics` its counters."""

    def __init__(self, script: ServerScript | None, api_key: str | None, dim: int) -> None:
        self.base_url = ""
        self.requests: deque[ServerRequest] = deque(maxlen=KEPT_REQUESTS)
        self.statistics: ServerStatistics = ServerStatistics()
        self._function = script if callable(script) else None
        self._entries: Iterator[Entry] | None = None if script is None or callable(script) else iter(script)
        self._api_key = api_key
        self._dim = dim
        self._changed = trio.Event()

    async def wait_requests(self, number: int) -> None:
        """Wait until `number` requests were read in all. Bound it with a cancel scope of your own."""
        while self.statistics.requests < number:
            await self._changed.wait()

    async def wait_idle(self) -> None:
        """Wait until no request is being answered. Bound it with a cancel scope of your own."""
        while self.statistics.running:
            await self._changed.wait()

    async def wait_disconnected(self) -> None:
        """Wait until no connection is open. Bound it with a cancel scope of your own."""
        while self.statistics.connections_open:
            await self._changed.wait()

    # ------------------------------------------------------------ connections
    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer the requests of one connection until either side has had enough."""
        if self.statistics.connections_open >= MAX_CONNECTIONS:
            await trio.aclose_forcefully(stream)
            return
        self.count(connections=1, connections_open=1)
        try:
            await _Connection(self, stream).run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
            pass  # the client went away or spoke no HTTP; the counters tell
        finally:
            self.count(connections_open=-1)
            await trio.aclose_forcefully(stream)

    def count(self, **changes: int) -> None:
        """Add to the counters and wake whoever waits for them."""
        now = self.statistics
        fields = {name: getattr(now, name) + change for name, change in changes.items()}
        running = fields.get("running", now.running)
        self.statistics = attrs.evolve(now, **fields, most_running=max(now.most_running, running))
        self._changed.set()
        self._changed = trio.Event()

    # ------------------------------------------------------------ replies
    def reply(self, request: ServerRequest) -> ServerReply:
        """What to answer `request` with."""
        if self._api_key is not None and request.headers.get("authorization") != f"Bearer {self._api_key}":
            return ServerReply(status=401, body=error_body("no such key", "invalid_api_key"))
        if request.path == "/v1/models" and request.method == "GET":
            return ServerReply(body=models_reply())
        if request.path not in {"/v1/chat/completions", "/v1/embeddings"} or request.method != "POST":
            return ServerReply(status=404, body=error_body(f"no {request.method} {request.path} here", "not_found"))
        return self._filled(request, self._scripted(request))

    def _scripted(self, request: ServerRequest) -> ServerReply:
        if self._function is not None:
            entry = self._function(request)
        elif self._entries is not None:
            entry = next(self._entries, ServerReply(status=500, body=error_body("the script is over", "script")))
        else:
            entry = ServerReply(text=_echo(request.json))
        return ServerReply(text=entry) if isinstance(entry, str) else entry

    def _filled(self, request: ServerRequest, reply: ServerReply) -> ServerReply:
        """`reply` with the body that its fields describe."""
        if reply.body is not None or reply.pieces is not None or reply.raw is not None:
            return reply
        if reply.status != 200:
            return attrs.evolve(reply, body=error_body(f"scripted {reply.status}", "scripted"))
        payload = request.json if isinstance(request.json, dict) else {}
        if request.path == "/v1/embeddings":
            return attrs.evolve(reply, body=embeddings_reply(payload, self._dim))
        said = reply.words or reply.text
        made = chat_reply(payload, said, reply.finish_reason, reply.refusal, usage=reply.usage, done=reply.done)
        return attrs.evolve(reply, body=made) if isinstance(made, bytes) else attrs.evolve(reply, pieces=made)


class _Connection:
    """One client's connection."""

    def __init__(self, server: ModelServer, stream: trio.SocketStream) -> None:
        self._server = server
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        while True:
            request = await self._read_request()
            if request is None:
                return
            self._server.requests.append(request)
            self._server.count(requests=1, running=1)
            try:
                end = await self._answer(self._server.reply(request))
            finally:
                self._server.count(running=-1)
            if end is End.RESET:
                _reset_on_close(self._stream)
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
                    self._http.receive_data(await self._stream.receive_some(65536))
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

    async def _answer(self, reply: ServerReply) -> End:
        """Send `reply`, unless the client goes away meanwhile; gives what to do with the connection."""
        end = End.CLOSE
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_client, nursery.cancel_scope)
            end = await self._send(reply)
            nursery.cancel_scope.cancel()
        return end

    async def _watch_client(self, scope: trio.CancelScope) -> None:
        """A client that hangs up while we think is noticed, as real servers do: no answer is made for nobody."""
        try:
            if await self._stream.socket.recv(1, socket.MSG_PEEK):
                return  # it has sent its next request already
        except OSError:
            pass  # it has reset the connection: gone as well
        self._server.count(aborted=1)
        scope.cancel()

    async def _send(self, reply: ServerReply) -> End:
        await trio.sleep(reply.delay)
        if reply.raw is not None:
            await self._stream.send_all(reply.raw)
            return await self._finished(End.CLOSE if reply.end is End.KEEP else reply.end)
        streamed = reply.pieces is not None
        pieces = _cut(list(reply.pieces or ()) if streamed else [reply.body or b""], reply.cut)
        if reply.drip:
            pieces = [bytes([byte]) for piece in pieces for byte in piece]
        await self._stream.send_all(self._head(reply, streamed=streamed))
        for number, piece in enumerate(pieces):
            if reply.pace:
                await trio.sleep(reply.pace)
            if reply.before is not None:
                await reply.before(number)
            await self._stream.send_all(self._http.send(h11.Data(data=piece)) or b"")
        if reply.cut is not None:
            return await self._finished(End.CLOSE if reply.end is End.KEEP else reply.end)
        if reply.end in {End.KEEP, End.CLOSE}:
            await self._stream.send_all(self._http.send(h11.EndOfMessage()) or b"")
        return await self._finished(reply.end)

    def _head(self, reply: ServerReply, *, streamed: bool) -> bytes:
        headers = {"content-type": "text/event-stream" if streamed else "application/json"}
        if streamed:
            headers["transfer-encoding"] = "chunked"
        else:
            headers["content-length"] = str(len(reply.body or b""))
        headers.update({name.lower(): value for name, value in reply.headers.items()})
        return self._http.send(h11.Response(status_code=reply.status, headers=list(headers.items()))) or b""

    async def _finished(self, end: End) -> End:
        if end is End.HANG:
            await trio.sleep(math.inf)  # until the client goes, or the server ends
        return end


def _request_of(head: h11.Request, body: bytes) -> ServerRequest:
    try:
        payload = json.loads(body) if body else None
    except ValueError:
        payload = None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return ServerRequest(
        method=head.method.decode(), path=head.target.decode("latin-1").partition("?")[0], headers=headers, json=payload
    )


def _echo(payload: object) -> str:
    """What the server says without a script: the last message back."""
    messages = payload.get("messages") if isinstance(payload, dict) else None
    last = messages[-1] if isinstance(messages, list) and messages else {}
    return f"echo: {last.get('content', '')}" if isinstance(last, dict) else "echo: "


def _cut(pieces: Sequence[bytes], limit: int | None) -> list[bytes]:
    if limit is None:
        return list(pieces)
    kept: list[bytes] = []
    for piece in pieces:
        kept.append(piece[:limit])
        limit -= len(kept[-1])
    return [piece for piece in kept if piece]


def _reset_on_close(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@asynccontextmanager
async def model_server(
    script: ServerScript | None = None, *, api_key: str | None = None, dim: int = 32, port: int = 0
) -> AsyncGenerator[ModelServer, None]:
    """A server for the length of an `async with` block; `server.base_url` is what to give a client.

    Args:
        script: Replies to chat and embedding calls in order of arrival (a text, or a `ServerReply`), or a
            function of the request. None: it echoes the last message. A script that is over answers 500.
        api_key: Without this key every request is answered 401.
        dim: The length of its vectors.
        port: Where to listen on 127.0.0.1; 0 takes any free port.
    """
    server = ModelServer(script, api_key, dim)
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    server.base_url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, server.serve, listeners)
            try:
                yield server
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raised = group.exceptions[0] if len(group.exceptions) == 1 else group
    if raised is not None:  # what the block raised, as itself, with the cause it has
        raise raised
