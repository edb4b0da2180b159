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
_SHRUNK = 0.4
"""An index that has shrunk below this share of its kind's first size becomes the smaller kind again."""
_POINTS_A_LIST = 40
_ITERATIONS = 10
_NPROBE = 16
_HNSW_LINKS = 32
_EF_BUILD = 80
_EF_SEARCH = 96


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


def trained(faiss: ModuleType, kind: Kind, ids: NDArray[np.int64], matrix: Matrix) -> Any:
    """An index of that kind with these vectors. `ivf` of a million takes minutes."""
    index = _clusters(faiss, matrix) if kind == "ivf" else empty_index(faiss, kind, matrix.shape[1])
    for start in range(0, len(ids), 50_000):
        index.add_with_ids(matrix[start : start + 50_000], ids[start : start + 50_000])
    return index


def _clusters(faiss: ModuleType, matrix: Matrix) -> Any:
    import numpy as np

    count, dim = matrix.shape
    lists = int(max(16, min(4 * count**0.5, count / _POINTS_A_LIST)))
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
    # The same vectors give the same lists: the sample is drawn with a fixed seed.
    some = np.random.default_rng(0).permutation(count)[: lists * _POINTS_A_LIST]
    index.train(matrix[np.sort(some)])
    index.set_direct_map_type(faiss.DirectMap.Hashtable)
    index.nprobe = _NPROBE
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
        share = 1.0 if among is None else index.ntotal / max(1, among.count)
        probes = index.nlist if all_lists else min(index.nlist, int(_NPROBE * max(1.0, share)))
        return faiss.SearchParametersIVF(sel=selector, nprobe=probes)
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(sel=selector, efSearch=_EF_SEARCH)
    return faiss.SearchParameters(sel=selector) if selector is not None else None
