"""An embedder that has something to load loads it before the memory serves, if there is anything to be found."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trio

from trouper import open_troupe
from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memories import Memories
from trouper.actors.memory import Memory
from trouper.actors.memory_data import NewMemory
from trouper.actors.protocols import PreparedEmbedder
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_memory import InMemoryStore
from trouper.runtime import MemoryFailed, ModelUnavailable, open_system


class Loading(HashEmbedder):
    """Has something to load; says how often it was told to, and whether it was before the first text."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(64)
        self.error = error
        self.told: list[str] = []

    async def prepare(self) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append("prepare")
        if self.error is not None:
            raise self.error

    async def embed(self, texts):
        self.told.append("embed")
        return await super().embed(texts)


class Unreadable(InMemoryStore):
    async def count(self) -> int:
        await trio.lowlevel.checkpoint()
        raise MemoryFailed("the disk is gone")


async def store_with(*texts: str) -> InMemoryStore:
    store = InMemoryStore()
    await store.add([NewMemory(content=text) for text in texts])
    return store


async def recalled(store: InMemoryStore, embedder: Loading) -> list[str]:
    """What a memory over these finds."""

    def make() -> Memory:
        return Memory(store, NumpyIndex, embedder=embedder.name, prepare=embedder.prepare)

    async with open_system() as system:
        await system.spawn(EmbeddingBatcher, embedder, name="batcher")
        memory = Memories(await system.spawn(make, name="memory"))
        embedder.told.append("open")
        return [found.content for found in await memory.recall("tea", 1)] if type(store) is InMemoryStore else []


async def test_it_is_loaded_before_the_memory_serves(autojump_clock: trio.testing.MockClock) -> None:
    embedder = Loading()

    assert await recalled(await store_with("tea at five"), embedder) == ["tea at five"]
    assert embedder.told[:2] == ["prepare", "open"]
    assert embedder.told.count("prepare") == 1


async def test_an_empty_memory_loads_nothing(autojump_clock: trio.testing.MockClock) -> None:
    embedder = Loading()

    assert await recalled(InMemoryStore(), embedder) == []
    assert embedder.told == ["open"]


@pytest.mark.parametrize("error", [ModelUnavailable("not there"), ImportError("no such library"), OSError("disk")])
async def test_what_cannot_be_loaded_keeps_no_troupe_from_starting(
    error: Exception, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """It is told, and met again by whoever needs it."""
    caplog.set_level(logging.WARNING, "trouper.memory")
    embedder = Loading(error)

    assert await recalled(await store_with("tea at five"), embedder) == ["tea at five"]
    assert str(error) in caplog.text


async def test_a_store_that_cannot_be_read_keeps_no_troupe_from_starting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    embedder = Loading()

    assert await recalled(Unreadable(), embedder) == []
    assert embedder.told == ["open"]


@pytest.mark.io
async def test_a_troupe_that_remembers_loads_its_embedder_at_the_start_and_a_new_one_does_not(tmp_path: Path) -> None:
    """Nobody who begins pays for it; whoever has memories waits for it once, when nothing else is waiting."""
    config = {"memory": {"path": str(tmp_path / "m.sqlite")}}
    embedder = Loading()
    assert isinstance(embedder, PreparedEmbedder)
    async with open_troupe(config, embedder=embedder, workdir=tmp_path) as troupe:
        assert embedder.told == []
        await troupe.memories.remember(["tea at five"])

    again = Loading()
    async with open_troupe(config, embedder=again, workdir=tmp_path) as troupe:
        assert again.told == ["prepare"]
        assert [found.content for found in await troupe.memories.recall("tea", 1)] == ["tea at five"]
