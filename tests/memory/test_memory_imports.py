"""Heavy libraries are imported where they are used, and not before."""

from __future__ import annotations

import subprocess
import sys

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
