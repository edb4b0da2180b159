"""The embedding cache that ends with the process: the fake beside `cache_sqlite`, and enough for one run."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from trouper.actors.protocols import Vector


class InMemoryEmbeddingCache:
    """Port `EmbeddingCache` over a dict of at most `max_items`; the oldest are forgotten first."""

    def __init__(self, *, max_items: int = 10_000) -> None:
        if max_items < 1:
            raise ValueError(f"max_items={max_items}: a cache holds at least one vector; or switch it off")
        self._max_items = max_items
        self._vectors: dict[bytes, Vector] = {}

    async def get_many(self, keys: Sequence[bytes]) -> tuple[Vector | None, ...]:
        """What is known, `None` where nothing is."""
        await trio.lowlevel.checkpoint()
        return tuple(self._vectors.get(key) for key in keys)

    async def put_many(self, items: Sequence[tuple[bytes, Vector]]) -> None:
        """Keep these."""
        await trio.lowlevel.checkpoint()
        self._vectors.update(items)
        while len(self._vectors) > self._max_items:
            del self._vectors[next(iter(self._vectors))]

    async def aclose(self) -> None:
        """Nothing is open."""
        await trio.lowlevel.checkpoint()
