"""What the calls of one trace have used and where their time went, for as many traces as are remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal, get_args

import attrs
import trio

from trouper.runtime import Seconds

from .protocols import Usage

KEPT_TRACES = 512
"""Of how many traces the counts are remembered."""

Wait = Literal["limiter", "model", "places", "backoff"]
"""For its instant, for the answer, for a place among the parallel calls, between two attempts."""

WAITS: tuple[Wait, ...] = get_args(Wait)


@attrs.frozen
class TraceCounts:
    """The counts of one trace. Calls side by side wait side by side: their seconds add up to more than the clock's."""

    usage: Usage = attrs.field(factory=Usage)
    waits: Mapping[Wait, Seconds] = attrs.field(factory=lambda: dict.fromkeys(WAITS, 0.0))


NOTHING = TraceCounts()


class Waiting:
    """A block that waits. A class, because a generator costs three times as much, and there are four in a call."""

    __slots__ = ("_began", "_counts", "_trace", "_what")

    def __init__(self, counts: ModelCounts, trace: str, what: Wait) -> None:
        self._counts = counts
        self._trace = trace
        self._what: Wait = what

    def __enter__(self) -> None:
        self._began = trio.current_time()

    def __exit__(self, *_: object) -> None:
        if seconds := trio.current_time() - self._began:
            self._counts.waited(self._trace, self._what, seconds)


class ModelCounts:
    """The counts of the last traces, bounded; the one that is longest untouched is forgotten first."""

    def __init__(self, kept: tuple[tuple[str, TraceCounts], ...] = ()) -> None:
        self._kept: OrderedDict[str, TraceCounts] = OrderedDict(kept)

    def of(self, trace: str) -> TraceCounts:
        """The counts of a trace; zeros for one that is not known."""
        return self._kept.get(trace, NOTHING)

    def kept(self) -> tuple[tuple[str, TraceCounts], ...]:
        """All of them, to go on from."""
        return tuple(self._kept.items())

    def count(self, trace: str, usage: Usage) -> None:
        """An answer has come."""
        counts = self.of(trace)
        self._put(trace, TraceCounts(counts.usage + usage, counts.waits))

    def waiting(self, trace: str, what: Wait) -> Waiting:
        """The block waits for that, also if it ends by an error or is cancelled."""
        return Waiting(self, trace, what)

    def waited(self, trace: str, what: Wait, seconds: Seconds) -> None:
        """A call has waited."""
        counts = self.of(trace)
        self._put(trace, TraceCounts(counts.usage, {**counts.waits, what: counts.waits[what] + seconds}))

    def _put(self, trace: str, counts: TraceCounts) -> None:
        self._kept[trace] = counts
        self._kept.move_to_end(trace)
        if len(self._kept) > KEPT_TRACES:
            self._kept.popitem(last=False)
