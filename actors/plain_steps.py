"""The plain steps of a plan, run one after another in one loop.

Most steps of most plans are plain (see `blueprint`), and what is done for each of them decides what a plan costs. So
it is all here in one function, without a call, a coroutine or an object that is not needed: no claim for a slot, which
is handed from step to step; no job; one look at the clock, at its end, which is the beginning of the next; no intent
in the log, unless the tool suspends, because until then nothing can come between the beginning and the end. With
nobody to be told, not even an outcome: the log makes it of a tuple when somebody asks.
`python -m tests.benchmarks.plans` shows what that is worth, beside the same plan by hand.

What does not go well leaves the loop: a step that fails ends as every other step does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from time import perf_counter
from typing import TYPE_CHECKING, cast

from trio.lowlevel import checkpoint, current_task

from trouper.runtime import Event, Record, StepError, TrouperError, maker

from .blueprint import Blueprint, Recipe
from .dispatch import Line
from .level import Level
from .outcome import ErrorInfo, StepOutcome, StepStatus
from .records import StepEnded, StepStarted
from .runlog import NOTHING, RunLog, outcome_of
from .tool import Effect, ToolContext
from .tool_drive import Suspended
from .verdicts import DECLARED, UNVERIFIABLE

if TYPE_CHECKING:
    from .plan_run import PlanRun

log: logging.Logger = logging.getLogger("trouper.executor")

STRETCH = 64
"""Steps that one task runs without letting others run, if they do not suspend."""
LONG = 0.002
"""Seconds, by trio's clock, after which it lets others run all the same."""

_started = maker(StepStarted, "at", "actor", "run_id", "step", "action", "attempt", "effect", "parameters", "inside")
_ended = maker(StepEnded, "at", "actor", "run_id", "outcome", "inside")
_OK, _PURE = StepStatus.OK, Effect.PURE


class _Named:
    """All that a tool without a context is named by, if it holds up the loop."""

    __slots__ = ("run_id", "step_id")

    def __init__(self, run_id: str, step_id: int) -> None:
        self.run_id = run_id
        self.step_id = step_id


class PlainSteps:
    """The plain steps of one run."""

    __slots__ = (
        "_around",
        "_blueprint",
        "_known",
        "_levels",
        "_line",
        "_log",
        "_order",
        "_ready_at",
        "_run",
        "_written",
    )

    def __init__(self, run: PlanRun, run_log: RunLog, blueprint: Blueprint, levels: list[Level]) -> None:
        self._run = run
        self._log = run_log
        self._blueprint = blueprint
        self._levels = levels
        self._line = line = Line(blueprint.in_order, self._granted)
        self._ready_at: list[float] = [0.0] * len(blueprint.in_order)
        self._known = frozenset(run_log.outcomes)  # from an earlier life of the executor
        # What `work` has at hand: it is begun for every level, and a chain has as many levels as steps.
        self._order = (
            blueprint.recipes,
            blueprint.in_order,
            run.ready.done_and_take,
            self._ready_at,
            self._known,
            line.heap,
            line.batch,
            run.dispatch.claims,
        )
        self._written = (
            run_log.results,
            run_log.verdicts,
            run_log.plainly,
            run_log.run_id,
            run_log.inside,
            run_log.began,
            run.place.scribe.name,
        )
        self._around = (run.clock, run.verdicts.beside, run.place.tool_place, run.place.tool_place.block_limit)
        run.dispatch.lines.append(self._line)

    def admit(self, steps: Iterable[int]) -> list[int]:
        """Let these steps, which are ready, stand in line; gives those that are not plain."""
        recipes, ready_at, now = self._blueprint.recipes, self._ready_at, self._run.now
        places: list[int] = []
        others: list[int] = []
        for step in steps:
            recipe = recipes[step]
            if recipe.plain and step not in self._known:
                ready_at[recipe.place] = now
                places.append(recipe.place)
            else:
                others.append(step)
        self._line.add(places)
        return others

    def close(self) -> None:
        """The run has ended, maybe in the middle."""
        self._run.dispatch.leave(self._line)

    def _granted(self, recipe: Recipe) -> None:
        self._levels[recipe.level].push(recipe)

    async def work(self, level: Level, recipe: Recipe) -> None:
        """Run a step that has its slot, and the plain ones that come into the queue of its level meanwhile.

        Cancelled: the step that was suspended is in the log as begun.
        """
        if not self._mine():
            return
        run, run_log, line, dispatch, levels = self._run, self._log, self._line, self._run.dispatch, self._levels
        recipes, in_order, done_and_take, ready_at, known, heap, batch, claims = self._order
        results, verdicts, plainly, run_id, inside, began, name = self._written
        clock, beside, tool_place, block_limit = self._around
        queue, number = level.queue, level.number
        named, scopes = _Named(run_id, recipe.id), current_task()._cancel_status
        ctx = cast("ToolContext", named)
        level.between = True
        try:
            keep, tell, told, say = self._channels()
            now, ticked = run.tick(), perf_counter()
            until, left, alone = now + LONG, STRETCH, len(dispatch.lines) == 1
            ended = going = 0  # since what the run and the level count was last brought up to date
            while True:
                named.step_id = step_id = recipe.id
                started, next_one = now, None
                parameters: dict[str, object] | None = None
                # ------------------------------------------------ the call
                try:
                    resolved = recipe.resolve(results)
                    if type(resolved) is not dict:
                        raise _no_object(step_id)
                    parameters = resolved
                    if told:
                        begin = _started(
                            began + started, name, run_id, step_id, recipe.action, 1, _PURE, parameters, inside
                        )
                        if keep is not None:
                            keep(begin)
                        if tell is not None:
                            tell(begin)
                    value: object = recipe.begin(parameters, ctx, tool_place, scopes)
                    ticked, before = perf_counter(), ticked
                    if ticked - before > block_limit:
                        tool_place.report_blocked(recipe.called, ctx, ticked - before)
                        left = 1
                    if type(value) is Suspended:
                        if ended:
                            self._count(level, ended, going)
                            ended = going = 0
                        self._begun(recipe, parameters, started)
                        level.between = False
                        for _ in range(min(2, len(queue)) - level.called):
                            level.call()
                        value = await recipe.go_on(value, ctx, tool_place)
                        if not self._mine():
                            return
                        level.between = True
                        keep, tell, told, say = self._channels()
                        until, left, alone = clock() - began + LONG, STRETCH, len(dispatch.lines) == 1
                        ticked = perf_counter()
                    now = clock() - began
                    if type(value) is recipe.sure:
                        fine = True
                        if not beside:
                            verdicts[step_id] = DECLARED
                    elif beside:
                        fine = True
                    else:
                        self._count(level, ended, going)
                        ended = going = 0
                        fine = self._fits(recipe, parameters, value, started)
                except TrouperError as error:
                    if not self._mine():
                        return
                    level.between = True
                    keep, tell, told, say = self._channels()
                    self._count(level, ended, going)
                    ended = going = 0
                    now = run.tick()
                    fine = False
                    self._failed(recipe, parameters, started, error)
                except BaseException:
                    self._begun(recipe, parameters, started)
                    raise
                if fine:
                    # -------------------------------------------- its end
                    if told or beside:
                        outcome = outcome_of(
                            step_id,
                            recipe.action,
                            _OK,
                            1,
                            parameters,
                            value,
                            ready_at[recipe.place],
                            started,
                            now,
                            NOTHING,
                            NOTHING,
                        )
                        if told:
                            end = _ended(began + now, name, run_id, outcome, inside)
                            if keep is not None:
                                keep(end)
                            if tell is not None:
                                tell(end)
                        run_log.outcomes[step_id] = outcome
                        if beside:
                            run.verdicts.behind(run.jobs[step_id], outcome)
                    else:
                        plainly.append(
                            (step_id, recipe.action, parameters, value, ready_at[recipe.place], started, now)
                        )
                    if say:
                        log.info("[EXECUTOR] Step %d (%s) ok", step_id, recipe.action)
                    results[step_id] = value
                    # -------------------------------------------- what that makes ready
                    taken = done_and_take(step_id)
                    ended += 1
                    going += len(taken) - 1
                    for one in taken:
                        following = recipes[one]
                        if following.plain and one not in known:
                            ready_at[following.place] = now
                            heappush(heap, following.place)
                        else:
                            self._count(level, 0, going)
                            going = 0
                            run.admit(one)
                    # -------------------------------------------- its slot, for whoever is next
                    if alone and not claims and (heap or batch):
                        if not batch or (heap and heap[0] < batch[-1]):
                            following = in_order[heappop(heap)]
                        else:
                            following = in_order[batch.pop()]
                        if following.level != number:
                            levels[following.level].push(following)
                        elif queue:
                            queue.append(following)
                        else:
                            next_one = following
                        if dispatch.free:
                            dispatch.grant()
                    else:
                        line.held -= 1
                        dispatch.free += 1
                        dispatch.grant()
                # ------------------------------------------------ the next one
                left -= 1
                if not left or now > until:
                    self._count(level, ended, going)
                    ended = going = 0
                    if next_one is not None or queue:
                        await checkpoint()
                        if not self._mine():
                            return
                        level.between = True
                        keep, tell, told, say = self._channels()
                        now, ticked = run.tick(), perf_counter()
                    until, left, alone = now + LONG, STRETCH, len(dispatch.lines) == 1
                if next_one is not None:
                    recipe = next_one
                elif queue and type(head := queue[0]) is Recipe:
                    recipe = head
                    queue.popleft()
                else:
                    self._count(level, ended, going)
                    return
        finally:
            level.between = False

    # ------------------------------------------------------------ what is not on the straight way
    def _mine(self) -> bool:
        """Nobody else has the run: asked whenever others have had a turn."""
        return self._run.mine

    def _count(self, level: Level, ended: int, going: int) -> None:
        """So many steps of this level have ended, and so many more go on: in the run and in the level."""
        run = self._run
        run.tick()
        run.going += going
        if ended:
            level.left -= ended
            run.left -= ended
            if not level.left:
                level.wake()
            if not run.left:
                run.wake()
            elif not run.going:
                run.stopped_going(0)

    def _channels(self) -> tuple[Callable[[Record], bool] | None, Callable[[Event], None] | None, bool, bool]:
        """What takes a record, whether anything does, and whether the log is read: till others have had a turn."""
        keep, tell = self._run.place.scribe.channels()
        return keep, tell, keep is not None or tell is not None, log.isEnabledFor(logging.INFO)

    def _begun(self, recipe: Recipe, parameters: Mapping[str, object] | None, started: float) -> None:
        """The intent, for a step that does not end in the turn in which it began."""
        if parameters is not None:
            self._log.begin(recipe.id, attempt=1, action=recipe.action, effect=_PURE, parameters=parameters, at=started)

    def _fits(self, recipe: Recipe, parameters: Mapping[str, object] | None, value: object, started: float) -> bool:
        """Without a verifier: whether the result is what the tool declares; if not the step has ended by this."""
        run = self._run
        if recipe.sure is None:
            self._log.verdicts[recipe.id] = UNVERIFIABLE
            return True
        outcome = outcome_of(
            recipe.id,
            recipe.action,
            _OK,
            1,
            parameters,
            value,
            self._ready_at[recipe.place],
            started,
            run.now,
            NOTHING,
            NOTHING,
        )
        judged = run.verdicts.declared(run.jobs[recipe.id], outcome)
        if judged.status is _OK:
            return True
        self._finish(recipe, judged)
        return False

    def _failed(
        self, recipe: Recipe, parameters: Mapping[str, object] | None, started: float, error: TrouperError
    ) -> None:
        """End a step that has failed, as every other step ends."""
        run = self._run
        outcome = StepOutcome(
            id=recipe.id,
            action=recipe.action,
            status=StepStatus.FAILED,
            attempts=0 if parameters is None else 1,
            parameters=parameters,
            error=ErrorInfo.of(error),
            ready=self._ready_at[recipe.place],
            started=started,
            ended=run.now,
        )
        self._finish(recipe, outcome)

    def _finish(self, recipe: Recipe, outcome: StepOutcome) -> None:
        self._line.held -= 1
        job = self._run.jobs[recipe.id]
        job.ready, job.holding = self._ready_at[recipe.place], True
        self._run.finish(job, outcome)


def _no_object(step: int) -> StepError:
    return StepError(f"the parameters of step {step} did not resolve to an object")
