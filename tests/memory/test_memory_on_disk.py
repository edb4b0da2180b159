"""The memory over its real files: it survives the process, a kill in the middle, and damage to its index."""

from __future__ import annotations

import json
import random
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
import trio

from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memory import Forget, Memory, MemoryCount, MemoryDefaults, Recall, Remember
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import MemoryFailed, open_system

pytestmark = pytest.mark.io

FACTS = [f"fact number {n} about {word}" for n, word in enumerate(["tea", "cats", "rain", "music", "bread"] * 6)]

CHILD = """
import sys, trio
from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memory import Forget, Memory, Recall, Remember
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import open_system

async def main(path, job):
    store = SqliteMemoryStore(path)
    embedder = HashEmbedder()
    async with open_system() as system:
        await system.spawn(EmbeddingBatcher, embedder, name="batcher")
        ref = await system.spawn(
            lambda: Memory(store, FaissIndex, embedder=embedder.name, snapshot=path + ".index"), name="memory"
        )
        await job(ref)
    await store.aclose()
"""


def child(job: str) -> list[str]:
    body = textwrap.indent(textwrap.dedent(job), "    ")
    return [sys.executable, "-c", f"{CHILD}\nasync def job(ref):\n{body}\ntrio.run(main, sys.argv[1], job)\n"]


class Opened:
    """A memory over real files, in this process."""

    def __init__(self, path: Path, index=FaissIndex, **defaults) -> None:
        self.path = path
        self.loads: list[bool] = []
        self.defaults = MemoryDefaults(**{"hybrid": False, **defaults})
        self.index = index

    def make_index(self, dim: int):
        opened = self

        class Watched(self.index):
            def load(self, path: str, *, stamp: str = "") -> bool:
                opened.loads.append(super().load(path, stamp=stamp))
                return opened.loads[-1]

        return Watched(dim)

    async def __aenter__(self) -> Self:
        self.store = SqliteMemoryStore(self.path)
        self.context = open_system()
        system = await self.context.__aenter__()
        embedder = HashEmbedder()
        await system.spawn(EmbeddingBatcher, embedder, name="batcher")
        self.ref = await system.spawn(
            lambda: Memory(
                self.store,
                self.make_index,
                embedder=embedder.name,
                snapshot=f"{self.path}.index",
                defaults=self.defaults,
            ),
            name="memory",
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.context.__aexit__(*exc)
        await self.store.aclose()

    async def recall(self, query: str, k: int = 5) -> list[tuple[str, float]]:
        found = await self.ref.ask(Recall(query, k, -1.0))
        return [(m.content, round(m.score, 4)) for m in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "memory.sqlite"


async def test_remembered_in_one_process_recalled_in_another(path: Path) -> None:
    job = f"print(await ref.ask(Remember({tuple(FACTS)!r}, {{'who': 'child'}})))"
    first = await trio.run_process([*child(job), str(path)], capture_stdout=True)
    query = (
        "found = await ref.ask(Recall('tell me about music', 3))\n"
        "import json; print(json.dumps([[m.id, m.content, m.meta] for m in found]))"
    )
    runs = [await trio.run_process([*child(query), str(path)], capture_stdout=True) for _ in range(2)]

    assert len(eval(first.stdout)) == len(FACTS)
    assert runs[0].stdout == runs[1].stdout
    found = json.loads(runs[0].stdout)
    assert len(found) == 3
    assert all("music" in content and meta == {"who": "child"} for _, content, meta in found)


async def test_the_snapshot_is_loaded_when_it_fits_and_only_then(path: Path) -> None:
    async with Opened(path) as memory:
        await memory.ref.ask(Remember(tuple(FACTS)))
        expected = await memory.recall("cats and rain", 30)
        assert not any(memory.loads)
    async with Opened(path) as memory:
        assert await memory.recall("cats and rain", 30) == expected
        assert memory.loads == [True]
        await memory.ref.ask(Remember(("a new fact",)))
    async with Opened(path) as memory:  # saved again when the last one stopped
        assert len(await memory.recall("cats and rain", 99)) == len(FACTS) + 1
        assert memory.loads == [True]
    async with Opened(path) as memory:  # changed without an index at hand: the snapshot is behind
        await memory.ref.ask(Remember(("a newer fact",)))
    async with Opened(path) as memory:  # and is brought up to date
        assert len(await memory.recall("cats and rain", 99)) == len(FACTS) + 2
        assert memory.loads == [True]


async def test_a_snapshot_is_written_after_many_changes(path: Path) -> None:
    snapshot = Path(f"{path}.index")
    async with Opened(path, snapshot_every=10) as memory:
        await memory.ref.ask(Remember(("first",)))
        await memory.recall("first")
        for n in range(8):
            await memory.ref.ask(Remember((f"text {n}",)))
        assert not snapshot.exists()
        await memory.ref.ask(Remember(("one more", "and another")))
        assert snapshot.exists()


@pytest.mark.parametrize("index", [FaissIndex, NumpyIndex])
async def test_a_damaged_index_is_made_again_and_the_answers_are_the_same(path: Path, index) -> None:
    rng = random.Random(7)
    snapshot, seal = Path(f"{path}.index"), Path(f"{path}.index.json")
    async with Opened(path, index) as memory:
        await memory.ref.ask(Remember(tuple(FACTS)))
        expected = await memory.recall("bread and trains", 30)
    for victim in (snapshot, seal):
        for damage in ("flip", "truncate", "empty", "remove"):
            data = bytearray(victim.read_bytes())
            if damage == "flip":
                data[rng.randrange(len(data))] ^= 1
            victim.write_bytes(data[: rng.randrange(len(data))] if damage == "truncate" else data)
            if damage == "empty":
                victim.write_bytes(b"")
            if damage == "remove":
                victim.unlink()
            async with Opened(path, index) as memory:
                assert await memory.recall("bread and trains", 30) == expected
                assert not any(memory.loads)
            async with Opened(path, index) as memory:  # and it was written down again
                assert await memory.recall("bread and trains", 30) == expected
                assert memory.loads == [True]


@pytest.mark.parametrize("rounds", [30, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("index", [FaissIndex, NumpyIndex])
def test_no_damaged_or_stale_index_gives_another_answer(path: Path, tmp_path: Path, index, rounds: int) -> None:
    """Files that are flipped, cut, swapped, of another time or another memory; every answer is that of the truth."""
    rng = random.Random(3)
    snapshot, seal = Path(f"{path}.index"), Path(f"{path}.index.json")

    async def remembered(where: Path, texts: Sequence[str]) -> None:
        async with Opened(where, index) as memory:
            await memory.ref.ask(Remember(tuple(texts)))
            await memory.recall("x")

    async def asked() -> list[tuple[str, float]]:
        async with Opened(path, index) as memory:
            return await memory.recall("bread and trains", 40)

    states: list[tuple[bytes, bytes]] = []
    for part in (FACTS[:10], FACTS[10:]):
        trio.run(remembered, path, part)
        states.append((snapshot.read_bytes(), seal.read_bytes()))
    other = tmp_path / "other" / "memory.sqlite"
    trio.run(remembered, other, [f"another {n}" for n in range(30)])
    states.append((Path(f"{other}.index").read_bytes(), Path(f"{other}.index.json").read_bytes()))
    expected = trio.run(asked)
    assert len(expected) == len(FACTS)

    def damaged(data: bytes) -> bytes:
        place = rng.randrange(len(data))
        how = rng.randrange(4)
        if how == 0:
            return data[:place]
        if how == 1:
            return data[:place] + data[place + 1 :]
        return bytes([*data[:place], data[place] ^ 1 << rng.randrange(8), *data[place + 1 :]])

    for round_ in range(rounds):
        vectors, told = rng.choice(states)[0], rng.choice(states)[1]
        snapshot.write_bytes(damaged(vectors) if round_ % 3 != 1 else vectors)
        seal.write_bytes(damaged(told) if round_ % 3 != 0 else told)
        assert trio.run(asked) == expected, round_


async def test_an_index_of_an_older_state_is_brought_up_to_date(path: Path) -> None:
    """A backup of the index put back over a memory that has gone on."""
    snapshot, seal = Path(f"{path}.index"), Path(f"{path}.index.json")
    async with Opened(path) as memory:
        await memory.ref.ask(Remember(tuple(FACTS)))
        await memory.recall("tea")
    old = snapshot.read_bytes(), seal.read_bytes()
    async with Opened(path) as memory:
        await memory.recall("tea")
        await memory.ref.ask(Forget(tuple(range(1, 11))))
        await memory.ref.ask(Remember(("all about tea",)))
        expected = await memory.recall("tea", 30)
    snapshot.write_bytes(old[0])
    seal.write_bytes(old[1])
    async with Opened(path) as memory:
        assert await memory.recall("tea", 30) == expected
        assert memory.loads == [True]


@pytest.mark.parametrize("how", ["made anew", "put back"])
async def test_a_memory_that_is_another_one_does_not_believe_the_index_of_the_first(path: Path, how: str) -> None:
    """The same number of changes, other memories under the same ids; the index beside it was left where it was."""
    async with Opened(path) as memory:
        await memory.ref.ask(Remember(("before",)))
    backup = path.read_bytes() if how == "put back" else None
    async with Opened(path) as memory:
        await memory.ref.ask(Remember(("all about tea", "all about cats")))
        await memory.recall("tea")
    path.unlink()
    if backup is not None:
        path.write_bytes(backup)
    async with Opened(path) as memory:
        if backup is None:
            await memory.ref.ask(Remember(("before",)))
        await memory.ref.ask(Remember(("all about cats", "all about tea")))
    async with Opened(path) as memory:
        assert (await memory.recall("all about tea", 1))[0] == ("all about tea", 1.0)
        assert not any(memory.loads)


async def test_a_damaged_memory_fails_its_asks_and_not_the_troupe(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)
    async with Opened(path) as memory:
        for message in (Remember(("a",)), Recall("a"), MemoryCount()):
            with pytest.raises(MemoryFailed, match="Move the file away"):
                await memory.ref.ask(message)
        assert memory.ref.incarnation == 1


async def test_a_snapshot_that_cannot_be_written_costs_nothing_but_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    Path(f"{path}.index").mkdir()
    async with Opened(path) as memory:
        await memory.ref.ask(Remember(("a fact",)))
        await memory.recall("a fact")
    async with Opened(path) as memory:
        assert len(await memory.recall("a fact")) == 1

    assert "No memory is lost" in caplog.text


async def test_large_memories_are_searched_and_changed_in_a_thread(path: Path) -> None:
    async with Opened(path, threads_above=10) as memory:
        ids = await memory.ref.ask(Remember(tuple(FACTS)))
        await memory.recall("tea")
        await memory.ref.ask(Remember(("one more about tea",)))
        await memory.ref.ask(Forget(ids[:5]))
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(memory.recall, "tea")
        assert len(await memory.recall("tea", 99)) == len(FACTS) - 4
