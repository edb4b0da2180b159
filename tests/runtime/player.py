"""An actor that plays what a message tells it to, and clients whose ends are noted: for the tests of messages.

`Do(play)` is answered with what `await play(actor)` gives; the other classes of messages differ only in how they are
handled. So a test says in one place what happens: `await ref.ask(Do(lambda me: trio.sleep(5)))`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import attrs
import trio
import trio.testing

from trouper import Actor, Ask, OnCancel, Ref, Stream, Tell, handler

settle = trio.testing.wait_all_tasks_blocked


class Declared(Exception):
    """What a player's handlers may answer with."""


class Broken(Exception):
    """What a player crashes with."""


@attrs.frozen(eq=False)
class Do(Ask[Any]):
    """Handled alone."""

    play: Callable[[Player], Awaitable[object]]


@attrs.frozen(eq=False)
class Save(Ask[Any]):
    """Handled alone, and to its end whoever goes."""

    play: Callable[[Player], Awaitable[object]]


@attrs.frozen(eq=False)
class Beside(Ask[Any]):
    """Three of them are handled side by side."""

    play: Callable[[Player], Awaitable[object]]


@attrs.frozen(eq=False)
class SaveBeside(Ask[Any]):
    """Three of them are handled side by side, and to their ends."""

    play: Callable[[Player], Awaitable[object]]


@attrs.frozen(eq=False)
class AtOnce(Ask[Any]):
    """Handled inline."""

    play: Callable[[Player], object]


@attrs.frozen(eq=False)
class InContext(Ask[Any]):
    """Handled in the contextvars of the asker."""

    play: Callable[[Player], Awaitable[object]]


@attrs.frozen(eq=False)
class Perform(Tell):
    """Handled alone, and nobody waits."""

    play: Callable[[Player], Awaitable[object]]


@attrs.frozen
class Note(Tell):
    """Noted in the player's log."""

    what: object


@attrs.frozen
class Read(Ask[list[Any]]):
    """Answered with the log."""


@attrs.frozen(eq=False)
class Show(Stream[Any]):
    """Answered with what `play(actor)` yields."""

    play: Callable[[Player], AsyncGenerator[object, None]]


@attrs.frozen(eq=False)
class ShowBeside(Stream[Any]):
    """Three of them side by side."""

    play: Callable[[Player], AsyncGenerator[object, None]]


@attrs.frozen(eq=False)
class ShowAll(Stream[Any]):
    """To its end whoever goes."""

    play: Callable[[Player], AsyncGenerator[object, None]]


class Player(Actor):
    """See the head of this file."""

    def __init__(self, log: list[Any] | None = None) -> None:
        self.log: list[Any] = [] if log is None else log

    @handler(raises=(Declared,))
    async def do(self, message: Do) -> Any:
        return await message.play(self)

    @handler(on_cancel=OnCancel.FINISH)
    async def save(self, message: Save) -> Any:
        return await message.play(self)

    @handler(concurrent=3, raises=(Declared,))
    async def beside(self, message: Beside) -> Any:
        return await message.play(self)

    @handler(concurrent=3, on_cancel=OnCancel.FINISH)
    async def save_beside(self, message: SaveBeside) -> Any:
        return await message.play(self)

    @handler(inline=True, raises=(Declared,))
    def at_once(self, message: AtOnce) -> Any:
        return message.play(self)

    @handler(context=True)
    async def in_context(self, message: InContext) -> Any:
        return await message.play(self)

    @handler
    async def perform(self, message: Perform) -> None:
        await message.play(self)

    @handler
    async def note(self, message: Note) -> None:
        self.log.append(message.what)

    @handler
    async def read(self, message: Read) -> list[Any]:
        return list(self.log)

    @handler(raises=(Declared,))
    async def show(self, message: Show) -> AsyncIterator[Any]:
        async with aclosing(message.play(self)) as items:
            async for item in items:
                yield item

    @handler(concurrent=3)
    async def show_beside(self, message: ShowBeside) -> AsyncIterator[Any]:
        async with aclosing(message.play(self)) as items:
            async for item in items:
                yield item

    @handler(on_cancel=OnCancel.FINISH)
    async def show_all(self, message: ShowAll) -> AsyncIterator[Any]:
        async with aclosing(message.play(self)) as items:
            async for item in items:
                yield item


# ------------------------------------------------------------------ things to play
def answer(value: object) -> Do:
    """Answered with `value` at once."""

    async def play(_: Player) -> object:
        return value

    return Do(play)


def nap(seconds: float, value: object = None) -> Do:
    """Answered with `value` after `seconds`."""

    async def play(_: Player) -> object:
        await trio.sleep(seconds)
        return value

    return Do(play)


async def breaks(_: Player) -> object:
    """Crash."""
    raise Broken("broken")


async def declares(_: Player) -> object:
    """Answer with a declared error."""
    raise Declared("declared")


# ------------------------------------------------------------------ clients
@attrs.define(eq=False)
class Call:
    """One call of a client: how it ended, and when; `scope` cancels it."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    value: object = None
    error: BaseException | None = None
    at: float | None = None

    @property
    def over(self) -> bool:
        return self.at is not None

    @property
    def end(self) -> object:
        """The value, or the name of the error; `...` while it is open."""
        if self.at is None:
            return ...
        return type(self.error).__name__ if self.error is not None else self.value

    async def run(self, function: Callable[..., Awaitable[object]], *args: object, **options: object) -> None:
        assert self.at is None
        with self.scope:
            try:
                self.value = await function(*args, **options)
            except BaseException as error:
                self.error = error
                if not isinstance(error, Exception):
                    raise
            finally:
                assert self.at is None, "one end only"
                self.at = trio.current_time()


def call(nursery: trio.Nursery, function: Callable[..., Awaitable[object]], *args: object, **options: object) -> Call:
    """Call `function` in a task of `nursery`."""
    one = Call()
    nursery.start_soon(lambda: one.run(function, *args, **options))
    return one


async def begin(
    nursery: trio.Nursery, function: Callable[..., Awaitable[object]], *args: object, **options: object
) -> Call:
    """Call `function` in a task of `nursery`, and give back control when nothing moves any more.

    Tasks that are started together run in an order that trio chooses; with this they come one after another.
    """
    one = call(nursery, function, *args, **options)
    await settle()
    return one


async def end_of(function: Callable[..., Awaitable[object]], *args: object, **options: object) -> object:
    """What the call gives: its value, or the error it raises."""
    try:
        return await function(*args, **options)
    except Exception as error:  # noqa: BLE001 - it is what the test looks at
        return error


def accounts(ref: Ref[Any]) -> tuple[int, int, int]:
    """Messages in the channel, dead ones among them, senders in line: all 0 for an actor that has nothing to do."""
    mailbox = ref._cell.mailbox
    return mailbox.count, mailbox.dead, mailbox.waiting_senders
