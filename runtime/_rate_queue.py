"""Who is next: two lines, one for whom somebody waits for and one for work behind an answer, and fair between them.

Within a line it is first come, first served, whatever the size: the head is never overtaken by one that would fit, so
a large request cannot starve. Between the lines it is stride scheduling (Waldspurger and Weihl, 1995): each line has
a pass, which grows by what it was served divided by its weight, and the smaller pass is next. A line that was empty
begins at the pass of what was served last, so it cannot save up turns.

Age counts: the weight of the background grows with the wait of its head, up to that of the others. More than that
would let a heap of old background work stand in front of everybody, which is what the two lines are against.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

import attrs

from ._clock import Seconds
from ._rate_reports import Tray
from ._rate_window import Slot

Priority = Literal["interactive", "background"]
"""Whether somebody waits for the answer, or it is work behind one that has been given."""

TurnState = Literal["waiting", "granted", "refused", "over"]

WEIGHT = 4.0
"""Of interactive requests; the background begins at 1."""

FULL_AGE: Seconds = 60.0
"""Background work whose turn has not come for so long weighs as much as anything."""

_SMALL = 64
"""So much that is over may be kept, before it is looked for."""


@attrs.define(eq=False)
class Turn:
    """One request in a bucket: it waits, it is granted or refused, it is over.

    `at` is when it may go: about when as long as it waits, exactly when once it is granted. `waiter` is whoever sleeps
    until it is granted or refused: the caller puts its task there, and the limiter takes it out to wake it.
    """

    id: str
    tokens: int
    priority: Priority
    asked: Seconds
    deadline: Seconds
    at: Seconds
    state: TurnState = "waiting"
    error: Exception | None = None
    waiter: object = attrs.field(default=None, repr=False)
    slot: Slot | None = attrs.field(default=None, repr=False)
    tray: Tray | None = attrs.field(default=None, repr=False)
    """Where its report goes."""


class TurnQueue:
    """Two lines. `cost` of a turn is its share of what a minute allows."""

    def __init__(self, cost: Callable[[Turn], float]) -> None:
        self._cost = cost
        self._lines: dict[Priority, deque[Turn]] = {"interactive": deque(), "background": deque()}
        self._passes: dict[Priority, float] = {"interactive": 0.0, "background": 0.0}
        self.waiting: dict[Priority, int] = {"interactive": 0, "background": 0}
        """Turns in each line, without those that have withdrawn."""
        self.tokens: dict[Priority, int] = {"interactive": 0, "background": 0}
        self._virtual = 0.0
        self._deadlines: list[tuple[Seconds, int, Turn]] = []
        self._numbers = itertools.count()
        self.deadline: Seconds = math.inf
        """When to call `expire`: the earliest deadline, or that of one that has gone."""

    def __len__(self) -> int:
        return self.waiting["interactive"] + self.waiting["background"]

    def __iter__(self) -> Iterator[Turn]:
        """All that wait, line by line."""
        for line in self._lines.values():
            yield from (turn for turn in line if turn.state == "waiting")

    def add(self, turn: Turn) -> None:
        """To the end of its line."""
        name = turn.priority
        if not self.waiting[name]:
            self._passes[name] = max(self._passes[name], self._virtual)
        self._lines[name].append(turn)
        self.waiting[name] += 1
        self.tokens[name] += turn.tokens
        if turn.deadline != math.inf:
            self._add_deadline(turn)

    def expire(self, now: Seconds) -> list[Turn]:
        """Those whose deadline has come: they have withdrawn."""
        heap, late = self._deadlines, list[Turn]()
        while heap and (heap[0][0] <= now or heap[0][2].state != "waiting"):
            turn = heapq.heappop(heap)[2]
            if turn.state == "waiting":
                self.withdraw(turn)
                late.append(turn)
        self.deadline = heap[0][0] if heap else math.inf
        return late

    def _add_deadline(self, turn: Turn) -> None:
        heap = self._deadlines
        if len(heap) > _SMALL and len(heap) > 2 * len(self):
            heap[:] = [entry for entry in heap if entry[2].state == "waiting"]
            heapq.heapify(heap)
        heapq.heappush(heap, (turn.deadline, next(self._numbers), turn))
        self.deadline = heap[0][0]

    def head(self) -> Turn | None:
        """Whose turn it is; None if nobody waits."""
        first, second = self.waiting["interactive"], self.waiting["background"]
        if not first and not second:
            return None
        passes = self._passes
        ahead = first and (not second or passes["interactive"] <= passes["background"])
        line = self._lines["interactive" if ahead else "background"]
        while line[0].state != "waiting":
            line.popleft()
        return line[0]

    def take(self, turn: Turn, now: Seconds) -> None:
        """The head goes: its line has had its share."""
        name = turn.priority
        self._lines[name].popleft()
        self._left(turn)
        self._virtual = self._passes[name]
        weight = WEIGHT
        if name == "background":
            weight = 1.0 + (WEIGHT - 1.0) * min(1.0, (now - turn.asked) / FULL_AGE)
        self._passes[name] += self._cost(turn) / weight

    def withdraw(self, turn: Turn) -> None:
        """It no longer waits, wherever it stands. Its state is the caller's to change, before or after."""
        self._left(turn)
        line = self._lines[turn.priority]
        if len(line) > _SMALL and len(line) > 2 * self.waiting[turn.priority]:
            rest = [other for other in line if other is not turn and other.state == "waiting"]
            line.clear()
            line.extend(rest)

    def ahead_of_next(self, priority: Priority) -> tuple[int, int]:
        """About how many requests and tokens go before one that comes now."""
        own, other = self.waiting[priority], self.waiting["background" if priority == "interactive" else "interactive"]
        share = min(other, int(own / WEIGHT) + 1 if priority == "interactive" else int((own + 1) * WEIGHT))
        tokens = self.tokens["background" if priority == "interactive" else "interactive"]
        return own + share, self.tokens[priority] + (tokens * share // other if other else 0)

    def _left(self, turn: Turn) -> None:
        self.waiting[turn.priority] -= 1
        self.tokens[turn.priority] -= turn.tokens
