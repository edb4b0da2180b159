"""The vector index in plain numpy: the reference that FAISS is compared with, and the one without its wheel.

Each row is multiplied and summed by itself, not in one matrix product, so that equal rows have equal scores
wherever they stand. That is slower, and right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trouper.actors.protocols import Vector

from .index_snapshot import open_verified, write_snapshot
from .index_vectors import best_first, newest, rows

if TYPE_CHECKING:
    from .index_vectors import Matrix

_KIND = "numpy-rows"
_ROWS_A_SLICE = 4_096


class NumpyIndex:
    """Port `VectorIndex` over a dict of vectors and, for searching, one matrix of them."""

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"NumpyIndex(dim={dim}): a vector has at least one number")
        self.dim = dim
        self._vectors: dict[int, Vector] = {}
        self._matrix: Matrix | None = None  # of `_vectors` in its order; made again after a change

    def add(self, ids: Sequence[int], vectors: Sequence[Vector]) -> None:
        """Add; an id that is there already is replaced."""
        unique, last = newest(ids, vectors)
        rows(last, self.dim)  # all of them sound, or nothing is added
        self._vectors.update(zip(unique, last, strict=True))
        self._matrix = None

    def remove(self, ids: Sequence[int]) -> int:
        """Remove; gives how many were there."""
        known = self._vectors.keys() & set(ids)
        for number in known:
            del self._vectors[number]
        self._matrix = None
        return len(known)

    def search(self, vector: Vector, k: int) -> tuple[tuple[int, float], ...]:
        """At most `k` pairs of id and score, best first; equal scores by smaller id."""
        query = rows([vector], self.dim)[0]
        if k < 1 or not self._vectors:
            return ()
        if self._matrix is None:
            self._matrix = rows(list(self._vectors.values()), self.dim)
        scores: list[float] = []
        for start in range(0, len(self._matrix), _ROWS_A_SLICE):
            scores.extend((self._matrix[start : start + _ROWS_A_SLICE] * query).sum(axis=1).tolist())
        return best_first(zip(self._vectors, scores, strict=True), k)

    def ids(self) -> frozenset[int]:
        """The ids inside."""
        return frozenset(self._vectors)

    def save(self, path: str, *, stamp: str = "") -> None:
        """Write atomically, with a checksum and `stamp` beside it. Raises `MemoryFailed`."""
        write_snapshot(path, self._write, kind=_KIND, dim=self.dim, count=len(self._vectors), stamp=stamp)

    def load(self, path: str, *, stamp: str = "") -> bool:
        """Read what `save` wrote; False (and unchanged) if absent, damaged, or of another dimension or stamp."""
        import numpy as np

        found = open_verified(path, kind=_KIND, dim=self.dim, stamp=stamp)
        if found is None:
            return False
        with found.file as file:
            ids = np.frombuffer(file.read(8 * found.seal.count), dtype="<i8").tolist()
            vectors = [file.read(4 * self.dim) for _ in ids]
        self._vectors = dict(zip(ids, vectors, strict=True))
        self._matrix = None
        return True

    def __len__(self) -> int:
        return len(self._vectors)

    def _write(self, path: str) -> None:
        import numpy as np

        with Path(path).open("wb") as file:
            file.write(np.array(list(self._vectors), dtype="<i8").tobytes())
            file.writelines(self._vectors.values())
