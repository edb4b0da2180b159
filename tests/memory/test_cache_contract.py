"""Every embedding cache keeps the same promises; the one on disk never fails a call."""

from __future__ import annotations

import logging
import math
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from trouper.actors.vectors import embedding_key, fault_of
from trouper.adapters import cache_rows
from trouper.adapters.cache_layered import LayeredEmbeddingCache
from trouper.adapters.cache_memory import InMemoryEmbeddingCache
from trouper.adapters.cache_sqlite import SqliteEmbeddingCache


def vector(n: int) -> bytes:
    return struct.pack("<2f", n, -n)


def key(n: int) -> bytes:
    return embedding_key("e", str(n))


@pytest.fixture(
    params=["memory", pytest.param("sqlite", marks=pytest.mark.io), pytest.param("layered", marks=pytest.mark.io)]
)
async def make(request: pytest.FixtureRequest, tmp_path: Path):
    made: list = []

    def _make(max_items: int = 1000):
        if request.param == "memory":
            made.append(InMemoryEmbeddingCache(max_items=max_items))
        else:
            made.append(SqliteEmbeddingCache(tmp_path / "c.sqlite", max_items=max_items))
        if request.param == "layered":
            made.append(LayeredEmbeddingCache(made[-1], front=InMemoryEmbeddingCache(max_items=5)))
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


async def test_what_is_to_be_forgotten_is_not_found_any_more(make) -> None:
    cache = make()
    await cache.put_many([(key(n), vector(n)) for n in range(9)])
    await cache.get_many([key(n) for n in range(9)])
    await cache.forget([key(2), key(7), key(99)])
    await cache.forget([])

    found = await cache.get_many([key(n) for n in range(9)])
    assert [n for n, one in enumerate(found) if one is None] == [2, 7]


@pytest.mark.io
async def test_no_file_holds_a_byte_of_what_is_to_be_forgotten(tmp_path: Path) -> None:
    """Also not what was put over it, or had become too old to be kept."""
    cache = SqliteEmbeddingCache(tmp_path / "c.sqlite", max_items=30)
    secret = struct.pack("<4f", *(1.2345678, 2.3456789, 3.4567891, 4.5678912)) * 8
    await cache.put_many([(key(n), secret) for n in range(20)])
    await cache.put_many([(key(n), vector(n) * 16) for n in range(20, 35)])
    await cache.forget([key(n) for n in range(20)])

    for file in tmp_path.iterdir():
        assert secret[:16] not in file.read_bytes(), file
    assert await cache.get_many([key(30)]) == (vector(30) * 16,)
    await cache.aclose()


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
    with caplog.at_level(logging.WARNING, "trouper.cache"):
        for _ in range(3):
            await cache.put_many([(key(1), vector(1))])
            assert await cache.get_many([key(1)]) == (None,)
        await cache.aclose()
        assert await cache.get_many([key(1)]) == (None,)

    assert len(caplog.records) == 1
    assert str(path) in caplog.text


@pytest.mark.io
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE kept SET value = zeroblob(8) WHERE key = ?",
        "UPDATE kept SET form = 1 WHERE key = ?",
        "UPDATE kept SET value = 'text' WHERE key = ?",
        "UPDATE kept SET key = key + 1 WHERE key = ?",
    ],
)
async def test_a_damaged_vector_is_a_miss(tmp_path: Path, damage: str) -> None:
    cache = SqliteEmbeddingCache(tmp_path / "c.sqlite")
    await cache.put_many([(key(1), vector(1)), (key(2), vector(2))])
    connection = sqlite3.connect(tmp_path / "c.sqlite")
    with connection:
        assert connection.execute(damage, (int.from_bytes(key(1)[:8], "little", signed=True),)).rowcount == 1
    connection.close()

    assert await cache.get_many([key(1), key(2)]) == (None, vector(2))
    await cache.put_many([(key(1), vector(1))])
    assert await cache.get_many([key(1)]) == (vector(1),)
    await cache.aclose()


@pytest.mark.io
async def test_keys_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    """A row is found by the first half of its key: the other half must fit too."""
    cache = SqliteEmbeddingCache(tmp_path / "c.sqlite")
    twin = key(1)[:8] + key(2)[8:]
    await cache.put_many([(key(1), vector(1))])

    assert await cache.get_many([twin]) == (None,)
    assert await cache.get_many([key(1)]) == (vector(1),)
    await cache.aclose()


@pytest.mark.io
async def test_a_file_of_the_version_before_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    connection = sqlite3.connect(tmp_path / "c.sqlite")
    connection.execute("CREATE TABLE embedding (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, vector BLOB)")
    connection.close()
    cache = SqliteEmbeddingCache(tmp_path / "c.sqlite")
    await cache.put_many([(key(1), vector(1))])

    assert await cache.get_many([key(1)]) == (vector(1),)
    assert not caplog.records
    await cache.aclose()


# ------------------------------------------------------------------ half the size


def unit(n: int, dim: int = 64) -> bytes:
    numbers = [math.sin(n * 7 + i) for i in range(dim)]
    length = math.hypot(*numbers)
    return struct.pack(f"<{dim}f", *(x / length for x in numbers))


@pytest.mark.io
async def test_float16_is_half_the_size_and_nearly_the_same_vector(tmp_path: Path) -> None:
    vectors = {key(n): unit(n) for n in range(300)} | {key(n): unit(n, 32) for n in range(300, 400)}
    sizes = {}
    for half in (False, True):
        cache = SqliteEmbeddingCache(tmp_path / f"{half}.sqlite", half=half)
        await cache.put_many(list(vectors.items()))
        found = await cache.get_many(list(vectors))
        await cache.aclose()
        sizes[half] = (tmp_path / f"{half}.sqlite").stat().st_size
        for was, read in zip(vectors.values(), found, strict=True):
            assert read is not None
            assert len(read) == len(was)
            n = len(was) // 4
            both = zip(struct.unpack(f"<{n}f", was), struct.unpack(f"<{n}f", read), strict=True)
            assert max(abs(a - b) for a, b in both) < 5e-4
            assert fault_of(read, n) is None
    assert sizes[True] < 0.7 * sizes[False]


@pytest.mark.io
async def test_the_flag_may_change_from_run_to_run(tmp_path: Path) -> None:
    """Each row says how it is written."""
    for n, half in enumerate((True, False, True)):
        cache = SqliteEmbeddingCache(tmp_path / "c.sqlite", half=half)
        await cache.put_many([(key(n), unit(n))])
        found = await cache.get_many([key(m) for m in range(n + 1)])
        assert [fault_of(v, 64) for v in found if v is not None] == [None] * (n + 1)
        await cache.aclose()


# ------------------------------------------------------------------ layers


class Counting(InMemoryEmbeddingCache):
    asked = 0

    async def get_many(self, keys):
        self.asked += len(keys)
        return await super().get_many(keys)


async def test_what_is_asked_for_again_never_reaches_the_disk() -> None:
    back = Counting()
    await back.put_many([(key(n), vector(n)) for n in range(3)])
    cache = LayeredEmbeddingCache(back)
    wanted = [key(0), key(9), key(1)]

    assert await cache.get_many(wanted) == (vector(0), None, vector(1))
    assert back.asked == 3
    assert await cache.get_many([key(1), key(0)]) == (vector(1), vector(0))
    assert await cache.get_many([key(1), key(2)]) == (vector(1), vector(2))
    assert back.asked == 4
    await cache.put_many([(key(5), vector(5))])
    assert await cache.get_many([key(5)]) == await back.get_many([key(5)]) == (vector(5),)


async def test_what_was_not_used_for_longest_leaves_the_front_first() -> None:
    front, back = InMemoryEmbeddingCache(max_items=2), Counting()
    cache = LayeredEmbeddingCache(back, front=front)
    await cache.put_many([(key(1), vector(1)), (key(2), vector(2))])
    await cache.get_many([key(1)])
    await cache.put_many([(key(3), vector(3))])

    assert len(front) == 2
    assert await cache.get_many([key(1), key(3)]) == (vector(1), vector(3))
    assert back.asked == 0
    assert await cache.get_many([key(2)]) == (vector(2),)
    assert back.asked == 1


# ------------------------------------------------------------------ several processes


@pytest.mark.io
async def test_a_new_file_that_another_process_is_just_making_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite itself does not wait there: the other one lets go at our first pause."""
    other = sqlite3.connect(tmp_path / "c.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    pauses: list[float] = []
    monkeypatch.setattr(cache_rows.time, "sleep", lambda seconds: (pauses.append(seconds), other.close()))
    cache = SqliteEmbeddingCache(tmp_path / "c.sqlite")
    await cache.put_many([(key(1), vector(1))])

    assert await cache.get_many([key(1)]) == (vector(1),)
    assert pauses
    assert not caplog.records
    await cache.aclose()


SHARING = """
import struct, sys, trio
from trouper.actors.vectors import embedding_key
from trouper.adapters.cache_sqlite import SqliteEmbeddingCache
mine, rounds = int(sys.argv[2]), int(sys.argv[3])
def pair(who, n):
    return embedding_key("e", f"{who} {n}"), struct.pack("<2f", who, n)
async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    cache = SqliteEmbeddingCache(sys.argv[1])
    for n in range(rounds):
        await cache.put_many([pair(mine, 10 * n + i) for i in range(10)])
        await cache.get_many([pair(who, n)[0] for who in range(2)])
    every = [pair(mine, n) for n in range(10 * rounds)]
    found = await cache.get_many([key for key, _ in every])
    await cache.aclose()
    print(sum(v == vector for v, (_, vector) in zip(found, every)))
trio.run(main)
"""


@pytest.mark.io
def test_processes_share_one_file_and_none_is_told_that_it_is_busy(tmp_path: Path) -> None:
    """They open a file that is not there yet at the same moment, and all write and read it at once."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", SHARING, str(tmp_path / "c.sqlite"), str(who), "30"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in range(2)
    ]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 2
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=60) for child in children]

    assert said == [("300\n", "")] * 2
