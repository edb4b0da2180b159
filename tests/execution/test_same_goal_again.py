"""`execute(idempotency_key=...)`: whoever asks with the same key again gets the run that had it first."""

from __future__ import annotations

import json

import trio

from tests.execution.stage import opened
from trouper import Effect, Outcome, RunStatus, Tool, Troupe, tool
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.runtime import MemoryJournal

GOAL = "Is the table booked?"  # a question: it is not remembered, which would take a thread
PLAN = json.dumps({"steps": [{"id": 1, "action": "book", "parameters": {}}]})


class Table:
    """A tool that counts how often it was called, and takes a second."""

    def __init__(self) -> None:
        self.booked = 0

    def tool(self) -> Tool:
        @tool(name="book", effect=Effect.ONCE)
        async def book() -> int:
            await trio.sleep(1)
            self.booked += 1
            return self.booked

        return book


async def test_the_same_key_again_gives_the_same_outcome_and_does_nothing(autojump_clock) -> None:
    table, journal = Table(), MemoryJournal()
    async with opened([table.tool()], llm=ScriptedModel(lambda _: PLAN), journal=journal) as troupe:
        first = await troupe.execute(GOAL, idempotency_key="table-7")
        again = await troupe.execute(GOAL, idempotency_key="table-7")
        other = await troupe.execute(GOAL, idempotency_key="table-8")

    assert first.status is RunStatus.SUCCESS
    assert again == first
    assert (other.run_id != first.run_id, table.booked) == (True, 2)


async def test_a_run_that_is_at_work_is_waited_for(autojump_clock) -> None:
    table = Table()
    found: list[Outcome] = []

    async def ask(troupe: Troupe) -> None:
        found.append(await troupe.execute(GOAL, idempotency_key="table-7"))

    async with opened([table.tool()], llm=ScriptedModel(lambda _: PLAN)) as troupe, trio.open_nursery() as nursery:
        nursery.start_soon(ask, troupe)
        await trio.sleep(0.5)
        nursery.start_soon(ask, troupe)

    assert found[0] == found[1]
    assert table.booked == 1


async def test_without_a_key_every_call_is_a_run_of_its_own(autojump_clock) -> None:
    table = Table()
    async with opened([table.tool()], llm=ScriptedModel(lambda _: PLAN)) as troupe:
        runs = {(await troupe.execute(GOAL)).run_id for _ in range(2)}

    assert (len(runs), table.booked) == (2, 2)
