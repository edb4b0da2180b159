"""What many ask for goes out in few calls, and nobody's trouble is another's."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.batching.storm import run
from trouper.actors.batch_items import Asker, Item
from trouper.actors.batches import Batches, BatchRules
from trouper.runtime import AuthFailed, Backoff, BadRequest, LLMError, ModelUnavailable, RateLimited

BAD = BadRequest("not that one", status=400)


class Endpoint:
    """Takes a second a call, doubles numbers, refuses negative ones, and raises what it is told to."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.calls: list[list[int]] = []
        self.began: list[float] = []
        self.errors: list[LLMError | None] = []
        self.now = self.most = 0

    async def send(self, items: Sequence[Item[int, int]]) -> Sequence[int | LLMError]:
        values = [item.value for item in items]
        self.calls.append(values)
        self.began.append(trio.current_time())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(self.seconds)
        finally:
            self.now -= 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        if any(value < 0 for value in values):
            raise BAD
        return [2 * value for value in values]


@asynccontextmanager
async def flying(endpoint: Endpoint, *, weigh=lambda _: 1, seed=None, **rules):
    rules.setdefault("backoff", Backoff(min=1.0, max=8.0, jitter=0.0))
    async with trio.open_nursery() as flights:
        batches: Batches[int, int] = Batches(
            endpoint.send, lambda: flights.start_soon(batches.fly), BatchRules(**rules), weigh=weigh, seed=seed
        )
        yield batches
    assert batches.idle
    assert batches.under_way == 0


async def settle_all(batches, asks: Sequence[Sequence[int]], asker: Asker = Asker()) -> list:  # noqa: B008 - frozen
    """Ask all at the same time: results, or error kinds, in order."""
    found: list = [None] * len(asks)

    async def one(i: int) -> None:
        found[i] = [outcome(item) for item in await batches.settle(asks[i], asker)]

    async with trio.open_nursery() as nursery:
        for i in range(len(asks)):
            nursery.start_soon(one, i)
    return found


def outcome(item: Item[int, int]) -> int | str:
    return item.error.kind if item.error is not None else item.results[0]


# ------------------------------------------------------------------ what goes together


async def test_a_batch_is_bounded_by_weight(autojump_clock) -> None:
    """A value that is heavier than a whole batch goes alone."""
    endpoint = Endpoint()
    async with flying(endpoint, weigh=lambda v: v, max_weight=10, max_flights=1) as batches:
        assert await settle_all(batches, [[4, 5, 3, 30, 1, 2]]) == [[8, 10, 6, 60, 2, 4]]

    assert endpoint.calls == [[4, 5], [3], [30], [1, 2]]


async def test_idle_nothing_waits_and_busy_a_batch_waits_for_more(autojump_clock) -> None:
    """0 ms when nothing is under way; 5 ms at most otherwise, and not when it is full."""
    endpoint = Endpoint()
    async with flying(endpoint, max_items=3, max_flights=3, linger=0.005) as batches, trio.open_nursery() as nursery:
        nursery.start_soon(batches.settle, [1], Asker())
        await trio.sleep(0.1)
        nursery.start_soon(batches.settle, [2], Asker())
        await trio.sleep(0.003)
        nursery.start_soon(batches.settle, [3], Asker())
        await trio.sleep(0.1)
        nursery.start_soon(batches.settle, [4], Asker())
        await trio.sleep(0.001)
        nursery.start_soon(batches.settle, [5, 6], Asker())

    assert endpoint.calls == [[1], [2, 3], [4, 5, 6]]
    assert endpoint.began == pytest.approx([0.0, 0.105, 0.204])


async def test_what_somebody_waits_for_goes_first(autojump_clock) -> None:
    """And every fourth batch what nobody waits for, so that it gets on as well."""
    endpoint = Endpoint()
    background, urgent = Asker(priority="background"), Asker()
    async with flying(endpoint, max_items=2, max_flights=1) as batches, trio.open_nursery() as nursery:
        nursery.start_soon(batches.settle, list(range(100, 110)), background)
        await trio.sleep(0.1)
        nursery.start_soon(batches.settle, list(range(10)), urgent)

    assert endpoint.calls[:5] == [[100, 101], [0, 1], [2, 3], [102, 103], [4, 5]]


async def test_what_becomes_urgent_goes_first_too(autojump_clock) -> None:
    endpoint = Endpoint()
    async with flying(endpoint, max_items=2, max_flights=1) as batches, trio.open_nursery() as nursery:
        nursery.start_soon(batches.settle, list(range(100, 108)), Asker(priority="background"))
        await trio.sleep(0.1)
        nursery.start_soon(batches.settle, [107], Asker())

    assert endpoint.calls[1] == [107, 102]
    assert sorted(value for call in endpoint.calls for value in call) == list(range(100, 108))


# ------------------------------------------------------------------ bad values


def places(count: int, bad: int) -> list[set[int]]:
    """Where bad values may stand among `count`: everywhere for one, else at random."""
    if bad == 1:
        return [{n} for n in range(1, count + 1)]
    rng = random.Random(count * bad)
    return [set(rng.sample(range(1, count + 1), min(bad, count))) for _ in range(20)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 100])
@pytest.mark.parametrize("bad", [1, 2, 5])
async def test_k_bad_values_of_n_cost_few_calls(autojump_clock, count: int, bad: int) -> None:
    """At most 1 + 2k log2 n, wherever they stand; everybody else has their result."""
    for wrong in places(count, bad):
        endpoint = Endpoint(0.0)
        values = [-n if n in wrong else n for n in range(1, count + 1)]
        async with flying(endpoint, max_items=count) as batches:
            (found,) = await settle_all(batches, [values])

        assert found == ["bad_request" if value < 0 else 2 * value for value in values]
        assert len(endpoint.calls) <= 1 + 2 * len(wrong) * math.log2(count)


@pytest.mark.parametrize(
    "error", [AuthFailed("key", status=401), BadRequest("no such model", status=404), BadRequest("moved", status=301)]
)
async def test_what_is_everybodys_trouble_is_not_halved(autojump_clock, error: LLMError) -> None:
    endpoint = Endpoint()
    endpoint.errors = [error]
    async with flying(endpoint) as batches:
        assert await settle_all(batches, [list(range(8))]) == [[error.kind] * 8]

    assert len(endpoint.calls) == 1


@pytest.mark.parametrize("status", [None, 400, 413, 422])
async def test_what_may_be_due_to_one_value_is_halved(autojump_clock, status: int | None) -> None:
    endpoint = Endpoint()
    endpoint.errors = [BadRequest("too much", status=status)]
    async with flying(endpoint) as batches:
        assert await settle_all(batches, [[1, 2, 3, 4]]) == [[2, 4, 6, 8]]

    assert endpoint.calls == [[1, 2, 3, 4], [1, 2], [3], [4]]


async def test_where_the_number_was_refused_each_is_tried_alone(autojump_clock) -> None:
    """Nobody fails for what was only too much together."""

    class Narrow(Endpoint):
        async def send(self, items: Sequence[Item[int, int]]) -> Sequence[int | LLMError]:
            if len(items) > 1:
                raise BadRequest("one at a time", status=413)
            return await super().send(items)

    endpoint = Narrow(0.0)
    async with flying(endpoint) as batches:
        assert await settle_all(batches, [list(range(10))]) == [[2 * n for n in range(10)]]


# ------------------------------------------------------------------ failures that may pass


async def test_the_whole_batch_is_sent_again_after_the_servers_own_time(autojump_clock) -> None:
    endpoint = Endpoint()
    endpoint.errors = [RateLimited("429", status=429, retry_after=7.0), ModelUnavailable("503", status=503)]
    async with flying(endpoint) as batches:
        assert await settle_all(batches, [[1, 2], [3]]) == [[2, 4], [6]]

    assert [sorted(call) for call in endpoint.calls] == [[1, 2, 3]] * 3
    assert endpoint.began == [0.0, 8.0, 11.0]  # 1 s each, then 7 as the server says, then 2 by our own backoff
    assert batches.counts().retries == 2


async def test_it_is_given_up_after_so_many_attempts(autojump_clock) -> None:
    endpoint = Endpoint()
    endpoint.errors = [ModelUnavailable("503", status=503)] * 9
    async with flying(endpoint, max_retries=3) as batches:
        assert await settle_all(batches, [[1], [2]]) == [["model_unavailable"], ["model_unavailable"]]

    assert len(endpoint.calls) == 4


async def test_jitter_is_repeatable(autojump_clock) -> None:
    times = []
    for seed in (1, 1, 2):
        endpoint = Endpoint()
        endpoint.errors = [ModelUnavailable("503")] * 2
        began = trio.current_time()
        async with flying(endpoint, seed=seed, backoff=Backoff(min=1, max=8, jitter=0.5)) as batches:
            await settle_all(batches, [[1]])
        times.append([round(at - began, 6) for at in endpoint.began])

    assert times[0] == times[1] != times[2]
    assert 2.0 < times[0][1] < 2.5


async def test_who_has_no_time_for_another_attempt_fails_at_once_and_the_others_go_on(autojump_clock) -> None:
    endpoint = Endpoint()
    endpoint.errors = [RateLimited("429", status=429, retry_after=10.0)]
    found: dict[int, tuple] = {}

    async def one(value: int, deadline: float) -> None:
        (item,) = await batches.settle([value], Asker(deadline=deadline))
        found[value] = (outcome(item), trio.current_time())

    async with flying(endpoint) as batches, trio.open_nursery() as nursery:
        nursery.start_soon(one, 1, 5.0)
        nursery.start_soon(one, 2, 60.0)

    assert found == {1: ("rate_limited", 1.0), 2: (4, 12.0)}
    assert endpoint.calls[1:] == [[2]]


async def test_nothing_is_sent_again_for_nobody(autojump_clock) -> None:
    """Who goes while the batch waits for its next attempt takes their value along; the last one, the batch."""
    endpoint = Endpoint()
    endpoint.errors = [ModelUnavailable("503", retry_after=10.0)] * 2
    async with flying(endpoint) as batches, trio.open_nursery() as nursery:
        nursery.start_soon(batches.settle, [1], Asker())
        with trio.move_on_after(5):
            await batches.settle([2], Asker())
        await trio.sleep(7.5)
        assert endpoint.calls[1:] == [[1]]
        nursery.cancel_scope.cancel()

    assert len(endpoint.calls) == 2
    assert batches.counts().called_off == 1


async def test_a_failure_is_not_kept_for_who_asks_next(autojump_clock) -> None:
    """Also while the flight that it happened in still goes on."""
    endpoint = Endpoint()
    found: list = []
    async with flying(endpoint, max_flights=2, linger=0) as batches, trio.open_nursery() as nursery:
        nursery.start_soon(batches.settle, [-1, 2, 3, 4], Asker())
        await trio.sleep(3.5)  # [-1, 2, 3, 4], [-1, 2], [-1]: it has failed, and the rest is under way
        endpoint.errors = [None, RateLimited("429", status=429, retry_after=0.1)]
        found += await settle_all(batches, [[-1]])

    assert endpoint.calls.count([-1]) >= 2
    assert found == [["bad_request"]]


# ------------------------------------------------------------------ cancellation


async def test_a_flight_that_nobody_waits_for_makes_room_at_once(autojump_clock) -> None:
    endpoint = Endpoint(100.0)
    async with flying(endpoint, max_flights=1) as batches, trio.open_nursery() as nursery:
        with trio.move_on_after(1.0):
            await settle_all(batches, [[1], [2]])
        endpoint.seconds = 1.0
        nursery.start_soon(batches.settle, [1], Asker())

    assert trio.current_time() == 2.0
    assert endpoint.most == 1


@pytest.mark.parametrize("asker", ["first", "second", "both"])
async def test_an_asker_may_go_at_any_checkpoint(autojump_clock, asker: str) -> None:
    """Whoever stays is answered, and nothing is left of the one who went."""
    for passes in range(40):
        endpoint = Endpoint(0.0)
        endpoint.errors = [BAD]  # so that it is halved, too
        found: dict[str, list] = {}
        scopes = {"first": trio.CancelScope(), "second": trio.CancelScope()}

        async def one(batches, name: str, values: list[int], found=found, scopes=scopes) -> None:
            with scopes[name]:
                found[name] = [outcome(item) for item in await batches.settle(values, Asker())]

        async with flying(endpoint, max_items=3) as batches, trio.open_nursery() as nursery:
            nursery.start_soon(one, batches, "first", [1, 2])
            nursery.start_soon(one, batches, "second", [2, 3])
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            for name, scope in scopes.items():
                if asker in {name, "both"}:
                    scope.cancel()

        for name, values in (("first", [2, 4]), ("second", [4, 6])):
            assert found.get(name, values) == values
            assert name in found or scopes[name].cancelled_caught
            assert name in found or asker in {name, "both"}


async def test_a_bug_of_the_endpoint_leaves_the_flight(autojump_clock) -> None:
    async def broken(_: Sequence[Item[int, int]]) -> Sequence[int]:
        raise ZeroDivisionError

    batches: Batches[int, int] = Batches(broken, lambda: None, BatchRules())
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(batches.settle, [1], Asker())
            await trio.testing.wait_all_tasks_blocked()
            await batches.fly()

    assert caught.group_contains(ZeroDivisionError)
    assert batches.under_way == 0


@pytest.mark.parametrize("first", range(0, 400, 50))
async def test_nothing_is_lost_doubled_or_swapped(autojump_clock, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Fifty runs of the storm; `python -m tests.batching.storm` makes 100,000."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    for seed in range(first, first + 50):
        try:
            await run(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
