"""Plans run by hand on trio: the measure that Trouper's executor is held against.

The same work and nothing more: each step gets the values of the steps it depends on, all results are collected. No
record, no event, no limit, no state of a step, nothing that survives an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio

from .plan_shapes import Shape

Work = Callable[[list[object], int], Awaitable[dict[str, object]]]
Run = Callable[[], Awaitable[Mapping[int, object]]]


async def work(inputs: list[object], n: int) -> dict[str, object]:
    """A step that never suspends."""
    return {"v": n, "n": len(inputs)}


def sleeping(shape: Shape) -> Work:
    """A step that sleeps as long as the shape says."""

    async def work(inputs: list[object], n: int) -> dict[str, object]:
        await trio.sleep(shape.seconds[n])
        return {"v": n, "n": len(inputs)}

    return work


def dataflow(shape: Shape, work: Work) -> Run:
    """A task for each step, started by the step that was the last it waited for."""
    needs, dependants = shape.needs, shape.dependants

    async def run() -> Mapping[int, object]:
        results: dict[int, dict[str, object]] = {}
        missing = {step: len(before) for step, before in needs.items()}

        async def one(step: int) -> None:
            results[step] = await work([results[before]["v"] for before in needs[step]], step)
            for dependant in dependants[step]:
                missing[dependant] -= 1
                if not missing[dependant]:
                    nursery.start_soon(one, dependant)

        async with trio.open_nursery() as nursery:
            for step, before in needs.items():
                if not before:
                    nursery.start_soon(one, step)
        return results

    return run


def nursery_per_level(shape: Shape, work: Work) -> Run:
    """A task for each step and a nursery for each level: a barrier after every level."""
    needs, levels = shape.needs, shape.levels

    async def run() -> Mapping[int, object]:
        results: dict[int, dict[str, object]] = {}

        async def one(step: int) -> None:
            results[step] = await work([results[before]["v"] for before in needs[step]], step)

        for level in levels:
            async with trio.open_nursery() as nursery:
                for step in level:
                    nursery.start_soon(one, step)
        return results

    return run
