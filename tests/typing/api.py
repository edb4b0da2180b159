"""What the types of the public face promise: checked by mypy, never run."""

from __future__ import annotations

from typing import assert_type

import attrs

import trouper
from trouper import Actor, Ask, Outcome, Ref, Tell, Tool, handler, tool


@attrs.frozen
class Add(Ask[int]):
    amount: int


@attrs.frozen
class Reset(Tell):
    pass


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start

    @handler
    async def add(self, message: Add) -> int:
        self.value += message.amount
        return self.value

    @handler(concurrent=2, raises=(ValueError,))
    async def reset(self, message: Reset) -> None:
        self.value = 0


async def kernel() -> None:
    async with trouper.open_system() as system:
        counter = await system.spawn(Counter, 3, name="counter")
        assert_type(counter, Ref[Counter])
        assert_type(await counter.ask(Add(2)), int)
        await counter.tell(Reset())
        await counter.ask(Reset())  # type: ignore[arg-type]  # a Tell has no answer
        await system.spawn(Counter, "three")  # type: ignore[arg-type]  # the constructor takes a number


@tool
async def double(number: int) -> int:
    """Twice the number."""
    return number * 2


async def troupe() -> None:
    assert_type(double, Tool)
    async with trouper.open_troupe("config.yaml", tools=[double]) as open_one:
        outcome = await open_one.execute("What is 6 times 7?", timeout=60)
        assert_type(outcome, Outcome)
        assert_type(outcome.answer, str | None)
        assert_type(outcome.steps[1].status, trouper.StepStatus)


def plain() -> None:
    assert_type(trouper.execute("What is 6 times 7?"), Outcome)
