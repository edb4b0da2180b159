"""What becomes of a memory whose file is taken away under it, or is damaged where somebody reads."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from trouper.actors.memory_data import NewMemory
from trouper.adapters.embed_hash import hash_vector
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import MemoryFailed

pytestmark = pytest.mark.io

DIM = 16


def rows(*texts: str) -> list[NewMemory]:
    return [NewMemory(content=text, vector=hash_vector(text, DIM), embedder="hash") for text in texts]


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_nothing_is_acknowledged_that_goes_into_a_file_that_is_gone(tmp_path: Path, how: str) -> None:
    """Was: it was stored in what no path leads to any more, or in a log that the next one takes for its own."""
    path = tmp_path / "m.sqlite"
    store = SqliteMemoryStore(path)
    await store.add(rows("old"))
    shutil.copy(path, tmp_path / "backup")
    await store.add(rows("later"))
    if how == "removed":
        path.unlink()
    else:
        (tmp_path / "backup").replace(path)
    for work in (store.add(rows("new")), store.count(), store.delete([1])):
        with pytest.raises(MemoryFailed, match=r"removed or replaced while it was open\. Start anew the programs"):
            await work
    await store.aclose()


async def test_a_file_that_is_written_to_by_others_is_still_the_same(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    store, other = SqliteMemoryStore(path), SqliteMemoryStore(path)
    await store.add(rows("one"))
    await other.add(rows("two"))
    await other.delete([1])
    await other.scrub()
    await other.aclose()

    assert await store.count() == 1
    assert await store.add(rows("three")) == (3,)
    await store.aclose()


@pytest.mark.parametrize(
    "damage", ["UPDATE vector SET data = zeroblob(64) WHERE id = 2", "UPDATE memory SET content = 'x' WHERE id = 2"]
)
async def test_what_is_damaged_can_be_forgotten_while_the_error_is_at_hand(tmp_path: Path, damage: str) -> None:
    """Was: the cursor of the read that failed lived in the error, and `forget` found its tables locked."""
    path = tmp_path / "m.sqlite"
    store = SqliteMemoryStore(path)
    await store.add(rows("one", "two", "three"))
    await store.aclose()
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    store = SqliteMemoryStore(path)
    with pytest.raises(MemoryFailed, match="memory 2 is damaged") as told:
        if "vector" in damage:
            await store.vectors("hash", DIM, 0, 9)
        else:
            await store.get([1, 2, 3])

    assert await store.delete([2]) == 1
    await store.scrub()
    assert "damaged" in str(told.value)
    assert [row.content for row in await store.get([1, 2, 3])] == ["one", "three"]
    await store.aclose()
