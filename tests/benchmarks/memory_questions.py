"""How often the memory finds what a paraphrased question is about: hit@1 of a set of memories and questions.

`python -m tests.benchmarks.memory_questions`: every memory of tests/data/memory_questions.tsv is remembered, every
question asked; a hit is when the memory that it is about comes first. The set was written before it was measured, and
not mended afterwards. How much words count beside vectors, and that question words are left out of a question's vector,
was chosen by the lines with odd numbers; the others were held out, and their rate is printed too. The interval is
Wilson's, of 95 %.
"""

from __future__ import annotations

import math
from pathlib import Path

import attrs
import trio

from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memory import NO_VECTORS, Memory
from trouper.actors.memory_messages import Recall, Remember
from trouper.actors.protocols import Embedder
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.embed_none import NoEmbedder
from trouper.adapters.embed_wordllama import WordLlamaEmbedder
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_memory import InMemoryStore
from trouper.runtime import open_system

DATA = Path(__file__).resolve().parents[1] / "data" / "memory_questions.tsv"


@attrs.frozen
class Rate:
    """So many of all questions were answered by the right memory first."""

    hits: int
    total: int
    missed: tuple[tuple[str, str], ...] = ()
    held_out: int = 0
    """Hits among the questions that nothing was chosen by: every other one."""

    @property
    def share(self) -> float:
        return self.hits / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, 95 %."""
        z, n, p = 1.96, self.total, self.share
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return middle - half, middle + half

    def __str__(self) -> str:
        low, high = self.interval
        held = f"held out {self.held_out}/{self.total // 2}"
        return f"{self.hits}/{self.total} = {self.share:.2f} ({low:.2f} to {high:.2f}), {held}"


def questions() -> list[tuple[str, str]]:
    """Memories, each with its question."""
    return [tuple(line.split("\t")) for line in DATA.read_text(encoding="utf-8").splitlines()]  # type: ignore[misc]


async def rate(embedder: Embedder, *, hybrid: bool, k: int = 1) -> Rate:
    """Remember all, ask all."""
    pairs = questions()
    async with open_system() as system:
        await system.spawn(EmbeddingBatcher, embedder, name="batcher")
        as_query = getattr(embedder, "as_query", None)
        memory = await system.spawn(
            lambda: Memory(InMemoryStore(), NumpyIndex, embedder=embedder.name, as_query=as_query), name="memory"
        )
        await memory.ask(Remember(tuple(text for text, _ in pairs)))
        missed: list[tuple[str, str]] = []
        held_out = 0
        for number, (text, question) in enumerate(pairs):
            found = await memory.ask(Recall(question, k, hybrid=hybrid))
            if text not in [one.content for one in found]:
                missed.append((question, found[0].content if found else ""))
            else:
                held_out += number % 2
    return Rate(len(pairs) - len(missed), len(pairs), tuple(missed), held_out)


async def main() -> None:
    """Print the rates of the embedders that need no network."""
    for name, make in (("wordllama", WordLlamaEmbedder), ("hash n-grams", HashEmbedder)):
        for hybrid in (True, False):
            for k in (1, 5):
                found = await rate(make(), hybrid=hybrid, k=k)
                print(f"{name:14} {'vectors and words' if hybrid else 'vectors only':18} hit@{k} {found}")
    print(f"{NO_VECTORS:14} {'words only':18} hit@1 {await rate(NoEmbedder(), hybrid=True)}")


if __name__ == "__main__":
    trio.run(main)
