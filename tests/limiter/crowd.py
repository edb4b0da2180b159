"""Many callers at once against a server with limits, through the real limiter, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
import trio

from trouper.actors.leasing import take_lease
from trouper.actors.limiter import Limiter
from trouper.runtime import Actor, LLMError, Mailbox, RateBooks, RateLimited, Ref, open_system

from .servers import Server

Sizes = Callable[[random.Random], tuple[int, int]]
"""Gives what a request is estimated at and what it will use."""


def mixed(chance: random.Random) -> tuple[int, int]:
    """Token-bound: one prompt in ten is of 5,000 to 8,000 tokens."""
    estimate = chance.randint(5000, 8000) if chance.random() < 0.1 else chance.randint(200, 900)
    return estimate, int(estimate * chance.uniform(0.4, 1.0))


def short(chance: random.Random) -> tuple[int, int]:
    """Request-bound."""
    estimate = chance.randint(50, 200)
    return estimate, int(estimate * chance.uniform(0.4, 1.0))


@attrs.define
class Crowd:
    """What came of it."""

    waits: list[tuple[float, int]] = attrs.field(factory=list)
    """How long a lease took, and how large it was; those asked for in the first minute are left out."""
    foreign: int = 0
    """Tokens that another user of the key was given."""


async def run_crowd(
    server: Server,
    books: RateBooks,
    *,
    sizes: Sizes = mixed,
    callers: int = 400,
    seconds: float = 300.0,
    seed: int = 1,
    model_time: float = 0.0,
    foreign: float = 0.0,
) -> Crowd:
    """`callers` tasks ask again and again; `foreign` is the share of the token limit that somebody else uses."""
    chance, crowd = random.Random(seed), Crowd()
    began = trio.current_time()

    async def one(limiter: Ref[Actor], number: int) -> None:
        calls = 0
        while True:
            estimate, used = sizes(chance)
            calls += 1
            while True:
                asked = trio.current_time()
                lease = await take_lease(limiter, f"{number}-{calls}", estimate, deadline=began + 1e6)
                if asked > began + 60:
                    crowd.waits.append((trio.current_time() - asked, estimate))
                with lease:
                    await trio.sleep(chance.uniform(0.005, 0.06))
                    try:
                        entry = server.judge(estimate, trio.current_time())
                    except LLMError as error:
                        lease.failed(error)
                        await trio.sleep((error.retry_after or 1.0) * chance.uniform(1.0, 1.2))
                        calls += 1
                        continue
                    said = server.said(trio.current_time())
                    if model_time:
                        await trio.sleep(model_time * chance.uniform(0.3, 1.7))
                    server.finish(entry, used, trio.current_time())
                    await trio.sleep(chance.uniform(0.005, 0.06))
                    lease.settle(used, said)
                break

    async def another_user() -> None:
        rate = foreign * server.tokens.limit / 60
        while True:
            estimate, used = sizes(chance)
            await trio.sleep(chance.expovariate(rate / used))
            try:
                entry = server.judge(estimate, trio.current_time())
            except RateLimited:
                server.declined.pop()
                continue
            server.finish(entry, used, trio.current_time())
            server.admitted.pop()
            crowd.foreign += used

    async with open_system(ask_timeout=1e9) as system, trio.open_nursery() as nursery:
        limiter = await system.spawn(Limiter, books, name="limiter", mailbox=Mailbox(capacity=1024))
        for number in range(callers):
            nursery.start_soon(one, limiter, number)
        if foreign:
            nursery.start_soon(another_user)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return crowd


def utilisation(server: Server, amount: float, *, since: float, until: float, tokens: bool) -> float:
    """What was admitted between two instants, as a share of `amount` a minute."""
    got = [used if tokens else 1 for at, used in server.admitted if since <= at < until]
    return sum(got) / (amount * (until - since) / 60)
