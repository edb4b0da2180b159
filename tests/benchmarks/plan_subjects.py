"""Trouper's executor on a plan, as it runs inside a troupe but without one: no planner, no verifier, no files.

Full: every transition of a step is written into a journal in memory and told to a listener, who takes it. Lean:
neither. In both the arguments and the results are checked, the limit on parallel steps holds, and each level can be
cancelled as one.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
import trio

from trouper import Ask, Effect, Plan, StepOutcome, StepStatus, Tool, handler, open_system, parse_plan, tool
from trouper.actors.executor import Executor
from trouper.actors.outcome import ErrorInfo
from trouper.actors.plan_run import PlanRun
from trouper.actors.run_place import ParallelExecution, RunPlace, Verification
from trouper.actors.runlog import RunLog
from trouper.runtime import EventStream, MemoryJournal

from . import plan_raw
from .plan_shapes import Shape

SLOTS = 5
"""`max_parallel_steps` as the configuration has it."""

EVENTS = 100_000
"""The listener has room for all events of one run: none is dropped."""

Outcomes = Mapping[int, StepOutcome]


@attrs.frozen
class Lend(Ask[RunPlace]):
    """Ask for what a run finds around it."""


class Host(Executor):
    """An executor that lends what its runs find around them."""

    @handler
    async def lend(self, message: Lend) -> RunPlace:
        return self._place()


def working() -> Tool:
    """The tool whose calls never suspend: the very function that is called by hand."""

    @tool(effect=Effect.PURE)
    async def work(inputs: list, n: int) -> dict:
        """Give the number back."""
        return {"v": n, "n": len(inputs)}

    return work


def sleeping(shape: Shape) -> Tool:
    """The tool that sleeps as long as the shape says."""
    rest = plan_raw.sleeping(shape)

    @tool(effect=Effect.PURE)
    async def work(inputs: list, n: int) -> dict:
        """Give the number back, later."""
        return await rest(inputs, n)

    return work


def plan_of(shape: Shape, work: Tool) -> Plan:
    """The shape as a plan, from its text, validated against the tool."""
    return parse_plan(shape.text(), catalogue={work.name: work.signature()})


class Runner:
    """Runs plans, one after another; `outcomes` are those of the last run, however it ended."""

    def __init__(self, place: RunPlace, told: EventStream | None = None) -> None:
        self._place = place
        self._told = told
        self._runs = itertools.count(1)
        self.outcomes: Outcomes = {}

    async def __call__(self, plan: Plan) -> Outcomes:
        """Run one. The listener takes what it was told, which is part of the cost."""
        log = RunLog(f"run-{next(self._runs)}", plan, began=trio.current_time())
        try:
            await PlanRun(log, self._place).run()
        finally:
            if len(log.outcomes) < len(plan.steps):
                log.settle_interrupted(ErrorInfo("cancelled", "the bench"), once_only=False)
                log.settle_unstarted("cancelled")
            self.outcomes = log.outcomes
            if self._told is not None:
                told = self._told.take_nowait()
                assert len(told) >= len(plan.steps), "the listener was told less than what happened"
                assert not self._told.dropped
        return self.outcomes


@asynccontextmanager
async def executor(work: Tool, *, full: bool = True, slots: int = SLOTS) -> AsyncIterator[Runner]:
    """What runs plans, in a system of its own."""
    # Two runs are kept, so that every run pays for letting go of an earlier one.
    journal = MemoryJournal(keep=2) if full else None
    parallel = ParallelExecution(max_parallel_steps=slots)

    def make() -> Host:
        quiet = Verification(enabled=False)
        return Host({work.name: work}, parallel=parallel, verification=quiet, workspace="/", journal=journal)

    async with open_system("bench") as system:
        place = await (await system.spawn(make)).ask(Lend())
        if not full:
            yield Runner(place)
            return
        with system.events(EVENTS) as told:
            yield Runner(place, told)


def all_done(outcomes: Outcomes, plan: Plan) -> bool:
    """Whether every step has succeeded."""
    return len(outcomes) == len(plan.steps) and all(o.status is StepStatus.OK for o in outcomes.values())
