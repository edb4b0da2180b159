"""Trouper's executor beside other engines: `python -m tests.benchmarks.plans --peers`.

Each engine lives in a process of its own, on the same Python as the Trouper beside it, and both run the same plan in
turn; the ratio of each pair counts: CPU time where no step suspends, wall time where steps sleep. Without `--python`
the engines are installed into a temporary environment. What cannot be installed is said.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import attrs

from .figures import micro
from .interval import Bound, Figure, at_least
from .kernel import HEADING, line, surroundings
from .peers import Worker, environment
from .plan_figures import milli
from .plan_worker import SHAPES

MODULE = "tests.benchmarks.plan_worker"
REQUIREMENTS = {
    "langgraph": "langgraph==1.2.22",
    "pydantic-graph": "pydantic-graph==2.68.0",
    "dask": "dask==2026.8.0",
}
PAIRS = 30
"""A pair of the dear engines takes a second."""
OURS = 10
"""Runs of ours a slice, where no step suspends: some milliseconds each."""


@attrs.frozen
class Comparison:
    """One engine on one plan."""

    engine: str
    shape: str
    bound: Bound
    runs: int = 1
    wall: bool = False

    @property
    def name(self) -> str:
        """As the tables have it."""
        return f"{self.shape}_{self.engine}"


# asyncio by hand does nothing but run the steps; nothing is demanded but that we stay in its neighbourhood.
COMPARISONS = (
    *(Comparison("langgraph", shape, at_least(25.0)) for shape in ("wide", "grid", "chain")),
    *(Comparison("pydantic-graph", shape, at_least(10.0)) for shape in ("wide", "chain")),
    *(Comparison("dask", shape, at_least(4.0)) for shape in ("wide", "grid", "chain")),
    *(Comparison("asyncio", shape, at_least(0.5), runs=OURS) for shape in ("wide", "grid", "chain")),
    *(Comparison("langgraph", shape, at_least(2.0), wall=True) for shape in ("lanes", "tangle")),
)


def peer_bounds() -> dict[str, Bound]:
    """Every figure with what is demanded of it."""
    return {each.name: each.bound for each in COMPARISONS}


class Engine(Worker):
    """An engine in a process of its own."""

    def run(self, times: int) -> tuple[float, float]:
        """The CPU and the wall seconds of one of so many runs."""
        cpu, wall = self._command(times)
        return cpu / times, wall / times


def compare(each: Comparison, python: str, *, pairs: int, part: int = 1) -> Figure:
    """The ratios for one engine on one plan.

    Raises:
        LookupError: the engine is not there.
    """
    steps = len(SHAPES[each.shape](part))
    with (
        Engine(python, each.engine, each.shape, str(part), module=MODULE) as peer,
        Engine(python, "trouper", each.shape, str(part), module=MODULE) as ours,
    ):
        rows = []
        runs = 1 if each.wall else OURS
        for number in range(pairs):
            if number % 2:
                theirs, own = peer.run(each.runs), ours.run(runs)
            else:
                own, theirs = ours.run(runs), peer.run(each.runs)
            rows.append((theirs[each.wall], own[each.wall]))
        a, b = zip(*rows, strict=True)
        detail = (
            f"{each.engine} {peer.version} {milli(a)}, Trouper {milli(b)}"
            if each.wall
            else f"{each.engine} {peer.version} {micro([x / steps for x in a])}, "
            f"Trouper {micro([x / steps for x in b])} a step"
        )
        return Figure(
            name=each.name, bound=each.bound, values=tuple(x / y for x, y in rows), needed=PAIRS, detail=detail
        )


def _figures(chosen: list[Comparison], python: str, pairs: int, part: int) -> Iterator[Figure]:
    for each in chosen:
        try:
            figure = compare(each, python, pairs=pairs, part=part)
        except LookupError as error:
            print(f"{each.name:20} {'':>9} {'':>18}   {each.bound!s:18} NOT MEASURED: {error}")
        else:
            print(f"{line(figure)}\n{'':20}   {figure.detail}", flush=True)
            yield figure


def compared(
    only: list[str] | None, *, base: str | None = None, python: str | None = None, quick: bool = False
) -> tuple[list[Figure], bool]:
    """The figures, printed as they come; and whether one could not be measured. `only`: engines, plans or figures."""
    chosen = [each for each in COMPARISONS if not only or {each.engine, each.shape, each.name} & set(only)]
    with ExitStack() as stack:
        used = python or stack.enter_context(environment(base or sys.executable, REQUIREMENTS.values()))
        print(surroundings())
        print(HEADING)
        found = list(_figures(chosen, used, 2 if quick else PAIRS, 10 if quick else 1))
    return found, len(found) < len(chosen)
