"""Connections to model servers: shared, counted, closed, and alive after a storm of cancellations."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import threading

import pytest
import trio

from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.embed_openai import OpenAIEmbedder
from trouper.adapters.http_seam import ConnectionPooling, HttpPool
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import ServerReply, model_server
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
    async with model_server(lambda _: ServerReply(delay=0.02)) as server:
        model = OpenAIModel(model="test", base_url=server.base_url, pool=pool)
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(model.complete, ASK)
        await pool.aclose()

        assert (server.statistics.requests, server.statistics.most_running) == (12, 3)


async def test_a_storm_of_cancellations_leaves_a_working_pool() -> None:
    """40 tasks on a pool of 10, ten rounds of random deadlines; then ten calls are served, and nothing is open."""
    chance = random.Random(7)
    pool = HttpPool(ConnectionPooling(max_connections=10, max_keepalive=10))

    async def one(model: OpenAIModel, patience: float, streamed: bool) -> None:
        with trio.move_on_after(patience):
            await (read_stream(model) if streamed else model.complete(ASK))

    async with model_server(lambda _: ServerReply(delay=0.002, pace=0.0005)) as server:
        model = OpenAIModel(model="test", base_url=server.base_url, pool=pool)
        await model.complete(ASK)
        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(one, model, chance.uniform(0, 0.04), chance.random() < 0.5)
        before = server.statistics.requests
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(model.complete, ASK)

        assert server.statistics.requests >= before + 10
        assert server.statistics.most_running <= 10
        await pool.aclose()
        with trio.fail_after(5):
            await server.wait_disconnected()


async def test_a_cancelled_call_is_seen_by_the_server_at_once() -> None:
    async with model_server([ServerReply(delay=math.inf)]) as server:
        model = OpenAIModel(model="test", base_url=server.base_url)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(model.complete, ASK)
            await server.wait_requests(1)
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
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


async def test_no_thread_is_started_by_the_first_call() -> None:
    """The SDK looks its platform up in a thread; under a virtual clock that would let the time jump."""
    async with model_server() as server:
        model = OpenAIModel(model="test", base_url=server.base_url)
        before = threading.active_count()
        await model.complete(ASK)

        assert threading.active_count() == before
        assert server.requests[0].headers["x-stainless-os"] == "Unknown"
        assert server.requests[0].headers["accept-encoding"] == "identity"
        await model.aclose()


@pytest.mark.parametrize(
    "wrong", [{"max_connections": 0}, {"max_keepalive": 1.5}, {"keepalive_expiry": -1}, {"max_connections": True}]
)
def test_pooling_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ConnectionPooling(**wrong)


def test_importing_and_building_a_model_loads_no_http_library() -> None:
    code = """
import sys
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.embed_openai import OpenAIEmbedder
OpenAIModel(model="m", api_key="k"); OpenAIEmbedder(model="m")
heavy = {"openai", "httpx2", "httpcore2", "pydantic", "anyio"} & set(sys.modules)
sys.exit(f"loaded: {sorted(heavy)}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
