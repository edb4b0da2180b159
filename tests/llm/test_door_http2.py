"""HTTP/2: many calls on one connection, and its own ways to fail, against a real server over TLS."""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.holding import Hold
from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters import http_answer
from trouper.adapters.http_pooling import ConnectionPooling
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server_tls import make_authority
from trouper.runtime import LLMError, ModelUnavailable, StreamTruncated

config = pytest.importorskip("h2.config", reason="HTTP/2 needs the package h2")
connection = pytest.importorskip("h2.connection")
settings = pytest.importorskip("h2.settings")
h2events = pytest.importorskip("h2.events")

pytestmark = pytest.mark.io

ASK = ChatRequest(messages=(ChatMessage("user", "a question"),))
BODY = json.dumps({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}).encode()
Act = Callable[["Connection", int], Awaitable[None]]


class Connection:
    """One client's connection; `act` answers a stream, or does what a bad server does."""

    def __init__(self, stream: trio.abc.Stream, act: Act, streams: int) -> None:
        self.http = connection.H2Connection(config.H2Configuration(client_side=False))
        told = {settings.SettingCodes.MAX_CONCURRENT_STREAMS: streams}
        self.http.local_settings = settings.Settings(client=False, initial_values=told)
        self.stream = stream
        self.act = act
        self.lock = trio.Lock()

    async def run(self) -> None:
        self.http.initiate_connection()
        await self.flush()
        async with trio.open_nursery() as nursery:
            while data := await self.stream.receive_some(65536):
                for event in self.http.receive_data(data):
                    if isinstance(event, h2events.StreamEnded):
                        nursery.start_soon(self.act, self, event.stream_id)
                await self.flush()
            nursery.cancel_scope.cancel()

    async def flush(self) -> None:
        async with self.lock:
            if data := self.http.data_to_send():
                await self.stream.send_all(data)

    async def answer(
        self, number: int, body: bytes = BODY, kind: str = "application/json", *, end: bool = True
    ) -> None:
        self.http.send_headers(number, [(":status", "200"), ("content-type", kind)])
        self.http.send_data(number, body, end_stream=end)
        await self.flush()


@asynccontextmanager
async def model_over_http2(
    tmp_path: Path, act: Act, *, streams: int = 100, **pooling: int
) -> AsyncIterator[tuple[OpenAIModel, HttpPool, str]]:
    authority = make_authority(tmp_path)
    context = authority.server_context()
    context.set_alpn_protocols(["h2"])

    async def serve(raw: trio.SocketStream) -> None:
        stream = trio.SSLStream(raw, context, server_side=True)
        try:
            await Connection(stream, act, streams).run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            pass
        finally:
            await trio.aclose_forcefully(raw)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            await nursery.start(trio.serve_listeners, serve, listeners)
            url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
            pool = HttpPool(ConnectionPooling(**pooling), http2=True, ca_file=authority.ca_file)
            yield OpenAIModel(model="test", base_url=url, pool=pool), pool, url
            await pool.aclose()
            nursery.cancel_scope.cancel()


async def good(client: Connection, number: int) -> None:
    await trio.sleep(0.02)
    await client.answer(number)


async def test_many_calls_share_one_connection(tmp_path: Path) -> None:
    async with model_over_http2(tmp_path, good) as (model, pool, url):
        assert await pool.warm_up(url, 1) == 1
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(model.complete, ASK)
        told = pool.statistics()

    assert (told.total("sent"), told.total("opened")) == (32, 1)


async def test_no_more_calls_than_allowed_are_in_progress(tmp_path: Path) -> None:
    hold = Hold(3)

    async def counted(client: Connection, number: int) -> None:
        await hold.pass_through()
        await client.answer(number)

    async with model_over_http2(tmp_path, counted, max_connections=3) as (model, _, _), trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(model.complete, ASK)

    assert hold.most == 3


async def test_a_server_that_takes_few_calls_at_once_is_not_taken_for_a_broken_pool(
    tmp_path: Path, idle_clock: MockClock
) -> None:
    """Two at a time: the others wait for their turn, longer than the patience, and are served by the same pool."""

    async def slow(client: Connection, number: int) -> None:
        await trio.sleep(0.4)
        await client.answer(number)

    async with model_over_http2(tmp_path, slow, streams=2) as (model, pool, url):
        await model.complete(ASK)
        pool.transport(url)._way._patience = 0.5  # now that there is a connection
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(model.complete, ASK)
        told = pool.statistics()

    assert (told.total("sent"), told.total("rebuilt")) == (9, 0)


async def test_a_cancelled_call_leaves_the_connection_to_the_others(tmp_path: Path) -> None:
    async with model_over_http2(tmp_path, good) as (model, pool, _):
        await model.complete(ASK)
        for _ in range(5):
            with trio.move_on_after(0.005) as scope:
                await model.complete(ASK)
            assert scope.cancelled_caught
        assert (await model.complete(ASK)).text == "hello"
        told = pool.statistics()

    assert (told.total("opened"), told.total("in_progress")) == (1, 0)


async def reset(client: Connection, number: int) -> None:
    client.http.reset_stream(number)
    await client.flush()


async def go_away(client: Connection, _: int) -> None:
    client.http.close_connection(error_code=11)
    await client.flush()
    await client.stream.aclose()


async def vanish(client: Connection, _: int) -> None:
    await client.stream.aclose()


async def not_http2(client: Connection, _: int) -> None:
    await client.stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
    await client.stream.aclose()


@pytest.mark.parametrize("fault", [reset, go_away, vanish, not_http2])
async def test_each_fault_is_unavailable_and_the_next_call_works(tmp_path: Path, fault: Act) -> None:
    number = 0

    async def once(client: Connection, stream: int) -> None:
        nonlocal number
        number += 1
        await (fault if number == 1 else good)(client, stream)

    async with model_over_http2(tmp_path, once) as (model, pool, _):
        with pytest.raises(ModelUnavailable):
            await model.complete(ASK)
        assert (await model.complete(ASK)).text == "hello"
        assert pool.statistics().total("in_progress") == 0


async def test_a_stream_that_is_reset_is_truncated_and_a_call_left_early_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle_clock: MockClock
) -> None:
    monkeypatch.setattr(http_answer, "CLEAN_UP", math.inf)  # whoever waited for the rest of it would wait for ever
    piece = b'data: {"choices":[{"delta":{"content":"some text"}}]}\n\n'

    async def broken(client: Connection, number: int) -> None:
        await client.answer(number, piece, "text/event-stream", end=False)
        await trio.sleep(0.02)
        await reset(client, number)

    async with model_over_http2(tmp_path, broken) as (model, pool, _):
        got = ""
        with pytest.raises(StreamTruncated):
            async with model.stream(ASK) as chunks:
                async for chunk in chunks:
                    got += chunk.text
        async with model.stream(ASK) as chunks:
            await anext(chunks)
        assert got == "some text"
        assert pool.statistics().total("in_progress") == 0


async def test_a_server_that_speaks_only_http1_is_spoken_to_in_http1(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)

    async def serve(raw: trio.SocketStream) -> None:
        stream = trio.SSLStream(raw, authority.server_context(), server_side=True, https_compatible=True)
        while await stream.receive_some(10_000):
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY))

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, listeners)
        pool = HttpPool(http2=True, ca_file=authority.ca_file)
        url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"
        model = OpenAIModel(model="test", base_url=url, pool=pool)
        with trio.fail_after(60):
            assert [(await model.complete(ASK)).text for _ in range(2)] == ["hello"] * 2
        assert pool.statistics().total("opened") == 1
        await pool.aclose()
        nursery.cancel_scope.cancel()


async def test_a_server_that_is_not_there_is_no_other_error_than_without(tmp_path: Path) -> None:
    pool = HttpPool(http2=True, ca_file=make_authority(tmp_path).ca_file)
    model = OpenAIModel(model="test", base_url="https://127.0.0.1:9/v1", pool=pool)
    with pytest.raises(LLMError, match="no connection"):
        await model.complete(ASK)
    await pool.aclose()
