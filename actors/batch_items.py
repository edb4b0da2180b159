"""What is asked for in batches: one value, who waits for it, and the flight that it is in."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Generic, TypeVar

import attrs
import trio

from trouper.runtime import Ledger, LLMError, Seconds

from .protocols import Priority

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")


@attrs.frozen(kw_only=True, eq=False)
class Asker:
    """Who wants something: until when (trio's clock), how urgently, and who pays for it."""

    deadline: Seconds = math.inf
    priority: Priority = "interactive"
    trace: str = ""
    ledger: Ledger | None = None


class Waiter:
    """One who waits for some values: a task in trio's own trap, for an event would be a third of what an ask costs."""

    __slots__ = ("_task", "asker", "left")

    def __init__(self, asker: Asker) -> None:
        self.asker: Asker = asker
        self.left: int = 0
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Until nothing is left to wait for."""
        if not self.left:
            await trio.lowlevel.checkpoint()
            return
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def settled(self) -> None:
        """One value less."""
        self.left -= 1
        if not self.left and self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None


class Item(Generic[T, R]):
    """One value that somebody waits for; `asker` is who asked first and pays for it.

    An error that is `own` is due to this value; any other is what has befallen the whole call.
    """

    __slots__ = ("_waiters", "asker", "error", "flight", "own", "results", "value", "weight")

    def __init__(self, value: T, weight: int, asker: Asker) -> None:
        self.value: T = value
        self.weight: int = weight
        self.asker: Asker = asker
        self.flight: Flight[T, R] | None = None
        self.results: list[R] = []  # at most one: it may be None
        self.error: LLMError | None = None
        self.own: bool = False
        self._waiters: dict[Waiter, None] = {}

    @property
    def settled(self) -> bool:
        """Whether it is known what becomes of it."""
        return bool(self.results) or self.error is not None

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for it."""
        return bool(self._waiters)

    @property
    def deadline(self) -> Seconds:
        """Until when the last who waits for it can."""
        return max((waiter.asker.deadline for waiter in self._waiters), default=-math.inf)

    @property
    def interactive(self) -> bool:
        """Whether somebody waits for it who is waited for."""
        return any(waiter.asker.priority == "interactive" for waiter in self._waiters)

    def join(self, waiter: Waiter) -> None:
        """One more waits for it."""
        if waiter not in self._waiters and not self.settled:
            self._waiters[waiter] = None
            waiter.left += 1

    def leave(self, waiter: Waiter) -> None:
        """One waits no longer."""
        self._waiters.pop(waiter, None)

    def settle(self, outcome: R | LLMError, *, own: bool) -> None:
        """It is known now: wake those who wait for nothing else."""
        if isinstance(outcome, LLMError):
            self.error, self.own = outcome, own
        else:
            self.results.append(outcome)
        for waiter in self._waiters:
            waiter.settled()


class Flight(Generic[T, R]):
    """Some values under way."""

    __slots__ = ("items", "scope")

    def __init__(self) -> None:
        self.items: list[Item[T, R]] = []
        self.scope: trio.CancelScope = trio.CancelScope()

    @property
    def deserted(self) -> bool:
        """Whether nobody waits for what is still open. A settled flight only fills a cache: that goes on."""
        return any(not i.settled for i in self.items) and not any(i.wanted for i in self.items if not i.settled)
