"""Tools that misbehave, inside a run: the step says what happened, and the run, its siblings and its slots go on."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

import pytest
import trio

import trouper
from tests.execution.stage import FOREVER, Stage, heard, opened, parallel, run, statuses
from trouper import Effect, RunStatus, StepStatus, Tool, tool
from trouper.actors.records import LoopBlocked

BESIDE = [
    {"id": 1, "action": "bad"},
    {"id": 2, "action": "good"},
    {"id": 3, "action": "good", "dependencies": [1]},
    {"id": 4, "action": "good", "dependencies": [2]},
]


def bad_tool(function, effect: Effect = Effect.PURE, **options: object) -> Tool:
    return tool(name="bad", effect=effect, **options)(function)


async def beside(bad: Tool, **sections: object) -> trouper.Outcome:
    """A run in which the bad tool has a sibling, a dependant and a stranger; they come to no harm."""
    stage = Stage()
    stage.seconds.update({2: 0.5, 4: 0.5})
    outcome = await run(BESIDE, [bad, stage.tool("good")], **sections)
    assert outcome.steps[2].status is StepStatus.OK
    assert outcome.steps[4].status is StepStatus.OK
    assert stage.cancelled == []
    if outcome.steps[1].status is not StepStatus.OK:
        assert outcome.status is RunStatus.FAILED
        assert (outcome.steps[3].status, outcome.steps[3].cause) == (StepStatus.SKIPPED, 1)
        assert outcome.error is not None
    return outcome


# ------------------------------------------------------------------ raising
@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("k"),
        RecursionError("deep"),
        MemoryError(),
        StopIteration(1),
        StopAsyncIteration(),
        SystemExit(3),
        AssertionError(),
        ExceptionGroup("g", [ExceptionGroup("h", [ValueError("inside")])]),
        ExceptionGroup("g", [ValueError("a"), KeyError("b")]),
        trio.TooSlowError(),
        trio.EndOfChannel(),
        TimeoutError("t"),
        trouper.ActorStopped("x"),
        trouper.UnknownField("mine"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("suspends", [False, True])
async def test_whatever_a_tool_raises_is_the_failure_of_its_step(error, suspends, autojump_clock) -> None:
    """And says which error it was."""

    async def bad() -> None:
        if suspends:
            await trio.sleep(0.1)
        raise error

    outcome = await beside(bad_tool(bad))

    assert outcome.steps[1].status is StepStatus.FAILED
    told = outcome.steps[1].error
    assert told.message
    if not isinstance(error, trouper.TrouperError | ExceptionGroup):
        assert type(error).__name__ in told.message or "StopIteration" in told.message


async def test_an_error_that_cannot_be_printed_is_an_error_all_the_same(autojump_clock) -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("I do not speak")

    async def bad() -> None:
        raise Rude

    assert (await beside(bad_tool(bad))).steps[1].status is StepStatus.FAILED


# ------------------------------------------------------------------ results
@pytest.mark.parametrize(
    "value",
    [object(), {1.5: 2}, {"a": {"b": [lambda: 1]}}, float("nan"), float("inf"), b"bytes", type("T", (), {})()],
    ids=["object", "float_key", "deep_function", "nan", "inf", "bytes", "instance"],
)
async def test_a_result_that_is_no_data_is_refused(value, autojump_clock) -> None:
    async def bad() -> object:
        return value

    outcome = await beside(bad_tool(bad))

    assert outcome.steps[1].error.kind == "bad_result"
    assert outcome.steps[1].result is None


async def test_a_result_that_contains_itself_is_refused(autojump_clock) -> None:
    async def bad() -> object:
        value: list[object] = []
        value.append(value)
        return value

    assert (await beside(bad_tool(bad))).steps[1].error.kind == "bad_result"


@pytest.mark.parametrize("shape", ["text", "list", "dict"])
async def test_a_hundred_megabytes_are_refused(shape, autojump_clock) -> None:
    """With the size and what to do instead; the answer and the journal never have them."""

    async def bad() -> object:
        text = "x" * 100_000_000
        return {"text": text, "list": [text], "dict": {"a": {"b": text}}}[shape]

    outcome = await beside(bad_tool(bad))

    assert outcome.steps[1].error.kind == "bad_result"
    assert "file" in outcome.steps[1].error.message
    assert len(str(outcome.as_json())) < 100_000


async def test_what_a_tool_keeps_and_changes_later_changes_nothing(autojump_clock) -> None:
    kept: list[int] = [1]

    async def bad() -> list[int]:
        return kept

    @tool(name="good", effect=Effect.PURE)
    async def good(x: object = None) -> object:
        kept.append(2)
        return x

    plan = [
        {"id": 1, "action": "bad"},
        {"id": 2, "action": "good", "parameters": {"x": "$step1"}},
        {"id": 3, "action": "good", "parameters": {"x": "$step1"}, "dependencies": [2]},
    ]
    outcome = await run(plan, [bad_tool(bad), good])

    assert outcome.steps[3].result == [1]


async def test_a_tool_that_changes_its_parameters_changes_nothing_for_others(autojump_clock) -> None:
    async def bad(x: list[int]) -> None:
        x.append(99)

    @tool(name="give", effect=Effect.PURE)
    async def give() -> dict[str, list[int]]:
        return {"l": [1]}

    stage = Stage()
    plan = [
        {"id": 1, "action": "give"},
        {"id": 2, "action": "bad", "parameters": {"x": "$step1.l"}},
        {"id": 3, "action": "good", "parameters": {"x": "$step1.l"}, "dependencies": [2]},
    ]
    outcome = await run(plan, [bad_tool(bad), give, stage.tool("good")])

    assert stage.received[3] == {"x": [1]}
    assert outcome.steps[1].result == {"l": [1]}


# ------------------------------------------------------------------ hanging and swallowing
async def test_a_tool_that_hangs_ends_at_its_own_time(autojump_clock) -> None:
    async def bad() -> None:
        await trio.sleep_forever()

    outcome = await beside(bad_tool(bad, timeout=2))

    assert outcome.steps[1].error.kind == "timeout"
    assert trio.current_time() == 2.0


async def test_a_tool_that_swallows_its_cancellation_is_late_all_the_same(autojump_clock) -> None:
    async def bad() -> str:
        with suppress(trio.Cancelled):
            await trio.sleep_forever()
        return "I have done it"

    outcome = await beside(bad_tool(bad, timeout=2))

    assert outcome.steps[1].error.kind == "timeout"
    assert outcome.steps[1].result is None


@pytest.mark.parametrize("effect", [Effect.PURE, Effect.ONCE])
async def test_a_tool_that_swallows_it_again_and_again_cannot_hang_the_run(effect, autojump_clock) -> None:
    async def bad() -> None:
        while True:
            with suppress(trio.Cancelled):
                await trio.sleep_forever()

    outcome = await beside(bad_tool(bad, effect, timeout=2))

    assert outcome.steps[1].status is StepStatus.FAILED
    assert outcome.steps[1].in_doubt is (effect is Effect.ONCE)
    assert trio.current_time() == 2.0


async def test_a_run_with_such_a_tool_can_be_cancelled(autojump_clock) -> None:
    async def bad() -> None:
        while True:
            with suppress(trio.Cancelled):
                await trio.sleep_forever()

    async with opened([bad_tool(bad)]) as troupe:
        with trio.move_on_after(3) as scope:
            await troupe.run_plan([{"id": 1, "action": "bad"}])
        assert scope.cancelled_caught
        assert trio.current_time() == 3.0


@pytest.mark.parametrize("effect", [Effect.PURE, Effect.ONCE])
async def test_a_foreign_cancelled_is_the_failure_of_its_step_and_of_nothing_else(effect, autojump_clock) -> None:
    """Caught somewhere else and raised here: nobody has cancelled this step."""
    kept: list[trio.Cancelled] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise

    async def bad() -> None:
        await trio.sleep(0.1)
        raise kept[0]

    outcome = await beside(bad_tool(bad, effect))

    assert outcome.steps[1].error.kind == "tool_error"
    assert "Cancelled" in outcome.steps[1].error.message


async def test_a_tool_may_use_scopes_and_nurseries_of_its_own(autojump_clock) -> None:
    """What it cancels itself is its own affair."""

    async def bad() -> list[str]:
        found: list[str] = []

        async def child(name: str) -> None:
            try:
                await trio.sleep_forever()
            finally:
                found.append(name)

        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, "a")
                nursery.start_soon(child, "b")
        return sorted(found)

    outcome = await beside(bad_tool(bad, timeout=5))

    assert outcome.steps[1].result == ["a", "b"]


# ------------------------------------------------------------------ blocking
async def test_a_tool_that_blocks_the_loop_is_named(autojump_clock, caplog) -> None:
    """In the log and as an event, with its step and how long it was."""
    caplog.set_level(logging.WARNING, logger="trouper")

    async def bad() -> int:
        until = time.perf_counter() + 0.03
        while time.perf_counter() < until:
            pass
        return 1

    async with opened([bad_tool(bad)], tools={"block_warning": 0.01}) as troupe, heard(troupe) as told:
        outcome = await troupe.run_plan([{"id": 7, "action": "bad"}])

    assert outcome.ok
    [event] = [event for event in told if isinstance(event, LoopBlocked)]
    assert (event.action, event.step) == ("bad", 7)
    assert event.seconds >= 0.03
    assert any("bad" in record.getMessage() for record in caplog.records)


# ------------------------------------------------------------------ arguments
async def test_arguments_that_do_not_fit_are_refused_before_the_tool_is_entered(autojump_clock) -> None:
    entered: list[int] = []

    async def bad(n: int) -> None:
        entered.append(n)

    plan = [{"id": 1, "action": "bad", "parameters": {"n": "7"}}, {"id": 2, "action": "good"}]
    outcome = await run(plan, [bad_tool(bad), Stage().tool("good")])

    assert statuses(outcome) == {1: "failed", 2: "ok"}
    assert outcome.steps[1].error.kind == "bad_arguments"
    assert entered == []


# ------------------------------------------------------------------ slots
async def test_every_kind_of_failure_gives_its_slot_back(autojump_clock) -> None:
    """Fifty bad steps of every kind with two slots, and then a good one."""
    kinds = iter(range(50))

    async def bad() -> object:
        kind = next(kinds) % 5
        if kind == 0:
            raise ValueError("no")
        if kind == 1:
            return object()
        if kind == 2:
            raise SystemExit(1)
        if kind == 3:
            await trio.sleep_forever()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return 1

    plan = [{"id": n, "action": "bad", "critical": False} for n in range(50)] + [{"id": 50, "action": "good"}]
    stage = Stage()
    outcome = await run(plan, [bad_tool(bad, timeout=1), stage.tool("good")], **parallel(max_parallel_steps=2))

    assert outcome.status is RunStatus.SUCCESS_WITH_FAILURES
    assert outcome.steps[50].status is StepStatus.OK
    assert {outcome.steps[n].status for n in range(50)} == {StepStatus.FAILED}


async def test_a_verify_function_that_misbehaves_costs_its_verdict_and_nothing_else(autojump_clock) -> None:
    async def look(parameters: object, result: object, evidence: object) -> object:
        raise SystemExit(1)

    async def bad() -> int:
        return 1

    outcome = await beside(bad_tool(bad, verify=look))

    assert outcome.steps[1].status is StepStatus.OK
    assert outcome.verdicts[1].verdict.value == "unverifiable"


async def test_progress_and_context_of_a_tool_that_talks_too_much(autojump_clock) -> None:
    """Ten thousand lines of progress hold nobody up and are not all kept."""

    async def bad(ctx: trouper.ToolContext) -> int:
        for n in range(10_000):
            ctx.progress(f"line {n}")
        return 1

    outcome = await beside(bad_tool(bad))

    assert outcome.steps[1].status is StepStatus.OK
    assert trio.current_time() < FOREVER
