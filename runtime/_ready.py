"""Which steps may start now, which never will, and in what order: arithmetic on the plan's graph.

A step starts as soon as *its own* dependencies are done; there is no barrier between levels. Kahn's
counting does all of it: every step holds the number of dependencies it still waits for, a finished step
takes one off each of its dependants, and whoever reaches zero is ready. Each edge is looked at once in the
life of a run, whether its step ends well or badly, so a run costs O(steps + dependencies) here however it
goes. The obvious alternative, looking through all steps after each completion, is quadratic on a chain.

A failure takes down its descendants only. Each skipped step learns the *direct* dependency because of
which it will not run, so that a report can walk from any skipped step back to the failure.

Nothing here recurses: a chain of any length is fine. Nothing here knows of time or tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

Graph = Mapping[int, Sequence[int]]
"""For each step the ids of the steps it depends on; no id twice, none that is not a key."""


class ReadySet:
    """The steps of one run that are ready, running, done, failed or skipped.

    `dependencies` names every step; `order` (default: that of `dependencies`) is the plan's order, in which
    steps that become ready together are taken. `done` are steps that finished in an earlier run; those that
    the plan does not have (any more) count for nothing.

    A step is *pending* until it is taken, then *running* until `done` or `failed` is called for it.
    """

    __slots__ = ("_dependants", "_pending", "_ready", "_running", "_waits_for")

    def __init__(self, dependencies: Graph, order: Sequence[int] | None = None, *, done: Iterable[int] = ()) -> None:
        steps = tuple(dependencies) if order is None else order
        self._dependants = dependants(dependencies, steps)
        self._waits_for = {step: len(dependencies[step]) for step in steps}
        finished = self._waits_for.keys() & set(done)
        self._pending = dict.fromkeys(step for step in steps if step not in finished)
        for step in finished:
            for dependant in self._dependants[step]:
                self._waits_for[dependant] -= 1
        self._ready = deque(step for step in self._pending if not self._waits_for[step])
        self._running: set[int] = set()

    def take(self, most: int | None = None) -> tuple[int, ...]:
        """The steps that are ready and not yet taken, at most `most` of them; they are running from now on."""
        count = len(self._ready) if most is None else min(max(most, 0), len(self._ready))
        taken = tuple(self._ready.popleft() for _ in range(count))
        for step in taken:
            del self._pending[step]
        self._running.update(taken)
        return taken

    def done(self, step: int) -> None:
        """`step` has its result; its dependants wait for one less."""
        self._end(step)
        for dependant in self._dependants[step]:
            self._waits_for[dependant] -= 1
            if not self._waits_for[dependant] and dependant in self._pending:
                self._ready.append(dependant)

    def failed(self, step: int) -> tuple[tuple[int, int], ...]:
        """`step` has no result: nothing that depends on it will run.

        Returns:
            Each step that is skipped by this, nearest first, with the dependency that skipped it.
        """
        self._end(step)
        skipped: list[tuple[int, int]] = []
        lost = deque([step])
        while lost:
            cause = lost.popleft()
            for dependant in self._dependants[cause]:
                if dependant in self._pending:
                    del self._pending[dependant]
                    skipped.append((dependant, cause))
                    lost.append(dependant)
        return tuple(skipped)

    @property
    def pending(self) -> tuple[int, ...]:
        """The steps that have neither started nor been skipped, in plan order."""
        return tuple(self._pending)

    @property
    def running(self) -> frozenset[int]:
        """The steps that were taken and have not ended."""
        return frozenset(self._running)

    @property
    def ready(self) -> int:
        """How many steps `take` would give now."""
        return len(self._ready)

    @property
    def finished(self) -> bool:
        """Nothing runs and nothing is left to run."""
        return not self._pending and not self._running

    def _end(self, step: int) -> None:
        if step not in self._running:
            raise ValueError(f"step {step} is not running, so it cannot end: take() it first, end it once")
        self._running.remove(step)


def dependants(dependencies: Graph, order: Sequence[int]) -> dict[int, list[int]]:
    """The graph turned round: for each step who depends on it, in plan order."""
    found: dict[int, list[int]] = {step: [] for step in order}
    for step in order:
        for dependency in dependencies[step]:
            found[dependency].append(step)
    return found


def levels(dependencies: Graph, order: Sequence[int] | None = None) -> tuple[tuple[int, ...], ...]:
    """The steps by the length of the longest chain that leads to them; inside a level in plan order.

    Steps on a cycle, and whatever depends on them, are in no level: fewer steps come out than went in.
    """
    steps = tuple(dependencies) if order is None else order
    by_dependency = dependants(dependencies, steps)
    waits_for = {step: len(dependencies[step]) for step in steps}
    level = {step: 0 for step in steps if not waits_for[step]}
    ready = deque(level)
    while ready:
        step = ready.popleft()
        beyond = level[step] + 1
        for dependant in by_dependency[step]:
            waits_for[dependant] -= 1
            if not waits_for[dependant]:
                # The last dependency to end is on the highest level: Kahn's queue goes level by level.
                level[dependant] = beyond
                ready.append(dependant)
    found: list[list[int]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for step in steps:
        if step in level:
            found[level[step]].append(step)
    return tuple(map(tuple, found))


def sequential(dependencies: Graph, order: Sequence[int] | None = None) -> tuple[int, ...]:
    """One order in which the steps can run one after another; the plan's own wherever that is possible."""
    steps = tuple(dependencies) if order is None else order
    by_dependency = dependants(dependencies, steps)
    waits_for = {step: len(dependencies[step]) for step in steps}
    place = {step: n for n, step in enumerate(steps)}
    ready = [place[step] for step in steps if not waits_for[step]]
    heapify(ready)
    found: list[int] = []
    while ready:
        step = steps[heappop(ready)]
        found.append(step)
        for dependant in by_dependency[step]:
            waits_for[dependant] -= 1
            if not waits_for[dependant]:
                heappush(ready, place[dependant])
    return tuple(found)


def rank(dependencies: Graph, durations: Mapping[int, float] | None = None) -> dict[int, float]:
    """For each step how long the longest chain is that begins with it: what to start first when slots are few.

    `durations` are seconds (or any unit) a step; a step without one, or all of them by default, counts 1.
    """
    steps = sequential(dependencies)
    by_dependency = dependants(dependencies, steps)
    found: dict[int, float] = {}
    for step in reversed(steps):
        own = 1.0 if durations is None else durations.get(step, 1.0)
        found[step] = own + max((found[dependant] for dependant in by_dependency[step]), default=0.0)
    return found


def critical_path(dependencies: Graph, durations: Mapping[int, float] | None = None) -> tuple[int, ...]:
    """The chain of steps that no amount of parallelism makes shorter, first step first."""
    ranks = rank(dependencies, durations)
    if not ranks:
        return ()
    by_dependency = dependants(dependencies, tuple(dependencies))
    path = [max(ranks, key=ranks.__getitem__)]
    while following := by_dependency[path[-1]]:
        path.append(max(following, key=ranks.__getitem__))
    return tuple(path)
