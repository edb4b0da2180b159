"""One run of one plan, or of a sub-plan.

Every level of the plan has its own nursery inside the plan's nursery: it is opened when the first of its steps needs
one (see `level`) and closed when its last has ended, so a level can be seen, timed and cancelled as one. There is no
barrier between them: a step starts as soon as its own inputs are there and a slot is free. Scarce slots go to the step
with the longest chain still behind it.

A step holds its slot only while its tool works: waiting for a person, a pause before a retry and waiting for a verdict
hold none. When a step fails, only what depends on it, directly or through others, is skipped; everything else runs on.

While the plan is still being written (`PlanFeed`), steps are added as they come, and only those start that have no
effect and ask nobody.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from trouper.runtime import BudgetExceeded, Plan, ReadySet, Step, TrouperError

from .admission import Admission
from .approvals import Approvals
from .blueprint import Recipe, blueprint_of, recipe_of
from .dispatch import Dispatch
from .endings import not_run, output_of, skipped_behind
from .item_run import ItemRun
from .job import Job, Jobs
from .level import STRETCH, Level
from .outcome import ErrorInfo, StepOutcome, StepStatus
from .plain_steps import PlainSteps
from .run_place import RunPlace
from .runlog import RunLog
from .slot_wait import wait_for_slot
from .step_run import StepRun
from .telling import Telling
from .verdicts import Verdicts


class PlanRun:
    """See the head of this file. `run` returns when every step has ended, or only a person can say how to go on.

    Args:
        run_log: What is known of the run; what has ended in it is not run again.
        place: What the run finds around it.
        outer: The run that this one is a sub-plan of: they share the slots.
        gated: Every step waits for its verdict, because the step that has the sub-plan is critical.
    """

    def __init__(self, run_log: RunLog, place: RunPlace, *, outer: PlanRun | None = None, gated: bool = False) -> None:
        self.place: RunPlace = place
        self.dispatch: Dispatch = outer.dispatch if outer is not None else Dispatch(place.parallel.slots, place.caps)
        self.generation: int = run_log.generation
        self.clock: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self.now: float = 0.0
        self.going: int = 0
        """Steps that are ready and have not ended, but for those that wait for a person or are kept back."""
        self.suspended: bool = False
        """Only a person can say how to go on, and none did in time."""
        self.overspent: BudgetExceeded | None = None
        """The seconds of the plan's own budget were not enough."""
        self.telling: Telling = Telling(place.scribe, run_log, self.clock)
        self.verdicts: Verdicts = Verdicts(self, run_log)
        self.approvals: Approvals = Approvals(self, run_log)
        self.admission: Admission = Admission(self, run_log)
        self.outer = outer
        self._top: PlanRun = outer._top if outer is not None else self
        if outer is None:
            run_log.owner = self
            place.scribe.bind(run_log, self)
        self._inner: set[PlanRun] = set()
        self._gated = gated or self.verdicts.awaited
        self._log = run_log
        self.jobs: dict[int, Job] = {}
        self.levels: list[Level] = []
        self.left: int = 0
        """Steps that have not ended."""
        self.all_there: bool = True
        """All of the plan is there."""
        self.ready: ReadySet = ReadySet({})
        self._plain: PlainSteps | None = None
        self._waiting = False
        self.closing: bool = False
        """Its nursery closes: nothing of it begins any more."""
        self._nursery: trio.Nursery | None = None
        self._sleeper: trio.lowlevel.Task | None = None
        self.tick()
        if run_log.plan is not None:
            self._load(run_log.plan)

    @property
    def mine(self) -> bool:
        """Nobody else has the run. Else its end, or its next life, is written down, and we are being cancelled."""
        return self._log.root.owner is self._top

    def tick(self) -> float:
        """Look at the clock: seconds since the run began, as they stand until the next look."""
        self.now = self.clock() - self._log.began
        return self.now

    # ------------------------------------------------------------ the plan
    def _load(self, plan: Plan) -> None:
        """Make ready what the plan says and the log does not have."""
        self.place = self.place.with_budget(plan.budget, "plan")
        tools, parallel = self.place.tools, self.place.parallel
        blueprint = blueprint_of(plan, tools, self.place.caps, ranked=parallel.dependency_analysis)
        for number, steps in enumerate(blueprint.sizes):
            self.levels.append(Level(number, steps, opened=self._open, work=self._work))
        self.jobs, self.admission.ranked = Jobs(blueprint.recipes, self.levels), True
        self.left = len(blueprint.recipes)
        if self._log.results:
            self.ready = ReadySet(plan.dependencies, done=self._log.results, enough=blueprint.enough or None)
            for step_id in blueprint.recipes.keys() & self._log.results.keys():
                self._leave(step_id)
        else:
            self.ready = blueprint.ready.copy()
        if self.place.ledger is None and not self._gated and not parallel.level_barrier and not self._log.doubts:
            self._plain = PlainSteps(self, self._log, blueprint, self.levels)

    def _new_job(self, step: Step) -> Job:
        """Of a step that comes while the plan is still being written."""
        return Job(recipe_of(step, self.place.tools, self.place.caps))

    # ------------------------------------------------------------ running
    async def run(self) -> None:
        """Run every step that the log does not have. Cancelled: every tool is; the log says what was in hand."""
        try:
            with trio.CancelScope(deadline=self._paid_until()) as scope:
                async with self.verdicts.open(self._top.verdicts if self.outer is not None else None):
                    await self._run_steps()
            if scope.cancelled_caught:
                self._overspend()
        finally:
            self._let_go()
            if self.outer is None:
                self.dispatch.close()

    def _paid_until(self) -> float:
        """When the seconds of the plan's own budget are spent; those of the run are the orchestrator's to watch."""
        ledger = self.place.ledger
        return ledger.deadline(self.clock()) if self.place.carries and ledger is not None else math.inf

    def _overspend(self) -> None:
        ledger = self.place.ledger
        assert ledger is not None  # noqa: S101 - only its seconds can have been spent
        self.overspent = BudgetExceeded(
            f"the {ledger.name} did not end within its {ledger.budget.seconds:g} s; raise its `budget.seconds`"
        )
        settled = self._log.settle_interrupted(ErrorInfo.of(self.overspent), once_only=False)
        self.place.scribe.settled(self._log, settled)
        self._log.settle_unstarted("budget")

    async def _run_steps(self) -> None:
        async with trio.open_nursery() as self._nursery:
            self.closing = False  # a plan that was taken back may have a next
            try:
                self._begin()
                while self.left or not self.all_there:
                    await self._until_something_changes()
                    if self.suspended:
                        self._nursery.cancel_scope.cancel()
                        break
            finally:  # before the nursery can close: a slot that is granted after that has nowhere to go
                self.closing = True
                self._want_nothing()

    def _begin(self) -> None:
        if self.verdicts.beside:  # of steps that had ended when an earlier life of the executor ended
            for step_id, outcome in tuple(self._log.outcomes.items()):
                if step_id in self._log.results and step_id not in self._log.verdicts:
                    self.verdicts.behind(self.jobs[step_id], outcome)
        self.advance()

    def _let_go(self) -> None:
        """Give back what steps still hold that were cut off: their tools' caps are everybody's.

        First nobody of this run wants anything any more: what is given back must not be granted to a step that is dead.
        """
        if self._plain is not None:
            self._plain.close()
            self._plain = None
        self._want_nothing()
        for job in tuple(self.jobs.values()) if self.left else ():
            if job.holding:
                job.holding = False
                self.dispatch.release(job.caps)

    def _want_nothing(self) -> None:
        """Withdraw every claim: what is free is offered to others."""
        wanted: set[str] = set()
        for job in tuple(self.jobs.values()) if self.left else ():
            if job.claim is not None and job.claim.live:
                job.claim.live = False
                wanted.update(job.claim.caps)
        for cap in wanted:
            self.place.caps.nudge(cap)

    async def _until_something_changes(self) -> None:
        """Sleep until the last step has ended; for a person, where only one can help, so long and no longer."""
        if not self._waiting or self.outer is not None:
            await self._sleep()
            return
        with trio.move_on_after(self.place.approval_wait) as scope:
            await self._sleep()
        self.suspended = scope.cancelled_caught

    async def _sleep(self) -> None:
        """Sleep until `_wake`; each step that this waits for has its own end."""
        self._sleeper = trio.lowlevel.current_task()

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """Let the run's own task look: the last step has ended, or only a person can help."""
        if self._sleeper is not None:
            sleeper, self._sleeper = self._sleeper, None
            trio.lowlevel.reschedule(sleeper)

    # ------------------------------------------------------------ a run that waits for a person
    def stopped_going(self, units: int = 1) -> None:
        """Something that went on has ended, or waits for a person: is there anything else to do?"""
        self.going -= units
        if not self.going and self.left and self.all_there and not self._waiting:
            self._waiting = True
            if self.outer is not None:
                self.outer.stopped_going()
            else:
                self.wake()

    def awake(self) -> None:
        """A person has answered: there is something to do."""
        if self._waiting:
            self._waiting = False
            if self.outer is not None:
                self.outer.awake()
                self.outer.going += 1
            else:
                self.wake()

    def answered(self, step: int, inside: tuple[int, ...] = ()) -> bool:
        """The log has an answer to the question about `step`; False if nobody in this run waits for it."""
        if inside == self._log.inside and self.approvals.answered(step):
            return True
        if inside[:-1] == self._log.inside and inside and self.approvals.answered(inside[-1]):
            return True  # it was about an element of a step of ours
        return any(run.answered(step, inside) for run in tuple(self._inner))

    # ------------------------------------------------------------ starting steps
    def advance(self) -> None:
        """Start whatever is ready, as far as slots, caps and barriers allow."""
        if not self.mine:
            return
        taken: Sequence[int] = self.ready.take()
        if taken:
            self.going += len(taken)
            for step_id in taken if self._plain is None else self._plain.admit(taken):
                self.admission.admit(step_id)
        self.dispatch.grant()

    def _open(self, level: Level) -> None:
        """A step of a level is ready which needs its nursery: it is opened."""
        self.telling.begun(level)
        self.start(level.run)

    def start(self, task: Callable[[], Awaitable[None]]) -> None:
        """Let a task run in the nursery of the run."""
        assert self._nursery is not None  # noqa: S101 - `run` has opened it
        self._nursery.start_soon(task)

    # ------------------------------------------------------------ one step
    async def _work(self, level: Level) -> None:
        """Run the steps of a level's queue, one after another, until it is empty."""
        queue = level.queue
        stretch = STRETCH
        while queue:
            job = queue.popleft()
            if isinstance(job, Recipe):
                assert self._plain is not None  # noqa: S101 - only its steps are pushed like this
                await self._plain.work(level, job)
                continue
            if queue and not level.called:
                level.call()
            outcome = await self._run_job(job)
            if not self.mine:
                return
            level.between = True
            self.finish(job, outcome)
            level.between = False
            stretch -= 1
            if not stretch:
                stretch = STRETCH
                if queue and not level.called:
                    level.call()
                await trio.lowlevel.checkpoint()

    async def _run_job(self, job: Job) -> StepOutcome:
        step, ledger = job.step, self.place.ledger
        lost = self.verdicts.lost(step)
        if lost is not None:
            return lost
        returned = self._log.judging(step.id)
        if returned is not None:  # in an earlier life of the executor
            self.release(job)
            return await self.verdicts.judged(job, returned)
        if ledger is not None:
            try:
                ledger.spend("steps")
            except TrouperError as error:
                return not_run(job, StepStatus.FAILED, self.now, error=ErrorInfo.of(error))
        if step.for_each is not None:
            outcome = await ItemRun(self, job, step.for_each, self._log).run()
        else:
            outcome = await StepRun(self, job, self._log, self._log.results).run()
        if outcome.status is not StepStatus.OK:
            return outcome
        outcome = self.verdicts.declared(job, outcome)
        if outcome.status is not StepStatus.OK or not self.verdicts.beside:
            return outcome
        if step.critical is True or self._gated:
            if self.mine:
                self.telling.returned(outcome)
            self._log.returned(outcome)
            self.release(job)  # the slot is free while the verdict is awaited
            return await self.verdicts.judged(job, outcome)
        return outcome

    def finish(self, job: Job, outcome: StepOutcome) -> None:
        """A step has ended: write it down, then believe it."""
        step = job.step.id
        self.telling.ended(outcome)
        self._log.end(outcome)
        if job.holding:
            job.holding = False
            self.dispatch.release(job.caps)
        if outcome.status is StepStatus.OK:
            self.ready.done(step)
            if self.verdicts.beside and step not in self._log.verdicts:
                self.verdicts.behind(job, outcome)
            self._leave(step)
        else:
            self.lost(step)
        self.advance()
        self.stopped_going()

    def end_at_once(
        self, job: Job, status: StepStatus, *, error: ErrorInfo | None = None, reason: str | None = None
    ) -> None:
        """A step ends without having had a slot."""
        outcome = not_run(job, status, self.now, error=error, reason=reason)
        self.telling.ended(outcome)
        self._log.end(outcome)
        self.lost(job.step.id)
        self.advance()  # some of its dependants may do without it
        self.stopped_going()

    def lost(self, step: int) -> None:
        """`step` has no result: skip what cannot do without it."""
        skipped = self.ready.failed(step)
        self._leave(step)
        for other, cause in skipped:
            self._skip(other, cause)

    def _skip(self, step: int, cause: int) -> None:
        if step not in self._log.outcomes:
            outcome = skipped_behind(self.jobs[step].step, self._log.outcomes[cause])
            self.telling.ended(outcome)
            self._log.end(outcome)
        self._leave(step)

    def _leave(self, step: int) -> None:
        """The step has ended, however: its level has one less."""
        level = self.jobs[step].level
        assert level is not None  # noqa: S101 - it was given one when the plan was read
        level.leave()
        if self.admission.held and level.left == 0 and self.all_there:
            self.admission.look_again()
        self.left -= 1
        if not self.left:
            self.wake()

    # ------------------------------------------------------------ slots
    def release(self, job: Job) -> None:
        """The step needs its slot no longer, or not now."""
        if job.holding:
            job.holding = False
            self.dispatch.release(job.caps)
            self.advance()

    def offer_slots(self) -> None:
        """What was cut off has given its slots back: others may have them."""
        if self.mine:
            self.dispatch.grant()

    async def slot(self, job: Job) -> None:
        """Wait for a slot for this step. Cancelled: it has none, and nobody loses one by it."""
        self.admission.rank()
        await wait_for_slot(self.dispatch, job)
        self.tick()

    async def pause(self, job: Job, seconds: float) -> None:
        """Wait before a retry, without a slot. Cancelled: the step has no slot."""
        began = self.clock()
        self.release(job)
        await trio.sleep(seconds)
        job.waited("backoff", self.clock() - began)
        await self.slot(job)

    # ------------------------------------------------------------ a sub-plan
    async def run_inner(self, job: Job, inner: RunLog, results: Mapping[int, object]) -> object:
        """Run a sub-plan and give its output. Cancelled: its steps are; its log says what was in hand.

        Raises:
            StepError: a step of it failed that may not, or its output is not there.
        """
        step, plan = job.step, inner.plan
        assert plan is not None  # noqa: S101 - whoever calls has made the log of a sub-plan
        inner.results.update({**results, **inner.results})
        place = self.place.with_budget(step.budget, f"sub-plan of step {step.id}")
        run = PlanRun(inner, place, outer=self, gated=self._gated or step.critical is True)
        self._inner.add(run)
        try:
            await run.run()
        finally:
            self._inner.discard(run)
            if run._waiting:  # it was cut off: what it had given up for itself goes on in the step that it is in
                run._waiting = False
                self.going += 1
        if run.overspent is not None:
            raise run.overspent
        return output_of(step.id, plan, inner)
