"""The kinds of FAISS index: how each is made, filled and searched among a selection.

Kinds by size (measured, 384 numbers, one thread): `flat` is exact and takes 0.07 ms a thousand vectors, 0.12 where a
filter takes every second one; so it stays below 10 ms to about 50,000. `fp16` rounds to half precision and takes two
thirds of that. `ivf` looks into some lists of its clusters, is trained on what is there, and finds nearly all.
`hnsw` is a graph: quick to search, slow to build.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from trouper.actors.memory_data import Selection

from .index_faiss_lists import among_only

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .index_vectors import Matrix

Kind = Literal["flat", "fp16", "ivf", "hnsw"]
Wanted = Literal["auto", "flat", "ivf", "hnsw"]

FLAT_TO = 50_000
FP16_TO = 200_000
IVF_FROM = 2_000
"""With fewer vectors there is nothing to train on, whatever is wanted."""
_IDS_AT_ONCE = 20_000
_ADDED_AT_ONCE = 50_000
_SHRUNK = 0.4
"""An index that has shrunk below this share of its kind's first size becomes the smaller kind again."""
_HNSW_LINKS = 32
_EF_BUILD = 80
_EF_SEARCH = 96


ROUNDING = 5e-4
"""How wrong a score of vectors of length one may be in half precision: 2**-11, and a little for what is tiny."""
ROOM = 8
"""One more vector for so many has room without anything being copied."""


def fitting_kind(wanted: Wanted, now: Kind, count: int) -> Kind:
    """Which kind suits `count` vectors; `now` stays unless it is clearly the wrong one."""
    if wanted in ("flat", "hnsw"):
        return "flat" if wanted == "flat" else "hnsw"
    if wanted == "ivf":
        return "ivf" if count >= IVF_FROM else "flat"
    if count > FP16_TO or (now == "ivf" and count > FP16_TO * _SHRUNK):
        return "ivf"
    return "fp16" if count > FLAT_TO or (now != "flat" and count > FLAT_TO * _SHRUNK) else "flat"


def empty_index(faiss: ModuleType, kind: Kind, dim: int) -> Any:
    """An index of that kind that takes vectors at once; `ivf` has to be trained and has no empty one."""
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dim, _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = _EF_BUILD
        return faiss.IndexIDMap2(graph)
    if kind == "fp16":
        half = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        return faiss.IndexIDMap2(half)
    return faiss.IndexIDMap2(faiss.IndexFlatIP(dim))


def made_room(faiss: ModuleType, index: Any, count: int) -> None:
    """See to it that `count` vectors fit in without a copy of all the vectors that are there.

    A list that is full is copied into one of twice the size: 70 ms for 100,000, whatever little is added.
    """
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap2) else index
    if isinstance(inner, faiss.IndexFlatCodes) and inner.codes.size() < count * inner.code_size:
        size = inner.codes.size()
        inner.codes.resize(count * inner.code_size)
        inner.codes.resize(size)  # which does not give back what was taken


def emptied(faiss: ModuleType, kind: Kind, index: Any) -> None:
    """Let what an index holds go, as far as that can be done without the interpreter's lock.

    FAISS holds it while an index is destroyed: 12 ms for 100,000 vectors under their ids, 30 for a million in lists.
    """
    import numpy as np

    if kind == "ivf":
        index.set_direct_map_type(faiss.DirectMap.NoMap)
        nothing = faiss.ArrayInvertedLists(index.nlist, index.code_size)
        nothing.this.disown()  # it is the index's now
        index.replace_invlists(nothing, True)  # noqa: FBT003 - FAISS takes no keywords: and it is to free them
    elif kind != "hnsw":
        index.remove_ids(faiss.IDSelectorAll())
        # Puts nothing into another order, and with that gives the memory of the vectors back.
        faiss.downcast_index(index.index).permute_entries(np.empty(0, dtype=np.int64))


def id_set(ids: NDArray[np.int64]) -> set[int]:
    """The ids, in pieces: to make a million at once holds up every other thread for a tenth of a second."""
    found: set[int] = set()
    for start in range(0, len(ids), _IDS_AT_ONCE):
        found.update(ids[start : start + _IDS_AT_ONCE].tolist())
    return found


def everything(faiss: ModuleType, index: Any) -> tuple[NDArray[np.int64], Matrix] | None:
    """All ids and their vectors as they lie, if they lie in a row: ten times as fast as by their ids."""
    import numpy as np

    if not isinstance(index, faiss.IndexIDMap2):
        return None
    ids = np.asarray(faiss.vector_to_array(index.id_map), dtype=np.int64)
    return ids, faiss.downcast_index(index.index).reconstruct_n(0, len(ids))


def filled(faiss: ModuleType, kind: Kind, ids: NDArray[np.int64], matrix: Matrix) -> Any:
    """An index of that kind, which needs no training, with these vectors."""
    index = empty_index(faiss, kind, matrix.shape[1])
    for start in range(0, len(ids), _ADDED_AT_ONCE):
        index.add_with_ids(matrix[start : start + _ADDED_AT_ONCE], ids[start : start + _ADDED_AT_ONCE])
    return index


def kind_of(faiss: ModuleType, index: Any, dim: int) -> Kind | None:
    """Which kind of ours an index from a file is, `None` if it is none."""
    if index.d != dim or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        return None
    if isinstance(index, faiss.IndexIVFScalarQuantizer):
        return "ivf"
    if not isinstance(index, faiss.IndexIDMap2):
        return None
    inner = faiss.downcast_index(index.index)
    kinds: tuple[tuple[Any, Kind], ...] = (
        (faiss.IndexHNSWFlat, "hnsw"),
        (faiss.IndexScalarQuantizer, "fp16"),
        (faiss.IndexFlat, "flat"),
    )
    return next((name for cls, name in kinds if isinstance(inner, cls)), None)


def ids_of(faiss: ModuleType, kind: Kind, index: Any) -> NDArray[np.int64]:
    """The ids in an index that was read from a file."""
    import numpy as np

    if kind != "ivf":
        return np.asarray(faiss.vector_to_array(index.id_map), dtype=np.int64)
    lists = index.invlists
    found = []
    for number in range(index.nlist):
        size = lists.list_size(number)
        if size:
            found.append(faiss.rev_swig_ptr(lists.get_ids(number), size).copy())
    return np.concatenate(found).astype(np.int64) if found else np.empty(0, dtype=np.int64)


def search_parameters(faiss: ModuleType, kind: Kind, among: Selection | None) -> Any:
    """How to search among a selection, and with how much effort; `ivf` sees to that itself."""
    selector = None if among is None else among_only(faiss, among)
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(sel=selector, efSearch=_EF_SEARCH)
    return faiss.SearchParameters(sel=selector) if selector is not None else None
