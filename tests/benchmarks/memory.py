"""Figures of the memory: `python -m tests.benchmarks.memory [--sizes 1000,10000,100000] [--million] [--json FILE]`.

CPU seconds of this process (`time.process_time`, all threads), or of the searching thread where that is said; wall
seconds beside them. The vectors are random ones around random centres, 384 numbers, unless it says otherwise: the
embedder costs nothing, so that what is measured is the memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import trio

from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memories import Memories
from trouper.actors.memory import Memory, MemoryDefaults
from trouper.actors.memory_data import MemoryFilter, NewMemory, selection_of
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import open_system

DIM = 384
WORDS = [f"word{n}" for n in range(5_000)]


def vectors(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Unit vectors around random centres: as embeddings of texts about some subjects lie."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(2_000, dim)).astype("f4")
    made = centres[rng.integers(0, len(centres), count)] + 0.8 * rng.normal(size=(count, dim)).astype("f4")
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("f4")


class Looked:
    """An embedder that looks its vectors up: the text says which."""

    name = "bench"
    dim = DIM

    def __init__(self, matrix: np.ndarray) -> None:
        self.rows = [row.tobytes() for row in matrix]

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        await trio.lowlevel.checkpoint()
        return tuple(self.rows[int(text.split()[0]) % len(self.rows)] for text in texts)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def text(number: int) -> str:
    """A memory of ten words, some of them frequent."""
    rng = np.random.default_rng(number)
    return f"{number} " + " ".join(WORDS[int(w)] for w in rng.zipf(1.3, 10) % len(WORDS))


class Gaps:
    """How long the loop did not come round."""

    def __init__(self) -> None:
        self.worst = 0.0
        self.paused = False
        """While CPU time is measured: to look costs some, too."""

    async def watch(self) -> None:
        last = time.perf_counter()
        while True:
            interval = 0.1 if self.paused else 0.002
            await trio.sleep(interval)
            now = time.perf_counter()
            self.worst = max(self.worst, now - last - interval)
            last = now

    def take(self) -> float:
        worst, self.worst = self.worst, 0.0
        return worst


class Clock:
    """CPU and wall seconds of a block, and the longest gap of the loop in it."""

    def __init__(self, gaps: Gaps) -> None:
        self.gaps = gaps

    def __enter__(self) -> Self:
        self.gaps.take()
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cpu, self.wall = time.process_time() - self.cpu, time.perf_counter() - self.wall
        self.gap = self.gaps.take()

    def figures(self) -> dict[str, float]:
        return {"cpu_s": round(self.cpu, 4), "wall_s": round(self.wall, 4), "gap_ms": round(self.gap * 1e3, 1)}


async def filled(path: Path, count: int, matrix: np.ndarray) -> None:
    """A file with `count` memories, put in below the memory itself."""
    store = SqliteMemoryStore(path)
    have = await store.count()
    for start in range(have, count, 5_000):
        rows = [
            NewMemory(content=text(n), vector=matrix[n % len(matrix)].tobytes(), embedder=Looked.name)
            for n in range(start, min(count, start + 5_000))
        ]
        await store.add(rows)
    await store.aclose()


async def one_size(folder: Path, count: int, matrix: np.ndarray) -> dict[str, object]:
    """Everything that is asked of a memory of `count`."""
    path = folder / "memory.sqlite"
    await filled(path, count, matrix)
    embedder = Looked(matrix)
    found: dict[str, object] = {"memories": count}
    gaps = Gaps()
    snapshot = folder / "memory.index"
    for file in (snapshot, snapshot.with_name("memory.index.json")):
        file.unlink(missing_ok=True)

    def make(store: SqliteMemoryStore) -> Memory:
        defaults = MemoryDefaults(hybrid=False, snapshot_every=10**9)
        return Memory(store, FaissIndex, embedder=embedder.name, snapshot=str(snapshot), defaults=defaults)

    async def life(work) -> None:
        store = SqliteMemoryStore(path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gaps.watch)
            async with open_system() as system:
                await system.spawn(EmbeddingBatcher, embedder, name="batcher")
                await work(Memories(await system.spawn(lambda: make(store), name="memory")))
                with Clock(gaps) as clock:
                    await system.stop()
            found.setdefault("snapshot", clock.figures())
            nursery.cancel_scope.cancel()
        await store.aclose()

    async def first(memories: Memories) -> None:
        gaps.take()
        await trio.sleep(2)
        found["idle_gap_ms"] = round(gaps.take() * 1e3, 1)
        with Clock(gaps) as clock:
            await memories.recall("0 word1", 5)
        found["rebuild"] = clock.figures()
        for _ in range(200):  # a larger kind of index may be under way
            if not FaissIndex(DIM).outgrown() and (await memories.statistics()).index == wanted_kind(count):
                break
            await trio.sleep(0.5)
        found["index"] = (await memories.statistics()).index

    async def second(memories: Memories) -> None:
        with Clock(gaps) as clock:
            await memories.recall("0 word1", 5)
        found["load"] = clock.figures()
        for name, options in (
            ("recall", {}),
            ("recall_hybrid", {"hybrid": True}),
            ("recall_filtered", {"where": {"never": 1}}),
        ):
            cpu: list[float] = []
            queries = [f"{n * 37 % count} {text(n * 91 % count)}" for n in range(200)]
            gaps.paused = True
            for query in queries[:100]:
                before = time.process_time()
                await memories.recall(query, 5, **options)
                cpu.append(time.process_time() - before)
            gaps.paused = False
            await trio.sleep(0.2)
            gaps.take()
            for query in queries[100:]:
                await memories.recall(query, 5, **options)
            found[name] = {**percentiles(cpu[5:]), "gap_ms": round(gaps.take() * 1e3, 1)}
        texts = [f"{n} new {n}" for n in range(count, count + 1_000)]
        with Clock(gaps) as clock:
            ids = await memories.remember(texts)
        found["remember_1000"] = clock.figures()
        with Clock(gaps) as clock:
            await memories.remember("1 a single one")
        found["remember_1"] = clock.figures()
        with Clock(gaps) as clock:
            await memories.forget(ids)
        found["forget_1000"] = clock.figures()

    await life(first)
    await life(second)
    return found


def wanted_kind(count: int) -> str:
    return "flat" if count <= 50_000 else "fp16" if count <= 200_000 else "ivf"


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    return {f"p{p}_ms": round(float(np.percentile(seconds, p)) * 1e3, 3) for p in (50, 95)}


def index_only(count: int, queries: int = 60) -> dict[str, object]:
    """The search alone, in the searching thread: without a filter, and among a half, a tenth, a hundredth."""
    matrix = vectors(count)
    index = FaissIndex(DIM)
    for start in range(0, count, 50_000):
        part = matrix[start : start + 50_000]
        index.add(range(start + 1, start + len(part) + 1), [row.tobytes() for row in part])
    found: dict[str, object] = {"vectors": count}
    if index.outgrown():
        began = time.process_time()
        index = index.successor()()
        found["build_cpu_s"] = round(time.process_time() - began, 2)
    found["index"] = index.kind
    asked = [row.tobytes() for row in vectors(queries, seed=5)]
    rng = np.random.default_rng(1)
    for share in (None, 0.5, 0.1, 0.01):
        among = None if share is None else selection_of((rng.permutation(count)[: int(count * share)] + 1).tolist())
        cpu, hits = [], 0
        for query in asked:
            before = time.thread_time()
            result = index.search(query, 10, among)
            cpu.append(time.thread_time() - before)
            allowed = matrix if among is None else matrix * 0
            if among is not None:
                ids = np.fromiter(among, dtype=np.int64)
                scores = matrix[ids - 1] @ np.frombuffer(query, dtype="<f4")
                best = {int(ids[i]) for i in np.argpartition(-scores, 9)[:10]}
            else:
                scores = allowed @ np.frombuffer(query, dtype="<f4")
                best = {int(i) + 1 for i in np.argpartition(-scores, 9)[:10]}
            hits += len(best & {number for number, _ in result})
        found["all" if share is None else f"among {share:g}"] = {
            **percentiles(cpu),
            "recall@10": round(hits / (10 * len(asked)), 4),
        }
    return found


async def selections(folder: Path) -> dict[str, float]:
    """How long the store takes to find out who is meant, the first time."""
    store = SqliteMemoryStore(folder / "memory.sqlite")
    found = {}
    for name, meant in (("namespace", MemoryFilter()), ("metadata", MemoryFilter(where={"a": 1}))):
        began = time.process_time()
        await store.select(meant)
        found[f"select_{name}_ms"] = round((time.process_time() - began) * 1e3, 1)
    await store.aclose()
    return found


async def main(sizes: Sequence[int], folder: Path) -> list[dict[str, object]]:
    """One line of JSON a size."""
    FaissIndex(2).add([1], [b"\0" * 8])  # the import of faiss is the first use's, not the memory's
    matrix = vectors(100_000)
    results = []
    for count in sizes:
        found = await one_size(folder, count, matrix)
        found.update(await selections(folder))
        print(json.dumps(found), flush=True)
        results.append(found)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--index", default="", help="sizes of an index to search alone, such as 100000,1000000")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if given.sizes:
            trio.run(main, [int(size) for size in given.sizes.split(",")], Path(name))
    for size in filter(None, given.index.split(",")):
        print(json.dumps(index_only(int(size))), flush=True)
