"""The places among the parallel calls: never more than there are, and who is next."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trouper.actors.model_places import Places


class Calls:
    """Calls that hold a place until they are told to end, and the order in which they got one."""

    def __init__(self, places: int, nursery: trio.Nursery, **options: float) -> None:
        self.places = Places(places, **options)
        self.order: list[str] = []
        self._nursery = nursery
        self._ends: dict[str, trio.Event] = {}
        self._scopes: dict[str, trio.CancelScope] = {}

    async def begin(self, name: str) -> None:
        """Interactive, or in the background if its name begins with b."""
        self._ends[name] = trio.Event()
        self._scopes[name] = trio.CancelScope()
        self._nursery.start_soon(self._call, name)
        await trio.testing.wait_all_tasks_blocked()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await trio.testing.wait_all_tasks_blocked()

    async def cancel(self, name: str) -> None:
        self._scopes[name].cancel()
        await trio.testing.wait_all_tasks_blocked()

    async def _call(self, name: str) -> None:
        priority = "background" if name.startswith("b") else "interactive"
        with self._scopes[name], await self.places.take(priority):
            self.order.append(name)
            await self._ends[name].wait()


@asynccontextmanager
async def calling(places: int, **options: float) -> AsyncIterator[Calls]:
    async with trio.open_nursery() as nursery:
        yield Calls(places, nursery, **options)
        nursery.cancel_scope.cancel()


async def test_first_come_first_served(autojump_clock) -> None:
    async with calling(2) as calls:
        for name in ("i1", "i2", "i3", "i4", "i5"):
            await calls.begin(name)
        assert calls.order == ["i1", "i2"]

        await calls.end("i2", "i1")
        assert calls.order == ["i1", "i2", "i3", "i4"]


async def test_what_somebody_waits_for_goes_before_background_work(autojump_clock) -> None:
    async with calling(1) as calls:
        for name in ("i1", "b1", "b2", "i2"):
            await calls.begin(name)
        await calls.end("i1", "i2", "b1")

        assert calls.order == ["i1", "i2", "b1", "b2"]


async def test_background_work_never_takes_the_last_of_several_places(autojump_clock) -> None:
    async with calling(3) as calls:
        for name in ("b1", "b2", "b3", "i1"):
            await calls.begin(name)

        assert calls.order == ["b1", "b2", "i1"]
        await calls.end("b1")
        assert calls.order == ["b1", "b2", "i1", "b3"]


async def test_background_work_that_has_waited_long_goes_before_whoever_came_later(autojump_clock) -> None:
    async with calling(1, patience=10.0) as calls:
        for name in ("i1", "b1", "i2"):
            await calls.begin(name)
        await trio.sleep(11.0)
        await calls.begin("i3")
        await calls.end("i1", "b1", "i2")

        assert calls.order == ["i1", "b1", "i2", "i3"]


async def test_background_work_that_has_waited_long_may_take_the_last_place(autojump_clock) -> None:
    async with calling(2, patience=10.0) as calls:
        await calls.begin("b1")
        await calls.begin("b2")
        assert calls.order == ["b1"]

        await trio.sleep(10.1)
        assert calls.order == ["b1", "b2"]
        statistics = calls.places.statistics()
        assert (statistics.taken, statistics.background_waiting, statistics.interactive_waiting) == (2, 0, 0)


async def test_a_call_that_is_cancelled_while_it_waits_holds_up_nobody(autojump_clock) -> None:
    async with calling(1) as calls:
        for name in ("i1", "i2", "b1", "i3"):
            await calls.begin(name)
        await calls.cancel("i2")
        await calls.cancel("b1")
        await calls.end("i1", "i3")

        assert calls.order == ["i1", "i3"]
        assert calls.places.statistics().taken == 0


async def test_a_place_that_was_given_to_somebody_who_is_cancelled_at_that_instant_is_not_lost(autojump_clock) -> None:
    places = Places(1)

    async def wait(scope: trio.CancelScope) -> None:
        with scope, await places.take("interactive"):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        with await places.take("interactive"):
            nursery.start_soon(wait, scope)
            await trio.testing.wait_all_tasks_blocked()
        scope.cancel()  # the place is the other one's by now, and it has not run yet

    assert places.statistics().taken == 0


@pytest.mark.parametrize("seed", range(10))
async def test_under_random_cancellation_no_place_is_lost_or_doubled(seed, autojump_clock) -> None:
    rng = random.Random(seed)
    places, now, most = Places(3, patience=0.5), 0, 0
    served = 0

    async def one() -> None:
        nonlocal now, most, served
        await trio.sleep(rng.random() * 5)
        with trio.move_on_after(rng.choice([0.0, rng.random(), 100.0])):
            with await places.take(rng.choice(["interactive", "background"])):
                now += 1
                most = max(most, now)
                try:
                    await trio.sleep(rng.random() * 0.2)
                    served += 1
                finally:
                    now -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(one)

    statistics = places.statistics()
    assert (statistics.taken, statistics.interactive_waiting, statistics.background_waiting) == (0, 0, 0)
    assert most == 3
    assert served > 50


def test_there_is_at_least_one_place() -> None:
    with pytest.raises(ValueError, match="at least one place"):
        Places(0)
