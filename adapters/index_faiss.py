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
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from trouper.actors.memory_data import Selection, selection_of
from trouper.actors.protocols import Vector

from .index_faiss_kinds import (
    ROOM,
    ROUNDING,
    Kind,
    Wanted,
    emptied,
    empty_index,
    everything,
    filled,
    fitting_kind,
    id_set,
    ids_of,
    kind_of,
    made_room,
    search_parameters,
)
from .index_faiss_lists import Lists, made_of, read_codes, write_codes
from .index_snapshot import open_verified, remove_snapshot, stamp_of, write_snapshot
from .index_vectors import alike, best_first, ids_in, newest, rows, scores_of
from .native_loading import map_ahead, map_numpy_ahead

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from numpy.typing import NDArray

    from .index_faiss_codes import Codes
    from .index_vectors import Matrix

_log = logging.getLogger("trouper.memory")
_CODED = "faiss-ivf-codes"
_FORMATS: dict[str, tuple[Kind, bool]] = {
    "faiss-flat-ip": ("flat", False),
    "faiss-flat-rounded": ("flat", True),
    "faiss-fp16": ("fp16", True),
    "faiss-ivf": ("ivf", True),  # of an earlier version: it is read, and trained again
    "faiss-ivf-lists": ("ivf", True),
    _CODED: ("ivf", True),
    "faiss-hnsw": ("hnsw", False),
}
"""By the name in the seal: the kind, and whether its vectors have been in half precision."""
_ONE_BY_ONE = 2_000
"""Of so many meant vectors an approximate index is not asked."""
_STALE = 0.2
"""The share of removed vectors at which a graph is built again."""
_OUTGROWN = 4
"""An `ivf` that has grown to so many times what it was trained on is trained again."""


_A_PIECE = 2_000
_SIFTED_FROM = 0.2
_SIFTED_TO = 0.95
_MOST_SIFTED = 4_096
"""A filter that lets this share through is not asked for each vector: that takes twice the time of looking at all."""


def _faiss() -> ModuleType:
    if "faiss" not in sys.modules:
        map_numpy_ahead()
        map_ahead("faiss", "_swigfaiss*.so")
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
        self._lists: Lists | None = None  # of an `ivf`, whose vectors are then the index
        self._ids: set[int] = set()
        self._skipped: set[int] = set()  # in the graph still, and removed
        self._trained_on = 0
        self._rounded = False  # its vectors have been in half precision, whatever they are in now

    @property
    def kind(self) -> Kind:
        """How it is built."""
        return self._kind

    @property
    def error(self) -> float:
        """How far a score may be from the product of the vectors as they were given, their lengths being one."""
        return ROUNDING if self._rounded else 0.0

    def expect(self, count: int) -> None:
        """So many will be inside: an empty one takes the kind that suits them, as far as it needs no training."""
        if self._ids or self._skipped:
            return
        self._index = None
        kind = fitting_kind(self._wanted, self._kind, count)
        if kind == "ivf":
            kind = "fp16" if self._wanted == "auto" else "flat"
        self._take(kind)
        made_room(_faiss(), self._ensure(), count + count // ROOM)

    def clear(self) -> None:
        """Let everything go; to be searched no more. To let the last name of a full one go holds everybody up."""
        if self._lists is not None and self._lists.codes is not None:
            self._lists.codes.emptied(_faiss())
        self._lists = None
        if self._index is not None:
            emptied(_faiss(), self._kind, self._index)
        self._index = None
        self._ids = set()  # one after the other: others come round between them
        self._skipped = set()

    def add(self, ids: Sequence[int], vectors: Sequence[Vector]) -> None:
        """Add; an id that is there already is replaced."""
        unique, last = newest(ids, vectors)
        if not unique:
            return
        import numpy as np

        numbers = np.array(unique, dtype=np.int64)
        starts = range(0, len(last), _A_PIECE)
        # In pieces: to put 100,000 together at once holds up every thread. All of them are sound before any goes in.
        pieces = [rows(last[start : start + _A_PIECE], self.dim, first=start) for start in starts]
        self.remove(unique)
        if self._skipped.intersection(unique):
            self._fill("hnsw", *self._everything())  # the graph would know two vectors by one id
        for start, matrix in zip(starts, pieces, strict=True):
            (self._lists.add if self._lists else self._ensure().add_with_ids)(matrix, numbers[start : start + _A_PIECE])
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

            numbers = np.array(sorted(known), dtype=np.int64)
            if self._lists is not None:
                self._lists.remove(_faiss(), numbers)
            else:
                self._ensure().remove_ids(numbers)
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
        grown = self._lists is not None and (
            count > _OUTGROWN * max(1, self._trained_on) or self._lists.outdated(_faiss())
        )
        return count > 0 and (fitting_kind(self._wanted, self._kind, count) != self._kind or stale or grown)

    def successor(self) -> Callable[[], FaissIndex]:
        """What makes an index of the kind that suits, with the vectors that are inside now.

        To copy them takes a second a million; what is given may compute for minutes and does not touch this index.
        It is for one call: what was copied is let go in the thread that computes.
        """
        ids, matrix = self._everything()
        return functools.partial(self._succeed, ids, [matrix])

    def _succeed(self, ids: NDArray[np.int64], given: list[Matrix]) -> FaissIndex:
        other = FaissIndex(self.dim, self._wanted)
        other._rounded = self._rounded
        other._fill(fitting_kind(self._wanted, self._kind, len(ids)), ids, given.pop())
        return other

    def save(self, path: str, *, stamp: str = "") -> None:
        """Write atomically, with a checksum and `stamp` beside it. Raises `MemoryFailed`."""
        kind = next(name for name, what in _FORMATS.items() if what == (self._kind, self._rounded))
        if self._lists is not None and not self._lists.outdated(_faiss()):
            kind = _CODED if self._lists.codes is not None else "faiss-ivf-lists"
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
            index, codes, skipped = self._read(file, path, coded=found.seal.format == _CODED)
        faiss = _faiss()
        kind = kind_of(faiss, index, self.dim) if index is not None else None
        if kind is None or kind != _FORMATS[found.seal.format][0]:
            return False
        if (self._wanted == "hnsw") != (kind == "hnsw"):
            _log.info("[MEMORY] index snapshot %s is a %s, not what is wanted now; rebuilding", path, kind)
            return False
        ids = id_set(ids_of(faiss, kind, index))
        ids -= skipped
        if len(ids) != found.seal.count:
            _log.warning("[MEMORY] index snapshot %s is whole but not ours; rebuilding", path)
            return False
        made_room(faiss, index, len(ids) + len(ids) // ROOM)
        self._index, self._ids, self._skipped, self._kind, self._trained_on = index, ids, skipped, kind, len(ids)
        self._lists = Lists(faiss, index, codes) if kind == "ivf" else None
        self._rounded = _FORMATS[found.seal.format][1]
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

    def _fill(self, kind: Kind, ids: NDArray[np.int64], matrix: Matrix) -> None:
        self._lists = made_of(_faiss(), ids, matrix) if kind == "ivf" else None
        self._index = filled(_faiss(), kind, ids, matrix) if len(ids) and self._lists is None else None
        if self._lists is not None:
            self._index = self._lists.vectors
        self._ids, self._skipped, self._trained_on = id_set(ids), set(), len(ids)
        self._take(kind)

    def _take(self, kind: Kind) -> None:
        self._kind = kind
        self._rounded = self._rounded or kind in ("fp16", "ivf")

    def _matrix(self, ids: Sequence[int] | NDArray[np.int64]) -> Matrix:
        """The vectors of ids that are inside."""
        import numpy as np

        if not len(ids):
            return np.empty((0, self.dim), dtype=np.float32)
        matrix: Matrix = self._ensure().reconstruct_batch(np.asarray(ids, dtype=np.int64))
        return matrix

    def _everything(self) -> tuple[NDArray[np.int64], Matrix]:
        """All ids, smallest first, and their vectors."""
        import numpy as np

        found = everything(_faiss(), self._index) if self._index is not None and not self._skipped else None
        if found is not None and (found[0][1:] > found[0][:-1]).all():
            return found
        ids = np.fromiter(self._ids, dtype=np.int64, count=len(self._ids))
        ids.sort()
        return ids, self._matrix(ids)

    def _exactly(self, query: Matrix, wanted: int, among: Selection | None) -> tuple[tuple[int, float], ...]:
        if among is not None and (sifted := self._sifted(query, wanted, among)) is not None:
            return sifted
        # FAISS breaks ties as it likes: fetch until the last score is worse than the one at `wanted`.
        fetch = min(wanted + 1, len(self._ids))
        while True:
            found = self._ask(query, fetch, among)
            if len(found) < fetch or fetch == len(self._ids) or found[-1][1] < found[wanted - 1][1]:
                return best_first(found, wanted)
            fetch = min(fetch * 4, len(self._ids))

    def _sifted(self, query: Matrix, wanted: int, among: Selection) -> tuple[tuple[int, float], ...] | None:
        """The best among a selection, taken out of the best of all; None if nobody can say so that these are they.

        What is not among the best of all is not better than the last of them.
        """
        share = among.count / len(self._ids)
        fetch = min(int(2 * wanted / share) + 32, len(self._ids))
        if not _SIFTED_FROM <= share <= _SIFTED_TO or fetch > _MOST_SIFTED:
            return None
        found = self._ask(query, fetch, None)
        inside = [pair for pair in found if pair[0] in among]
        if len(inside) < wanted or (fetch < len(self._ids) and inside[wanted - 1][1] <= found[-1][1]):
            return None
        return best_first(inside, wanted)

    def _ask(
        self, query: Matrix, fetch: int, among: Selection | None, *, all_lists: bool = False
    ) -> list[tuple[int, float]]:
        if self._lists is not None:
            return self._lists.search(_faiss(), query, fetch, among, everywhere=all_lists)
        parameters = search_parameters(_faiss(), self._kind, among)
        scores, ids = self._ensure().search(query, fetch, params=parameters)
        return [pair for pair in zip(ids[0].tolist(), scores[0].tolist(), strict=True) if pair[0] >= 0]

    def _one_by_one(self, vector: Vector, wanted: int, among: Selection) -> tuple[tuple[int, float], ...]:
        return best_first(self.scores(vector, ids_in(among)).items(), wanted)

    def _write(self, path: str) -> None:
        import numpy as np

        if self._lists is not None and self._lists.codes is not None:
            write_codes(_faiss(), self._lists, path)
        else:
            _faiss().write_index(self._ensure(), path)
        if self._skipped:
            with Path(path).open("ab") as file:
                file.write(np.array(sorted(self._skipped), dtype="<i8").tobytes())

    def _read(self, file: BinaryIO, path: str, *, coded: bool) -> tuple[Any, Codes | None, set[int]]:
        """The index in a file that was verified, its codes, and what to skip; `None` if this FAISS cannot read it."""
        import numpy as np

        faiss = _faiss()
        try:
            reader = faiss.PyCallbackIOReader(file.read)
            index = faiss.read_index(reader)
            codes = read_codes(faiss, index, reader, file) if coded else None
            skipped = set(np.frombuffer(file.read(), dtype="<i8").tolist())
        except (RuntimeError, ValueError) as error:
            _log.warning("[MEMORY] this faiss cannot read the index snapshot %s: %s; rebuilding", path, error)
            return None, None, set()
        return index, codes, skipped
