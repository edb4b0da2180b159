"""Every embedding cache keeps the same promises; the one on disk never fails a call."""

from __future__ import annotations

import logging
import sqlite3
import struct
from pathlib import Path

import pytest

from trouper.actors.vectors import embedding_key
from trouper.adapters.cache_memory import InMemoryEmbeddingCache
from trouper.adapters.cache_sqlite import SqliteEmbeddingCache


def vector(n: int) -> bytes:
    return struct.pack("<2f", n, -n)


def key(n: int) -> bytes:
    return embedding_key("e", str(n))


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.io)])
async def make(request: pytest.FixtureRequest, tmp_path: Path):
    made: list = []

    def _make(max_items: int = 1000):
        if request.param == "memory":
            made.append(InMemoryEmbeddingCache(max_items=max_items))
        else:
            made.append(SqliteEmbeddingCache(tmp_path / "c.sqlite", max_items=max_items))
        return made[-1]

    yield _make
    for cache in made:
        await cache.aclose()


async def test_what_was_put_is_found_and_nothing_else(make) -> None:
    cache = make()
    await cache.put_many([(key(1), vector(1)), (key(2), vector(2))])
    await cache.put_many([(key(2), vector(3))])
    await cache.put_many([])

    assert await cache.get_many([key(2), key(9), key(1), key(2)]) == (vector(3), None, vector(1), vector(3))
    assert await cache.get_many([]) == ()


async def test_it_stays_within_its_size_and_forgets_the_oldest(make) -> None:
    cache = make(20)
    for n in range(50):
        await cache.put_many([(key(n), vector(n))])

    found = await cache.get_many([key(n) for n in range(50)])
    kept = [n for n, v in enumerate(found) if v is not None]
    assert len(kept) <= 20
    assert kept == list(range(50 - len(kept), 50))
    assert len(kept) >= 15


async def test_many_at_once(make) -> None:
    cache = make(5000)
    await cache.put_many([(key(n), vector(n)) for n in range(2_000)])

    assert await cache.get_many([key(n) for n in range(2_000)]) == tuple(vector(n) for n in range(2_000))


def test_a_cache_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        InMemoryEmbeddingCache(max_items=0)
    with pytest.raises(ValueError, match="at least one"):
        SqliteEmbeddingCache("x", max_items=0)


def test_keys_differ_by_text_and_by_embedder() -> None:
    keys = [embedding_key("a", "b"), embedding_key("a", "B"), embedding_key("b", "b"), embedding_key("ab", "")]

    assert len(set(keys)) == 4
    assert embedding_key("a", "b\ud800") == embedding_key("a", "b\ud800")


@pytest.mark.io
async def test_it_outlives_the_process(tmp_path: Path) -> None:
    first = SqliteEmbeddingCache(tmp_path / "c.sqlite")
    await first.put_many([(key(1), vector(1))])
    await first.aclose()
    second = SqliteEmbeddingCache(tmp_path / "c.sqlite")

    assert await second.get_many([key(1)]) == (vector(1),)
    await second.aclose()


@pytest.mark.io
@pytest.mark.parametrize("trouble", ["garbage", "folder", "foreign"])
async def test_a_cache_that_cannot_be_used_misses_and_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    path = tmp_path / "c.sqlite"
    if trouble == "garbage":
        path.write_bytes(b"garbage" * 2000)
    elif trouble == "folder":
        path.mkdir()
    else:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE embedding (x)")
        connection.close()
    cache = SqliteEmbeddingCache(path)
    with caplog.at_level(logging.WARNING, "trouper.memory"):
        for _ in range(3):
            await cache.put_many([(key(1), vector(1))])
            assert await cache.get_many([key(1)]) == (None,)
        await cache.aclose()
        assert await cache.get_many([key(1)]) == (None,)

    assert len(caplog.records) == 1
    assert str(path) in caplog.text


@pytest.mark.io
async def test_a_damaged_vector_is_a_miss(tmp_path: Path) -> None:
    cache = SqliteEmbeddingCache(tmp_path / "c.sqlite")
    await cache.put_many([(key(1), vector(1)), (key(2), vector(2))])
    await cache._file.run(
        lambda c: c.execute("UPDATE embedding SET vector = zeroblob(12) WHERE key = ?", (key(1),)).rowcount
    )

    assert await cache.get_many([key(1), key(2)]) == (None, vector(2))
    await cache.aclose()
