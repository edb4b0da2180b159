"""The actors that are measured, and what is done with them. Everything is on, as `open_system()` gives it."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio
import trio.testing

import trouper
from trouper import Actor, ActorCrashed, Ask, MailboxFull, Ref, Tell, handler

from .raw import CLIENTS, Work
from .slices import Slice

MANY = 50
"""Messages in one `tell_many`: they fit into the mailbox, and a slice is a whole number of them."""


@attrs.frozen
class Echo(Ask[int]):
    """Answered with its number."""

    number: int


@attrs.frozen
class Note(Tell):
    """Counted."""

    number: int


@attrs.frozen
class Counted(Ask[int]):
    """How many notes have been handled."""


@attrs.frozen
class Crash(Ask[None]):
    """Raises in the handler."""


@attrs.frozen
class Fall(Tell):
    """Raises in the handler; nobody waits for it."""


@attrs.frozen
class Flood(Ask[None]):
    """Tell so many notes from inside of a handler."""

    times: int


class Server(Actor):
    """Answers, counts and crashes."""

    def __init__(self) -> None:
        self.notes = 0

    @handler
    async def echo(self, message: Echo) -> int:
        return message.number

    @handler
    async def note(self, message: Note) -> None:
        self.notes += 1

    @handler
    async def counted(self, message: Counted) -> int:
        return self.notes

    @handler
    async def crash(self, message: Crash) -> None:
        raise RuntimeError("crash")

    @handler
    async def fall(self, message: Fall) -> None:
        raise RuntimeError("fall")


class Sender(Actor):
    """Floods another actor, so that every note carries a trace."""

    def __init__(self, work: Work) -> None:
        self.work = work

    @handler
    async def flood(self, message: Flood) -> None:
        await self.work(message.times)


@asynccontextmanager
async def server(**options: object) -> AsyncIterator[Ref[Server]]:
    """A system with one server under its root."""
    async with trouper.open_system("bench") as system:
        yield await system.spawn(Server, name="server", **options)


@asynccontextmanager
async def asking(message: Ask[int]) -> AsyncIterator[Work]:
    """One client."""
    async with server() as ref:

        async def ask(times: int) -> None:
            for _ in range(times):
                await ref.ask(message)

        yield ask


@asynccontextmanager
async def asking_at_once(message: Ask[int]) -> AsyncIterator[Work]:
    """A hundred clients."""
    async with server() as ref:

        async def client(times: int) -> None:
            for _ in range(times):
                await ref.ask(message)

        async def ask(times: int) -> None:
            async with trio.open_nursery() as clients:
                for _ in range(CLIENTS):
                    clients.start_soon(client, times // CLIENTS)

        yield ask


@asynccontextmanager
async def asking_inline(message: Ask[int]) -> AsyncIterator[Work]:
    """One client of a handler that runs in the caller's task."""

    class Inline(Actor):
        @handler(inline=True)
        def echo(self, message: Echo) -> int:
            return message.number

    async with trouper.open_system("bench") as system:
        ref = await system.spawn(Inline, name="inline")

        async def ask(times: int) -> None:
            for _ in range(times):
                await ref.ask(message)

        yield ask


async def _handled(ref: Ref[Server], wanted: int) -> None:
    counted = await ref.ask(Counted())
    assert counted == wanted, f"{wanted} notes were sent and {counted} handled"


@asynccontextmanager
async def telling(message: Tell) -> AsyncIterator[Work]:
    """`await tell`, until the last one has been handled."""
    async with server() as ref:
        sent = 0

        async def tell(times: int) -> None:
            nonlocal sent
            sent += times
            for _ in range(times):
                await ref.tell(message)
            await _handled(ref, sent)

        yield tell


@asynccontextmanager
async def telling_many(message: Tell) -> AsyncIterator[Work]:
    """`await tell_many`, until the last one has been handled."""
    async with server() as ref:
        sent = 0
        batch = [message] * MANY

        async def tell(times: int) -> None:
            nonlocal sent
            sent += times
            for _ in range(times // MANY):
                await ref.tell_many(batch)
            await _handled(ref, sent)

        yield tell


def filling(ref: Ref[Server], message: Tell) -> Work:
    """`tell_nowait` until the mailbox is full, one checkpoint, and again, until the last one has been handled."""
    sent = 0

    async def tell(times: int) -> None:
        nonlocal sent
        sent += times
        left = times
        while left:
            try:
                while left:
                    ref.tell_nowait(message)
                    left -= 1
            except MailboxFull:
                await trio.lowlevel.checkpoint()
        await _handled(ref, sent)

    return tell


@asynccontextmanager
async def filling_untraced(message: Tell) -> AsyncIterator[Work]:
    """From plain task code: nothing to carry."""
    async with server() as ref:
        yield filling(ref, message)


@asynccontextmanager
async def filling_traced(message: Tell) -> AsyncIterator[Work]:
    """From inside of a handler: every note carries the trace, the deadline and the baggage of the message in hand."""
    async with trouper.open_system("bench") as system:
        ref = await system.spawn(Server, name="server")
        sender = await system.spawn(Sender, filling(ref, message), name="sender")

        async def tell(times: int) -> None:
            await sender.ask(Flood(times))

        yield tell


@asynccontextmanager
async def filling_carried(message: Tell) -> AsyncIterator[Work]:
    """From plain task code with baggage: every note starts a trace and carries the baggage."""
    async with server() as ref:
        fill = filling(ref, message)

        async def tell(times: int) -> None:
            with trouper.carry(tenant="bench"):
                await fill(times)

        yield tell


@asynccontextmanager
async def crashing() -> AsyncIterator[Work]:
    """Crash, and ask until the next incarnation has answered."""
    ping = Echo(1)
    with quiet():
        async with server(intensity=10**9, period=1.0) as ref:

            async def crash_and_ask(times: int) -> None:
                for _ in range(times):
                    try:
                        await ref.ask(Crash())
                    except ActorCrashed:
                        await ref.ask(ping)

            yield crash_and_ask


async def lost_over(crashes: int, queued: int) -> int:
    """How many of the notes that waited behind a crash were not handled by the next incarnation."""
    handled = 0

    class Witness(Server):
        @handler
        async def note(self, message: Note) -> None:
            nonlocal handled
            handled += 1

    with quiet():
        async with trouper.open_system("bench") as system:
            ref = await system.spawn(Witness, intensity=10**9, period=1.0)
            for _ in range(crashes):
                ref.tell_nowait(Fall())
                for number in range(queued):
                    ref.tell_nowait(Note(number))
                await ref.ask(Echo(1))
            assert ref.incarnation == crashes + 1
    return crashes * queued - handled


def stop_actors(count: int) -> Slice:
    """Spawn `count` idle actors; then stop their system, which alone is timed."""

    async def run() -> float:
        async with trouper.open_system("bench") as system:
            for _ in range(count):
                await system.spawn(Server)
            await trio.testing.wait_all_tasks_blocked()
            began = time.process_time()
            await system.stop()
            return (time.process_time() - began) / count

    return run


class quiet:  # noqa: N801 - reads as a word in `with quiet():`
    """No log lines: the hand-written restart writes none either. Crash reports are kept as ever."""

    def __enter__(self) -> None:
        self._log = logging.getLogger("trouper")
        self._level = self._log.level
        self._log.setLevel(logging.CRITICAL + 1)

    def __exit__(self, *_: object) -> None:
        self._log.setLevel(self._level)
