"""The caches that end with the process: the fakes beside those on disk, and the fast layer in front of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import trio

from trouper.actors.protocols import Vector


class InMemoryEmbeddingCache:
    """Port `EmbeddingCache` over a dict of at most `max_items`; what was not used for longest is forgotten first."""

    def __init__(self, *, max_items: int = 10_000) -> None:
        if max_items < 1:
            raise ValueError(f"max_items={max_items}: a cache holds at least one vector; or switch it off")
        self._max_items = max_items
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()

    def __len__(self) -> int:
        return len(self._vectors)

    async def get_many(self, keys: Sequence[bytes]) -> tuple[Vector | None, ...]:
        """What is known, `None` where nothing is."""
        await trio.lowlevel.checkpoint()
        return self.get_many_nowait(keys)

    def get_many_nowait(self, keys: Sequence[bytes]) -> tuple[Vector | None, ...]:
        """The same, without a checkpoint."""
        found = tuple(map(self._vectors.get, keys))
        for key, vector in zip(keys, found, strict=True):
            if vector is not None:
                self._vectors.move_to_end(key)
        return found

    async def put_many(self, items: Sequence[tuple[bytes, Vector]]) -> None:
        """Keep these."""
        await trio.lowlevel.checkpoint()
        self.put_many_nowait(items)

    def put_many_nowait(self, items: Sequence[tuple[bytes, Vector]]) -> None:
        """The same, without a checkpoint."""
        for key, vector in items:
            self._vectors[key] = vector
            self._vectors.move_to_end(key)
        while len(self._vectors) > self._max_items:
            self._vectors.popitem(last=False)

    async def forget(self, keys: Sequence[bytes]) -> None:
        """Keep these no longer."""
        await trio.lowlevel.checkpoint()
        for key in keys:
            self._vectors.pop(key, None)

    async def aclose(self) -> None:
        """Nothing is open."""
        await trio.lowlevel.checkpoint()


class InMemoryResponseStore:
    """Port `ResponseStore` over a dict of at most `max_items`; the oldest are forgotten first."""

    def __init__(self, *, max_items: int = 1_000) -> None:
        if max_items < 1:
            raise ValueError(f"max_items={max_items}: a cache holds at least one answer; or switch it off")
        self._max_items = max_items
        self._answers: dict[bytes, bytes] = {}

    async def get(self, key: bytes) -> bytes | None:
        """What was put under `key` last."""
        await trio.lowlevel.checkpoint()
        return self._answers.get(key)

    async def put(self, key: bytes, answer: bytes) -> None:
        """Keep it."""
        await trio.lowlevel.checkpoint()
        self._answers[key] = answer
        while len(self._answers) > self._max_items:
            del self._answers[next(iter(self._answers))]

    async def forget(self, key: bytes) -> None:
        """Keep it no longer."""
        await trio.lowlevel.checkpoint()
        self._answers.pop(key, None)

    async def aclose(self) -> None:
        """Nothing is open."""
        await trio.lowlevel.checkpoint()
