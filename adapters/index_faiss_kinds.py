"""The kinds of FAISS index: how each is made, filled, trained and searched among a selection.

Kinds by size (measured, 384 numbers, one thread): `flat` is exact and takes 0.07 ms a thousand vectors, 0.12 where a
filter takes every second one; so it stays below 10 ms to about 50,000. `fp16` rounds to half precision and takes two
thirds of that. `ivf` looks into some lists of its clusters, is trained on what is there, and finds nearly all.
`hnsw` is a graph: quick to search, slow to build.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from trouper.actors.memory_data import Selection

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
_SHRUNK = 0.4
"""An index that has shrunk below this share of its kind's first size becomes the smaller kind again."""
_LISTS = 8
"""Times the root of the number of vectors: with twice as many lists as usual a third less is looked at."""
_POINTS_A_LIST = 20
_ITERATIONS = 6
_LEAST_PROBES = 16
_TRIED = 200
"""So many of the vectors are looked for, to find out how many lists have to be looked into."""
_FOUND = 0.983
_NEAREST = 10
"""The share of the nearest ten that is to be found: 0.98, and a little for having tried so few."""
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


def trained(faiss: ModuleType, kind: Kind, ids: NDArray[np.int64], matrix: Matrix) -> Any:
    """An index of that kind with these vectors. `ivf` of a million takes minutes."""
    index = _clusters(faiss, matrix) if kind == "ivf" else empty_index(faiss, kind, matrix.shape[1])
    for start in range(0, len(ids), 50_000):
        index.add_with_ids(matrix[start : start + 50_000], ids[start : start + 50_000])
    if kind == "ivf":
        index.nprobe = _enough_probes(faiss, index, ids, matrix)
    return index


def _enough_probes(faiss: ModuleType, index: Any, ids: NDArray[np.int64], matrix: Matrix) -> int:
    """Into how many lists a search must look to find nearly all: measured, for it depends on the vectors; `ids` ascend.

    Of a million vectors around 2,000 centres 8 lists of 4,000 hold 99.9 % of the nearest, of 690,000 passages of
    English and code, embedded by the mean of their words, it takes 300; of vectors without any order half of all.
    """
    import numpy as np

    places = np.sort(np.random.default_rng(1).permutation(len(ids))[:_TRIED])
    queries = matrix[places]

    def but_itself(which: NDArray[np.int64]) -> NDArray[np.float32]:
        products = (matrix[which] * queries[:, None, :]).sum(axis=2)
        return np.where(which == places[:, None], np.float32(-2), products)

    _, true = faiss.knn(queries, matrix, _NEAREST + 1, metric=faiss.METRIC_INNER_PRODUCT)
    # By their scores, not by their ids: of many equal vectors any ten will do.
    good_enough = np.sort(but_itself(true), axis=1)[:, 1:2] - np.float32(1e-6)
    probes = min(_LEAST_PROBES, index.nlist)
    while probes < index.nlist:
        _, found = index.search(queries, _NEAREST + 1, params=faiss.SearchParametersIVF(nprobe=probes))
        known = found >= 0
        scores = np.where(known, but_itself(np.searchsorted(ids, np.where(known, found, ids[0]))), np.float32(-2))
        hits = np.minimum((scores >= good_enough).sum(axis=1), _NEAREST).sum()
        if hits >= _FOUND * _NEAREST * len(places):
            break
        probes = min(index.nlist, probes + probes // 4)
    return int(probes)


def _clusters(faiss: ModuleType, matrix: Matrix) -> Any:
    import numpy as np

    count, dim = matrix.shape
    lists = int(max(16, min(_LISTS * count**0.5, count / _POINTS_A_LIST)))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim),
        dim,
        lists,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # noqa: FBT003 - FAISS takes no keywords: whole vectors, not their distances from the list's centre
    )
    index.cp.niter = _ITERATIONS
    index.cp.spherical = True
    index.cp.min_points_per_centroid = 1  # it is on purpose: nothing is to be said about it on stderr
    # The same vectors give the same lists: the sample is drawn with a fixed seed.
    some = np.random.default_rng(0).permutation(count)[: lists * _POINTS_A_LIST]
    index.train(matrix[np.sort(some)])
    index.set_direct_map_type(faiss.DirectMap.Hashtable)
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


def search_parameters(faiss: ModuleType, kind: Kind, index: Any, among: Selection | None, *, all_lists: bool) -> Any:
    """How to search among a selection, and with how much effort."""
    import numpy as np

    selector = None
    if among is not None:
        selector = faiss.IDSelectorBitmap(np.frombuffer(bytes(among.bits) or b"\0", dtype=np.uint8))
    if kind == "ivf":
        # Where one of a hundred is meant, the nearest of them lie further away. How many more lists it takes was tried:
        # 690,000 passages want ten times as many, whether those that are meant lie about or are about one subject; and
        # vectors in tight groups a hundred times their few, for what is nearest then lies in other groups.
        one_of = 1.0 if among is None else max(1.0, index.ntotal / max(1, among.count))
        probes = max(index.nprobe * one_of**0.5, _LEAST_PROBES * one_of)
        probes = index.nlist if all_lists else min(index.nlist, int(probes))
        return faiss.SearchParametersIVF(sel=selector, nprobe=probes)
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(sel=selector, efSearch=_EF_SEARCH)
    return faiss.SearchParameters(sel=selector) if selector is not None else None
