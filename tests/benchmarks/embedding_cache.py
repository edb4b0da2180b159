"""How fast known vectors are found again, beside what is demanded: `python -m tests.benchmarks.embedding_cache`.

Vectors a second of CPU time (the loop's thread and the cache's together), in batches, in an order that no cache
foresees: from SQLite as float32 and as float16, from the layer in this process in front of it, and through the batcher
with its keys. Beside it what writing costs. Each the median of so many rounds with the 95 % interval of that median.
Then the warm restart: new caches and a new batcher over the same file, and how many known texts are embedded again.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs
import trio

from trouper.actors.batcher import Embed, EmbeddingBatcher, GetEmbeddingStatistics
from trouper.actors.protocols import EmbeddingCache, Vector
from trouper.actors.vectors import embedding_key
from trouper.adapters.cache_layered import LayeredEmbeddingCache
from trouper.adapters.cache_memory import InMemoryEmbeddingCache
from trouper.adapters.cache_sqlite import SqliteEmbeddingCache
from trouper.runtime import open_system

from .interval import Bound, Figure, at_least, at_most
from .kernel import HEADING, line, record, surroundings

NEEDED = 6


@attrs.frozen(kw_only=True)
class Size:
    """How much is measured."""

    vectors: int = 20_000
    dim: int = 384
    batch: int = 500
    rounds: int = 15


class Known:
    """Texts, their keys and their vectors."""

    def __init__(self, size: Size) -> None:
        rng = random.Random(1)
        self.texts = [f"the text that has the number {n}" for n in range(size.vectors)]
        self.keys = [embedding_key("bench", text) for text in self.texts]
        one = 1.0 / size.dim**0.5
        half = struct.pack(f"<{size.dim // 2}f", *([one] * (size.dim // 2)))
        self.vectors: list[Vector] = []
        for _ in self.texts:
            numbers = [one if rng.random() < 0.5 else -one for _ in range(size.dim - size.dim // 2)]
            self.vectors.append(half + struct.pack(f"<{len(numbers)}f", *numbers))
        self.order = list(range(size.vectors))
        rng.shuffle(self.order)


class Counting:
    """An embedder that should not be asked."""

    name = "bench"

    def __init__(self, known: Known, dim: int) -> None:
        self.dim = dim
        self.asked = 0
        self._vectors = dict(zip(known.texts, known.vectors, strict=True))

    async def embed(self, texts: Sequence[str]) -> tuple[Vector, ...]:
        self.asked += len(texts)
        await trio.lowlevel.checkpoint()
        return tuple(self._vectors[text] for text in texts)

    async def aclose(self) -> None:
        """Nothing is open."""
        await trio.lowlevel.checkpoint()


def batches(known: Known, size: Size) -> list[list[int]]:
    """The numbers of the vectors, in order of asking."""
    return [known.order[at : at + size.batch] for at in range(0, size.vectors, size.batch)]


async def rates(work: Callable[[], Awaitable[None]], vectors: int, rounds: int) -> tuple[float, ...]:
    """Vectors a second of CPU, in each round; the first, which fills what is filled lazily, is left out."""
    found: list[float] = []
    for _ in range(rounds + 1):
        began = time.process_time()
        await work()
        found.append(vectors / (time.process_time() - began))
    return tuple(found[1:])


def reading(cache: EmbeddingCache, known: Known, size: Size, *, exact: bool) -> Callable[[], Awaitable[None]]:
    """Ask for everything once."""
    wanted = [[known.keys[i] for i in part] for part in batches(known, size)]
    expected = [tuple(known.vectors[i] for i in part) for part in batches(known, size)]

    async def work() -> None:
        for keys, vectors in zip(wanted, expected, strict=True):
            found = await cache.get_many(keys)
            assert None not in found, "a known vector was not found"
            assert found == vectors or not exact, "another vector was found"

    return work


async def measure(size: Size, folder: Path) -> list[Figure]:
    """All figures."""
    known = Known(size)
    pairs = list(zip(known.keys, known.vectors, strict=True))
    found: list[Figure] = []
    detail = f"{size.vectors:,} vectors of {size.dim}, {size.batch} a batch"

    def figure(name: str, values: tuple[float, ...], bound: Bound, text: str = detail, needed: int = NEEDED) -> None:
        found.append(Figure(name=name, bound=bound, values=values, needed=needed, detail=text))

    async def fill(cache: EmbeddingCache) -> float:
        began = time.process_time()
        for at in range(0, size.vectors, 100):
            await cache.put_many(pairs[at : at + 100])
        return size.vectors / (time.process_time() - began)

    for name, half in (("sqlite", False), ("sqlite_float16", True)):
        cache = SqliteEmbeddingCache(folder / f"{name}.sqlite", half=half)
        written = await fill(cache)
        values = await rates(reading(cache, known, size, exact=not half), size.vectors, size.rounds)
        await cache.aclose()
        megabytes = (folder / f"{name}.sqlite").stat().st_size / 1e6
        text = f"{detail}; written at {written:,.0f}/s, 100 a batch; {megabytes:.0f} MB"
        figure(name, values, at_least(100_000, "/s"), text)
    front = InMemoryEmbeddingCache(max_items=size.vectors)
    layered = LayeredEmbeddingCache(SqliteEmbeddingCache(folder / "sqlite.sqlite"), front=front)
    values = await rates(reading(layered, known, size, exact=True), size.vectors, size.rounds)
    figure("in_process", values, at_least(100_000, "/s"))
    await layered.aclose()
    front = InMemoryEmbeddingCache(max_items=size.vectors)
    again = LayeredEmbeddingCache(SqliteEmbeddingCache(folder / "sqlite.sqlite"), front=front)
    asked, values = await through_the_batcher(again, known, size)
    await again.aclose()
    figure(
        "through_the_batcher",
        values,
        at_least(100_000, "/s"),
        f"{detail} in one ask; with keys and checks, all in process",
    )
    figure("warm_restart", (float(asked),), at_most(0, "texts"), "known texts embedded again, from the file alone", 1)
    return found


async def through_the_batcher(cache: EmbeddingCache, known: Known, size: Size) -> tuple[int, tuple[float, ...]]:
    """Texts that were embedded, and the rates."""
    embedder = Counting(known, size.dim)
    wanted = [tuple(known.texts[i] for i in part) for part in batches(known, size)]
    async with open_system() as system:
        ref = await system.spawn(lambda: EmbeddingBatcher(embedder, cache=cache), name="batcher")

        async def work() -> None:
            for texts in wanted:
                await ref.ask(Embed(texts))

        values = await rates(work, size.vectors, size.rounds)
        statistics = await ref.ask(GetEmbeddingStatistics())
    assert statistics.cached + embedder.asked == statistics.texts
    return embedder.asked, values


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 if every figure holds (or none was judged)."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.embedding_cache", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="rounds (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a try-out in a second: no rate is judged")
    chosen = parser.parse_args(arguments)
    size = Size(vectors=600, dim=32, batch=200, rounds=1) if chosen.quick else Size(rounds=chosen.rounds)
    before = surroundings()
    print(before)
    print(HEADING)
    with tempfile.TemporaryDirectory(prefix="trouper-cache-") as folder:
        found = trio.run(measure, size, Path(folder))
    for figure in found:
        print(f"{line(figure)}\n{'':20}   {figure.detail}", flush=True)
    if chosen.json is not None:
        rows = {"command": "embedding_cache", "before": before, "figures": [record(figure) for figure in found]}
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 1 if any(figure.verdict == "DOES NOT HOLD" for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
