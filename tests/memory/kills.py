"""Kills of a memory at random instants: `python tests/memory/kills.py FOLDER FIRST COUNT`.

One process imports everything once and forks: a child that remembers, recalls and forgets until it is killed, then
one that looks at what is left. The parent starts no thread, so a fork is safe. Each look prints a line; the exit code
is 0 if every one of them was well.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import trio

from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memories import Memories
from trouper.actors.memory import Memory, MemoryDefaults
from trouper.actors.memory_data import MemoryFilter
from trouper.adapters.embed_hash import HashEmbedder, hash_vector
from trouper.adapters.index_faiss import FaissIndex, _faiss
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import open_system

DIM = 32
EVERYTHING = MemoryFilter(namespace=None, dead=True)


async def with_memory(path: Path, work) -> None:
    store = SqliteMemoryStore(path)
    embedder = HashEmbedder(DIM)
    async with open_system() as system:
        await system.spawn(EmbeddingBatcher, embedder, name="batcher")
        ref = await system.spawn(
            lambda: Memory(
                store,
                FaissIndex,
                embedder=embedder.name,
                snapshot=f"{path}.index",
                defaults=MemoryDefaults(hybrid=False, snapshot_every=8),
            ),
            name="memory",
        )
        await work(Memories(ref), store)
    await store.aclose()


async def change(memories: Memories, store: SqliteMemoryStore) -> None:
    """Remember, recall, supersede and forget for ever; say what was acknowledged."""
    n = 0
    while True:
        texts = [f"memory {os.getpid()} {n} part {i}" for i in range(n % 4 + 1)]
        print("try", n, flush=True)
        ids = await memories.of("anna" if n % 2 else "bob").remember(texts)
        print("there", *ids, flush=True)
        if n % 3 == 2:
            await memories.of("anna").recall(f"memory {n}", 1)
        if n % 5 == 4:
            print("doubtful", ids[0], flush=True)
            await memories.forget(ids[0])
            print("gone", ids[0], flush=True)
        elif n % 5 == 2:
            print("doubtful", ids[0], flush=True)
            new = await memories.of("anna" if n % 2 else "bob").supersede(ids[0], f"instead of {os.getpid()} {n}")
            print("there", new, flush=True)
            print("dead", ids[0], flush=True)
        n += 1


class Told:
    """What the children have said, over all of their lives."""

    def __init__(self) -> None:
        self.there: set[int] = set()
        self.doubtful: set[int] = set()
        self.gone: set[int] = set()
        self.dead: set[int] = set()

    def hear(self, line: str) -> None:
        word, *numbers = line.split() or [""]
        if hasattr(self, word):
            getattr(self, word).update(map(int, numbers))


async def look(memories: Memories, store: SqliteMemoryStore, told: Told) -> None:
    rows = await store.page(0, 100_000, EVERYTHING)
    ids = {row.id for row in rows}
    assert told.there - told.gone - told.doubtful <= ids, "an acknowledged memory is lost"
    assert not ids & told.gone, "a forgotten memory is there"
    assert len({(row.namespace, row.content) for row in rows}) == len(rows), "a memory is there twice"
    assert {row.id for row in rows if row.superseded_by is not None} >= (told.dead & ids), "a dead memory lives"
    vectors = dict(await store.vectors(f"hash-ngrams-{DIM}", DIM, 0, 100_000))
    assert vectors.keys() == ids, "a memory has no vector"
    for place in ("anna", "bob"):
        alive = {row.id for row in rows if row.namespace == place and row.superseded_by is None}
        query = memoryview(hash_vector("memory part 1", DIM)).cast("f")
        scores = {n: sum(map(float.__mul__, query, memoryview(vectors[n]).cast("f"))) for n in alive}
        best = sorted(scores.values(), reverse=True)[:10]
        found = await memories.of(place).recall("memory part 1", 10, min_score=-1.0)
        assert {m.id for m in found} <= alive
        assert len(found) == len(best)
        assert all(abs(m.score - score) < 1e-4 for m, score in zip(found, best, strict=True)), (
            "not what brute force finds"
        )


def forked(work) -> int:
    """Run `work` in a child; gives its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:  # noqa: BLE001 - the parent hears of it by the exit code
            print(f"{type(error).__name__}: {error} {getattr(error, 'exceptions', '')}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return pid


def one_life(path: Path, told: Told, rng: random.Random) -> int:
    """Start a child, kill it at some instant, hear what it said; gives how many lines that were."""
    read, write = os.pipe()

    def live() -> None:
        os.dup2(write, 1)
        trio.run(with_memory, path, change)

    pid = forked(live)
    os.close(write)
    lines = 0
    wanted = rng.choice([0, 1, 2, 5, 10, 25])
    with os.fdopen(read) as said:
        for line in said:
            told.hear(line)
            lines += 1
            if lines >= wanted:
                break
        time.sleep(rng.random() * rng.choice([0.001, 0.01, 0.03]))  # the instant is the point
        os.kill(pid, signal.SIGKILL)
        for line in said:
            if line.endswith("\n"):
                told.hear(line)
            lines += 1
    os.waitpid(pid, 0)
    return lines


def main(folder: str, first: int, count: int) -> int:
    _faiss()
    bad = 0
    told, path = Told(), Path(folder) / "none"
    for seed in range(first, first + count):
        rng = random.Random(seed)
        if seed == first or rng.random() < 0.2:  # mostly the memory that has been killed before
            told, path = Told(), Path(folder) / f"{seed}.sqlite"
        lines = one_life(path, told, rng)
        pid = forked(lambda: trio.run(with_memory, path, lambda m, s: look(m, s, told)))  # noqa: B023 - waited for here
        _, status = os.waitpid(pid, 0)
        well = os.waitstatus_to_exitcode(status) == 0
        bad += not well
        print(f"seed {seed}: {lines} lines, {len(told.there)} remembered: {'well' if well else 'BAD'}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
