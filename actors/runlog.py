"""What is known of one run, written down before it is believed.

The orchestrator makes it, the executor appends to it. It outlives an incarnation of the executor: the next one reads
what is finished and goes on from there, and a step that was in hand with a ONCE tool is not run again.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import trio

from trouper.runtime import Plan

from .outcome import ErrorInfo, StepOutcome, StepStatus, Verdict
from .tool import Effect


@attrs.frozen
class Begun:
    """An attempt at a step that has begun: the intent, written before the effect."""

    attempt: int
    action: str
    effect: Effect
    at: float
    parameters: Mapping[str, object] = attrs.field(factory=dict)


class RunLog:
    """The journal of one run, in memory."""

    def __init__(self, run_id: str, plan: Plan, *, began: float) -> None:
        self.run_id = run_id
        self.plan = plan
        self.began = began
        self.outcomes: dict[int, StepOutcome] = {}
        self.verdicts: dict[int, Verdict] = {}
        self._begun: dict[int, Begun] = {}

    def now(self) -> float:
        """Seconds since the run began."""
        return round(trio.current_time() - self.began, 6)

    def begin(self, step: int, *, attempt: int, action: str, effect: Effect, parameters: Mapping[str, object]) -> None:
        """Write the intent of an attempt."""
        first = self._begun.get(step)
        at = first.at if first is not None else self.now()
        self._begun[step] = Begun(attempt, action, effect, at, parameters)

    def begun(self, step: int) -> Begun | None:
        """The last attempt at a step that has begun."""
        return self._begun.get(step)

    def end(self, outcome: StepOutcome) -> None:
        """Write what became of a step; what was written first stays."""
        self.outcomes.setdefault(outcome.id, outcome)

    def refute(self, step: int, verdict: Verdict) -> None:
        """The verifier found that what a step claims is not so: it has failed, and its result is kept to look at."""
        known = self.outcomes[step]
        error = ErrorInfo("refuted", f"the verifier refuted step {step}: {'; '.join(verdict.problems)}")
        self.outcomes[step] = attrs.evolve(known, status=StepStatus.FAILED, error=error)

    @property
    def results(self) -> dict[int, object]:
        """The results of the steps that succeeded."""
        return {i: o.result for i, o in self.outcomes.items() if o.status is StepStatus.OK}

    def interrupted(self) -> tuple[int, ...]:
        """The steps that have begun and not ended."""
        return tuple(step for step in self._begun if step not in self.outcomes)

    def settle_interrupted(self, why: ErrorInfo, *, once_only: bool) -> None:
        """Close the steps that were in hand when their executor ended.

        ONCE steps fail and are marked in doubt: the effect may have happened. The others are cancelled, or with
        `once_only` left open, to be run again.
        """
        for step in self.interrupted():
            begun = self._begun[step]
            once = begun.effect is Effect.ONCE
            if once_only and not once:
                continue
            self.end(
                StepOutcome(
                    id=step,
                    action=begun.action,
                    status=StepStatus.FAILED if once else StepStatus.CANCELLED,
                    attempts=begun.attempt,
                    parameters=begun.parameters,
                    error=why,
                    in_doubt=once,
                    started=begun.at,
                    ended=self.now(),
                )
            )

    def settle_unstarted(self, reason: str) -> None:
        """Write down the steps that never began as skipped for `reason`."""
        for step in self.plan.steps:
            if step.id not in self.outcomes:
                self.end(StepOutcome(id=step.id, action=step.action, status=StepStatus.SKIPPED, reason=reason))
