"""A lease in the hands of its caller: reported on once, at once, and never lost."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from trouper.actors.leasing import Acquire, Lease, PushBack, ReadTray, take_lease
from trouper.actors.limiter import GetLimiterStatistics, Limiter, LimiterStatistics, LimitHit
from trouper.runtime import (
    Actor,
    ActorCrashed,
    AuthFailed,
    BadRequest,
    Limits,
    LLMError,
    Mailbox,
    ModelTimeout,
    ModelUnavailable,
    RateBooks,
    RateLimited,
    Ref,
    ServerLimits,
    StreamTruncated,
    Turn,
    handler,
    open_system,
)
from trouper.runtime._rate_window import SLACK, WINDOW
from trouper.runtime.testing import When, crash, wait_incarnation

MINUTE = WINDOW + SLACK


def books(**keys: object) -> RateBooks:
    return RateBooks(Limits(**{"rpm": 600, "tpm": 60_000, "safety_margin": 1.0, "charge": "actual", **keys}))


async def state(limiter: Ref[Actor]) -> LimiterStatistics:
    while True:
        try:
            return await limiter.ask(GetLimiterStatistics())
        except ActorCrashed:  # a crash that a test has set up came to pass with this very question
            continue


def declined(retry_after: float | None = None, limits: ServerLimits | None = None) -> RateLimited:
    error = RateLimited("429", status=429, retry_after=retry_after)
    error.limits = limits
    return error


# ------------------------------------------------------------------ reports
async def test_a_lease_knows_what_was_reserved_and_when_it_was_granted(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books())
        await trio.sleep(3.0)
        lease = await take_lease(limiter, "a", 10, scope="model@key")

        assert (lease.id, lease.tokens, lease.scope) == ("a", 10, "model@key")
        assert lease.at == trio.current_time()
        assert repr(lease) == "<Lease 'a' of 10 tokens>"


@pytest.mark.parametrize(
    ("error", "tokens", "requests"),
    [
        (declined(), 0, 1),
        (ModelTimeout("late"), 100, 1),
        (ModelUnavailable("busy", status=503), 100, 1),
        (StreamTruncated("cut"), 100, 1),
        (AuthFailed("who are you", status=401), 0, 1),
        (BadRequest("what is that", status=400), 0, 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LLMError) else "",
)
async def test_what_a_failure_is_charged(error, tokens, requests, autojump_clock) -> None:
    """An unsuccessful request counts as one everywhere; its tokens only if the server may have worked on it."""
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books())
        lease = await take_lease(limiter, "a", 100)
        lease.failed(error)
        seen = await state(limiter)

        assert (seen.bucket.tokens, seen.bucket.requests, seen.bucket.unsettled) == (tokens, requests, 0)
        assert seen.failed == 1


async def test_the_first_report_counts_and_further_ones_change_nothing(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books())
        lease = await take_lease(limiter, "a", 100)
        lease.settle(40)
        lease.failed(declined(retry_after=60.0))
        lease.give_back()
        seen = await state(limiter)

        assert (seen.settled, seen.failed, seen.given_back) == (1, 0, 0)
        assert (seen.bucket.tokens, seen.bucket.paused_for) == (40, 0.0)


async def test_a_lease_as_a_context_manager_reports_what_leaves_the_block(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books())
        with await take_lease(limiter, "unreported", 100):
            pass
        with await take_lease(limiter, "settled", 100) as lease:
            lease.settle(30)
        with pytest.raises(BadRequest), await take_lease(limiter, "failed", 100):
            raise BadRequest("no")
        with trio.move_on_after(1.0), await take_lease(limiter, "cancelled", 100):
            await trio.sleep_forever()
        seen = await state(limiter)

        assert (seen.settled, seen.failed) == (3, 1)
        assert (seen.bucket.tokens, seen.bucket.unsettled) == (100 + 30 + 0 + 100, 0)


async def test_a_refusal_holds_back_everybody_of_the_scope_and_nobody_else(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books())
        other = await take_lease(limiter, "other", 1, scope="other")
        lease = await take_lease(limiter, "a", 1, scope="model")
        lease.failed(declined(retry_after=20.0))
        await take_lease(limiter, "b", 1, scope="other")
        assert trio.current_time() == other.at
        waited = await take_lease(limiter, "c", 1, scope="model")

        assert waited.at - other.at == pytest.approx(20.0, abs=0.01)


async def test_a_pause_reaches_those_who_already_wait(autojump_clock) -> None:
    """The report of one is read while another sleeps: it is roused only when its turn has come."""
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books(rpm=60, burst=1))
        began = trio.current_time()
        first = await take_lease(limiter, "first", 1)
        got: list[Lease] = []

        async def wait() -> None:
            got.append(await take_lease(limiter, "second", 1))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            first.failed(declined(retry_after=30.0))

        assert got[0].at - began == pytest.approx(30.0, abs=0.01)


@pytest.mark.parametrize("error", [declined(4.0), ModelUnavailable("busy", status=503, retry_after=4.0)])
async def test_a_pause_begins_when_the_server_asks_for_it_and_not_when_the_next_one_comes(
    error, autojump_clock
) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books())
        lease = await take_lease(limiter, "only", 10)
        lease.failed(error)
        await trio.sleep(3.0)

        began = trio.current_time()
        await take_lease(limiter, "next", 10)
        assert trio.current_time() - began == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("limits", "wait"),
    [
        (ServerLimits(limit_requests=60, remaining_requests=0, reset_requests=4.0), 3.0),
        (ServerLimits(limit_tokens=60_000, remaining_tokens=0, reset_tokens=4.0), 3.0),
        (ServerLimits(limit_requests=60, remaining_requests=1, reset_requests=4.0), 0.0),
        (ServerLimits(limit_requests=10, remaining_requests=0, reset_requests=0.9), 0.0),
    ],
    ids=["no requests", "no tokens", "something left", "by the second"],
)
async def test_to_nothing_that_is_left_nothing_is_added_until_it_is_back(limits, wait, autojump_clock) -> None:
    """Also where the limit counts over less than a minute; from when it was said, not from when it is read."""
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books())
        lease = await take_lease(limiter, "only", 10)
        lease.settle(10, limits)
        await trio.sleep(1.0)

        began = trio.current_time()
        await take_lease(limiter, "next", 10)
        assert trio.current_time() - began == pytest.approx(wait, abs=0.05)


async def test_a_turn_that_nothing_is_left_for_before_its_deadline_is_refused_at_once(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books())
        lease = await take_lease(limiter, "only", 10)
        lease.settle(10, ServerLimits(limit_requests=60, remaining_requests=0, reset_requests=4.0))

        began = trio.current_time()
        with pytest.raises(RateLimited):
            await take_lease(limiter, "next", 10, deadline=began + 2.0)
        assert trio.current_time() - began < 0.05


async def test_a_refusal_is_told_to_whoever_listens_with_what_comes_of_it(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books(burst=8))
        with system.events() as events:
            lease = await take_lease(limiter, "a", 1, scope="model@key")
            lease.failed(declined(retry_after=20.0))
            await state(limiter)
            await trio.testing.wait_all_tasks_blocked()
            told = [event async for event in drained(events) if isinstance(event, LimitHit)]

        assert [(event.scope, event.declined) for event in told] == [("model@key", True)]
        assert (told[0].state.paused_for, told[0].state.burst) == (20.0, 4)


async def drained(events) -> AsyncIterator[object]:
    with trio.move_on_after(0.01):
        async for event in events:
            yield event


# ------------------------------------------------------------------ scopes
async def test_each_scope_has_a_budget_of_its_own_and_those_with_limits_their_own_limits(autojump_clock) -> None:
    limits = Limits(rpm=2, tpm=1000, safety_margin=1.0)
    async with open_system() as system:
        limiter = await system.spawn(Limiter, RateBooks(limits, {"free": None, "small": Limits(rpm=1, tpm=1000)}))
        for i in range(2):
            await take_lease(limiter, f"one-{i}", 1, scope="one")
            await take_lease(limiter, f"two-{i}", 1, scope="two")
        for i in range(100):
            await take_lease(limiter, f"free-{i}", 10**9, scope="free")
        await take_lease(limiter, "small", 1, scope="small")
        assert trio.current_time() == 0.0
        late = await take_lease(limiter, "one-more", 1, scope="one")

        assert late.at == pytest.approx(MINUTE, abs=0.01)
        scopes = (await state(limiter)).scopes
        assert set(scopes) == {"one", "two", "small"}


async def test_a_scope_that_is_not_used_any_more_makes_room(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books())
        for i in range(300):
            (await take_lease(limiter, str(i), 1, scope=str(i))).settle(1)
        await trio.sleep(100)
        await take_lease(limiter, "x", 1, scope="new")

        assert len((await state(limiter)).scopes) < 300


# ------------------------------------------------------------------ nothing is lost
async def test_a_thousand_reports_at_once_are_all_read_whatever_the_mailbox_holds(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books(rpm=100_000, tpm=10**9, burst=10_000), mailbox=Mailbox(capacity=1))
        leases = [await take_lease(limiter, str(i), 10) for i in range(1000)]
        limiter.tell_nowait(PushBack(0.0))  # the mailbox is full
        for lease in leases:
            lease.settle(5)
        seen = await state(limiter)

        assert (seen.settled, seen.bucket.unsettled, seen.bucket.tokens) == (1000, 0, 5000)


async def test_a_report_that_nobody_has_read_outlives_a_crash(autojump_clock) -> None:
    async with open_system() as system:
        account = books()
        limiter = await system.spawn(lambda: Limiter(account), name="limiter")
        lease = await take_lease(limiter, "a", 100)
        lease.settle(7)
        crash(limiter, When.NOW)
        await wait_incarnation(limiter, 2)

        assert (await state(limiter)).bucket.tokens == 7


@pytest.mark.parametrize("when", [When.NOW, When.QUEUED, When.IN_FLIGHT, When.BEFORE_REPLY])
async def test_those_who_wait_are_served_by_the_next_incarnation(when, autojump_clock) -> None:
    async with open_system() as system:
        account = books(rpm=60, burst=1)
        limiter = await system.spawn(lambda: Limiter(account), name="limiter")
        went: list[float] = []

        async def one(i: int) -> None:
            await take_lease(limiter, str(i), 1)
            went.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for i in range(5):
                nursery.start_soon(one, i)
                await trio.testing.wait_all_tasks_blocked()
            crash(limiter, when)

        assert limiter.incarnation == 2
        assert went == pytest.approx([0, 1, 2, 3, 4], abs=0.05)


async def test_a_limiter_that_reserves_and_crashes_each_time_keeps_nothing_reserved(autojump_clock) -> None:
    class Broken(Limiter):
        @handler(inline=True)
        def acquire(self, message: Acquire) -> Turn:
            turn = super().acquire(message)
            if message.lease_id == "bad":
                raise RuntimeError("after it was reserved")
            return turn

    async with open_system() as system:
        account = books()
        limiter = await system.spawn(lambda: Broken(account), name="limiter", intensity=100)
        with pytest.raises(ModelUnavailable, match="after it was reserved"):
            await take_lease(limiter, "bad", 100)
        await take_lease(limiter, "good", 5)

        seen = (await state(limiter)).bucket
        assert (seen.requests, seen.tokens, seen.unsettled) == (1, 5, 1)


async def test_a_report_that_is_read_beside_a_question_is_of_use_to_those_who_wait(autojump_clock) -> None:
    """The message that rouses the limiter was lost in a full mailbox; the next question finds the report."""
    async with open_system() as system:
        account = books(tpm=1000)
        limiter = await system.spawn(Limiter, account)
        first = await take_lease(limiter, "first", 900)
        got: list[Lease] = []

        async def wait() -> None:
            got.append(await take_lease(limiter, "second", 900))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            account.tray.roused = True
            first.settle(10)
            await limiter.ask(Acquire(lease_id="third", tokens=1))

        assert got[0].at == 0.0


async def test_a_turn_granted_to_a_caller_that_was_cancelled_at_that_instant_is_given_back(autojump_clock) -> None:
    """It is cancelled, and before it runs again the limiter grants its turn."""
    async with open_system() as system:
        account = books(tpm=1000)
        limiter = await system.spawn(Limiter, account)
        first = await take_lease(limiter, "first", 900)
        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                await take_lease(limiter, "second", 900)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            account.tray.roused = True
            first.settle(10)
            granted = await limiter.ask(Acquire(lease_id="third", tokens=1))

        assert granted.state == "granted"
        seen = (await state(limiter)).bucket
        assert (seen.requests, seen.tokens, seen.unsettled, seen.waiting) == (2, 11, 1, 0)


async def test_those_who_wait_are_told_when_the_limiter_stops(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books(rpm=1))
        await take_lease(limiter, "a", 1)
        errors: list[Exception] = []

        async def wait() -> None:
            try:
                await take_lease(limiter, "b", 1)
            except ModelUnavailable as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            limiter.stop()

        assert "stopped" in str(errors[0])


async def test_who_waits_past_its_deadline_is_told_then(autojump_clock) -> None:
    """It looked as if there was time, and then the server wanted a pause."""
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books(rpm=60, burst=1))
        first = await take_lease(limiter, "first", 1)
        errors: list[RateLimited] = []

        async def wait() -> None:
            with pytest.raises(RateLimited, match=r"within 10 s") as caught:
                await take_lease(limiter, "second", 1, deadline=trio.current_time() + 10.0)
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            first.failed(declined(retry_after=60.0))

        assert trio.current_time() == pytest.approx(10.0, abs=0.01)
        assert not errors[0].retryable
        assert errors[0].status is None  # it is our own word, not the server's
        assert (await state(limiter)).bucket.waiting == 0


async def test_a_cancelled_head_makes_way_at_that_instant(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books(rpm=600, tpm=1000))
        await take_lease(limiter, "a", 500)
        got: list[Lease] = []

        async def patient() -> None:
            got.append(await take_lease(limiter, "small", 400))

        async def large() -> None:
            with trio.move_on_after(5.0):
                await take_lease(limiter, "large", 900)

        async with trio.open_nursery() as nursery:
            for caller in (large, patient):
                nursery.start_soon(caller)
                await trio.testing.wait_all_tasks_blocked()

        assert got[0].at == pytest.approx(5.0, abs=0.01)


# ------------------------------------------------------------------ storms
class CancelAt(trio.abc.Instrument):
    """Cancels a scope just before the chosen step of one task: every await of it, one test after another."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.task: object = None
        self.scope: trio.CancelScope | None = None
        self.hit = False

    def before_task_step(self, task: object) -> None:
        if task is self.task and self.scope is not None:
            self.left -= 1
            if self.left == 0:
                self.hit = True
                self.scope.cancel()


@pytest.mark.parametrize("mailbox", [1, 64])
@pytest.mark.parametrize("busy", [False, True])
async def test_a_caller_cancelled_at_any_await_leaves_nothing_behind(mailbox, busy, autojump_clock) -> None:
    """While it asks (at once, or behind another message), while it waits, while it calls, while it reports."""
    step, hit, stages = 0, True, set()
    while hit:
        step += 1
        assert step < 100
        async with open_system() as system:
            account = books(rpm=2)
            limiter = await system.spawn(Limiter, account, mailbox=Mailbox(capacity=mailbox))
            for name in "ab":
                (await take_lease(limiter, name, 1)).settle(1)
            instrument, stage = CancelAt(step), "asking"
            trio.lowlevel.add_instrument(instrument)
            try:
                with trio.CancelScope() as scope:
                    instrument.task, instrument.scope = trio.lowlevel.current_task(), scope
                    if busy:
                        limiter.tell_nowait(ReadTray())
                    with await take_lease(limiter, "c", 5):
                        stage = "calling"
                        await trio.sleep(1.0)
                        stage = "answered"
            finally:
                instrument.scope = None
                trio.lowlevel.remove_instrument(instrument)
            hit = instrument.hit
            stages.add(stage)
            seen = (await state(limiter)).bucket

            assert (seen.waiting, seen.unsettled) == (0, 0)
            assert seen.tokens == {"asking": 2, "calling": 5, "answered": 5}[stage]
    assert stages == {"asking", "calling", "answered"}


@pytest.mark.parametrize("seed", range(3))
async def test_reserved_is_in_flight_plus_in_window_in_any_storm(seed, autojump_clock) -> None:
    """Random callers, sizes, patience, failures and crashes of the limiter; the books are compared all the time."""
    chance = random.Random(seed)
    account = books(rpm=40, tpm=3000, burst=5)
    flying: dict[str, int] = {}
    charged: dict[str, tuple[float, int]] = {}

    async def one(limiter: Ref[Actor], name: str) -> None:
        tokens, patience = chance.randint(1, 400), chance.choice([0.0, 0.5, 20.0, 600.0])
        priority = chance.choice(["interactive", "background"])
        with trio.move_on_after(patience):
            try:
                lease = await take_lease(limiter, name, tokens, priority=priority, deadline=trio.current_time() + 300)
            except RateLimited:
                return
            flying[name] = tokens
            charged[name] = lease.at, tokens
            with lease:
                await trio.sleep(chance.uniform(0, 5))
                fate = chance.random()
                if fate < 0.2:
                    lease.failed(declined(retry_after=chance.uniform(0, 3)))
                    charged[name] = lease.at, 0
                elif fate < 0.7:
                    lease.settle(tokens // 2)
                    charged[name] = lease.at, tokens // 2
        flying.pop(name, None)

    async with open_system(ask_timeout=3600) as system:
        limiter = await system.spawn(lambda: Limiter(account), name="limiter", intensity=1000)
        async with trio.open_nursery() as nursery:
            for i in range(300):
                nursery.start_soon(one, limiter, str(i))
                await trio.sleep(chance.expovariate(1.0))
                if i % 37 == 0:
                    crash(limiter, chance.choice(list(When)))
                if i % 10 == 0:
                    await trio.testing.wait_all_tasks_blocked()
                    seen = (await state(limiter)).bucket
                    now = trio.current_time()
                    inside = [tokens for at, tokens in charged.values() if at + MINUTE > now]
                    late = [tokens for at, tokens in charged.values() if now - MINUTE - 0.1 <= at <= now - MINUTE]
                    assert seen.unsettled == len(flying)
                    assert len(inside) <= seen.requests <= len(inside) + len(late)
                    assert sum(inside) <= seen.tokens <= sum(inside) + sum(late)
        await trio.sleep(MINUTE + 1)
        seen = (await state(limiter)).bucket

    assert (seen.requests, seen.tokens, seen.waiting, seen.unsettled) == (0, 0, 0, 0)
    assert len(charged) > 50


async def test_the_answer_to_acquire_says_about_when(autojump_clock) -> None:
    async with open_system() as system:
        limiter = await system.spawn(Limiter, books(rpm=60, burst=1))
        turns = [await limiter.ask(Acquire(lease_id=str(i), tokens=1)) for i in range(5)]

        assert [turn.at for turn in turns] == pytest.approx([0, 1, 2, 3, 4])
        assert [turn.state for turn in turns] == ["granted"] + ["waiting"] * 4
