"""Short slices of work in strict alternation, in CPU time.

Wall time says nothing on a shared machine, and neither does the CPU time of two separate runs: the machine has speed
modes that last for seconds. So the two ways to do a thing run in one process, a few milliseconds each, in turn, and
only the ratio inside a round counts. Which of them begins changes from round to round.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

Slice = Callable[[], Awaitable[float]]
"""Does a fixed number of operations and gives the CPU seconds that one of them took."""

WARM_UP = 3
COLLECT_EVERY = 10


def per_operation(work: Callable[[int], Awaitable[None]], operations: int) -> Slice:
    """A slice of `operations` times whatever `work` does."""

    async def run() -> float:
        began = time.process_time()
        await work(operations)
        return (time.process_time() - began) / operations

    return run


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection inside; what is alive before is never looked at again while inside."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def alternate(*ways: Slice, rounds: int) -> list[tuple[float, ...]]:
    """Each way once a round, in turn; the CPU seconds per operation of each, a row a round."""
    for _ in range(min(WARM_UP, rounds)):
        for way in ways:
            await way()
    rows = []
    with collector_off():
        for number in range(rounds):
            row = [0.0] * len(ways)
            indices = range(len(ways))
            for index in indices if number % 2 else reversed(indices):
                row[index] = await ways[index]()
            rows.append(tuple(row))
            if number % COLLECT_EVERY == 0:
                gc.collect()  # between slices: what a crash leaves behind must not pile up
    return rows
