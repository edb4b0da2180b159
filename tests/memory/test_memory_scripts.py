"""Memories in scripts that put no spaces between words are found by parts of what they say, without any embedder."""

from __future__ import annotations

import random
import sqlite3
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trouper.actors.memory_data import MemoryFilter, NewMemory
from trouper.adapters.store_memory import InMemoryStore
from trouper.adapters.store_pieces import parted, pieces_of
from trouper.adapters.store_sqlite import SqliteMemoryStore

TEXTS = (
    "我喜欢喝咖啡",
    "会议在星期五下午三点",
    "パスワードは秘密です",
    "커피를 좋아합니다",
    "ฉันชอบกาแฟ",
    "我的iPhone手机坏了",
    "The printer is from Acme",
)


async def found(store, query: str, texts: Sequence[str] = TEXTS) -> list[str]:
    among = await store.select(MemoryFilter())
    return [texts[number - 1] for number, _ in await store.find_words(query, 9, among, thorough=True)]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("咖啡", TEXTS[0]),
        ("他喜欢喝什么?", TEXTS[0]),
        ("星期五", TEXTS[1]),
        ("the 会议", TEXTS[1]),
        ("秘密", TEXTS[2]),
        (unicodedata.normalize("NFD", "パスワード"), TEXTS[2]),
        ("ﾊﾟｽﾜｰﾄﾞ", TEXTS[2]),
        ("커피", TEXTS[3]),
        ("กาแฟ", TEXTS[4]),
        ("手机", TEXTS[5]),
        ("iphone", TEXTS[5]),
        ("坏", TEXTS[5]),
        ("printer", TEXTS[6]),
    ],
)
async def test_a_part_of_what_is_written_without_spaces_is_found(autojump_clock, query: str, text: str) -> None:
    """Was: a run of letters was one word, and nothing but the whole run found it."""
    store = InMemoryStore()
    await store.add([NewMemory(content=text) for text in TEXTS])

    assert (await found(store, query))[:1] == [text]


async def test_no_pair_of_letters_finds_a_text_that_has_it_not(autojump_clock) -> None:
    """Any two neighbours find all texts that have them and no other one."""
    rng = random.Random(6)
    letters = "天地玄黄宇宙洪荒"
    texts = ["".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(120)]
    texts = list(dict.fromkeys(texts))
    store = InMemoryStore()
    await store.add([NewMemory(content=text) for text in texts])
    among = await store.select(MemoryFilter())
    for _ in range(40):
        pair = "".join(rng.choices(letters, k=2))
        numbers = [number for number, _ in await store.find_words(pair, 999, among, thorough=True)]

        assert {texts[number - 1] for number in numbers} == {text for text in texts if pair in text}


def test_a_text_of_words_with_spaces_has_no_pieces_and_costs_nothing() -> None:
    assert [pieces_of(text) for text in ("", "plain words", "café Ünïcode Ελλάδα привет", "\U0001d518\U0001f469")] == [
        None
    ] * 4
    assert parted("café and tea") == ((), "café and tea")
    assert parted("・") == ([], " ")


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteMemoryStore]:
    store = SqliteMemoryStore(path)
    try:
        yield store
    finally:
        await store.aclose()


@pytest.mark.io
async def test_a_file_without_pieces_gets_them_when_it_is_opened(tmp_path) -> None:
    path = tmp_path / "m.sqlite"
    async with opened(path) as store:
        await store.add([NewMemory(content=text) for text in TEXTS])
    connection = sqlite3.connect(path)  # as version 2 was
    connection.executescript(
        "DROP TABLE words; ALTER TABLE memory DROP COLUMN pieces; CREATE VIRTUAL TABLE words USING fts5("
        "content, content='memory', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2');"
        "INSERT INTO words (words) VALUES ('rebuild'); PRAGMA user_version = 2;"
    )
    connection.close()

    async with opened(path) as store:
        assert await found(store, "咖啡") == [TEXTS[0]]
        assert await found(store, "printer") == [TEXTS[6]]
        assert [row.content for row in await store.get(range(1, 8))] == list(TEXTS)
        assert await store.delete([1]) == 1
        assert await found(store, "咖啡") == []


@pytest.mark.io
@pytest.mark.parametrize("damage", ["DELETE FROM words_idx", "UPDATE memory SET pieces = '坏' WHERE id = 2"])
async def test_what_is_forgotten_leaves_no_pieces_behind(tmp_path, damage: str) -> None:
    path = tmp_path / "m.sqlite"
    async with opened(path) as store:
        await store.add([NewMemory(content=text) for text in TEXTS])
        await store.delete([1])
        await store.scrub()
        assert await found(store, "咖啡") == []
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert "咖啡".encode() not in left
    assert "星期".encode() in left
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    async with opened(path) as store:  # pieces that do not fit their text are made anew
        await store.delete([2])
        await store.scrub()
        assert await found(store, "秘密") == [TEXTS[2]]
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert "星期".encode() not in left
