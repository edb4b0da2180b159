"""Random askers against a faulty endpoint, in virtual time: `python -m tests.batching.storm --runs 100000`.

Each run has its own seed: some askers with values of their own and values in common, who come, go early and have
deadlines; an endpoint that is slow, refuses bad values, declines, breaks, and answers too few. What must hold: whoever
stays is answered for every value with the right result, or with an error that the endpoint gave; no value is under
way twice; no call is larger than allowed; at the end nothing is left.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Sequence

import trio
import trio.testing

from trouper.actors.batch_items import Asker, Item
from trouper.actors.batches import Batches, BatchRules
from trouper.runtime import Backoff, BadRequest, BadResponse, LLMError, ModelUnavailable, RateLimited


class FaultyEndpoint:
    """Doubles numbers; refuses negative ones; fails as its seed says."""

    def __init__(self, rng: random.Random, rules: BatchRules, faults: float) -> None:
        self.rng = rng
        self.rules = rules
        self.faults = faults
        self.under_way: dict[int, Item[int, int]] = {}
        self.flights = self.calls = 0

    async def send(self, items: Sequence[Item[int, int]]) -> Sequence[int | LLMError]:
        values = [item.value for item in items]
        assert 0 < len(values) <= self.rules.max_items
        assert len(values) == 1 or sum(map(weigh, values)) <= self.rules.max_weight
        assert len(set(values)) == len(values) or not self.rules.shares
        self.calls += 1
        self.flights += 1
        assert self.flights <= self.rules.max_flights
        for item in items:
            other = self.under_way.get(item.value)
            if other is not None and self.rules.shares:  # unless it is called off and about to close
                assert other.flight is not None
                assert other.flight.scope.cancel_called, f"{item.value} is under way twice"
            self.under_way[item.value] = item
        try:
            return await self._answer(values)
        finally:
            self.flights -= 1
            for item in items:
                if self.under_way.get(item.value) is item:
                    del self.under_way[item.value]

    async def _answer(self, values: Sequence[int]) -> Sequence[int | LLMError]:
        rng = self.rng
        await trio.sleep(rng.choice([0.0, 0.01, 0.04, 0.2]))
        if rng.random() < self.faults:
            fault = rng.randrange(5)
            if fault == 0:
                raise RateLimited("declined", status=429, retry_after=rng.choice([None, 0.1, 3.0]))
            if fault == 1:
                raise ModelUnavailable("broken", status=503)
            if fault == 2:
                return [2 * value for value in values][:-1]
            if fault == 3:
                at = rng.randrange(len(values))
                return [BadResponse("odd") if i == at else _result(v) for i, v in enumerate(values)]
            await trio.sleep(5.0)
        if any(value < 0 for value in values):
            raise BadRequest("a negative number", status=400)
        return [2 * value for value in values]


def weigh(value: int) -> int:
    """Some are heavy."""
    return 1 + abs(value) % 7


def _result(value: int) -> int | LLMError:
    return 2 * value if value >= 0 else BadResponse("negative")


async def run(seed: int) -> int:
    """One run; how many calls it took. The same seed is the same run, also in the order in which trio runs tasks."""
    rng = random.Random(seed)
    trio._core._run._r.seed(seed)
    rules = BatchRules(
        max_items=rng.choice([1, 2, 5, 16]),
        max_weight=rng.choice([5, 20, 1000]),
        max_flights=rng.choice([1, 2, 4]),
        linger=rng.choice([0.0, 0.005]),
        shares=rng.random() < 0.8,
        max_retries=rng.choice([0, 2, 5]),
        backoff=Backoff(min=0.05, max=1.0, jitter=0.5),
    )
    endpoint = FaultyEndpoint(rng, rules, rng.choice([0.0, 0.1, 0.4]))
    answered = stayed = 0
    bad = rng.choice([0.0, 0.1, 0.5])

    async def one(batches: Batches[int, int]) -> None:
        nonlocal answered, stayed
        values = [rng.randrange(12) * (-1 if rng.random() < bad else 1) for _ in range(rng.randrange(5))]
        await trio.sleep(rng.choice([0.0, 0.0, 0.003, 0.05, 0.3]))
        patience = rng.choice([0.02, 0.3, 2.0, math.inf])
        asker = Asker(deadline=trio.current_time() + patience, priority=rng.choice(["interactive", "background"]))
        with trio.move_on_at(asker.deadline) as scope:
            items = await batches.settle(values, asker)
            assert [item.value for item in items] == values
            for item in items:
                assert (item.results == [2 * item.value]) is (item.error is None), "swapped, lost or doubled"
                assert item.value >= 0 or item.error is not None
                unlucky = isinstance(item.error, RateLimited | ModelUnavailable | BadResponse)
                assert item.error is None or item.value < 0 or (unlucky and endpoint.faults)
            answered += 1
        stayed += not scope.cancelled_caught

    with trio.fail_after(10_000):  # nobody waits for ever, and what was called off ends
        async with trio.open_nursery() as flights:
            batches: Batches[int, int] = Batches(
                endpoint.send, lambda: flights.start_soon(batches.fly), rules, weigh=weigh, seed=seed
            )
            async with trio.open_nursery() as askers:
                for _ in range(rng.randrange(1, 10)):
                    askers.start_soon(one, batches)
    assert answered == stayed
    assert not endpoint.flights
    assert batches.idle, "something is left behind"
    return endpoint.calls


async def storm(first: int, runs: int) -> int:
    """So many runs, one after another; how many calls they took."""
    calls = 0
    for seed in range(first, first + runs):
        try:
            calls += await run(seed)
        except BaseException:
            print(f"seed {seed}", file=sys.stderr)
            raise
    return calls


def main(arguments: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.batching.storm", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    chosen = parser.parse_args(arguments)
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True
    began, calls, at = time.process_time(), 0, chosen.first
    while at < chosen.first + chosen.runs:
        part = min(5_000, chosen.first + chosen.runs - at)
        calls += trio.run(storm, at, part, clock=trio.testing.MockClock(autojump_threshold=0))
        at += part
        print(f"{at - chosen.first:,} runs, {calls:,} calls, {time.process_time() - began:.0f} s CPU", flush=True)
    print("nothing was lost, doubled or swapped, and nothing left behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
