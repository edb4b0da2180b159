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
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import attrs

from ._clock import Seconds
from ._rate_window import Slot

if TYPE_CHECKING:
    import trio

    from ._rate_line import RateTray

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
    until it is granted or refused: the caller puts its task there, and sleeps with the turn as `custom_sleep_data`.
    """

    id: str
    tokens: int
    priority: Priority
    asked: Seconds
    deadline: Seconds
    at: Seconds
    scope: str = ""
    tray: RateTray | None = attrs.field(default=None, repr=False)
    """Where its report goes."""
    state: TurnState = "waiting"
    error: Exception | None = None
    waiter: trio.lowlevel.Task | None = attrs.field(default=None, repr=False)
    slot: Slot | None = attrs.field(default=None, repr=False)


class Lane:
    """Those of one class, in the order in which they came. `waiting` and `tokens` leave out who has withdrawn."""

    __slots__ = ("passed", "tokens", "turns", "waiting")

    def __init__(self) -> None:
        self.turns: deque[Turn] = deque()
        self.passed: float = 0.0
        self.waiting: int = 0
        self.tokens: int = 0


class TurnQueue:
    """Two lanes. The cost of a turn is its share of what a minute allows: `requests` and `tokens`."""

    __slots__ = (
        "_deadlines",
        "_heap",
        "_numbers",
        "_per_request",
        "_per_token",
        "_virtual",
        "count",
        "deadline",
        "lanes",
    )

    def __init__(self, requests: int, tokens: int) -> None:
        self.lanes: dict[Priority, Lane] = {"interactive": Lane(), "background": Lane()}
        self.count: int = 0
        """How many wait."""
        self._virtual = 0.0
        self._deadlines: deque[Turn] = deque()
        self._heap: list[tuple[Seconds, int, Turn]] = []
        self._numbers = itertools.count()
        self.deadline: Seconds = math.inf
        """When to call `expire`: the earliest deadline, or that of one that has gone."""
        self.set_limits(requests, tokens)

    def set_limits(self, requests: int, tokens: int) -> None:
        """So much a minute from now on."""
        self._per_request, self._per_token = 1.0 / requests, 1.0 / tokens

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Turn]:
        """All that wait, lane by lane."""
        for lane in self.lanes.values():
            yield from (turn for turn in lane.turns if turn.state == "waiting")

    def add(self, turn: Turn) -> None:
        """To the end of its lane."""
        lane = self.lanes[turn.priority]
        if not lane.waiting and lane.passed < self._virtual:
            lane.passed = self._virtual
        lane.turns.append(turn)
        lane.waiting += 1
        lane.tokens += turn.tokens
        self.count += 1
        deadline = turn.deadline
        if deadline != math.inf:
            self._add_deadline(turn, deadline)

    def expire(self, now: Seconds) -> list[Turn]:
        """Those whose deadline has come: they have withdrawn."""
        late = list[Turn]()
        for turn in self._past(now):
            if turn.state == "waiting":
                self.withdraw(turn)
                late.append(turn)
        self._set_deadline()
        return late

    def _past(self, now: Seconds) -> Iterator[Turn]:
        """What is due or has gone, taken out."""
        line, heap = self._deadlines, self._heap
        while heap and (heap[0][0] <= now or heap[0][2].state != "waiting"):
            yield heapq.heappop(heap)[2]
        while line and (line[0].deadline <= now or line[0].state != "waiting"):
            yield line.popleft()

    def _add_deadline(self, turn: Turn, deadline: Seconds) -> None:
        """Most come in the order of their deadlines, and need no heap for it."""
        line = self._deadlines
        while line and line[0].state != "waiting":
            line.popleft()
        if not line or deadline >= line[-1].deadline:
            line.append(turn)
            if len(line) > _SMALL and len(line) > 2 * self.count:
                self._deadlines = deque(other for other in line if other.state == "waiting")
        else:
            heap = self._heap
            if len(heap) > _SMALL and len(heap) > 2 * self.count:
                heap[:] = [entry for entry in heap if entry[2].state == "waiting"]
                heapq.heapify(heap)
            heapq.heappush(heap, (deadline, next(self._numbers), turn))
        if deadline < self.deadline:  # noqa: PLR1730 - a call for each turn
            self.deadline = deadline

    def _set_deadline(self) -> None:
        first = self._deadlines[0].deadline if self._deadlines else math.inf
        self.deadline = min(first, self._heap[0][0]) if self._heap else first

    def head(self) -> Turn | None:
        """Whose turn it is; None if nobody waits."""
        lane, other = self.lanes["interactive"], self.lanes["background"]
        if not lane.waiting:
            if not other.waiting:
                return None
            lane = other
        elif other.waiting and other.passed < lane.passed:
            lane = other
        turns = lane.turns
        while (turn := turns[0]).state != "waiting":
            turns.popleft()
        return turn

    def take(self, turn: Turn, now: Seconds) -> None:
        """The head goes: its lane has had its share."""
        lane, tokens = self.lanes[turn.priority], turn.tokens
        lane.turns.popleft()
        lane.waiting -= 1
        lane.tokens -= tokens
        self.count -= 1
        self._virtual = lane.passed
        cost, least = tokens * self._per_token, self._per_request
        weight = WEIGHT
        if turn.priority == "background":
            weight = 1.0 + (WEIGHT - 1.0) * min(1.0, (now - turn.asked) / FULL_AGE)
        lane.passed += (cost if cost > least else least) / weight  # noqa: FURB136 - a call for each turn

    def withdraw(self, turn: Turn) -> None:
        """It no longer waits, wherever it stands. Its state is the caller's to change, before or after."""
        lane = self.lanes[turn.priority]
        lane.waiting -= 1
        lane.tokens -= turn.tokens
        self.count -= 1
        if len(lane.turns) > _SMALL and len(lane.turns) > 2 * lane.waiting:
            lane.turns = deque(other for other in lane.turns if other is not turn and other.state == "waiting")

    def ahead_of_next(self, priority: Priority) -> tuple[int, int]:
        """About how many requests and tokens go before one that comes now."""
        own = self.lanes[priority]
        other = self.lanes["background" if priority == "interactive" else "interactive"]
        if not other.waiting:
            return own.waiting, own.tokens
        likely = int(own.waiting / WEIGHT) + 1 if priority == "interactive" else int((own.waiting + 1) * WEIGHT)
        share = min(other.waiting, likely)
        return own.waiting + share, own.tokens + other.tokens * share // other.waiting
