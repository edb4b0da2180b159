"""Slots: how many steps run at once, and who is next when there are more.

A run and its sub-plans share one `Dispatch`: it has the run's slots, and a heap of whoever waits for one, longest
remaining path first. `Caps` are shared by all runs: how many calls of one tool, and how many steps of one kind of
effect, run at once. A step that its tool's cap holds back waits aside, so it keeps no slot from anybody.

A claim is granted by a call and not by an event: a step that waits for its slot costs no task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

import attrs

from .tool import Effect, Tool

if TYPE_CHECKING:
    from .blueprint import Recipe

_MANY = 8

Priority = tuple[float, ...]
"""The smallest first."""


@attrs.frozen(kw_only=True)
class EffectLimits:
    """How many steps of each kind of effect may run at once, over all runs; None: no limit of its own."""

    pure: int | None = None
    keyed: int | None = None
    once: int | None = None

    def of(self, effect: Effect) -> int | None:
        """The limit of one kind."""
        limit: int | None = getattr(self, effect.value)
        return limit


class Claim:
    """A wish for a slot: `granted` is called when it has one, unless it was withdrawn before."""

    __slots__ = ("caps", "granted", "live", "priority")

    def __init__(self, granted: Callable[[], None], priority: Priority, caps: tuple[str, ...] = ()) -> None:
        self.granted: Callable[[], None] = granted
        self.priority: Priority = priority
        self.caps: tuple[str, ...] = caps
        self.live: bool = True


class Line:
    """The plain steps of one run that are ready and wait for a slot: their places in the order of priority, in a heap.

    A claim for each of them would cost more than the steps: most plans have more ready steps than slots.
    """

    __slots__ = ("_granted", "_in_order", "batch", "busy", "heap", "held")

    def __init__(self, in_order: Sequence[Recipe], granted: Callable[[Recipe], None]) -> None:
        self._in_order = in_order
        self._granted = granted
        self.heap: list[int] = []
        self.batch: list[int] = []
        """Many that became ready together, the first last: sorted once, they need no heap."""
        self.held: int = 0
        """Slots that steps from this line have now."""
        self.busy: bool = False
        """A loop takes the steps one after another into the one slot that it has: they need no others."""

    def __bool__(self) -> bool:
        return bool(self.heap or self.batch)

    def add(self, places: list[int]) -> None:
        """These are ready."""
        if len(places) > _MANY and not self.batch:
            self.batch.extend(sorted(places, reverse=True))
        else:
            for place in places:
                heappush(self.heap, place)

    @property
    def first(self) -> Priority:
        """Of the step in front."""
        return self._in_order[self.heap[0] if self._heap_first() else self.batch[-1]].priority

    def pop(self) -> Recipe:
        """The step in front."""
        return self._in_order[heappop(self.heap) if self._heap_first() else self.batch.pop()]

    def _heap_first(self) -> bool:
        return not self.batch or (bool(self.heap) and self.heap[0] < self.batch[-1])

    def grant(self) -> None:
        """Give a slot to the step in front."""
        self.held += 1
        self._granted(self.pop())


class Caps:
    """How many calls of each tool, and of each kind of effect, go on over all runs."""

    def __init__(self, tools: Mapping[str, Tool], effects: EffectLimits) -> None:
        limits = {f"tool {tool.name}": tool.max_concurrency for tool in tools.values()}
        limits |= {f"effect {effect.value}": effects.of(effect) for effect in Effect}
        self._left = {name: limit for name, limit in limits.items() if limit is not None}
        self._waiting: dict[str, deque[Dispatch]] = {name: deque() for name in self._left}

    def of(self, tool: Tool) -> tuple[str, ...]:
        """The caps that a call of `tool` counts against; mostly none."""
        if not self._left:
            return ()
        return tuple(n for n in (f"tool {tool.name}", f"effect {tool.effect.value}") if n in self._left)

    def full(self, caps: Iterable[str]) -> str | None:
        """The first of these caps that has no room."""
        return next((cap for cap in caps if self._left[cap] < 1), None)

    def take(self, caps: Iterable[str]) -> None:
        """Count one call."""
        for cap in caps:
            self._left[cap] -= 1

    def give_back(self, caps: Iterable[str]) -> None:
        """The call has ended; whoever waits for its room is told, one run after another."""
        for cap in caps:
            self._left[cap] += 1
        for cap in caps:
            self.nudge(cap)

    def wait(self, cap: str, dispatch: Dispatch) -> None:
        """`dispatch` has a claim that waits for room under `cap`."""
        self._waiting[cap].append(dispatch)

    def nudge(self, cap: str) -> None:
        """Offer the room under `cap`, as far as there is any, to those that wait for it."""
        waiting = self._waiting[cap]
        for _ in range(len(waiting)):
            if self._left[cap] < 1 or not waiting:
                return
            waiting.popleft().resume(cap)


class Dispatch:
    """The slots of one run. Nothing here waits: who wants a slot is called when it has one."""

    __slots__ = ("_aside", "_caps", "_next", "claims", "free", "lines", "slots")

    def __init__(self, slots: int, caps: Caps) -> None:
        self.slots: int = slots
        self.free: int = slots
        self._caps = caps
        self._next = count()
        self.claims: list[tuple[Priority, int, Claim]] = []
        self._aside: dict[str, deque[Claim]] = {}
        self.lines: list[Line] = []
        """Of the run and of its sub-plans, as far as they have plain steps."""

    @property
    def waiting(self) -> bool:
        """Whether anybody has claimed a slot and waits for it."""
        return bool(self.claims)

    @property
    def idle(self) -> bool:
        """No slot is taken and nobody waits for one."""
        waiting = self.claims or any(self._aside.values()) or any(self.lines)
        return self.free == self.slots and not waiting

    def claim(self, claim: Claim) -> None:
        """Stand in line; `grant` hands the slots out."""
        heappush(self.claims, (claim.priority, next(self._next), claim))

    def grant(self) -> None:
        """Give what is free to those in front."""
        while self.free > 0:
            line = self._first_line()
            if self.claims and (line is None or self.claims[0][0] <= line.first):
                self._grant_claim(heappop(self.claims)[2])
            elif line is not None:
                self.free -= 1
                line.grant()
            else:
                return

    def _first_line(self) -> Line | None:
        found = None
        for line in self.lines:
            if line and not line.busy and (found is None or line.first < found.first):
                found = line
        return found

    def _grant_claim(self, claim: Claim) -> None:
        if not claim.live:
            return
        full = self._caps.full(claim.caps) if claim.caps else None
        if full is not None:
            self._aside.setdefault(full, deque()).append(claim)
            self._caps.wait(full, self)
            return
        self.free -= 1
        if claim.caps:
            self._caps.take(claim.caps)
        claim.live = False
        claim.granted()

    def leave(self, line: Line) -> None:
        """A run with a line has ended, maybe in the middle: what its steps still hold is free again."""
        self.free += line.held
        line.held = 0
        line.heap.clear()
        line.batch.clear()
        self.lines.remove(line)

    def release(self, caps: tuple[str, ...] = ()) -> None:
        """A slot is free again; `grant` follows when whoever gives it back has put its own house in order."""
        self.free += 1
        if caps:
            self._caps.give_back(caps)

    def resume(self, cap: str) -> None:
        """There is room under `cap`: the first claim that waited for it stands in line again."""
        aside = self._aside.get(cap)
        while aside:
            claim = aside.popleft()
            if claim.live:
                self.claim(claim)
                self.grant()
                return
        # Nobody here wants it any more; those behind us do.
        self._caps.nudge(cap)

    def withdraw(self, claim: Claim) -> None:
        """The claim is given up: its place must not be offered to nobody."""
        if claim.live:
            claim.live = False
            for cap in claim.caps:
                self._caps.nudge(cap)

    def close(self) -> None:
        """The run has ended, maybe in the middle: whatever it waited for is offered to others."""
        for _, _, claim in self.claims:
            claim.live = False
        left = {cap for cap, claims in self._aside.items() if claims}
        for claims in self._aside.values():
            for claim in claims:
                claim.live = False
        for cap in left:
            self._caps.nudge(cap)
