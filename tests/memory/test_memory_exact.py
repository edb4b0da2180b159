"""What recall gives is what a search over every vector of the store gives, also where the index is a little wrong."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import numpy as np
import pytest
import trio

from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memories import Memories
from trouper.actors.memory import Memory, MemoryDefaults
from trouper.actors.memory_ranking import Blend
from trouper.adapters import index_faiss_kinds
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_memory import InMemoryStore
from trouper.runtime import open_system

DIM = 16
HERE = MemoryDefaults(hybrid=False, threads_above=10**9)  # no threads under the virtual clock


class Crowded:
    """An embedder whose vectors lie so close together that half precision cannot tell them apart."""

    name = "crowded"
    dim = DIM

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def vector(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        made = np.full(DIM, 0.25) + self.spread * np.random.default_rng(seed).normal(size=DIM)
        return (made / np.linalg.norm(made)).astype("<f4")

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        await trio.lowlevel.checkpoint()
        return tuple(self.vector(text).tobytes() for text in texts)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Blurred(NumpyIndex):
    """An index whose scores are wrong, by what it says at most."""

    error = 0.05

    def off(self, number: int, score: float) -> float:
        return score + random.Random(number).uniform(-1, 1) * self.error

    def search(self, vector, k, among=None):
        found = self.scores(vector, [number for number in self.ids() if among is None or number in among])
        return tuple(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))[:k]

    def scores(self, vector, ids):
        return {n: self.off(n, s) for n, s in super().scores(vector, ids).items()}


async def brute(store, embedder: Crowded, query: str, namespace: str, k: int) -> list[tuple[int, float]]:
    """Every vector of the store, compared one by one."""
    pairs = await store.vectors(embedder.name, DIM, 0, 10_000)
    asked = embedder.vector(query)
    rows = {row.id: row for row in await store.get([n for n, _ in pairs])}
    scores = [
        (n, float((np.frombuffer(vector, "<f4") * asked).sum()))
        for n, vector in pairs
        if rows[n].namespace == namespace and rows[n].superseded_by is None
    ]
    return sorted(scores, key=lambda pair: (-pair[1], pair[0]))[:k]


@pytest.mark.parametrize(("index", "spread"), [(Blurred, 0.2), (Blurred, 0.01), (FaissIndex, 1e-3), (FaissIndex, 0.2)])
async def test_recall_is_exact_where_the_index_is_not(autojump_clock, monkeypatch, index, spread: float) -> None:
    """In every namespace, after changes, for few and for many: the same memories in the same order."""
    monkeypatch.setattr(index_faiss_kinds, "FLAT_TO", 50)  # `fp16` from there on
    store, embedder, rng = InMemoryStore(), Crowded(spread), random.Random(1)
    async with open_system() as system:
        await system.spawn(EmbeddingBatcher, embedder, name="batcher")
        memory = await system.spawn(lambda: Memory(store, index, embedder=embedder.name, defaults=HERE), name="memory")
        anna, bob = Memories(memory, "anna"), Memories(memory, "bob")
        for name, count in ((anna, 160), (bob, 60)):
            ids = await name.remember([f"{name.namespace} {n}" for n in range(count)])
            await name.forget(ids[::7])
            await name.supersede(ids[1], "something else")
        misled = 0
        for n in range(12):
            for name in (anna, bob):
                k = rng.choice([1, 3, 10, 40])
                found = await name.recall(f"question {n}", k, min_score=-1.0)

                wanted = await brute(store, embedder, f"question {n}", name.namespace or "", k)
                assert [m.id for m in found] == [number for number, _ in wanted]
                assert [m.score for m in found] == pytest.approx([score for _, score in wanted], abs=1e-6)
            inside = index(DIM)
            pairs = await store.vectors(embedder.name, DIM, 0, 10_000)
            inside.expect(len(pairs))
            inside.add([number for number, _ in pairs], [vector for _, vector in pairs])
            alone = [number for number, _ in inside.search(embedder.vector(f"question {n}").tobytes(), 10)]
            exact = NumpyIndex(DIM)
            exact.add([number for number, _ in pairs], [vector for _, vector in pairs])
            misled += alone != [n for n, _ in exact.search(embedder.vector(f"question {n}").tobytes(), 10)]
        assert inside.error > 0
        assert misled > 3 or spread > 0.1  # the index alone would not have done


async def test_a_least_score_is_held_exactly(autojump_clock) -> None:
    """What the index takes for a little better or worse than it is neither comes in nor is left out."""
    store, embedder = InMemoryStore(), Crowded(0.2)
    async with open_system() as system:
        await system.spawn(EmbeddingBatcher, embedder, name="batcher")
        memory = await system.spawn(
            lambda: Memory(store, Blurred, embedder=embedder.name, defaults=HERE), name="memory"
        )
        memories = Memories(memory)
        await memories.remember([f"text {n}" for n in range(200)])
        for n in range(10):
            every = await brute(store, embedder, f"question {n}", "default", 200)
            least = every[50][1]
            found = await memories.recall(f"question {n}", 200, min_score=least - 1e-6)

            assert [m.id for m in found] == [number for number, score in every if score >= least - 1e-6]


@pytest.mark.parametrize("options", [{"hybrid": True}, {"diversity": 0.3}, {"blend": Blend(salience=1.0)}])
async def test_the_likeness_that_is_told_is_exact(autojump_clock, options) -> None:
    store, embedder = InMemoryStore(), Crowded(0.2)
    async with open_system() as system:
        await system.spawn(EmbeddingBatcher, embedder, name="batcher")
        memory = await system.spawn(
            lambda: Memory(store, Blurred, embedder=embedder.name, defaults=HERE), name="memory"
        )
        await Memories(memory).remember([f"text {n}" for n in range(100)])
        found = await Memories(memory).recall("text 7", 5, **options)

        exact = dict(await brute(store, embedder, "text 7", "default", 100))
        assert len(found) == 5
        for one in found:
            assert one.similarity == pytest.approx(exact[one.id], abs=1e-6)


def test_half_precision_is_no_further_off_than_is_said() -> None:
    """`ROUNDING` bounds the error for vectors of length one, also for awkward ones."""
    rng = np.random.default_rng(2)
    for dim in (1, 3, 384):
        for scale in (1.0, 1e-3, 30.0):
            a, b = (
                rng.standard_t(2, size=(2_000, dim)) ** scale if scale > 1 else rng.normal(size=(2_000, dim))
                for _ in "ab"
            )
            a, b = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (a, b))
            a, b = a.astype("<f4"), b.astype("<f4")
            off = np.abs(((a.astype("f2").astype("f8") - a) * b).sum(axis=1))

            assert off.max() < index_faiss_kinds.ROUNDING
