"""A small real HTTP server that speaks the OpenAI protocol, for tests: ours and those of our users.

```python
async with ModelServer(["hello", ServerReply(status=429, headers={"retry-after": "2"})]) as server:
    model = OpenAIModel(model="test", base_url=server.base_url)
```
It answers `POST /v1/chat/completions` (plain and streamed), `POST /v1/embeddings` (vectors that depend on the text
alone) and `GET /v1/models`, and it can be told to do everything that real servers do wrong. Given a network, a model's
time and a law it is as far away, as slow and as strict as a provider. Everything is bounded: requests by size,
connections by number, waits by time. It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import math
import ssl
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs
import h11
import trio

from trouper.runtime import Seconds

from .model_server_connection import Connection
from .model_server_law import Admission, RateBook, RateLaw
from .model_server_replies import Counts, chat_reply, embeddings_reply, error_body, models_reply
from .model_server_script import End, Entry, ServerReply, ServerRequest, ServerRule, ServerScript, echo
from .model_server_times import ModelTime, Network, Thinking, ThinkingTimes, message_tokens
from .model_server_tls import make_authority

__all__ = [
    "Answer",
    "End",
    "Entry",
    "ModelServer",
    "ModelTime",
    "Network",
    "RateLaw",
    "Served",
    "ServerReply",
    "ServerRequest",
    "ServerRule",
    "ServerScript",
    "ServerStatistics",
    "model_server",
]

MAX_CONNECTIONS = 512
KEPT_REQUESTS = 10_000
MAX_MODELS = 100
"""Models for which the law counts."""
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


@attrs.frozen(kw_only=True)
class ServerStatistics:
    """Counters since the server began. `aborted` calls lost their client before the answer was sent."""

    requests: int = 0
    connections: int = 0
    connections_open: int = 0
    running: int = 0
    most_running: int = 0
    aborted: int = 0
    chats: int = 0
    """Chats that were answered with status 200; likewise `embeddings`."""
    embeddings: int = 0
    embedded_texts: int = 0
    rate_limited: int = 0
    """Requests that the law refused."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    model_seconds: Seconds = 0.0
    """What the model has thought in all."""


@attrs.frozen(kw_only=True)
class Served:
    """One request that has been answered: what was asked, how it ended, what it took the model."""

    path: str
    json: object
    status: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    before: Seconds
    """Seconds that the model thought before the first token."""
    writing: Seconds
    """Seconds from the first token to the last."""


@attrs.frozen(kw_only=True)
class Answer:
    """What is sent back for a request, and what it costs."""

    request: ServerRequest
    reply: ServerReply
    thinking: Thinking = attrs.field(factory=Thinking)
    headers: Mapping[str, str] = attrs.field(factory=dict)


class ModelServer:
    """A server for the length of an `async with` block; `base_url` is what to give a client.

    Args:
        script: Replies to chat and embedding calls in order of arrival (a text, or a `ServerReply`), or a function
            of the request. None: it echoes the last message. A script that is over answers 500.
        api_key: Without this key every request is answered 401.
        dim: The length of its vectors.
        port: Where to listen on 127.0.0.1; 0 takes any free port.
        network: How far away it is, and whether it speaks TLS.
        model_time: How long its model thinks.
        law: What it allows each model a minute; None: anything. What it refuses is answered 429 and takes nothing from
            the script.
        seed: Of the spread of the model's time.

    `requests` are the latest it read, `served` the latest it answered, `statistics` its counters. With TLS `ca_file`
    is the certificate that a client must trust; it is gone when the block ends.
    """

    def __init__(
        self,
        script: ServerScript | None = None,
        *,
        api_key: str | None = None,
        dim: int = 32,
        port: int = 0,
        network: Network | None = None,
        model_time: ModelTime | None = None,
        law: RateLaw | None = None,
        seed: int = 0,
    ) -> None:
        self.base_url: str = ""
        self.ca_file: Path | None = None
        self.network: Network = network if network is not None else Network()
        self.requests: deque[ServerRequest] = deque(maxlen=KEPT_REQUESTS)
        self.served: deque[Served] = deque(maxlen=KEPT_REQUESTS)
        self.statistics: ServerStatistics = ServerStatistics()
        self._function = script if callable(script) else None
        self._entries: Iterator[Entry] | None = None if script is None or callable(script) else iter(script)
        self._api_key = api_key
        self._dim = dim
        self._port = port
        self._model_time = model_time if model_time is not None else ModelTime()
        self._law = law if law is not None else RateLaw()
        self._seed = seed
        self._changed = trio.Event()
        self._open = AsyncExitStack()
        self._begin()

    def _begin(self) -> None:
        self._books: dict[str, RateBook] = {}  # the clock of the law begins with a model's first request
        self._times = ThinkingTimes(self._model_time, self._seed)

    def reset(self) -> None:
        """Forget what was counted, under the law too, and what the model knows; connections and script stay."""
        self.requests.clear()
        self.served.clear()
        now = self.statistics
        self.statistics = ServerStatistics(
            connections_open=now.connections_open, running=now.running, most_running=now.running
        )
        self._begin()

    # ------------------------------------------------------------ its life
    async def __aenter__(self) -> Self:
        """Listen. Returns when connections are accepted."""
        await self._open.enter_async_context(self._listening())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Close everything; what the block raised passes as itself."""
        return await self._open.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None, None]:
        raised: BaseException | None = None
        with tempfile.TemporaryDirectory(prefix="trouper-server-") as folder:
            tls: ssl.SSLContext | None = None
            if self.network.tls:
                authority = make_authority(Path(folder))
                self.ca_file, tls = authority.ca_file, authority.server_context()
            listeners = await trio.open_tcp_listeners(self._port, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]
            self.base_url = f"http{'s' if tls else ''}://127.0.0.1:{port}/v1"

            async def serve(stream: trio.SocketStream) -> None:
                await self._serve(stream, tls)

            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(trio.serve_listeners, serve, listeners)
                    try:
                        yield
                    finally:
                        nursery.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                raised = group.exceptions[0] if len(group.exceptions) == 1 else group
        if raised is not None:  # what the block raised, as itself, with the cause it has
            raise raised

    async def _serve(self, stream: trio.SocketStream, tls: ssl.SSLContext | None) -> None:
        """Answer the requests of one connection until either side has had enough."""
        if self.statistics.connections_open >= MAX_CONNECTIONS:
            await trio.aclose_forcefully(stream)
            return
        self.count(connections=1, connections_open=1)
        try:
            await Connection(self, stream, tls).run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError, ssl.SSLError):
            pass  # the client went away, trusted us not or spoke no HTTP; the counters tell
        finally:
            self.count(connections_open=-1)
            await trio.aclose_forcefully(stream)

    # ------------------------------------------------------------ watching it
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

    def count(self, **changes: float) -> None:
        """Add to the counters and wake whoever waits for them."""
        now = self.statistics
        fields = {name: getattr(now, name) + change for name, change in changes.items()}
        running = fields.get("running", now.running)
        self.statistics = attrs.evolve(now, **fields, most_running=max(now.most_running, running))
        self._changed.set()
        self._changed = trio.Event()

    # ------------------------------------------------------------ replies
    def answer(self, request: ServerRequest) -> Answer:
        """What to answer `request` with, and what that takes."""
        if self._api_key is not None and request.headers.get("authorization") != f"Bearer {self._api_key}":
            return self._at_once(request, 401, error_body("no such key", "invalid_api_key"))
        if request.path == "/v1/models" and request.method == "GET":
            return self._at_once(request, 200, models_reply())
        if request.path not in {CHAT, EMBEDDINGS} or request.method != "POST":
            body = error_body(f"no {request.method} {request.path} here", "not_found")
            return self._at_once(request, 404, body)
        admission = self._admit(request)
        if not admission.admitted:
            return self._refused(request, admission)
        answer = self._filled(request, self._scripted(request))
        return attrs.evolve(answer, headers=admission.headers)

    def answered(self, answer: Answer) -> None:
        """The answer has been sent in full: count it."""
        thinking, request = answer.thinking, answer.request
        if answer.reply.status == 200 and request.path in {CHAT, EMBEDDINGS}:
            self._book(request).add(trio.current_time(), thinking.completion_tokens)
            self.count(
                chats=request.path == CHAT,
                embeddings=request.path == EMBEDDINGS,
                embedded_texts=len(request.texts),
                prompt_tokens=thinking.prompt_tokens,
                cached_tokens=thinking.cached_tokens,
                completion_tokens=thinking.completion_tokens,
                model_seconds=thinking.seconds,
            )
        self.served.append(
            Served(
                path=request.path,
                json=request.json,
                status=answer.reply.status,
                prompt_tokens=thinking.prompt_tokens,
                cached_tokens=thinking.cached_tokens,
                completion_tokens=thinking.completion_tokens,
                before=thinking.before,
                writing=thinking.writing,
            )
        )

    def _at_once(self, request: ServerRequest, status: int, body: bytes) -> Answer:
        return Answer(request=request, reply=ServerReply(status=status, body=body))

    def _admit(self, request: ServerRequest) -> Admission:
        prompt = sum(map(message_tokens, request.messages))
        prompt += self._times.embeddings(request.texts).prompt_tokens
        most = request.payload.get("max_tokens", request.payload.get("max_completion_tokens"))
        charge = self._law.first_charge(prompt, most if isinstance(most, int) else None)
        return self._book(request).admit(trio.current_time(), charge)

    def _book(self, request: ServerRequest) -> RateBook:
        """What was counted for the model that the request names."""
        model = str(request.payload.get("model"))
        if model not in self._books:
            if len(self._books) >= MAX_MODELS:
                self._books.pop(next(iter(self._books)))
            self._books[model] = RateBook(self._law, trio.current_time())
        return self._books[model]

    def _refused(self, request: ServerRequest, admission: Admission) -> Answer:
        self.count(rate_limited=1)
        wait = admission.retry_after
        told = {} if math.isinf(wait) else {"retry-after": f"{math.ceil(wait)}", "retry-after-ms": f"{wait * 1000:.0f}"}
        why = "the request alone is larger than the limit" if math.isinf(wait) else f"try again in {wait:.3g} s"
        reply = ServerReply(status=429, body=error_body(f"the rate limit is reached: {why}", "rate_limit_exceeded"))
        return Answer(request=request, reply=reply, headers={**admission.headers, **told})

    def _scripted(self, request: ServerRequest) -> ServerReply:
        if self._function is not None:
            entry = self._function(request)
        elif self._entries is not None:
            entry = next(self._entries, ServerReply(status=500, body=error_body("the script is over", "script")))
        else:
            entry = echo(request)
        return ServerReply(text=entry) if isinstance(entry, str) else entry

    def _filled(self, request: ServerRequest, reply: ServerReply) -> Answer:
        """`reply` with the body that its fields describe, and what it takes to make it."""
        if reply.body is not None or reply.pieces is not None or reply.raw is not None:
            return Answer(request=request, reply=reply)
        if reply.status != 200:
            body = error_body(f"scripted {reply.status}", "scripted")
            return Answer(request=request, reply=attrs.evolve(reply, body=body))
        if request.path == EMBEDDINGS:
            body = embeddings_reply(request.payload, request.texts, self._dim)
            thinking = self._times.embeddings(request.texts)
            return Answer(request=request, reply=attrs.evolve(reply, body=body), thinking=thinking)
        said = reply.words or reply.text
        thinking = self._times.chat(request.messages, reply.refusal or "".join(said))
        counts = Counts(thinking.prompt_tokens, thinking.cached_tokens, thinking.completion_tokens)
        made = chat_reply(
            request.payload, said, reply.finish_reason, reply.refusal, counts if reply.usage else None, done=reply.done
        )
        reply = attrs.evolve(reply, body=made) if isinstance(made, bytes) else attrs.evolve(reply, pieces=made)
        return Answer(request=request, reply=reply, thinking=thinking)


def model_server(
    script: ServerScript | None = None, *, api_key: str | None = None, dim: int = 32, port: int = 0
) -> ModelServer:
    """A server that is near, quick and unlimited: `ModelServer` with the arguments that most tests need."""
    return ModelServer(script, api_key=api_key, dim=dim, port=port)
