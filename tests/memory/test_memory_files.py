"""The files of a memory: one of an older version, what an erasure leaves, and two programs at once."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
from pathlib import Path

import pytest
import trio

from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memories import Memories
from trouper.actors.memory import Memory, MemoryDefaults
from trouper.actors.memory_data import MemoryFilter, NewMemory
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import MemoryFailed, open_system

pytestmark = pytest.mark.io

EVERYTHING = MemoryFilter(namespace=None, dead=True)
VECTOR = struct.pack("<2f", 1, 0)

VERSION_1 = """
CREATE TABLE memory (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, content TEXT NOT NULL, created REAL NOT NULL,
    meta TEXT NOT NULL, vector BLOB NOT NULL, embedder TEXT NOT NULL, seal BLOB NOT NULL
);
CREATE TABLE generation (number INTEGER NOT NULL, mark TEXT NOT NULL);
INSERT INTO generation VALUES (7, 'abc');
PRAGMA application_id = 1414681936;
PRAGMA user_version = 1;
PRAGMA journal_mode = wal;
"""


def old_file(path: Path, texts: list[tuple[str, dict[str, object]]], *, damaged: int = 0) -> None:
    """A file as the first version wrote it; the row `damaged` does not fit its seal."""
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    for number, (text, meta) in enumerate(texts, 1):
        told = json.dumps(meta, sort_keys=True)
        seal = hashlib.blake2b(json.dumps([text, 5.0, told, "emb"]).encode() + b"\0" + VECTOR, digest_size=16).digest()
        key = hashlib.blake2b(text.encode(), digest_size=32).digest()
        row = (number, key, text if number != damaged else "BAD", 5.0, told, VECTOR, "emb", seal)
        connection.execute("INSERT INTO memory VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.execute("DELETE FROM memory WHERE id = ?", (len(texts),))  # its id is never used again
    connection.commit()
    connection.close()


OLD = [("one about tea", {"kind": "episode", "x": 1}), ("two", {}), ("three", {"kind": 7}), ("erased", {})]


@pytest.fixture
async def store(tmp_path: Path):
    made = SqliteMemoryStore(tmp_path / "m.sqlite")
    yield made
    await made.aclose()


async def test_a_file_of_the_first_version_is_brought_over_whole(tmp_path: Path, store: SqliteMemoryStore) -> None:
    old_file(tmp_path / "m.sqlite", OLD)

    rows = await store.page(0, 99, EVERYTHING)
    assert [(r.id, r.content, r.created, r.meta, r.category, r.namespace) for r in rows] == [
        (1, "one about tea", 5.0, {"kind": "episode", "x": 1}, "episode", "default"),
        (2, "two", 5.0, {}, "fact", "default"),
        (3, "three", 5.0, {"kind": 7}, "fact", "default"),
    ]
    assert await store.vectors("emb", 2, 0, 9) == [(1, VECTOR), (2, VECTOR), (3, VECTOR)]
    assert (await store.generation()).number == 7
    assert [n for n, _ in await store.find_words("tea", 9, await store.select(EVERYTHING))] == [1]
    assert await store.add([NewMemory(content="two"), NewMemory(content="new")]) == (2, 5)


async def test_a_damaged_row_of_the_first_version_stays_one_that_is_told(
    tmp_path: Path, store: SqliteMemoryStore
) -> None:
    old_file(tmp_path / "m.sqlite", OLD, damaged=2)

    with pytest.raises(MemoryFailed, match="Forget 2"):
        await store.page(0, 99, EVERYTHING)
    assert await store.delete([2]) == 1
    assert [r.id for r in await store.page(0, 99, EVERYTHING)] == [1, 3]


async def test_a_file_that_cannot_be_brought_over_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    old_file(path, OLD)
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE memory DROP COLUMN seal")
    connection.close()
    before = path.read_bytes()

    broken = SqliteMemoryStore(path)
    with pytest.raises(MemoryFailed):
        await broken.count()
    await broken.aclose()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM memory").fetchone() == (3,)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()
    assert len(path.read_bytes()) == len(before)


async def test_two_programs_that_open_an_old_file_bring_it_over_once(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    old_file(path, [(f"text {n}", {}) for n in range(300)])
    stores = [SqliteMemoryStore(path) for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for each in stores:
            nursery.start_soon(each.count)

    assert [await each.count() for each in stores] == [299] * 3
    for each in stores:
        await each.aclose()


# ------------------------------------------------------------------ erasing


class Opened:
    """A memory over real files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def __aenter__(self) -> Memories:
        self.store = SqliteMemoryStore(self.path)
        self.context = open_system()
        system = await self.context.__aenter__()
        embedder = HashEmbedder()
        await system.spawn(EmbeddingBatcher, embedder, name="batcher")
        ref = await system.spawn(
            lambda: Memory(
                self.store,
                FaissIndex,
                embedder=embedder.name,
                snapshot=f"{self.path}.index",
                defaults=MemoryDefaults(snapshot_every=10),
            ),
            name="memory",
        )
        return Memories(ref)

    async def __aexit__(self, *exc: object) -> None:
        await self.context.__aexit__(*exc)
        await self.store.aclose()


def holding(folder: Path, *needles: bytes) -> set[str]:
    """The files that hold one of these."""
    return {p.name for p in folder.iterdir() for needle in needles if needle.lower() in p.read_bytes().lower()}


@pytest.mark.parametrize("how", ["id", "filter", "namespace"])
async def test_no_file_holds_a_byte_of_what_was_forgotten(tmp_path: Path, how: str) -> None:
    """Neither the text nor a word of it nor its vector: not in the database, its log, or the snapshot of the index."""
    path = tmp_path / "m.sqlite"
    async with Opened(path) as memories:
        await memories.remember([f"usual text {n}" for n in range(30)])
        anna = memories.of("anna")
        (number,) = await anna.remember("the codeword is xylophone", {"secretive": "zanzibar"}, tags=["s"])
        await memories.of("anna").recall("xylophone")
        second = SqliteMemoryStore(path)
        (vector,) = (v for _, v in await second.vectors_of("hash-ngrams", 384, [number]))
        await second.aclose()
        assert holding(tmp_path, b"xylophone", vector)
    assert len(holding(tmp_path, vector)) == 2  # the database and the snapshot
    async with Opened(path) as memories:
        anna = memories.of("anna")
        erased = {
            "id": lambda: memories.forget(number),
            "filter": lambda: anna.forget(where={"secretive": "zanzibar"}),
            "namespace": lambda: anna.forget(everything=True),
        }
        assert await erased[how]() == 1
        # At once, while it is open, and not only when it is closed.
        assert holding(tmp_path, b"xylophone", b"zanzibar", b"codeword", vector) == set()
        assert len(await memories.recall("usual text", 99)) == 30
    assert holding(tmp_path, b"xylophone", b"zanzibar", b"codeword", vector) == set()


async def test_what_a_kill_kept_from_being_scrubbed_is_scrubbed_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    first = SqliteMemoryStore(path)
    ids = await first.add([NewMemory(content=f"text {n}") for n in range(50)])
    (secret,) = await first.add([NewMemory(content="the codeword is xylophone")])
    assert await first.delete([secret]) == 1  # and no scrub: as if killed here
    await first._file.aclose()
    second = SqliteMemoryStore(path)
    assert await second.count() == len(ids)

    assert holding(tmp_path, b"xylophone") == set()
    await second.aclose()


async def test_forgetting_much_gives_the_room_back(tmp_path: Path, store: SqliteMemoryStore) -> None:
    ids = await store.add([NewMemory(content=f"{n} " * 200, vector=VECTOR * 100, embedder="e") for n in range(800)])
    await store.scrub()
    before = (tmp_path / "m.sqlite").stat().st_size + (tmp_path / "m.sqlite-wal").stat().st_size
    await store.delete(ids[:700])
    await store.scrub()

    assert (tmp_path / "m.sqlite").stat().st_size < before / 3
    assert (await store.statistics()).bytes == (tmp_path / "m.sqlite").stat().st_size
    assert await store.count() == 100


# ------------------------------------------------------------------ two at once


async def test_two_programs_see_each_others_changes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    async with Opened(path) as one, Opened(path) as other:
        for n in range(12):
            writer, reader = (one, other) if n % 2 else (other, one)
            await writer.remember(f"fact number {n}")
            assert f"fact number {n}" in [m.content for m in await reader.recall(f"fact number {n}", 20)]
            if n % 3 == 2:
                (gone, *_) = await reader.recall(f"fact number {n - 1}", 1)
                await reader.forget(gone.id)
                assert gone.id not in [m.id for m in await writer.recall("fact number", 99)]
        await one.of("anna").remember("mine", ttl=1e9)
        assert [m.content for m in await other.of("anna").recall("mine")] == ["mine"]
