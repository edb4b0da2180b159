"""A run that is followed while it goes on: what happens in it and what its models say, piece by piece, as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import trio

from trouper.runtime import Event, EventStream, System, carry

from .model_messages import RUN
from .outcome import Outcome

CAPACITY = 4096
"""Events that are kept for a reader who is slower than the run; what comes while there is no room is dropped."""


class RunStream(AsyncIterator[Event]):
    """The events of one run, from its start to its end: `async with troupe.stream(goal) as events: async for ...`.

    The run begins with the block and ends with it: leaving the block early cancels the run and what it has started.
    The pieces of a model's answer are `ModelText` events. Reading never makes the run wait; a reader who is too slow
    misses what `dropped` counts.

    Args:
        system: Where the run lives.
        run_id: Its name.
        execute: Runs it.
        capacity: Events that are kept at most.
    """

    def __init__(
        self, system: System, run_id: str, execute: Callable[[], Awaitable[Outcome]], *, capacity: int = CAPACITY
    ) -> None:
        self.run_id: str = run_id
        self._execute: Callable[[], Awaitable[Outcome]] = execute
        self._stream: EventStream = system.events(capacity)
        self._stack: AsyncExitStack[bool | None] = AsyncExitStack()
        self._entered: bool = False
        self._outcome: Outcome | None = None
        self._error: Exception | None = None

    @property
    def outcome(self) -> Outcome:
        """How the run has ended: known when the events are over.

        Raises:
            RuntimeError: it has not ended.
        """
        if self._outcome is None:
            raise RuntimeError(f"the run {self.run_id} has not ended: read its events to their end first")
        return self._outcome

    @property
    def dropped(self) -> int:
        """Events, of whichever run, for which there was no room."""
        return self._stream.dropped

    async def __aenter__(self) -> Self:
        """Begin the run."""
        if self._entered:
            raise RuntimeError("a stream is of one run: ask for another one")
        self._entered = True
        self._stack.enter_context(self._stream)
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._stack.callback(nursery.cancel_scope.cancel)
        nursery.start_soon(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run, if it has not ended.

        Raises:
            Exception: what refused the run, if nobody has read as far as that.
        """
        await self._stack.__aexit__(None, None, None)  # not the caller's error: our nursery would wrap it
        if error is None:
            self._tell()

    async def _run(self) -> None:
        try:
            with carry(**{RUN: self.run_id}):
                self._outcome = await self._execute()
        except Exception as error:  # noqa: BLE001 - raised again to whoever reads
            self._error = error
        finally:
            self._stream.end()

    def __aiter__(self) -> Self:
        if not self._entered:
            raise TypeError(
                "a run is followed inside of its block, which ends it: "
                "`async with troupe.stream(goal) as events:` and in it `async for event in events:`"
            )
        return self

    async def __anext__(self) -> Event:
        """The next event of this run. Cancelled: none is lost.

        Raises:
            GoalRefused: the goal is none, or the rules do not understand it.
        """
        async for event in self._stream:
            if self._is_ours(event):
                return event
        self._tell()
        raise StopAsyncIteration

    def _is_ours(self, event: Event) -> bool:
        """Whether it is of this run: events of actors that live longer than a run are not."""
        return getattr(event, "run_id", None) == self.run_id

    def _tell(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


__all__ = ["CAPACITY", "RunStream"]
