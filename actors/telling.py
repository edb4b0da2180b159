"""What one run says of itself while it goes on: records for the journal and its listeners, lines for the log."""

from __future__ import annotations

import logging
from collections.abc import Callable

from trouper.runtime import maker

from .level import Level
from .outcome import StepOutcome
from .records import LevelStarted, StepEnded, ToolReturned
from .run_place import Scribe
from .runlog import RunLog

log: logging.Logger = logging.getLogger("trouper.executor")

_level_started = maker(LevelStarted, "at", "actor", "run_id", "level", "steps")


class Telling:
    """Says what happens in the run of `run_log`."""

    __slots__ = ("_clock", "_log", "_name", "_scribe")

    def __init__(self, scribe: Scribe, run_log: RunLog, clock: Callable[[], float]) -> None:
        self._scribe = scribe
        self._name: str = scribe.name
        self._log = run_log
        self._clock = clock

    def begun(self, level: Level) -> None:
        """The first step of a level is ready and has its slot; said once."""
        if level.begun:
            return
        level.begun = True
        if log.isEnabledFor(logging.INFO):
            log.info("[EXECUTOR] Executing level %d with %d steps", level.number, level.steps)
        _, tell = self._scribe.channels()
        if tell is not None:
            tell(_level_started(self._clock(), self._name, self._log.run_id, level.number, level.steps))

    def returned(self, outcome: StepOutcome) -> None:
        """A tool has done its work, and the verdict is awaited: whatever happens now, it is not called again."""
        if self._scribe.active:
            self._scribe.write(
                ToolReturned(
                    at=self._clock(),
                    actor=self._scribe.name,
                    run_id=self._log.run_id,
                    outcome=outcome,
                    inside=self._log.inside,
                )
            )

    def ended(self, outcome: StepOutcome, run_log: RunLog | None = None, item: int | None = None) -> None:
        """A step has ended, or an element of it, whose log is `run_log`."""
        if log.isEnabledFor(logging.INFO):
            told = f": {outcome.error.message}" if outcome.error is not None else ""
            name = f"{outcome.id}" if item is None else f"{outcome.id}[{item}]"
            log.info("[EXECUTOR] Step %s (%s) %s%s", name, outcome.action, outcome.status.value, told)
        if self._scribe.active:
            self._scribe.write(
                StepEnded(
                    at=self._clock(),
                    actor=self._scribe.name,
                    run_id=self._log.run_id,
                    outcome=outcome,
                    item=item,
                    inside=(run_log or self._log).inside,
                )
            )
