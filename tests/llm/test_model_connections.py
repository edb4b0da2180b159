"""Connections to model servers: shared, counted, closed."""

from __future__ import annotations

import math
import socket
import sys
import threading

import pytest
import trio

from tests.holding import Hold
from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.embed_openai import OpenAIEmbedder
from trouper.adapters.http_seam import ConnectionPooling, HttpPool
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import ModelServer, Network, ServerReply, model_server
from trouper.runtime import ModelUnavailable

pytestmark = pytest.mark.io

ASK = ChatRequest(messages=(ChatMessage("user", "a question of some length, so that its echo is streamed in pieces"),))


async def read_stream(model: OpenAIModel) -> None:
    async with model.stream(ASK) as chunks:
        async for _ in chunks:
            pass


@pytest.mark.parametrize(("enabled", "connections"), [(True, 1), (False, 7)])
async def test_pooling_is_one_connection_and_without_it_each_request_has_its_own(enabled, connections) -> None:
    pool = HttpPool(ConnectionPooling(enabled=enabled))
    async with model_server() as server:
        model = OpenAIModel(model="test", base_url=server.base_url, pool=pool)
        embedder = OpenAIEmbedder(model="test-embed", base_url=server.base_url, pool=pool)
        for _ in range(3):
            await model.complete(ASK)
            await read_stream(model)
        await embedder.embed(["one more"])
        await pool.aclose()

        assert server.statistics.requests == 7
        assert server.statistics.connections == connections


async def test_no_more_connections_than_allowed_are_open_at_once() -> None:
    pool = HttpPool(ConnectionPooling(max_connections=3))
    hold = Hold(3)
    async with model_server(lambda _: ServerReply(before=hold.pass_through)) as server:
        model = OpenAIModel(model="test", base_url=server.base_url, pool=pool)
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(model.complete, ASK)
        await pool.aclose()

        assert (server.statistics.requests, server.statistics.most_running) == (12, 3)


async def test_a_cancelled_call_is_seen_by_the_server_at_once() -> None:
    async with model_server([ServerReply(delay=math.inf)]) as server:
        model = OpenAIModel(model="test", base_url=server.base_url)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(model.complete, ASK)
            await server.wait_requests(1)
            nursery.cancel_scope.cancel()
        with trio.fail_after(60):
            await server.wait_idle()

        assert server.statistics.aborted == 1
        await model.aclose()


async def test_a_model_closes_its_own_connections_and_not_those_it_shares() -> None:
    async with model_server() as server:
        pool = HttpPool()
        sharing = OpenAIModel(model="test", base_url=server.base_url, pool=pool)
        owning = OpenAIModel(model="test", base_url=server.base_url)
        await sharing.complete(ASK)
        await owning.complete(ASK)

        await sharing.aclose()
        await sharing.complete(ASK)
        await owning.aclose()
        with pytest.raises(ModelUnavailable, match="closed"):
            await owning.complete(ASK)
        await pool.aclose()
        await pool.aclose()
        with pytest.raises(ModelUnavailable, match="closed"):
            await sharing.complete(ASK)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_pool_that_is_closed_under_its_calls_ends_them_and_leaves_no_socket(tls: bool) -> None:
    """Two calls wait for their answers, two are waiting for a place; all end, and nothing is opened any more."""
    ends: list[str] = []

    async def one(model: OpenAIModel) -> None:
        with pytest.raises(ModelUnavailable):
            await model.complete(ASK)
        ends.append("unavailable")

    async with ModelServer(lambda _: ServerReply(delay=60.0), network=Network(tls=tls)) as server:
        pool = HttpPool(ConnectionPooling(max_connections=2), ca_file=server.ca_file)
        model = OpenAIModel(model="test", base_url=server.base_url, pool=pool)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(one, model)
                await server.wait_requests(2)
                network = pool._client(server.base_url).network
                await pool.aclose()
            await server.wait_disconnected()

        assert ends == ["unavailable"] * 4
        assert (network.opened, network.open) == (2, 0)


async def test_a_pool_that_is_closed_while_it_connects_opens_nothing() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # they fill the backlog; whoever comes next hears nothing
            waiting.settimeout(0.0)
            waiting.connect_ex(full.getsockname())
        pool = HttpPool()
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        model = OpenAIModel(model="test", base_url=url, pool=pool)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(close_later, pool)
                with pytest.raises(ModelUnavailable, match="closed"):
                    await model.complete(ASK)


async def close_later(pool: HttpPool) -> None:
    await trio.sleep(0.1)
    await pool.aclose()


@pytest.mark.parametrize("way", ["direct", "sdk"])
async def test_no_thread_is_started_by_the_first_call_and_nobody_is_told_of_the_machine(way: str) -> None:
    """The SDK looks its platform up in a thread; under a virtual clock that would let the time jump."""
    async with model_server() as server:
        sdk = None
        if way == "sdk":
            import openai

            sdk = openai.AsyncOpenAI(api_key="k", base_url=server.base_url)
        model = OpenAIModel(model="test", base_url=server.base_url, sdk=sdk)
        before = threading.active_count()
        await model.complete(ASK)
        await model.aclose()

        assert threading.active_count() == before
        assert server.requests[0].headers.get("x-stainless-os", "Unknown") == "Unknown"
        assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "wrong", [{"max_connections": 0}, {"max_keepalive": 1.5}, {"keepalive_expiry": -1}, {"max_connections": True}]
)
def test_pooling_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ConnectionPooling(**wrong)


async def test_building_a_model_loads_no_http_library_and_asking_it_no_sdk() -> None:
    """The SDK alone costs half a second of CPU to import; nobody pays for it who does not hand one in."""
    code = """
import sys, trio
from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.embed_openai import OpenAIEmbedder
from trouper.adapters.llm_openai import OpenAIModel

def refuse(*names):
    if heavy := set(names) & set(sys.modules):
        sys.exit(f"loaded: {sorted(heavy)}")

model, embedder = OpenAIModel(model="m", base_url=sys.argv[1]), OpenAIEmbedder(model="m", base_url=sys.argv[1])
refuse("openai", "httpx2", "httpcore2", "pydantic", "anyio")

async def main():
    ask = ChatRequest(messages=(ChatMessage("user", "hello"),))
    await model.complete(ask)
    async with model.stream(ask) as chunks:
        [chunk async for chunk in chunks]
    await embedder.embed(["hello"])
    await model.aclose()
    await embedder.aclose()

trio.run(main)
refuse("openai", "pydantic")
"""
    async with model_server() as server:
        with trio.fail_after(60):
            done = await trio.run_process(
                [sys.executable, "-c", code, server.base_url], capture_stderr=True, check=False
            )

        assert done.returncode == 0, done.stderr.decode()
        assert server.statistics.requests == 3
