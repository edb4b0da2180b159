"""The orchestrator: one goal from start to answer.

It owns the scope of the goal: the deadline, the log, what is told about the end. It survives the crash of anyone it
asks: planning is asked once more (nothing has happened yet), execution goes on from the log, with whatever a ONCE tool
had in hand marked in doubt instead of run again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TypeVar

import attrs
import trio

from trouper.runtime import (
    Actor,
    ActorCrashed,
    ActorError,
    Ask,
    GoalRefused,
    LLMError,
    MemoryFailed,
    OnCancel,
    PlanError,
    PlanningError,
    Ref,
    handler,
)

from .answer import compose_answer, explain_failure
from .llm import GetUsage
from .memory import Remember
from .messages import (
    Execute,
    ExecutePlan,
    KeepEpisode,
    MakePlan,
    PlanReady,
    RunEnded,
    RunPlan,
    RunStarted,
    Settle,
)
from .outcome import ErrorInfo, Outcome, RunStatus, StepStatus, status_of
from .protocols import Usage
from .runlog import RunLog
from .tool import Tool

log: logging.Logger = logging.getLogger("trouper.orchestrator")

T = TypeVar("T")

MOST_GOAL = 20_000
"""Characters a goal may have."""
TRIES = 3
"""How often a peer is asked in all when it crashes with our question in hand."""


@attrs.frozen(kw_only=True)
class MemoryUpdates:
    """Whether a finished run is remembered behind the answer (`background`) or before it."""

    background: bool = True


def check_goal(goal: str) -> str:
    """The goal without white space around it; raises `GoalRefused` if there is nothing to do, or far too much."""
    stripped = goal.strip()
    if not stripped:
        raise GoalRefused("the goal is empty: say what you want done, in one sentence")
    if len(stripped) > MOST_GOAL:
        raise GoalRefused(
            f"the goal has {len(stripped):,} characters, at most {MOST_GOAL:,} are taken. "
            "Put the material into a file and name the file in the goal."
        )
    return stripped


class Orchestrator(Actor):
    """Answers `Execute` and `RunPlan`."""

    def __init__(self, tools: Mapping[str, Tool], *, memory_updates: MemoryUpdates) -> None:
        self._tools = tools
        self._memory_updates = memory_updates

    async def on_start(self) -> None:
        """Find those it asks."""
        self._planner = self.ctx.peer("planner")
        self._executor = self.ctx.peer("executor")
        self._memory = self.ctx.peer("memory")
        self._llm = self.ctx.peer("llm")

    # ------------------------------------------------------------ a goal
    @handler(concurrent=64, raises=(GoalRefused, PlanError))
    async def execute(self, message: Execute) -> Outcome:
        """Plan and run a goal. Once planning has begun this gives an outcome, whatever happens.

        Raises:
            GoalRefused: the goal is not one, or the rules do not understand it.
        """
        goal = check_goal(message.goal)
        began = trio.current_time()
        self._tell(RunStarted(at=began, actor=self.ctx.name, run_id=message.run_id, goal=goal))
        known: dict[str, RunLog] = {}
        outcome: Outcome | None = None
        with trio.move_on_after(message.timeout):
            outcome = await self._plan_and_run(message, goal, began, known)
        if outcome is None:
            outcome = self._late(message.run_id, goal, message.timeout, known.get("log"))
        outcome = attrs.evolve(outcome, usage=await self._usage())
        await self._remember(goal, outcome)
        return self._ended(outcome)

    async def _plan_and_run(self, message: Execute, goal: str, began: float, known: dict[str, RunLog]) -> Outcome:
        try:
            planned = await self._insist(self._planner, MakePlan(goal=goal, context=message.context))
        except GoalRefused:
            raise
        except (PlanningError, PlanError, LLMError, ActorError) as error:
            log.info("[ORCHESTRATOR] no plan: %s", error.__class__.__name__)
            return Outcome(run_id=message.run_id, goal=goal, status=RunStatus.FAILED, error=ErrorInfo.of(error))
        run_log = known["log"] = RunLog(message.run_id, planned.plan, began=began)
        return await self._run(run_log, goal, planned.planner)

    # ------------------------------------------------------------ a ready plan
    @handler(concurrent=64, raises=(PlanError,))
    async def run_plan(self, message: RunPlan) -> Outcome:
        """Run a plan that is there already."""
        began = trio.current_time()
        goal = message.plan.goal
        self._tell(RunStarted(at=began, actor=self.ctx.name, run_id=message.run_id, goal=goal))
        run_log = RunLog(message.run_id, message.plan, began=began)
        outcome: Outcome | None = None
        with trio.move_on_after(message.timeout):
            outcome = await self._run(run_log, goal, None)
        if outcome is None:
            outcome = self._late(message.run_id, goal, message.timeout, run_log)
        return self._ended(attrs.evolve(outcome, usage=await self._usage()))

    # ------------------------------------------------------------ running
    async def _run(self, run_log: RunLog, goal: str | None, planner: str | None) -> Outcome:
        plan = run_log.plan
        self._tell(
            PlanReady(
                at=trio.current_time(),
                actor=self.ctx.name,
                run_id=run_log.run_id,
                plan=plan,
                planner=planner or "given",
            )
        )
        failure = await self._execute(run_log)
        if failure is not None:
            run_log.settle_interrupted(failure, once_only=False)
            run_log.settle_unstarted("executor")
        status = RunStatus.FAILED if failure is not None else status_of(plan, run_log.outcomes)
        return self._outcome(run_log, goal, planner, status, failure)

    async def _execute(self, run_log: RunLog) -> ErrorInfo | None:
        """Have the plan run; after a crash of the executor go on from the log. Gives why it could not be finished."""
        for tried in range(1, TRIES + 1):
            try:
                await self._executor.ask(ExecutePlan(log=run_log))
            except ActorCrashed as error:
                crash = ErrorInfo.of(error)
                log.warning("[ORCHESTRATOR] the executor crashed (%d of %d): %s", tried, TRIES, error)
                run_log.settle_interrupted(crash, once_only=True)
            except ActorError as error:
                return ErrorInfo.of(error)
            else:
                return None
        return crash

    def _outcome(
        self, run_log: RunLog, goal: str | None, planner: str | None, status: RunStatus, failure: ErrorInfo | None
    ) -> Outcome:
        plan, steps = run_log.plan, run_log.outcomes
        ok = status is not RunStatus.FAILED
        error = failure
        if not ok and error is None:
            first = next((o for o in steps.values() if o.status is StepStatus.FAILED and o.error), None)
            kind = first.error.kind if first is not None and first.error is not None else "failed"
            error = ErrorInfo(kind, explain_failure(plan, steps))
        return Outcome(
            run_id=run_log.run_id,
            goal=goal,
            status=status,
            answer=compose_answer(plan, steps) if ok else None,
            plan=plan,
            planner=planner,
            steps={s.id: steps[s.id] for s in plan.steps},
            verdicts=dict(sorted(run_log.verdicts.items())),
            error=error,
        )

    def _late(self, run_id: str, goal: str | None, timeout: float, run_log: RunLog | None) -> Outcome:
        error = ErrorInfo("deadline", f"the run did not end within {timeout:g} s; raise --timeout or `run.timeout`")
        if run_log is None:
            return Outcome(run_id=run_id, goal=goal, status=RunStatus.FAILED, error=error)
        run_log.settle_interrupted(error, once_only=False)
        run_log.settle_unstarted("deadline")
        return attrs.evolve(self._outcome(run_log, goal, None, RunStatus.FAILED, error))

    # ------------------------------------------------------------ around a run
    async def _insist(self, ref: Ref[Actor], message: Ask[T]) -> T:
        """Ask a peer whose work has no effects; if it crashes with the question in hand ask its next incarnation."""
        for _ in range(TRIES - 1):
            try:
                return await ref.ask(message)
            except ActorCrashed as error:
                log.warning("[ORCHESTRATOR] %s crashed, asking it again: %s", ref.name, error)
        return await ref.ask(message)

    async def _usage(self) -> Usage:
        """What the models have counted for this run: their calls carry its trace."""
        try:
            return await self._llm.ask(GetUsage(trace=self.ctx.trace), timeout=5)
        except ActorError as error:
            log.warning("[ORCHESTRATOR] the usage of trace %s is unknown: %s", self.ctx.trace, error)
            return Usage()

    async def _remember(self, goal: str, outcome: Outcome) -> None:
        """Keep what was done. Questions are never stored: they are not facts."""
        if not outcome.ok or outcome.answer is None or goal.rstrip().endswith("?"):
            return
        episode = KeepEpisode(text=f"{goal} -> {outcome.answer[:500]}", run_id=outcome.run_id)
        if not self._memory_updates.background:
            await self._store(episode)
            return
        try:
            self.ctx.ref.tell_nowait(episode)
        except ActorError as error:
            log.warning("[ORCHESTRATOR] the run was not remembered: %s", error)

    @handler(concurrent=4, on_cancel=OnCancel.FINISH)
    async def keep(self, message: KeepEpisode) -> None:
        """Store an episode; a memory that fails is reported and costs nothing else."""
        await self._store(message)

    async def _store(self, episode: KeepEpisode) -> None:
        meta = {"kind": "episode", "run_id": episode.run_id}
        try:
            await self._memory.ask(Remember(texts=(episode.text,), meta=meta))
        except (ActorError, LLMError, MemoryFailed) as error:
            log.warning("[ORCHESTRATOR] the run %s was not remembered: %s", episode.run_id, error)

    @handler
    async def settle(self, message: Settle) -> None:
        """Handled alone, so only after every concurrent handler before it has ended."""

    def _ended(self, outcome: Outcome) -> Outcome:
        log.info("[ORCHESTRATOR] run %s: %s", outcome.run_id, outcome.status.value)
        self._tell(RunEnded(at=trio.current_time(), actor=self.ctx.name, run_id=outcome.run_id, outcome=outcome))
        return outcome

    def _tell(self, event: RunStarted | PlanReady | RunEnded) -> None:
        if self.ctx.listening:
            self.ctx.emit(event)
