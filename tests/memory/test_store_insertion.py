"""What is put into a store at once is checked, sealed and written once, and is the same as if it came one by one."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.actors.memory_data import MemoryFilter, NewMemory
from trouper.actors.protocols import Question
from trouper.adapters import store_insert
from trouper.adapters.memory_rows import row_seal, seal_around, seal_between
from trouper.adapters.store_memory import InMemoryStore
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.adapters.store_words import _FREQUENT
from trouper.runtime import MemoryRefused

EVERYTHING = MemoryFilter(namespace=None, dead=True)
WORDS = st.text(alphabet=st.characters(exclude_categories=("Cs",)))
COLUMN = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | WORDS


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.io)])
async def store(request: pytest.FixtureRequest, tmp_path: Path):
    made = (
        InMemoryStore(now=lambda: 1000.0)
        if request.param == "memory"
        else SqliteMemoryStore(tmp_path / "m.sqlite", now=lambda: 1000.0)
    )
    yield made
    await made.aclose()


@given(WORDS, st.lists(COLUMN, min_size=1), st.lists(WORDS))
def test_a_seal_of_prepared_pieces_is_the_seal_of_the_row(namespace: str, said: list[object], texts: list[str]) -> None:
    """Whatever the columns are: the rows of a file must not be taken for damaged."""
    around = seal_around(namespace, said)
    for text in texts:
        assert seal_between(around, text) == row_seal([namespace, text, *said])


@pytest.mark.parametrize("seed", range(8))
async def test_many_at_once_are_what_they_are_one_by_one(store, monkeypatch, seed: int) -> None:
    """Texts that come twice, live for some time, are dead already, share what is said of them or do not."""
    monkeypatch.setattr(store_insert, "_SLICE", [100, 7][seed % 2])
    rng = random.Random(seed)
    metas = [{}, {"a": 1}, {"a": True}, {"a": 1.0}]

    def row() -> NewMemory:
        return NewMemory(
            content=f"text {rng.randrange(12)}",
            namespace=rng.choice(["default", "anna"]),
            expires=rng.choice([None, 900, 900.0, 1001, 1002.5, 1003]),
            salience=rng.choice([0, 0.0, -0.0, 1, 0.5]),
            half_life=rng.choice([None, 5, 5.0]),
            created=rng.choice([None, 7, 7.5]),
            tags=rng.choice([(), ("x",), ("x", "y", "x")]),
            meta=rng.choice(metas),
            distinct=rng.choice(["", "", "d"]),
        )

    rows = [row() for _ in range(60)]
    other = InMemoryStore(now=lambda: 1000.0)
    one_by_one: list[int] = []
    for start in range(0, 60, 20):
        together = await store.add(rows[start : start + 20])
        one_by_one = [(await other.add([one]))[0] for one in rows[start : start + 20]]

        assert list(together) == one_by_one
        assert await store.page(0, 99, EVERYTHING) == await other.page(0, 99, EVERYTHING)
        for word in ("text", *map(str, range(12))):
            meant = await store.select(EVERYTHING)
            assert await store.find_words(word, 99, meant) == await other.find_words(word, 99, meant)
        await store.delete(together[:3])
        await other.delete(one_by_one[:3])
    await other.aclose()


async def test_one_that_is_refused_among_many_leaves_nothing(store) -> None:
    """Also where those before it were written already, in the same transaction."""
    with pytest.raises(MemoryRefused):
        await store.add([*(NewMemory(content=str(n)) for n in range(250)), NewMemory(content="")])

    assert await store.count() == 0


async def test_which_of_some_ids_a_filter_means_is_what_it_means_of_all(store) -> None:
    ids = await store.add(
        [
            NewMemory(content=str(n), namespace="ab"[n % 2], meta={"n": n % 3}, expires=[None, 900.0, 1005.0][n % 3])
            for n in range(1_200)
        ]
    )
    await store.supersede([ids[8]], NewMemory(content="8!", namespace="a"))
    filters = [
        MemoryFilter(namespace="a"),
        MemoryFilter(namespace=None, dead=True),
        MemoryFilter(namespace="b", where={"n": [0, 2]}),
        MemoryFilter(namespace="nobody"),
    ]
    some = [*ids[3:1_100], 99_999, ids[3]]

    found = await store.select_among(filters, some)
    for meant, one in zip(filters, found, strict=True):
        whole = await store.select(meant)
        assert set(one) == set(whole) & set(some)
        assert one.count == len(set(one))
        assert one.until == whole.until


async def test_a_close_look_shows_rows_likeness_and_state(store) -> None:
    v1, v2 = struct.pack("<2f", 1, 0), struct.pack("<2f", 0.6, 0.8)
    rows = [NewMemory(content=t, vector=v, embedder="emb") for t, v in (("one", v1), ("two", v2))]
    one, two = await store.add(rows)
    (bare,) = await store.add([NewMemory(content="three")])

    looked = await store.look([two, 99, bare, one], Question("emb", v1))
    assert [row.content for row in looked.rows] == ["two", "three", "one"]
    assert looked.likeness == pytest.approx({one: 1.0, two: 0.6})
    assert looked.generation == await store.generation()
    assert (await store.look([one])).likeness == {}
    assert (await store.look([one], Question("other", v1))).likeness == {}
    assert (await store.look([])).generation == looked.generation


async def test_frequent_words_are_looked_for_when_that_is_wanted(store) -> None:
    """Without vectors words are all there is, and a namespace must not be without answers for what others have."""
    await store.add([NewMemory(content=f"printer note {n}", namespace="bob") for n in range(_FREQUENT + 200)])
    await store.add([NewMemory(content=f"table entry {n}", namespace="bob") for n in range(_FREQUENT + 200)])
    (blue,) = await store.add([NewMemory(content="my printer is blue", namespace="anna")])
    anna, bob = await store.select(MemoryFilter(namespace="anna")), await store.select(MemoryFilter(namespace="bob"))

    for query in ("printer zebra", "printer note", "printer table zebra"):
        assert [n for n, _ in await store.find_words(query, 9, anna, thorough=True)] == [blue]
    assert await store.find_words("printer", 9, anna) == ((blue, 1.0),)
    assert len(await store.find_words("printer table", 9, bob, thorough=True)) == 9
    assert len(await store.find_words("printer unknown", 9, bob, thorough=True)) == 9
    (best, share), *others = await store.find_words("blue printer", 9, await store.select(EVERYTHING), thorough=True)
    assert best == blue
    assert all(score < share for _, score in others)


async def test_what_is_stored_is_what_was_said_to_the_last_bit(store) -> None:
    """Equal values that are written differently are not taken for each other when they come together; a store knows
    no `-0.0`, and must not take what it wrote for damaged."""
    (one, two) = await store.add([NewMemory(content="a", salience=0.0), NewMemory(content="b", salience=-0.0)])
    (three, four) = await store.add([NewMemory(content="c", meta={"a": 1}), NewMemory(content="d", meta={"a": True})])

    rows = await store.get([one, two, three, four])
    assert [json.dumps([row.salience, row.meta]) for row in rows] == [
        "[0.0, {}]",
        "[0.0, {}]",
        '[0.5, {"a": 1}]',
        '[0.5, {"a": true}]',
    ]
