"""One run from its start to its outcome: planning, running, planning again after a failure, undoing.

It survives the crash of anyone it asks: planning is asked again (nothing has happened yet), execution goes on from the
log, with whatever a ONCE tool had in hand marked in doubt instead of run again. What is finished is never run again: it
is input of the next plan. A run whose only open steps wait for a person ends as `waiting` and can be resumed.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import TypeVar

import attrs
import trio

from trouper.runtime import (
    ActionSignature,
    Actor,
    ActorCrashed,
    ActorError,
    Ask,
    BudgetExceeded,
    GoalRefused,
    Ledger,
    LLMError,
    Plan,
    PlanError,
    PlanningError,
    PlanStream,
    Ref,
)

from .answer import compose_answer, explain_failure
from .messages import CompensateRun, ExecutePlan, MakePlan, Planned, Previous
from .outcome import ErrorInfo, Outcome, RunStatus, Standing, StepOutcome, StepStatus, standings, status_of
from .plan_feed import PlanFeed
from .plan_reading import PlanReading
from .records import PlanGivenUp, PlanReady, PlanRetracted
from .run_place import Scribe
from .runlog import RunLog
from .verdicts import doubtful

log: logging.Logger = logging.getLogger("trouper.orchestrator")

T = TypeVar("T")

_NO_PLAN = (PlanningError, PlanError, LLMError, BudgetExceeded, ActorError)
"""What says that there is no plan to be had."""

TO_ANSWER = 5.0
"""Seconds that whoever has a bound of its own may take beyond it to say what came of it."""
TRIES = 3
"""How often a peer is asked in all when it crashes with our question in hand."""


@attrs.frozen(kw_only=True)
class RunSettings:
    """How runs are run: how often planned again, whether the plan is run while it is written, what undoing may take."""

    max_replans: int = 2
    stream_plan: bool = True
    compensation_timeout: float = 30.0
    threshold: float = 0.8


class GoalRun:
    """One run; `outcome` gives what it came to and raises nothing but what refuses the goal.

    Args:
        run_log: The log, empty or of a run that is resumed.
        goal: What is wanted; None for a plan that was given.
        planner: Who plans; None where a plan was given: it is run as it is, and not planned again.
        executor: Who runs plans.
        scribe: Who writes the records.
        ledger: What the run may spend.
        settings: How it is run.
    """

    def __init__(
        self,
        run_log: RunLog,
        goal: str | None,
        *,
        planner: Ref[Actor] | None,
        executor: Ref[Actor],
        scribe: Scribe,
        ledger: Ledger,
        settings: RunSettings,
        context: Mapping[str, object] | None = None,
    ) -> None:
        self.log = run_log
        self.over: trio.Event = trio.Event()
        """Set when the end of the run is written."""
        self._goal = goal
        self._planner = planner
        self._executor = executor
        self._scribe = scribe
        self._ledger = ledger
        self._settings = settings
        self._context = context or {}
        self._said: str | None = None
        self._planning = 0.0

    # ------------------------------------------------------------ the walk
    async def run(self) -> ErrorInfo | None:
        """Plan if there is no plan yet, run it, plan again while that helps. Gives why it could not be finished.

        Raises:
            GoalRefused: the goal is outside what the planner knows; nothing was done.
        """
        failure: ErrorInfo | None = None
        if self.log.plan is None:
            failure = await self._plan_and_run()
        else:
            failure = await self._execute(None)
        while failure is None and self._planner is not None and (previous := self._may_replan()) is not None:
            again, failure = await self._plan_again(self._planner, previous)
            if not again:
                break
        if failure is not None:
            self.cut_off(failure, "executor")
        return failure

    async def _plan_and_run(self) -> ErrorInfo | None:
        assert self._planner is not None  # noqa: S101 - a run without a plan has a planner
        try:
            return await self._make_and_run(self._planner, None)
        except GoalRefused:
            raise
        except _NO_PLAN as error:
            log.info("[ORCHESTRATOR] no plan: %s", error.__class__.__name__)
            return ErrorInfo.of(error)

    async def _plan_again(self, planner: Ref[Actor], previous: Previous) -> tuple[bool, ErrorInfo | None]:
        """Go on with another plan. Gives whether there was one, and why it could not be finished."""
        log.info("[ORCHESTRATOR] planning again: %s", previous.why)
        self._scribe.write(
            PlanGivenUp(at=trio.current_time(), actor=self._scribe.name, run_id=self.log.run_id, why=previous.why)
        )
        self.log.give_up()
        try:
            return True, await self._make_and_run(planner, previous)
        except _NO_PLAN as error:
            log.warning("[ORCHESTRATOR] no other plan: %s", error)
            self.log.take_back()
            return False, None

    async def _make_and_run(self, planner: Ref[Actor], previous: Previous | None) -> ErrorInfo | None:
        feed = PlanFeed(self._retracted) if self._settings.stream_plan else None
        wish = MakePlan(goal=self._goal or "", context=self._context, previous=previous, feed=feed)

        async def make() -> Plan:
            began = trio.current_time()
            try:
                planned = await self._insist(planner, wish)
            finally:
                self._planning += trio.current_time() - began
            self._adopt(planned)
            return planned.plan

        if feed is not None:
            return await self._beside(feed, make)
        await make()
        return await self._execute(None)

    def _adopt(self, planned: Planned) -> None:
        self._said = planned.planner
        self._write_plan(planned.plan, planned.planner, self.log.generation)
        self.log.adopt(planned.plan)

    def _write_plan(self, plan: Plan, planner: str, generation: int) -> None:
        self._scribe.write(
            PlanReady(
                at=trio.current_time(),
                actor=self._scribe.name,
                run_id=self.log.run_id,
                plan=plan,
                planner=planner,
                generation=generation,
            )
        )

    def given(self, plan: Plan) -> None:
        """The plan was given and not made."""
        self._write_plan(plan, "given", self.log.generation)
        self.log.adopt(plan)

    # ------------------------------------------------------------ a plan that is run while it is written
    async def read(self, chunks: AsyncIterable[str], catalogue: Mapping[str, ActionSignature]) -> ErrorInfo | None:
        """Run a plan while its text arrives.

        Raises:
            PlanError: the text is no plan; what ran of it was cancelled.
        """
        feed, stream = PlanFeed(self._retracted), PlanStream(catalogue=catalogue)

        async def make() -> Plan:
            with PlanReading(stream, feed, lambda _: True) as reading:
                await reading.follow(chunks)
                plan = stream.close()
                reading.confirm(plan)
            self.given(plan)
            return plan

        return await self._beside(feed, make)

    def _retracted(self, why: str) -> None:
        log.warning("[ORCHESTRATOR] the plan that was being written will not do, what ran of it is cancelled: %s", why)
        self._scribe.write(
            PlanRetracted(at=trio.current_time(), actor=self._scribe.name, run_id=self.log.run_id, why=why)
        )

    async def _beside(self, feed: PlanFeed, make: Callable[[], Awaitable[Plan]]) -> ErrorInfo | None:
        """Run what comes into `feed` while `make` makes the plan."""
        ended: list[ErrorInfo | None] = []
        refused: Exception | None = None

        async def execute() -> None:
            ended.append(await self._execute(feed))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(execute)
            try:
                plan = await make()
            except _NO_PLAN as error:
                feed.retract(str(error))
                feed.abandon()
                refused = error
            else:
                feed.complete(plan)
        if refused is not None:
            self.log.plan = None
            raise refused
        return ended[0]

    # ------------------------------------------------------------ executing
    async def _execute(self, feed: PlanFeed | None) -> ErrorInfo | None:
        """Have the plan run; after a crash of the executor go on from the log. Gives why it could not be finished."""
        crash: ErrorInfo | None = None
        for tried in range(1, TRIES + 1):
            try:
                await self._executor.ask(ExecutePlan(log=self.log, feed=feed))
            except ActorCrashed as error:
                crash = ErrorInfo.of(error)
                log.warning("[ORCHESTRATOR] the executor crashed (%d of %d): %s", tried, TRIES, error)
                self._settle(crash, once_only=True)
            except ActorError as error:
                return ErrorInfo.of(error)
            else:
                return None
        return crash

    def _settle(self, why: ErrorInfo, *, once_only: bool) -> None:
        self.log.owner = None  # whoever had it may not have heard yet that it is cancelled
        self._scribe.settled(self.log, self.log.settle_interrupted(why, once_only=once_only))

    async def _insist(self, ref: Ref[Actor], message: Ask[T]) -> T:
        """Ask a peer whose work has no effects; if it crashes with the question in hand ask its next incarnation."""
        for _ in range(TRIES - 1):
            try:
                return await ref.ask(message)
            except ActorCrashed as error:
                log.warning("[ORCHESTRATOR] %s crashed, asking it again: %s", ref.name, error)
                if isinstance(message, MakePlan) and message.feed is not None:
                    message.feed.retract(f"the planner crashed: {error}")
        return await ref.ask(message)

    # ------------------------------------------------------------ planning again
    def _may_replan(self) -> Previous | None:
        """What the planner needs to know to plan again, if anything failed and it is allowed."""
        run_log, plan = self.log, self.log.plan
        if plan is None or run_log.open_questions():
            return None
        if status_of(plan, run_log.outcomes) is not RunStatus.FAILED:
            return None
        if len(run_log.replans) >= self._settings.max_replans:
            return None
        if self._ledger.low:
            log.warning("[ORCHESTRATOR] not planned again: %s are nearly spent", ", ".join(self._ledger.low))
            return None
        earlier = {
            i: o
            for replan in run_log.replans
            for i, o in replan.failed.items()
            if o.in_doubt and i not in run_log.outcomes
        }
        return Previous(
            plan=plan, outcomes={**earlier, **run_log.outcomes}, why=explain_failure(plan, run_log.outcomes)
        )

    # ------------------------------------------------------------ the end
    def cut_off(self, why: ErrorInfo, reason: str) -> None:
        """The run ends in the middle: what was in hand is cancelled or in doubt, the rest is skipped for `reason`."""
        self._settle(why, once_only=False)
        if self.log.given_up:
            self.log.take_back()  # the next plan was still being written
        self.log.settle_unstarted(reason)

    async def undo(self) -> None:
        """Undo what a failed run has done, within its own bound. Cancelled: what was undone is in the log."""
        plans = [replan.plan for replan in self.log.replans] + ([self.log.plan] if self.log.plan is not None else [])
        if not any(_compensates(plan) for plan in plans):
            return
        try:
            seconds = self._settings.compensation_timeout
            await self._executor.ask(CompensateRun(log=self.log, seconds=seconds), timeout=seconds + TO_ANSWER)
        except ActorError as error:
            log.error("[ORCHESTRATOR] run %s: not everything could be undone: %s", self.log.run_id, error)  # noqa: TRY400 - it is in the outcome too

    def outcome(self, failure: ErrorInfo | None) -> Outcome:
        """What the run has come to."""
        run_log, plan = self.log, self.log.plan
        if plan is None:
            status = RunStatus.FAILED
            return Outcome(run_id=run_log.run_id, goal=self._goal, status=status, error=failure, waits=self._waits())
        questions = run_log.open_questions() if failure is None else ()
        steps = run_log.with_waiting() if questions else run_log.outcomes
        status = RunStatus.FAILED if failure is not None else status_of(plan, steps)
        if questions:
            status = RunStatus.IN_DOUBT if any(question.doubt for question in questions) else RunStatus.WAITING
        ok = status in {RunStatus.SUCCESS, RunStatus.SUCCESS_WITH_FAILURES}
        return Outcome(
            run_id=run_log.run_id,
            goal=self._goal if self._goal is not None else plan.goal,
            status=status,
            answer=compose_answer(plan, steps) if ok else None,
            attempts=len(run_log.replans) + 1,
            plan=plan,
            planner=self._said,
            steps={s.id: steps[s.id] for s in plan.steps},
            verdicts=dict(sorted(run_log.verdicts.items())),
            error=failure if failure is not None or ok or questions else _first_error(plan, steps),
            questions=questions,
            doubts=tuple(i for i, v in sorted(run_log.verdicts.items()) if doubtful(v, self._settings.threshold)),
            replans=tuple(run_log.replans),
            waits=self._waits(),
        )

    def _waits(self) -> dict[str, float]:
        return {"planner": self._planning} if self._planning else {}


def _first_error(plan: Plan, steps: Mapping[int, StepOutcome]) -> ErrorInfo:
    standing = standings(plan, steps)
    lost = [o for o in steps.values() if o.status in {StepStatus.FAILED, StepStatus.CANCELLED} and o.error is not None]
    # First what counts, then what has failed, and of those what was written first.
    lost.sort(key=lambda o: (standing[o.id] is not Standing.FAILED, o.status is not StepStatus.FAILED))
    first = lost[0] if lost else None
    kind = first.error.kind if first is not None and first.error is not None else "failed"
    return ErrorInfo(kind, explain_failure(plan, steps))


def _compensates(plan: Plan) -> bool:
    """Whether any step of it, however deep, says how to undo it."""
    plans = [plan]
    while plans:
        for step in plans.pop().steps:
            if step.compensate is not None:
                return True
            if step.plan is not None:
                plans.append(step.plan)
    return False
