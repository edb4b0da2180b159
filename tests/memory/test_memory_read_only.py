"""A memory that may only be read is recalled from; whoever wants to change it is told why not, once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trouper
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.store_sqlite import SqliteMemoryStore

pytestmark = [pytest.mark.io, pytest.mark.skipif(sys.platform != "linux", reason="root heeds permissions elsewhere")]

READER = """
import ctypes, json, os, sys
import trio, trouper
from trouper.adapters.embed_hash import HashEmbedder

if os.geteuid() == 0:  # root heeds no permissions, unless it lets go of the right not to (capabilities 1 to 3)
    libc = ctypes.CDLL(None, use_errno=True)
    header, rights = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, rights) == 0
    rights[0] &= ~0b1110
    assert libc.capset(header, rights) == 0

async def main(path):
    told = {}
    async with trouper.open_troupe({"memory": {"path": path}}, embedder=HashEmbedder()) as troupe:
        told["found"] = [m.content for m in await troupe.recall("who made the printer", 1)]
        told["by words"] = [m.content for m in await troupe.memories.recall("five", 1)]
        told["count"] = (await troupe.memories.statistics()).store.memories
        told["exported"] = len([line async for line in troupe.memories.export()])
        for name, change in (("remember", troupe.remember("new")), ("forget", troupe.forget([1]))):
            try:
                told[name] = repr(await change)
            except trouper.MemoryFailed as error:
                told[name] = str(error)
    print(json.dumps(told))

trio.run(main, sys.argv[1])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "data"
    made.mkdir()
    yield made
    made.chmod(0o755)


async def filled(path: Path) -> None:
    async with trouper.open_troupe({"memory": {"path": str(path)}}, embedder=HashEmbedder()) as troupe:
        await troupe.remember(["the printer is from Acme", "tea is at five"])


def read(path: Path) -> dict[str, object]:
    """What a process sees that must heed the permissions."""
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("folder_too", [True, False])
async def test_what_may_only_be_read_is_recalled_from_and_refuses_changes(folder: Path, folder_too: bool) -> None:
    """Was: nothing at all could be done with it."""
    path = folder / "m.sqlite"
    await filled(path)
    path.chmod(0o444)
    folder.chmod(0o555 if folder_too else 0o755)

    told = read(path)

    assert told["found"] == ["the printer is from Acme"]
    assert told["by words"] == ["tea is at five"]
    assert (told["count"], told["exported"]) == (2, 2)
    for change in ("remember", "forget"):
        assert str(path) in told[change]
        assert "may be written" in told[change]
    folder.chmod(0o755)
    path.chmod(0o644)
    async with trouper.open_troupe({"memory": {"path": str(path)}}, embedder=HashEmbedder()) as troupe:
        assert await troupe.memories.count() == 2
        assert await troupe.remember("new") == (3,)


async def test_what_somebody_else_has_open_and_is_not_in_the_file_yet_is_never_passed_over(folder: Path) -> None:
    """Reading the file alone would be reading yesterday's memories as if they were today's."""
    path = folder / "m.sqlite"
    await filled(path)
    store = SqliteMemoryStore(path)
    try:
        assert await store.delete([1]) == 1  # in the log of the database, not in the file
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        told = read(path)
    finally:
        folder.chmod(0o755)
        await store.aclose()

    assert told["count"] == 1
    assert told["found"] == ["tea is at five"]
