"""A plan is read while the model writes it: its steps are on offer at once, and taken back if it comes to nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from tests.cast.planning import Feed, before, failed, ok, plan_of, planning, steps
from trouper.actors.llm import GetLLMStatistics
from trouper.actors.plan_reading import PlanReading
from trouper.adapters.llm_scripted import BreakOff, Pieces
from trouper.runtime import BadRequest, LengthCut, PlanStream, PlanUnusable, StreamTruncated
from trouper.runtime.testing import When, crash

SAMPLE = json.loads((Path(__file__).parent.parent / "data/plans/90_stream_chunks.json").read_text())["chunks"]
ONE = {"id": 1, "action": "search", "parameters": {"q": "a"}}
TWO = {"id": 2, "action": "search", "parameters": {"q": "b"}}
THREE = {"id": 3, "action": "compare", "parameters": {"l": "$step1.t", "r": "$step2.t"}}
NONE = {"id": 4, "action": "serach", "parameters": {"q": "b"}}


async def test_each_step_is_offered_when_its_own_last_bracket_has_come(autojump_clock) -> None:
    """The sample: 43 pieces, one every 20 ms; step 1 is complete with the 14th."""
    async with planning([Pieces(SAMPLE)], pace=0.02) as cast:
        began = trio.current_time()
        planned = await cast.plan(fed=True)

        assert cast.feed.said == [("offer", 1), ("offer", 2), ("offer", 3), ("offer", 4)]
        assert [round((at - began) / 0.02) for at in cast.feed.at] == [14, 24, 33, 43]
        assert [step.id for step in planned.plan.steps] == [1, 2, 3, 4]


async def test_the_whole_plan_is_the_same_without_a_feed(autojump_clock) -> None:
    async with planning([Pieces(SAMPLE), Pieces(SAMPLE)]) as cast:
        assert await cast.plan() == await cast.plan(fed=True)


class Passes(trio.abc.Instrument):
    """Counts the scheduler's passes."""

    def __init__(self) -> None:
        self.number = 0

    def before_io_wait(self, timeout: float) -> None:
        self.number += 1


async def test_a_step_is_offered_one_scheduler_pass_after_its_piece_came(autojump_clock) -> None:
    """So that it starts within two: nothing stands between the model's text and the run but the reader of the plan."""
    passes = Passes()
    came: list[int] = []

    async def before_piece(number: int) -> None:
        came.append(passes.number)  # the piece itself comes in the same pass

    async with planning([Pieces(SAMPLE, before=before_piece)], pace=0.02) as cast:
        offered: list[int] = []
        cast.feed.on_offer = lambda step: offered.append(passes.number)
        trio.lowlevel.add_instrument(passes)
        await cast.plan(fed=True)
        trio.lowlevel.remove_instrument(passes)

        assert [at - came[piece] for at, piece in zip(offered, [13, 23, 32, 42], strict=True)] == [1, 1, 1, 1]


async def test_a_plan_in_prose_and_a_fence_is_read_too(autojump_clock) -> None:
    text = f"I will search twice.\n```json\n{steps(ONE, TWO)}\n```\nThat is all."
    async with planning([text]) as cast:
        await cast.plan(fed=True)
        assert cast.feed.said == [("offer", 1), ("offer", 2)]


async def test_a_plan_that_turns_out_invalid_is_retracted_and_repaired(autojump_clock) -> None:
    """What was offered is taken back with the reason, before the next try offers anything."""
    async with planning([steps(ONE, NONE), steps(ONE, TWO)]) as cast:
        planned = await cast.plan(fed=True)

        [why] = cast.feed.retractions
        assert "there is no action 'serach'" in why
        assert [what for what, _ in cast.feed.said] == ["offer", "retract", "offer", "offer"]
        assert cast.feed.offers == [step.id for step in planned.plan.steps] == [1, 2]
        assert "there is no action 'serach'" in cast.prompts[-1]
        assert planned.repairs == 1


async def test_what_was_never_offered_is_not_retracted(autojump_clock) -> None:
    async with planning(["no plan at all", steps(ONE)]) as cast:
        await cast.plan(fed=True)
        assert cast.feed.said == [("offer", 1)]


async def test_when_no_try_succeeds_nothing_is_left_on_offer(autojump_clock) -> None:
    async with planning([steps(ONE, NONE)] * 3) as cast:
        with pytest.raises(PlanUnusable):
            await cast.plan(fed=True)
        assert cast.feed.offers == []
        assert len(cast.feed.retractions) == 3


async def test_of_two_plans_the_last_counts_and_the_first_is_retracted(autojump_clock) -> None:
    """Never a mixture of both; and as soon as the second begins, not at the end."""
    pieces = [steps(ONE), "\nNo, better:\n", '{"steps": [', steps(TWO | {"id": 7}).removeprefix('{"steps": ['), "\n"]
    async with planning([Pieces(pieces)], pace=1.0) as cast:
        began = trio.current_time()
        planned = await cast.plan(fed=True)

        assert [step.id for step in planned.plan.steps] == [7]
        assert cast.feed.offers == []
        assert [what for what, _ in cast.feed.said] == ["offer", "retract"]
        assert [round(at - began) for at in cast.feed.at] == [1, 3]


async def test_what_is_not_in_the_plan_as_it_was_offered_is_retracted() -> None:
    """Whatever a model port may stream: the whole answer is the judge of what may go on running."""
    feed, offered = Feed(), plan_of(ONE)
    reading = PlanReading(PlanStream(), feed, lambda step: True)
    send, receive = trio.open_memory_channel[str](1)
    with send:
        send.send_nowait(steps(ONE))
    await reading.follow(receive)

    reading.confirm(offered)
    assert feed.retractions == []
    reading.confirm(plan_of(ONE | {"parameters": {"q": "b"}}))
    assert len(feed.retractions) == 1


async def test_a_model_that_breaks_off_is_asked_again(autojump_clock) -> None:
    """The door says nothing twice, so it is the planner that begins anew, with a clean feed."""
    cut = steps(ONE, TWO)[:-20]
    async with planning([BreakOff(cut), steps(ONE, TWO)]) as cast:
        planned = await cast.plan(fed=True)

        assert [what for what, _ in cast.feed.said] == ["offer", "retract", "offer", "offer"]
        assert "was not finished" in cast.feed.retractions[0]
        assert [len(request.messages) for request in cast.model.requests] == [2, 2], "the same question again"
        assert len(planned.plan.steps) == 2


async def test_a_model_that_breaks_off_each_time_is_asked_so_often(autojump_clock) -> None:
    async with planning(lambda request: BreakOff(steps(ONE, TWO)[:-20]), repairs=1) as cast:
        with pytest.raises(StreamTruncated):
            await cast.plan(fed=True)
        assert len(cast.model.requests) == 2
        assert cast.feed.offers == []


async def test_an_error_before_any_text_is_the_doors_to_retry(autojump_clock) -> None:
    async with planning([StreamTruncated("nothing came"), steps(ONE)]) as cast:
        with pytest.raises(StreamTruncated):
            await cast.plan(fed=True)
        assert len(cast.model.requests) == 1


@pytest.mark.parametrize("error", [LengthCut("cut"), BadRequest("no")])
async def test_an_error_that_asking_again_does_not_mend_is_told(error, autojump_clock) -> None:
    async def raise_before(number: int) -> None:
        if number == 40:
            raise error

    async with planning([Pieces(SAMPLE, before=raise_before)]) as cast:
        with pytest.raises(type(error)):
            await cast.plan(fed=True)
        assert len(cast.model.requests) == 1
        assert cast.feed.offers == []
        assert cast.feed.retractions


async def test_planning_that_is_cancelled_leaves_nothing_on_offer(autojump_clock) -> None:
    async with planning([Pieces(SAMPLE)], pace=0.02) as cast:
        with trio.move_on_after(0.5) as scope:
            await cast.plan(fed=True)

        await trio.testing.wait_all_tasks_blocked()
        assert scope.cancelled_caught
        assert cast.feed.said[:2] == [("offer", 1), ("offer", 2)]
        assert cast.feed.offers == []
        assert cast.model.calls_open == 0


@pytest.mark.parametrize("who", ["planner", "llm"])
async def test_a_crash_in_the_middle_leaves_nothing_on_offer(who, autojump_clock) -> None:
    async with planning([Pieces(SAMPLE)] * 2, pace=0.02) as cast:

        async def crash_later() -> None:
            await trio.sleep(0.5)
            crash(cast.system.find(who), When.NOW)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash_later)
            with pytest.raises(Exception, match="crash"):
                await cast.plan(fed=True)

        await trio.testing.wait_all_tasks_blocked()  # the asker hears of a crash before the incarnation is gone
        assert cast.feed.said[0] == ("offer", 1)
        assert cast.feed.offers == []
        assert cast.feed.retractions


async def test_steps_beyond_the_limit_are_not_offered(autojump_clock) -> None:
    many = [{"id": n, "action": "search", "parameters": {"q": "a"}} for n in range(1, 101)]
    async with planning([steps(*many), steps(ONE)]) as cast:
        await cast.plan(fed=True)

        assert cast.feed.said[63:65] == [("offer", 64), ("retract", cast.feed.retractions[0])]
        assert "the limit is 64" in cast.feed.retractions[0]


async def test_a_feed_that_fails_fails_the_planning_and_leaves_no_call_open(autojump_clock) -> None:
    async with planning([Pieces(SAMPLE)], pace=0.02) as cast:

        def fail(step: object) -> None:
            raise RuntimeError("the run is gone")

        cast.feed.on_offer = fail
        with pytest.raises(Exception, match=r"crash|gone"):
            await cast.plan(fed=True)
        await trio.testing.wait_all_tasks_blocked()
        assert cast.model.calls_open == 0


async def test_one_character_at_a_time_gives_the_same(autojump_clock) -> None:
    async with planning([steps(ONE, TWO, THREE)], chunk=1) as cast:
        await cast.plan(fed=True)
        assert cast.feed.said == [("offer", 1), ("offer", 2), ("offer", 3)]
        assert (await cast.system.find("llm").ask(GetLLMStatistics())).attempts == 1


# ------------------------------------------------------------------ the plan after another one
OLD = plan_of(ONE, {"id": 2, "action": "send", "parameters": {"to": "ann"}}, THREE)
FOUND = ok(1, "search", {"t": "x"}, q="a")


async def test_steps_that_are_finished_are_not_offered_again(autojump_clock) -> None:
    new = {"id": 4, "action": "compare", "parameters": {"l": "$step1.t", "r": "$step5.t"}}
    async with planning([steps(ONE, TWO | {"id": 5}, new)]) as cast:
        planned = await cast.plan(fed=True, previous=before(OLD, FOUND, failed(2, "send", to="ann")))

        assert cast.feed.said == [("offer", 5), ("offer", 4)]
        assert [step.id for step in planned.plan.steps] == [1, 5, 4]


@pytest.mark.parametrize("chunk", [1, 10_000])
async def test_a_step_that_repeats_an_effect_is_not_offered_nor_what_follows(chunk, autojump_clock) -> None:
    again = {"id": 4, "action": "send", "parameters": {"to": "ann"}}
    script = [steps(TWO | {"id": 5}, again, ONE | {"id": 6}), steps(TWO | {"id": 5})]
    async with planning(script, chunk=chunk) as cast:
        previous = before(OLD, FOUND, failed(2, "send", in_doubt=True, to="ann"))
        await cast.plan(fed=True, previous=previous)

        assert [told for what, told in cast.feed.said if what == "offer"] == [5, 5]
        assert "may be the call of step 2 again" in cast.feed.retractions[0]
