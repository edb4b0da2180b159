"""One run of one plan.

Every level of the plan has its own nursery inside the plan's nursery: it is opened when the level's first step is ready
and closed when its last has ended, so a level can be seen, timed and cancelled as one. There is no barrier between
them: a step starts as soon as its own inputs are there and a slot is free. Scarce slots go to the step with the
longest chain still behind it.

A step holds its slot only while its tool works: waiting for a verdict holds none. When a step fails, only what depends
on it, directly or through others, is skipped; everything else runs on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from heapq import heappop, heappush

import attrs
import trio

from trouper.runtime import Actor, ActorError, Context, ReadySet, Ref, Step, rank, sequential

from .messages import LevelStarted, StepEnded, StepStarted, VerdictGiven, VerifyStep
from .outcome import ErrorInfo, StepOutcome, StepStatus, Verdict, VerdictKind
from .permissions import PermissionPolicy
from .runlog import RunLog
from .step_run import StepRun
from .tool import Tool

log: logging.Logger = logging.getLogger("trouper.executor")


@attrs.frozen(kw_only=True)
class ParallelExecution:
    """How many steps run at once, and whether levels are barriers.

    `enabled=False`: one step at a time. `dependency_analysis=False`: one after another in the plan's own
    topological order. `level_barrier=True`: a level starts when the one before has ended.
    """

    enabled: bool = True
    max_parallel_steps: int = 5
    dependency_analysis: bool = True
    level_barrier: bool = False

    @property
    def slots(self) -> int:
        """Steps that may run at once."""
        return self.max_parallel_steps if self.enabled and self.dependency_analysis else 1


@attrs.frozen(kw_only=True, eq=False)
class RunPlace:
    """What a run finds around it: the tools, the verifier, where files are."""

    tools: Mapping[str, Tool]
    workspace: str
    policy: PermissionPolicy
    verifier: Ref[Actor] | None
    verdict_timeout: float
    background: bool
    ctx: Context


class _Level:
    """One level: its nursery while it is open, and how many of its steps have not ended."""

    def __init__(self, number: int, steps: int) -> None:
        self.number = number
        self.steps = steps
        self.left = steps
        self.over = trio.Event()
        self.nursery: trio.Nursery | None = None
        self.waiting: list[Step] = []
        self.opened = False


class PlanRun:
    """See the head of this file. `run` returns when every step has ended and every verdict is in."""

    def __init__(self, run_log: RunLog, place: RunPlace, parallel: ParallelExecution) -> None:
        plan = run_log.plan
        self._log = run_log
        self._place = place
        self._parallel = parallel
        self._steps = {step.id: step for step in plan.steps}
        self._level_of = {step: n for n, level in enumerate(plan.levels) for step in level}
        self._levels = [_Level(n, len(level)) for n, level in enumerate(plan.levels)]
        order = tuple(self._steps)
        self._ready = ReadySet(plan.dependencies, order, done=run_log.results)
        self._keys = self._priorities(order)
        self._waiting: list[tuple[tuple[float, ...], int]] = []
        self._slots = parallel.slots
        self._nursery: trio.Nursery | None = None
        for step in run_log.results:
            self._leave_level(step)

    def _priorities(self, order: tuple[int, ...]) -> dict[int, tuple[float, ...]]:
        dependencies = self._log.plan.dependencies
        place = {step: float(n) for n, step in enumerate(sequential(dependencies, order))}
        if not self._parallel.dependency_analysis:
            return {step: (n,) for step, n in place.items()}
        ranks = rank(dependencies)
        level = self._level_of if self._parallel.level_barrier else dict.fromkeys(order, 0)
        return {step: (float(level[step]), -ranks[step], place[step]) for step in order}

    async def run(self) -> None:
        """Run every step that the log does not have."""
        async with trio.open_nursery() as self._nursery:
            self._advance()

    # ------------------------------------------------------------ starting steps
    def _advance(self) -> None:
        """Start whatever is ready, as far as slots and barriers allow."""
        for step in self._ready.take():
            known = self._log.outcomes.get(step)
            if known is not None:  # it failed in an earlier life of the executor
                self._skip_behind(step)
                self._leave_level(step)
            else:
                heappush(self._waiting, (self._keys[step], step))
        while self._waiting and self._slots and self._may_start(self._waiting[0][1]):
            _, step = heappop(self._waiting)
            self._slots -= 1
            self._launch(self._steps[step])

    def _may_start(self, step: int) -> bool:
        if not self._parallel.level_barrier:
            return True
        return all(level.left == 0 for level in self._levels[: self._level_of[step]])

    def _launch(self, step: Step) -> None:
        level = self._levels[self._level_of[step.id]]
        if level.nursery is not None:
            level.nursery.start_soon(self._run_step, step)
            return
        level.waiting.append(step)
        if not level.opened:
            level.opened = True
            assert self._nursery is not None  # noqa: S101 - `run` has opened it
            self._nursery.start_soon(self._run_level, level)

    async def _run_level(self, level: _Level) -> None:
        log.info("[EXECUTOR] Executing level %d with %d steps", level.number, level.steps)
        ctx = self._place.ctx
        if ctx.listening:
            ctx.emit(
                LevelStarted(
                    at=trio.current_time(),
                    actor=ctx.name,
                    run_id=self._log.run_id,
                    level=level.number,
                    steps=level.steps,
                )
            )
        async with trio.open_nursery() as level.nursery:
            for step in level.waiting:
                level.nursery.start_soon(self._run_step, step)
            await level.over.wait()  # ends with the level's last step, each of which has its own end

    # ------------------------------------------------------------ one step
    async def _run_step(self, step: Step) -> None:
        outcome = await StepRun(step, self._log, self._place, self._report_start).run()
        self._slots += 1
        if outcome.status is StepStatus.OK and self._gated(step):
            # The slot is free while the verdict is awaited.
            self._advance()
            outcome = await self._with_verdict(step, outcome)
        self._end(step, outcome)
        if outcome.status is StepStatus.OK:
            if not self._gated(step):
                assert self._nursery is not None  # noqa: S101 - `run` has opened it
                self._nursery.start_soon(self._verify_behind, step, outcome)
            self._ready.done(step.id)
        else:
            self._skip_behind(step.id)
        self._leave_level(step.id)
        self._advance()

    def _gated(self, step: Step) -> bool:
        return step.critical is True or not self._place.background or self._place.verifier is None

    def _report_start(self, step: Step, action: str, attempt: int) -> None:
        ctx = self._place.ctx
        if ctx.listening:
            ctx.emit(
                StepStarted(
                    at=trio.current_time(),
                    actor=ctx.name,
                    run_id=self._log.run_id,
                    step=step.id,
                    action=action,
                    attempt=attempt,
                )
            )

    def _end(self, step: Step, outcome: StepOutcome) -> None:
        self._log.end(outcome)
        told = f": {outcome.error.message}" if outcome.error is not None else ""
        log.info("[EXECUTOR] Step %d (%s) %s%s", step.id, outcome.action, outcome.status.value, told)
        ctx = self._place.ctx
        if ctx.listening:
            ctx.emit(StepEnded(at=trio.current_time(), actor=ctx.name, run_id=self._log.run_id, outcome=outcome))

    def _skip_behind(self, failed: int) -> None:
        for skipped, cause in self._ready.failed(failed):
            step, failure = self._steps[skipped], self._log.outcomes[cause]
            why = f"step {skipped} ({step.action}) needs step {cause} ({failure.action}), which {_ended(failure)}"
            self._end(
                step,
                StepOutcome(
                    id=skipped,
                    action=step.action,
                    status=StepStatus.SKIPPED,
                    reason="dependency",
                    cause=cause,
                    error=ErrorInfo("dependency", why),
                ),
            )
            self._leave_level(skipped)

    def _leave_level(self, step: int) -> None:
        level = self._levels[self._level_of[step]]
        level.left -= 1
        if level.left == 0:
            level.over.set()

    # ------------------------------------------------------------ verdicts
    async def _verdict(self, step: Step, outcome: StepOutcome) -> Verdict | None:
        """The verifier's word, None if it cannot be had in time. Without a verifier the declared output decides."""
        if self._place.verifier is None:
            tool = self._place.tools[outcome.action]
            declared = Verdict.of_declaration(tool.check_output(outcome.result), declared=tool.gives is not None)
            self._note(step, declared)
            return declared
        question = VerifyStep(action=outcome.action, parameters=outcome.parameters or {}, result=outcome.result)
        try:
            verdict: Verdict = await self._place.verifier.ask(question, timeout=self._place.verdict_timeout)
        except ActorError as error:
            log.warning("[VERIFIER] no verdict on step %d (%s): %s", step.id, outcome.action, error)
            return None
        self._note(step, verdict)
        return verdict

    def _note(self, step: Step, verdict: Verdict) -> None:
        self._log.verdicts[step.id] = verdict
        ctx = self._place.ctx
        if ctx.listening:
            ctx.emit(
                VerdictGiven(
                    at=trio.current_time(), actor=ctx.name, run_id=self._log.run_id, step=step.id, verdict=verdict
                )
            )

    async def _with_verdict(self, step: Step, outcome: StepOutcome) -> StepOutcome:
        """The outcome after its verdict: a critical step without one has failed (closed, not open)."""
        verdict = await self._verdict(step, outcome)
        if verdict is None:
            self._note(step, _no_verdict())
            if step.critical is not True:
                return outcome
            error = ErrorInfo("unverified", f"no verdict could be had on step {step.id}, which is critical")
            return attrs.evolve(outcome, status=StepStatus.FAILED, error=error)
        if verdict.verdict is VerdictKind.REFUTED:
            error = ErrorInfo("refuted", f"the verifier refuted step {step.id}: {'; '.join(verdict.problems)}")
            return attrs.evolve(outcome, status=StepStatus.FAILED, error=error)
        return outcome

    async def _verify_behind(self, step: Step, outcome: StepOutcome) -> None:
        verdict = await self._verdict(step, outcome)
        if verdict is None:
            self._note(step, _no_verdict())
        elif verdict.verdict is VerdictKind.REFUTED:
            self._log.refute(step.id, verdict)


def _no_verdict() -> Verdict:
    return Verdict(verdict=VerdictKind.UNVERIFIABLE, problems=("the verifier could not be asked in time",))


def _ended(outcome: StepOutcome) -> str:
    if outcome.status is StepStatus.SKIPPED:
        return "was skipped"
    return f"failed ({outcome.error.kind})" if outcome.error is not None else outcome.status.value
