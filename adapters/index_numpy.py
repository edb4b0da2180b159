"""The vector index in plain numpy: the reference that FAISS is compared with, and the one without its wheel.

Each row is multiplied and summed by itself, not in one matrix product, so that equal rows have equal scores
wherever they stand. That is slower, and right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trouper.actors.memory_data import Selection
from trouper.actors.protocols import Vector

from .index_snapshot import open_verified, remove_snapshot, stamp_of, write_snapshot
from .index_vectors import alike, best_first, newest, rows, scores_of

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

    @property
    def kind(self) -> str:
        """How it is built."""
        return "numpy"

    @property
    def error(self) -> float:
        """Nothing: the vectors are kept as they were given."""
        return 0.0

    def expect(self, count: int) -> None:
        """Nothing is different because of it."""

    def clear(self) -> None:
        """Let everything go."""
        self._vectors, self._matrix = {}, None

    def search(self, vector: Vector, k: int, among: Selection | None = None) -> tuple[tuple[int, float], ...]:
        """At most `k` pairs of id and score, best first; equal scores by smaller id. Only `among`, if given."""
        query = rows([vector], self.dim)[0]
        if k < 1 or not self._vectors:
            return ()
        if among is not None:
            return best_first(self.scores(vector, [number for number in self._vectors if number in among]).items(), k)
        if self._matrix is None:
            self._matrix = rows(list(self._vectors.values()), self.dim)
        scores: list[float] = []
        for start in range(0, len(self._matrix), _ROWS_A_SLICE):
            scores.extend((self._matrix[start : start + _ROWS_A_SLICE] * query).sum(axis=1).tolist())
        return best_first(zip(self._vectors, scores, strict=True), k)

    def scores(self, vector: Vector, ids: Sequence[int]) -> dict[int, float]:
        """The score of each of `ids` that is inside."""
        known = [number for number in dict.fromkeys(ids) if number in self._vectors]
        query = rows([vector], self.dim)[0]
        return scores_of(rows([self._vectors[number] for number in known], self.dim), query, known) if known else {}

    def alike(self, ids: Sequence[int]) -> tuple[tuple[float, ...], ...]:
        """How alike these are, a row for each; all of them must be inside."""
        return alike(rows([self._vectors[number] for number in ids], self.dim)) if ids else ()

    def outgrown(self) -> bool:
        """Never: there is nothing that suits better."""
        return False

    def successor(self) -> Callable[[], NumpyIndex]:
        """What makes another one of the same vectors."""
        ids, vectors = list(self._vectors), list(self._vectors.values())

        def make() -> NumpyIndex:
            other = NumpyIndex(self.dim)
            other.add(ids, vectors)
            return other

        return make

    def ids(self) -> frozenset[int]:
        """The ids inside."""
        return frozenset(self._vectors)

    def save(self, path: str, *, stamp: str = "") -> None:
        """Write atomically, with a checksum and `stamp` beside it. Raises `MemoryFailed`."""
        write_snapshot(path, self._write, kind=_KIND, dim=self.dim, count=len(self._vectors), stamp=stamp)

    def erase_at(self, path: str) -> None:
        """Remove the snapshot there, if there is one. Raises `MemoryFailed`."""
        remove_snapshot(path)

    def stamp_at(self, path: str) -> str | None:
        """With which stamp the snapshot there was saved, None if there is none; it may not be whole."""
        return stamp_of(path)

    def load(self, path: str, *, stamp: str = "") -> bool:
        """Read what `save` wrote; False (and unchanged) if absent, damaged, or of another dimension or stamp."""
        import numpy as np

        found = open_verified(path, kinds=(_KIND,), dim=self.dim, stamp=stamp)
        if found is None:
            return False
        with found.file as file:
            ids = np.frombuffer(file.read(8 * found.seal.count), dtype="<i8").tolist()
            vectors = [file.read(4 * self.dim) for _ in ids]
        self._vectors = dict(zip(ids, vectors, strict=True))
        self._matrix = None
        return True

    def __contains__(self, number: int) -> bool:
        return number in self._vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def _write(self, path: str) -> None:
        import numpy as np

        with Path(path).open("wb") as file:
            file.write(np.array(list(self._vectors), dtype="<i8").tobytes())
            file.writelines(self._vectors.values())
