"""What the calls of one trace have used and where their time went, for as many traces as are remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
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


class ModelCounts:
    """The counts of the last traces, bounded; the one that is longest untouched is forgotten first."""

    def __init__(self, kept: tuple[tuple[str, TraceCounts], ...] = ()) -> None:
        self._kept: OrderedDict[str, TraceCounts] = OrderedDict(kept)

    def of(self, trace: str) -> TraceCounts:
        """The counts of a trace; zeros for one that is not known."""
        return self._kept.get(trace, TraceCounts())

    def kept(self) -> tuple[tuple[str, TraceCounts], ...]:
        """All of them, to go on from."""
        return tuple(self._kept.items())

    def count(self, trace: str, usage: Usage) -> None:
        """An answer has come."""
        counts = self.of(trace)
        self._put(trace, attrs.evolve(counts, usage=counts.usage + usage))

    @contextmanager
    def waiting(self, trace: str, what: Wait) -> Generator[None, None, None]:
        """The block waits for that, also if it ends by an error or is cancelled."""
        began = trio.current_time()
        try:
            yield
        finally:
            if seconds := trio.current_time() - began:
                counts = self.of(trace)
                self._put(trace, attrs.evolve(counts, waits={**counts.waits, what: counts.waits[what] + seconds}))

    def _put(self, trace: str, counts: TraceCounts) -> None:
        self._kept[trace] = counts
        self._kept.move_to_end(trace)
        if len(self._kept) > KEPT_TRACES:
            self._kept.popitem(last=False)
