"""A failing cache never fails a call: damaged files, and caches that raise what they like."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
import stat
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from trouper.actors.batcher import Embed, EmbeddingBatcher
from trouper.actors.protocols import Vector
from trouper.actors.vectors import embedding_key
from trouper.adapters.cache_layered import LayeredEmbeddingCache
from trouper.adapters.cache_sqlite import SqliteEmbeddingCache
from trouper.adapters.embed_hash import HashEmbedder, hash_vector
from trouper.runtime import open_system

TEXTS = tuple(f"text {n}" for n in range(200))


async def filled(path: Path) -> dict[bytes, Vector]:
    """A file with a vector for each text, and what it has to give."""
    known = {embedding_key(HashEmbedder().name, text): hash_vector(text, 32) for text in TEXTS}
    cache = SqliteEmbeddingCache(path)
    await cache.put_many(list(known.items()))
    await cache.aclose()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return known


def at_random(whole: bytearray) -> None:
    chance = random.Random(5)
    for _ in range(40):
        whole[chance.randrange(100, len(whole))] = chance.randrange(256)


def words(whole: bytearray) -> None:
    """SQLite says in its error what it has read, which is no text any more."""
    place = whole.index(b"kept (id")
    whole[place : place + 4] = b"\xe3\xe3\xe3\xe3"


@pytest.mark.io
@pytest.mark.parametrize("damage", [at_random, words])
async def test_whatever_is_damaged_in_the_file_is_a_miss_and_never_an_error(tmp_path: Path, damage) -> None:
    """Of random damages one in a hundred came out as a KeyError, a TypeError or a UnicodeDecodeError."""
    known = await filled(tmp_path / "c.sqlite")
    whole = bytearray((tmp_path / "c.sqlite").read_bytes())
    damage(whole)
    (tmp_path / "c.sqlite").write_bytes(whole)
    cache = SqliteEmbeddingCache(tmp_path / "c.sqlite")

    found = await cache.get_many(list(known))
    await cache.put_many([(embedding_key("e", "new"), hash_vector("new", 32))])
    await cache.aclose()
    assert all(vector in {None, known[key]} for key, vector in zip(known, found, strict=True))


@pytest.mark.io
@pytest.mark.parametrize("column", ["form", "seal", "key"])
async def test_a_column_of_another_type_is_a_miss(tmp_path: Path, column: str) -> None:
    known = await filled(tmp_path / "c.sqlite")
    with sqlite3.connect(tmp_path / "c.sqlite") as connection:
        connection.execute(f"UPDATE kept SET {column} = CAST({column} AS BLOB)")
    connection.close()
    cache = SqliteEmbeddingCache(tmp_path / "c.sqlite")

    assert set(await cache.get_many(list(known))) == {None}
    await cache.aclose()


@pytest.mark.io
@pytest.mark.parametrize("damage", ["overwritten", "cut", "gone", "folder"])
async def test_a_file_that_is_damaged_while_it_is_used_fails_nobody(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "kept"
    await filled(folder / "c.sqlite")
    cache = LayeredEmbeddingCache(SqliteEmbeddingCache(folder / "c.sqlite"))
    async with open_system() as system:
        batcher = await system.spawn(partial(EmbeddingBatcher, HashEmbedder(32), cache=cache), name="batcher")
        assert await batcher.ask(Embed(TEXTS[:10])) == tuple(hash_vector(text, 32) for text in TEXTS[:10])
        match damage:
            case "overwritten":
                (folder / "c.sqlite").write_bytes(b"no database at all" * 4000)
            case "cut":
                with (folder / "c.sqlite").open("r+b") as file:
                    file.truncate(100)
            case "gone":
                shutil.rmtree(folder)
            case _:
                folder.chmod(stat.S_IRUSR)
        with caplog.at_level(logging.WARNING):
            texts = (*TEXTS[5:150], "a new one")
            assert await batcher.ask(Embed(texts)) == tuple(hash_vector(text, 32) for text in texts)
            assert await batcher.ask(Embed(texts)) == tuple(hash_vector(text, 32) for text in texts)
    await cache.aclose()
    if damage == "folder":
        folder.chmod(stat.S_IRWXU)
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) <= 1


class Raising:
    """A cache of somebody else's: it raises what it likes, or gives too little."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def get_many(self, keys: Sequence[bytes]) -> tuple[Vector | None, ...]:
        if self.error is not None:
            raise self.error
        return (None,) * (len(keys) - 1)

    async def put_many(self, items: Sequence[tuple[bytes, Vector]]) -> None:
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [RuntimeError("the cache is out"), KeyError("nobody"), None])
async def test_a_cache_that_raises_is_a_miss_and_one_warning(
    error: Exception | None, autojump_clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_system() as system:
        batcher = await system.spawn(partial(EmbeddingBatcher, HashEmbedder(16), cache=Raising(error)), name="batcher")
        with caplog.at_level(logging.WARNING):
            for text in ("a", "b", "a"):
                assert await batcher.ask(Embed((text,))) == (hash_vector(text, 16),)

    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "texts are embedded again" in caplog.text
