"""What is carried from one memory to another as lines: nothing is lost, halved, or brought back to life."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.memory.test_memory_contents import Stage, contents
from trouper.actors.memories import Memories
from trouper.actors.memory_data import KeptMemory, MemoryFilter, NewMemory, day
from trouper.actors.memory_lines import MOST_TOLD
from trouper.actors.memory_ranking import Blend
from trouper.adapters.store_memory import InMemoryStore
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import MemoryRefused, open_system

EVERY = MemoryFilter(namespace=None, dead=True)


async def exported(memories: Memories) -> list[str]:
    return [line async for line in memories.export(everybody=True)]


def facts(lines: Sequence[str]) -> list[dict[str, object]]:
    """What lines say, besides ids."""
    return [{k: v for k, v in json.loads(line).items() if k not in {"id", "superseded_by"}} for line in lines]


async def test_any_text_is_one_line_and_comes_back_as_it_was(autojump_clock) -> None:
    """Many readers end a line at more than a line feed."""
    texts = ["a\u2028b\u2029c\x85d\x0be\x1cf\r\ng", "ünï 漢字 🦄", "\ufeffmark", 'quote " and \\', "nul \0"]
    async with open_system() as system:
        stage = await Stage(background=False).start(system)
        await stage.memories.remember(texts, {"half": "\ud800", "deep": [{"ä": None}]}, tags=["ö"], half_life=9.5)
        stage.now += 5
        await stage.memories.recall("ünï", 2)
        lines = await exported(stage.memories)
    text = "\n".join(lines)
    assert text.encode()
    assert len(text.splitlines()) == len(texts)
    async with open_system() as system:
        other = await Stage().start(system)
        assert await other.memories.import_lines(text.splitlines()) == len(texts)
        back = await exported(other.memories)

    assert facts(back) == facts(lines)
    assert sum(line["accesses"] for line in facts(back)) == 2


async def test_what_was_superseded_stays_so_also_when_its_successor_was_erased(autojump_clock) -> None:
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember("The printer is from Acme")
        newer = await stage.memories.supersede(1, "The printer is from Bolt")
        await stage.memories.forget(newer)
        lines = await exported(stage.memories)
    async with open_system() as system:
        other = await Stage().start(system)
        assert await other.memories.import_lines(lines) == 1

        assert await contents(other.memories, "printer") == []
        assert facts(await exported(other.memories)) == facts(lines)


async def test_an_old_export_does_not_bring_back_what_was_replaced_since(autojump_clock) -> None:
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember(["The printer is from Acme", "Tea is at five"])
        lines = await exported(stage.memories)
        await stage.memories.supersede(1, "The printer is from Bolt")
        await stage.memories.forget(2)
        assert await stage.memories.import_lines(lines) == 2

        assert sorted(await contents(stage.memories, "printer tea")) == ["Tea is at five", "The printer is from Bolt"]


GOOD = {
    "id": 1,
    "content": "good",
    "namespace": "default",
    "category": "fact",
    "tags": [],
    "salience": 0.5,
    "half_life": None,
    "created": 1.0,
    "expires": None,
    "meta": {},
    "distinct": "",
    "superseded_by": None,
}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"content": 5}, "not a text"),
        ({"content": " "}, "empty"),
        ({"content": "x\ud800"}, "half a character"),
        ({"namespace": ""}, "namespace"),
        ({"category": None}, "category"),
        ({"tags": "abc"}, "not a list"),
        ({"tags": [1]}, "a tag"),
        ({"salience": 7}, "salience"),
        ({"salience": True}, "salience"),
        ({"half_life": 0}, "half_life"),
        ({"created": None}, "created"),
        ({"created": 1_795_424_904_702.0}, "created"),
        ({"expires": "never"}, "expires"),
        ({"meta": ["a"]}, "meta"),
        ({"meta": {"a": float("nan")}}, "meta"),
        ({"distinct": 4}, "distinct"),
        ({"distinct": "\ud800"}, "half a character"),
        ({"id": "1"}, "'id'"),
        ({"superseded_by": [1]}, "superseded_by"),
        ({"accesses": -1}, "accesses"),
        ({"accessed": "now"}, "accessed"),
    ],
)
async def test_a_line_with_a_wrong_value_is_told_and_nothing_is_stored(autojump_clock, wrong, why: str) -> None:
    async with open_system() as system:
        stage = await Stage().start(system)
        with pytest.raises(MemoryRefused, match=rf"nothing was imported: line 2: .*{why}"):
            await stage.memories.import_lines([json.dumps(GOOD), json.dumps({**GOOD, **wrong})])

        assert await stage.memories.count() == 0
        assert stage.ref.incarnation == 1


async def test_every_bad_line_is_named_and_none_of_a_thousand_good_ones_is_stored(autojump_clock) -> None:
    lines = [json.dumps({**GOOD, "id": n, "content": f"text {n}"}) for n in range(1, 1001)]
    lines[6], lines[699], lines[999] = "{", "[]", json.dumps({"content": "x"})
    async with open_system() as system:
        stage = await Stage().start(system)
        with pytest.raises(MemoryRefused, match=r"3 lines are .*line 7: .*; line 700: .*; line 1000: ") as caught:
            await stage.memories.import_lines(lines)
        with pytest.raises(MemoryRefused, match=rf"and {1000 - MOST_TOLD} more lines"):
            await stage.memories.import_lines(["{"] * 1000)

        assert "line 8:" not in str(caught.value)
        assert await stage.memories.count() == 0
        assert await stage.memories.import_lines(line for line in lines if line.startswith('{"id"')) == 997


async def test_an_empty_name_is_nobodys_namespace(autojump_clock) -> None:
    """Else who forgets to say whose memory is meant erases that of everybody who says nothing."""
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember("mine")
        for name in ("", "  ", "n" * 201, "\ud800", 7):
            with pytest.raises(MemoryRefused, match="namespace"):
                stage.memories.of(name)

        assert await stage.memories.count() == 1


async def test_a_single_text_is_one_tag_and_one_category(autojump_clock) -> None:
    """A text is a sequence too, of letters."""
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember("a door", tags="home", category="note")
        await stage.memories.remember("a gate")

        assert await contents(stage.memories, "door", tags="home", categories="note") == ["a door"]
        assert await stage.memories.forget(tags="home", categories="note") == 1


@pytest.mark.parametrize("moment", [1e300, -1e300, 1_795_424_904_702.0, float("inf")])
def test_a_date_that_no_calendar_has_is_unknown_and_no_crash(moment: float) -> None:
    """Files of before may hold milliseconds; planning shows the day of a memory."""
    assert day(moment) == "unknown"
    assert day(1_795_424_904.7) == "2026-11-23"


@pytest.mark.parametrize("name", ["recency", "salience", "uses", "recency_half_life"])
@pytest.mark.parametrize("weight", [float("inf"), float("nan"), -1.0])
def test_a_weight_that_gives_no_score_is_a_mistake(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=name):
        Blend(**{name: weight})


# ------------------------------------------------------------------ the store's part of it


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path):
    """Both stores; now is 100."""
    made = (
        InMemoryStore(now=lambda: 100.0)
        if request.param == "memory"
        else SqliteMemoryStore(tmp_path / "m.sqlite", now=lambda: 100.0)
    )
    yield made
    await made.aclose()


def kept(content: str, *, superseded: bool = False, accesses: int = 0, **said: object) -> KeptMemory:
    return KeptMemory(memory=NewMemory(content=content, **said), superseded=superseded, accesses=accesses, accessed=7.0)


async def test_what_is_restored_is_what_it_was_and_what_is_known_stays(store) -> None:
    one, two, three = await store.add(
        [NewMemory(content="alive", salience=0.1), NewMemory(content="dead"), NewMemory(content="over", expires=99.0)]
    )
    new = await store.supersede([two], NewMemory(content="new"))
    rows = [
        kept("alive", superseded=True, salience=0.9, accesses=5),
        kept("dead"),
        kept("over", expires=200.0),
        kept("unknown", superseded=True, created=3.0, accesses=4, vector=b"\0" * 8, embedder="e"),
        kept("fresh", tags=("t",)),
        kept("fresh", tags=("u",)),
    ]
    ids = await store.restore(rows)
    found = {row.content: row for row in await store.page(0, 99, EVERY)}

    assert ids[:3] == (one, two, three)
    assert ids[3] != ids[4] == ids[5]
    assert (found["alive"].superseded_by, found["alive"].salience, found["alive"].accesses) == (None, 0.1, 0)
    assert found["dead"].superseded_by == new
    assert found["over"].alive(100.0)
    assert (found["unknown"].superseded_by, found["unknown"].created) == (0, 3.0)
    assert (found["unknown"].accesses, found["unknown"].accessed) == (4, 7.0)
    assert found["fresh"].tags == ("t",)
    assert await store.vector_ids("e", 2) == (ids[3],)
    assert await store.restore(rows) == ids
    assert (await store.get([ids[3]]))[0].accesses == 4


async def test_restoring_what_cannot_be_stored_stores_nothing(store) -> None:
    with pytest.raises(MemoryRefused):
        await store.restore([kept("good"), kept("bad", salience=2)])

    assert await store.count() == 0


async def test_a_known_memory_without_a_vector_gets_the_one_that_was_made_for_it(store) -> None:
    (number,) = await store.add([NewMemory(content="a")])
    await store.restore([kept("a", vector=b"\0" * 8, embedder="e")])

    assert await store.vector_ids("e", 2) == (number,)
