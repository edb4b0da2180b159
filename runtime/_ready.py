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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush, merge
from typing import NamedTuple

PENDING, RUNNING, DONE, LOST, ABSENT = range(5)
"""What a step can be; absent: named by another one, and not there yet."""

Graph = Mapping[int, Sequence[int]]
"""For each step the ids of the steps it depends on; no id twice, none that is not a key."""


class Counters(NamedTuple):
    """The inside of a `ReadySet`: what it knows of each step stands at the step's place."""

    steps: Sequence[int]
    """The step at each place."""
    feeds: Sequence[Sequence[int]]
    """For each place the groups that wait for it."""
    members: Sequence[tuple[int, ...]]
    """For each group the places of its steps."""
    waits_for: list[int]
    """For each group how many steps it still waits for."""
    state: bytearray
    """What each step is."""


class ReadySet:
    """The steps of one run that are ready, running, done, failed or skipped.

    `dependencies` names every step; `order` (default: that of `dependencies`) is the plan's order, in which
    steps that become ready together are taken. `done` are steps that finished in an earlier run; those that
    the plan does not have (any more) count for nothing. `enough` says of the steps that need not all of their
    dependencies how many will do; such a step is lost only when so many cannot come any more.

    A step is *pending* until it is taken, then *running* until `done` or `failed` is called for it.

    Steps that wait for the same steps wait in one group with one counter: where each step of a level waits for the
    whole level before, that saves nearly all of the counting.
    """

    __slots__ = ("_entered", "_feeds", "_index", "_members", "_ready", "_spare", "_state", "_steps", "_waits_for")

    def __init__(
        self,
        dependencies: Graph,
        order: Sequence[int] | None = None,
        *,
        done: Iterable[int] = (),
        enough: Mapping[int, int] | None = None,
    ) -> None:
        steps = tuple(dependencies) if order is None else order
        # By place and not by id: a list is quicker than a dict.
        self._steps: list[int] = list(steps)
        self._index: dict[int, int] = {step: place for place, step in enumerate(steps)}
        self._entered: list[int] = list(range(len(steps)))
        self._state = bytearray(len(steps))
        for step in done:
            if step in self._index:
                self._state[self._index[step]] = DONE
        self._ready: deque[int] = deque()
        self._members: list[tuple[int, ...]] = []
        """The steps of each group."""
        self._waits_for: list[int] = []
        """For how many steps each group still waits."""
        self._feeds: list[list[int]] = [[] for _ in steps]
        """The groups that wait for each step."""
        # How many of its dependencies a step may lose, where it does not need them all.
        self._spare: dict[int, int] = {}
        together: dict[tuple[object, ...], list[int]] = {}
        for place, step in enumerate(steps):
            needs = tuple(dependencies[step])
            key = (needs, enough[step]) if enough and step in enough else needs
            found = together.get(key)
            if found is None:
                together[key] = [place]
            else:
                found.append(place)
        for places in together.values():
            step = steps[places[0]]
            self._group(tuple(places), dependencies[step], enough.get(step) if enough else None)
        if len(self._ready) > 1:
            self._ready = deque(sorted(self._ready))

    def copy(self) -> ReadySet:
        """The same once more, to begin from; nothing may be added to either of them afterwards."""
        new = object.__new__(ReadySet)
        new._steps = self._steps
        new._index = self._index
        new._entered = self._entered
        new._members = self._members
        new._feeds = self._feeds
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
        place = self._place(step)
        if self._state[place] != ABSENT:
            raise ValueError(f"step {step} is here already; add it once")
        self._state[place] = PENDING
        self._entered.append(place)
        self._group((place,), dependencies, enough)
        skipped: list[tuple[int, int]] = []
        for dependency in dependencies:
            if self._state[self._index[dependency]] == LOST:
                self._lose(place, dependency, skipped)
        return tuple(skipped)

    def _place(self, step: int) -> int:
        """The place of a step; of one that is named and has not come yet, a new one."""
        place = self._index.get(step)
        if place is None:
            place = self._index[step] = len(self._steps)
            self._steps.append(step)
            self._state.append(ABSENT)
            self._feeds.append([])
        return place

    def _group(self, places: tuple[int, ...], dependencies: Sequence[int], enough: int | None) -> None:
        """Steps that wait for the same ones."""
        state, feeds, group = self._state, self._feeds, len(self._members)
        wanted = len(dependencies) if enough is None else min(enough, len(dependencies))
        if wanted < len(dependencies):
            self._spare.update(dict.fromkeys(places, len(dependencies) - wanted))
        left = wanted
        for dependency in dependencies:
            place = self._place(dependency)
            feeds[place].append(group)
            left -= state[place] == DONE
        self._members.append(places)
        self._waits_for.append(left)
        if left <= 0:
            self._ready.extend(place for place in places if state[place] == PENDING)

    def take(self, most: int | None = None) -> tuple[int, ...]:
        """The steps that are ready and not yet taken, at most `most` of them; they are running from now on."""
        ready, state, steps = self._ready, self._state, self._steps
        if not ready:
            return ()
        count = len(ready) if most is None else min(max(most, 0), len(ready))
        taken = [ready.popleft() for _ in range(count)]
        for place in taken:
            state[place] = RUNNING
        return tuple([steps[place] for place in taken])

    def done(self, step: int) -> None:
        """`step` has its result; its dependants wait for one less."""
        state, waits_for = self._state, self._waits_for
        place = self._running(step)
        state[place] = DONE
        free: list[int] = []
        for group in self._feeds[place]:
            left = waits_for[group] = waits_for[group] - 1
            if not left:
                free += self._members[group]
        self._ready.extend(place for place in sorted(free) if state[place] == PENDING)

    def counters(self) -> Counters:
        """What `done` and `take` work on, for a loop in which a call would cost more than what it does.

        It must do what they do: a step that is `RUNNING` becomes `DONE`, each group that it feeds waits for one less,
        and when a group waits for no more its members that are `PENDING` are `RUNNING`.
        """
        return Counters(self._steps, self._feeds, self._members, self._waits_for, self._state)

    def failed(self, step: int) -> tuple[tuple[int, int], ...]:
        """`step` has no result: nothing that cannot do without it will run.

        Returns:
            Each step that is skipped by this, nearest first, with the dependency that skipped it.
        """
        place = self._running(step)
        self._state[place] = LOST
        skipped: list[tuple[int, int]] = []
        for dependant in self._behind(place):
            self._lose(dependant, step, skipped)
        return tuple(skipped)

    def _running(self, step: int) -> int:
        place = self._index.get(step, -1)
        if place < 0 or self._state[place] != RUNNING:
            raise ValueError(f"step {step} is not running, so it cannot end: take() it first, end it once")
        return place

    def _behind(self, place: int) -> Iterator[int]:
        """The steps that wait for this one, in plan order."""
        return merge(*(self._members[group] for group in self._feeds[place]))

    def _lose(self, place: int, cause: int, skipped: list[tuple[int, int]]) -> None:
        """`cause` will not come: whether the step, and what hangs on it, can do without."""
        lost = deque([(place, cause)])
        while lost:
            place, cause = lost.popleft()
            if self._state[place] != PENDING:
                continue
            if self._spare.get(place):
                self._spare[place] -= 1
                continue
            self._state[place] = LOST
            step = self._steps[place]
            skipped.append((step, cause))
            lost.extend((dependant, step) for dependant in self._behind(place))

    @property
    def pending(self) -> tuple[int, ...]:
        """The steps that have neither started nor been skipped, in plan order."""
        return tuple(self._steps[place] for place in self._entered if self._state[place] == PENDING)

    @property
    def running(self) -> frozenset[int]:
        """The steps that were taken and have not ended."""
        return frozenset(step for step, state in zip(self._steps, self._state, strict=True) if state == RUNNING)

    @property
    def ready(self) -> int:
        """How many steps `take` would give now."""
        return len(self._ready)

    @property
    def finished(self) -> bool:
        """Nothing runs and nothing is left to run."""
        return PENDING not in self._state and RUNNING not in self._state


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
