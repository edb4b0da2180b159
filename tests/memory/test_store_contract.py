"""Every memory store keeps the same promises; the one on disk also against damage and others."""

from __future__ import annotations

import math
import random
import sqlite3
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from trouper.actors.memory_data import MemoryFilter, MemoryRow, NewMemory
from trouper.actors.protocols import Generation
from trouper.adapters.sqlite_thread import SqliteThread
from trouper.adapters.store_memory import InMemoryStore
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import MemoryFailed, MemoryRefused

V1, V2 = struct.pack("<2f", 1, 0), struct.pack("<2f", 0, 1)


def row(text: str, vector: bytes = V1, **meta: object) -> NewMemory:
    return NewMemory(content=text, meta=meta, vector=vector, embedder="emb")


async def everything(store) -> tuple[MemoryRow, ...]:
    return await store.page(0, 10_000, MemoryFilter(namespace=None, dead=True))


async def vector_of(store, number: int, embedder: str = "emb") -> bytes | None:
    return dict(await store.vectors_of(embedder, 2, [number])).get(number)


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.io)])
async def store(request: pytest.FixtureRequest, tmp_path: Path):
    ticks = iter(range(1000, 9999))
    made = (
        InMemoryStore(now=lambda: float(next(ticks)))
        if request.param == "memory"
        else SqliteMemoryStore(tmp_path / "a" / "m.sqlite", now=lambda: float(next(ticks)))
    )
    yield made
    await made.aclose()


class Time:
    now = 1000.0


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.io)])
async def clocked(request: pytest.FixtureRequest, tmp_path: Path):
    clock = Time()
    made = (
        InMemoryStore(now=lambda: clock.now)
        if request.param == "memory"
        else SqliteMemoryStore(tmp_path / "c.sqlite", now=lambda: clock.now)
    )
    yield made, clock
    await made.aclose()


# ------------------------------------------------------------------ the contract


async def test_what_was_added_is_there(store) -> None:
    ids = await store.add([row("one", V1, a=1, b=["x", None]), row("two", V2)])

    first, second = await store.get(ids)
    assert (first.content, first.meta) == ("one", {"a": 1, "b": ["x", None]})
    assert (second.id, second.content) == (ids[1], "two")
    assert first.created == second.created
    assert await everything(store) == (first, second)
    assert await store.vectors("emb", 2, 0, 9) == [(first.id, V1), (second.id, V2)]
    assert await store.count() == 2


async def test_the_same_content_keeps_its_id_and_is_stored_once(store) -> None:
    (one,) = await store.add([row("one", a=1)])
    ids = await store.add([row("two"), row("one", a=2), row("two")])

    assert ids[1] == one
    assert ids[0] == ids[2] != one
    assert await store.count() == 2
    assert (await store.get([one]))[0].meta == {"a": 1}


async def test_rows_come_in_the_order_asked_and_missing_ones_are_left_out(store) -> None:
    a, b = await store.add([row("a"), row("b")])

    assert [r.id for r in await store.get([b, 999, a, b])] == [b, a, b]
    assert await store.get([]) == ()


async def test_ids_are_never_used_twice(store) -> None:
    (first,) = await store.add([row("a")])
    assert await store.delete([first, first, 77]) == 1
    (second,) = await store.add([row("a")])

    assert second > first
    assert await store.get([first]) == ()


async def test_the_generation_grows_by_one_with_each_change_and_with_nothing_else(store) -> None:
    async def change_by(change: Callable) -> int:
        before = await store.generation()
        try:
            await change()
        finally:
            after = await store.generation()
            assert (after == before) is (after.number == before.number)
        return after.number - before.number

    assert await change_by(lambda: store.add([row("a"), row("b")])) == 1
    assert await change_by(lambda: store.add([row("a")])) == 1
    assert await change_by(lambda: store.set_vectors([(1, V2, "new")])) == 1
    assert await change_by(lambda: store.delete([2])) == 1
    assert await change_by(lambda: store.get([1])) == 0
    assert await change_by(lambda: everything(store)) == 0
    assert await change_by(lambda: store.count_uses({1: 1})) == 0
    with pytest.raises(MemoryRefused):
        await change_by(lambda: store.add([row("good"), row("")]))
    assert await change_by(store.count) == 0


async def test_an_embedder_has_its_own_vectors_and_they_never_change(store) -> None:
    (one,) = await store.add([row("one", V1, a=1)])
    before = await everything(store)
    await store.set_vectors([(one, V2, "other"), (99, V2, "other"), (one, V2, "emb"), (one, V1 + V1, "emb")])

    assert await everything(store) == before
    assert (await vector_of(store, one), await vector_of(store, one, "other")) == (V1, V2)
    assert await store.embedders() == {("emb", 2): 1, ("other", 2): 1, ("emb", 4): 1}
    assert await store.vector_ids("other", 2) == (one,)
    assert await store.vector_ids("other", 4) == ()

    await store.drop_vectors("emb", 2)
    assert await store.embedders() == {("other", 2): 1, ("emb", 4): 1}
    assert await store.without_vector("emb", 2, 0, 9) == ((one, "one"),)
    assert await store.without_vector("other", 2, 0, 9) == ()


@pytest.mark.parametrize(
    "text", ["a\0b", "日本語 🤷", "'; DROP TABLE memory; --", " x ", "\r\n", "a" * 1_000_000, "é", "e\u0301"]
)
async def test_any_text_comes_back_as_it_was(store, text: str) -> None:
    ids = await store.add([row(text, note=text)])

    (found,) = await store.get(ids)
    assert (found.content, found.meta) == (text, {"note": text})


async def test_texts_that_only_look_alike_are_two_memories(store) -> None:
    assert len(set(await store.add([row("é"), row("e\u0301"), row("E"), row("e"), row("e ")]))) == 5


@pytest.mark.parametrize(
    "bad",
    [
        row(""),
        row("\ud800"),
        row("x", b""),
        row("x", b"123"),
        row("x", a=math.nan),
        row("x", a=object()),
        NewMemory(content="x", meta={1: 2}),
        NewMemory(content="x", meta={"a": {"\ud800": 1}}, tags=("\ud800",)),
        NewMemory(content="x", namespace=""),
        NewMemory(content="x", namespace="n" * 201),
        NewMemory(content="x", category=" "),
        NewMemory(content="x", tags=("",)),
        NewMemory(content="x", tags=tuple(map(str, range(65)))),
        NewMemory(content="x", salience=1.1),
        NewMemory(content="x", salience=math.nan),
        NewMemory(content="x", salience=True),
        NewMemory(content="x", half_life=0),
        NewMemory(content="x", half_life=10**400),
        NewMemory(content="x", expires=math.inf),
        NewMemory(content="x", created="yesterday"),
    ],
)
async def test_what_cannot_be_stored_is_refused_with_everything_beside_it(store, bad) -> None:
    with pytest.raises(MemoryRefused):
        await store.add([row("good"), bad])

    assert await store.count() == 0


async def test_a_bad_new_vector_is_refused(store) -> None:
    (one,) = await store.add([row("one")])

    with pytest.raises(MemoryRefused):
        await store.set_vectors([(one, V2, "e"), (one, b"1", "e")])
    assert await vector_of(store, one) == V1
    assert await vector_of(store, one, "e") is None


async def words(store, query: str, limit: int, meant: MemoryFilter) -> tuple[tuple[int, float], ...]:
    """What shares words with `query`, among what is meant."""
    return await store.find_words(query, limit, await store.select(meant))


def every(**changes: object) -> MemoryFilter:
    return MemoryFilter(**{"namespace": None, **changes})


async def selected(store, meant: MemoryFilter) -> set[int]:
    """The same by SQL, by pages, and by the filter itself."""
    ids = set(await store.select(meant))
    rows = await store.page(0, 10_000, meant)
    assert [row.id for row in rows] == sorted(ids)
    assert {row.id for row in await everything(store) if meant.matches(row, store._now())} == ids
    return ids


async def test_namespaces_do_not_see_each_other(clocked) -> None:
    store, _ = clocked
    ids = await store.add([NewMemory(content="same", namespace=name) for name in ("anna", "bob", "anna")])

    assert ids[0] == ids[2] != ids[1]
    assert await selected(store, MemoryFilter(namespace="anna")) == {ids[0]}
    assert await selected(store, MemoryFilter(namespace="bob")) == {ids[1]}
    assert await selected(store, MemoryFilter()) == set()
    assert await selected(store, every()) == {*ids}
    assert await words(store, "same", 9, MemoryFilter(namespace="bob")) == ((ids[1], 1.0),)


async def test_the_same_text_told_apart_is_two_memories(store) -> None:
    rows = [NewMemory(content="yes", distinct=d) for d in ("", "turn 1", "turn 2", "turn 1")]
    ids = await store.add(rows)

    assert len(set(ids)) == 3
    assert ids[1] == ids[3]
    assert [r.distinct for r in await store.get(ids)] == ["", "turn 1", "turn 2", "turn 1"]


async def test_what_has_expired_is_not_meant_and_begins_anew(clocked) -> None:
    store, clock = clocked
    short, long = await store.add([NewMemory(content=t, expires=1000 + s) for t, s in (("short", 5), ("long", 50))])
    await store.add([NewMemory(content="short", expires=1007.0), NewMemory(content="long", expires=1001.0)])
    clock.now = 1006.9
    assert await selected(store, MemoryFilter()) == {short, long}
    assert (await store.select(MemoryFilter())).until == 1007.0
    clock.now = 1007.0
    assert await selected(store, MemoryFilter()) == {long}
    assert await selected(store, MemoryFilter(dead=True)) == {short, long}
    assert await store.expired(9) == (short,)
    assert await words(store, "short", 9, MemoryFilter()) == ()

    assert await store.add([NewMemory(content="short", meta={"again": True})]) == (short,)
    (row_,) = await store.get([short])
    assert (row_.expires, row_.meta, row_.created) == (None, {"again": True}, 1007.0)
    assert await selected(store, MemoryFilter()) == {short, long}
    await store.add([NewMemory(content="long")])
    assert (await store.get([long]))[0].expires is None


async def test_what_is_superseded_is_kept_and_not_meant(store) -> None:
    old, other = await store.add([row("the capital is Bonn"), NewMemory(content="else", namespace="anna")])
    new = await store.supersede([old], row("the capital is Berlin"))

    assert new not in {old, other}
    assert await selected(store, MemoryFilter()) == {new}
    assert await selected(store, MemoryFilter(dead=True)) == {old, new}
    assert (await store.get([old]))[0].superseded_by == new
    assert [n for n, _ in await words(store, "capital", 9, MemoryFilter())] == [new]
    for ids, by in (([other], row("x")), ([999], row("x")), ([new], row("the capital is Berlin")), ([new], row(""))):
        before = await store.generation()
        with pytest.raises(MemoryRefused):
            await store.supersede(ids, by)
        assert await store.generation() == before
    assert await store.add([row("the capital is Bonn")]) == (old,)
    assert await selected(store, MemoryFilter()) == {old, new}


@pytest.mark.parametrize("seed", range(5))
async def test_a_filter_means_the_same_in_sql_and_in_python(clocked, seed: int) -> None:
    """Random memories and random filters over awkward values: SQL, pages and `matches` agree, and with a plain loop."""
    store, clock = clocked
    rng = random.Random(seed)
    values = ["x", "1", "true", "", 1, 1.0, 0, -2.5, True, False, None, [1], {"a": 1}, 2**60, "a'b", 'a"b', "é"]
    names = ["p", "q", 'a"b', "a.b", "$", "", "p q"]
    for n in range(60):
        await store.add(
            [
                NewMemory(
                    content=f"text {n}",
                    namespace=rng.choice(["default", "anna"]),
                    category=rng.choice(["fact", "episode", "x"]),
                    tags=tuple(rng.sample(["a", "b", "c", "1"], rng.randrange(4))),
                    expires=rng.choice([None, None, clock.now + rng.randrange(10)]),
                    meta={name: rng.choice(values) for name in rng.sample(names, rng.randrange(4))},
                )
            ]
        )
        if n % 9 == 8:
            await store.supersede([n], NewMemory(content=f"new {n}", namespace=(await store.get([n]))[0].namespace))
    clock.now += 5
    for _ in range(40):
        scalars = [value for value in values if not isinstance(value, list | dict)]
        where = {
            name: rng.choice([rng.choice(scalars), rng.sample(scalars, rng.randrange(3))])
            for name in rng.sample(names, rng.randrange(3))
        }
        meant = MemoryFilter(
            namespace=rng.choice([None, "default", "anna", "nobody"]),
            categories=tuple(rng.sample(["fact", "episode", "x", "y"], rng.randrange(3))),
            without=tuple(rng.sample(["fact", "episode", "y"], rng.choice([0, 0, 1, 2]))),
            tags=tuple(rng.sample(["a", "b", "1"], rng.randrange(2))),
            where=where,
            dead=rng.random() < 0.3,
        )
        await selected(store, meant)


@pytest.mark.parametrize("where", [{"a": object()}, {"a": math.nan}, {1: 2}, {"a": [[1]]}, {"a": {"b": 1}}])
def test_a_filter_that_makes_no_sense_is_refused(where) -> None:
    with pytest.raises(MemoryRefused, match="where"):
        MemoryFilter(where=where)


async def test_words_are_found_by_their_stem_the_rare_ones_first(store) -> None:
    await store.add([row(f"the weather report number {n}") for n in range(30)])
    (rare,) = await store.add([row("Two zebras were reported near the cafe in Zürich")])

    (best, share), *others = await words(store, "What did the report say about zebra?", 9, MemoryFilter())
    assert best == rare
    assert len(others) == 8
    assert all(0 < score < share <= 1 for _, score in others)
    assert [n for n, _ in await words(store, "ZURICH café", 9, MemoryFilter())] == [rare]
    for query in ("", "  ", "...", "unknown", '"', "AND", "NEAR(", "zeb*", "content:zebra OR", "-"):
        found = await words(store, query, 9, MemoryFilter())
        assert [n for n, _ in found] in ([], [rare])
    await store.delete([rare])
    assert await words(store, "zebra", 9, MemoryFilter()) == ()
    assert await words(store, "report", 0, MemoryFilter()) == ()


async def test_uses_are_counted_and_change_nothing_else(clocked) -> None:
    store, clock = clocked
    one, two = await store.add([row("one"), row("two")])
    before = await store.generation()
    clock.now = 1005.0
    await store.count_uses({one: 2, 99: 1})
    await store.count_uses({one: 1})

    assert await store.generation() == before
    rows = await store.get([one, two])
    assert [(r.accesses, r.accessed) for r in rows] == [(3, 1005.0), (0, None)]
    assert (await everything(store))[0] == rows[0]


async def test_earlier_states_are_known_and_others_are_not(store) -> None:
    states = [await store.generation()]
    for n in range(5):
        await store.add([row(f"text {n}")])
        states.append(await store.generation())

    assert [await store.knows(state) for state in states[1:]] == [True] * 5
    assert not await store.knows(Generation(states[2].number, "somebody else's"))
    assert not await store.knows(Generation(99, states[2].mark))


async def test_statistics_say_what_there_is(clocked) -> None:
    store, clock = clocked
    a, _ = await store.add([row("one"), NewMemory(content="two", namespace="x", category="note", expires=1001.0)])
    await store.supersede([a], row("three"))
    clock.now = 1002.0

    found = await store.statistics()
    assert (found.memories, found.superseded, found.expired, found.namespaces) == (3, 1, 1, 2)
    assert found.categories == {"fact": 2, "note": 1}
    assert found.embedded == {"emb (2)": 2}
    assert found.generation == 2


async def test_many_rows_at_once(store) -> None:
    ids = await store.add([row(f"text {n}") for n in range(2_500)])

    assert len(await store.get(ids)) == 2_500
    assert await store.delete(ids[:2_000]) == 2_000
    assert await store.count() == 500


async def test_a_closed_store_says_so(store) -> None:
    await store.aclose()
    await store.aclose()

    with pytest.raises(MemoryFailed, match="closed"):
        await store.count()


async def test_a_cancelled_call_did_nothing_or_everything(store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.add([row("never")])

    assert scope.cancelled_caught
    assert await store.count() == 0


# ------------------------------------------------------------------ the one on disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.sqlite"


@pytest.fixture
async def opened(path: Path):
    stores: list[SqliteMemoryStore] = []

    def _open() -> SqliteMemoryStore:
        stores.append(SqliteMemoryStore(path))
        return stores[-1]

    yield _open
    for each in stores:
        await each.aclose()


@pytest.mark.io
async def test_memories_outlive_the_store(opened) -> None:
    first = opened()
    ids = await first.add([row("one"), row("two")])
    rows = await everything(first)
    await first.aclose()

    second = opened()
    assert await everything(second) == rows
    assert (await second.generation()).number == 1
    assert await second.add([row("two")]) == ids[1:]


@pytest.mark.io
async def test_a_transaction_that_has_begun_is_finished_although_cancelled(opened) -> None:
    store = opened()
    await store.count()
    began = trio.Event()
    token = trio.lowlevel.current_trio_token()
    file: SqliteThread = store._file
    inner = file._work

    def work(job):
        token.run_sync_soon(began.set)
        return inner(job)

    file._work = work
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.add, [row(f"text {n}") for n in range(500)])
        await began.wait()
        nursery.cancel_scope.cancel()

    assert await store.count() == 500


@pytest.mark.io
async def test_the_settings_that_make_it_durable_hold(opened) -> None:
    store = opened()
    await store.add([row("one")])

    def look(connection: sqlite3.Connection) -> tuple[object, ...]:
        names = ("journal_mode", "synchronous", "busy_timeout", "user_version", "application_id", "secure_delete")
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)

    assert await store._file.run(look) == ("wal", 2, 5000, 3, 0x54525550, 1)


@pytest.mark.io
async def test_the_file_is_private(opened, path: Path) -> None:
    await opened().add([row("secret")])

    assert {stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()} == {0o600}


@pytest.mark.io
async def test_two_stores_on_one_file_see_each_other(opened) -> None:
    """Opened at the same instant on a file that does not exist yet, then written to in turns."""
    stores = [opened() for _ in range(4)]

    async def add(store: SqliteMemoryStore, name: int) -> None:
        for n in range(10):
            ids = await store.add([row(f"{name}-{n}"), row(f"shared {n}")])
            await store.set_vectors([(number, V2, f"by {name}") for number in ids])

    async with trio.open_nursery() as nursery:
        for name, store in enumerate(stores):
            nursery.start_soon(add, store, name)

    assert {await store.count() for store in stores} == {50}
    assert {(await store.generation()).number for store in stores} == {80}


@pytest.mark.io
@pytest.mark.parametrize(
    "content", [b"not a database at all" * 500, b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 8000]
)
async def test_a_file_that_is_no_database_is_left_alone(opened, path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(MemoryFailed, match="Move the file away"):
        await opened().count()
    assert path.read_bytes() == content


@pytest.mark.io
async def test_somebody_elses_database_is_left_alone(opened, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(MemoryFailed, match=r"not a memory of Trouper.*memory\.path"):
        await opened().add([row("x")])
    assert path.read_bytes() == before


@pytest.mark.io
async def test_a_memory_of_another_version_is_left_alone(opened, path: Path) -> None:
    store = opened()
    await store.add([row("x")])
    await store.aclose()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()

    with pytest.raises(MemoryFailed, match="version 7"):
        await opened().count()


@pytest.mark.io
async def test_damage_is_told_and_never_believed(opened, path: Path) -> None:
    """Flip one byte anywhere: every row, vector and word that is still given is as it was stored."""

    async def look(store) -> tuple[object, ...]:
        found = {word: await words(store, word, 99, MemoryFilter()) for word in ("zebra7", "number", "abc7")}
        return await everything(store), await store.vectors("emb", 2, 0, 99), found

    store = opened()
    await store.add([row(f"memory number {n} is about zebra{n} {f'abc{n} ' * 30}", V1, n=n) for n in range(90)])
    expected = await look(store)
    assert len(expected[2]["zebra7"]) == 1
    await store.aclose()
    whole = path.read_bytes()
    refused = 0
    for place in range(3, len(whole), len(whole) // 150):
        path.write_bytes(bytes([*whole[:place], whole[place] ^ 0x10, *whole[place + 1 :]]))
        damaged = SqliteMemoryStore(path)
        try:
            assert await look(damaged) == expected, place
        except MemoryFailed:
            refused += 1
        finally:
            await damaged.aclose()
            for side in ("-wal", "-shm"):
                Path(f"{path}{side}").unlink(missing_ok=True)
    assert refused > 30


@pytest.mark.io
async def test_a_damaged_row_can_be_forgotten(opened, path: Path) -> None:
    store = opened()
    good, bad = await store.add([row("good"), row("bad")])
    await store._file.run(lambda c: c.execute("UPDATE memory SET content = 'BAD' WHERE id = ?", (bad,)).rowcount)

    with pytest.raises(MemoryFailed, match=f"Forget {bad}"):
        await everything(store)
    assert [r.content for r in await store.get([good])] == ["good"]
    assert await store.delete([bad]) == 1
    assert len(await everything(store)) == 1


@pytest.mark.io
async def test_a_full_disk_is_told_and_nothing_is_half_written(opened) -> None:
    store = opened()
    await store.add([row("before")])
    generation = await store.generation()
    await store._file.run(lambda c: c.execute("PRAGMA max_page_count = 12").fetchone())

    with pytest.raises(MemoryFailed, match="free some space"):
        await store.add([row(f"{n}" * 3000) for n in range(10, 60)])

    assert [r.content for r in await everything(store)] == ["before"]
    assert await store.generation() == generation
    await store._file.run(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    assert len(await store.add([row("after")])) == 1


@pytest.mark.io
async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "m.sqlite", tmp_path):
        store = SqliteMemoryStore(path)
        with pytest.raises(MemoryFailed, match=r"could not be.*Check"):
            await store.add([row("x")])
        await store.aclose()


@pytest.mark.io
async def test_a_file_that_may_only_be_read_is_told(opened) -> None:
    store = opened()
    await store.add([row("before")])
    await store._file.run(lambda c: c.execute("PRAGMA query_only = 1"))

    with pytest.raises(MemoryFailed, match="may be written"):
        await store.add([row("x")])
    assert await store.count() == 1


@pytest.mark.io
async def test_a_file_that_another_process_holds_is_told(opened, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trouper.adapters.sqlite_thread.BUSY_TIMEOUT", 0.05)
    store = opened()
    await store.count()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(MemoryFailed, match="Another process"):
        await store.add([row("x")])
    other.execute("ROLLBACK")
    other.close()
    assert len(await store.add([row("x")])) == 1


class Faulty(sqlite3.Connection):
    """A connection whose commit reports an error, before or after it has happened."""

    fail = ""

    def execute(self, sql: str, *args: object):
        if sql == "COMMIT" and Faulty.fail:
            when, Faulty.fail = Faulty.fail, ""
            if when == "after":
                super().execute(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *args)


@pytest.fixture
async def faulty(path: Path):
    store = SqliteMemoryStore(path)
    store._file.connect = lambda name: sqlite3.connect(
        name, timeout=5, isolation_level=None, check_same_thread=False, factory=Faulty
    )
    await store.add([row("old")])
    yield store
    Faulty.fail = ""
    await store.aclose()


@pytest.mark.io
async def test_a_commit_that_failed_but_happened_is_found_to_have_happened(faulty) -> None:
    Faulty.fail = "after"
    ids = await faulty.add([row("a"), row("old")])
    assert [r.content for r in await faulty.get(ids)] == ["a", "old"]

    Faulty.fail = "after"
    await faulty.set_vectors([(ids[0], V2, "new")])
    assert await vector_of(faulty, ids[0], "new") == V2

    Faulty.fail = "after"
    assert await faulty.delete(ids) == 2
    assert await faulty.count() == 0


@pytest.mark.io
async def test_a_commit_that_failed_is_an_error_and_nothing_is_there(faulty) -> None:
    (old,) = await faulty.add([row("old")])
    for change in (
        lambda: faulty.add([row("a")]),
        lambda: faulty.set_vectors([(old, V2, "new")]),
        lambda: faulty.delete([old]),
    ):
        Faulty.fail = "before"
        with pytest.raises(MemoryFailed, match="disk I/O error"):
            await change()

    rows = await everything(faulty)
    assert [r.content for r in rows] == ["old"]
    assert await vector_of(faulty, old, "new") is None


@pytest.mark.io
async def test_a_commit_that_nobody_can_look_after_is_said_to_be_unknown(faulty, path: Path) -> None:
    Faulty.fail = "before"
    opening = faulty._file._open

    def broken() -> sqlite3.Connection:
        raise OSError("gone")

    faulty._file._open = broken
    with pytest.raises(MemoryFailed, match="nobody knows"):
        await faulty.add([row("a")])

    faulty._file._open = opening
    assert len(await faulty.add([row("a")])) == 1


@pytest.mark.io
async def test_the_loop_goes_on_while_the_disk_works(opened) -> None:
    """The work is done in another thread: a task of the loop runs while it lasts."""
    store = opened()
    await store.count()
    turns = 0
    done = False

    async def turn() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn)
        await store.add([row(f"text {n}") for n in range(3_000)])
        done = True
    assert turns > 10
