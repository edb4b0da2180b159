"""The benches of the batcher and of the embedding cache measure what they say. No time is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from tests.benchmarks import batcher, batching_page, embedding_cache


@pytest.mark.io
def test_the_batchers_figures_are_measured_against_a_real_server(capsys: pytest.CaptureFixture[str]) -> None:
    """A try-out judges no rate; the calls that bad texts cost are counts and always judged."""
    assert batcher.main(["--quick"]) == 0

    printed = capsys.readouterr().out
    for name in ("one_by_one", "sixteen_way", "bad_1_of_16", "bad_1_of_100", "bad_3_of_100", "bad_10_of_100"):
        assert f"\n{name} " in printed
    assert printed.count(" HOLDS") == 4
    assert printed.count("not judged") == 2


@pytest.mark.io
def test_the_caches_figures_are_measured_on_a_real_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """And go from there into the page that quotes them."""
    assert embedding_cache.main(["--quick", "--json", str(tmp_path / "f.json")]) == 0
    page = batching_page.PAGE.read_text(encoding="utf-8")
    filled = batching_page.filled(page, json.loads((tmp_path / "f.json").read_text(encoding="utf-8")))
    assert "| `warm_restart` | known texts that are embedded again after a restart | 0 texts | 0 to 0 |" in filled
    assert "load" in filled.split("The run of `embedding_cache`:")[1]

    printed = capsys.readouterr().out
    for name in ("sqlite", "sqlite_float16", "in_process", "through_the_batcher", "warm_restart"):
        assert f"\n{name} " in printed
    assert printed.count(" HOLDS") == 1
    assert printed.count("not judged") == 4


async def test_the_embedder_that_should_not_be_asked_counts_when_it_is() -> None:
    """The warm restart would be no measure otherwise."""
    size = embedding_cache.Size(vectors=40, dim=8, batch=10, rounds=1)
    known = embedding_cache.Known(size)
    with trio.fail_after(30):
        asked, _ = await embedding_cache.through_the_batcher(embedding_cache.InMemoryEmbeddingCache(), known, size)

    assert asked == 40
