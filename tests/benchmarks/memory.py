"""Figures of the memory: `python -m tests.benchmarks.memory [--sizes 1000,10000,100000] [--index 1000000]`.

CPU seconds of this process (`time.process_time`, all threads), or of the searching thread where that is said; wall
seconds beside them. `gap_ms` is how late a task that sleeps a millisecond came at worst, `stall_ms` how much of that
was our own doing (see `Gaps`); `idle` is the same where nothing is asked of the memory. The vectors are
random ones around random centres, 384 numbers, unless it says otherwise; most of them are in the cache, and the
embedder costs nothing, so that what is measured is the memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from io import RawIOBase
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import trio

from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memories import Memories
from trouper.actors.memory import Memory, MemoryDefaults
from trouper.actors.memory_data import MemoryFilter, MemoryRow, NewMemory
from trouper.actors.memory_lines import exported
from trouper.actors.vectors import embedding_key
from trouper.adapters.cache_memory import InMemoryEmbeddingCache
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import open_system

from .memory_index import DIM, one, vectors

T = TypeVar("T")
MANY = 10_000
WORDS = [f"word{n}" for n in range(5_000)]


class Looked:
    """An embedder that looks its vectors up: the text says which."""

    name = "bench"
    dim = DIM

    def __init__(self, matrix: np.ndarray, name: str = name) -> None:
        self.matrix = matrix
        self.name = name

    def row(self, text: str) -> bytes:
        return self.matrix[int(text.split()[0]) % len(self.matrix)].tobytes()

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        await trio.lowlevel.checkpoint()
        return tuple(map(self.row, texts))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def text(number: int) -> str:
    """A memory of ten words, some of them frequent."""
    rng = np.random.default_rng(number)
    return f"{number} " + " ".join(WORDS[int(w)] for w in rng.zipf(1.3, 10) % len(WORDS))


class Gaps:
    """How long the loop did not come round, and how much of that was our own doing.

    On a busy machine any loop is late now and then: its thread is ready and waits for a processor (Linux says how
    long), or the thread that it waits for does. A stall of our own doing is what the loop's thread itself has worked in
    one go, and what it then waited for threads of ours to let it work, but no more than they have worked meanwhile.
    `collector` is the longest collection of garbage, by whatever thread: it is in the stall.
    """

    def __init__(self) -> None:
        self.worst = self.own = self.collector = self.began = 0.0
        gc.callbacks.append(self.collected)
        self.paused = False
        """While CPU time is measured: to look costs some, too."""

    async def watch(self) -> None:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as waits:  # noqa: ASYNC230, PTH123 - no disk
            before = self.now(waits)
            while True:
                interval = 0.1 if self.paused else 0.001
                await trio.sleep(interval)
                after = self.now(waits)
                wall, cpu, here, delay = (one - other for one, other in zip(after, before, strict=True))
                late = wall - interval
                waited = min(max(0.0, late - here - delay), cpu - here)
                self.worst = max(self.worst, late)
                self.own = max(self.own, min(late, here + waited))
                before = after

    @staticmethod
    def now(waits: RawIOBase) -> tuple[float, float, float, float]:
        """Now, CPU time of the process and of this thread, and how long this thread has waited for a processor."""
        delay = int(os.pread(waits.fileno(), 100, 0).split()[1]) / 1e9
        return time.perf_counter(), time.process_time(), time.thread_time(), delay

    def collected(self, phase: str, _: object) -> None:
        if phase == "start":
            self.began = time.thread_time()
        else:
            self.collector = max(self.collector, time.thread_time() - self.began)

    def take(self) -> dict[str, float]:
        found = {"stall_ms": self.own, "collector_ms": self.collector, "gap_ms": self.worst}
        self.worst = self.own = self.collector = 0.0
        return {name: round(seconds * 1e3, 1) for name, seconds in found.items()}


class Clock:
    """CPU and wall seconds of a block, and the longest stall of the loop in it."""

    def __init__(self, gaps: Gaps) -> None:
        self.gaps = gaps

    def __enter__(self) -> Self:
        self.gaps.take()
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cpu, self.wall = time.process_time() - self.cpu, time.perf_counter() - self.wall
        self.found = self.gaps.take()

    def figures(self) -> dict[str, float]:
        return {"cpu_s": round(self.cpu, 4), "wall_s": round(self.wall, 4), **self.found}


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


class Bench:
    """Everything that is asked of a memory of `count`, and what it took."""

    def __init__(self, folder: Path, count: int, matrix: np.ndarray) -> None:
        self.path = folder / "memory.sqlite"
        self.count = count
        self.matrix = matrix
        self.gaps = Gaps()
        self.cache = InMemoryEmbeddingCache(max_items=50_000)
        self.found: dict[str, object] = {"memories": count}

    @asynccontextmanager
    async def memory(self, name: str = Looked.name) -> AsyncIterator[tuple[Memories, SqliteMemoryStore]]:
        """A process's life with it; its end writes the index down."""
        store, embedder = SqliteMemoryStore(self.path), Looked(self.matrix, name)
        snapshot = str(self.path.with_name("memory.index"))
        defaults = MemoryDefaults(hybrid=False, snapshot_every=10**9)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.gaps.watch)
            async with open_system() as system:
                await system.spawn(lambda: EmbeddingBatcher(embedder, cache=self.cache), name="batcher")
                memory = await system.spawn(
                    lambda: Memory(store, FaissIndex, embedder=name, snapshot=snapshot, defaults=defaults),
                    name="memory",
                )
                gc.freeze()  # as the command line does, and as the docs tell programs to do
                yield Memories(memory), store
                gc.unfreeze()
                with Clock(self.gaps) as clock:
                    await system.stop()
            self.found.setdefault("snapshot", clock.figures())
            nursery.cancel_scope.cancel()
        await store.aclose()

    async def run(self) -> dict[str, object]:
        await filled(self.path, self.count, self.matrix)
        for name in ("memory.index", "memory.index.json"):
            self.path.with_name(name).unlink(missing_ok=True)
        async with self.memory() as (memories, _):
            self.gaps.take()
            await trio.sleep(2)
            self.found["idle"] = self.gaps.take()
            await self.timed("rebuild", memories.recall("0 word1", 5))
            for _ in range(200):  # a larger kind of index may be under way
                if (await memories.statistics()).index == wanted_kind(self.count):
                    break
                await trio.sleep(0.5)
            self.found["index"] = (await memories.statistics()).index
        async with self.memory() as (memories, store):
            await self.timed("load", memories.recall("0 word1", 5))
            await self.recalls(memories, store)
            await self.changes(memories)
        async with self.memory("another") as (memories, _):
            self.gaps.take()
            with trio.move_on_after(5), Clock(self.gaps) as clock:
                await memories.recall("0 word1", 5)
                for _ in range(200):
                    if not (await memories.statistics()).waiting:
                        break
                    await trio.sleep(0.1)
            self.found["embedding_again"] = clock.figures()
        return self.found

    async def timed(self, name: str, work: Awaitable[T]) -> T:
        await trio.sleep(0.02)  # what the bench itself has done is not the memory's
        with Clock(self.gaps) as clock:
            result = await work
        self.found[name] = clock.figures()
        return result

    async def recalls(self, memories: Memories, store: SqliteMemoryStore) -> None:
        for name, options in (
            ("recall", {}),
            ("recall_hybrid", {"hybrid": True}),
            ("recall_filtered", {"where": {"never": 1}}),
        ):
            cpu: list[float] = []
            queries = [f"{n * 37 % self.count} {text(n * 91 % self.count)}" for n in range(300)]
            self.gaps.paused = True
            for query in queries[:200]:
                before = time.process_time()
                await memories.recall(query, 5, **options)
                cpu.append(time.process_time() - before)
            self.gaps.paused = False
            await trio.sleep(0.2)
            self.gaps.take()
            for query in queries[200:]:
                await memories.recall(query, 5, **options)
            self.found[name] = {**percentiles(cpu[5:]), **self.gaps.take()}
        exact = 0
        pairs = await store.vectors(Looked.name, DIM, 0, self.count)
        stored = np.frombuffer(b"".join(vector for _, vector in pairs), dtype="<f4").reshape(len(pairs), DIM)
        for query in queries[:50]:
            scores = (stored * self.matrix[int(query.split()[0]) % len(self.matrix)]).sum(axis=1)
            best = sorted(range(len(pairs)), key=lambda n: (-scores[n], pairs[n][0]))[:10]
            found = await memories.recall(query, 10, min_score=-1.0)
            exact += [memory.id for memory in found] == [pairs[n][0] for n in best]
        self.found["as_brute_force"] = f"{exact}/50"

    async def changes(self, memories: Memories) -> None:
        took, ids = [], ()
        for part in range(6):
            texts = [f"{n} new {n}" for n in range(self.count + 1_000 * part, self.count + 1_000 * (part + 1))]
            looked = Looked(self.matrix)
            keys = [(embedding_key(Looked.name, one), looked.row(one)) for one in texts]
            self.cache.put_many_nowait(keys)
            await trio.sleep(0.02)
            with Clock(self.gaps) as clock:
                ids = await memories.remember(texts)
            took.append(clock)
        self.found["remember_1000"] = {
            "cpu_ms": [round(one.cpu * 1e3) for one in took],
            "median_ms": round(float(np.median([one.cpu for one in took])) * 1e3, 1),
            **{name: max(one.found[name] for one in took) for name in took[0].found},
        }
        await self.timed("remember_1", memories.remember("1 a single one"))
        await self.timed("forget_1000", memories.forget(ids))
        lines = [exported(MemoryRow(id=n, content=text(n), created=1.0)) for n in range(MANY)]
        visitor = memories.of("visitor")
        await self.timed("import_10000", visitor.import_lines(lines))

        async def export() -> int:
            return len([line async for line in visitor.export()])

        await self.timed("export_10000", export())
        await self.timed("statistics", memories.statistics())
        await self.timed("select_10000", visitor.recall("0 word1", 5))
        await self.timed("forget_10000", visitor.forget(everything=True))


def wanted_kind(count: int) -> str:
    return "flat" if count <= 50_000 else "fp16" if count <= 200_000 else "ivf"


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    return {f"p{p}_ms": round(float(np.percentile(seconds, p)) * 1e3, 3) for p in (50, 95)}


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
        found = await Bench(folder, count, matrix).run()
        found.update(await selections(folder))
        print(json.dumps(found), flush=True)
        results.append(found)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--index", default="", help="sizes of an index to search alone; see memory_index")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if given.sizes:
            trio.run(main, [int(size) for size in given.sizes.split(",")], Path(name))
    for size in filter(None, given.index.split(",")):
        print(json.dumps(one("clustered", int(size))), flush=True)
