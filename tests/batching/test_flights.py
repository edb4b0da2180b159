"""Identical calls share a flight: it belongs to all who wait, and its beginner pays."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from trouper.actors.flights import SingleFlight, own_copy
from trouper.runtime import BadRequest, BudgetExceeded, ModelUnavailable, RateLimited


class Calls:
    """A call that takes a second and counts itself."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.begun = self.ended = self.cancelled = 0
        self.errors: list[Exception] = []

    async def __call__(self) -> str:
        self.begun += 1
        number = self.begun
        try:
            await trio.sleep(self.seconds)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        self.ended += 1
        if self.errors:
            raise self.errors.pop(0)
        return f"answer {number}"


async def all_of(flights, call, count: int, key: object = "k", **options) -> list:
    found: list = [None] * count

    async def one(i: int) -> None:
        try:
            found[i] = await flights.share(key, call, **options)
        except Exception as error:  # noqa: BLE001 - the errors are what is looked at
            found[i] = error

    async with trio.open_nursery() as nursery:
        for i in range(count):
            nursery.start_soon(one, i)
    return found


async def test_identical_calls_at_the_same_time_are_one_and_one_paid(autojump_clock) -> None:
    flights, call = SingleFlight(), Calls()
    found = await all_of(flights, call, 50)

    assert {landed.value for landed in found} == {"answer 1"}
    assert sum(not landed.shared for landed in found) == 1
    assert (call.begun, trio.current_time()) == (1, 1.0)
    assert (flights.statistics().flights, flights.statistics().shared, len(flights)) == (1, 49, 0)
    assert (await flights.share("k", call)).value == "answer 2"  # what has landed is not kept


async def test_other_keys_and_no_key_fly_alone(autojump_clock) -> None:
    flights, call = SingleFlight(), Calls()
    async with trio.open_nursery() as nursery:
        for key in ("a", "b", None, None):
            nursery.start_soon(flights.share, key, call)

    assert call.begun == 4
    assert trio.current_time() == 1.0


async def test_switched_off_it_shares_nothing(autojump_clock) -> None:
    call = Calls()
    await all_of(SingleFlight(enabled=False), call, 3)

    assert call.begun == 3


async def test_the_beginner_may_go_without_taking_the_answer_along(autojump_clock) -> None:
    flights, call = SingleFlight(), Calls()
    found: list = []

    async def stay() -> None:
        found.append(await flights.share("k", call))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as leaving:
                leaving.start_soon(flights.share, "k", call)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(stay)
                await trio.sleep_forever()
    assert found[0].value == "answer 1"
    assert found[0].shared
    assert (call.begun, call.cancelled, trio.current_time()) == (1, 0, 1.0)


async def test_the_last_who_goes_calls_the_flight_off_at_once(autojump_clock) -> None:
    flights, call = SingleFlight(), Calls(100.0)
    with trio.move_on_after(0.5):
        await all_of(flights, call, 3)

    assert (call.begun, call.cancelled, trio.current_time()) == (1, 1, 0.5)
    assert flights.statistics().called_off == 1


async def test_who_asks_again_does_not_wait_for_what_was_called_off(autojump_clock) -> None:
    """Also while the call that was called off still closes its connection."""
    flights = SingleFlight()

    async def slow_to_close() -> str:
        try:
            await trio.sleep(100)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
        return "never"

    async def leave() -> None:
        with trio.move_on_after(0.5):
            await flights.share("k", slow_to_close)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await trio.sleep(1)
        assert (await flights.share("k", Calls())).value == "answer 1"
        assert trio.current_time() == 2.0


async def test_cancelled_before_it_began_nothing_is_left_behind(autojump_clock) -> None:
    flights, call = SingleFlight(), Calls()
    with trio.CancelScope() as scope:
        scope.cancel()
        await flights.share("k", call)

    assert scope.cancelled_caught
    assert (call.ended, len(flights)) == (0, 0)


@pytest.mark.parametrize("who", ["beginner", "joiner", "both"])
async def test_one_may_go_at_any_checkpoint(autojump_clock, who: str) -> None:
    for passes in range(15):
        flights, call, found = SingleFlight(), Calls(0.0), {}
        scopes = {"beginner": trio.CancelScope(), "joiner": trio.CancelScope()}

        async def one(name: str, flights=flights, call=call, found=found, scopes=scopes) -> None:
            with scopes[name]:
                found[name] = (await flights.share("k", call)).value

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "beginner")
            nursery.start_soon(one, "joiner")
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            for name, scope in scopes.items():
                if who in {name, "both"}:
                    scope.cancel()

        for name, scope in scopes.items():
            assert (name in found) is not scope.cancelled_caught
            assert name in found or who in {name, "both"}
        assert len(flights) == 0


async def test_a_failure_is_everybodys_own_and_is_not_kept(autojump_clock) -> None:
    """Each has an exception object of its own: what one adds to it is not seen by the others."""
    flights, call = SingleFlight(), Calls()
    error = RateLimited("429", status=429, retry_after=3.0)
    error.add_note("attempt 2")
    error.__cause__ = ZeroDivisionError()
    call.errors = [error]
    found = await all_of(flights, call, 5)

    assert [type(e) for e in found] == [RateLimited] * 5
    assert len({id(e) for e in found}) == 5
    assert {(str(e), e.status, e.retry_after, *e.__notes__) for e in found} == {("429", 429, 3.0, "attempt 2")}
    assert {id(e.__cause__) for e in found} == {id(error.__cause__)}
    found[1].add_note("mine")
    assert "mine" not in found[2].__notes__
    assert (await flights.share("k", call)).value == "answer 2"


async def test_the_beginners_budget_is_not_the_others_failure(autojump_clock) -> None:
    flights, call = SingleFlight(), Calls()
    call.errors = [BudgetExceeded("spent")]
    found = await all_of(flights, call, 4)

    assert sorted(type(f).__name__ for f in found) == ["BudgetExceeded", "Landed", "Landed", "Landed"]
    assert call.begun == 2


@pytest.mark.parametrize(
    ("error", "calls"), [(ModelUnavailable("no time for another"), 2), (BadRequest("whatever time there is"), 1)]
)
async def test_a_failure_for_want_of_time_is_believed_by_those_who_have_no_more(
    autojump_clock, error: Exception, calls: int
) -> None:
    flights, call = SingleFlight(), Calls()
    call.errors = [error]
    found: dict = {}

    async def one(deadline: float) -> None:
        try:
            found[deadline] = (await flights.share("k", call, deadline=deadline)).value
        except Exception as failed:  # noqa: BLE001 - the errors are what is looked at
            found[deadline] = type(failed)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, 5.0)
        await trio.sleep(0.1)
        nursery.start_soon(one, 4.0)
        nursery.start_soon(one, 60.0)

    later = "answer 2" if calls == 2 else type(error)
    assert found == {5.0: type(error), 4.0: type(error), 60.0: later}
    assert call.begun == calls


async def test_each_of_many_budgets_is_asked_in_turn_and_no_more(autojump_clock) -> None:
    """Nobody waits for ever for somebody who can pay."""
    flights, call = SingleFlight(), Calls()
    call.errors = [BudgetExceeded(str(n)) for n in range(10)]
    found = await all_of(flights, call, 10)

    assert [type(f) for f in found] == [BudgetExceeded] * 10
    assert call.begun == 10


def test_an_error_that_cannot_be_copied_is_raised_as_it_is() -> None:
    class Odd(Exception):
        def __init__(self, *, needed: int) -> None:
            super().__init__(str(needed))

    odd = Odd(needed=1)
    assert own_copy(odd) is odd


@pytest.mark.parametrize("seed", range(20))
async def test_random_comings_and_goings(autojump_clock, seed: int) -> None:
    """Whoever stays has the answer of their own key; nothing is under way when all have gone."""
    rng = random.Random(seed)
    flights: SingleFlight = SingleFlight()
    under_way = answered = 0

    async def one() -> None:
        nonlocal under_way, answered
        key, fails = rng.randrange(4), rng.random() < 0.2

        async def call() -> int:
            nonlocal under_way
            under_way += 1
            try:
                await trio.sleep(rng.choice([0, 0.05, 0.2]))
            finally:
                under_way -= 1
            if fails:
                raise rng.choice([ModelUnavailable, BudgetExceeded, BadRequest])("no")
            return key

        await trio.sleep(rng.random())
        with trio.move_on_after(rng.choice([0, 0.03, 0.1, 60])):
            try:
                landed = await flights.share(key, call, deadline=trio.current_time() + rng.choice([1, 9]))
                assert landed.value == key
            except (ModelUnavailable, BudgetExceeded, BadRequest):
                pass
            answered += 1

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(one)
    assert (under_way, len(flights)) == (0, 0)
    assert answered > 20
