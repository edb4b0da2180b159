"""`python -m tests.benchmarks.limiter`: how well the rate limiter uses a budget, and what a lease costs.

The tables of servers are in virtual time: they do not depend on the machine, and the same seed gives the same figures.
The cost is CPU time on the real clock, beside what the kernel's ask and trio's sleep cost by themselves on the same
machine at the same time, because a shared machine is not always equally fast.
"""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import logging
import math
import platform
import random
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import attrs
import trio
import trio.testing

from tests.limiter.crowd import Crowd, mixed, run_crowd, short, utilisation
from tests.limiter.servers import Kind, Server
from trouper.actors.leasing import take_lease
from trouper.actors.limiter import Limiter
from trouper.runtime import Actor, Ask, Limits, Mailbox, RateBooks, Ref, TokenBucket, Turn, handler, open_system

RPM, TPM = 600, 300_000
CALLERS = 400


@attrs.frozen(kw_only=True)
class Situation:
    """One row of a table."""

    kind: Kind
    tokens: bool = True
    margin: float = 0.99
    burst: int = 8
    charge: Literal["estimate", "actual", "auto"] = "actual"
    server_charge: Literal["estimate", "actual"] = "actual"
    headers: bool = False
    foreign: float = 0.0
    seconds: float = 300.0


@attrs.frozen(kw_only=True)
class Figures:
    """What came of it, over all seeds: the worst of each."""

    used: float
    declined: int
    admitted: int
    small: float
    large: float


def simulate(it: Situation, seeds: int) -> Figures:
    """The worst of several runs."""
    runs = [_run(it, seed) for seed in range(1, seeds + 1)]
    return Figures(
        used=min(run.used for run in runs),
        declined=max(run.declined for run in runs),
        admitted=min(run.admitted for run in runs),
        small=max(run.small for run in runs),
        large=max(run.large for run in runs),
    )


def _run(it: Situation, seed: int) -> Figures:
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # for tests
    trio._core._run._r.seed(seed)
    server = Server(it.kind, RPM, TPM, charge=it.server_charge, headers=it.headers)
    limits = Limits(rpm=RPM, tpm=TPM, burst=it.burst, safety_margin=it.margin, charge=it.charge)

    async def main() -> tuple[Crowd, float]:
        crowd = await run_crowd(
            server,
            RateBooks(limits),
            sizes=mixed if it.tokens else short,
            callers=CALLERS,
            seconds=it.seconds,
            seed=seed,
            foreign=it.foreign,
        )
        return crowd, trio.current_time() - it.seconds

    crowd, began = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    budget: float = limits.safe_tpm if it.tokens else limits.safe_rpm
    if it.foreign:
        budget = TPM * it.margin - crowd.foreign / it.seconds * 60
    until = began + it.seconds
    return Figures(
        used=utilisation(server, budget, since=began + 60, until=until, tokens=it.tokens),
        declined=len(server.declined),
        admitted=len(server.admitted),
        small=_p99([wait for wait, size in crowd.waits if size < 1000]),
        large=_p99([wait for wait, size in crowd.waits if size >= 5000]),
    )


def _p99(waits: list[float]) -> float:
    return sorted(waits)[int(0.99 * len(waits))] if waits else math.nan


# ------------------------------------------------------------------ tables
def print_servers(seeds: int) -> None:
    """Utilisation of the budget (`safety_margin` x limit) after the first minute."""
    print(f"\n## One user: {RPM} requests and {TPM:,} tokens a minute, {CALLERS} callers, the worst of {seeds} seeds\n")
    print("| server | bound by | margin | minutes | of the budget | 429s | of calls | p99 wait small | large |")
    print("|---|---|---|---|---|---|---|---|---|")
    kinds: tuple[Kind, ...] = ("sliding", "bucket", "minute", "second bucket", "second")
    for kind in kinds:
        for tokens in (True, False):
            for margin in (0.99, 0.9) if kind == "second" else (0.99,):
                seconds = 600.0 if kind.startswith("second") else 300.0
                got = simulate(Situation(kind=kind, tokens=tokens, margin=margin, seconds=seconds), seeds)
                print(
                    f"| {kind} | {'tokens' if tokens else 'requests'} | {margin} | {seconds / 60:.0f} "
                    f"| {got.used:.1%} | {got.declined} | {got.admitted} | {got.small:.1f} s "
                    f"| {'' if math.isnan(got.large) else f'{got.large:.1f} s'} |",
                    flush=True,
                )


_CHARGES: tuple[Literal["actual", "estimate"], ...] = ("actual", "estimate")
_POLICIES: tuple[tuple[Literal["auto", "actual"], bool], ...] = (("auto", True), ("auto", False), ("actual", False))


def print_charges(seeds: int) -> None:
    """The policy against the server's way, without and with headers."""
    print(f"\n## How it is charged: tokens, margin 0.99, five minutes, the worst of {seeds} seeds\n")
    print("| server | it charges | policy | headers | of the budget | 429s |")
    print("|---|---|---|---|---|---|")
    kinds: tuple[Kind, ...] = ("sliding", "bucket", "minute")
    for kind in kinds:
        for charges in _CHARGES:
            for policy, headers in _POLICIES:
                it = Situation(kind=kind, charge=policy, server_charge=charges, headers=headers)
                got = simulate(it, seeds)
                print(
                    f"| {kind} | {charges} | {policy} | {'yes' if headers else 'no'} | {got.used:.1%} "
                    f"| {got.declined} |",
                    flush=True,
                )


def print_foreign(seeds: int) -> None:
    """Somebody else uses 30 % of the tokens of the same key."""
    print(f"\n## Somebody else takes 30 % of the tokens: five minutes, the worst of {seeds} seeds\n")
    print("| server | headers | margin | of what is left | 429s |")
    print("|---|---|---|---|---|")
    kinds: tuple[Kind, ...] = ("sliding", "bucket", "minute")
    for kind in kinds:
        for headers, margin in ((True, 0.9), (True, 0.99), (False, 0.9)):
            charge = _POLICIES[0 if headers else 2][0]
            got = simulate(Situation(kind=kind, margin=margin, headers=headers, charge=charge, foreign=0.3), seeds)
            print(f"| {kind} | {'yes' if headers else 'no'} | {margin} | {got.used:.1%} | {got.declined} |", flush=True)


# ------------------------------------------------------------------ a million calls
def longest_law(calls: int) -> tuple[int, int, float]:
    """Random calls in simulated time through the bucket: the fullest 60 s of all, and microseconds a call."""
    chance = random.Random(11)
    limits = Limits(rpm=5000, tpm=2_000_000, burst=100, safety_margin=1.0, charge="actual")
    bucket, now, number = TokenBucket(limits), 0.0, 0
    flying: deque[tuple[float, str, int]] = deque()
    window: deque[tuple[float, str]] = deque()
    charged: dict[str, int] = {}
    requests = tokens = most_requests = most_tokens = 0
    began = time.process_time()
    while number < calls or bucket.waiting:
        while number < calls and bucket.waiting < 200:
            bucket.ask(str(number), chance.randint(1, 800) if chance.random() < 0.97 else 20_000, now)
            number += 1
        for turn in bucket.serve(now):
            while window and window[0][0] <= turn.at - 60.0:
                tokens -= charged.pop(window.popleft()[1])
                requests -= 1
            window.append((turn.at, turn.id))
            charged[turn.id] = turn.tokens
            requests, tokens = requests + 1, tokens + turn.tokens
            most_requests, most_tokens = max(most_requests, requests), max(most_tokens, tokens)
            flying.append((now + chance.uniform(0.1, 20.0), turn.id, int(turn.tokens * chance.uniform(0.3, 1.0))))
        while flying and flying[0][0] <= now:
            _, name, used = flying.popleft()
            bucket.settle(name, used, now)
            if name in charged:
                tokens += used - charged[name]
                charged[name] = used
        soon = flying[0][0] if flying else math.inf
        now = max(now + 1e-4, min(bucket.next_at(now), soon))
    return most_requests, most_tokens, (time.process_time() - began) / calls * 1e6


def print_law(calls: int) -> None:
    """No minute above the limits."""
    requests, tokens, cost = longest_law(calls)
    print(f"\n## {calls:,} simulated calls at 5,000 requests and 2,000,000 tokens a minute\n")
    print(f"The fullest 60 s held {requests:,} requests and {tokens:,} tokens, as charged at each admission.")
    print(f"Arithmetic and the simulation around it: {cost:.1f} us a call.")


# ------------------------------------------------------------------ the cost
@attrs.frozen(kw_only=True)
class Cost:
    """Microseconds of CPU of one lease: taken, slept for, settled; and how many callers stood in line, on average."""

    lease: float
    in_line: float


async def _lease_cost(callers: int, leases: int, rate: int) -> Cost:
    """So many callers that take a lease, settle it and take the next, through the actor, at `rate` leases a second.

    Counted from when all have come, up to the last of `leases`: each of them wakes its caller, settles and stands in
    line again.
    """
    limits = Limits(rpm=60 * rate, tpm=10**12, burst=200, safety_margin=1.0, charge="actual")
    books, lines, settled = RateBooks(limits), list[int](), 0
    enough = trio.Event()

    async def one(limiter: Ref[Actor], number: int) -> None:
        nonlocal settled
        until = trio.current_time() + 500.0
        for i in itertools.count():
            lease = await take_lease(limiter, f"{number}-{i}", 100, scope="model@key", deadline=until)
            lease.settle(60)
            settled += 1
            if settled >= leases:
                enough.set()

    async def look() -> None:
        while True:
            joined = sum(isinstance(entry, Turn) for entry in books.tray.entries)
            lines.append(joined + sum(bucket.waiting for _, bucket in books.buckets()))
            await trio.sleep(0.1)

    async with open_system(ask_timeout=600) as system, trio.open_nursery() as nursery:
        limiter = await system.spawn(Limiter, books, name="limiter", mailbox=Mailbox(capacity=1024))
        for number in range(callers):
            nursery.start_soon(one, limiter, number)
        await trio.sleep(0.3)
        nursery.start_soon(look)
        gc.collect()
        settled, began = 0, time.process_time()
        await enough.wait()
        took = (time.process_time() - began) / settled * 1e6
        nursery.cancel_scope.cancel()
    return Cost(lease=took, in_line=statistics.mean(lines))


@attrs.frozen
class Nothing(Ask[None]):
    """Asks for nothing."""


class Empty(Actor):
    """What the kernel and trio cost by themselves."""

    @handler(inline=True)
    def nothing(self, _: Nothing) -> None:
        """Answer."""


def _given_up(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


async def _floor_cost(callers: int, rounds: int, *, asks: bool) -> float:
    """The least that it could cost so many callers: to sleep until somebody lets them go, and to ask before it."""
    line: deque[trio.lowlevel.Task] = deque()
    async with open_system() as system:
        empty = await system.spawn(Empty)
        go = trio.Event()

        async def one() -> None:
            await go.wait()
            for _ in range(rounds):
                if asks:
                    await empty.ask(Nothing())
                line.append(trio.lowlevel.current_task())
                await trio.lowlevel.wait_task_rescheduled(_given_up)

        async def let_go() -> None:
            while True:
                await trio.lowlevel.checkpoint()
                for _ in range(min(200, len(line))):
                    trio.lowlevel.reschedule(line.popleft())

        async with trio.open_nursery() as others:
            others.start_soon(let_go)
            async with trio.open_nursery() as nursery:
                for _ in range(callers):
                    nursery.start_soon(one)
                await trio.sleep(0.2)
                gc.collect()
                began = time.process_time()
                go.set()
            took = time.process_time() - began
            others.cancel_scope.cancel()
    return took / (callers * rounds) * 1e6


def print_cost(times: int) -> None:
    """Acquire and settle through the real actor."""
    print(f"\n## CPU time of one lease through the actor, taken and settled: the best and the middle of {times}\n")
    print("| callers | in line | leases a second | us | middle | sleep alone, us | ask and sleep, us |")
    print("|---|---|---|---|---|---|---|")
    for callers, leases, rate in _CROWDS:
        got, sleeps, asks = list[Cost](), list[float](), list[float]()
        for _ in range(times):
            rounds = max(1, 50_000 // callers)
            sleeps.append(trio.run(functools.partial(_floor_cost, callers, rounds, asks=False)))
            got.append(trio.run(_lease_cost, callers, leases, rate))
            asks.append(trio.run(functools.partial(_floor_cost, callers, rounds, asks=True)))
        costs = [cost.lease for cost in got]
        print(
            f"| {callers:,} | {min(cost.in_line for cost in got):,.0f} | {rate:,} | {min(costs):.1f} "
            f"| {statistics.median(costs):.1f} | {min(sleeps):.1f} | {min(asks):.1f} |",
            flush=True,
        )


_CROWDS = ((10_000, 50_000, 10_000), (10_000, 5000, 1000), (1000, 20_000, 10_000), (100, 20_000, 10_000))
"""Callers, leases that are counted, leases that the limits grant a second."""


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, fewer calls")
    parser.add_argument("--only", choices=["servers", "charges", "foreign", "law", "cost"], default=None)
    options = parser.parse_args()
    logging.getLogger("trouper.limiter").setLevel(logging.ERROR)
    seeds, calls, times = (1, 50_000, 1) if options.quick else (2, 1_000_000, 5)
    print(f"Python {platform.python_version()}, trio {trio.__version__}, {platform.system()} {platform.machine()}")
    tables: dict[str, Callable[[], None]] = {
        "servers": lambda: print_servers(seeds),
        "charges": lambda: print_charges(seeds),
        "foreign": lambda: print_foreign(seeds),
        "law": lambda: print_law(calls),
        "cost": lambda: print_cost(times),
    }
    for name, table in tables.items():
        if options.only in {None, name}:
            table()


if __name__ == "__main__":
    main()
