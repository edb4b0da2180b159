"""Undoing what a failed run has done: the sagas of the steps that say how.

Of the steps that finished and had an effect (KEYED or ONCE), those with a `compensate` are undone one after another,
latest first. One that cannot be undone does not keep the others from being undone; what became of each is in its
outcome. A step whose effect is in doubt is not undone: nobody knows whether there is anything to undo.
"""

from __future__ import annotations

import logging
import math
from collections import ChainMap
from collections.abc import Iterator, Mapping

import attrs
import trio

from trouper.runtime import INDEX, ITEM, Compensation, Step, StepError, StepTimeout, TrouperError

from .outcome import ErrorInfo, StepOutcome, StepStatus
from .records import Compensated
from .run_place import RunPlace
from .runlog import RunLog, was_refuted
from .tool import Effect, Tool, ToolContext

log: logging.Logger = logging.getLogger("trouper.executor")


@attrs.frozen(kw_only=True)
class _Done:
    """One thing to undo: a step, or one element of it."""

    step: Step
    call: Compensation
    outcome: StepOutcome
    log: RunLog
    key: int
    results: Mapping[int, object]
    given_up: int | None = None
    """With which plan the step itself was given up, counted from 1."""

    @property
    def given_up_with(self) -> int | None:
        """The same, of the step or of the one that it is inside of."""
        return self.log.given_up_with if self.given_up is None else self.given_up


class Undoing:
    """The compensations of one run."""

    def __init__(self, run_log: RunLog, place: RunPlace) -> None:
        self._log = run_log
        self._place = place

    async def run(self) -> None:
        """Undo everything, latest first. Cancelled: the log says what was undone, what was cut off, what not begun."""
        todo = sorted(self._all(self._log), key=lambda done: done.outcome.ended or 0.0)
        try:
            while todo:
                outcome = await self._undo(todo[-1])
                self._write(todo.pop(), outcome)
        except trio.Cancelled:
            self._cut_off(todo)
            raise

    def _cut_off(self, todo: list[_Done]) -> None:
        why = ErrorInfo("deadline", "undoing was cut off; raise `run.compensation_timeout`")
        for place, done in enumerate(reversed(todo)):
            tool = self._place.tools[done.call.action]
            in_hand = place == 0
            status = StepStatus.FAILED if in_hand else StepStatus.SKIPPED
            self._write(
                done,
                StepOutcome(
                    id=done.step.id,
                    action=tool.name,
                    status=status,
                    attempts=int(in_hand),
                    error=why,
                    reason=None if in_hand else "deadline",
                    in_doubt=in_hand and tool.effect is Effect.ONCE,
                    ended=self._log.now(),
                ),
            )

    def _write(self, done: _Done, outcome: StepOutcome) -> None:
        scribe = self._place.scribe
        scribe.write(
            Compensated(
                at=self._log.began + self._log.now(),
                actor=scribe.name,
                run_id=self._log.run_id,
                step=done.step.id,
                outcome=outcome,
                item=None if done.key == done.step.id else done.key,
                inside=done.log.inside,
                given_up=done.given_up_with,
            )
        )
        done.log.compensated(done.key, outcome, done.given_up)

    def _all(self, run_log: RunLog) -> Iterator[_Done]:
        """What is to be undone, in this run and inside its steps, also inside those that have failed."""
        plans = [replan.plan for replan in run_log.replans] + ([run_log.plan] if run_log.plan is not None else [])
        finished = dict(run_log.finished())
        for step in {step.id: step for plan in plans for step in plan.steps}.values():
            yield from self._of(run_log, step, finished.get(step.id), run_log.child(step.id))
        for number, replan in enumerate(run_log.replans, 1):
            for step in replan.plan.steps:
                if step.id in replan.failed:
                    outcome, inside = replan.failed[step.id], run_log.former(number, step.id)
                    yield from self._of(run_log, step, outcome if was_refuted(outcome) else None, inside, number)

    def _of(
        self,
        run_log: RunLog,
        step: Step,
        outcome: StepOutcome | None,
        inside: RunLog | None,
        given_up: int | None = None,
    ) -> Iterator[_Done]:
        """What is to be undone of one step; `outcome` if it has done its work itself."""
        if inside is not None and step.for_each is not None:
            yield from self._items(inside, step, run_log.results)
        elif inside is not None and step.plan is not None:
            yield from self._all(inside)
        if outcome is None or step.compensate is None or step.for_each is not None or not self._had_effect(outcome):
            return
        yield _Done(
            step=step,
            call=step.compensate,
            outcome=outcome,
            log=run_log,
            key=step.id,
            results={**run_log.results, step.id: outcome.result},
            given_up=given_up,
        )

    def _items(self, items: RunLog, step: Step, results: Mapping[int, object]) -> Iterator[_Done]:
        finished = dict(items.finished())
        for n in items.touched():
            if step.plan is not None:
                yield from self._all(items.child(n))
            outcome = finished.get(n)
            if outcome is not None and step.compensate is not None and self._had_effect(outcome):
                assert step.for_each is not None  # noqa: S101 - these are its elements
                element = step.for_each.elements(results, lenient=True)[n]
                seen: Mapping[int, object] = ChainMap(
                    {ITEM: element, INDEX: n, step.id: outcome.result},
                    results,  # type: ignore[arg-type]  # read only
                )
                yield _Done(step=step, call=step.compensate, outcome=outcome, log=items, key=n, results=seen)

    def _had_effect(self, outcome: StepOutcome) -> bool:
        tool = self._place.tools.get(outcome.action)
        return tool is None or tool.effect is not Effect.PURE  # a sub-plan may have had any

    async def _undo(self, done: _Done) -> StepOutcome:
        call, step = done.call, done.step
        tool = self._place.tools[call.action]
        started = self._log.now()
        parameters: Mapping[str, object] = {}
        error: ErrorInfo | None = None
        result: object = None
        try:
            resolved = call.inputs.resolve(done.results, lenient=True)
            if not isinstance(resolved, dict):
                raise StepError(f"the parameters of `compensate` of step {step.id} did not resolve to an object")
            parameters = resolved
            await self._place.policy.require(tool.permission, f"run {tool.name} (undoing step {step.id})")
            result = await self._call(tool, parameters, self._context(done))
        except TrouperError as failed:
            error = ErrorInfo.of(failed)
            log.warning("[EXECUTOR] step %d could not be undone by %s: %s", step.id, tool.name, failed)
        return StepOutcome(
            id=step.id,
            action=tool.name,
            status=StepStatus.OK if error is None else StepStatus.FAILED,
            attempts=1,
            parameters=parameters,
            result=result,
            error=error,
            started=started,
            ended=self._log.now(),
        )

    async def _call(self, tool: Tool, parameters: Mapping[str, object], ctx: ToolContext) -> object:
        with trio.move_on_after(math.inf if tool.timeout is None else tool.timeout):
            return await tool.call(parameters, ctx, self._place.tool_place)
        raise StepTimeout(f"undoing step {ctx.step_id} with {tool.name} did not end within {tool.timeout:g} s")

    def _context(self, done: _Done) -> ToolContext:
        place = ".".join(map(str, (*done.log.inside, done.key)))
        again = "" if done.given_up_with is None else f"@{done.given_up_with}"  # a later step may have its number
        return ToolContext(
            run_id=self._log.run_id,
            step_id=done.step.id,
            idempotency_key=f"{self._log.run_id}:{place}:undo{again}",
            workspace=self._place.workspace,
        )
