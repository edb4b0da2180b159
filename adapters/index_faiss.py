"""The vector index over FAISS: exact inner products, ids of our own.

FAISS searches a flat index exactly; it is a cache of what the store holds, and is rebuilt whenever in doubt.
One thread: with two OpenMP threads a single query was seven times slower beside other work (measured, 50,000
vectors), and OpenMP's setting belongs to the calling thread, so that it is made in every operation, not once.
Never search in one thread while another one adds: whoever owns the index sees to it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from trouper.actors.protocols import Vector

from .index_snapshot import open_verified, write_snapshot
from .index_vectors import best_first, newest, rows

if TYPE_CHECKING:
    from types import ModuleType

_log = logging.getLogger("trouper.memory")
_KIND = "faiss-flat-ip"


def _faiss() -> ModuleType:
    import faiss

    faiss.omp_set_num_threads(1)
    module: ModuleType = faiss
    return module


class FaissIndex:
    """Port `VectorIndex` over `IndexIDMap2(IndexFlatIP)`. For one owner, which does one thing at a time."""

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"FaissIndex(dim={dim}): a vector has at least one number")
        self.dim = dim
        self._index: Any = None  # made on first use, so that building a troupe does not import faiss
        self._ids: set[int] = set()

    def add(self, ids: Sequence[int], vectors: Sequence[Vector]) -> None:
        """Add; an id that is there already is replaced."""
        unique, last = newest(ids, vectors)
        if not unique:
            return
        import numpy as np

        matrix = rows(last, self.dim)
        self.remove(unique)
        self._ensure().add_with_ids(matrix, np.array(unique, dtype=np.int64))
        self._ids.update(unique)

    def remove(self, ids: Sequence[int]) -> int:
        """Remove; gives how many were there."""
        known = self._ids.intersection(ids)
        if not known:
            return 0
        import numpy as np

        self._ensure().remove_ids(np.array(sorted(known), dtype=np.int64))
        self._ids -= known
        return len(known)

    def search(self, vector: Vector, k: int) -> tuple[tuple[int, float], ...]:
        """At most `k` pairs of id and score, best first; equal scores by smaller id."""
        query = rows([vector], self.dim)
        wanted = min(k, len(self._ids))
        if wanted < 1:
            return ()
        # FAISS breaks ties as it likes: fetch until the last score is worse than the one at `wanted`.
        fetch = min(wanted + 1, len(self._ids))
        while True:
            scores, ids = self._ensure().search(query, fetch)
            if fetch == len(self._ids) or scores[0, -1] < scores[0, wanted - 1]:
                pairs = zip(ids[0].tolist(), scores[0].tolist(), strict=True)
                return best_first(pairs, wanted)
            fetch = min(fetch * 4, len(self._ids))

    def ids(self) -> frozenset[int]:
        """The ids inside."""
        return frozenset(self._ids)

    def save(self, path: str, *, stamp: str = "") -> None:
        """Write atomically, with a checksum and `stamp` beside it. Raises `MemoryFailed`."""
        index = self._ensure()
        write_snapshot(
            path,
            lambda target: _faiss().write_index(index, target),
            kind=_KIND,
            dim=self.dim,
            count=len(self._ids),
            stamp=stamp,
        )

    def load(self, path: str, *, stamp: str = "") -> bool:
        """Read what `save` wrote; False (and unchanged) if absent, damaged, or of another dimension or stamp."""
        found = open_verified(path, kind=_KIND, dim=self.dim, stamp=stamp)
        if found is None:
            return False
        with found.file as file:
            index = self._read(file, path)
        if index is None:
            return False
        faiss = _faiss()
        ids = {int(i) for i in faiss.vector_to_array(index.id_map)}
        if not (index.d == self.dim and index.ntotal == len(ids) == found.seal.count):
            _log.warning("[MEMORY] index snapshot %s is whole but not ours; rebuilding", path)
            return False
        self._index, self._ids = index, ids
        return True

    def __len__(self) -> int:
        return len(self._ids)

    def _ensure(self) -> Any:
        faiss = _faiss()
        if self._index is None:
            self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(self.dim))
        return self._index

    def _read(self, file: BinaryIO, path: str) -> Any:
        """The index in a file that was verified; `None` if this FAISS cannot read it."""
        faiss = _faiss()
        try:
            index = faiss.read_index(faiss.PyCallbackIOReader(file.read))
        except RuntimeError as error:
            _log.warning("[MEMORY] this faiss cannot read the index snapshot %s: %s; rebuilding", path, error)
            return None
        return index if isinstance(index, faiss.IndexIDMap2) else None
