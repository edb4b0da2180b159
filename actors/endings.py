"""How steps end that do not end by their tool, as values, and what the end of a sub-plan means for its step."""

from __future__ import annotations

from trouper.runtime import Plan, Step, StepError

from .job import Job
from .outcome import ErrorInfo, Standing, StepOutcome, StepStatus, standings
from .runlog import RunLog


def not_run(
    job: Job, status: StepStatus, now: float, *, error: ErrorInfo | None = None, reason: str | None = None
) -> StepOutcome:
    """The outcome of a step that ended at `now` (seconds since the run began) without having been run."""
    return StepOutcome(
        id=job.step.id,
        action=job.step.action,
        status=status,
        error=error,
        reason=reason,
        ready=job.ready,
        ended=now,
        waits=job.waits or {},
    )


def skipped_behind(step: Step, cause: StepOutcome) -> StepOutcome:
    """The outcome of a step that cannot do without another one."""
    why = f"step {step.id} ({step.action}) needs step {cause.id} ({cause.action}), which {_ended(cause)}"
    return StepOutcome(
        id=step.id,
        action=step.action,
        status=StepStatus.SKIPPED,
        reason="dependency",
        cause=cause.id,
        error=ErrorInfo("dependency", why),
    )


def _ended(outcome: StepOutcome) -> str:
    if outcome.status is StepStatus.SKIPPED:
        return "was skipped because its condition is false" if outcome.reason == "condition" else "was skipped"
    return f"failed ({outcome.error.kind})" if outcome.error is not None else outcome.status.value


def output_of(step: int, plan: Plan, inner: RunLog) -> object:
    """What the sub-plan of `step`, which has ended, gives.

    Raises:
        StepError: a step of it failed that may not, or its output is not there.
    """
    standing = standings(plan, inner.outcomes)
    failed = [inner.outcomes[i] for i, how in standing.items() if how is Standing.FAILED]
    if failed:
        raise _failed_inside(step, failed)
    if plan.outputs is None:
        raise StepError(f"the sub-plan of step {step} says nothing of its output")
    return plan.outputs.resolve(inner.results, lenient=True)


def _failed_inside(step: int, failed: list[StepOutcome]) -> StepError:
    first = next((o for o in failed if o.status is StepStatus.FAILED and o.error is not None), failed[0])
    told = first.error.message if first.error is not None else first.status.value
    return StepError(f"the sub-plan of step {step} failed in its step {first.id} ({first.action}): {told}")
