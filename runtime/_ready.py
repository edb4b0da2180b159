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

import enum
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush


class _State(enum.Enum):
    PENDING = enum.auto()
    RUNNING = enum.auto()
    DONE = enum.auto()
    LOST = enum.auto()


_PENDING, _RUNNING, _DONE, _LOST = _State

Graph = Mapping[int, Sequence[int]]
"""For each step the ids of the steps it depends on; no id twice, none that is not a key."""


class ReadySet:
    """The steps of one run that are ready, running, done, failed or skipped.

    `dependencies` names every step; `order` (default: that of `dependencies`) is the plan's order, in which
    steps that become ready together are taken. `done` are steps that finished in an earlier run; those that
    the plan does not have (any more) count for nothing. `enough` says of the steps that need not all of their
    dependencies how many will do; such a step is lost only when so many cannot come any more.

    A step is *pending* until it is taken, then *running* until `done` or `failed` is called for it.
    """

    __slots__ = ("_dependants", "_ready", "_spare", "_state", "_waits_for")

    def __init__(
        self,
        dependencies: Graph,
        order: Sequence[int] | None = None,
        *,
        done: Iterable[int] = (),
        enough: Mapping[int, int] | None = None,
    ) -> None:
        steps = tuple(dependencies) if order is None else order
        self._dependants = dependants(dependencies, steps)
        finished = self._dependants.keys() & set(done)
        self._state: dict[int, _State] = dict.fromkeys(finished, _DONE)
        self._ready: deque[int] = deque()
        self._waits_for: dict[int, int] = {}
        # How many of its dependencies a step may lose, where it does not need them all.
        self._spare: dict[int, int] = {}
        for step in steps:
            if step in finished:
                self._waits_for[step] = 0  # and below, if one that it had waited for is run again
            else:
                self._enter(step, dependencies[step], enough.get(step) if enough else None)

    def copy(self) -> ReadySet:
        """The same once more, to begin from; nothing may be added to either of them afterwards."""
        new = object.__new__(ReadySet)
        new._dependants = self._dependants
        new._state = self._state.copy()
        new._ready = self._ready.copy()
        new._waits_for = self._waits_for.copy()
        new._spare = self._spare.copy()
        return new

    def add(self, step: int, dependencies: Sequence[int], *, enough: int | None = None) -> tuple[tuple[int, int], ...]:
        """One more step, while the plan is still being written; its dependencies may come later.

        Returns:
            What is skipped by this, as `failed` gives it: the step itself if what it needs is lost already.
        """
        if step in self._waits_for:
            raise ValueError(f"step {step} is here already; add it once")
        self._dependants.setdefault(step, [])
        for dependency in dependencies:
            self._dependants.setdefault(dependency, []).append(step)
        self._enter(step, dependencies, enough)
        skipped: list[tuple[int, int]] = []
        for dependency in dependencies:
            if self._state.get(dependency) is _LOST:
                self._lose(step, dependency, skipped)
        return tuple(skipped)

    def _enter(self, step: int, dependencies: Sequence[int], enough: int | None) -> None:
        finished = 0
        if self._state:
            finished = sum(self._state.get(dependency) is _DONE for dependency in dependencies)
        wanted = len(dependencies) if enough is None else min(enough, len(dependencies))
        if wanted < len(dependencies):
            self._spare[step] = len(dependencies) - wanted
        self._waits_for[step] = wanted - finished
        self._state[step] = _PENDING
        if wanted <= finished:
            self._ready.append(step)

    def take(self, most: int | None = None) -> tuple[int, ...]:
        """The steps that are ready and not yet taken, at most `most` of them; they are running from now on."""
        ready = self._ready
        if not ready:
            return ()
        count = len(ready) if most is None else min(max(most, 0), len(ready))
        taken = tuple(ready.popleft() for _ in range(count))
        for step in taken:
            self._state[step] = _RUNNING
        return taken

    def done(self, step: int) -> None:
        """`step` has its result; its dependants wait for one less."""
        state, waits_for = self._state, self._waits_for
        if state.get(step) is not _RUNNING:
            raise _not_running(step)
        state[step] = _DONE
        for dependant in self._dependants[step]:
            left = waits_for[dependant] = waits_for[dependant] - 1
            if not left and state[dependant] is _PENDING:
                self._ready.append(dependant)

    def done_and_take(self, step: int) -> Sequence[int]:
        """`done`, and `take` of what that made ready: for whoever runs one step after another."""
        state, waits_for = self._state, self._waits_for
        if state.get(step) is not _RUNNING:
            raise _not_running(step)
        state[step] = _DONE
        taken: list[int] | None = None
        for dependant in self._dependants[step]:
            left = waits_for[dependant] = waits_for[dependant] - 1
            if not left and state[dependant] is _PENDING:
                state[dependant] = _RUNNING
                if taken is None:
                    taken = [dependant]
                else:
                    taken.append(dependant)
        return taken or ()

    def failed(self, step: int) -> tuple[tuple[int, int], ...]:
        """`step` has no result: nothing that cannot do without it will run.

        Returns:
            Each step that is skipped by this, nearest first, with the dependency that skipped it.
        """
        if self._state.get(step) is not _RUNNING:
            raise _not_running(step)
        self._state[step] = _LOST
        skipped: list[tuple[int, int]] = []
        for dependant in self._dependants[step]:
            self._lose(dependant, step, skipped)
        return tuple(skipped)

    def _lose(self, step: int, cause: int, skipped: list[tuple[int, int]]) -> None:
        """`cause` will not come: whether `step`, and what hangs on it, can do without."""
        lost = deque([(step, cause)])
        while lost:
            step, cause = lost.popleft()
            if self._state.get(step) is not _PENDING:
                continue
            if self._spare.get(step):
                self._spare[step] -= 1
                continue
            self._state[step] = _LOST
            skipped.append((step, cause))
            lost.extend((dependant, step) for dependant in self._dependants[step])

    @property
    def pending(self) -> tuple[int, ...]:
        """The steps that have neither started nor been skipped, in plan order."""
        return tuple(step for step, state in self._state.items() if state is _PENDING)

    @property
    def running(self) -> frozenset[int]:
        """The steps that were taken and have not ended."""
        return frozenset(step for step, state in self._state.items() if state is _RUNNING)

    @property
    def ready(self) -> int:
        """How many steps `take` would give now."""
        return len(self._ready)

    @property
    def finished(self) -> bool:
        """Nothing runs and nothing is left to run."""
        return not any(state is _PENDING or state is _RUNNING for state in self._state.values())


def _not_running(step: int) -> ValueError:
    return ValueError(f"step {step} is not running, so it cannot end: take() it first, end it once")


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
