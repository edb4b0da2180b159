"""What makes no sense is refused where it is asked, and no number of such questions ends the memory for others."""

from __future__ import annotations

import pytest

from tests.memory.test_memory_contents import Stage, contents
from trouper.actors.memory_data import MemoryFilter, NewMemory
from trouper.actors.memory_messages import MOST_TEXTS
from trouper.adapters.store_memory import InMemoryStore
from trouper.runtime import MemoryRefused, open_system


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"where": "abc"}, "give a mapping"),
        ({"where": 5}, "give a mapping"),
        ({"where": {f"k{n}": 1 for n in range(65)}}, "65 conditions"),
        ({"where": {"k": list(range(10_001))}}, "10,001 values"),
        ({"tags": [str(n) for n in range(65)]}, "65 tags"),
        ({"categories": [str(n) for n in range(501)]}, "501 categories"),
        ({"blend": 5}, "Blend"),
        ({"hybrid": "maybe"}, "true or false"),
        ({"superseded": 1}, "true or false"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_and_costs_nobody_anything(
    autojump_clock, options: dict[str, object], why: str
) -> None:
    """Was: some crashed the memory, of which four in five seconds end it; others blamed the disk."""
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember("a fact")
        with pytest.raises(MemoryRefused, match=why):
            await stage.memories.recall("fact", **options)

        assert await contents(stage.memories, "fact") == ["a fact"]
        assert stage.ref.incarnation == 1


@pytest.mark.parametrize("turns", ["x", None, 1.5, True, -1, 1_001])
async def test_a_conversation_has_a_whole_number_of_turns(autojump_clock, turns: object) -> None:
    async with open_system() as system:
        stage = await Stage().start(system)
        with pytest.raises(MemoryRefused, match="whole number"):
            await stage.memories.conversation("c", turns)  # type: ignore[arg-type]
        assert stage.ref.incarnation == 1


async def test_thousands_of_values_are_looked_for_exactly(autojump_clock) -> None:
    """Was: more than a thousand were too many for SQLite, and the disk was blamed."""
    values = [None, True, False, 0, 1, 1.5, -(2**63), 2**63 - 1, "0", "1", "true", "null", "", 'quote " and \\', "é"]
    store = InMemoryStore()
    await store.add([NewMemory(content=f"{n}", meta={"k": value}) for n, value in enumerate(values)])
    there = await store.get(range(1, len(values) + 1))
    others = list(range(10, 5_000))
    for value in values:
        for wanted in ([value], [value, *others], [*others, str(value)]):
            meant = MemoryFilter(where={"k": wanted})

            assert list(await store.select(meant)) == [row.id for row in there if meant.matches(row, 0.0)], value


async def test_as_many_texts_as_are_taken_at_once_are_stored_in_their_order(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage().start(system)).memories
        texts = [f"fact {n % 6_000}" for n in range(MOST_TEXTS)]
        ids = await memories.remember(texts, {"n": 1}, tags=["t"], ttl=50)

        assert ids[:6_000] == tuple(range(1, 6_001))
        assert ids[6_000:] == ids[:4_000]
        with pytest.raises(MemoryRefused, match="text 9000 of 9001 is empty"):
            await memories.remember([*texts[:8_999], " ", "x"])
        rows = [row async for row in memories.read()]
        assert [row.content for row in rows] == texts[:6_000]
        assert {(row.tags, row.expires) for row in rows} == {(("t",), 1_000_050.0)}
