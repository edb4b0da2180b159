"""A plan that is still being written, step by step: what a planner says is read while it says it.

A step is given as soon as its own last bracket is there, if it is right by itself. Whether the plan as a whole
is right shows only at its end, and `close` decides that by reading the whole text as `parse_plan` does. So a
step that was given is a promise about reading, not about the plan: if the plan turns out to be valid and the
stream is not `stale`, exactly this step is in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from io import StringIO
from typing import Final

from ._plan import Plan, parse_plan
from ._plan_catalogue import Catalogue
from ._plan_check import check_alone
from ._plan_finished import Before, before, without_finished
from ._plan_json import Document
from ._plan_report import Report
from ._plan_scan import EntryScanner, Seen
from ._plan_steps import read_step
from ._step import Step

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class PlanStream:
    """Gives the steps of a plan while its text arrives.

    The text may be cut anywhere; the cost is linear in its length, also with one character at a time. Prose
    and code fences around the plan are passed over as `parse_plan` does.

    Args:
        catalogue: The actions there are: a step that calls another, or wrongly, is not given.
        goal: What the plan is for; goes before what the document says.
        finished: The finished steps of the plan that this one replaces. They are not given again.
        taken: Ids that no new step may have.
    """

    __slots__ = (
        "_broken",
        "_catalogue",
        "_earlier",
        "_entries",
        "_finished",
        "_giving",
        "_goal",
        "_ids",
        "_scanner",
        "_stale",
        "_taken",
        "_text",
        "_used",
    )

    def __init__(
        self,
        *,
        catalogue: Catalogue | None = None,
        goal: str | None = None,
        finished: Mapping[int, Step] | None = None,
        taken: Collection[int] = (),
    ) -> None:
        self._catalogue: Catalogue | None = catalogue
        self._goal: str | None = goal
        self._finished: Mapping[int, Step] | None = finished
        self._taken: Collection[int] = taken
        self._earlier: Before = before(finished, taken)
        self._used: frozenset[int] = frozenset(self._earlier.steps).union(self._earlier.taken)
        self._text: StringIO = StringIO()  # a list of single characters would be sixty times the text
        self._scanner: EntryScanner | None = EntryScanner()
        self._giving: bool = False
        self._entries: int = 0
        self._ids: set[int] = set()
        self._broken: bool = False
        self._stale: bool = False

    def feed(self, chunk: str) -> tuple[Step, ...]:
        """The steps that became complete with the next piece of text, in document order, each once.

        After a mistake in the plan none comes any more, and none of a second plan. Never blocks, raises nothing.
        """
        self._text.write(chunk)
        if self._scanner is None:
            return ()
        half = None if chunk.isascii() else _SURROGATE.search(chunk)
        seen = self._scanner.feed(chunk if half is None else chunk[: half.start()])
        steps = [step for each in seen if (step := self._look_at(each)) is not None]
        if half is not None and not self._stale:
            self._broken = True  # this is no text, whatever follows
        if self._stale or half is not None:
            self._scanner = None
        return tuple(steps)

    @property
    def text(self) -> str:
        """Everything that was fed."""
        return self._text.getvalue()

    @property
    def broken(self) -> bool:
        """`close` will refuse the text, unless a whole new plan still follows: no need to wait for the rest."""
        return self._broken

    @property
    def stale(self) -> bool:
        """The steps that were given need not be in the plan: after them the text began another."""
        return self._stale

    def close(self) -> Plan:
        """The plan that the whole text is. May be called again, and before the end to see what there is so far.

        Raises:
            PlanError: the plan cannot be run; `problems` has every reason.
        """
        return parse_plan(
            self.text, catalogue=self._catalogue, goal=self._goal, finished=self._finished, taken=self._taken
        )

    def _look_at(self, seen: Seen) -> Step | None:
        if self._stale:
            return None
        if seen.sign == "plan":
            self._begin()
        elif seen.sign == "lost":
            self._stale = self._giving
            self._broken = False  # nobody knows
        elif seen.sign == "broken":
            self._broken = True
        elif not self._broken:
            return self._judge(seen.entry)
        return None

    def _begin(self) -> None:
        # Of several plans the last counts. Nobody has seen steps of the earlier ones: then this may be the one.
        self._stale = self._giving
        self._broken = False
        self._entries = 0
        self._ids = set()

    def _judge(self, entry: Document) -> Step | None:
        """The step that an entry is, if it is one to start."""
        report = Report()
        draft = read_step(self._entries, entry.value, report)
        self._entries += 1
        repeats = draft.id not in self._ids and not without_finished([draft], self._earlier)
        if not repeats:
            check_alone(draft, self._catalogue)
        ids = draft.inner_ids if draft.id is None else draft.inner_ids | {draft.id}
        used = not ids.isdisjoint(self._ids) or not (repeats or ids.isdisjoint(self._used))
        if used or entry.repeated or not report.clean:
            self._broken = True
            return None
        self._ids |= ids
        if repeats:
            return None
        self._giving = True
        return draft.step()
