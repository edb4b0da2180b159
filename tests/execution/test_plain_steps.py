"""Plain steps, which one loop runs one after another: nothing may be different for them but what they cost.

Plans at random, of plain steps alone and mixed with steps that are not, on the virtual clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import asynccontextmanager
from heapq import heapify, heappop, heappush
from random import Random

import attrs
import pytest
import trio
import trio.testing

import trouper
from trouper import Effect, MemoryJournal, Outcome, RunStatus, StepStatus, Tool, ToolContext, ToolError, tool
from trouper.actors.blueprint import Blueprint
from trouper.actors.dispatch import Caps, EffectLimits
from trouper.actors.records import StepEnded, StepStarted

CASES = range(60)


@attrs.define
class Case:
    """A plan, and what its steps do: how long each sleeps, which fail, which are not plain."""

    needs: dict[int, tuple[int, ...]]
    seconds: dict[int, float]
    failing: frozenset[int] = frozenset()
    heavy: frozenset[int] = frozenset()
    calls: list[tuple[int, float, float | None]] = attrs.field(factory=list)
    now: int = 0
    most: int = 0

    @classmethod
    def at_random(cls, seed: int, *, heavy: bool = False, failing: bool = False, instant: bool = True) -> Case:
        draw = Random(seed)
        count = draw.randint(1, 40)
        needs: dict[int, tuple[int, ...]] = {}
        for step in range(1, count + 1):
            before = range(max(1, step - draw.choice((1, 4, 40))), step)
            needs[step] = tuple(sorted(draw.sample(before, min(len(before), draw.choice((0, 1, 1, 2, 3))))))
        # No two of them end in the same moment; those that never suspend end in the one in which they begin.
        seconds = {step: draw.choice((0.0, 1.0) if instant else (1.0,)) * draw.uniform(0.1, 5.0) for step in needs}
        some = [step for step in needs if draw.random() < 0.1] if failing else ()
        others = [step for step in needs if draw.random() < 0.3] if heavy else ()
        return cls(needs, seconds, frozenset(some), frozenset(others))

    def plan(self) -> dict[str, object]:
        return {
            "steps": [
                {
                    "id": step,
                    "action": "heavy" if step in self.heavy else "plain",
                    "parameters": {"n": step, "inputs": [f"$step{one}.n" for one in needs]},
                }
                for step, needs in self.needs.items()
            ]
        }

    def tools(self) -> list[Tool]:
        @tool(effect=Effect.PURE)
        async def plain(n: int, inputs: list) -> dict:
            """One that is plain."""
            return await self.work(n, inputs)

        @tool(effect=Effect.PURE, timeout=100)
        async def heavy(ctx: ToolContext, n: int, inputs: list) -> dict[str, object]:
            """One that is not: it has a deadline and wants to know where it is."""
            assert ctx.step_id == n
            return await self.work(n, inputs)

        return [plain, heavy]

    async def work(self, n: int, inputs: list) -> dict[str, object]:
        assert tuple(inputs) == self.needs[n]
        began, ended = trio.current_time(), None
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.seconds[n]:
                await trio.sleep(self.seconds[n])
            ended = trio.current_time()
        finally:
            self.now -= 1
            self.calls.append((n, began, ended))
        if n in self.failing:
            raise ToolError("no")
        return {"n": n}

    def expected(self) -> dict[int, StepStatus]:
        found: dict[int, StepStatus] = {}
        for step, needs in self.needs.items():
            lost = any(found[one] is not StepStatus.OK for one in needs)
            failed = StepStatus.FAILED if step in self.failing else StepStatus.OK
            found[step] = StepStatus.SKIPPED if lost else failed
        return found

    def makespan(self, slots: int) -> float:
        """Of a scheduler that always takes the step with the longest chain behind it."""
        behind: dict[int, int] = {}
        for step in reversed(self.needs):
            behind[step] = 1 + max((behind[other] for other, needs in self.needs.items() if step in needs), default=0)
        missing = {step: len(needs) for step, needs in self.needs.items()}
        ready = [(-behind[step], step) for step, count in missing.items() if not count]
        heapify(ready)
        now, running = 0.0, []
        while ready or running:
            while ready and len(running) < slots:
                _, step = heappop(ready)
                heappush(running, (now + self.seconds[step], step))
            now, step = heappop(running)
            for other, needs in self.needs.items():
                if step in needs:
                    missing[other] -= 1
                    if not missing[other]:
                        heappush(ready, (-behind[other], other))
        return now


@asynccontextmanager
async def troupe_for(case: Case, slots: int, journal: MemoryJournal):
    config = {
        "planner": {"mode": "rules"},
        "verifier": {"enabled": False},
        "performance": {"parallel_execution": {"max_parallel_steps": slots}},
    }
    async with trouper.open_troupe(config, tools=case.tools(), journal=journal) as troupe:
        yield troupe


async def check(case: Case, outcome: Outcome, slots: int, journal: MemoryJournal) -> None:
    """What holds of every run, however it ended."""
    assert case.now == 0
    assert case.most <= slots
    assert len(case.calls) == len({n for n, _, _ in case.calls}), "a step was called twice"
    assert list(outcome.steps) == list(case.needs)
    ends = {n: ended for n, _, ended in case.calls}
    for n, began, _ in case.calls:
        assert all(ends[one] is not None and ends[one] <= began for one in case.needs[n]), n
    for step, one in outcome.steps.items():
        assert (one.attempts == 1) is (step in ends), step
        if one.status is StepStatus.OK:
            assert one.result == {"n": step}
            assert one.parameters == {"n": step, "inputs": list(case.needs[step])}
            assert one.ready <= one.started <= one.ended
    records = await journal.read(outcome.run_id)
    started = [record.step for record in records if isinstance(record, StepStarted)]
    over = [record.outcome.id for record in records if isinstance(record, StepEnded)]
    assert sorted(started) == sorted(ends)
    assert len(over) == len(set(over))
    done = {step for step, one in outcome.steps.items() if one.status is StepStatus.OK}
    assert done <= set(over)
    for record in records:
        if isinstance(record, StepEnded) and record.outcome.status is StepStatus.OK:
            assert started.index(record.outcome.id) >= 0


def statuses(outcome: Outcome) -> dict[int, StepStatus]:
    return {step: one.status for step, one in outcome.steps.items()}


@pytest.mark.parametrize("slots", [1, 2, 5, 100])
async def test_a_plan_of_plain_steps_takes_what_the_best_first_scheduler_takes(slots: int, autojump_clock) -> None:
    """To the moment: no slot is idle while a step is ready, and scarce ones go to the longest chain."""
    for seed in CASES:
        case, journal = Case.at_random(seed, instant=False), MemoryJournal()
        async with troupe_for(case, slots, journal) as troupe:
            began = trio.current_time()
            outcome = await troupe.run_plan(case.plan())
            took = trio.current_time() - began

        assert outcome.status is RunStatus.SUCCESS
        assert took == pytest.approx(case.makespan(slots)), seed
        await check(case, outcome, slots, journal)


@pytest.mark.parametrize("slots", [1, 3, 100])
async def test_plain_steps_among_others_end_as_they_must(slots: int, autojump_clock) -> None:
    """Mixed with steps that have a deadline, and with failures of both kinds."""
    for seed in CASES:
        case, journal = Case.at_random(seed, heavy=True, failing=True), MemoryJournal()
        async with troupe_for(case, slots, journal) as troupe:
            outcome = await troupe.run_plan(case.plan())

        assert statuses(outcome) == case.expected(), seed
        await check(case, outcome, slots, journal)


@pytest.mark.parametrize("heavy", [False, True])
async def test_a_run_that_is_cut_off_leaves_each_step_one_state(heavy: bool, autojump_clock) -> None:
    """What had ended stands, what was suspended is cancelled, the rest is skipped; nothing goes on."""
    cut = 0
    for seed in CASES:
        case, journal = Case.at_random(seed, heavy=heavy), MemoryJournal()
        async with troupe_for(case, 3, journal) as troupe:
            outcome = await troupe.run_plan(case.plan(), timeout=Random(seed).uniform(0.05, 8.0))
            calls = len(case.calls)
            await trio.testing.wait_all_tasks_blocked()
            assert len(case.calls) == calls
        await check(case, outcome, 3, journal)
        ended = {n for n, _, ended in case.calls if ended is not None}
        off = {n for n, _, ended in case.calls if ended is None}
        cut += bool(off)
        for step, status in statuses(outcome).items():
            expected = StepStatus.OK if step in ended else StepStatus.CANCELLED if step in off else StepStatus.SKIPPED
            assert status is expected, (seed, step)
    assert cut > len(CASES) // 4


async def test_a_sub_plan_of_plain_steps_shares_the_slots_of_its_run(autojump_clock) -> None:
    case = Case(dict.fromkeys(range(1, 13), ()), dict.fromkeys(range(1, 13), 1.0))
    steps = case.plan()["steps"]
    plan = {"steps": [*steps[:6], {"id": 20, "plan": {"steps": steps[6:9]}}, {"id": 21, "plan": {"steps": steps[9:]}}]}
    journal = MemoryJournal()
    async with troupe_for(case, 3, journal) as troupe:
        outcome = await troupe.run_plan(plan)

    assert outcome.status is RunStatus.SUCCESS
    assert case.most == 3
    assert max(ended for _, _, ended in case.calls) - min(began for _, began, _ in case.calls) == 4.0


async def test_plain_steps_that_never_suspend_let_others_run(autojump_clock) -> None:
    """A checkpoint now and then, counted: no plan is so long that nobody else gets a turn."""
    case = Case(dict.fromkeys(range(1, 1001), ()), dict.fromkeys(range(1, 1001), 0.0))
    turns = 0

    async def another() -> None:
        nonlocal turns
        while len(case.calls) < 1000:
            turns += bool(case.calls)
            await trio.lowlevel.checkpoint()

    async with troupe_for(case, 5, MemoryJournal()) as troupe, trio.open_nursery() as nursery:
        nursery.start_soon(another)
        outcome = await troupe.run_plan(case.plan())

    assert outcome.ok
    assert turns > 10


@pytest.mark.parametrize(
    ("more", "plain"),
    [
        ({}, True),
        ({"timeout_s": 5}, False),
        ({"max_retries": 1}, False),
        ({"fallback": {"action": "plain", "parameters": {}}}, False),
        ({"condition": True}, False),
        ({"approval": True}, False),
        ({"for_each": [1]}, False),
        ({"critical": True}, False),
        ({"critical": False}, True),
    ],
)
def test_which_steps_are_plain(more: Mapping[str, object], plain: bool) -> None:
    """Whatever has to be asked on its way makes a step another one."""
    work = Case({}, {}).tools()[0]
    step = {"id": 1, "action": "plain", "parameters": {"n": 1, "inputs": []}, **more}
    blueprint = Blueprint(
        trouper.parse_plan([step]), {"plain": work}, Caps({"plain": work}, EffectLimits()), ranked=True
    )

    assert blueprint.recipes[1].plain is plain
