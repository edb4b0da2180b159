"""Plans whose text is still arriving: what may start early does, nothing waits for text that it does not need."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import pytest
import trio
import trio.testing

from tests.execution.stage import FOREVER, PLANS, Stage, opened
from trouper import Effect, PlanError, RunStatus
from trouper.runtime import MemoryJournal, PlanStream, parse_plan

STREAMED = json.loads((PLANS / "90_stream_chunks.json").read_text("utf-8"))
EXPECTED = json.loads((PLANS / "90_stream_chunks.expect.json").read_text("utf-8"))


async def arriving(chunks: Sequence[str], every: float, last: float | None = None) -> AsyncIterator[str]:
    """A chunk every so many seconds; the last one maybe later."""
    for n, chunk in enumerate(chunks):
        await trio.sleep(last if last is not None and n == len(chunks) - 1 else every)
        yield chunk


def text(*entries: dict[str, object]) -> str:
    return json.dumps({"steps": [{"action": "work", "parameters": {}, **entry} for entry in entries]})


def split(source: str, after: str) -> list[str]:
    """In two, behind `after`."""
    at = source.index(after) + len(after)
    return [source[:at], source[at:]]


async def test_step_1_of_the_sample_starts_before_the_last_chunk(autojump_clock) -> None:
    """Sample 90: 43 chunks, one every 20 ms; step 1 is complete after chunk 13."""
    stage = Stage({"1": {"t": "A"}, "2": {"t": "B"}, "3": {"t": "AB"}})
    tools = [stage.tool(name) for name in ("search", "compare", "reply_to_user")]
    assert len(STREAMED["chunks"]) == EXPECTED["n_chunks"]
    async with opened(tools) as troupe:
        outcome = await troupe.run_plan(arriving(STREAMED["chunks"], STREAMED["chunk_interval_ms"] / 1000))

    assert outcome.status is RunStatus.SUCCESS
    assert [list(level) for level in outcome.plan.levels] == EXPECTED["levels"]
    assert stage.began[1] == pytest.approx(0.02 * (EXPECTED["step_1_may_start_after_chunk"] + 1))  # counted from 0
    assert stage.began[2] < stage.began[3] < 0.02 * EXPECTED["n_chunks"]
    assert stage.received[4] == {"message": "AB"}
    assert stage.order == [1, 2, 3, 4]


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
async def test_however_the_text_is_cut_the_run_is_the_same(size, autojump_clock) -> None:
    source = "".join(STREAMED["chunks"])
    chunks = [source[at : at + size] for at in range(0, len(source), size)]
    stage = Stage({"1": {"t": "A"}, "2": {"t": "B"}, "3": {"t": "AB"}})
    async with opened([stage.tool(name) for name in ("search", "compare", "reply_to_user")]) as troupe:
        outcome = await troupe.run_plan(arriving(chunks, 0.001))

    assert outcome.plan.as_json() == parse_plan(source).as_json()
    assert outcome.status is RunStatus.SUCCESS
    assert stage.received[3] == {"l": "A", "r": "B"}


async def test_a_dependant_that_is_ready_does_not_wait_for_the_next_piece(autojump_clock) -> None:
    """Elsewhere the scheduler slept on the queue of the planner: 0.50 s instead of 0.01 s."""
    stage = Stage()
    stage.seconds[1] = 0.01
    source = text({"id": 1}, {"id": 2, "dependencies": [1]}, {"id": 3})
    chunks = split(source, '"dependencies": [1]}')
    async with opened([stage.tool("work")]) as troupe:
        outcome = await troupe.run_plan(arriving(chunks, 0.0, last=0.5))

    assert outcome.ok
    assert stage.began[2] == pytest.approx(0.01)
    assert stage.began[3] == pytest.approx(0.5)


@pytest.mark.parametrize("effect", [Effect.KEYED, Effect.ONCE])
async def test_what_has_an_effect_waits_for_the_whole_plan(effect, autojump_clock) -> None:
    """Also where only its fallback has one, and where a person must be asked."""
    stage = Stage()
    source = text(
        {"id": 1, "action": "write"},
        {"id": 2},
        {"id": 3, "fallback": {"action": "write", "parameters": {}}},
        {"id": 4, "plan": [{"id": 41, "action": "write"}], "action": None},
    )
    source = source.replace('"action": null, ', "").replace(', "action": null', "")
    async with opened([stage.tool("work"), stage.tool("write", effect)]) as troupe:
        outcome = await troupe.run_plan(arriving([source[:-2], source[-2:]], 0.0, last=9.0))

    assert outcome.ok
    assert stage.began[2] == 0.0
    assert stage.began[1] == stage.began[41] == 9.0


async def test_nobody_is_asked_before_the_plan_is_whole(autojump_clock) -> None:
    stage, journal = Stage(), MemoryJournal()
    source = text({"id": 1, "approval": True}, {"id": 2})
    async with opened([stage.tool("work")], journal=journal) as troupe:
        outcome = await troupe.run_plan(arriving([source[:-2], source[-2:]], 0.0, last=9.0))

    asked = [record.at for record in await journal.read(outcome.run_id) if type(record).__name__ == "ApprovalAsked"]
    assert asked == [9.0]
    assert outcome.status is RunStatus.WAITING
    assert stage.began == {2: 0.0}


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        ('{"id": 9, "action": "nothing_like_it"}]}', "unknown_action"),
        ('{"id": 1, "action": "work"}]}', "duplicate_id"),
        ('{"id": 9, "action": "work", "dependencies": [77]}]}', "dangling_dependency"),
        ('{"id": 9, "action": "wo', "invalid_json"),
        ("", "invalid_json"),
        ('{"id": 9, "action": "work", "dependencies": [9]}]}', "self_reference"),
    ],
)
async def test_a_plan_that_turns_out_wrong_cancels_what_runs_of_it_and_says_so(rest, kind, autojump_clock) -> None:
    """Every problem of the whole text, and no task left."""
    stage, journal = Stage(), MemoryJournal()
    stage.seconds[1] = float(FOREVER)
    first = '{"steps": [{"id": 1, "action": "work", "parameters": {}}, '
    async with opened([stage.tool("work")], journal=journal) as troupe:
        tasks = trio.lowlevel.current_statistics().tasks_living
        with pytest.raises(PlanError) as caught:
            await troupe.run_plan(arriving([first, rest], 2.0))
        await trio.testing.wait_all_tasks_blocked()

        assert kind in {problem.kind for problem in caught.value.problems}
        assert stage.began == {1: 2.0}
        assert stage.cancelled == [1]
        assert trio.current_time() == 4.0
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        [run_id] = await journal.runs()
        [end] = [r for r in await journal.read(run_id) if type(r).__name__ == "RunEnded"]
        assert end.outcome.status is RunStatus.FAILED


async def test_a_second_plan_in_the_text_takes_the_place_of_the_first(autojump_clock) -> None:
    """What ran of the first is cancelled, and its results are nobody's."""
    stage = Stage()
    stage.seconds[1] = 5.0
    first, second = text({"id": 1}, {"id": 2}), text({"id": 2}, {"id": 3, "dependencies": [2]})
    async with opened([stage.tool("work")]) as troupe:
        outcome = await troupe.run_plan(arriving([first, "\nNo, better:\n", second], 1.0))

    assert outcome.status is RunStatus.SUCCESS
    assert list(outcome.steps) == [2, 3]
    assert stage.cancelled in ([1], [])
    assert stage.running.total() == 0


@pytest.mark.parametrize("size", [1, 7, 50])
async def test_a_second_plan_may_come_in_pieces_too(size, autojump_clock) -> None:
    """Was: what came after the beginning of the second plan was not read, and so the text was cut off."""
    stage = Stage()
    first, second = text({"id": 1}, {"id": 2}), text({"id": 2}, {"id": 3, "dependencies": [2]})
    source = f"{first}\nNo, better:\n{second}\nThat is all."
    chunks = [source[at : at + size] for at in range(0, len(source), size)]
    async with opened([stage.tool("work")]) as troupe:
        outcome = await troupe.run_plan(arriving(chunks, 0.1))

    assert outcome.status is RunStatus.SUCCESS
    assert list(outcome.steps) == [2, 3]


async def test_a_source_that_breaks_breaks_the_run_and_nothing_else(autojump_clock) -> None:
    """Whoever makes the text raises: the caller has the error, what ran is cancelled."""

    async def broken() -> AsyncIterator[str]:
        yield '{"steps": [{"id": 1, "action": "work", "parameters": {}}, '
        await trio.sleep(1)
        raise ConnectionError("the line went dead")

    stage = Stage()
    stage.seconds[1] = float(FOREVER)
    async with opened([stage.tool("work")]) as troupe:
        with pytest.raises((ConnectionError, BaseExceptionGroup)) as caught:
            await troupe.run_plan(broken())
        await trio.testing.wait_all_tasks_blocked()
        assert stage.running.total() == 0
        assert (await troupe.run_plan([{"id": 2, "action": "work"}])).ok

    assert isinstance(caught.value, ConnectionError), "not in a group: the caller did not open a nursery"


async def test_a_source_that_never_ends_is_bound_by_the_deadline(autojump_clock) -> None:
    async def endless() -> AsyncIterator[str]:
        yield '{"steps": [{"id": 1, "action": "work", "parameters": {}}, '
        while True:
            await trio.sleep(1)
            yield " "

    stage = Stage()
    async with opened([stage.tool("work")]) as troupe:
        outcome = await troupe.run_plan(endless(), timeout=30)

    assert (outcome.status, outcome.error.kind) == (RunStatus.FAILED, "deadline")
    assert trio.current_time() == 30.0
    assert stage.order == [1]


async def test_a_cancelled_caller_stops_source_and_steps(autojump_clock) -> None:
    closed: list[float] = []

    async def source() -> AsyncIterator[str]:
        try:
            yield '{"steps": [{"id": 1, "action": "work", "parameters": {}}, '
            await trio.sleep_forever()
        finally:
            closed.append(trio.current_time())

    stage = Stage()
    stage.seconds[1] = float(FOREVER)
    async with opened([stage.tool("work")]) as troupe:
        with trio.move_on_after(3) as scope:
            await troupe.run_plan(source())
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()

    assert stage.cancelled == [1]
    assert closed == [3.0]


@pytest.mark.parametrize("offset", range(0, len("".join(STREAMED["chunks"])) - 1, 29))
async def test_the_text_may_end_anywhere(offset, autojump_clock) -> None:
    """Cut off in the middle it is no plan, whatever of it has run."""
    source = "".join(STREAMED["chunks"])
    stage = Stage({"1": {"t": "A"}, "2": {"t": "B"}, "3": {"t": "AB"}})
    async with opened([stage.tool(name) for name in ("search", "compare", "reply_to_user")]) as troupe:
        with pytest.raises(PlanError):
            await troupe.run_plan(arriving([source[: offset // 2], source[offset // 2 : offset]], 0.1))

    stream = PlanStream()
    steps = stream.feed(source[:offset])
    assert set(stage.order) <= {step.id for step in steps}
