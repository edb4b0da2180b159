"""One flight for everybody who asks for the same: identical calls at the same time are made once.

Whoever asks first begins the flight, in a task of a nursery of its own and behind a shield: it sees the beginner's
trace, deadline and baggage, and the beginner may go without taking the others' answer along. A flight is called off
when the last who waits for it has gone, and only then. That also ends it when the actor is stopped, for then all of
them go.

The beginner pays: what the flight spends is on its budget and its trace, also if it has left. In turn a failure that
is the beginner's own is not handed on. Whoever joined and may take longer than the beginner does not believe that
there was no time, and nobody believes that somebody else's budget is spent: they ask again, and one of them begins
the next flight.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import attrs
import trio

from trouper.runtime import AuthFailed, BadRequest, BudgetExceeded, LengthCut, Refused, Seconds

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

PERSONAL: tuple[type[Exception], ...] = (BudgetExceeded,)
"""Failures that are the beginner's alone."""
SETTLED: tuple[type[Exception], ...] = (BadRequest, AuthFailed, Refused, LengthCut)
"""Failures that more time would not change."""


@attrs.frozen
class Landed(Generic[R]):
    """What a flight brought; `shared` if somebody else began it, and so has paid for it."""

    value: R
    shared: bool


@attrs.frozen(kw_only=True)
class FlightStatistics:
    """Counters: `flights` were begun, `shared` asks joined one, `called_off` flights lost everybody who waited."""

    flights: int = 0
    shared: int = 0
    called_off: int = 0


class _Flight(Generic[R]):
    """One call under way, and those who wait for it."""

    __slots__ = ("deadline", "error", "over", "scope", "values", "waiters")

    def __init__(self, deadline: Seconds) -> None:
        self.deadline = deadline
        self.waiters = 1
        self.scope = trio.CancelScope(shield=True)  # ended by `_leave`, and by the call's own timeout
        self.over = trio.Event()
        self.values: list[R] = []  # at most one: it may be None
        self.error: Exception | None = None

    def believed(self, error: Exception, deadline: Seconds) -> bool:
        """Whether one who joined and may wait until `deadline` takes this failure for its own."""
        if isinstance(error, PERSONAL):
            return False
        return deadline <= self.deadline or isinstance(error, SETTLED)


class SingleFlight(Generic[K, R]):
    """Flights by what they are for. For one actor: not across threads.

    Args:
        enabled: Without it nothing is shared: every call flies alone.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._flying: dict[K, _Flight[R]] = {}
        self._flights = self._shared = self._called_off = 0

    def __len__(self) -> int:
        """How many flights can be joined now."""
        return len(self._flying)

    def statistics(self) -> FlightStatistics:
        """Counters since this was made."""
        return FlightStatistics(flights=self._flights, shared=self._shared, called_off=self._called_off)

    async def share(
        self, key: K | None, call: Callable[[], Awaitable[R]], *, deadline: Seconds = math.inf
    ) -> Landed[R]:
        """What `call` gives, made here or shared with an identical one that is under way.

        `key` says what is identical; None shares nothing. `deadline` (trio's clock) is until when the caller may wait:
        it bounds nothing, but tells whose failures it has to believe. An error comes to the beginner as it was raised
        and to everybody else as a copy of their own.

        Cancelled: the flight goes on for the others, and is cancelled if there are none.

        Raises:
            Exception: what `call` raised.
        """
        if key is None or not self._enabled:
            self._flights += 1
            return Landed(await call(), shared=False)
        while True:
            flight = self._flying.get(key)
            if flight is None:
                return Landed(await self._begin(key, call, deadline), shared=False)
            flight.waiters += 1
            self._shared += 1
            try:
                await flight.over.wait()
            finally:
                self._leave(key, flight)
            if flight.values:
                return Landed(flight.values[0], shared=True)
            if flight.error is not None and flight.believed(flight.error, deadline):
                raise own_copy(flight.error)

    async def _begin(self, key: K, call: Callable[[], Awaitable[R]], deadline: Seconds) -> R:
        flight = self._flying[key] = _Flight[R](deadline)
        self._flights += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fly, key, flight, call)
            try:
                await flight.over.wait()
            finally:  # before the nursery waits for a flight that may have nobody left but us
                self._leave(key, flight)
        if flight.error is not None:
            raise flight.error
        return flight.values[0]

    async def _fly(self, key: K, flight: _Flight[R], call: Callable[[], Awaitable[R]]) -> None:
        try:
            with flight.scope:
                flight.values.append(await call())
        except Exception as error:  # noqa: BLE001 - raised again for everybody who waits
            flight.error = error
        finally:
            self._close(key, flight)
            flight.over.set()

    def _leave(self, key: K, flight: _Flight[R]) -> None:
        flight.waiters -= 1
        if not flight.waiters and not flight.over.is_set():
            self._called_off += 1
            self._close(key, flight)  # who comes now must not wait for what is called off
            flight.scope.cancel(reason="nobody waits for this call")

    def _close(self, key: K, flight: _Flight[R]) -> None:
        if self._flying.get(key) is flight:
            del self._flying[key]


def own_copy(error: Exception) -> Exception:
    """A copy to raise in another task: an exception that several tasks raise collects the traces of all of them."""
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001 - one that cannot be copied is raised as it is: its trace is longer, no more
        return error
    if hasattr(error, "__notes__"):
        twin.__notes__ = list(error.__notes__)
    twin.__cause__, twin.__suppress_context__ = error.__cause__, error.__suppress_context__
    return twin.with_traceback(error.__traceback__)
