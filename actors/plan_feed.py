"""A plan that is still being written: its steps, on their way from the planner to the run.

The planner offers each step as soon as it is complete; nothing here waits, so a slow executor never holds up the
planner, nor a slow planner a step. What is offered is kept, for a run that comes later: the executor may crash. The
orchestrator says at the end that the plan is complete, or that there will be none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trouper.runtime import Plan, Step

if TYPE_CHECKING:
    from .plan_stream_run import StreamedRun


class PlanFeed:
    """Between one planner and one run.

    Args:
        told: Called with why the plan is retracted, before anything follows from that.
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._run: StreamedRun | None = None
        self._offered: list[Step] = []
        self._plan: Plan | None = None
        self.abandoned: bool = False
        self.retracted: bool = False
        """What has been offered does not hold any more, and no run has taken it back yet."""

    def attach(self, run: StreamedRun) -> None:
        """The run is there: it gets what has been offered so far, and from now on at once."""
        self._run = run
        for step in self._offered:
            run.offer(step)
        if self._plan is not None:
            run.complete(self._plan)
        elif self.abandoned:
            run.abandon()

    def offer(self, step: Step) -> None:
        """A step that is complete and valid by itself."""
        self._offered.append(step)  # bounded by the plan, which is bounded by the answer of the model
        if self._run is not None:
            self._run.offer(step)

    def retract(self, why: str) -> None:
        """The plan will not do: whatever runs of it is cancelled, its results are dropped."""
        if self._offered:
            self.retracted = True
            self._told(why)
        self._offered.clear()
        if self._run is not None:
            self._run.retract()

    def complete(self, plan: Plan) -> None:
        """The plan, whole and valid: whatever waited for that may start."""
        self._plan = plan
        if self._run is not None:
            self._run.complete(plan)

    def abandon(self) -> None:
        """There will be no plan."""
        self.abandoned = True
        self._offered.clear()
        if self._run is not None:
            self._run.abandon()
