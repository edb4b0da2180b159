"""Standing in line without asking: the same order, the same errors, and nothing lost on the way."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from trouper.actors import leasing
from trouper.actors.leasing import Acquire, take_lease
from trouper.actors.limiter import GetLimiterStatistics, Limiter
from trouper.runtime import (
    Actor,
    BadRequest,
    Limits,
    ModelUnavailable,
    RateBooks,
    RateLimited,
    Ref,
    Turn,
    handler,
    open_system,
)
from trouper.runtime._bucket import FEWEST
from trouper.runtime._rate_line import GRACE, RateLine
from trouper.runtime._rate_window import SLACK, WINDOW
from trouper.runtime.testing import When, crash


def books(**keys: object) -> RateBooks:
    return RateBooks(Limits(**{"rpm": 60, "tpm": 60_000, "burst": 1, "safety_margin": 1.0, "charge": "actual", **keys}))


class Asked(Limiter):
    """Counts who asked."""

    names: list[str]

    @handler(inline=True, raises=(leasing.BudgetExceeded,))
    def acquire(self, message: Acquire) -> Turn:
        self.names.append(message.lease_id)
        return super().acquire(message)


class Crowd:
    """Callers, each of whom writes down when it went, or why not."""

    def __init__(self, limiter: Ref[Actor], nursery: trio.Nursery) -> None:
        self.limiter, self.nursery = limiter, nursery
        self.went: list[tuple[str, float]] = []
        self.errors: dict[str, Exception] = {}

    async def add(self, name: str, tokens: int = 1, *, patience: float = 1e9, **keys: object) -> None:
        self.nursery.start_soon(self._one, name, tokens, patience, keys)
        await trio.testing.wait_all_tasks_blocked()

    async def _one(self, name: str, tokens: int, patience: float, keys: dict[str, object]) -> None:
        with trio.move_on_after(patience):
            try:
                lease = await take_lease(self.limiter, name, tokens, **keys)
            except (BadRequest, RateLimited, ModelUnavailable) as error:
                self.errors[name] = error
                return
            self.went.append((name, trio.current_time()))
            lease.settle(tokens)

    @property
    def order(self) -> list[str]:
        return [name for name, _ in self.went]


async def in_line(limiter: Ref[Actor]) -> int:
    return (await limiter.ask(GetLimiterStatistics())).bucket.waiting


async def test_those_behind_others_do_not_ask_and_go_in_the_order_in_which_they_came(autojump_clock) -> None:
    account = books()
    Asked.names = []
    async with open_system() as system, trio.open_nursery() as nursery:
        crowd = Crowd(await system.spawn(Asked, account), nursery)
        for i in range(40):
            await crowd.add(str(i))
        assert FEWEST <= len(Asked.names) < 20
        assert await in_line(crowd.limiter) == 39
        await trio.sleep(100)

    assert crowd.order == [str(i) for i in range(40)]
    assert [at for _, at in crowd.went] == pytest.approx(range(40), abs=0.1)
    assert account.bucket("", 0.0)._open == {}


async def test_askers_and_those_who_stand_in_line_by_themselves_keep_one_order(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books()
        crowd = Crowd(await system.spawn(Limiter, account), nursery)
        for i in range(60):
            if i % 5 == 0:
                leasing.forget_tray(account.tray)  # as one who comes for the first time
            await crowd.add(str(i))
        await trio.sleep(100)

    assert crowd.order == [str(i) for i in range(60)]


async def stand(crowd: Crowd, account: RateBooks, count: int = 20) -> None:
    """So many wait, and the next one may stand in line by itself."""
    for i in range(count):
        await crowd.add(f"before{i}")
    assert account.tray.lines[""].places > 0


async def test_one_that_no_minute_can_hold_is_told_so_at_once(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books(tpm=1000)
        crowd = Crowd(await system.spawn(Limiter, account), nursery)
        await stand(crowd, account)
        await crowd.add("large", 1001)

        assert isinstance(crowd.errors["large"], BadRequest)
        nursery.cancel_scope.cancel()


async def test_one_whose_time_would_not_be_enough_is_told_so_at_once(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books()
        crowd = Crowd(await system.spawn(Limiter, account), nursery)
        await stand(crowd, account)
        for i in range(60):  # the tenth of them would be the thirtieth
            await crowd.add(str(i), deadline=trio.current_time() + 30.0)
        refused = [int(name) for name in crowd.errors]
        assert refused == list(range(refused[0], 60))
        assert refused[0] == pytest.approx(11, abs=2)
        await trio.sleep(100)

    assert all(isinstance(error, RateLimited) for error in crowd.errors.values())
    assert len(crowd.went) + len(crowd.errors) == 80


async def test_a_joiner_whose_time_runs_out_is_told_then(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books()
        limiter = await system.spawn(Limiter, account)
        crowd = Crowd(limiter, nursery)
        await stand(crowd, account)
        await crowd.add("late", deadline=trio.current_time() + 100.0)
        assert account.tray.entries
        account.bucket("", 0.0).push_back(120.0, trio.current_time())
        await trio.sleep(101.0)

        assert isinstance(crowd.errors["late"], RateLimited)
        nursery.cancel_scope.cancel()


async def test_the_first_of_its_class_asks_and_is_not_behind_the_other(autojump_clock) -> None:
    """A large request of the background waits for a minute; somebody small that is waited for need not."""
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books(tpm=1000, burst=1000, rpm=6000)
        crowd = Crowd(await system.spawn(Limiter, account), nursery)
        await crowd.add("first", 600, priority="background")
        for i in range(20):
            await crowd.add(f"behind{i}", 900, priority="background")
        assert account.tray.lines[""].background
        await crowd.add("small", 100)

        assert crowd.order == ["first", "small"]
        nursery.cancel_scope.cancel()


async def test_a_joiner_that_is_cancelled_before_anybody_has_read_of_it_leaves_nothing(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books()
        crowd = Crowd(await system.spawn(Limiter, account), nursery)
        await stand(crowd, account)
        with trio.CancelScope() as scope:
            scope.cancel()
            before = len(account.tray.entries)
            await take_lease(crowd.limiter, "at once", 1)
        assert len(account.tray.entries) == before + 2  # that it came, and that it went
        assert await in_line(crowd.limiter) == 19
        await trio.sleep(100)
        seen = (await crowd.limiter.ask(GetLimiterStatistics())).bucket

        assert (seen.waiting, seen.unsettled, seen.requests) == (0, 0, 0)


@pytest.mark.parametrize("when", list(When))
async def test_those_in_the_tray_are_served_after_a_crash(when, autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books()
        crowd = Crowd(await system.spawn(lambda: Limiter(account), name="limiter"), nursery)
        await stand(crowd, account)
        await crowd.add("unread")
        assert account.tray.entries
        crash(crowd.limiter, when)
        for i in range(5):
            await crowd.add(f"after{i}")
        await trio.sleep(100)

        assert crowd.limiter.incarnation == 2
        assert crowd.order == [*(f"before{i}" for i in range(20)), "unread", *(f"after{i}" for i in range(5))]


async def test_those_in_the_tray_are_told_when_the_limiter_stops_and_who_comes_later_asks(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books()
        crowd = Crowd(await system.spawn(Limiter, account), nursery)
        await stand(crowd, account)
        await crowd.add("unread")
        crowd.limiter.stop()
        await crowd.limiter.wait_stopped()
        await crowd.add("later")

        assert all(isinstance(crowd.errors[name], ModelUnavailable) for name in ("unread", "before5", "later"))
        assert crowd.limiter not in leasing._trays


async def test_nobody_stands_in_a_line_that_is_not_looked_at_any_more(autojump_clock) -> None:
    """Who kills a limiter for good runs none of its code: newcomers find out after a moment."""
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books()
        limiter = await system.spawn(Limiter, account)
        crowd = Crowd(limiter, nursery)
        await stand(crowd, account)
        line = account.tray.lines[""]
        look_at = line.until - GRACE
        assert account.tray.join("in time", 1, look_at, "", "interactive", 1e9) is not None
        assert account.tray.join("in vain", 1, line.until + 0.01, "", "interactive", 1e9) is None
        nursery.cancel_scope.cancel()


async def test_one_name_is_for_one_call_at_a_time(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books()
        crowd = Crowd(await system.spawn(Limiter, account), nursery)
        await stand(crowd, account)
        await crowd.add("before19")
        await trio.sleep(100)

        assert "share" in str(crowd.errors["before19"])
        assert crowd.order.count("before19") == 1


async def test_only_as_many_join_between_two_looks_as_wait_already(autojump_clock) -> None:
    """So what they are told of their time is not wrong."""
    async with open_system() as system, trio.open_nursery() as nursery:
        account = books()
        crowd = Crowd(await system.spawn(Limiter, account), nursery)
        await stand(crowd, account)
        line = account.tray.lines[""]
        places = line.places
        assert places <= 20
        for i in range(places):
            assert account.tray.join(str(i), 0, 0.0, "", "interactive", 1e9) is not None
        assert account.tray.join("one more", 0, 0.0, "", "interactive", 1e9) is None
        nursery.cancel_scope.cancel()


def test_a_line_is_closed_until_somebody_has_looked() -> None:
    account = books()
    account.tray.lines[""] = RateLine()

    assert account.tray.join("a", 1, 0.0, "", "interactive", 1e9) is None
    assert account.tray.join("a", 1, 0.0, "elsewhere", "interactive", 1e9) is None


@pytest.mark.parametrize("seed", range(2))
async def test_in_any_storm_everybody_goes_once_and_no_minute_holds_too_much(seed, autojump_clock) -> None:
    """A line that is never empty, several scopes and classes, impatient callers, crashes: all who stay are served."""
    chance = random.Random(seed)
    account = books(rpm=120, tpm=8000, burst=10)
    went: list[tuple[float, str, int]] = []
    stayed = cancelled = 0

    async def one(limiter: Ref[Actor], name: str) -> None:
        nonlocal stayed, cancelled
        tokens, scope = chance.randint(1, 120), chance.choice(["one", "two"])
        with trio.move_on_after(chance.choice([0.0, 3.0, 1e6, 1e6])) as patience:
            lease = await take_lease(
                limiter, name, tokens, scope=scope, priority=chance.choice(["interactive", "background"])
            )
            went.append((trio.current_time(), scope, tokens))
            with lease:
                await trio.sleep(chance.uniform(0, 3))
                lease.settle(tokens)
            stayed += 1
        cancelled += patience.cancelled_caught

    async with open_system(ask_timeout=3600) as system:
        limiter = await system.spawn(lambda: Limiter(account), name="limiter", intensity=1000)
        async with trio.open_nursery() as nursery:
            for i in range(600):
                nursery.start_soon(one, limiter, str(i))
                if i % 4 == 0:
                    await trio.sleep(chance.expovariate(4.0))
                if i % 150 == 149:
                    crash(limiter, chance.choice(list(When)))
        await trio.sleep(WINDOW + SLACK + 1)
        seen = (await limiter.ask(GetLimiterStatistics())).bucket

    assert (seen.requests, seen.tokens, seen.waiting, seen.unsettled) == (0, 0, 0, 0)
    assert stayed + cancelled == 600
    assert stayed > 300
    for scope in ("one", "two"):
        mine = [(at, tokens) for at, where, tokens in went if where == scope]
        for at, _ in mine:
            window = [tokens for other, tokens in mine if at <= other < at + WINDOW]
            assert len(window) <= 120
            assert sum(window) <= 8000
