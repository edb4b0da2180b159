"""The places among the parallel calls to models: who waits for one, and who is next.

Interactive calls go before background ones, each kind first come first served. Background work never takes the last
place of several, so that a question that somebody waits for does not stand behind work that nobody waits for. It does
not wait for ever either: after `patience` seconds it stands among the interactive calls, before all that came later.
"""

from __future__ import annotations

from typing import Protocol

import attrs
import trio

from trouper.runtime import Seconds

from .protocols import Priority

PATIENCE: Seconds = 10.0
"""How long background work stands behind interactive calls."""


@attrs.frozen(kw_only=True)
class PlacesStatistics:
    """How many places there are and are taken, and who waits."""

    places: int
    taken: int
    interactive_waiting: int
    background_waiting: int


@attrs.define(eq=False)
class _Waiter:
    number: int
    task: trio.lowlevel.Task
    background: bool


class _GiveUp(Protocol):
    def __call__(self, *, background: bool) -> None: ...


class Place:
    """A place that was taken; leaving the block gives it up."""

    __slots__ = ("_background", "_give_up")

    def __init__(self, give_up: _GiveUp, *, background: bool) -> None:
        self._give_up = give_up
        self._background = background

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._give_up(background=self._background)


class Places:
    """`places` calls at once."""

    def __init__(self, places: int, *, patience: Seconds = PATIENCE) -> None:
        if places < 1:
            raise ValueError(f"there must be at least one place, not {places}")
        self._places = places
        self._most_background = max(1, places - 1)
        self._patience = patience
        self._taken = self._background = 0
        self._interactive_queue: list[_Waiter] = []
        self._background_queue: list[_Waiter] = []
        self._next = 0

    def statistics(self) -> PlacesStatistics:
        """How it is now."""
        return PlacesStatistics(
            places=self._places,
            taken=self._taken,
            interactive_waiting=len(self._interactive_queue),
            background_waiting=len(self._background_queue),
        )

    async def take(self, priority: Priority) -> Place:
        """Wait for a place and take it; use it in a `with` block. Cancelled: none is taken."""
        return Place(self._give_up, background=await self._take(background=priority == "background"))

    def _give_up(self, *, background: bool) -> None:
        self._taken -= 1
        self._background -= background
        self._hand_on()

    async def _take(self, *, background: bool) -> bool:
        """Take a place; whether as background work."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._may_go(background=background):  # then nobody waits: a place that becomes free is handed on at once
            self._seat(background=background)
            await trio.lowlevel.cancel_shielded_checkpoint()
            return background
        waiter = _Waiter(self._next, trio.lowlevel.current_task(), background)
        self._next += 1
        if background:
            with trio.move_on_after(self._patience) as patience:
                await self._wait(waiter)
            if not patience.cancelled_caught:
                return True
            waiter.background = False
            if self._may_go(background=False):
                self._seat(background=False)
                return False
        await self._wait(waiter)
        return False

    async def _wait(self, waiter: _Waiter) -> None:
        queue = self._queue(background=waiter.background)
        queue.append(waiter)
        queue.sort(key=lambda other: other.number)

        def abort(_: object) -> trio.lowlevel.Abort:
            queue.remove(waiter)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _queue(self, *, background: bool) -> list[_Waiter]:
        return self._background_queue if background else self._interactive_queue

    def _may_go(self, *, background: bool) -> bool:
        return self._taken < self._places and not (background and self._background >= self._most_background)

    def _seat(self, *, background: bool) -> None:
        self._taken += 1
        self._background += background

    def _hand_on(self) -> None:
        """The places that are free go to those who are next; taken for them before they run."""
        for background in (False, True):
            queue = self._queue(background=background)
            while queue and self._may_go(background=background):
                waiter = queue.pop(0)
                self._seat(background=background)
                trio.lowlevel.reschedule(waiter.task)
