"""One engine on one plan, measured on command: `python -m tests.benchmarks.plan_worker ENGINE SHAPE`.

Says `ready VERSION`, then reads a number a line, runs the plan so many times, and prints the CPU seconds (all threads
together) and the wall seconds that took. Ends with its input. Building a graph, starting a loop and compiling are not
timed. Every engine does the same: each step gets the values of the steps it depends on, all results are collected.
"""

from __future__ import annotations

import asyncio
import gc
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib import metadata
from itertools import pairwise

from . import plan_shapes
from .plan_shapes import Shape

SHAPES: dict[str, Callable[[int], Shape]] = {
    "wide": lambda part: plan_shapes.wide(1000 // part),
    "grid": lambda part: plan_shapes.grid(50 // part, 20),
    "chain": lambda part: plan_shapes.chain(1000 // part),
    "lanes": lambda part: plan_shapes.lanes(10, 20 // part),
    "tangle": lambda part: plan_shapes.tangle(300 // part),
}

Result = dict[str, object]


def _announce(*distributions: str) -> None:
    try:
        versions = " ".join(metadata.version(one) for one in distributions) or f"of Python {platform.python_version()}"
    except metadata.PackageNotFoundError:
        versions = "(this checkout)"
    print("ready", versions, flush=True)


def _commands() -> Iterator[int]:
    for line in sys.stdin:
        gc.collect()
        gc.disable()
        yield int(line)
        gc.enable()


async def _serve(distribution: str, run: Callable[[], Awaitable[object]], steps: int) -> None:
    """Nothing else runs in this process: that reading blocks the loop between two slices disturbs nobody."""
    done = await run()
    assert done == steps, f"{done} of {steps} steps were run"
    _announce(*filter(None, (distribution,)))
    for times in _commands():
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(times):
            await run()
        print(time.process_time() - cpu, time.perf_counter() - wall, flush=True)


def _asyncio_work(shape: Shape) -> Callable[[list[object], int], Awaitable[Result]]:
    async def work(inputs: list[object], n: int) -> Result:
        if seconds := shape.seconds[n]:
            await asyncio.sleep(seconds)
        return {"v": n, "n": len(inputs)}

    return work


def trouper(shape: Shape) -> None:
    """Everything on: journal in memory, events with a listener, limits, levels that can be cancelled."""
    import trio

    from . import plan_subjects

    async def main() -> None:
        sleeps = any(shape.seconds.values())
        work = plan_subjects.sleeping(shape) if sleeps else plan_subjects.working()
        plan = plan_subjects.plan_of(shape, work)
        slots = len(shape) if sleeps else plan_subjects.SLOTS
        async with plan_subjects.executor(work, slots=slots) as full:

            async def run() -> int:
                outcomes = await full(plan)
                return sum(outcome.status is plan_subjects.StepStatus.OK for outcome in outcomes.values())

            await _serve("trouper", run, len(shape))

    trio.run(main)


def asyncio_by_hand(shape: Shape) -> None:
    """A task for each step in one task group, started by the step that was the last it waited for."""
    work, needs, dependants = _asyncio_work(shape), shape.needs, shape.dependants

    async def run() -> int:
        results: dict[int, Result] = {}
        missing = {step: len(before) for step, before in needs.items()}

        async def one(step: int) -> None:
            results[step] = await work([results[before]["v"] for before in needs[step]], step)
            for dependant in dependants[step]:
                missing[dependant] -= 1
                if not missing[dependant]:
                    group.create_task(one(dependant))

        async with asyncio.TaskGroup() as group:
            for step, before in needs.items():
                if not before:
                    group.create_task(one(step))
        return len(results)

    asyncio.run(_serve("", run, len(shape)))


def langgraph(shape: Shape) -> None:
    """A node for each step, compiled without a checkpointer; results are kept beside its state, which is cheaper."""
    from typing import TypedDict

    from langgraph.graph import START, StateGraph

    class State(TypedDict):
        nothing: int

    work = _asyncio_work(shape)
    results: dict[int, Result] = {}

    def node(step: int) -> Callable[[State], Awaitable[None]]:
        async def call(_: State) -> None:
            results[step] = await work([results[before]["v"] for before in shape.needs[step]], step)

        return call

    graph = StateGraph(State)
    for step in shape.needs:
        graph.add_node(str(step), node(step))
    for step, needs in shape.needs.items():
        before = [str(one) for one in needs] or [START]
        graph.add_edge(before if len(before) > 1 else before[0], str(step))
    compiled = graph.compile()

    async def run() -> int:
        results.clear()
        await compiled.ainvoke({"nothing": 0}, {"recursion_limit": 100_000})
        return len(results)

    asyncio.run(_serve("langgraph", run, len(shape)))


def pydantic_graph(shape: Shape) -> None:
    """A graph of steps; its joins belong to one fork each, so it can do the wide plan and the chain, not the others."""
    from pydantic_graph import GraphBuilder, reduce_list_append

    work = _asyncio_work(shape)
    results: dict[int, Result] = {}
    builder = GraphBuilder(output_type=object)

    def node(step: int) -> object:
        async def call(_: object) -> int:
            results[step] = await work([results[before]["v"] for before in shape.needs[step]], step)
            return step

        return builder.step(call, node_id=f"step{step}")

    nodes = {step: node(step) for step in shape.needs}
    if not any(shape.needs.values()):
        join = builder.join(reduce_list_append, initial_factory=list)
        builder.add(builder.edge_from(builder.start_node).to(*nodes.values()))
        builder.add(builder.edge_from(*nodes.values()).to(join))
        builder.add(builder.edge_from(join).to(builder.end_node))
    elif all(len(level) == 1 for level in shape.levels):
        line = [builder.start_node, *nodes.values(), builder.end_node]
        for one, following in pairwise(line):
            builder.add(builder.edge_from(one).to(following))
    else:
        raise NotImplementedError(f"{shape.name} cannot be expressed")
    graph = builder.build(validate_graph_structure=False)

    async def run() -> int:
        results.clear()
        await graph.run()
        return len(results)

    asyncio.run(_serve("pydantic-graph", run, len(shape)))


def dask(shape: Shape) -> None:
    """Plain functions on the threaded scheduler, with as many threads as it takes by itself."""
    import dask.threaded

    def work(inputs: list[Result], n: int) -> Result:
        if seconds := shape.seconds[n]:
            time.sleep(seconds)
        return {"v": n, "n": len([one["v"] for one in inputs])}

    graph: dict[str, object] = {
        f"step{step}": (work, [f"step{one}" for one in needs], step) for step, needs in shape.needs.items()
    }
    graph["all"] = (len, [f"step{step}" for step in shape.needs])

    async def run() -> int:
        return dask.threaded.get(graph, "all")

    asyncio.run(_serve("dask", run, len(shape)))


ENGINES: dict[str, Callable[[Shape], None]] = {
    "trouper": trouper,
    "asyncio": asyncio_by_hand,
    "langgraph": langgraph,
    "pydantic-graph": pydantic_graph,
    "dask": dask,
}


def main(engine: str, shape: str, part: str = "1") -> None:
    """Serve one engine; `part` makes the plan so many times smaller."""
    ENGINES[engine](SHAPES[shape](int(part)))


if __name__ == "__main__":
    main(*sys.argv[1:])
