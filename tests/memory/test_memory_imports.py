"""Heavy libraries are imported where they are used, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODULES = [
    "trouper.actors.batcher",
    "trouper.actors.memories",
    "trouper.actors.memory",
    "trouper.actors.vectors",
    "trouper.adapters.cache_memory",
    "trouper.adapters.cache_sqlite",
    "trouper.adapters.config_yaml",
    "trouper.adapters.embed_choice",
    "trouper.adapters.embed_hash",
    "trouper.adapters.embed_none",
    "trouper.adapters.embed_wordllama",
    "trouper.adapters.index_choice",
    "trouper.adapters.index_faiss",
    "trouper.adapters.index_numpy",
    "trouper.adapters.store_memory",
    "trouper.adapters.store_sqlite",
]
HEAVY = ("numpy", "faiss", "yaml", "wordllama", "tokenizers", "safetensors", "requests")


OPENING = """
import sys, trio, trouper
open_troupe = trouper.open_troupe
seen = [len(sys.modules)]

async def turn(task_status=trio.TASK_STATUS_IGNORED):
    task_status.started()
    while True:
        await trio.lowlevel.checkpoint()
        seen.append(len(sys.modules))

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(turn)
        async with open_troupe({"memory": {"path": sys.argv[1]}, "planner": {"mode": "rules"}}):
            nursery.cancel_scope.cancel()

trio.run(main)
print(seen[-1] - seen[0], max(after - before for before, after in zip(seen, seen[1:])))
"""


@pytest.mark.io
def test_what_the_first_troupe_imports_is_imported_in_turns_with_the_loop(tmp_path: Path) -> None:
    """In one go it kept the loop for 40 ms: fifty modules."""
    command = [sys.executable, "-c", OPENING, str(tmp_path / "m.sqlite")]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    imported, most = map(int, run.stdout.split())

    assert imported > 30
    assert most < imported / 2


@pytest.mark.io
def test_importing_and_building_brings_no_heavy_library() -> None:
    code = (
        f"import sys, {', '.join(MODULES)}\n"
        "from trouper.adapters.index_choice import index_maker\n"
        "from trouper.adapters.index_faiss import FaissIndex\n"
        "from trouper.adapters.index_numpy import NumpyIndex\n"
        "from trouper.adapters.embed_wordllama import WordLlamaEmbedder, wordllama_folder\n"
        "FaissIndex(4), NumpyIndex(4), WordLlamaEmbedder(), wordllama_folder()\n"
        "[index_maker(name)(4) for name in ('auto', 'hnsw', 'numpy')]\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)

    assert run.stdout.strip() == "[]"
