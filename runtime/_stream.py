"""Answers that come one after another, as fast as the asker takes them.

A stream is an ask whose handler is an async generator. Each item goes through a memory channel of `buffer` places
(none by default), so the generator waits at its `yield` until the asker wants more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

import trio

from ._clock import Seconds
from ._envelope import ANSWERED, WITHDRAWN, Envelope

if TYPE_CHECKING:
    from ._cell import Cell

T = TypeVar("T")


class StreamEnvelope(Envelope):
    """A request for many answers, and the channel they come through."""

    __slots__ = ("_give", "_take")

    def __init__(self, message: object, cell: Cell, deadline: Seconds, origin: Envelope | None, buffer: int) -> None:
        super().__init__(message, cell, deadline, origin)
        self._give, self._take = trio.open_memory_channel[object](buffer)

    @property
    def asked(self) -> bool:
        """Always."""
        return True

    # ------------------------------------------------------------ the actor's side
    async def give(self, item: object) -> None:
        """Hand over one item; waits until the asker wants it."""
        try:
            await self._give.send(item)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # The asker has gone: either the scope of this handler is being cancelled, or it is to FINISH.
            await trio.lowlevel.checkpoint()

    def answer(self, value: object) -> None:  # noqa: ARG002 - the items were the answer
        """The generator has ended."""
        if self.state < WITHDRAWN:
            self.state: int = ANSWERED
            self._give.close()

    def fail(self, error: BaseException) -> bool:
        """The generator will give nothing more, because of `error`."""
        if self.state >= WITHDRAWN:
            return False
        self.state = ANSWERED
        self.error: BaseException | None = error
        self._give.close()
        return True

    def expire(self) -> None:
        """The deadline has passed."""
        if self.state < WITHDRAWN:
            error = self.too_late()
            self.withdraw()
            self.error = error
            self._give.close()

    # ------------------------------------------------------------ the asker's side
    async def take(self) -> object:
        """The next item. Raises what the handler failed with, or `trio.EndOfChannel`."""
        try:
            return await self._take.receive()
        except trio.EndOfChannel:
            if self.error is not None:
                self.unwrap()
            raise

    def leave(self) -> None:
        """The asker wants no more: a handler that still runs is cancelled."""
        if self.state < WITHDRAWN:
            self.withdraw()
        self._take.close()
        self._give.close()


class Items(Generic[T]):
    """What `async with ref.stream(...) as items` gives: iterate over it once."""

    def __init__(self, envelope: StreamEnvelope) -> None:
        self._envelope = envelope

    def __aiter__(self) -> Items[T]:
        return self

    async def __anext__(self) -> T:
        """The next item. Cancelled: it was not taken, and is given again."""
        try:
            return cast("T", await self._envelope.take())
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
