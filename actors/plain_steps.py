"""The plain steps of one run: where they wait, who runs them, and whatever is not on their straight way.

A plain step (see `blueprint`) that has its slot is put into a queue, and one task runs what comes into it, in the loop
of `plain_loop`. The levels of the plan do not matter as long as nothing suspends: nobody can see or cancel a step that
begins and ends in one turn of the scheduler. So the loop goes from level to level. Its task has a nursery which is
nobody's yet; when a step suspends, task and nursery become those of the step's level (`Level.adopt`), and whatever else
is ready goes on elsewhere: steps of a level that has a nursery in this, all others in a task of their own.

What does not go well leaves the loop: a step that fails ends as every other step does.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import trio
from trio._core._run import SystemClock
from trio.lowlevel import current_clock

from trouper.runtime import Event, Record, StepError, TrouperError

from .blueprint import Blueprint, Recipe
from .dispatch import Line
from .job import Job
from .level import Level
from .outcome import DECLARED, ErrorInfo, StepOutcome, StepStatus
from .outcomes import NOTHING, outcome_of
from .plain_front import run_front
from .plain_loop import run_plain
from .runlog import RunLog
from .tool import Effect
from .tool_data import is_flat
from .verdicts import UNVERIFIABLE

if TYPE_CHECKING:
    from .plan_run import PlanRun

log: logging.Logger = logging.getLogger("trouper.executor")


class _Nothing(dict[int, Any]):
    """Nothing is found here: a verifier may take results back, and then they must not be found elsewhere."""

    def __setitem__(self, step: int, value: object) -> None:
        pass


class PlainSteps:
    """The plain steps of one run. `queue` has those that have a slot and whose level has no nursery."""

    __slots__ = (
        "_called",
        "between",
        "blueprint",
        "flat",
        "levels",
        "line",
        "log",
        "offset",
        "others",
        "queue",
        "ready_at",
        "run",
    )

    def __init__(self, run: PlanRun, run_log: RunLog, blueprint: Blueprint, levels: list[Level]) -> None:
        self.run: PlanRun = run
        self.log: RunLog = run_log
        self.blueprint: Blueprint = blueprint
        self.levels: Sequence[Level] = levels
        self.queue: deque[Job | Recipe] = deque()
        self.between: bool = False
        """A task will look at the queue itself."""
        self._called = False
        only_ours = not run_log.results and not blueprint.others
        self.flat: dict[int, Any] = run_log.results if only_ours else _Nothing() if run.verdicts.beside else {}
        """Where flat results are found: among all of them, as long as all are ours and flat."""
        clock = current_clock()
        self.offset: float | None = clock.offset if type(clock) is SystemClock else None
        """From `perf_counter` to trio's own clock, which adds just this; None for a virtual one, which is asked."""
        self.line: Line = Line(blueprint.in_order, self._granted)
        self.ready_at: list[float] = [0.0] * len(blueprint.in_order)
        self.others: frozenset[int] = blueprint.others.union(run_log.outcomes)
        """Steps that are not plain, and those that have ended, without success, in an earlier life of the executor."""
        run.dispatch.lines.append(self.line)

    def admit(self, steps: Iterable[int]) -> list[int]:
        """Let these steps, which are ready, stand in line; gives those that are not plain."""
        recipes, ready_at, now = self.blueprint.recipes, self.ready_at, self.run.now
        places: list[int] = []
        others: list[int] = []
        for step in steps:
            if step in self.others:
                others.append(step)
            else:
                recipe = recipes[step]
                ready_at[recipe.index] = now
                places.append(recipe.place)
        self.line.add(places)
        return others

    def close(self) -> None:
        """The run has ended, maybe in the middle."""
        self.run.dispatch.leave(self.line)

    def _granted(self, recipe: Recipe) -> None:
        """A step has a slot."""
        level = self.levels[recipe.level]
        if level.opened:
            level.push(recipe)
            return
        self.queue.append(recipe)
        self.line.busy = True
        if not self.between and not self._called:
            self._called = True
            self.run.start(self._pass)

    async def _pass(self) -> None:
        """Run the steps of the queue, of whatever level; from the first that suspends on those of its level."""
        self._called = False
        if self.between or not self.queue:
            return
        async with trio.open_nursery() as nursery:
            recipe, halfway = cast("Recipe", self.queue.popleft()), None
            if self._at_the_beginning:
                halfway = await run_front(self)
                if halfway is None:
                    return
                recipe = halfway.recipe
            level = await run_plain(self, None, recipe, nursery, halfway)
            if level is not None:
                try:
                    await level.lead_on()
                finally:
                    level.close()

    @property
    def _at_the_beginning(self) -> bool:
        """Nothing of the plan has been run, all of it is plain, and nobody else wants the slots."""
        run, count = self.run, len(self.blueprint.in_order)
        return not self.others and run.left == count and run.outer is None and not run.verdicts.beside

    def work(self, level: Level, recipe: Recipe) -> Awaitable[object]:
        """Run a step of a level that has a nursery, and the plain ones that come into its queue meanwhile."""
        return run_plain(self, level, recipe)

    def another(self) -> Recipe | None:
        """The next step of the queue; if that is empty, the slots are handed out first."""
        if not self.queue:
            self.line.busy = False
            self.run.dispatch.grant()
        return cast("Recipe", self.queue.popleft()) if self.queue else None

    def hand_on(self) -> None:
        """The task of the queue has a level of its own from now on: let others run what else has, or gets, a slot."""
        waiting = tuple(self.queue)
        self.queue.clear()
        self.between = self.line.busy = False
        for recipe in waiting:
            self._granted(cast("Recipe", recipe))
        self.run.dispatch.grant()

    # ------------------------------------------------------------ what is not on the straight way
    def mine(self) -> bool:
        """Nobody else has the run: asked whenever others have had a turn."""
        return self.run.mine

    def resolved(self, recipe: Recipe) -> dict[str, object]:
        """What the tool is called with, the slow way."""
        resolved = recipe.step.inputs.resolve(self.log.results)
        if type(resolved) is not dict:
            raise StepError(f"the parameters of step {recipe.id} did not resolve to an object")
        return cast("dict[str, object]", resolved)

    def flat_with(self, step: int, value: object) -> dict[int, Any]:
        """Where flat results are found, with this one if it is flat: all of them are, until the first that is not."""
        flat, results = self.flat, self.log.results
        if not is_flat(value):
            if flat is results:
                flat = self.flat = _Nothing() if self.run.verdicts.beside else results.copy()
        elif flat is not results:
            flat[step] = value
        return flat

    def count(self, level: Level, gone: int, ended: int, going: int) -> None:
        """So many steps of the level and of the run have ended, and so many more go on."""
        run = self.run
        run.tick()
        run.going += going
        if gone:
            level.left -= gone
            if not level.left:
                level.wake()
        if ended:
            run.left -= ended
            if not run.left:
                run.wake()
            elif not run.going:
                run.stopped_going(0)

    def channels(self) -> tuple[Callable[[Record], bool] | None, Callable[[Event], None] | None, bool, bool]:
        """What takes a record, whether anything does, and whether the log is read: till others have had a turn."""
        keep, tell = self.run.place.scribe.channels()
        return keep, tell, keep is not None or tell is not None, log.isEnabledFor(logging.INFO)

    def begun(self, recipe: Recipe, parameters: Mapping[str, object] | None, started: float) -> None:
        """The intent, for a step that does not end in the turn in which it began."""
        if parameters is not None:
            self.log.begin(
                recipe.id, attempt=1, action=recipe.action, effect=Effect.PURE, parameters=parameters, at=started
            )

    def fits(self, recipe: Recipe, parameters: Mapping[str, object] | None, value: object, started: float) -> bool:
        """Whether the result is what the tool declares; if not the step has ended by this."""
        run = self.run
        if recipe.sure is None or type(value) is recipe.sure:
            if not run.verdicts.beside:
                self.log.verdicts[recipe.id] = UNVERIFIABLE if recipe.sure is None else DECLARED
            return True
        outcome = outcome_of(
            recipe.id,
            recipe.action,
            StepStatus.OK,
            1,
            parameters,
            value,
            self.ready_at[recipe.index],
            started,
            run.now,
            NOTHING,
            NOTHING,
        )
        judged = run.verdicts.declared(run.jobs[recipe.id], outcome)
        if judged.status is StepStatus.OK:
            return True
        self._finish(recipe, judged)
        return False

    def failed(
        self, recipe: Recipe, parameters: Mapping[str, object] | None, started: float, error: TrouperError
    ) -> None:
        """End a step that has failed, as every other step ends."""
        run = self.run
        outcome = run.verdicts.lost(recipe.step) if parameters is None else None
        outcome = outcome or StepOutcome(
            id=recipe.id,
            action=recipe.action,
            status=StepStatus.FAILED,
            attempts=0 if parameters is None else 1,
            parameters=parameters,
            error=ErrorInfo.of(error),
            ready=self.ready_at[recipe.index],
            started=started,
            ended=run.now,
        )
        self._finish(recipe, outcome)

    def _finish(self, recipe: Recipe, outcome: StepOutcome) -> None:
        self.line.held -= 1
        job = self.run.jobs[recipe.id]
        job.ready, job.holding = self.ready_at[recipe.index], True
        self.run.finish(job, outcome)
