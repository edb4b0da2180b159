"""The plans that are measured: how wide, how deep, how long each step takes. The same on every call.

A step refers to the result of each step it depends on, as `$stepN.v`, and tells the tool its own number, under which
`Shape.seconds` has how long it sleeps. Dependencies are always on steps that stand before.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush

import attrs

Dependencies = Mapping[int, tuple[int, ...]]


@attrs.frozen(eq=False)
class Shape:
    """One plan: who waits for whom, and how long each step takes (0: it never suspends)."""

    name: str
    needs: Dependencies
    seconds: Mapping[int, float]

    def __len__(self) -> int:
        return len(self.needs)

    def text(self, action: str = "work") -> str:
        """The plan as a planner would write it."""
        steps = [
            {
                "id": step,
                "action": action,
                "parameters": {"inputs": [f"$step{one}.v" for one in needs], "n": step},
                "dependencies": list(needs),
            }
            for step, needs in self.needs.items()
        ]
        return json.dumps({"steps": steps})

    @property
    def dependants(self) -> dict[int, list[int]]:
        """For each step those that wait for it."""
        found: dict[int, list[int]] = {step: [] for step in self.needs}
        for step, needs in self.needs.items():
            for one in needs:
                found[one].append(step)
        return found

    @property
    def levels(self) -> list[list[int]]:
        """The steps by the length of the longest chain before them."""
        level: dict[int, int] = {}
        for step, needs in self.needs.items():
            level[step] = 1 + max((level[one] for one in needs), default=-1)
        found: list[list[int]] = [[] for _ in range(max(level.values()) + 1)]
        for step, number in level.items():
            found[number].append(step)
        return found

    @property
    def critical_path(self) -> float:
        """The seconds that no number of slots makes shorter."""
        end: dict[int, float] = {}
        for step, needs in self.needs.items():
            end[step] = self.seconds[step] + max((end[one] for one in needs), default=0.0)
        return max(end.values())

    @property
    def with_barriers(self) -> float:
        """The seconds it takes if each level waits for all of the one before."""
        return sum(max(self.seconds[step] for step in level) for level in self.levels)

    def at_slots(self, slots: int) -> float:
        """What nobody can beat with so many slots: the critical path, or all of the work spread evenly."""
        return max(self.critical_path, sum(self.seconds.values()) / slots)

    def scheduled(self, slots: int) -> float:
        """The seconds of a scheduler that costs nothing and always takes the step with the longest path behind it."""
        behind: dict[int, float] = {}
        dependants = self.dependants
        for step in reversed(self.needs):
            behind[step] = self.seconds[step] + max((behind[one] for one in dependants[step]), default=0.0)
        missing = {step: len(needs) for step, needs in self.needs.items()}
        ready = [(-behind[step], step) for step, count in missing.items() if not count]
        ready.sort()
        now = 0.0
        running: list[tuple[float, int]] = []
        while ready or running:
            while ready and len(running) < slots:
                _, step = heappop(ready)
                heappush(running, (now + self.seconds[step], step))
            now, step = heappop(running)
            for one in dependants[step]:
                missing[one] -= 1
                if not missing[one]:
                    heappush(ready, (-behind[one], one))
        return now


def _never_suspending(name: str, needs: Dependencies) -> Shape:
    return Shape(name, needs, dict.fromkeys(needs, 0.0))


def wide(steps: int = 1000) -> Shape:
    """No step waits for any other."""
    return _never_suspending("wide", dict.fromkeys(range(1, steps + 1), ()))


def chain(steps: int = 1000) -> Shape:
    """Each step waits for the one before."""
    return _never_suspending("chain", {step: (step - 1,) if step > 1 else () for step in range(1, steps + 1)})


def _layered(name: str, levels: int, width: int, choose: Callable[[list[int]], Sequence[int]]) -> Shape:
    needs: dict[int, tuple[int, ...]] = {}
    before: list[int] = []
    for level in range(levels):
        here = list(range(level * width + 1, (level + 1) * width + 1))
        needs |= {step: tuple(sorted(choose(before))) if before else () for step in here}
        before = here
    return _never_suspending(name, needs)


def grid(levels: int = 50, width: int = 20, fan_in: int = 3) -> Shape:
    """Levels of one width; each step waits for some of the level before."""
    draw = random.Random(19)
    return _layered("grid", levels, width, lambda before: draw.sample(before, fan_in))


def full(levels: int = 50, width: int = 20) -> Shape:
    """Levels of one width; each step waits for the whole level before: all that engines of forks and joins can do."""
    return _layered("full", levels, width, lambda before: before)


def lanes(count: int = 10, length: int = 20) -> Shape:
    """Chains side by side, whose steps are fast (2 ms) and now and then slow (40 ms): at every level one is slow."""
    draw = random.Random(11)
    needs: dict[int, tuple[int, ...]] = {}
    for lane in range(count):
        first = lane * length + 1
        needs |= {step: (step - 1,) if step > first else () for step in range(first, first + length)}
    seconds = {step: 0.040 if draw.random() < 0.15 else 0.002 for step in needs}
    return Shape("lanes", needs, seconds)


def tangle(steps: int = 300, reach: int = 40, most: int = 3) -> Shape:
    """At random: each step waits for up to three of the forty before, and takes 1 to 50 ms, short ones more often."""
    draw = random.Random(5)
    needs: dict[int, tuple[int, ...]] = {}
    for step in range(1, steps + 1):
        before = range(max(1, step - reach), step)
        wanted = draw.randint(min(1, step // 10), most)
        needs[step] = tuple(sorted(draw.sample(before, min(wanted, len(before)))))
    return Shape("tangle", needs, {step: 0.001 * 50.0 ** draw.random() for step in needs})
