"""Random plans in which everything comes together: run, cancelled, late, killed, resumed. Failures name their seed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from random import Random

import pytest
import trio
import trio.testing

from tests.execution.everything import Watched, Writer, check, tools
from tests.execution.idle_slots import watched_slots
from tests.execution.stage import opened, parallel
from tests.execution.test_crash_everywhere import PATIENT, CrashAt
from trouper import Outcome, RunStatus, Troupe
from trouper.runtime import MemoryJournal, Record

QUICK, MANY = 40, 4000


async def answered(troupe: Troupe, outcome: Outcome, chance: Random) -> Outcome:
    """Answer whatever is asked, and go on, until nothing is asked any more."""
    for _ in range(50):
        assert outcome.error is None or outcome.error.kind != "deadline", "it was stuck"
        if outcome.status not in {RunStatus.WAITING, RunStatus.IN_DOUBT}:
            return outcome
        assert outcome.questions
        for question in outcome.questions:
            await troupe.approve(outcome.run_id, question.address, ok=chance.random() < 0.8)
        outcome = await troupe.resume(outcome.run_id)
    raise AssertionError("it asks for ever")


async def the_records(journal: MemoryJournal) -> tuple[Record, ...]:
    return tuple(await journal.read((await journal.runs())[-1]))


def sections(slots: int, chance: Random) -> dict[str, object]:
    return parallel(max_parallel_steps=slots, level_barrier=chance.random() < 0.2)


async def run_one(seed: int) -> None:
    chance = Random(seed)
    slots = chance.choice((1, 2, 3, 8))
    stage, journal = Watched(liar=chance.random() < 0.3), MemoryJournal()
    plan = Writer(seed).plan()
    async with opened(tools(stage), journal=journal, **sections(slots, chance)) as troupe:
        tasks = trio.lowlevel.current_statistics().tasks_living
        outcome = await answered(troupe, await troupe.run_plan(plan, timeout=10_000), chance)
        await trio.testing.wait_all_tasks_blocked()
        assert check(await the_records(journal), stage, slots) == outcome
        assert trio.lowlevel.current_statistics().tasks_living == tasks


async def cut_one(seed: int) -> None:
    """Cancelled, or late, at any time."""
    chance = Random(seed)
    slots = chance.choice((1, 2, 3, 8))
    stage, journal = Watched(liar=chance.random() < 0.3), MemoryJournal()
    plan = Writer(seed).plan()
    when = chance.choice((0.25, 0.5, 0.75, 1.25, 2.0, 3.75))
    async with opened(tools(stage), journal=journal, **sections(slots, chance)) as troupe:
        tasks = trio.lowlevel.current_statistics().tasks_living
        if chance.random() < 0.5:
            outcome = await troupe.run_plan(plan, timeout=when)
        else:
            outcome = None
            with trio.move_on_after(when):
                outcome = await troupe.run_plan(plan)
        await trio.testing.wait_all_tasks_blocked()
        ended = check(await the_records(journal), stage, slots)
        assert outcome is None or outcome == ended
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        stage.most_of.clear()
        again = [{"id": n, "action": "capped", "parameters": {"seconds": 1}} for n in (1, 2)]
        assert (await troupe.run_plan(again)).ok
        assert stage.most_of["capped"] == min(2, slots)


async def crashed_one(seed: int) -> None:
    """The executor crashes before some step of some task, or twice."""
    chance = Random(seed)
    slots = chance.choice((1, 2, 3, 8))
    stage, journal = Watched(liar=chance.random() < 0.3), MemoryJournal()
    plan = Writer(seed).plan()
    options = {**PATIENT, **sections(slots, chance)}
    async with opened(tools(stage), journal=journal, **options) as troupe:
        crashes = [CrashAt(troupe, "executor", chance.randint(1, 150)) for _ in range(chance.randint(1, 2))]
        for instrument in crashes:
            trio.lowlevel.add_instrument(instrument)
        outcome = await answered(troupe, await troupe.run_plan(plan, timeout=10_000), chance)
        for instrument in crashes:
            trio.lowlevel.remove_instrument(instrument)
        await trio.testing.wait_all_tasks_blocked()
        assert check(await the_records(journal), stage, slots, cut_off=True) == outcome


async def arriving_one(seed: int) -> None:
    """The text of the plan arrives in pieces, while what is there of it runs."""
    chance = Random(seed)
    slots = chance.choice((1, 2, 3, 8))
    stage, journal = Watched(liar=chance.random() < 0.3), MemoryJournal()
    text, size = json.dumps({"steps": Writer(seed).plan()}), chance.choice((7, 60, 300))

    async def pieces() -> AsyncIterator[str]:
        for at in range(0, len(text), size):
            yield text[at : at + size]
            if chance.random() < 0.2:
                await trio.sleep(0.25)

    async with opened(tools(stage), journal=journal, **sections(slots, chance)) as troupe:
        tasks = trio.lowlevel.current_statistics().tasks_living
        outcome = await answered(troupe, await troupe.run_plan(pieces(), timeout=10_000), chance)
        await trio.testing.wait_all_tasks_blocked()
        assert check(await the_records(journal), stage, slots) == outcome
        assert trio.lowlevel.current_statistics().tasks_living == tasks


async def killed_one(seed: int) -> None:
    """The journal breaks off anywhere; another program goes on."""
    chance = Random(seed)
    slots = chance.choice((1, 2, 3, 8))
    plan = Writer(seed).plan()
    stage, journal = Watched(), MemoryJournal()
    async with opened(tools(stage), journal=journal, **parallel(max_parallel_steps=slots)) as troupe:
        await troupe.run_plan(plan, timeout=10_000)
    records = await the_records(journal)
    cut = chance.randint(2, len(records))
    stage, journal = Watched(), MemoryJournal()
    for record in records[:cut]:
        journal.append(record)
    async with opened(tools(stage), journal=journal, **parallel(max_parallel_steps=slots)) as troupe:
        outcome = await answered(troupe, await troupe.resume(records[0].run_id, timeout=10_000), chance)
        assert check(await the_records(journal), stage, slots, cut_off=True) == outcome


def play(one, seed: int) -> None:
    """On a clock of its own, always in the same order; and no slot is free that somebody waits for."""
    with pytest.MonkeyPatch.context() as patch, watched_slots() as slots:
        patch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        patch.setattr(trio._core._run, "_r", Random(seed))
        try:
            trio.run(one, seed, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[slots])
        except BaseException as error:
            error.add_note(f"replay: play({one.__name__}, {seed}); the plan: Writer({seed}).plan()")
            raise


@pytest.mark.parametrize("one", [run_one, cut_one, arriving_one, crashed_one, killed_one])
@pytest.mark.parametrize("batch", range(5))
def test_every_run_of_every_plan_keeps_its_promises(one, batch) -> None:
    for seed in range(batch * QUICK, (batch + 1) * QUICK):
        play(one, seed)


@pytest.mark.slow
@pytest.mark.parametrize("one", [run_one, cut_one, arriving_one, crashed_one, killed_one])
def test_many_runs_of_many_plans_keep_their_promises(one) -> None:
    for seed in range(10_000, 10_000 + MANY):
        play(one, seed)


@pytest.mark.parametrize("seed", [92510])
def test_a_run_that_is_cut_off_leaves_no_place_of_a_tool_taken(seed) -> None:
    """What a dead run gave back was granted to a step of the same dead run, and never came back."""
    play(cut_one, seed)


@pytest.mark.parametrize("seed", [211445, 212542])
def test_a_slot_that_becomes_free_while_a_plan_closes_is_granted_to_nobody_in_it(seed: int) -> None:
    """Was: granted to a step whose nursery had closed already, which crashed the executor."""
    play(cut_one, seed)


def test_a_run_that_is_gone_on_with_is_no_moment_older_than_it_was() -> None:
    """Was: by the rounding of its beginning a step in hand at the kill had ended before it began."""
    play(killed_one, 10212)


def test_two_sub_plans_that_are_cut_off_keep_no_slot_from_each_other() -> None:
    """Was: one waited to try again, the other failed for good, and the free slots were offered to nobody: it hung."""
    play(killed_one, 13043)


@pytest.mark.parametrize("one", [run_one, arriving_one])
def test_elements_that_are_sub_plans_may_have_a_tool_for_a_fallback(one) -> None:
    """Was: what the fallback gave was looked for under the name of the sub-plan, and the executor crashed."""
    play(one, 20164)
