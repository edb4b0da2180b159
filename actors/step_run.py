"""One step: its attempts under its own deadline, then its fallback.

What may be repeated is the tool's word, not the plan's: PURE and KEYED tools are retried, a ONCE tool only after it has
said itself that nothing happened (`ToolError(effect=False)`). A ONCE tool that was cut off leaves its step in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import trio

from trouper.runtime import (
    INDEX,
    ActionCall,
    BudgetExceeded,
    Compiled,
    InDoubt,
    StepError,
    StepTimeout,
    ToolDied,
    ToolError,
    TrouperError,
    carry,
)

from .job import Job
from .outcome import ErrorInfo, StepOutcome, StepStatus
from .permissions import Decision
from .records import AttemptFailed, StepProgress, StepStarted
from .runlog import RunLog
from .secrets import hides_secret
from .tool import Effect, Tool, ToolContext

if TYPE_CHECKING:
    from .plan_run import PlanRun

FIRST_PAUSE = 0.1
"""Seconds before the first retry where the plan does not say."""
LONGEST_PAUSE = 60.0
JITTER = 0.25
"""The share of a pause that is left to chance, so that steps that failed together do not come back together."""


def may_retry(tool: Tool | None, error: TrouperError) -> bool:
    """Whether trying again cannot do an effect twice, and could help. Without a tool it is a sub-plan: it can."""
    if isinstance(error, BudgetExceeded | InDoubt):
        return False
    if tool is None:
        return True
    if isinstance(error, ToolError):
        if not error.retry_possible:
            return False
        if tool.effect is Effect.ONCE:
            return error.effect is False
        return True
    return tool.effect is not Effect.ONCE


class StepRun:
    """One step of a run, or one element of it. `run` gives the outcome and raises nothing but `Cancelled`."""

    __slots__ = (
        "_attempts",
        "_in_doubt",
        "_inner",
        "_item",
        "_job",
        "_key",
        "_log",
        "_parameters",
        "_resolved",
        "_results",
        "_run",
        "_started",
        "_tool",
    )

    def __init__(
        self, run: PlanRun, job: Job, log: RunLog, results: Mapping[int, object], item: int | None = None
    ) -> None:
        self._run = run
        self._job = job
        self._log = log
        self._results = results
        self._item = item
        self._key = job.step.id if item is None else item
        self._tool = job.tool
        self._attempts: int = 0
        self._in_doubt: bool = False
        self._parameters: Mapping[str, object] | None = None
        self._resolved: Compiled | None = None
        """What they are the resolved form of: the step's own inputs, or those of its fallback."""
        self._started: float = run.now
        self._inner: RunLog | None = None

    async def run(self) -> StepOutcome:
        """Every attempt, then the fallback if there is one. Cancelled: the tool is cancelled with it."""
        step = self._job.step
        try:
            result = await (self._one(step.inputs) if not self._job.retries else self._several(step.inputs))
        except TrouperError as error:
            first = error
        else:
            return self._outcome(StepStatus.OK, result)
        if step.fallback is None:
            return self._outcome(StepStatus.FAILED, None, ErrorInfo.of(first))
        return await self._fall_back(step.fallback, first)

    async def _fall_back(self, call: ActionCall, first: TrouperError) -> StepOutcome:
        in_doubt, tool, parameters = self._in_doubt, self._tool, self._parameters
        if in_doubt and tool is not None:  # from here on, and not only from its end: the fallback may be the same
            self._log.in_doubt.append((tool.name, parameters or {}))
        self._tool, self._inner = self._run.place.tools[call.action], None
        if not self._job.holding:  # a sub-plan gives its slot away
            await self._run.slot(self._job)
        try:
            result = await self._one(call.inputs)
        except TrouperError as second:
            told = f"{first}; then the fallback {call.action!r} failed: {second}"
            error = ErrorInfo(ErrorInfo.of(second).kind, told)
            self._in_doubt = in_doubt or self._in_doubt
            self._tool, self._parameters = tool, parameters
            return self._outcome(StepStatus.FAILED, None, error)
        return self._outcome(StepStatus.OK, result, fallback=True)

    def _outcome(
        self, status: StepStatus, result: object, error: ErrorInfo | None = None, *, fallback: bool = False
    ) -> StepOutcome:
        job, inner = self._job, self._inner
        return StepOutcome(
            id=job.step.id,
            action=self._tool.name if self._tool is not None else job.step.action,
            status=status,
            attempts=self._attempts,
            fallback=fallback,
            parameters=self._parameters,
            result=result,
            error=error,
            in_doubt=self._in_doubt,
            ready=job.ready,
            started=self._started,
            ended=self._run.tick(),
            waits=job.waits or _NO_WAITS,
            steps=dict(inner.outcomes) if inner is not None else _NO_STEPS,
        )

    # ------------------------------------------------------------ attempts
    async def _several(self, inputs: Compiled) -> object:
        """Try until it succeeds or may not be tried again. A pause holds no slot."""
        job, allowed = self._job, self._job.retries
        while True:
            try:
                return await self._one(inputs)
            except TrouperError as error:
                if not 0 < self._attempts <= allowed or self._in_doubt or not may_retry(self._tool, error):
                    raise  # without an attempt it was the plan that was wrong, not the tool
                if self._inner is not None and not self._inner.repeatable():
                    raise
                pause = self._pause()
                if self._run.clock() + pause >= min(trio.current_effective_deadline(), self._log.root.deadline):
                    raise  # it would end in the middle of the pause: say what went wrong instead
                self._log.again(self._key)
                self._write_failure(error, pause)
                await self._run.pause(job, pause)

    def _pause(self) -> float:
        first = self._job.step.retry_backoff_s
        pause = (FIRST_PAUSE if first is None else first) * 2.0 ** min(self._attempts - 1, 30)
        spread = 1.0 + JITTER * self._run.place.random.random()
        return min(pause, LONGEST_PAUSE if first is None else max(first, LONGEST_PAUSE)) * spread

    async def _one(self, inputs: Compiled) -> object:
        """One attempt."""
        tool, run = self._tool, self._run
        if inputs is not self._resolved:
            resolved = inputs.resolve(self._results, lenient=self._job.step.lenient)
            if not isinstance(resolved, dict):
                raise StepError(f"the parameters of step {self._job.step.id} did not resolve to an object")
            self._parameters, self._resolved = resolved, inputs
            if self._log.root.resumed and hides_secret(resolved):
                raise StepError(
                    f"step {self._job.step.id} needs a secret, and the journal does not keep secrets: "
                    "the run cannot go on from here; start it again"
                )
        if tool is None:
            return await self._sub_plan()
        parameters = self._parameters or {}
        if not run.mine:
            await trio.sleep_forever()  # our cancellation is on its way: nothing may begin any more
        if tool.effect is Effect.ONCE and self._log.in_doubt:
            self._refuse_in_doubt(tool, parameters)
        if run.place.ledger is not None:
            run.place.ledger.spend("tool_calls")
        self._attempts += 1
        self._log.begin(
            self._key,
            attempt=self._attempts,
            action=tool.name,
            effect=tool.effect,
            parameters=parameters,
            at=self._started,
        )
        if run.place.scribe.active and not self._write_start(tool, parameters) and tool.effect is not Effect.PURE:
            await run.place.scribe.sync()
        limit = self._job.step.timeout_s if self._job.step.timeout_s is not None else tool.timeout
        try:
            if run.place.carries:
                with carry(budget=run.place.ledger):
                    return await self._guarded(tool, parameters, limit)
            if limit is None and tool.permission is None:  # no scope where no deadline is set
                return await tool.call(parameters, self._context(tool, math.inf), run.place.tool_place)
            return await self._guarded(tool, parameters, limit)
        except ToolDied:
            self._in_doubt = tool.effect is Effect.ONCE
            raise

    async def _guarded(self, tool: Tool, parameters: Mapping[str, object], limit: float | None) -> object:
        run, step = self._run, self._job.step
        with trio.move_on_after(math.inf if limit is None else limit) as scope:
            if tool.permission is not None and run.place.policy.decision(tool.permission) is not Decision.ALLOW:
                await run.place.policy.require(tool.permission, f"run {tool.name} (step {step.id})")
            result = await tool.call(parameters, self._context(tool, scope.deadline), run.place.tool_place)
            await trio.lowlevel.checkpoint_if_cancelled()  # one that swallowed its cancellation is late all the same
            return result
        self._in_doubt = tool.effect is Effect.ONCE
        raise StepTimeout(
            f"step {step.id} ({tool.name}) did not end within {limit:g} s. "
            "Give it a larger `timeout_s`, or see what it waits for."
        )

    def _refuse_in_doubt(self, tool: Tool, parameters: Mapping[str, object]) -> None:
        if any(action == tool.name and known == parameters for action, known in self._log.in_doubt):
            raise InDoubt(
                f"step {self._job.step.id} ({tool.name}) was not run: an earlier call with the same parameters was cut "
                "off, nobody knows whether it had its effect, and a second time could do it twice. Look, then decide."
            )

    # ------------------------------------------------------------ a sub-plan
    async def _sub_plan(self) -> object:
        try:
            return await self._sub_plan_in_time(self._job.step.timeout_s)
        except TrouperError:
            # It may have been cut off, and then its steps gave their slots back to nobody in particular. We hold none
            # ourselves, so nobody would be told by our own end either, let alone while we wait to try again.
            self._run.offer_slots()
            raise

    async def _sub_plan_in_time(self, limit: float | None) -> object:
        self._attempts += 1
        if limit is None:
            return await self._run_inner(self._log.child(self._key))
        with trio.move_on_after(limit):
            return await self._run_inner(self._log.child(self._key))
        inner = self._log.child(self._key)
        late = StepTimeout(f"the sub-plan of step {self._job.step.id} did not end within {limit:g} s")
        self._run.place.scribe.settled(inner, inner.settle_interrupted(ErrorInfo.of(late), once_only=False))
        inner.settle_unstarted("deadline")
        self._in_doubt = any(outcome.in_doubt for outcome in inner.outcomes.values())
        raise late

    async def _run_inner(self, inner: RunLog) -> object:
        """Run the sub-plan. Its steps take the slots: the step itself needs none meanwhile."""
        self._inner = inner
        self._run.release(self._job)
        return await self._run.run_inner(self._job, inner, self._results)

    # ------------------------------------------------------------ telling
    def _write_start(self, tool: Tool, parameters: Mapping[str, object]) -> bool:
        run, log = self._run, self._log
        return run.place.scribe.write(
            StepStarted(
                at=run.clock(),
                actor=run.place.scribe.name,
                run_id=log.run_id,
                step=self._job.step.id,
                action=tool.name,
                attempt=self._attempts,
                effect=tool.effect,
                parameters=parameters,
                item=self._item,
                inside=log.inside,
            )
        )

    def _write_failure(self, error: TrouperError, pause: float) -> None:
        run, log = self._run, self._log
        if run.place.scribe.active:
            run.place.scribe.write(
                AttemptFailed(
                    at=run.clock(),
                    actor=run.place.scribe.name,
                    run_id=log.run_id,
                    step=self._job.step.id,
                    attempt=self._attempts,
                    error=ErrorInfo.of(error),
                    pause=pause,
                    item=self._item,
                    inside=log.inside,
                )
            )

    # ------------------------------------------------------------ what the tool may know
    @property
    def run_id(self) -> str:
        """The run it is in."""
        return self._log.run_id

    @property
    def step_id(self) -> int:
        """The step it is."""
        return self._job.step.id

    def _context(self, tool: Tool, deadline: float) -> ToolContext:
        """The context; a tool that does not take one gets what names its step if it blocks the loop, and no more."""
        if not tool.wants_context:
            return cast("ToolContext", self)
        return ToolContext(
            run_id=self._log.run_id,
            step_id=self._job.step.id,
            attempt=self._attempts,
            idempotency_key=self._idempotency_key(),
            deadline=min(deadline, self._log.root.deadline),
            workspace=self._run.place.workspace,
            progress=self._progress_from(),
        )

    def _idempotency_key(self) -> str:
        """The plan's own key with its references resolved, else one that only this call of this run has.

        A later plan of the same run may use the number of a step that failed: the plan's generation tells them apart.
        """
        step, log = self._job.step, self._log
        template = step.templates.get("idempotency_key")
        if template is not None:
            key = str(template.resolve(self._results, lenient=step.lenient))
            # Each element is a call of its own: a key that names neither it nor its place gets the place added.
            return key if INDEX not in self._results or template.names_element else f"{key}:{self._results[INDEX]}"
        place = ".".join(map(str, (*log.inside, self._key)))
        again = f"@{self._run.generation}" if self._run.generation > 1 else ""
        return f"{log.run_id}:{place}{again}"

    def _progress_from(self) -> Callable[[str], None]:
        """What the tool calls to say how far it is: from its thread too, so through the loop's own queue."""
        token = trio.lowlevel.current_trio_token()
        return lambda text: token.run_sync_soon(self._tell_progress, text)

    def _tell_progress(self, text: str) -> None:
        scribe = self._run.place.scribe
        scribe.tell(
            StepProgress(at=self._run.clock(), actor=scribe.name, run_id=self.run_id, step=self.step_id, text=text)
        )


_NO_WAITS: Mapping[str, float] = {}
_NO_STEPS: Mapping[int, StepOutcome] = {}
