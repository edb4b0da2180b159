"""The front of a plan: plain steps in the order of priority, as long as each ends in the turn in which it begins.

The order of priority puts every step behind all that it depends on, because the chain behind those is longer. So as
long as every step before it has ended well the next one is ready, and it is the one with the longest chain behind it:
nothing has to be counted, nobody stands in line. A plan of steps that never suspend is run by this loop alone. The
first step that suspends, or fails, ends it: what was not counted is made up for, and `plain_loop` goes on with that
step and those beside it.
"""

from __future__ import annotations

import logging
from heapq import heapify
from time import perf_counter
from typing import TYPE_CHECKING, cast

from trio.lowlevel import checkpoint, current_task

from trouper.runtime import DONE, PENDING, RUNNING, TrouperError

from .outcome import DECLARED
from .outcomes import NOTHING, outcome_of
from .plain_loop import LATER, LONG, OK, PURE, STRETCH, Halfway, Named, step_ended, step_started
from .tool import ToolContext
from .tool_drive import Suspended
from .tool_quick import Deep
from .verdicts import UNVERIFIABLE

if TYPE_CHECKING:
    from .plain_steps import PlainSteps

log: logging.Logger = logging.getLogger("trouper.executor")


async def run_front(steps: PlainSteps) -> Halfway | None:
    """Run the steps of a plan that has just begun; gives the first that has not simply succeeded, None if all have.

    Cancelled: between two steps, or in one that goes on by swallowing it; what has ended is in the log.
    """
    run, run_log, levels = steps.run, steps.log, steps.levels
    in_order, results, declared = steps.blueprint.in_order, run_log.results, run_log.declared
    by_step = run_log.outcomes.by_step
    run_id, inside, name = run_log.run_id, run_log.inside, run.place.scribe.name
    clock, began, tool_place = run.clock, run_log.began, run.place.tool_place
    block_limit, soon = tool_place.block_limit, min(LONG, tool_place.block_limit)
    shift = None if steps.offset is None else steps.offset - began
    named, scopes = Named(run_id, in_order[0].id), current_task()._cancel_status
    ctx = cast("ToolContext", named)
    steps.between = True
    try:
        keep, tell, told, say = steps.channels()
        flat, now, ticked = steps.flat, run.tick(), perf_counter()
        ended_at = [now]  # of the steps so far, behind the beginning: what a step is ready by
        long, until, left = now + LONG, ticked + soon, STRETCH
        level, number, gone = levels[in_order[0].level], -1, 0
        for recipe in in_order:
            if recipe.level != number:
                level.left -= gone
                run.left -= gone
                level, number, gone = levels[recipe.level], recipe.level, 0
                run.telling.begun(level)
            step_id, alike, started = recipe.id, recipe.alike, now
            value: object = None
            parameters: dict[str, object] | None = LATER
            try:
                if not told and alike.call is not None:
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
            except TrouperError as error:
                return _left(steps, Halfway(recipe, started, parameters, None, error), ended_at, gone)
            except BaseException:
                steps.begun(recipe, steps.resolved(recipe) if parameters is LATER else parameters, started)
                raise
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
                declared.append(step_id)
            else:
                whole = value.value if type(value) is Deep else value
                if isinstance(value, Suspended) or recipe.sure not in {None, type(whole)}:
                    return _left(steps, Halfway(recipe, started, parameters, value, None), ended_at, gone)
                value = whole
                run_log.verdicts[step_id] = UNVERIFIABLE if recipe.sure is None else DECLARED
                flat = steps.flat_with(step_id, value)
            if told:
                outcome = outcome_of(
                    step_id,
                    recipe.action,
                    OK,
                    1,
                    parameters,
                    value,
                    ended_at[recipe.behind],
                    started,
                    now,
                    NOTHING,
                    NOTHING,
                )
                end = step_ended(began + now, name, run_id, outcome, inside)
                if keep is not None:
                    keep(end)
                if tell is not None:
                    tell(end)
                by_step[step_id] = outcome
            else:
                by_step[step_id] = (recipe.step, ended_at[recipe.behind], started, now)
            if say:
                log.info("[EXECUTOR] Step %d (%s) ok", step_id, recipe.action)
            results[step_id] = value
            ended_at.append(now)
            gone += 1
            left -= 1
            if not left:
                level.left -= gone
                run.left -= gone
                gone = 0
                if run.left:
                    await checkpoint()
                    if not steps.mine():
                        return None
                    keep, tell, told, say = steps.channels()
                    now, ticked = run.tick(), perf_counter()
                long, until, left = now + LONG, ticked + soon, STRETCH
        level.left -= gone
        run.left -= gone
        run.going = 0
        steps.line.batch.clear()
        steps.line.heap.clear()
        steps.line.held -= 1
        run.dispatch.free += 1
        run.wake()
    finally:
        steps.between = steps.line.busy = False
    return None


def _left(steps: PlainSteps, halfway: Halfway, ended_at: list[float], gone: int) -> Halfway:
    """Make up for what was not counted: who is ready, who waits for how many, who stands in line."""
    run, line, blueprint = steps.run, steps.line, steps.blueprint
    steps.levels[blueprint.in_order[len(ended_at) - 2].level].left -= gone
    run.left -= gone
    _, feeds, members, waits_for, state = run.ready.counters()
    touched: set[int] = set()
    for recipe in blueprint.in_order[: len(ended_at) - 1]:
        state[recipe.index] = DONE
        for group in feeds[recipe.index]:
            waits_for[group] -= 1
            touched.add(group)
    for group in touched:
        if not waits_for[group]:
            for index in members[group]:
                if state[index] == PENDING:
                    state[index] = RUNNING
                    steps.ready_at[index] = ended_at[blueprint.by_index[index].behind]
    running = [recipe.place for recipe in blueprint.in_order if state[recipe.index] == RUNNING]
    run.going = len(running)
    line.batch.clear()
    line.heap[:] = [place for place in running if place != halfway.recipe.place]
    heapify(line.heap)
    return halfway
