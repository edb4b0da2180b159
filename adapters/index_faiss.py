"""The vector index over FAISS, of the kind that suits the number of vectors; ids of our own.

It is a cache of what the store holds, and is rebuilt whenever in doubt.
One thread: with two OpenMP threads a single query was seven times slower beside other work (measured, 50,000
vectors), and OpenMP's setting belongs to the calling thread, so that it is made in every operation, not once.
Never search in one thread while another one adds: whoever owns the index sees to it.

FAISS cannot take anything out of a graph (`hnsw`), so what was removed is skipped there, and left out when the graph
is built again. Where few are meant, an approximate index is not asked at all: their vectors are compared one by one.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from trouper.actors.memory_data import Selection, selection_of
from trouper.actors.protocols import Vector

from .index_faiss_kinds import Kind, Wanted, empty_index, fitting_kind, ids_of, kind_of, search_parameters, trained
from .index_snapshot import open_verified, remove_snapshot, stamp_of, write_snapshot
from .index_vectors import alike, best_first, newest, rows, scores_of

if TYPE_CHECKING:
    from types import ModuleType

    from .index_vectors import Matrix

_log = logging.getLogger("trouper.memory")
_FORMATS: dict[str, Kind] = {"faiss-flat-ip": "flat", "faiss-fp16": "fp16", "faiss-ivf": "ivf", "faiss-hnsw": "hnsw"}
_ONE_BY_ONE = 2_000
"""Of so many meant vectors an approximate index is not asked."""
_STALE = 0.2
"""The share of removed vectors at which a graph is built again."""
_OUTGROWN = 4
"""An `ivf` that has grown to so many times what it was trained on is trained again."""


def _faiss() -> ModuleType:
    import faiss

    faiss.omp_set_num_threads(1)
    module: ModuleType = faiss
    return module


class FaissIndex:
    """Port `VectorIndex` over FAISS. For one owner, which does one thing at a time.

    Args:
        dim: Numbers a vector.
        wanted: `auto` takes the kind that suits the size; `flat`, `ivf` and `hnsw` are that kind as far as it can be.
    """

    def __init__(self, dim: int, wanted: Wanted = "auto") -> None:
        if dim < 1:
            raise ValueError(f"FaissIndex(dim={dim}): a vector has at least one number")
        self.dim = dim
        self._wanted: Wanted = wanted
        self._kind: Kind = "hnsw" if wanted == "hnsw" else "flat"
        self._index: Any = None  # made on first use, so that building a troupe does not import faiss
        self._ids: set[int] = set()
        self._skipped: set[int] = set()  # in the graph still, and removed
        self._trained_on = 0

    @property
    def kind(self) -> Kind:
        """How it is built."""
        return self._kind

    def add(self, ids: Sequence[int], vectors: Sequence[Vector]) -> None:
        """Add; an id that is there already is replaced."""
        unique, last = newest(ids, vectors)
        if not unique:
            return
        import numpy as np

        matrix = rows(last, self.dim)
        self.remove(unique)
        if self._skipped.intersection(unique):
            kept = sorted(self._ids)
            self._fill("hnsw", kept, self._matrix(kept))  # the graph would know two vectors by one id
        self._ensure().add_with_ids(matrix, np.array(unique, dtype=np.int64))
        self._ids.update(unique)

    def remove(self, ids: Sequence[int]) -> int:
        """Remove; gives how many were there."""
        known = self._ids.intersection(ids)
        if not known:
            return 0
        if self._kind == "hnsw":
            self._skipped |= known
        else:
            import numpy as np

            self._ensure().remove_ids(np.array(sorted(known), dtype=np.int64))
        self._ids -= known
        return len(known)

    def search(self, vector: Vector, k: int, among: Selection | None = None) -> tuple[tuple[int, float], ...]:
        """At most `k` pairs of id and score, best first; equal scores by smaller id. Only `among`, if given.

        What `among` holds and the filter of an approximate kind would miss is looked for with more effort, so that a
        filter never costs a memory its place.
        """
        query = rows([vector], self.dim)
        if self._skipped and among is None:
            among = selection_of(self._ids)
        most = len(self._ids) if among is None else min(among.count, len(self._ids))
        wanted = min(k, most)
        if wanted < 1:
            return ()
        if self._kind in ("flat", "fp16"):
            return self._exactly(query, wanted, among)
        if among is not None and among.count <= _ONE_BY_ONE:
            return self._one_by_one(vector, wanted, among)
        found = self._ask(query, wanted, among)
        if len(found) < wanted and self._kind == "ivf":
            found = self._ask(query, wanted, among, all_lists=True)
        if len(found) < wanted and among is not None:
            return self._one_by_one(vector, wanted, among)
        return best_first(found, wanted)

    def scores(self, vector: Vector, ids: Sequence[int]) -> dict[int, float]:
        """The score of each of `ids` that is inside."""
        known = [number for number in dict.fromkeys(ids) if number in self._ids]
        return scores_of(self._matrix(known), rows([vector], self.dim)[0], known) if known else {}

    def alike(self, ids: Sequence[int]) -> tuple[tuple[float, ...], ...]:
        """How alike these are, a row for each; all of them must be inside."""
        return alike(self._matrix(ids)) if ids else ()

    def ids(self) -> frozenset[int]:
        """The ids inside."""
        return frozenset(self._ids)

    def outgrown(self) -> bool:
        """Whether another kind would suit this number of vectors better."""
        count = len(self._ids)
        stale = len(self._skipped) > max(100, _STALE * count)
        grown = self._kind == "ivf" and count > _OUTGROWN * max(1, self._trained_on)
        return count > 0 and (fitting_kind(self._wanted, self._kind, count) != self._kind or stale or grown)

    def successor(self) -> Callable[[], FaissIndex]:
        """What makes an index of the kind that suits, with the vectors that are inside now.

        To copy them takes a second a million; what is given may compute for minutes and does not touch this index.
        """
        ids = sorted(self._ids)
        return functools.partial(self._succeed, ids, self._matrix(ids))

    def _succeed(self, ids: list[int], matrix: Matrix) -> FaissIndex:
        other = FaissIndex(self.dim, self._wanted)
        other._fill(fitting_kind(self._wanted, self._kind, len(ids)), ids, matrix)
        return other

    def save(self, path: str, *, stamp: str = "") -> None:
        """Write atomically, with a checksum and `stamp` beside it. Raises `MemoryFailed`."""
        kind = next(name for name, kind in _FORMATS.items() if kind == self._kind)
        write_snapshot(path, self._write, kind=kind, dim=self.dim, count=len(self._ids), stamp=stamp)

    def erase_at(self, path: str) -> None:
        """Remove the snapshot there, if there is one. Raises `MemoryFailed`."""
        remove_snapshot(path)

    def stamp_at(self, path: str) -> str | None:
        """With which stamp the snapshot there was saved, None if there is none; it may not be whole."""
        return stamp_of(path)

    def load(self, path: str, *, stamp: str = "") -> bool:
        """Read what `save` wrote; False (and unchanged) if absent, damaged, or of another dimension or stamp."""
        found = open_verified(path, kinds=tuple(_FORMATS), dim=self.dim, stamp=stamp)
        if found is None:
            return False
        with found.file as file:
            index, skipped = self._read(file, path)
        faiss = _faiss()
        kind = kind_of(faiss, index, self.dim) if index is not None else None
        if kind is None or kind != _FORMATS[found.seal.format]:
            return False
        if (self._wanted == "hnsw") != (kind == "hnsw"):
            _log.info("[MEMORY] index snapshot %s is a %s, not what is wanted now; rebuilding", path, kind)
            return False
        ids = set(ids_of(faiss, kind, index).tolist()) - skipped
        if len(ids) != found.seal.count:
            _log.warning("[MEMORY] index snapshot %s is whole but not ours; rebuilding", path)
            return False
        self._index, self._ids, self._skipped, self._kind, self._trained_on = index, ids, skipped, kind, len(ids)
        return True

    def __contains__(self, number: int) -> bool:
        return number in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    # ------------------------------------------------------------ inside
    def _ensure(self) -> Any:
        faiss = _faiss()
        if self._index is None:
            self._index = empty_index(faiss, self._kind, self.dim)
        return self._index

    def _fill(self, kind: Kind, ids: list[int], matrix: Matrix) -> None:
        import numpy as np

        self._index = trained(_faiss(), kind, np.array(ids, dtype=np.int64), matrix) if ids else None
        self._ids, self._skipped, self._kind, self._trained_on = set(ids), set(), kind, len(ids)

    def _matrix(self, ids: Sequence[int]) -> Matrix:
        """The vectors of ids that are inside."""
        import numpy as np

        if not len(ids):
            return np.empty((0, self.dim), dtype=np.float32)
        matrix: Matrix = self._ensure().reconstruct_batch(np.array(ids, dtype=np.int64))
        return matrix

    def _exactly(self, query: Matrix, wanted: int, among: Selection | None) -> tuple[tuple[int, float], ...]:
        # FAISS breaks ties as it likes: fetch until the last score is worse than the one at `wanted`.
        fetch = min(wanted + 1, len(self._ids))
        while True:
            found = self._ask(query, fetch, among)
            if len(found) < fetch or fetch == len(self._ids) or found[-1][1] < found[wanted - 1][1]:
                return best_first(found, wanted)
            fetch = min(fetch * 4, len(self._ids))

    def _ask(
        self, query: Matrix, fetch: int, among: Selection | None, *, all_lists: bool = False
    ) -> list[tuple[int, float]]:
        index = self._ensure()
        parameters = search_parameters(_faiss(), self._kind, index, among, all_lists=all_lists)
        scores, ids = index.search(query, fetch, params=parameters)
        return [pair for pair in zip(ids[0].tolist(), scores[0].tolist(), strict=True) if pair[0] >= 0]

    def _one_by_one(self, vector: Vector, wanted: int, among: Selection) -> tuple[tuple[int, float], ...]:
        return best_first(self.scores(vector, [number for number in among if number in self._ids]).items(), wanted)

    def _write(self, path: str) -> None:
        import numpy as np

        _faiss().write_index(self._ensure(), path)
        if self._skipped:
            with Path(path).open("ab") as file:
                file.write(np.array(sorted(self._skipped), dtype="<i8").tobytes())

    def _read(self, file: BinaryIO, path: str) -> tuple[Any, set[int]]:
        """The index in a file that was verified and what to skip in it; `None` if this FAISS cannot read it."""
        import numpy as np

        faiss = _faiss()
        try:
            index = faiss.read_index(faiss.PyCallbackIOReader(file.read))
            skipped = set(np.frombuffer(file.read(), dtype="<i8").tolist())
        except (RuntimeError, ValueError) as error:
            _log.warning("[MEMORY] this faiss cannot read the index snapshot %s: %s; rebuilding", path, error)
            return None, set()
        return index, skipped
