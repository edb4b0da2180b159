"""Answers of models in one SQLite file, for requests that are made again word for word."""

from __future__ import annotations

import os

from .cache_rows import CacheFile


class SqliteResponseStore:
    """Port `ResponseStore`. Holds at most `max_items` answers, the oldest are forgotten first.

    Several processes may share the file; only its owner can read it, for it holds what models said.

    Cancelled: what a thread has begun is finished; nothing is half written.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_items: int = 20_000) -> None:
        self._file = CacheFile(path, max_items=max_items, loss="models are asked again")

    async def get(self, key: bytes) -> bytes | None:
        """What was put under `key` last, if it can be read."""
        row = await self._file.get_many([key], lambda rows: rows.get(key), None)
        return row[1] if row is not None else None

    async def put(self, key: bytes, answer: bytes) -> None:
        """Keep it."""
        await self._file.put_many(lambda: [(key, (0, answer))])

    async def forget(self, key: bytes) -> None:
        """Keep it no longer."""
        await self._file.delete([key])

    async def aclose(self) -> None:
        """Close. Idempotent; afterwards everything is a miss."""
        await self._file.aclose()
