"""Two caches of embeddings, the fast one in front: what is asked for often never reaches the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from trouper.actors.protocols import EmbeddingCache, Vector

from .cache_memory import InMemoryEmbeddingCache


class ClosedCache(EmbeddingCache, Protocol):
    """A cache that somebody has to close."""

    async def aclose(self) -> None:
        """Close. Idempotent."""
        ...


class LayeredEmbeddingCache:
    """Port `EmbeddingCache`: `front` in this process, and `back`, which it closes, behind it."""

    def __init__(self, back: ClosedCache, *, front: InMemoryEmbeddingCache | None = None) -> None:
        self._front = front if front is not None else InMemoryEmbeddingCache()
        self._back = back

    async def get_many(self, keys: Sequence[bytes]) -> tuple[Vector | None, ...]:
        """What is known, `None` where nothing is. All of it in front: the disk is not asked."""
        found = self._front.get_many_nowait(keys)
        missing = [key for key, vector in zip(keys, found, strict=True) if vector is None]
        if not missing:
            await trio.lowlevel.checkpoint()
            return found
        behind = await self._back.get_many(missing)
        fetched = {key: vector for key, vector in zip(missing, behind, strict=True) if vector is not None}
        self._front.put_many_nowait(tuple(fetched.items()))
        return tuple(v if v is not None else fetched.get(k) for k, v in zip(keys, found, strict=True))

    async def put_many(self, items: Sequence[tuple[bytes, Vector]]) -> None:
        """Keep these, in both. Cancelled: they are in front, and perhaps behind."""
        self._front.put_many_nowait(items)
        await self._back.put_many(items)

    async def forget(self, keys: Sequence[bytes]) -> None:
        """Keep these no longer, in neither. Cancelled: they are perhaps behind."""
        await self._front.forget(keys)
        await self._back.forget(keys)

    async def aclose(self) -> None:
        """Close the one behind."""
        await self._back.aclose()
