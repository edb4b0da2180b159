"""What is made for a tool and for a form of parameters does what the general way does, told or not.

Plans at random whose tools return, keep and change all kinds of things, run in four ways: by the general functions and
by those that are made, with a journal and a listener and without. What comes out must be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import asynccontextmanager
from random import Random

import attrs
import pytest
import trio

from tests.benchmarks.plan_subjects import Host, Lend, Runner
from trouper import Effect, MemoryJournal, Plan, StepOutcome, StepStatus, Tool, ToolError, open_system, parse_plan, tool
from trouper.actors import blueprint, tool_quick
from trouper.actors.plan_run import PlanRun
from trouper.actors.run_place import ParallelExecution, Verification
from trouper.actors.runlog import RunLog

NEVER = 10**9
FIELDS = ("n", "s", "f", "l", "missing")


def tools() -> list[Tool]:
    """PURE tools that do everything that a tool should not do."""
    kept: list[dict] = []

    def spoil() -> None:
        """Change what was given back earlier: nobody may notice."""
        for result in kept:
            result["n"] = "changed"
            result.get("l", []).append("changed")

    @tool(effect=Effect.PURE)
    async def mix(n: int, a: list) -> dict:
        """All kinds of results."""
        a.append("mine")
        if n % 7 == 3:
            await trio.sleep(0.5)
        spoil()
        kinds = (
            {"n": n, "s": "text", "f": 1.5},
            {"n": n, "s": "text", "f": 1.5},
            {"n": n, "s": "text", "f": 1.5},
            {"n": 2**40 + n, "s": "Grüße", "f": None},
            {"n": n, "l": [n, {"deep": [n]}]},
            {"s": "other", "n": n},
            {},
        )
        result = dict(kinds[(n + len(a)) % len(kinds)])
        kept.append(result)
        return result

    @tool(effect=Effect.PURE)
    async def number(x: float, t: str = "") -> dict:
        """Wants a number, maybe a text."""
        spoil()
        return {"n": x, "s": t, "f": float("inf") if t == "text" else x}

    @tool(effect=Effect.PURE)
    async def listed(n: int, a: list, more: bool) -> list:
        """A list."""
        a.clear()
        return [n, more]

    @tool(effect=Effect.PURE)
    async def wrong(n: int) -> dict[str, int]:
        """Not always what it declares."""
        return {"n": n if n % 2 else "text"}

    @tool(effect=Effect.PURE)
    async def raises(n: int) -> dict:
        """Fails by and by; a KeyError is its own affair."""
        if n % 5 == 0:
            raise KeyError(n)
        if n % 5 == 1:
            raise ToolError("no")
        return {"n": n, "s": ""}

    return [mix, number, listed, wrong, raises]


def plan_at_random(seed: int, known: list[Tool]) -> Plan:
    draw = Random(seed)
    steps = []
    names = draw.choices([one.name for one in known], weights=(6, 2, 1, 1, 1), k=draw.randint(20, 45))
    for step, name in enumerate(names, start=1):
        earlier = range(max(1, step - 12), step)

        def value(other: object, earlier: range = earlier) -> object:
            if not earlier or draw.random() < 0.4:
                return other
            field = draw.choices(("", *FIELDS), weights=(2, 8, 4, 4, 1, 1))[0]
            return f"$step{draw.choice(earlier)}{'.' if field else ''}{field}"

        some = [value(n) for n in range(draw.choice((0, 1, 1, 1, 3)))]
        parameters = {
            "mix": {"n": step, "a": draw.choice((some, some, some, [some, {"x": value(1)}]))},
            "number": {"x": value(draw.choice((1, 1.5))), **({"t": value("t")} if draw.random() < 0.5 else {})},
            "listed": {"n": step, "a": value([1, 2]), "more": True},
            "wrong": {"n": step},
            "raises": {"n": value(step)},
        }[name]
        steps.append({"id": step, "action": name, "parameters": parameters, "critical": False})
    return parse_plan(steps)


@attrs.frozen
class Told:
    """What is known of a step after its run, but for times."""

    status: StepStatus
    attempts: int
    parameters: object
    result: object
    error: object
    verdict: object


@asynccontextmanager
async def place_for(known: list[Tool], *, full: bool, slots: int):
    journal = MemoryJournal() if full else None

    def make() -> Host:
        return Host(
            {one.name: one for one in known},
            parallel=ParallelExecution(max_parallel_steps=slots),
            verification=Verification(enabled=False),
            workspace="/",
            journal=journal,
        )

    async with open_system("made") as system:
        yield await (await system.spawn(make)).ask(Lend())


async def told_of(plan: Plan, known: list[Tool], *, full: bool, slots: int) -> dict[int, Told]:
    async with place_for(known, full=full, slots=slots) as place:
        log = RunLog("run", plan, began=trio.current_time())
        await PlanRun(log, place).run()
    # Which of several failures a step was skipped for depends on which of them was first.
    return {
        step: Told(
            one.status,
            one.attempts,
            one.parameters,
            one.result,
            one.error if one.status is not StepStatus.SKIPPED else None,
            log.verdicts.get(step),
        )
        for step, one in sorted(log.outcomes.items())
    }


def make(patch: pytest.MonkeyPatch, *, at_once: bool) -> None:
    """Make functions for everything from the first call on, or for nothing at all."""
    patch.setattr(blueprint, "ALIKE", 1 if at_once else NEVER)
    patch.setattr(tool_quick, "LEARN", 1 if at_once else NEVER)


@pytest.mark.parametrize("slots", [1, 4])
async def test_made_functions_do_what_the_general_ones_do(slots: int, monkeypatch, autojump_clock) -> None:
    failed = done = 0
    for seed in range(30):
        found = []
        for at_once in (False, True):
            make(monkeypatch, at_once=at_once)
            for full in (False, True):
                known = tools()
                found.append(await told_of(plan_at_random(seed, known), known, full=full, slots=slots))
        assert all(one == found[0] for one in found[1:]), seed
        failed += sum(one.status is StepStatus.FAILED for one in found[0].values())
        done += sum(one.status is StepStatus.OK for one in found[0].values())
    assert failed > 50
    assert done > 300


async def test_a_result_that_somebody_looked_at_changes_nothing_for_others(monkeypatch, autojump_clock) -> None:
    """Whoever gets outcomes may change what is in them: a later look at another step does not show it."""
    make(monkeypatch, at_once=True)
    known = tools()
    plan = parse_plan(
        [{"id": n, "action": "mix", "parameters": {"n": n, "a": [f"$step{n - 1}.s"] * (n > 1)}} for n in (1, 2)]
    )
    async with place_for(known, full=False, slots=4) as place:
        log = RunLog("run", plan, began=trio.current_time())
        await PlanRun(log, place).run()
    first = log.outcomes[2].parameters
    assert isinstance(first, dict)
    first["a"].append("changed")

    assert log.outcomes[1].parameters == {"n": 1, "a": []}
    assert log.results[2] == log.outcomes[2].result


async def test_a_tool_is_called_once_whichever_way_its_call_ends(monkeypatch, autojump_clock) -> None:
    """Also where the made function gives up: it must do so before the tool is entered."""
    make(monkeypatch, at_once=True)
    calls: list[int] = []

    @tool(effect=Effect.PURE)
    async def work(n: int, a: list) -> object:
        calls.append(n)
        if n % 3 == 0:
            raise KeyError("mine")
        return {"v": [n]} if n % 3 == 1 else {"v": n}

    steps = [
        {"id": n, "action": "work", "parameters": {"n": n, "a": [f"$step{n - 1}.v"] * (n % 4 == 3)}, "critical": False}
        for n in range(1, 40)
    ]
    found = await told_of(parse_plan(steps), [work], full=False, slots=3)

    assert len(calls) == len(set(calls)) == sum(one.attempts for one in found.values())


def by_status(outcomes: Mapping[int, StepOutcome]) -> dict[StepStatus, int]:
    found: dict[StepStatus, int] = {}
    for one in outcomes.values():
        found[one.status] = found.get(one.status, 0) + 1
    return found


async def test_a_run_without_a_journal_can_be_cut_off_anywhere(monkeypatch, autojump_clock) -> None:
    """What had ended stands, with everything that is known of it; nothing is left behind."""
    make(monkeypatch, at_once=True)
    seen: set[StepStatus] = set()
    for seed in range(30):
        known = tools()
        plan = plan_at_random(seed, known)
        async with place_for(known, full=False, slots=3) as place:
            runner = Runner(place)
            tasks = trio.lowlevel.current_statistics().tasks_living
            with trio.move_on_after(Random(seed).choice((0.25, 0.75, 1.25))):
                await runner(plan)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert set(runner.outcomes) == {step.id for step in plan.steps}
        seen.update(by_status(runner.outcomes))
        for one in runner.outcomes.values():
            assert (one.parameters is not None) or one.status in {StepStatus.SKIPPED, StepStatus.FAILED}
    assert {StepStatus.OK, StepStatus.CANCELLED, StepStatus.SKIPPED} <= seen
