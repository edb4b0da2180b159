"""A pool that gives no connection though it has to is replaced; one that is only busy is left alone."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
import trio
import trio.testing

from trouper.actors.model_events import PoolRebuilt
from trouper.adapters.http_pooling import ClientKey, ConnectionPooling
from trouper.adapters.http_watchdog import Watched

PATIENCE = 25.0


class Body(httpx2.AsyncByteStream):
    """A body that can be read in pieces, each after a second."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in (b"a", b"b"):
            await trio.sleep(1)
            yield piece

    async def aclose(self) -> None:
        if not self.closed:
            self.closed = True
            self.pool.free += 1


class Pool(httpx2.AsyncBaseTransport):
    """A pool in memory that keeps its word: `slots` connections, each made in 2 s; or, once `dead`, gives none."""

    def __init__(self, slots: int = 2, *, thinks: float = 5.0) -> None:
        self.free = slots
        self.thinks = thinks
        self.dead = False
        self.closed = False
        self.served: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        while self.dead or not self.free:  # noqa: ASYNC110 - a dead pool has nothing to wait for
            await trio.sleep(0.5)
        self.free -= 1
        try:
            await trio.sleep(2)
            async for _ in request.stream:
                pass
            self.served.append(request.url.path)
            await trio.sleep(self.thinks)
        except BaseException:
            self.free += 1
            raise
        return httpx2.Response(200, stream=Body(self))

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class House:
    """A watched pool, and every pool that was made for it."""

    def __init__(self, *pools: Pool, places: int = 2, slots: bool = True) -> None:
        self.pools = list(pools)
        self.left = list(pools)
        self.told: list[PoolRebuilt] = []
        key = ClientKey(scheme="http", host="h", port=1, pooling=ConnectionPooling(max_connections=places))
        self.watched = Watched(self.make, key=key, patience=PATIENCE, slots=slots, told=self.told.append)

    def make(self) -> httpx2.AsyncBaseTransport:
        return self.left.pop(0)

    async def ask(self, path: str = "/") -> bytes:
        request = httpx2.Request("POST", f"http://h:1{path}", content=b"body")
        response = await self.watched.handle_async_request(request)
        body = b""
        try:
            async for piece in response.stream:
                body += piece
        finally:
            await response.stream.aclose()
        return body


def after(seconds: float, act: Callable[[], None]) -> Callable[[], object]:
    async def later() -> None:
        await trio.sleep(seconds)
        act()

    return later


async def test_a_pool_that_gives_no_connection_is_replaced_and_the_request_goes_on(
    autojump_clock,
) -> None:
    dead, good = Pool(), Pool()
    dead.dead = True
    house = House(dead, good)

    assert await house.ask("/a") == b"ab"
    assert trio.current_time() == PATIENCE + 2 + 5 + 2
    assert (dead.served, good.served, dead.closed, good.closed) == ([], ["/a"], True, False)
    assert [(told.waiting, told.in_progress, told.after) for told in house.told] == [(1, 0, PATIENCE)]
    assert (house.watched.rebuilt, house.watched.in_progress, house.watched.waiting) == (1, 0, 0)


async def test_a_model_that_thinks_for_long_is_no_reason_and_neither_is_a_queue(autojump_clock) -> None:
    """Two places, six requests of 100 s each: the last ones wait 200 s, and nobody takes the pool for broken."""
    pool = Pool(slots=2, thinks=100.0)
    house = House(pool)

    async with trio.open_nursery() as nursery:
        for i in range(6):
            nursery.start_soon(house.ask, f"/{i}")
            await trio.testing.wait_all_tasks_blocked()
        assert (house.watched.in_progress, house.watched.waiting) == (2, 4)

    assert [set(pool.served[i : i + 2]) for i in (0, 2, 4)] == [{"/0", "/1"}, {"/2", "/3"}, {"/4", "/5"}]
    assert house.watched.rebuilt == 0
    assert house.told == []


async def test_calls_in_progress_end_in_the_old_pool_which_is_closed_after_the_last(autojump_clock) -> None:
    """Two are being answered when the pool dies; one of them is cancelled later, and the other one still ends well."""
    old, new = Pool(slots=3, thinks=200.0), Pool()
    house = House(old, new, places=3)
    answers: list[bytes] = []

    async def ask(scope: trio.CancelScope | None = None) -> None:
        with scope or trio.CancelScope():
            answers.append(await house.ask())

    given_up = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask, given_up)
        await trio.sleep(3)
        old.dead = True
        nursery.start_soon(ask)
        await trio.sleep(PATIENCE + 1)
        assert (house.watched.rebuilt, old.closed) == (1, False)
        assert [(told.waiting, told.in_progress) for told in house.told] == [(1, 2)]
        given_up.cancel()
        await trio.sleep(1)
        assert not old.closed

    assert answers == [b"ab"] * 2
    assert (len(old.served), len(new.served), old.closed, new.closed) == (2, 1, True, False)


async def test_who_waits_for_a_broken_pool_does_not_wait_out_its_own_patience(autojump_clock) -> None:
    """The first to lose patience frees the others: they were all waiting for the same nothing."""
    dead, good = Pool(), Pool(slots=2)
    dead.dead = True
    house = House(dead, good)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.ask)
        await trio.sleep(20)
        nursery.start_soon(house.ask)

    assert trio.current_time() == PATIENCE + 2 + 5 + 2
    assert house.watched.rebuilt == 1


async def test_where_places_are_no_connections_waiting_behind_others_is_no_proof(autojump_clock) -> None:
    """Five places and one connection, as over HTTP/2 with a strict server: the last one waits for the four before."""
    pool = Pool(slots=1, thinks=100.0)
    house = House(pool, places=5, slots=False)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(house.ask)

    assert (len(pool.served), house.watched.rebuilt) == (5, 0)


async def test_where_places_are_no_connections_a_pool_that_gives_none_at_all_is_replaced(autojump_clock) -> None:
    """While one call is answered the others may be waiting for it; once it has ended, patience begins."""
    old, new = Pool(slots=1, thinks=100.0), Pool(slots=5)
    house = House(old, new, places=5, slots=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.ask)
        await trio.sleep(3)
        old.dead = True
        nursery.start_soon(house.ask)
        nursery.start_soon(house.ask)
        await trio.sleep(100 + PATIENCE)
        assert house.watched.rebuilt == 0

    assert (len(old.served), len(new.served), house.watched.rebuilt) == (1, 2, 1)
    assert trio.current_time() == (2 + 100 + 2) + PATIENCE + (2 + 5 + 2)


async def test_a_request_that_finds_no_working_pool_three_times_gives_up(autojump_clock) -> None:
    pools = [Pool() for _ in range(4)]
    for pool in pools:
        pool.dead = True
    house = House(*pools)

    with pytest.raises(httpx2.PoolTimeout, match=r"http://h:1 .* within 25 s, 3 times"):
        await house.ask()
    assert (house.watched.rebuilt, house.watched.in_progress) == (3, 0)
    pools[3].dead = False
    assert await house.ask() == b"ab"


async def test_a_body_that_was_begun_is_never_sent_again(autojump_clock) -> None:
    """Given up in the very moment at which sending begins: an error, and no second request."""

    class Slow(Pool):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            with trio.CancelScope(shield=True):
                await trio.sleep(PATIENCE + 5)
            async for _ in request.stream:
                self.served.append("begun")
            await trio.sleep(1)
            raise AssertionError("not reached: its time was over")

    slow, good = Slow(), Pool()
    house = House(slow, good)

    with pytest.raises(httpx2.WriteError):
        await house.ask()
    assert (slow.served, good.served) == (["begun"], [])
    assert (house.watched.in_progress, house.watched.rebuilt) == (0, 0)


async def test_a_request_without_a_body_is_not_watched(autojump_clock) -> None:
    """Over HTTP/2 nothing reads a body that is not there: there would be no sign, and no proof."""
    pool = Pool()
    pool.dead = True
    house = House(pool, Pool())
    with trio.move_on_after(PATIENCE * 3) as scope:
        await house.watched.handle_async_request(httpx2.Request("GET", "http://h:1/"))

    assert scope.cancelled_caught
    assert (house.watched.rebuilt, house.watched.in_progress) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_wherever_calls_are_cancelled_no_place_is_lost(seed: int, autojump_clock) -> None:
    """30 calls cancelled at random moments, pools that die at random moments; then every place is there again."""
    chance = random.Random(seed)
    pools = [Pool(slots=3, thinks=chance.uniform(0, 9)) for _ in range(40)]
    house = House(*pools, places=3)
    ends: list[str] = []

    async def one() -> None:
        await trio.sleep(chance.uniform(0, 60))
        with trio.move_on_after(chance.uniform(0, 60)) as scope:
            await house.ask()
        ends.append("cancelled" if scope.cancelled_caught else "served")

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(one)
        for pool in chance.sample(pools[:5], 2):
            nursery.start_soon(after(chance.uniform(0, 60), lambda pool=pool: setattr(pool, "dead", True)))

    assert len(ends) == 30
    assert (house.watched.in_progress, house.watched.waiting) == (0, 0)
    assert all(pool.free == 3 for pool in pools)
    with trio.fail_after(PATIENCE + 60):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(house.ask)
    made = [pool for pool in pools if pool not in house.left]
    await house.watched.aclose()
    assert all(pool.closed for pool in made)


async def test_what_making_a_pool_says_reaches_the_caller_and_loses_no_place(autojump_clock) -> None:
    dead = Pool()
    dead.dead = True
    house = House(dead)  # there is no second one: making it fails

    for _ in range(3):
        with pytest.raises(IndexError):
            await house.ask()
    assert (house.watched.in_progress, house.watched.rebuilt) == (0, 0)
