"""A plan runs while the model still writes it: at once what only reads, and nothing else before it is whole."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
import trio

import trouper
from tests.cast.planning import steps
from tests.execution.stage import opened, parallel, statuses
from trouper import Effect, RunStatus, Tool, ToolContext, Troupe, tool
from trouper.actors.records import ApprovalAsked, PlanRetracted
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.llm_scripted import BreakOff, Pieces, ScriptedModel
from trouper.adapters.model_server import ServerReply, model_server
from trouper.runtime.testing import When, crash

SAMPLE = json.loads((Path(__file__).parent.parent / "data/plans/90_stream_chunks.json").read_text())["chunks"]
GOAL = "Compare the two, please"

ONE = {"id": 1, "action": "search", "parameters": {"q": "a"}}
TWO = {"id": 2, "action": "search", "parameters": {"q": "$step1.t"}}


@attrs.define
class World:
    """Tools that write down when they began and how they ended."""

    seconds: float = 0.0
    began: dict[int, float] = attrs.field(factory=dict)
    ended: dict[int, str] = attrs.field(factory=dict)
    calls: list[str] = attrs.field(factory=list)
    epoch: float = 0.0

    async def work(self, ctx: ToolContext, what: str, result: object) -> object:
        self.calls.append(what)
        self.began.setdefault(ctx.step_id, trio.current_time() - self.epoch)
        self.ended[ctx.step_id] = "cancelled"
        await trio.sleep(self.seconds)
        self.ended[ctx.step_id] = "ok"
        return result

    def tools(self) -> list[Tool]:
        @tool(effect=Effect.PURE)
        async def search(ctx: ToolContext, q: str) -> dict[str, str]:
            await self.work(ctx, f"search {q}", None)
            return {"t": q}

        @tool(effect=Effect.PURE)
        async def compare(ctx: ToolContext, l: str, r: str) -> dict[str, str]:  # noqa: E741 - the sample's names
            await self.work(ctx, f"compare {l} {r}", None)
            return {"t": f"{l}{r}"}

        @tool(effect=Effect.PURE)
        async def reply_to_user(ctx: ToolContext, message: str) -> str:
            await self.work(ctx, "reply", None)
            return message

        @tool(effect=Effect.KEYED)
        async def put(ctx: ToolContext, v: int) -> int:
            await self.work(ctx, f"put {v}", None)
            return v

        @tool(effect=Effect.ONCE)
        async def send(ctx: ToolContext, to: str) -> str:
            await self.work(ctx, f"send {to}", None)
            return to

        return [search, compare, reply_to_user, put, send]

    async def execute(self, troupe: Troupe, **options: object) -> trouper.Outcome:
        self.epoch = trio.current_time()
        return await troupe.execute(GOAL, **options)


def split(text: str, *after: str) -> Sequence[str]:
    """`text` in pieces, each of which ends with one of the given texts."""
    pieces = []
    for end in after:
        head, found, text = text.partition(end)
        pieces.append(head + found)
    return [*pieces, text]


async def test_a_step_starts_as_soon_as_its_own_object_is_complete(autojump_clock) -> None:
    """The sample: step 1 is complete with piece 13 of 43; the last comes 600 ms later."""
    world = World(seconds=0.01)
    async with opened(world.tools(), llm=ScriptedModel([Pieces(SAMPLE)], pace=0.02)) as troupe:
        outcome = await world.execute(troupe)

        assert outcome.status is RunStatus.SUCCESS, outcome.error
        assert outcome.answer == "ab" or outcome.steps[4].result == "ab"
        assert {step: round(at / 0.02) for step, at in world.began.items()} == {1: 14, 2: 24, 3: 33, 4: 43}


async def test_with_stream_plan_off_nothing_starts_before_the_plan_is_whole(autojump_clock) -> None:
    world = World()
    model = ScriptedModel([Pieces(SAMPLE)], pace=0.02)
    async with opened(world.tools(), llm=model, **parallel(stream_plan=False)) as troupe:
        outcome = await world.execute(troupe)

        assert outcome.ok
        assert min(world.began.values()) >= 43 * 0.02


class Passes(trio.abc.Instrument):
    """Counts the scheduler's passes."""

    def __init__(self) -> None:
        self.number = 0

    def before_io_wait(self, timeout: float) -> None:
        self.number += 1


async def test_it_starts_within_two_scheduler_passes_of_the_piece(autojump_clock) -> None:
    passes = Passes()
    came: list[int] = []
    began: dict[int, int] = {}

    async def before_piece(number: int) -> None:
        came.append(passes.number)  # the piece itself comes in the same pass

    @tool(name="search", effect=Effect.PURE)
    async def search(ctx: ToolContext, q: str) -> dict[str, str]:
        began[ctx.step_id] = passes.number
        return {"t": q}

    tools = [search, *World().tools()[1:]]
    async with opened(tools, llm=ScriptedModel([Pieces(SAMPLE, before=before_piece)], pace=0.02)) as troupe:
        trio.lowlevel.add_instrument(passes)
        await troupe.execute(GOAL)
        trio.lowlevel.remove_instrument(passes)

        assert began[1] - came[13] <= 2
        assert began[2] - came[23] <= 2


async def test_a_model_that_hesitates_holds_up_nothing_that_it_has_written(autojump_clock) -> None:
    """Two steps are there, then nothing for a minute: the second, which needs the first, does not wait for the text."""
    world = World(seconds=1)
    pieces = split(steps(ONE, TWO, ONE | {"id": 3}), '"$step1.t"}}')

    async def before_piece(number: int) -> None:
        await trio.sleep(60 if number == 1 else 0)

    async with opened(world.tools(), llm=ScriptedModel([Pieces(pieces, before=before_piece)])) as troupe:
        outcome = await world.execute(troupe)

        assert outcome.ok
        assert {step: round(at) for step, at in world.began.items()} == {1: 0, 2: 1, 3: 60}


# ------------------------------------------------------------------ what waits for the whole plan
@pytest.mark.parametrize(
    "step",
    [
        {"action": "put", "parameters": {"v": 1}},
        {"action": "send", "parameters": {"to": "ann"}},
        {"action": "search", "parameters": {"q": "x"}, "fallback": {"action": "send", "parameters": {"to": "ann"}}},
        {"plan": {"steps": [{"id": 20, "action": "send", "parameters": {"to": "ann"}}]}},
    ],
    ids=["keyed", "once", "fallback", "sub-plan"],
)
async def test_a_step_with_an_effect_waits_until_the_plan_is_whole_and_valid(step, autojump_clock) -> None:
    world = World()
    pieces = split(steps(step | {"id": 1}, ONE | {"id": 2}), "}, {")

    async def before_piece(number: int) -> None:
        await trio.sleep(60 if number == 1 else 0)

    async with opened(world.tools(), llm=ScriptedModel([Pieces(pieces, before=before_piece)])) as troupe:
        outcome = await world.execute(troupe)

        assert outcome.ok, outcome.error
        assert min(world.began.values()) >= 60


async def test_and_never_begins_if_the_plan_is_not_valid(autojump_clock) -> None:
    world = World()
    bad = steps({"id": 1, "action": "send", "parameters": {"to": "bob"}}, {"id": 2, "action": "serach"})
    async with opened(world.tools(), llm=ScriptedModel([bad, steps(ONE)])) as troupe:
        outcome = await world.execute(troupe)

        assert outcome.ok
        assert world.calls == ["search a"]


async def test_a_question_to_a_person_waits_until_the_plan_is_whole(autojump_clock) -> None:
    world = World()
    pieces = split(steps(ONE | {"approval": True}, ONE | {"id": 2}), "}, {")
    journal = trouper.MemoryJournal()

    async def before_piece(number: int) -> None:
        await trio.sleep(60 if number == 1 else 0)

    model = ScriptedModel([Pieces(pieces, before=before_piece)])
    async with opened(world.tools(), llm=model, journal=journal, run={"approval_wait": 0}) as troupe:
        outcome = await world.execute(troupe)

        asked = [r.at - world.epoch for r in await journal.read(outcome.run_id) if isinstance(r, ApprovalAsked)]
        assert outcome.status is RunStatus.WAITING
        assert len(asked) == 1
        assert asked[0] >= 60


# ------------------------------------------------------------------ a plan that comes to nothing
async def test_a_plan_that_turns_out_invalid_cancels_what_runs_and_says_so(autojump_clock) -> None:
    """Its results are dropped, also those of steps that were done; the next plan begins from nothing."""
    world = World(seconds=45)
    bad = split(steps(ONE, ONE | {"id": 2, "parameters": {"q": "b"}}, {"id": 3, "action": "serach"}), "}, {", "}, {")

    async def before_piece(number: int) -> None:
        await trio.sleep(10)

    good = steps(ONE | {"id": 2, "parameters": {"q": "c"}})
    model = ScriptedModel([Pieces(bad, before=before_piece), good])
    async with opened(world.tools(), llm=model) as troupe:
        with troupe.system.events() as events:
            outcome = await world.execute(troupe)
            told = [event.why for event in events.take_nowait() if isinstance(event, PlanRetracted)]

    assert outcome.ok, outcome.error
    assert statuses(outcome) == {2: "ok"}
    assert outcome.steps[2].result == {"t": "c"}
    assert world.calls == ["search a", "search b", "search c"]
    assert world.ended[1] == "cancelled"
    assert ["there is no action 'serach'" in why for why in told] == [True]


async def test_a_result_of_a_retracted_plan_is_not_taken_for_one_of_the_next(autojump_clock) -> None:
    """Step 1 was done when the plan turned out invalid; the next plan's step 1 is another one."""
    world = World()
    bad = split(steps(ONE, {"id": 2, "action": "serach"}), "}, {")

    async def before_piece(number: int) -> None:
        await trio.sleep(10)

    good = steps(ONE | {"parameters": {"q": "new"}}, TWO)
    async with opened(world.tools(), llm=ScriptedModel([Pieces(bad, before=before_piece), good])) as troupe:
        outcome = await world.execute(troupe)

        assert outcome.steps[2].result == {"t": "new"}
        assert world.calls == ["search a", "search new", "search new"]


async def test_when_there_is_no_plan_in_the_end_what_ran_is_cancelled(autojump_clock) -> None:
    world = World(seconds=math.inf)
    bad = steps(ONE, {"id": 2, "action": "serach"})
    async with opened(world.tools(), llm=ScriptedModel([bad] * 3)) as troupe:
        with trio.fail_after(100):
            outcome = await world.execute(troupe)

        assert outcome.status is RunStatus.FAILED
        assert outcome.error.kind == "plan_unusable"
        assert set(world.ended.values()) <= {"cancelled"}


async def test_of_two_plans_only_the_last_is_run(autojump_clock) -> None:
    world = World(seconds=1)
    text = f"{steps(ONE)}\nNo, better:\n{steps(ONE | {'id': 7, 'parameters': {'q': 'b'}})}"
    async with opened(world.tools(), llm=ScriptedModel([text], pace=0.1)) as troupe:
        outcome = await world.execute(troupe)

        assert statuses(outcome) == {7: "ok"}
        assert outcome.ok


async def test_a_model_that_breaks_off_is_asked_again(autojump_clock) -> None:
    world = World(seconds=1)
    async with opened(world.tools(), llm=ScriptedModel([BreakOff(steps(ONE, TWO)[:-10]), steps(ONE, TWO)])) as troupe:
        outcome = await world.execute(troupe)

        assert outcome.ok, outcome.error
        assert statuses(outcome) == {1: "ok", 2: "ok"}


@pytest.mark.parametrize("who", ["planner", "llm", "executor"])
async def test_a_crash_while_the_plan_is_written_and_run_is_survived(who, autojump_clock) -> None:
    world = World(seconds=0.3)
    async with opened(world.tools(), llm=ScriptedModel(lambda request: Pieces(SAMPLE), pace=0.02)) as troupe:

        async def crash_later() -> None:
            await trio.sleep(0.5)
            crash(troupe.system.find(f"troupe/{who}"), When.NOW)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash_later)
            with trio.fail_after(60):
                outcome = await world.execute(troupe)

        assert outcome.status is RunStatus.SUCCESS, outcome.error
        assert outcome.steps[4].result == "ab"


async def test_the_deadline_ends_both_the_writing_and_the_running(autojump_clock) -> None:
    world = World(seconds=math.inf)
    model = ScriptedModel([Pieces(SAMPLE)], pace=0.1)
    async with opened(world.tools(), llm=model) as troupe:
        outcome = await world.execute(troupe, timeout=2)

        assert outcome.error.kind == "deadline"
        assert world.ended == {1: "cancelled"}
        assert model.calls_open == 0


async def test_a_plan_after_a_failure_is_streamed_too(autojump_clock) -> None:
    world = World()

    @tool(name="fail", effect=Effect.PURE)
    async def fail() -> None:
        raise trouper.ToolError("no")

    pieces = split(steps(ONE | {"id": 5}, TWO | {"id": 6}), "}, {")

    async def before_piece(number: int) -> None:
        await trio.sleep(60 if number == 1 else 0)

    model = ScriptedModel([steps(ONE, {"id": 2, "action": "fail"}), Pieces(pieces, before=before_piece)])
    async with opened([fail, *world.tools()], llm=model) as troupe:
        outcome = await world.execute(troupe)

        assert outcome.ok, outcome.error
        assert {step: round(at) for step, at in world.began.items()} == {1: 0, 5: 0, 6: 60}


# ------------------------------------------------------------------ over a real connection
@pytest.mark.io
async def test_over_a_real_connection_a_step_is_done_before_the_model_has_finished(tmp_path) -> None:
    """The server sends the second half of the plan only when step 1 has been run."""
    done = trio.Event()

    @tool(name="search", effect=Effect.PURE)
    async def search(ctx: ToolContext, q: str) -> dict[str, str]:
        done.set()
        return {"t": q}

    async def before_piece(number: int) -> None:
        if number == 14:
            await done.wait()

    async with model_server([ServerReply(words=SAMPLE, before=before_piece)]) as server:
        config = {"llm": {"base_url": server.base_url}, "memory": {"path": str(tmp_path / "memory.sqlite")}}
        tools = [search, *World().tools()[1:]]
        async with trouper.open_troupe(config, tools=tools, embedder=HashEmbedder()) as troupe:
            with trio.fail_after(90):
                outcome = await troupe.execute(GOAL, timeout=80)

        assert outcome.steps[4].result == "ab", outcome.error
