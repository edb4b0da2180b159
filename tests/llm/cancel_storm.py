"""A storm of cancellations on the door to models: `python -m tests.llm.cancel_storm 100000`.

Forty callers share a pool of ten connections to a real server on this machine. Every call has a random deadline, so
that it is cancelled while it waits for its place, connects, shakes hands, sends, waits for the answer, reads it or
closes it; every fifth answer closes its connection, so that connecting never stops. After the storm ten calls must be
served at once, and when the pool is closed not one socket may be left.
"""

from __future__ import annotations

import argparse
import random
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.http_pooling import ConnectionPooling
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import End, ModelServer, Network, ServerReply, ServerRequest
from trouper.runtime import LLMError

if TYPE_CHECKING:
    import httpx

    from trouper.adapters.http_ways import CallersClient

ASK = ChatRequest(messages=(ChatMessage("user", "a question of some length, so that its echo is streamed in pieces"),))
CALLERS = 40
PLACES = 10
FACES = ("plain", "stream")
SERVED = 20
"""Calls that a storm serves at least, or it goes on: what is cancelled otherwise might all be waiting for a place."""


@attrs.define
class Storm:
    """What happened.

    `lost` connections were kept by the pool when all was over and could not be used any more; `leaked` sockets were
    open after the pool was closed and not before.
    """

    cancelled: int = 0
    served: int = 0
    failed: int = 0
    afterwards: int = 0
    at_once: int = 0
    in_progress: int = 0
    lost: int = 0
    counted_open: int = 0
    rebuilt: int = 0
    opened: int = 0
    leaked: int = 0
    cpu: float = 0.0

    @property
    def calm(self) -> bool:
        """Whether everything is as if nothing had happened."""
        left = (self.in_progress, self.lost, self.counted_open, self.rebuilt, self.leaked)
        return self.afterwards == PLACES and left == (0, 0, 0, 0, 0)


def sockets() -> int:
    """The sockets of this process, whoever opened them."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += stat.S_ISSOCK(entry.stat().st_mode)
        except OSError:
            continue  # the one that reads this directory
    return count


def plain_httpx() -> httpx.AsyncClient:
    """A client of the library that loses its pool: what the watchdog is for."""
    import httpx

    limits = httpx.Limits(max_connections=PLACES, max_keepalive_connections=PLACES)
    return httpx.AsyncClient(limits=limits, timeout=httpx.Timeout(None, connect=10.0))


async def storm(
    cancellations: int, *, seed: int = 1, tls: bool = False, client: Callable[[], CallersClient] | None = None
) -> Storm:
    """Cancel so many calls, through clients that `client` makes if it is given, then look what is left."""
    chance = random.Random(seed)
    seen = Storm()
    replies = random.Random(seed + 1)

    def script(_: ServerRequest) -> ServerReply:
        end = End.CLOSE if replies.random() < 0.2 else End.KEEP
        return ServerReply(delay=replies.uniform(0, 0.004), pace=replies.uniform(0, 0.0005), end=end)

    async with ModelServer(script, network=Network(tls=tls)) as server:
        await trio.lowlevel.checkpoint()
        before = sockets()
        pool = HttpPool(
            ConnectionPooling(max_connections=PLACES, max_keepalive=PLACES),
            ca_file=server.ca_file,
            client=client,
            patience=None if client is None else 1.0,
        )
        model = OpenAIModel(model="test", base_url=server.base_url, pool=pool)
        await model.complete(ASK)
        patience = 0.2 if tls else 0.05
        most = 3 * cancellations  # a machine that is busy serves nobody at first

        async def caller() -> None:
            nonlocal patience
            while seen.cancelled < most and (seen.cancelled < cancellations or seen.served < SERVED):
                with trio.move_on_after(chance.uniform(0, 2 * patience)) as scope:
                    try:
                        await ask(model, chance.choice(FACES))
                        seen.served += 1
                    except LLMError:
                        seen.failed += 1
                seen.cancelled += scope.cancelled_caught
                # However fast this machine is: about two of three calls are cancelled, anywhere on their way.
                patience *= 1.01 if scope.cancelled_caught else 0.98

        began = time.process_time()
        async with trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                nursery.start_soon(caller)
        seen.cpu = time.process_time() - began
        await settled(server)
        seen.in_progress = pool.statistics().total("in_progress")
        if client is None:
            kept = pool.transport(server.base_url)._way.transport._pool.connections
            seen.lost = sum(not connection.is_idle() for connection in kept)

        server._function = lambda _: ServerReply(delay=0.2)

        async def one() -> None:
            await model.complete(ASK)
            seen.afterwards += 1

        with trio.move_on_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(PLACES):
                    nursery.start_soon(one)
        told = pool.statistics()
        seen.at_once, seen.rebuilt, seen.opened = (
            server.statistics.most_running,
            told.total("rebuilt"),
            told.total("opened"),
        )
        network = next(iter(pool._open.values())).network
        await pool.aclose()
        seen.counted_open = network.open
        with trio.move_on_after(60):
            await server.wait_disconnected()
        with trio.move_on_after(60):
            while sockets() > before:  # noqa: ASYNC110 - closing ends in its own time, and tells nobody
                await trio.sleep(0.01)
        seen.leaked = sockets() - before
    return seen


async def ask(model: OpenAIModel, face: str) -> None:
    """One call, plain or streamed."""
    if face == "plain":
        await model.complete(ASK)
        return
    async with model.stream(ASK) as chunks:
        async for _ in chunks:
            pass


async def settled(server: ModelServer) -> None:
    """Wait until the server has noticed that nobody waits for it any more."""
    with trio.move_on_after(60):
        await server.wait_idle()


def main() -> int:
    """Run a storm and print what it left; 0 if that is nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.llm.cancel_storm", description=__doc__)
    parser.add_argument("cancellations", type=int, nargs="?", default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--httpx", action="store_true", help="through plain httpx, which loses its pools on the way")
    chosen = parser.parse_args()
    if chosen.httpx and chosen.tls:
        parser.error("plain httpx is not told whom to trust")
    client = plain_httpx if chosen.httpx else None
    seen = trio.run(lambda: storm(chosen.cancellations, seed=chosen.seed, tls=chosen.tls, client=client))
    for name, value in attrs.asdict(seen).items():
        print(f"{name:14} {value:,}" if isinstance(value, int) else f"{name:14} {value:.1f} s")
    print("calm" if seen.calm else "NOT CALM")
    return 0 if seen.calm else 1


if __name__ == "__main__":
    sys.exit(main())
