"""A step with `for_each`: run once for each element, a bounded number at a time, each with a state of its own.

A few tasks take the elements one after another; each element waits for a slot like any step. With
`on_failure: fail` nothing new is begun after a failure, what runs ends, and the step has failed; with `continue` the
step succeeds with null where an element failed, unless all of them did. Elements that had ended before the executor
crashed are not run again.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import trio

from trouper.runtime import INDEX, ITEM, ForEach, TrouperError

from .doubts import happened
from .job import Job
from .outcome import ErrorInfo, StepOutcome, StepStatus
from .runlog import RunLog
from .step_run import StepRun

if TYPE_CHECKING:
    from .plan_run import PlanRun


class ItemRun:
    """The elements of one step. `run` gives the step's outcome and raises nothing but `Cancelled`."""

    def __init__(self, run: PlanRun, job: Job, each: ForEach, log: RunLog) -> None:
        self._run = run
        self._job = job
        self._each = each
        self._log = log.child(job.step.id)
        self._results: Mapping[int, object] = log.results
        self._started = run.now
        self._takers = 0

    async def run(self) -> StepOutcome:
        """Run every element that has not ended. Cancelled: their tools are cancelled."""
        try:
            items = self._each.elements(self._results, lenient=self._job.step.lenient)
        except TrouperError as error:
            return self._outcome(StepStatus.FAILED, None, ErrorInfo.of(error))
        for n, said in tuple(self._log.decisions.items()):
            if said.ok:
                self._end(n, happened(self._log, n, said, now=self._run.now))
            else:
                self._log.undoubt(n)
        todo = iter([n for n in range(len(items)) if n not in self._log.outcomes])
        most = self._each.max_parallel or self._run.dispatch.slots
        self._takers = min(most, len(items))
        # One of them takes the place of this step among what goes on, and the last hands it back.
        self._run.going += max(self._takers - 1, 0)
        self._run.release(self._job)
        async with trio.open_nursery() as nursery:
            for _ in range(self._takers):
                nursery.start_soon(self._take, todo, items)
        if not self._run.mine:
            await trio.sleep_forever()  # our cancellation is on its way
        for n in todo:  # begun by nobody, after a failure
            self._end(n, StepOutcome(id=self._id, action=self._action, status=StepStatus.SKIPPED, reason="sibling"))
        return self._ended(len(items))

    async def _take(self, todo: Iterator[int], items: list[object]) -> None:
        """Run elements until none is left, or one has failed and that ends it."""
        job = self._job.again()
        try:
            while not self._broken() and (n := next(todo, None)) is not None:
                await self._run.slot(job)
                results = ChainMap({ITEM: items[n], INDEX: n}, self._results)  # type: ignore[arg-type]  # read only
                job.waits = None
                outcome = await StepRun(self._run, job, self._log, results, item=n).run()
                if not self._run.mine:
                    return
                self._end(n, outcome)
                self._run.release(job)
        finally:
            if job.holding:  # cut off in the middle: nothing is started for it, the slot is only not lost
                job.holding = False
                self._run.dispatch.release(job.caps)
        self._takers -= 1
        if self._takers:
            self._run.stopped_going()

    def _end(self, n: int, outcome: StepOutcome) -> None:
        self._run.telling.ended(outcome, self._log, item=n)
        self._log.end(outcome, n)

    def _broken(self) -> bool:
        if self._each.on_failure == "continue":
            return False
        return any(outcome.status is StepStatus.FAILED for outcome in self._log.outcomes.values())

    def _ended(self, count: int) -> StepOutcome:
        items = tuple(self._log.outcomes[n] for n in range(count))
        failed = [(n, item) for n, item in enumerate(items) if item.status is not StepStatus.OK]
        results = [item.result if item.status is StepStatus.OK else None for item in items]
        if not failed or (self._each.on_failure == "continue" and len(failed) < count):
            return self._outcome(StepStatus.OK, results, None, items)
        first = next(((n, item.error) for n, item in failed if item.error is not None), (0, None))
        kind = first[1].kind if first[1] is not None else "for_each"
        told = first[1].message if first[1] is not None else "it was not run"
        error = ErrorInfo(
            kind, f"{len(failed)} of {count} elements did not succeed; the first, number {first[0]}: {told}"
        )
        return self._outcome(StepStatus.FAILED, None, error, items)

    def _outcome(
        self, status: StepStatus, result: object, error: ErrorInfo | None, items: tuple[StepOutcome, ...] = ()
    ) -> StepOutcome:
        return StepOutcome(
            id=self._id,
            action=self._action,
            status=status,
            attempts=sum(item.attempts for item in items),
            fallback=any(item.fallback for item in items),
            result=result,
            error=error,
            in_doubt=any(item.in_doubt for item in items),
            ready=self._job.ready,
            started=self._started,
            ended=self._run.tick(),
            waits=self._job.waits or {},
            items=items,
        )

    @property
    def _id(self) -> int:
        return self._job.step.id

    @property
    def _action(self) -> str:
        return self._job.step.action
