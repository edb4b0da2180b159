"""What the tools of one event loop have done to it, counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from .tool import Tool


@attrs.frozen(kw_only=True)
class ToolStatistics:
    """How the tools of this event loop have behaved since it began."""

    abandoned_now: int = 0
    """Threads that were left behind by a cancelled step and still run."""
    abandoned_total: int = 0
    refused_total: int = 0
    """Calls refused because too many threads of the same tool still ran."""
    blocked_total: int = 0
    """Stretches in which a tool has held up the event loop."""
    dismissed_total: int = 0
    """Async tools that swallowed their cancellation until they were closed."""


class ToolCounts:
    """The counters behind `ToolStatistics`."""

    __slots__ = ("abandoned_total", "blocked_total", "dismissed_total", "hanging", "refused_total")

    def __init__(self) -> None:
        self.hanging: Counter[Tool] = Counter()
        self.abandoned_total: int = 0
        self.refused_total: int = 0
        self.blocked_total: int = 0
        self.dismissed_total: int = 0


# Per event loop: a tool is a module's global and outlives them.
_counts: trio.lowlevel.RunVar[ToolCounts] = trio.lowlevel.RunVar("tool_counts")


def tool_counts() -> ToolCounts:
    """The counters of this event loop."""
    try:
        return _counts.get()
    except LookupError:
        counts = ToolCounts()
        _counts.set(counts)
        return counts


def tool_statistics() -> ToolStatistics:
    """How the tools of this event loop have behaved."""
    counts = tool_counts()
    return ToolStatistics(
        abandoned_now=counts.hanging.total(),
        abandoned_total=counts.abandoned_total,
        refused_total=counts.refused_total,
        blocked_total=counts.blocked_total,
        dismissed_total=counts.dismissed_total,
    )
