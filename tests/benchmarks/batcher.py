"""What batching embeddings is worth, beside what is demanded: `python -m tests.benchmarks.batcher`.

A real server in a process of its own, 40 ms away, which takes no time to think. Texts a second: one call after another;
16 calls at a time; and 400 callers who know nothing of each other and ask the batcher, each for one text at a time.
Every vector is compared with the one the server gives for its text alone. The three take turns, and what is judged is
their ratio in each round, the median of so many rounds with the 95 % interval of that median. A model's own thinking
would make the ratios smaller: it costs the same however the texts are sent.

Then what a bad text costs, in calls: k of n, against 1 + 2k log2 n.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs
import trio

from trouper.actors.batcher import Batching, Embed, EmbeddingBatcher, GetEmbeddingStatistics
from trouper.actors.protocols import Vector
from trouper.adapters.embed_hash import hash_vector
from trouper.adapters.embed_openai import OpenAIEmbedder
from trouper.adapters.model_server_apart import ModelServerProcess
from trouper.adapters.model_server_times import Network
from trouper.runtime import BadRequest, open_system

from .interval import Figure, at_least, at_most
from .kernel import HEADING, line, record, surroundings

ROUND_TRIP = 0.04
CALLERS = 400
ROUNDS = 15
NEEDED = 6
"""Fewer rounds than this are not judged."""


@attrs.frozen(kw_only=True)
class Size:
    """How much is measured."""

    rounds: int
    alone: int = 20
    """Texts that are asked for one by one."""
    sixteen: int = 160
    callers: int = CALLERS
    each: int = 5
    """Texts that each caller asks for, one after another."""
    flights: int = 4
    """`max_concurrent_batches`."""


@attrs.frozen
class Round:
    """Texts a second of one round, and the CPU milliseconds that a text cost this process."""

    alone: float
    sixteen: float
    batched: float
    cpu_alone: float
    cpu_batched: float


class Texts:
    """Texts that nobody has asked for yet."""

    def __init__(self) -> None:
        self._number = 0

    def take(self, count: int) -> list[str]:
        """So many."""
        self._number += count
        return [f"a short text about number {n}" for n in range(self._number - count, self._number)]


async def timed(work: Callable[[], Awaitable[None]], texts: int) -> tuple[float, float]:
    """Texts a second, and CPU milliseconds a text."""
    cpu, began = time.process_time(), time.perf_counter()
    await work()
    return texts / (time.perf_counter() - began), (time.process_time() - cpu) * 1e3 / texts


async def one_round(size: Size, embedder: OpenAIEmbedder, texts: Texts) -> Round:
    """One by one, sixteen at a time, and through the batcher."""
    got: dict[str, Vector] = {}

    async def ask(text: str) -> None:
        (got[text],) = await embedder.embed([text])

    async def one_by_one(wanted: Sequence[str]) -> None:
        for text in wanted:
            await ask(text)

    async def sixteen(wanted: Sequence[str]) -> None:
        async with trio.open_nursery() as nursery:
            for start in range(16):
                nursery.start_soon(one_by_one, wanted[start::16])

    async def batched(wanted: Sequence[str]) -> None:
        async def caller(own: Sequence[str]) -> None:
            for text in own:
                (got[text],) = await ref.ask(Embed((text,)))

        async with trio.open_nursery() as nursery:
            for start in range(size.callers):
                nursery.start_soon(caller, wanted[start :: size.callers])

    async with open_system() as system:
        batching = Batching(max_concurrent_batches=size.flights)
        ref = await system.spawn(lambda: EmbeddingBatcher(embedder, batching=batching), name="batcher")
        first, second, third = texts.take(size.alone), texts.take(size.sixteen), texts.take(size.callers * size.each)
        alone, cpu_alone = await timed(lambda: one_by_one(first), len(first))
        together, _ = await timed(lambda: sixteen(second), len(second))
        shared, cpu_batched = await timed(lambda: batched(third), len(third))
        statistics = await ref.ask(GetEmbeddingStatistics())
    assert statistics.items == len(third), "a text was sent twice, or not at all"
    sample = random.Random(size.each).sample(third, 20)
    assert [got[text] for text in sample] == [(await embedder.embed([text]))[0] for text in sample], "swapped"
    assert set(got) >= {*first, *second, *third}
    return Round(alone, together, shared, cpu_alone, cpu_batched)


async def throughput(size: Size) -> list[Figure]:
    """All rounds against one server."""
    rounds: list[Round] = []
    async with ModelServerProcess(dim=8, network=Network(round_trip=ROUND_TRIP)) as server:
        embedder = OpenAIEmbedder(model="bench", base_url=server.base_url)
        texts = Texts()
        try:
            await one_round(attrs.evolve(size, each=1), embedder, texts)  # connections are opened, libraries loaded
            for _ in range(size.rounds):
                rounds.append(await one_round(size, embedder, texts))  # noqa: PERF401 - one after another
        finally:
            await embedder.aclose()

    def median(values: Sequence[float]) -> float:
        return sorted(values)[len(values) // 2]

    detail = (
        f"{size.callers} callers, {ROUND_TRIP * 1e3:g} ms round trip, {size.flights} batches of 100 at a time: "
        f"{median([r.alone for r in rounds]):,.0f} / {median([r.sixteen for r in rounds]):,.0f} / "
        f"{median([r.batched for r in rounds]):,.0f} texts/s"
    )
    cpu = (
        f"CPU of this process a text: one by one {median([r.cpu_alone for r in rounds]):.2f} ms, "
        f"batched {median([r.cpu_batched for r in rounds]):.3f} ms"
    )
    return [
        Figure(
            name="one_by_one",
            bound=at_least(150),
            values=tuple(r.batched / r.alone for r in rounds),
            needed=NEEDED,
            detail=detail,
        ),
        Figure(
            name="sixteen_way",
            bound=at_least(15),
            values=tuple(r.batched / r.sixteen for r in rounds),
            needed=NEEDED,
            detail=cpu,
        ),
    ]


# ------------------------------------------------------------------ bad texts
class Picky:
    """Refuses a call with a bad text in it, as servers do."""

    name = "picky"
    dim = 16

    def __init__(self) -> None:
        self.calls = 0

    async def embed(self, texts: Sequence[str]) -> tuple[Vector, ...]:
        self.calls += 1
        await trio.lowlevel.checkpoint()
        if any(text.startswith("bad") for text in texts):
            raise BadRequest("one of them is bad", status=400)
        return tuple(hash_vector(text, 16) for text in texts)

    async def aclose(self) -> None:
        """Nothing is open."""
        await trio.lowlevel.checkpoint()


async def calls_for(bad: int, count: int, seed: int) -> int:
    """The calls for `count` texts with `bad` bad ones somewhere among them."""
    wrong = set(random.Random(seed).sample(range(count), bad))
    texts = tuple(f"{'bad' if n in wrong else 'good'} {n}" for n in range(count))
    picky = Picky()

    async def ask(text: str) -> None:
        try:
            await ref.ask(Embed((text,)))
            assert not text.startswith("bad")
        except BadRequest:
            assert text.startswith("bad")

    async with open_system() as system:
        ref = await system.spawn(lambda: EmbeddingBatcher(picky), name="batcher")
        async with trio.open_nursery() as nursery:
            for text in texts:
                nursery.start_soon(ask, text)
    return picky.calls


async def bad_texts(seeds: int) -> list[Figure]:
    """The share of the calls that are allowed, at worst, for some k and n."""
    found = []
    for count, bad in ((16, 1), (100, 1), (100, 3), (100, 10)):
        allowed = 1 + 2 * bad * math.log2(count)
        calls = [await calls_for(bad, count, seed) for seed in range(seeds)]
        found.append(
            Figure(
                name=f"bad_{bad}_of_{count}",
                bound=at_most(allowed, "calls"),
                values=(max(calls),),
                needed=1,
                detail=f"the most of {seeds} tries; {min(calls)} the fewest, {count + 1} one by one after a failure",
            )
        )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 if every figure holds (or none was judged)."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.batcher", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds (default %(default)s)")
    parser.add_argument("--flights", type=int, default=4, help="batches at a time (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a try-out in seconds: no rate is judged")
    chosen = parser.parse_args(arguments)
    size = Size(rounds=chosen.rounds, flights=chosen.flights)
    if chosen.quick:
        size = Size(rounds=1, alone=3, sixteen=32, callers=100, each=2, flights=chosen.flights)
    before = surroundings()
    print(before)
    print(HEADING)
    found = [*trio.run(throughput, size), *trio.run(bad_texts, 3 if chosen.quick else 30)]
    for figure in found:
        print(f"{line(figure)}\n{'':20}   {figure.detail}", flush=True)
    if chosen.json is not None:
        rows = {
            "command": "batcher",
            "before": before,
            "after": surroundings(),
            "figures": [record(figure) for figure in found],
        }
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 1 if any(figure.verdict == "DOES NOT HOLD" for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
