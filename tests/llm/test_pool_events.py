"""That a pool of connections broke is told to whoever listens to the system, not only to the log."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import trouper
from trouper.actors.model_events import PoolRebuilt
from trouper.adapters import wiring
from trouper.adapters.http_pooling import ConnectionPooling
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.model_server import ModelServer, Network
from trouper.runtime import MemoryJournal

pytestmark = pytest.mark.io

PATIENCE = 30.0
PLAN = json.dumps({"steps": [{"id": 1, "action": "calculate", "parameters": {"expression": "6 * 7"}}]})


@asynccontextmanager
async def mute_at_first(base_url: str, clock: MockClock) -> AsyncIterator[tuple[int, list[trio.SocketStream]]]:
    """In front of a server: it takes the first connection and says no word while time passes, and hands on the others.

    Gives its port and the connections that it took.
    """
    taken: list[trio.SocketStream] = []
    port = urllib.parse.urlsplit(base_url).port
    assert port is not None

    async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        async for piece in source:
            await sink.send_all(piece)
        await sink.send_eof()

    async def serve(stream: trio.SocketStream) -> None:
        taken.append(stream)
        if len(taken) == 1:
            await trio.testing.wait_all_tasks_blocked(0.02)
            clock.jump(PATIENCE)
            await trio.sleep_forever()
        async with await trio.open_tcp_stream("127.0.0.1", port) as server, trio.open_nursery() as nursery:
            nursery.start_soon(copy, stream, server)
            nursery.start_soon(copy, server, stream)

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1], taken
        nursery.cancel_scope.cancel()


async def test_who_listens_to_the_system_hears_that_a_pool_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    """A server is stuck in its first handshake: the goal is planned over a new pool, and two listeners hear of it."""
    mock_clock.rate = 1.0  # real, because of the memory's threads, and put forward by the mute server
    async with (
        ModelServer(lambda _: PLAN, network=Network(tls=True)) as server,
        mute_at_first(server.base_url, mock_clock) as (
            port,
            taken,
        ),
    ):
        # With its own patience the pool would wait for the end of the time that connecting may take.
        pool = HttpPool(
            ConnectionPooling(max_connections=1), patience=PATIENCE, connect_timeout=1000.0, ca_file=server.ca_file
        )
        monkeypatch.setattr(wiring, "build_pool", lambda _: pool)
        config = {
            "llm": {"base_url": f"https://127.0.0.1:{port}/v1", "api_key": None, "max_retries": 0, "warm_up": 0},
            "memory": {"path": str(tmp_path / "memory.sqlite")},
        }
        with trio.fail_after(PATIENCE + 60):
            async with trouper.open_troupe(config, workdir=tmp_path, journal=MemoryJournal()) as troupe:
                with troupe.events() as events, troupe.system.events() as others:
                    planned = await troupe.planned("Multiply six by seven")
                    heard = [[e for e in one.take_nowait() if isinstance(e, PoolRebuilt)] for one in (events, others)]
                [client] = pool.statistics().clients

        assert (planned.planner, server.statistics.requests, len(taken)) == ("llm", 1, 2)
    assert heard[0] == heard[1]
    [told] = heard[0]
    assert (told.actor, told.origin, client.rebuilt) == (client.client, f"https://127.0.0.1:{port}", 1)
    assert (told.waiting, told.in_progress, told.after) == (1, 0, PATIENCE)
