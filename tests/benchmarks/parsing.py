"""What reading a large plan costs, beside what is demanded: `python -m tests.benchmarks.parsing`.

CPU milliseconds of `parse_plan` (read, validate, order) for 10,000 steps that refer to each other, from the text of the
plan; the memory of the plan; and what reading it piece by piece costs. Median of so many rounds, with the 95 % interval
of that median. A bound holds when the worse end of the interval does. On a busy machine the milliseconds mean little:
beside them stands what the standard library needs to decode the same text.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable

from trouper import ActionSignature, parse_plan
from trouper.runtime import PlanStream

from .interval import Figure, at_most
from .kernel import HEADING, line, surroundings
from .plan_shapes import tangle

STEPS = 10_000
ROUNDS = 30
NEEDED = 20
"""Fewer rounds than this are not judged."""
PIECE = 40
"""The characters that a model sends at a time, more or less."""


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    """The CPU milliseconds of each round; the first, which fills caches, is not counted."""
    found: list[float] = []
    for _ in range(rounds + 1):
        gc.collect()
        began = time.process_time()
        kept = work()
        found.append((time.process_time() - began) * 1e3)
        del kept
    return found[1:]


def streamed(text: str, piece: int) -> int:
    """Read the text piece by piece; how many steps came out."""
    stream = PlanStream()
    return sum(len(stream.feed(text[at : at + piece])) for at in range(0, len(text), piece))


def weight(text: str, steps: int) -> float:
    """The kilobytes that one step of the plan takes."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        plan = parse_plan(text)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        assert len(plan.steps) == steps
    finally:
        tracemalloc.stop()
    return grown / steps / 1e3


def backwards(steps: int) -> str:
    """A chain in which every step waits for the one that stands after it."""
    chain = [{"id": n, "action": "work", "dependencies": [n + 1] if n < steps else []} for n in range(1, steps + 1)]
    return json.dumps(chain)


def nested(depth: int) -> str:
    """A plan with a reference so many lists deep."""
    inner = "[" * depth + '"$step1.v"' + "]" * depth
    return f'[{{"id": 1, "action": "work"}}, {{"id": 2, "action": "work", "parameters": {{"x": {inner}}}}}]'


def measure(steps: int, rounds: int) -> list[Figure]:
    """All figures; with fewer steps or rounds nothing is judged."""
    text = tangle(steps).text()
    known = {"work": ActionSignature(["inputs", "n"], ["inputs", "n"], ["v", "n"])}
    decoding = statistics.median(timed(lambda: json.loads(text), rounds))
    limit = at_most(150, "ms")

    def figure(name: str, values: list[float], detail: str) -> Figure:
        return Figure(name=name, bound=limit, values=tuple(values), needed=NEEDED, detail=detail)

    size = f"{steps:,} steps, {len(text) / 1e3:,.0f} KB; json.loads alone {decoding:.1f} ms"
    deep = nested(300)
    found = [
        figure("parse", timed(lambda: parse_plan(text), rounds), size),
        figure(
            "parse_catalogue", timed(lambda: parse_plan(text, catalogue=known), rounds), "the same with a catalogue"
        ),
        figure("chain_backwards", timed(lambda: parse_plan(backwards(steps // 2)), rounds), f"{steps // 2:,} steps"),
        figure("nested_lists", timed(lambda: parse_plan(deep), rounds), "300 lists in one another"),
    ]
    whole, pieces = (timed(lambda n=n: streamed(text, n), max(1, rounds // 6)) for n in (len(text), PIECE))  # type: ignore[misc]
    single = timed(lambda: streamed(text, 1), 1)
    detail = f"{steps:,} steps in pieces of {PIECE}; in one {statistics.median(whole):.0f} ms, in single characters "
    found.append(
        Figure(
            name="stream_step",
            bound=at_most(200, "us"),
            values=tuple(value * 1e3 / steps for value in pieces),
            needed=3,
            detail=f"{detail}{single[0]:.0f} ms",
        )
    )
    memory = (weight(text, steps),)
    whole_size = 1 if steps == STEPS else 2
    found.append(
        Figure(name="memory", bound=at_most(3, "KB"), values=memory, needed=whole_size, detail="a step of the plan")
    )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 if every figure holds (or none was judged)."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.parsing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds a figure (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a try-out in a second: nothing is judged")
    chosen = parser.parse_args(arguments)
    print(surroundings())
    print(HEADING)
    found = measure(300, 2) if chosen.quick else measure(STEPS, chosen.rounds)
    for figure in found:
        print(f"{line(figure)}\n{'':20}   {figure.detail}", flush=True)
    return 1 if any(figure.verdict == "DOES NOT HOLD" for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
