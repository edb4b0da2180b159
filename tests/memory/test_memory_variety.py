"""Memories that say different things: chosen as the definition says, by whole vectors, and beside the loop."""

from __future__ import annotations

import math
import random
import struct
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memories import Memories
from trouper.actors.memory import Memory
from trouper.actors.memory_data import NewMemory
from trouper.adapters import store_sql, store_variety
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_memory import InMemoryStore
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import open_system

DIM = 8


def unit(rng: random.Random) -> bytes:
    numbers = [rng.gauss(0, 1) for _ in range(DIM)]
    length = math.sqrt(math.fsum(number * number for number in numbers))
    return struct.pack(f"<{DIM}f", *(number / length for number in numbers))


def likeness(one: bytes | None, other: bytes | None) -> float:
    if one is None or other is None:
        return 0.0
    a, b = struct.unpack(f"<{DIM}f", one), struct.unpack(f"<{DIM}f", other)
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def by_definition(
    scores: Mapping[int, float], vectors: Mapping[int, bytes | None], k: int, diversity: float
) -> list[int]:
    left, chosen = sorted(scores), []
    while left and len(chosen) < k:
        worth = {
            number: (1 - diversity) * scores[number]
            - diversity * max([0.0, *(likeness(vectors[number], vectors[before]) for before in chosen)])
            for number in left
        }
        chosen.append(max(left, key=lambda number: (round(worth[number], 5), -number)))
        left.remove(chosen[-1])
    return chosen


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.io)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[InMemoryStore | SqliteMemoryStore]:
    made = InMemoryStore() if request.param == "memory" else SqliteMemoryStore(tmp_path / "m.sqlite")
    yield made
    await made.aclose()


async def test_each_is_chosen_for_its_score_and_for_being_unlike_the_ones_before(store) -> None:
    rng = random.Random(6)
    for turn in range(12):
        given = [None if rng.random() < 0.2 else unit(rng) for _ in range(rng.randint(1, 14))]
        rows = [
            NewMemory(content=f"{turn} {n}", vector=vector, embedder="e" if vector is not None else "")
            for n, vector in enumerate(given)
        ]
        ids = await store.add(rows)
        scores = {number: round(rng.uniform(-1, 1), 1) for number in ids}
        k, diversity = rng.randint(1, 16), rng.choice([0.0, 0.3, 0.7, 1.0])
        expected = by_definition(scores, dict(zip(ids, given, strict=True)), k, diversity)

        assert list(await store.vary("e", DIM, scores, k, diversity)) == expected


async def test_none_of_nothing(store) -> None:
    assert await store.vary("e", DIM, {}, 5, 0.5) == ()


@pytest.mark.io
async def test_a_thousand_different_ones_are_chosen_beside_the_loop(tmp_path: Path, monkeypatch) -> None:
    """Was: millions of numbers became objects in the loop, which stood still for three seconds."""
    threads: list[threading.Thread] = []

    def chosen(*given):
        threads.append(threading.current_thread())
        return store_variety.varied(*given)

    monkeypatch.setattr(store_sql, "varied", chosen)
    store = SqliteMemoryStore(tmp_path / "m.sqlite")
    embedder = HashEmbedder(16)
    async with open_system() as system:
        await system.spawn(EmbeddingBatcher, embedder, name="batcher")
        memory = await system.spawn(lambda: Memory(store, NumpyIndex, embedder=embedder.name), name="memory")
        memories = Memories(memory)
        await memories.remember([f"fact {n} about {n % 97}" for n in range(600)])
        found = await memories.recall("fact about 5", 200, diversity=0.5)

        assert len({one.id for one in found}) == 200
        assert [thread is not threading.main_thread() for thread in threads] == [True]
    await store.aclose()
