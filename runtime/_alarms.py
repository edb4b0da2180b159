"""One sleeping task per system for every deadline in it: asks, timers, backoffs, shutdown times, watchdogs.

A cancel scope per ask costs a third of the whole ask, and nearly every ask is answered long before its deadline. So an
ask only enters itself into `young` (a dict: in order, so that the same seed gives the same run) and leaves it again
when it ends. The task sleeps until the earliest deadline it was told of; when it wakes it moves what is still in
`young` into a heap, fires what is due, and sleeps until the next. An ask pays for the heap only if it outlives a
waking. What is over by then is skipped, and swept out when it makes up half of the heap.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

import trio

from ._clock import Seconds
from ._envelope import WITHDRAWN, Envelope


class Alarm:
    """One call at one instant; `cancel()` calls it off."""

    __slots__ = ("at", "callback")

    def __init__(self, at: Seconds, callback: Callable[[], None]) -> None:
        self.at: Seconds = at
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Call it off; harmless when it has gone off."""
        self.callback = None


def _over(entry: tuple[Seconds, int, Alarm | Envelope]) -> bool:
    thing = entry[2]
    return thing.callback is None if isinstance(thing, Alarm) else thing.state >= WITHDRAWN


class Alarms:
    """See the head of this file. `run` is its task; everything else may be called from any task of the system."""

    def __init__(self) -> None:
        self.next: Seconds = math.inf
        """When the task wakes up. Whoever adds something earlier calls `sooner`."""
        self.young: dict[Envelope, None] = {}
        self._heap: list[tuple[Seconds, int, Alarm | Envelope]] = []
        self._numbers = itertools.count()
        self._sweep_at = 64
        self._scope: trio.CancelScope | None = None

    @trio.lowlevel.enable_ki_protection
    def at(self, when: Seconds, callback: Callable[[], None]) -> Alarm:
        """Call `callback` at `when` (trio's clock; infinite: never). It must not raise."""
        alarm = Alarm(when, callback)
        if when != math.inf:
            self._push(when, alarm)
            if when < self.next:
                self.sooner(when)
        return alarm

    def sooner(self, when: Seconds) -> None:
        """Wake up at `when`, which is before `next`."""
        self.next = when
        if self._scope is not None:
            self._scope.deadline = when

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """The task: sleeps to the next deadline, for ever."""
        while True:
            with trio.CancelScope(deadline=self.next) as self._scope:
                await trio.sleep_forever()
            self._fire(trio.current_time())

    def _push(self, when: Seconds, thing: Alarm | Envelope) -> None:
        if len(self._heap) >= self._sweep_at:
            self._heap = [entry for entry in self._heap if not _over(entry)]
            heapq.heapify(self._heap)
            self._sweep_at = max(64, 2 * len(self._heap))
        heapq.heappush(self._heap, (when, next(self._numbers), thing))

    def _fire(self, now: Seconds) -> None:
        self.next = -math.inf  # nobody need wake us while we are at it
        for envelope in self.young:
            self._push(envelope.deadline, envelope)
        self.young.clear()
        while self._heap and (self._heap[0][0] <= now or _over(self._heap[0])):
            thing = heapq.heappop(self._heap)[2]
            if isinstance(thing, Alarm):
                callback, thing.callback = thing.callback, None
                if callback is not None:
                    callback()
            else:
                thing.expire()
        upcoming = self._heap[0][0] if self._heap else math.inf
        self.next = min([upcoming, *(envelope.deadline for envelope in self.young)])
