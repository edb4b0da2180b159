"""A run whose plan is still being written.

Steps come one by one (`PlanFeed`); each is put on its level as soon as everything it names is there, and started if
nothing in it has an effect and nobody must be asked. When the plan is complete and valid the rest may start. When it
turns out that it will not do, what runs of it is cancelled, its results are dropped, and the run waits for the next.

The planner calls from its own task, so each call is made in the context of the run: nothing that is started here takes
over the deadline or the baggage of the planner's message.
"""

from __future__ import annotations

import contextvars
from collections import deque

from trouper.runtime import Plan, ReadySet, Step

from .dispatch import Dispatch
from .job import Job
from .level import Level
from .plan_feed import PlanFeed
from .plan_run import PlanRun
from .run_place import RunPlace
from .runlog import RunLog


class StreamedRun(PlanRun):
    """Runs what `feed` gives. `run` returns when the plan is complete and run, or when there will be none."""

    def __init__(self, run_log: RunLog, place: RunPlace, feed: PlanFeed) -> None:
        finished = run_log.plan
        run_log.plan = None
        super().__init__(run_log, place)
        self._level_of = {step: n for n, ids in enumerate(finished.levels) for step in ids} if finished else {}
        self._finished = dict.fromkeys(run_log.results, ())
        self._feed = feed
        self._context = contextvars.copy_context()
        self._attached = False
        self._later = []
        self._start_over()

    def _start_over(self) -> None:
        """Nothing of the plan is there."""
        self._let_go()
        self.dispatch: Dispatch = Dispatch(self.place.parallel.slots, self.place.caps)
        self.jobs: dict[int, Job] = {}
        self.levels: list[Level] = []
        self.admission.start_over()
        self.ready: ReadySet = ReadySet(self._finished, done=self._finished)
        self.left: int = 0
        self.going: int = 0
        self.all_there: bool = False
        self._waiting = self._retracted = False
        self._offered: list[Step] = []
        self._unplaced: dict[int, int] = {}
        self._wanted_by: dict[int, list[Step]] = {}

    async def _run_steps(self) -> None:
        while True:
            await super()._run_steps()
            if not self._retracted:
                return
            if self._abandoned:
                self._take_back()
                return
            later, plan = self._later, self._plan
            self._take_back()
            self._later, self._plan = later, plan

    @property
    def mine(self) -> bool:
        """Nor has the plan been retracted: what ends of it after that is not heard."""
        return super().mine and not self._retracted

    _retracted: bool = False
    _abandoned: bool = False

    def _take_back(self) -> None:
        """Nothing that has run of the plan counts."""
        self._feed.retracted = False
        self.verdicts.start_over()
        self._log.retract()
        self._finished = dict.fromkeys(self._log.results, ())
        self._start_over()

    _later: list[Step]
    _plan: Plan | None = None

    def _begin(self) -> None:
        if not self._attached:
            if self._feed.retracted:  # between two lives of the executor
                self._take_back()
            self._attached = True
            self._later = []
            self._feed.attach(self)
            return
        later, self._later = self._later, []
        for step in later:
            self._take(step)
        if self._plan is not None:
            plan, self._plan = self._plan, None
            self._whole(plan)

    # ------------------------------------------------------------ what the feed says, from any task
    def offer(self, step: Step) -> None:
        """One more step."""
        if not super().mine:
            return  # the executor has crashed: whoever has the run next is told of everything
        if self._retracted:
            self._later.append(step)
        else:
            self._context.run(self._take, step)

    def retract(self) -> None:
        """Nothing of what was offered holds: it is cancelled, and waits for the next plan."""
        self._later.clear()
        if self.all_there or self._retracted or not self._offered:
            return
        self._retracted = True
        self._cut()

    def complete(self, plan: Plan) -> None:
        """The plan is complete and valid."""
        if not super().mine:
            return
        if not self._retracted and any(self._differs(plan, step) for step in self._offered):
            self._feed.retract("the plan that it became is another one")
        if self._retracted:
            self._plan = plan
        else:
            self._context.run(self._whole, plan)

    def abandon(self) -> None:
        """There will be no plan."""
        self._abandoned = True
        self.left, self.all_there = 0, True
        self._cut()

    def _cut(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _differs(self, plan: Plan, step: Step) -> bool:
        return step.id not in plan.dependencies or plan.step(step.id) != step

    # ------------------------------------------------------------ steps
    def _take(self, step: Step) -> None:
        self.tick()
        self._offered.append(step)
        if step.id in self._finished:  # in an earlier life of the executor
            return
        missing = [need for need in step.needs if need not in self.jobs and need not in self._finished]
        if missing:  # the plan is listed in another order than it runs in
            self._unplaced[step.id] = len(missing)
            for need in missing:
                self._wanted_by.setdefault(need, []).append(step)
            return
        there = deque([step])
        while there:
            found = there.popleft()
            self._place(found, tuple(found.needs))
            for waiting in self._wanted_by.pop(found.id, ()):
                self._unplaced[waiting.id] -= 1
                if not self._unplaced[waiting.id]:
                    there.append(waiting)
        self.advance()

    def _place(self, step: Step, needs: tuple[int, ...], number: int | None = None) -> None:
        """Put a step on its level. A level stays open for what may come as long as the plan is not complete."""
        if number is None:
            number = 1 + max((self._level_of.get(need, 0) for need in needs), default=-1)
        while len(self.levels) <= number:
            self.levels.append(Level(len(self.levels), 1, opened=self._open, work=self._work))
        self._level_of[step.id] = number
        job = self.jobs[step.id] = self._new_job(step)
        job.level = self.levels[number]
        job.level.more()
        self.left += 1
        for other, cause in self.ready.add(step.id, needs, enough=step.enough(len(needs)) if step.lenient else None):
            self._skip(other, cause)

    def _whole(self, plan: Plan) -> None:
        """The rest of the plan, and leave for what had to wait for it."""
        self.tick()
        self._log.plan = plan
        self.place: RunPlace = self.place.with_budget(plan.budget, "plan")
        level_of = {step: number for number, ids in enumerate(plan.levels) for step in ids}
        for step in plan.steps:
            if step.id not in self.jobs and step.id not in self._finished:
                self._place(step, plan.dependencies[step.id], level_of[step.id])
        self.all_there = True
        self.admission.ranked = False
        for level in self.levels:
            level.leave()  # the place that was kept for what might come
        self.admission.look_again()
        self.advance()
        if not self.left:
            self.wake()
