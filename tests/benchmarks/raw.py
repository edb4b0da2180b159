"""What people write by hand on trio: the measure that Trouper is held against.

Each is the same shape as what it is compared with (one server task, capacity 64, the same messages) and nothing
more: no deadline, no cancellation that reaches the server, no supervision, no bound on clean-up.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
import trio.testing

from .slices import Slice

CAPACITY = 64
CLIENTS = 100

Work = Callable[[int], Awaitable[None]]


@asynccontextmanager
async def ping_pong(message: object) -> AsyncIterator[Work]:
    """Two memory channels made once: request and reply with one client, the least that channels can do."""
    send, receive = trio.open_memory_channel[object](CAPACITY)
    send_back, receive_back = trio.open_memory_channel[object](CAPACITY)

    async def server() -> None:
        async for request in receive:
            await send_back.send(request)

    async def ask(times: int) -> None:
        for _ in range(times):
            await send.send(message)
            await receive_back.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        yield ask
        send.close()


@asynccontextmanager
async def channel_and_event(message: object) -> AsyncIterator[Work]:
    """One channel, an Event a request, and a hundred clients at once: the usual way to write a server task."""
    send, receive = trio.open_memory_channel[tuple[object, list[object], trio.Event]](CAPACITY)

    async def server() -> None:
        async for request, reply, answered in receive:
            reply.append(request)
            answered.set()

    async def client(times: int) -> None:
        for _ in range(times):
            reply: list[object] = []
            answered = trio.Event()
            await send.send((message, reply, answered))
            await answered.wait()
            assert reply[0] is message

    async def ask(times: int) -> None:
        async with trio.open_nursery() as clients:
            for _ in range(CLIENTS):
                clients.start_soon(client, times // CLIENTS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        yield ask
        send.close()


@asynccontextmanager
async def send_and_receive(message: object) -> AsyncIterator[Work]:
    """One-way messages through one channel, until the last one has been received."""
    send, receive = trio.open_memory_channel[object](CAPACITY)
    received = 0
    wanted = 0
    done = trio.Event()

    async def server() -> None:
        nonlocal received
        async for _ in receive:
            received += 1
            if received == wanted:
                done.set()

    async def tell(times: int) -> None:
        nonlocal wanted, done
        wanted, done = received + times, trio.Event()
        for _ in range(times):
            await send.send(message)
        await done.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        yield tell
        send.close()


@asynccontextmanager
async def restarting_nursery(crash: object, ping: object) -> AsyncIterator[Work]:
    """The least restart there is: the task raises, a loop around its nursery starts it again on the same channel."""
    send, receive = trio.open_memory_channel[tuple[object, trio.Event]](CAPACITY)

    async def server() -> None:
        async for request, answered in receive:
            answered.set()
            if request is crash:
                raise RuntimeError("crash")

    async def supervisor() -> None:
        crashed = True
        while crashed:
            crashed = False
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(server)
            except* RuntimeError:
                crashed = True

    async def request(message: object) -> None:
        answered = trio.Event()
        await send.send((message, answered))
        await answered.wait()

    async def crash_and_ask(times: int) -> None:
        for _ in range(times):
            await request(crash)
            await request(ping)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor)
        yield crash_and_ask
        send.close()


def stop_tasks(count: int) -> Slice:
    """Start `count` idle server tasks; then close their channels and leave their nursery, which alone is timed."""

    async def server(receive: trio.MemoryReceiveChannel[object]) -> None:
        async for _ in receive:
            pass

    async def run() -> float:
        async with trio.open_nursery() as nursery:
            ends = []
            for _ in range(count):
                send, receive = trio.open_memory_channel[object](CAPACITY)
                ends.append(send)
                nursery.start_soon(server, receive)
            await trio.testing.wait_all_tasks_blocked()
            began = time.process_time()
            for send in reversed(ends):
                send.close()
        return (time.process_time() - began) / count

    return run
