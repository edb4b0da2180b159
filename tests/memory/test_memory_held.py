"""What a troupe holds of its memories in this process: nothing that Python's garbage collector has to look through."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

import trouper
from trouper.adapters.embed_hash import HashEmbedder


async def looked_at(path: Path, memories: int) -> int:
    """How many objects the collector knows of, while a troupe is open that has been used."""
    config = {"planner": {"mode": "rules"}, "memory": {"path": str(path)}}
    async with trouper.open_troupe(config, embedder=HashEmbedder(64)) as troupe:
        texts = [f"memory {number} of thing {number % 97}" for number in range(memories)]
        for start in range(0, memories, 1_000):
            await troupe.remember(texts[start : start + 1_000], {"room": 4}, tags=["a"])
        await troupe.recall("memory 7", where={"room": 4})
        await troupe.recall("thing 5", tags=["a"])
        await troupe.index_documents(str(path.parent / "words"))
        await troupe.search_documents("thing 5")
        gc.collect()
        return len(gc.get_objects())


@pytest.mark.io
async def test_many_memories_and_passages_are_no_more_objects_than_a_few(tmp_path: Path) -> None:
    """A full collection takes 0.6 ms a thousand objects, in one go: a hundred thousand would stand the loop still."""
    counts = []
    for name, many in (("warm", 20), ("few", 20), ("many", 1_500)):
        folder = tmp_path / name
        (folder / "words").mkdir(parents=True)
        (folder / "words" / "a.md").write_text("".join(f"# Part {n}\n\nthing {n} " * 2 for n in range(many)))
        counts.append(await looked_at(folder / "m.sqlite", many))

    assert abs(counts[2] - counts[1]) < 400
