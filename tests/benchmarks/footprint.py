"""What idle actors weigh: the growth of a fresh process, which is why this is a command of its own.

`python -m tests.benchmarks.footprint raw|eager|used|lazy COUNT` prints the bytes that the process grew by.
"""

from __future__ import annotations

import functools
import gc
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
import trio.testing

ROOT = Path(__file__).resolve().parents[2]
PRIMED = 200
"""Actors made before the first look, so that what is made once (caches, code) is not charged to the actors."""


def resident() -> int:
    """The bytes of memory this process holds now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _growth(make: Callable[[int], Awaitable[object]], count: int) -> int:
    kept = [await make(PRIMED)]
    gc.collect()
    before = resident()
    kept.append(await make(count))
    gc.collect()
    return resident() - before


async def raw(count: int) -> int:
    """Idle server tasks, each on a channel of its own."""

    async def server(receive: trio.MemoryReceiveChannel[object]) -> None:
        async for _ in receive:
            pass

    async with trio.open_nursery() as nursery:

        async def make(number: int) -> object:
            ends = []
            for _ in range(number):
                send, receive = trio.open_memory_channel[object](64)
                ends.append(send)
                nursery.start_soon(server, receive)
            await trio.testing.wait_all_tasks_blocked()
            return ends

        grown = await _growth(make, count)
        nursery.cancel_scope.cancel()
    return grown


async def actors(count: int, *, asked: bool = False, lazy: bool = False) -> int:
    """Idle actors under the root of one system, refs kept; each `asked` once before, or not."""
    import trouper

    from .subjects import Echo, Server

    async with trouper.open_system("bench") as system:

        async def make(number: int) -> object:
            refs = [await system.spawn(Server, lazy=lazy) for _ in range(number)]
            if asked:
                for ref in refs:
                    await ref.ask(Echo(1))
            await trio.testing.wait_all_tasks_blocked()
            return refs

        return await _growth(make, count)


KINDS: dict[str, Callable[[int], Awaitable[int]]] = {
    "raw": raw,
    "eager": actors,
    "used": functools.partial(actors, asked=True),
    "lazy": functools.partial(actors, lazy=True),
}


def measured(kind: str, count: int) -> int:
    """The same in a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.footprint", kind, str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed: {done.stderr.strip().splitlines()[-1:]}")
    return int(done.stdout)


if __name__ == "__main__":
    print(trio.run(KINDS[sys.argv[1]], int(sys.argv[2])))
