"""One step: its attempts under its own deadline, then its fallback.

What may be repeated is the tool's word, not the plan's: PURE and KEYED tools are retried, a ONCE tool only after it has
said itself that nothing happened (`ToolError(effect=False)`). A ONCE tool that was cut off leaves its step in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import trio

from trouper.runtime import ActionCall, Step, StepError, StepTimeout, ToolError, TrouperError, UnknownField

from .messages import StepProgress
from .outcome import ErrorInfo, StepOutcome, StepStatus
from .runlog import RunLog
from .tool import Effect, Tool, ToolContext

if TYPE_CHECKING:
    from .plan_run import RunPlace

OnStart = Callable[[Step, str, int], None]


class _Failed(Exception):
    """An attempt, or a whole call, has failed with `error`."""

    def __init__(self, error: TrouperError, *, in_doubt: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.in_doubt = in_doubt


def may_retry(tool: Tool, error: TrouperError) -> bool:
    """Whether trying again cannot do an effect twice, and could help."""
    if isinstance(error, ToolError):
        if not error.retry_possible:
            return False
        if tool.effect is Effect.ONCE:
            return error.effect is False
        return True
    return tool.effect is not Effect.ONCE


class StepRun:
    """One step of one run. `run` gives the outcome and raises nothing but `Cancelled`."""

    def __init__(self, step: Step, run_log: RunLog, place: RunPlace, on_start: OnStart) -> None:
        self._step = step
        self._log = run_log
        self._place = place
        self._on_start = on_start
        self._attempts = 0
        self._parameters: Mapping[str, object] | None = None

    async def run(self) -> StepOutcome:
        """Every attempt, then the fallback if there is one. Cancelled: the tool is cancelled with it."""
        step, started = self._step, self._log.now()
        action, used_fallback, in_doubt = step.action, False, False
        try:
            result = await self._call(step, step.max_retries)
        except _Failed as failed:
            if step.fallback is None:
                return self._outcome(started, action, failed)
            action, used_fallback, in_doubt = step.fallback.action, True, failed.in_doubt
            try:
                result = await self._call(step.fallback, 0)
            except _Failed as second:
                return self._outcome(started, action, second, first=failed)
        return StepOutcome(
            id=step.id,
            action=action,
            status=StepStatus.OK,
            attempts=self._attempts,
            fallback=used_fallback,
            parameters=self._parameters,
            result=result,
            in_doubt=in_doubt,
            started=started,
            ended=self._log.now(),
        )

    def _outcome(self, started: float, action: str, failed: _Failed, first: _Failed | None = None) -> StepOutcome:
        error = ErrorInfo.of(failed.error)
        if first is not None:
            error = ErrorInfo(error.kind, f"{first.error}; then the fallback {action!r} failed: {error.message}")
        return StepOutcome(
            id=self._step.id,
            action=self._step.action,
            status=StepStatus.FAILED,
            attempts=self._attempts,
            parameters=self._parameters,
            error=error,
            in_doubt=failed.in_doubt or (first is not None and first.in_doubt),
            started=started,
            ended=self._log.now(),
        )

    async def _call(self, call: Step | ActionCall, retries: int | None) -> object:
        """Call one tool until it succeeds or may not be tried again."""
        tool = self._place.tools[call.action]
        self._parameters = self._resolved(call)
        allowed = retries if retries is not None else tool.retries
        pause = self._step.retry_backoff_s or 0.0
        tried = 0
        while True:
            tried += 1
            try:
                return await self._attempt(tool)
            except _Failed as failed:
                if tried > allowed or not may_retry(tool, failed.error):
                    raise
                await trio.sleep(pause * 2.0 ** min(tried - 1, 30))

    def _resolved(self, call: Step | ActionCall) -> Mapping[str, object]:
        try:
            resolved = call.inputs.resolve(self._log.results)
        except UnknownField as error:
            raise _Failed(error) from error
        if not isinstance(resolved, dict):
            raise _Failed(StepError(f"the parameters of step {self._step.id} did not resolve to an object"))
        return resolved

    async def _attempt(self, tool: Tool) -> object:
        self._attempts += 1
        parameters = self._parameters or {}
        self._log.begin(
            self._step.id, attempt=self._attempts, action=tool.name, effect=tool.effect, parameters=parameters
        )
        self._on_start(self._step, tool.name, self._attempts)
        limit = self._step.timeout_s if self._step.timeout_s is not None else tool.timeout
        if limit is None:  # no scope where no deadline is set
            return await self._guarded(tool, parameters, math.inf)
        with trio.move_on_after(limit) as scope:
            result = await self._guarded(tool, parameters, scope.deadline)
            await trio.lowlevel.checkpoint_if_cancelled()  # a tool that swallowed its cancellation is late all the same
            return result
        late = StepTimeout(
            f"step {self._step.id} ({tool.name}) did not end within {limit:g} s. "
            "Give it a larger `timeout_s`, or see what it waits for."
        )
        raise _Failed(late, in_doubt=tool.effect is Effect.ONCE)

    async def _guarded(self, tool: Tool, parameters: Mapping[str, object], deadline: float) -> object:
        try:
            await self._place.policy.require(tool.permission, f"run {tool.name} (step {self._step.id})")
            return await tool.call(parameters, self._context(deadline))
        except TrouperError as error:
            raise _Failed(error) from error

    def _context(self, deadline: float) -> ToolContext:
        step, run_id = self._step, self._log.run_id
        return ToolContext(
            run_id=run_id,
            step_id=step.id,
            attempt=self._attempts,
            idempotency_key=self._key(),
            deadline=deadline,
            workspace=self._place.workspace,
            progress=self._progress_from(),
        )

    def _key(self) -> str:
        """The plan's own key with its references resolved, else one that only this step of this run has."""
        template = self._step.templates.get("idempotency_key")
        if template is None:
            return f"{self._log.run_id}:{self._step.id}"
        return str(template.resolve(self._log.results))

    def _progress_from(self) -> Callable[[str], None]:
        """What the tool calls to say how far it is: from its thread too, so through the loop's own queue."""
        token = trio.lowlevel.current_trio_token()
        return lambda text: token.run_sync_soon(self._tell_progress, text)

    def _tell_progress(self, text: str) -> None:
        ctx = self._place.ctx
        if ctx.listening:
            ctx.emit(
                StepProgress(
                    at=trio.current_time(), actor=ctx.name, run_id=self._log.run_id, step=self._step.id, text=text
                )
            )
