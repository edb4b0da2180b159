"""Vectors already paid for, in one SQLite file: a text that was embedded once is not embedded again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from trouper.actors.protocols import Vector

from .cache_rows import CacheFile, Row

_FULL, _HALF = 0, 1


class SqliteEmbeddingCache:
    """Port `EmbeddingCache`. Holds at most `max_items` vectors (200,000 of 256 numbers are some 230 MB).

    Args:
        path: The file. Several processes may share it.
        max_items: The oldest are forgotten when there are more.
        half: Write vectors as float16: half the size, and what is read differs in the fourth digit from what the
            embedder gave. Each row says how it is written, so the flag may change from run to run.

    Cancelled: what a thread has begun is finished; nothing is half written.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_items: int = 200_000, half: bool = False) -> None:
        self._file = CacheFile(path, max_items=max_items, loss="texts are embedded again")
        self._half = half

    async def get_many(self, keys: Sequence[bytes]) -> tuple[Vector | None, ...]:
        """What is known, `None` where nothing is (or the cache cannot be read)."""
        nothing: dict[bytes, Vector] = {}
        found = await self._file.get_many(keys, _vectors, nothing)
        return tuple(map(found.get, keys))

    async def put_many(self, items: Sequence[tuple[bytes, Vector]]) -> None:
        """Keep these; the oldest are forgotten when there are too many."""
        if items:
            await self._file.put_many(lambda: _halved(items) if self._half else _whole(items))

    async def forget(self, keys: Sequence[bytes]) -> None:
        """Keep these no longer: the file has no byte of them afterwards, and its log none unless somebody reads it."""
        await self._file.erase(keys)

    async def aclose(self) -> None:
        """Close. Idempotent; afterwards everything is a miss."""
        await self._file.aclose()


def _whole(items: Sequence[tuple[bytes, Vector]]) -> list[tuple[bytes, Row]]:
    return [(key, (_FULL, vector)) for key, vector in items]


def _halved(items: Sequence[tuple[bytes, Vector]]) -> list[tuple[bytes, Row]]:
    import numpy as np

    return [(key, (_HALF, np.frombuffer(vector, "<f4").astype("<f2").tobytes())) for key, vector in items]


def _vectors(rows: Mapping[bytes, Row]) -> dict[bytes, Vector]:
    found = {key: value for key, (form, value) in rows.items() if form == _FULL}
    if len(found) < len(rows):
        by_length: dict[int, list[tuple[bytes, bytes]]] = {}
        for key, (form, value) in rows.items():
            if form == _HALF:
                by_length.setdefault(len(value), []).append((key, value))
        for halves in by_length.values():
            found |= _unfolded(halves)
    return found


def _unfolded(halves: Sequence[tuple[bytes, bytes]]) -> dict[bytes, Vector]:
    """Vectors of one length, full again and of length 1 as they were."""
    import numpy as np

    matrix = np.frombuffer(b"".join([value for _, value in halves]), "<f2").astype("<f4").reshape(len(halves), -1)
    norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
    norms[norms == 0.0] = 1.0
    matrix /= norms[:, None]
    whole, size = matrix.tobytes(), 4 * matrix.shape[1]
    return {key: whole[at : at + size] for (key, _), at in zip(halves, range(0, len(whole), size), strict=True)}
