"""Which flag would have made a run shorter, by arithmetic: the same steps with the same durations, scheduled again.

The steps of the run are put through a model of the executor (slots, barrier, order, gates) with the flags that it had
and with others. The difference is what the other flags would have saved. Nothing is said where the model does not
explain the run it starts from, because then something else than these flags decided how long it took: a limit of one
tool, or an effect, or a program that was busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush

import attrs

from trouper.runtime import Seconds, rank, sequential

LEAST_SHARE = 0.05
"""What is not worth saying: less than this part of the run, ..."""
LEAST_SAVED: Seconds = 0.01
"""... or less than this."""
EXPLAINED = 0.1
"""How far the model may be off the measured run, as a part of it."""
MOST_STEPS = 4000
"""Steps of a run that is put through the model: beyond that its answer would be waited for."""

SLOTS = "performance.parallel_execution.max_parallel_steps"
PARALLEL = "performance.parallel_execution.enabled"
ANALYSIS = "performance.parallel_execution.dependency_analysis"
BARRIER = "performance.parallel_execution.level_barrier"
BACKGROUND = "performance.background_tasks.verification"


@attrs.frozen(kw_only=True)
class Scheduling:
    """The flags that a run was scheduled by; named as in the configuration."""

    max_parallel_steps: int = 5
    enabled: bool = True
    dependency_analysis: bool = True
    level_barrier: bool = False
    background_verification: bool = True

    @property
    def slots(self) -> int:
        """Steps that run at once."""
        return self.max_parallel_steps if self.enabled and self.dependency_analysis else 1


@attrs.frozen(kw_only=True)
class Work:
    """What one step took by itself, without waiting for slots and other steps."""

    needs: tuple[int, ...] = ()
    level: int = 0
    planning: Seconds = 0.0
    """After its inputs were there and before it was known: the plan was still made."""
    approval: Seconds = 0.0
    """Until a person had said yes."""
    hold: Seconds = 0.0
    """With a slot."""
    after: Seconds = 0.0
    """Without one: back-off."""
    verdict: Seconds = 0.0
    """Until the verifier had spoken."""
    gated: bool = False
    """Its dependants wait for the verdict whatever the flags say: it is critical."""
    slot: bool = True
    """Whether it takes a slot at all; a step made of others takes none."""

    @property
    def before(self) -> Seconds:
        """Between its inputs and its wish for a slot."""
        return self.planning + self.approval


@attrs.frozen(kw_only=True)
class Advice:
    """Flags that would have saved `saves` seconds of the run, `share` of it."""

    flags: Mapping[str, int | bool]
    saves: Seconds
    share: float


def advise(works: Mapping[int, Work], how: Scheduling, measured: Seconds) -> tuple[Advice, ...]:
    """What would have helped, the most helpful first; nothing where the model does not explain the measured time."""
    as_it_was = _explained(works, how, measured)
    if as_it_was is None:
        return ()
    found = [advice for other in _others(works, how, as_it_was) if (advice := _compared(works, how, other, as_it_was))]
    return tuple(sorted(found, key=lambda advice: -advice.saves))


def costs(works: Mapping[int, Work], how: Scheduling, measured: Seconds, kinds: Iterable[str]) -> dict[str, Seconds]:
    """How much shorter the run would have been without each of these kinds of waiting, which are among `KINDS`.

    Empty where the model does not explain the run. Taken one by one: what two kinds cost together is not their sum.
    """
    as_it_was = _explained(works, how, measured)
    if as_it_was is None:
        return {}
    return {kind: max(0.0, as_it_was - makespan(*_without(kind, works, how))) for kind in kinds}


_CUT: Mapping[str, Callable[[Work], Work]] = {
    "approval": lambda work: attrs.evolve(work, approval=0.0),
    "verifier": lambda work: attrs.evolve(work, verdict=0.0),
    "backoff": lambda work: attrs.evolve(work, after=0.0),
    "planner": lambda work: attrs.evolve(work, planning=0.0),
}
"""A step without the part of it that is a kind of waiting."""
KINDS = frozenset({"slots", "barrier", *_CUT})
"""The kinds of waiting whose cost can be told."""


def _without(kind: str, works: Mapping[int, Work], how: Scheduling) -> tuple[Mapping[int, Work], Scheduling]:
    if kind == "slots":
        return works, attrs.evolve(how, enabled=True, dependency_analysis=True, max_parallel_steps=max(1, len(works)))
    if kind == "barrier":
        return works, attrs.evolve(how, level_barrier=False)
    return {i: _CUT[kind](work) for i, work in works.items()}, how


def _explained(works: Mapping[int, Work], how: Scheduling, measured: Seconds) -> Seconds | None:
    """How long the model says the run took; None if that is not how long it took."""
    if not works or len(works) > MOST_STEPS or measured < LEAST_SAVED:
        return None
    modelled = makespan(works, how)
    return modelled if abs(modelled - measured) <= EXPLAINED * measured else None


def _compared(works: Mapping[int, Work], how: Scheduling, other: Scheduling, before: Seconds) -> Advice | None:
    saves = before - makespan(works, other)
    if not _worth_it(saves, before):
        return None
    return Advice(flags=_changed(how, other), saves=saves, share=saves / before)


def _others(works: Mapping[int, Work], how: Scheduling, before: Seconds) -> Iterator[Scheduling]:
    """The flags to try, each by itself."""
    if not (how.enabled and how.dependency_analysis):
        yield attrs.evolve(how, enabled=True, dependency_analysis=True)
    elif (more := _enough_slots(works, how, before)) is not None:
        yield attrs.evolve(how, max_parallel_steps=more)
    if how.level_barrier:
        yield attrs.evolve(how, level_barrier=False)
    if not how.background_verification:
        yield attrs.evolve(how, background_verification=True)


def _enough_slots(works: Mapping[int, Work], how: Scheduling, before: Seconds) -> int | None:
    """The fewest slots, by doubling, that come near to what any number of them would give; None if none helps."""
    most = sum(work.slot for work in works.values())
    if how.slots >= most:
        return None
    best = makespan(works, attrs.evolve(how, max_parallel_steps=most))
    if not _worth_it(before - best, before):
        return None
    slots = how.slots * 2
    while slots < most and makespan(works, attrs.evolve(how, max_parallel_steps=slots)) > best * (1 + LEAST_SHARE):
        slots *= 2
    return min(slots, most)


def _worth_it(saves: Seconds, before: Seconds) -> bool:
    return saves >= max(LEAST_SHARE * before, LEAST_SAVED)


_KEYS = {
    "max_parallel_steps": SLOTS,
    "enabled": PARALLEL,
    "dependency_analysis": ANALYSIS,
    "level_barrier": BARRIER,
    "background_verification": BACKGROUND,
}


def _changed(how: Scheduling, other: Scheduling) -> dict[str, int | bool]:
    return {key: getattr(other, name) for name, key in _KEYS.items() if getattr(other, name) != getattr(how, name)}


# ------------------------------------------------------------------ the model of the executor
def makespan(works: Mapping[int, Work], how: Scheduling) -> Seconds:
    """How long these steps take with these flags."""
    return _Schedule(works, how).run()


_ASKS, _FREES, _GIVES, _ENDS = range(4)
"""What happens to a step, in the order it happens: it wants a slot, gives it back, has its result, has its verdict."""


class _Schedule:
    """One run of the model: events in time order, and after each moment whatever can start is started."""

    def __init__(self, works: Mapping[int, Work], how: Scheduling) -> None:
        self._works = works
        self._how = how
        self._free = how.slots
        self._keys = _priorities(works, how)
        self._missing = {i: len(work.needs) for i, work in works.items()}
        self._behind: dict[int, list[int]] = {i: [] for i in works}
        for i, work in works.items():
            for need in work.needs:
                self._behind[need].append(i)
        self._left = [0] * (max((work.level for work in works.values()), default=0) + 1)
        for work in works.values():
            self._left[work.level] += 1
        self._open = 0
        self._waiting: list[tuple[tuple[float, ...], int]] = []
        self._events = [(work.before, _ASKS, i) for i, work in works.items() if not work.needs]
        heapify(self._events)

    def run(self) -> Seconds:
        now = 0.0
        while self._events:
            now, what, step = heappop(self._events)
            self._happens(now, what, step)
            while self._events and self._events[0][0] == now:
                _, what, step = heappop(self._events)
                self._happens(now, what, step)
            self._start(now)
        return now

    def _happens(self, now: Seconds, what: int, step: int) -> None:
        work = self._works[step]
        if what == _ASKS:
            heappush(self._waiting, (self._keys[step], step))
        elif what == _FREES:
            self._free += work.slot
            gate = work.verdict if work.gated or not self._how.background_verification else 0.0
            given = now + work.after
            heappush(self._events, (given + gate, _GIVES, step))
            heappush(self._events, (given + work.verdict, _ENDS, step))
        elif what == _GIVES:
            self._left[work.level] -= 1
            for dependant in self._behind[step]:
                self._missing[dependant] -= 1
                if not self._missing[dependant]:
                    heappush(self._events, (now + self._works[dependant].before, _ASKS, dependant))

    def _start(self, now: Seconds) -> None:
        held: list[tuple[tuple[float, ...], int]] = []
        while self._waiting:
            key, step = heappop(self._waiting)
            work = self._works[step]
            if work.slot and not self._free:
                held.append((key, step))
                break  # whoever comes after it in the order does not overtake
            if not self._may_start(work.level):
                held.append((key, step))
                continue
            self._free -= work.slot
            heappush(self._events, (now + work.hold, _FREES, step))
        for one in held:
            heappush(self._waiting, one)

    def _may_start(self, level: int) -> bool:
        if not self._how.level_barrier:
            return True
        while self._open < level and not self._left[self._open]:
            self._open += 1
        return self._open >= level


def _priorities(works: Mapping[int, Work], how: Scheduling) -> dict[int, tuple[float, ...]]:
    """The executor's order when slots are scarce: the longest chain of steps behind it first."""
    needs: Mapping[int, Sequence[int]] = {i: work.needs for i, work in works.items()}
    place = {step: float(n) for n, step in enumerate(sequential(needs))}
    if not how.dependency_analysis:
        return {step: (n,) for step, n in place.items()}
    ranks = rank(needs)
    return {i: (float(work.level) if how.level_barrier else 0.0, -ranks[i], place[i]) for i, work in works.items()}
