"""The limiter as an actor: leases in time, and nothing lost when callers or the limiter itself go."""

from __future__ import annotations

import functools
import random

import pytest
import trio
import trio.testing

from trouper.actors.limiter import (
    Acquire,
    GetLimiterStatistics,
    Limiter,
    PushBack,
    Settle,
    give_back,
    take_lease,
)
from trouper.runtime import BadRequest, Limits, Mailbox, ModelUnavailable, RateLimited, TokenBucket, open_system
from trouper.runtime._rate_window import SLACK, WINDOW
from trouper.runtime.testing import When, crash

MINUTE = WINDOW + SLACK


def bucket(rpm: int = 60, tpm: int = 60_000, burst: int = 1000) -> TokenBucket:
    return TokenBucket(Limits(rpm=rpm, tpm=tpm, burst=burst, safety_margin=1.0))


async def test_leases_within_the_limits_go_at_once_and_the_next_waits_for_the_window(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, bucket(rpm=2))
        began = trio.current_time()
        went = []
        for i in range(5):
            await take_lease(limiter, str(i), 10)
            went.append(trio.current_time() - began)

        assert went == pytest.approx([0, 0, MINUTE, MINUTE, 2 * MINUTE], abs=0.01)


async def test_without_a_bucket_everything_goes_at_once(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, None)
        began = trio.current_time()
        for i in range(1000):
            await take_lease(limiter, str(i), 10**9)
        await limiter.tell(PushBack(60.0))
        await take_lease(limiter, "after a push back", 1)

        assert trio.current_time() == began
        assert (await limiter.ask(GetLimiterStatistics())).acquired == 1001


async def test_a_request_larger_than_a_minute_is_refused_and_the_limiter_lives_on(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, bucket(tpm=100))

        with pytest.raises(BadRequest, match="tpm_limit 100"):
            await take_lease(limiter, "large", 101)
        await take_lease(limiter, "small", 100)
        assert (limiter.incarnation, (await limiter.ask(GetLimiterStatistics())).refused) == (1, 1)


async def test_waiting_in_vain_is_refused_at_once_and_costs_nothing(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, bucket(rpm=1))
        await take_lease(limiter, "first", 1)
        began = trio.current_time()

        with pytest.raises(RateLimited, match=r"go in 60.2 s, .* within 5 s") as caught:
            await take_lease(limiter, "second", 1, deadline=began + 5.0)
        assert trio.current_time() == began
        assert not caught.value.retryable
        state = (await limiter.ask(GetLimiterStatistics())).bucket
        assert (state.requests, state.waiting) == (1, 0)


async def test_a_push_back_reaches_those_who_already_wait(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, bucket(rpm=60, burst=1))
        began, went = trio.current_time(), []

        async def one(i: int) -> None:
            await take_lease(limiter, str(i), 1)
            went.append((i, trio.current_time() - began))

        async with trio.open_nursery() as nursery:
            for i in range(4):
                nursery.start_soon(one, i)
                await trio.testing.wait_all_tasks_blocked()
            await limiter.tell(PushBack(30.0))

        assert [i for i, _ in went] == [0, 1, 2, 3]
        assert [at for _, at in went] == pytest.approx([0, 30, 31, 32], abs=0.01)


async def test_a_crash_of_the_limiter_forgets_nothing_that_was_spent(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(functools.partial(Limiter, bucket(rpm=2)))
        await take_lease(limiter, "a", 1)
        await take_lease(limiter, "b", 1)
        crash(limiter, When.QUEUED)
        began = trio.current_time()
        await take_lease(limiter, "c", 1)

        assert limiter.incarnation == 2
        assert trio.current_time() - began == pytest.approx(MINUTE, abs=0.1)


@pytest.mark.parametrize("when", [When.IN_FLIGHT, When.BEFORE_REPLY])
async def test_a_caller_whose_lease_crashed_asks_again_and_is_charged_once(autojump_clock, when) -> None:
    async with open_system() as system:
        limiter = await system.spawn(functools.partial(Limiter, bucket()))
        crash(limiter, when, message=Acquire)
        lease = await take_lease(limiter, "a", 10)

        assert limiter.incarnation == 2
        assert (await limiter.ask(GetLimiterStatistics())).bucket.requests == 1
        assert lease.tokens == 10


async def test_a_limiter_that_has_stopped_is_a_typed_error(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, bucket())
        limiter.stop()
        await limiter.wait_stopped()

        with pytest.raises(ModelUnavailable, match="limiter"):
            await take_lease(limiter, "a", 10)


async def test_a_full_mailbox_does_not_lose_what_is_given_back(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, bucket(), mailbox=Mailbox(capacity=1))
        await limiter.ask(Acquire(lease_id="a", tokens=10))
        limiter.tell_nowait(Settle("unknown", 1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await give_back(limiter, "a")

        assert (await limiter.ask(GetLimiterStatistics())).bucket.requests == 0


class CancelAt(trio.abc.Instrument):
    """Cancels a scope just before the chosen step of one task: every await of it, one test after another."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.task: object = None
        self.scope: trio.CancelScope | None = None
        self.hit = False

    def before_task_step(self, task: object) -> None:
        if task is not self.task or self.scope is None:
            return
        self.left -= 1
        if self.left == 0:
            self.hit = True
            self.scope.cancel()


async def test_a_caller_cancelled_at_any_await_leaves_nothing_reserved(autojump_clock) -> None:
    """Reserved = in flight + in window: for a cancellation before each step of a caller that has to wait."""
    steps, hit = 0, True
    while hit:
        steps += 1
        assert steps < 60
        async with open_system() as system:
            limits = bucket(rpm=2)
            limiter = await system.spawn(Limiter, limits)
            began = trio.current_time()
            await take_lease(limiter, "a", 1)
            await take_lease(limiter, "b", 1)
            instrument = CancelAt(steps)
            got = None
            trio.lowlevel.add_instrument(instrument)
            try:
                with trio.CancelScope() as scope:
                    instrument.task, instrument.scope = trio.lowlevel.current_task(), scope
                    got = await take_lease(limiter, "c", 1)
            finally:
                instrument.scope = None
                trio.lowlevel.remove_instrument(instrument)
            hit = instrument.hit
            state = (await limiter.ask(GetLimiterStatistics())).bucket

            assert state.waiting == 0
            assert state.unsettled == 2 + (got is not None)
            assert limits.knows("c") == (got is not None)
            assert state.requests == (
                2 if got is None and trio.current_time() < began + MINUTE else int(got is not None)
            )
    assert steps >= 3


async def test_in_a_storm_of_cancellations_the_window_law_holds_and_the_books_are_right(autojump_clock) -> None:
    """Random callers, random patience: what is charged is exactly what went, and no minute holds too much."""
    chance = random.Random(3)
    limits = bucket(rpm=30, tpm=2000, burst=5)
    sent: list[tuple[float, int]] = []
    in_flight: set[str] = set()

    async def one(limiter, lease_id: str, tokens: int, patience: float) -> None:
        with trio.move_on_after(patience):
            await take_lease(limiter, lease_id, tokens)
            sent.append((trio.current_time(), tokens))
            in_flight.add(lease_id)
            await trio.sleep(chance.uniform(0, 5))
        if lease_id in in_flight:
            in_flight.remove(lease_id)
            limiter.tell_nowait(Settle(lease_id, tokens))

    async with open_system(ask_timeout=3600) as system:
        limiter = await system.spawn(Limiter, limits)
        async with trio.open_nursery() as nursery:
            for i in range(400):
                nursery.start_soon(one, limiter, str(i), chance.randint(1, 300), chance.choice([0.0, 1.0, 30.0, 600.0]))
                await trio.sleep(chance.expovariate(1.0))
                if i % 20 == 0:
                    state = (await limiter.ask(GetLimiterStatistics())).bucket
                    now = trio.current_time()
                    recent = [tokens for at, tokens in sent if at + MINUTE > now]
                    assert (state.requests, state.tokens) == (len(recent), sum(recent))
        await trio.sleep(MINUTE + 1)
        state = (await limiter.ask(GetLimiterStatistics())).bucket

    assert (state.requests, state.waiting, state.unsettled) == (0, 0, 0)
    assert len(sent) > 100
    for at, _ in sent:
        window = [tokens for other, tokens in sent if at <= other < at + WINDOW]
        assert len(window) <= 30
        assert sum(window) <= 2000
