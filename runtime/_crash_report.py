"""What an actor crashed of, and what it was doing: a record that can be read hours later."""

from __future__ import annotations

from types import TracebackType

import attrs

from ._clock import Seconds
from ._shown import LINE, one_line, shown
from ._traceback_text import said, task_stack, traceback_text

__all__ = ["CrashReport", "crash_report", "task_stack"]

MOST_HANDLED = 8
"""Messages in hand that a report names; a concurrent actor may have hundreds."""


@attrs.frozen(kw_only=True)
class CrashReport:
    """One crash of one incarnation. `str(report)` is one bounded line.

    The text of the traceback is made when it is read: a crash must cost its actor next to nothing, and most reports
    are never read. The price is that `error` keeps the frames it passed through alive for as long as the report is
    kept, which is why an actor keeps only its last few.
    """

    at: Seconds
    """When, on trio's clock."""
    actor: str
    incarnation: int
    error: BaseException = attrs.field(repr=shown)
    handling: tuple[str, ...] = ()
    """The classes of the messages in its hands; the last entry may say how many more there were."""
    _trace: TracebackType | None = attrs.field(default=None, repr=False, eq=False, alias="trace")

    @property
    def traceback(self) -> str:
        """The error with its causes, frames and source lines; bounded, whatever was raised."""
        return traceback_text(self.error, self._trace)

    def __str__(self) -> str:
        doing = f"while handling {', '.join(self.handling)}" if self.handling else "outside of any message"
        who = f"{shown(self.actor, 80)} incarnation {self.incarnation}"
        return one_line(f"{who} crashed at {self.at:.3f} s {one_line(doing, LINE)}: {said(self.error)}", 3 * LINE)


def crash_report(
    error: BaseException, *, at: Seconds, actor: str, incarnation: int, handling: tuple[str, ...] = ()
) -> CrashReport:
    """The report of a crash that has just happened. Raises nothing, whatever the error is."""
    named = tuple(one_line(name, 100) for name in handling[:MOST_HANDLED])
    if len(handling) > MOST_HANDLED:
        named = (*named, f"and {len(handling) - MOST_HANDLED} more")
    # The error grows frames whenever it is raised again; the ones it has now are the crash.
    return CrashReport(
        at=at, actor=actor, incarnation=incarnation, error=error, handling=named, trace=error.__traceback__
    )
