"""Every figure of the executor: what is demanded, how it is measured.

Steps that never suspend are measured in CPU time, steps that sleep in wall time, all of it against the same plan run by
hand on trio in the same process, in turn.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio
import trio.testing

from trouper import Plan

from . import plan_raw, plan_shapes, plan_subjects
from .figures import LONG, PAIRS, Measurement, Sample, micro
from .interval import Bound, at_least, at_most
from .plan_shapes import Shape
from .plan_subjects import all_done, executor, plan_of
from .slices import Slice, alternate

ROUNDS = 20
"""So many rounds of sleeping plans are enough: a round takes seconds."""

Run = Callable[[], Awaitable[object]]


@attrs.frozen(kw_only=True)
class PlanSize:
    """How much is measured: everything scales with it, for a try-out in seconds."""

    pairs: int = PAIRS
    long: int = LONG
    rounds: int = ROUNDS
    part: float = 1.0
    """The steps of a plan, times this."""
    pace: float = 1.0
    """The seconds a step sleeps, times this."""

    def steps(self, number: int, *, at_least: int = 4) -> int:
        """So many steps, levels or lanes."""
        return max(at_least, round(number * self.part))


QUICK = PlanSize(pairs=2, long=2, rounds=2, part=0.02, pace=0.1)


def _cpu(run: Run, steps: int) -> Slice:
    async def one() -> float:
        began = time.process_time()
        await run()
        return (time.process_time() - began) / steps

    return one


def _wall(run: Run) -> Slice:
    async def one() -> float:
        began = time.perf_counter()
        await run()
        return time.perf_counter() - began

    return one


# ------------------------------------------------------------------ steps that never suspend
async def _first_run(run: plan_subjects.Runner, plan: Plan) -> float:
    """The CPU seconds of the first run of a plan: it is the one that works out what the others find."""
    began = time.process_time()
    await run(plan)
    return time.process_time() - began


def _never_suspending(
    name: str,
    shape: Callable[[PlanSize], Shape],
    by_hand: Callable[[Shape, plan_raw.Work], plan_raw.Run] = plan_raw.dataflow,
    *,
    long: bool = False,
) -> Measurement:
    async def run(size: PlanSize) -> dict[str, Sample]:
        measured = shape(size)
        steps, work = len(measured), plan_subjects.working()
        raw = by_hand(measured, plan_raw.work)
        # A plan for each: what is worked out about a plan once is worked out for one executor.
        plan, other = plan_of(measured, work), plan_of(measured, work)
        async with executor(work) as full, executor(work, full=False) as lean:
            first = await _first_run(full, plan)
            for each, one in ((full, plan), (lean, other)):
                assert all_done(await each(one), one), "not every step has succeeded"
            rows = await alternate(
                _cpu(raw, steps),
                _cpu(lambda: full(plan), steps),
                _cpu(lambda: lean(other), steps),
                rounds=size.long if long else size.pairs,
            )
        hand, everything, little = zip(*rows, strict=True)
        needed = LONG if long else PAIRS
        return {
            f"{name}_full": Sample(
                values=[b / a for a, b, _ in rows],
                detail=f"{steps} steps; by hand {micro(hand)}, Trouper {micro(everything)} a step, "
                f"{first / steps * 1e6:.1f} us in the plan's first run",
                needed=needed,
            ),
            f"{name}_lean": Sample(
                values=[c / a for a, _, c in rows],
                detail=f"{steps} steps; by hand {micro(hand)}, Trouper {micro(little)} a step",
                needed=needed,
            ),
        }

    return Measurement(bounds={f"{name}_full": at_most(1.0), f"{name}_lean": at_most(0.45)}, run=run)


# ------------------------------------------------------------------ steps that sleep
def _sleeping(name: str, shape: Callable[[PlanSize], Shape]) -> Measurement:
    """`slots` has the few slots of the configuration; the others a slot for every step."""

    async def run(size: PlanSize) -> dict[str, Sample]:
        whole = shape(size)
        measured = Shape(whole.name, whole.needs, {step: one * size.pace for step, one in whole.seconds.items()})
        work, rest = plan_subjects.sleeping(measured), plan_raw.sleeping(measured)
        plan = plan_of(measured, work)
        few = plan_subjects.SLOTS
        async with (
            executor(work, slots=len(measured)) as free,
            executor(work, slots=few) as scarce,
        ):
            for each in (free, scarce):
                assert all_done(await each(plan), plan), "not every step has succeeded"
            rows = await alternate(
                _wall(plan_raw.dataflow(measured, rest)),
                _wall(plan_raw.nursery_per_level(measured, rest)),
                _wall(lambda: free(plan)),
                _wall(lambda: scarce(plan)),
                rounds=size.rounds,
            )
        hand, barrier, ours, slots = zip(*rows, strict=True)
        ideal, at_slots = measured.critical_path, measured.at_slots(few)

        def sample(values: list[float], detail: str) -> Sample:
            return Sample(values=values, detail=detail, needed=ROUNDS)

        told = f"Trouper {milli(ours)}"
        by_hand = [c / a for a, c in zip(hand, ours, strict=True)]
        saved = [b / c for b, c in zip(barrier, ours, strict=True)]
        at_few = f"{few} slots, nobody can beat {milli([at_slots])}; Trouper {milli(slots)}"
        return {
            f"{name}_by_hand": sample(by_hand, f"by hand {milli(hand)}, {told}"),
            f"{name}_ideal": sample([c / ideal for c in ours], f"critical path {milli([ideal])}, {told}"),
            f"{name}_barrier": sample(saved, f"by hand with a barrier {milli(barrier)}, {told}"),
            f"{name}_slots": sample([d / at_slots for d in slots], at_few),
        }

    bounds = {
        f"{name}_by_hand": at_most(1.03),
        f"{name}_ideal": at_most(1.10),
        f"{name}_barrier": at_least(2.0),
        f"{name}_slots": at_most(1.25),
    }
    return Measurement(bounds=bounds, run=run)


def milli(values: list[float] | tuple[float, ...]) -> str:
    """The median of some seconds, in milliseconds."""
    return f"{sorted(values)[len(values) // 2] * 1e3:.0f} ms"


# ------------------------------------------------------------------ cancelling
def _cancelled(run: Run, steps: int) -> Slice:
    """Let all of them fall asleep; then cancel them and wait until they are gone, which alone is timed."""

    async def one() -> float:
        began = 0.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            began = time.process_time()
            nursery.cancel_scope.cancel()
        return (time.process_time() - began) / steps

    return one


async def _cancel(size: PlanSize) -> dict[str, Sample]:
    sleepers = plan_shapes.wide(size.steps(1000))
    steps = len(sleepers)
    sleepers = Shape("sleepers", sleepers.needs, dict.fromkeys(sleepers.needs, 3600.0))
    work = plan_subjects.sleeping(sleepers)
    plan, raw = plan_of(sleepers, work), plan_raw.dataflow(sleepers, plan_raw.sleeping(sleepers))
    left = 0
    async with executor(work, slots=steps) as full:
        tasks = trio.lowlevel.current_statistics().tasks_living

        async def run() -> None:
            nonlocal left
            try:
                await full(plan)
            finally:
                # Every step has its one state, whatever it was doing.
                left = max(left, steps - len(full.outcomes))

        rows = await alternate(_cancelled(raw, steps), _cancelled(run, steps), rounds=size.pairs)
        await trio.testing.wait_all_tasks_blocked()
        left = max(left, trio.lowlevel.current_statistics().tasks_living - tasks)
    hand, ours = zip(*rows, strict=True)
    return {
        "cancel": Sample(
            values=[b / a for a, b in rows],
            detail=f"{steps} sleepers; by hand {micro(hand)}, Trouper {micro(ours)} each",
        ),
        "cancel_left": Sample(values=[left], needed=1, detail=f"after {len(rows)} runs of {steps} steps"),
    }


# ------------------------------------------------------------------ memory
async def _memory(size: PlanSize) -> dict[str, Sample]:
    """What is kept of a plan after it was read, and of a run after it has ended, records and results included.

    One count is enough; a small plan is not judged, for what every plan has weighs too much in it.
    """
    work = plan_subjects.working()
    shape = plan_shapes.grid(size.steps(500), 20)
    steps = len(shape)
    needed = 1 if size.part >= 1 else 2
    async with executor(work) as warm, executor(work) as full:
        await warm(plan_of(plan_shapes.grid(2, 20), work))
        gc.collect()
        tracemalloc.start()
        try:
            before = _held()
            plan = plan_of(shape, work)
            planned = _held()
            await full(plan)
            ended = _held()
        finally:
            tracemalloc.stop()
    return {
        "memory_plan": Sample(
            values=[(planned - before) / steps / 1e3],
            needed=needed,
            detail=f"a step of a plan of {steps}, as it is kept",
        ),
        "memory_run": Sample(
            values=[(ended - planned) / steps / 1e3],
            needed=needed,
            detail=f"a step of a run of {steps} that has ended: parameters, result, outcome, records in memory",
        ),
    }


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


PLAN_MEASUREMENTS: Mapping[str, Measurement] = {
    "wide": _never_suspending("wide", lambda size: plan_shapes.wide(size.steps(1000))),
    "grid": _never_suspending("grid", lambda size: plan_shapes.grid(size.steps(50), 20)),
    "chain": _never_suspending("chain", lambda size: plan_shapes.chain(size.steps(1000)), plan_raw.nursery_per_level),
    "dense": _never_suspending("dense", lambda size: plan_shapes.full(size.steps(50), 20)),
    "many": _never_suspending("many", lambda size: plan_shapes.grid(size.steps(500), 20), long=True),
    "lanes": _sleeping("lanes", lambda size: plan_shapes.lanes(size.steps(10), 20)),
    "tangle": _sleeping("tangle", lambda size: plan_shapes.tangle(size.steps(300))),
    "cancel": Measurement(bounds={"cancel": at_most(1.5), "cancel_left": at_most(0, "tasks or steps")}, run=_cancel),
    "memory": Measurement(bounds={"memory_plan": at_most(3.0, "KB"), "memory_run": at_most(3.0, "KB")}, run=_memory),
}


def plan_bounds() -> dict[str, Bound]:
    """Every figure with what is demanded of it."""
    return {name: bound for each in PLAN_MEASUREMENTS.values() for name, bound in each.bounds.items()}
