"""The loop that runs plain steps, one after another.

Most steps of most plans are plain (see `blueprint`), and what is done for each of them decides what a plan costs. So
it is all here in one function, without a call, a coroutine or an object that is not needed: no claim for a slot, which
is handed from step to step; no job; one look at the clock, at its end, which is the beginning of the next; no intent
in the log, unless the tool suspends, because until then nothing can come between the beginning and the end; references,
the tool and its result each in one call of a function that was made for them, and all three in one where nobody is told
of it. Then not even the parameters are kept: the log works them out when somebody asks.
`python -m tests.benchmarks.plans` shows what that is worth, beside the same plan by hand.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from heapq import heappop, heappush
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, cast

import trio
from trio.lowlevel import checkpoint, current_task

from trouper.runtime import DONE, PENDING, RUNNING, StepError, TrouperError, maker

from .blueprint import Recipe
from .level import Level
from .outcome import StepStatus
from .outcomes import NOTHING, outcome_of
from .records import StepEnded, StepStarted
from .tool import Effect, ToolContext
from .tool_drive import Suspended
from .tool_quick import Deep

if TYPE_CHECKING:
    from .plain_steps import PlainSteps

log: logging.Logger = logging.getLogger("trouper.executor")

STRETCH = 64
"""Steps that one task runs without letting others run, if they do not suspend."""
LONG = 0.002
"""Seconds, by trio's clock, after which it lets others run all the same."""

step_started: Callable[..., StepStarted] = maker(
    StepStarted, "at", "actor", "run_id", "step", "action", "attempt", "effect", "parameters", "inside"
)
step_ended: Callable[..., StepEnded] = maker(StepEnded, "at", "actor", "run_id", "outcome", "inside")
OK, PURE = StepStatus.OK, Effect.PURE

LATER: dict[str, object] = {}
"""In the place of parameters that can be worked out when somebody asks: nobody is told of them."""


_REFUTED = "a step that it needs was refuted"


class Halfway(NamedTuple):
    """A step that was begun elsewhere: how far it has come."""

    recipe: Recipe
    started: float
    parameters: dict[str, object] | None
    value: object
    """What the beginning of its call gave."""
    error: TrouperError | None
    """Or what it failed with."""


class Named:
    """All that a tool without a context is named by, if it holds up the loop."""

    __slots__ = ("run_id", "step_id")

    def __init__(self, run_id: str, step_id: int) -> None:
        self.run_id: str = run_id
        self.step_id: int = step_id


async def run_plain(
    steps: PlainSteps,
    own: Level | None,
    recipe: Recipe,
    nursery: trio.Nursery | None = None,
    halfway: Halfway | None = None,
) -> Level | None:
    """Run a plain step that has its slot, and those after it: of its `own` level, or of any that has no nursery.

    `nursery` is the one that the task has for the level of the first step that suspends; gives this level. With
    `halfway` the first step has been begun.
    Cancelled: the step that was suspended is in the log as begun.
    """
    if not steps.mine():
        return None
    run, run_log, line, dispatch, levels = steps.run, steps.log, steps.line, steps.run.dispatch, steps.levels
    in_order, by_index, place_of = steps.blueprint.in_order, steps.blueprint.by_index, steps.blueprint.place_of
    ready_at, others = steps.ready_at, steps.others
    heap, batch, claims = line.heap, line.batch, dispatch.claims
    _, feeds, members, waits_for, states = run.ready.counters()
    results, declared, by_step = run_log.results, run_log.declared, run_log.outcomes.by_step
    run_id, inside, name = run_log.run_id, run_log.inside, run.place.scribe.name
    clock, began, beside, tool_place = run.clock, run_log.began, run.verdicts.beside, run.place.tool_place
    block_limit, soon = tool_place.block_limit, min(LONG, tool_place.block_limit)
    refuted = run.verdicts.refuted
    shift = None if steps.offset is None else steps.offset - began
    named, scopes = Named(run_id, recipe.id), current_task()._cancel_status
    ctx = cast("ToolContext", named)
    adopted: Level | None = None
    asleep = -1  # the step that has suspended: its intent is in the log
    place: Level | PlainSteps = own or steps
    level, number, queue = levels[recipe.level], -1, place.queue
    place.between = True
    try:
        keep, tell, told, say = steps.channels()
        quickly = not told and not beside
        flat, now = steps.flat, run.tick()
        ticked = perf_counter()
        long, left, alone = now + LONG, STRETCH, len(dispatch.lines) == 1
        until = ticked + soon
        gone = ended = going = 0  # since what the level and the run count was last brought up to date
        while True:
            if recipe.level != number:
                level.left -= gone
                level, number, gone = levels[recipe.level], recipe.level, 0
                if own is None:
                    if level.opened:  # by a step of it that is not plain
                        level.push(recipe)
                        another, number = steps.another(), -1
                        if another is None:
                            steps.count(level, 0, ended, going)
                            return None
                        recipe = another
                        continue
                    if not level.begun:
                        run.telling.begun(level)
            step_id, alike = recipe.id, recipe.alike
            started, next_one = now, None
            # ------------------------------------------------ the call
            try:
                value: object = None
                parameters: dict[str, object] | None = LATER
                if refuted and run.verdicts.lost(recipe.step) is not None:
                    parameters = None
                    raise StepError(_REFUTED)
                if halfway is not None:
                    _, started, parameters, value, error = halfway
                    halfway = None
                    if error is not None:
                        raise error
                elif quickly and alike.call is not None:
                    try:
                        value = alike.call(flat, recipe.own, scopes)
                    except KeyError:
                        value = None
                if value is None:
                    parameters = None
                    try:
                        parameters = alike.fill(flat, recipe.own) if alike.fill is not None else steps.resolved(recipe)
                    except KeyError:
                        parameters = steps.resolved(recipe)
                    if told:
                        begin = step_started(
                            began + started, name, run_id, step_id, recipe.action, 1, PURE, parameters, inside
                        )
                        if keep is not None:
                            keep(begin)
                        if tell is not None:
                            tell(begin)
                    value = recipe.quick.begin(parameters, ctx, scopes)
                before, ticked = ticked, perf_counter()
                now = shift + ticked if shift is not None else clock() - began
                if ticked > until:
                    if ticked - before > block_limit:
                        named.step_id = step_id
                        tool_place.report_blocked(recipe.called, ctx, ticked - before)
                        left = 1
                    elif now > long:
                        left = 1
                if type(value) is recipe.sure:  # a dict then: whatever is no flat dict comes as something else
                    if flat is not results:
                        flat[step_id] = value
                    if not beside:
                        declared.append(step_id)
                    fine = True
                else:
                    steps.count(level, gone, ended, going)
                    gone = ended = going = 0
                    if parameters is LATER:
                        parameters = steps.resolved(recipe)
                    if isinstance(value, Suspended):
                        named.step_id = step_id
                        steps.begun(recipe, parameters, started)
                        asleep = step_id
                        place.between = False
                        if own is None:
                            assert nursery is not None  # noqa: S101 - whoever has no level has one
                            level.adopt(nursery)
                            own = adopted = place = level
                            queue = level.queue
                            steps.hand_on()
                        for _ in range(min(2, len(queue)) - level.called):
                            level.call()
                        value = await recipe.called.go_on(value, ctx, tool_place)
                        if not steps.mine():
                            return adopted
                        place.between = True
                        keep, tell, told, say = steps.channels()
                        quickly = not told and not beside
                        now = run.tick()
                        ticked = perf_counter()
                        long, left, alone = now + LONG, STRETCH, len(dispatch.lines) == 1
                        until = ticked + soon
                    elif type(value) is Deep:
                        value = value.value
                    flat = steps.flat_with(step_id, value)
                    fine = steps.fits(recipe, parameters, value, started)
                    if own is None:
                        number = -1
            except TrouperError as error:
                if not steps.mine():
                    return adopted
                place.between = True
                keep, tell, told, say = steps.channels()
                quickly = not told and not beside
                steps.count(level, gone, ended, going)
                gone = ended = going = 0
                now = run.tick()
                ticked = perf_counter()
                fine = False
                if parameters is LATER:
                    parameters = steps.resolved(recipe)
                steps.failed(recipe, parameters, started, error)
                if own is None:
                    number = -1
            except BaseException:
                if asleep != step_id:
                    steps.begun(recipe, steps.resolved(recipe) if parameters is LATER else parameters, started)
                raise
            if fine:
                # -------------------------------------------- its end
                if told or beside:
                    outcome = outcome_of(
                        step_id,
                        recipe.action,
                        OK,
                        1,
                        parameters,
                        value,
                        ready_at[recipe.index],
                        started,
                        now,
                        NOTHING,
                        NOTHING,
                    )
                    if told:
                        end = step_ended(began + now, name, run_id, outcome, inside)
                        if keep is not None:
                            keep(end)
                        if tell is not None:
                            tell(end)
                    by_step[step_id] = outcome
                    if beside:
                        run.verdicts.behind(run.jobs[step_id], outcome)
                else:
                    by_step[step_id] = (recipe.step, ready_at[recipe.index], started, now)
                if say:
                    log.info("[EXECUTOR] Step %d (%s) ok", step_id, recipe.action)
                results[step_id] = value
                gone += 1
                ended += 1
                going -= 1
                # -------------------------------------------- what that makes ready
                states[recipe.index] = DONE
                aside: list[int] | None = None
                for group in feeds[recipe.index]:
                    waits = waits_for[group] = waits_for[group] - 1
                    if waits:
                        continue
                    for index in members[group]:
                        if states[index] == PENDING:
                            states[index] = RUNNING
                            going += 1
                            if others and (one := by_index[index].id) in others:
                                aside = [one] if aside is None else [*aside, one]
                            else:
                                ready_at[index] = now
                                heappush(heap, place_of[index])
                if aside is not None:
                    steps.count(level, gone, ended, going)
                    gone = ended = going = 0
                    for one in aside:
                        run.admission.admit(one)
                    if own is None:
                        number = -1
                # -------------------------------------------- its slot, for whoever is next
                if alone and not claims:
                    if not heap and not batch:
                        line.held -= 1
                        dispatch.free += 1
                    else:
                        if not batch or (heap and heap[0] < batch[-1]):
                            following = in_order[heappop(heap)]
                        else:
                            following = in_order[batch.pop()]
                        if own is not None and following.level != number:
                            steps._granted(following)
                        elif queue:
                            queue.append(following)
                        else:
                            next_one = following
                        if own is not None and dispatch.free:
                            dispatch.grant()
                else:
                    line.held -= 1
                    dispatch.free += 1
                    if own is None and not queue:
                        line.busy = False
                    steps.count(level, gone, ended, going)
                    gone = ended = going = 0
                    dispatch.grant()
                    if own is None:
                        number = -1
            # ------------------------------------------------ the next one
            left -= 1
            if not left:
                steps.count(level, gone, ended, going)
                gone = ended = going = 0
                if next_one is not None or queue:
                    await checkpoint()
                    if not steps.mine():
                        return adopted
                    place.between = True
                    keep, tell, told, say = steps.channels()
                    quickly = not told and not beside
                    flat, now = steps.flat, run.tick()
                    ticked = perf_counter()
                    if own is None:
                        number = -1
                long, left, alone = now + LONG, STRETCH, len(dispatch.lines) == 1
                until = ticked + soon
            if next_one is not None:
                recipe = next_one
            elif queue and type(head := queue[0]) is Recipe:
                recipe = head
                queue.popleft()
            else:
                steps.count(level, gone, ended, going)
                gone = ended = going = 0
                another = steps.another() if own is None else None
                if another is None:
                    return adopted
                recipe, number = another, -1
    except BaseException:
        if adopted is not None:
            adopted.close()
        raise
    finally:
        place.between = False
        if own is None:
            line.busy = False
