"""From ready to in line for a slot: what is asked of a step that is not plain, in this order.

Whether it has ended already, in an earlier life of the executor. Whether all of the plan is there, unless nothing in it
has an effect. Whether its condition holds and the budget leaves room for it. Whether a person must say yes. Whether
nothing of it is in doubt. And whether a level before it keeps it back, where there is a barrier between levels.

Each of these may end the step, keep it back until something else has changed, or let it pass. What passes claims a
slot, the longest chain first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trouper.runtime import StepError, rank, sequential

from .dispatch import Claim
from .doubts import happened
from .job import Job
from .outcome import ErrorInfo, StepStatus
from .runlog import RunLog

if TYPE_CHECKING:
    from .plan_run import PlanRun


class Admission:
    """The way into the line of one plan run. `held` are steps that are ready and are kept back by others."""

    __slots__ = ("_log", "_run", "held", "ranked")

    def __init__(self, run: PlanRun, run_log: RunLog) -> None:
        self._run = run
        self._log = run_log
        self.held: list[Job] = []
        """Kept back by a level before them, or by a plan that is not complete."""
        self.ranked: bool = False
        """It is known who goes first."""

    def start_over(self) -> None:
        """Nothing of the plan is there any more."""
        self.held = []

    def admit(self, step: int) -> None:
        """Let a step that is ready go its way."""
        job = self._run.jobs[step]
        job.ready = self._run.now
        self._admit(job)

    def go_on(self, job: Job) -> None:
        """A person has answered the question about this step: it stands in line, or has ended."""
        run = self._run
        run.going += 1
        if (not job.step.approval or self._approved(job)) and self._sure(job):
            self._claim(job)
        run.advance()

    def look_again(self) -> None:
        """A level has ended, or the plan is complete: some that were kept back may start."""
        held, self.held = self.held, []
        self._run.going += len(held)
        for job in held:
            self._admit(job)

    def rank(self) -> None:
        """Work out who goes first, when it first matters."""
        if self.ranked:
            return
        self.ranked = True
        run, plan = self._run, self._log.plan
        graph = plan.dependencies if plan is not None else dict.fromkeys(run.jobs, ())
        if run.place.parallel.dependency_analysis:
            ranks = rank(graph)
            for place, (step, job) in enumerate(run.jobs.items()):
                job.priority = (-ranks[step], place)
        else:
            for place, step in enumerate(sequential(graph)):
                run.jobs[step].priority = (place,)

    # ------------------------------------------------------------ what is asked
    def _admit(self, job: Job) -> None:
        step, run = job.step, self._run
        if step.id in self._log.outcomes:  # it did not succeed in an earlier life of the executor
            run.lost(step.id)
            run.stopped_going()
        elif not run.all_there and not job.early:
            self._hold(job)
        elif self._wanted(job) and (not step.approval or self._approved(job)) and self._sure(job):
            self._claim(job)

    def _wanted(self, job: Job) -> bool:
        """Whether its condition holds and the budget leaves room for it; else it has ended by this."""
        step, run, ledger = job.step, self._run, self._run.place.ledger
        if step.guard is not None:
            try:
                holds = step.guard.holds(self._log.results, lenient=step.lenient)
            except StepError as error:
                run.end_at_once(job, StepStatus.FAILED, error=ErrorInfo.of(error))
                return False
            if not holds:
                run.end_at_once(job, StepStatus.SKIPPED, reason="condition")
                return False
        if step.critical is False and ledger is not None and ledger.low:
            run.end_at_once(job, StepStatus.SKIPPED, reason="budget")
            return False
        return True

    def _approved(self, job: Job) -> bool:
        if self._run.approvals.passed(job):
            return True
        if job.step.id not in self._log.outcomes:  # it waits for a person
            self._run.stopped_going()
        return False

    def _sure(self, job: Job) -> bool:
        """Whether it may be run: nothing of it is in doubt, or it was said that it has not happened."""
        step, run, run_log = job.step.id, self._run, self._log
        if not run.approvals.sure(job):
            run.stopped_going()
            return False
        decision = run_log.decisions.get(step)
        if decision is None:
            return True
        if not decision.ok:
            run_log.undoubt(step)
            return True
        outcome = happened(run_log, step, decision, now=run.now)
        run.verdicts.settled(step, decision)
        run.finish(job, outcome)
        return False

    # ------------------------------------------------------------ in line
    def _claim(self, job: Job) -> None:
        run, level = self._run, job.level
        assert level is not None  # noqa: S101 - a job that is ready has its level
        if run.place.parallel.level_barrier and any(earlier.left for earlier in run.levels[: level.number]):
            self._hold(job)
            return
        if run.closing:
            return
        self.rank()

        def granted() -> None:
            job.holding = True
            level.push(job)

        job.claim = Claim(granted, job.priority or (0.0,), job.caps)
        run.dispatch.claim(job.claim)

    def _hold(self, job: Job) -> None:
        """Keep it back. It does not go on meanwhile: what keeps it back may be a person."""
        self.held.append(job)
        self._run.stopped_going()
