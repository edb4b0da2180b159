"""Vectors in lists around centres (`ivf`): how the centres are found, and which lists are near to a question.

Many small lists need less looking into than few large ones: of a million passages the nearest 500 of 16,000 lists, with
40,000 vectors, hold as many of the true neighbours as the nearest 350 of 8,000 with 59,000. But to find so many centres
at once takes minutes, so they are found in two steps: some large cells, and the centres inside each of them (two-level
k-means): 15 s of CPU for a million passages, not 60 for half as many. A new vector looks for its list in the cells
near to it; a question compares all centres, in 8 bits a number, for what is left out there is missed for good.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .index_vectors import Matrix

_LISTS = 16
"""Times the root of the number of vectors."""
_LEAST_A_LIST = 20
_TRAINED_ON_A_LIST = 50
_ITERATIONS = 12
"""With 20 vectors a list and 8 rounds a fifth more has to be looked at; it saves 9 s of 65 that a million takes."""
_CELLS_TO_ADD = 8
"""In so many of the cells the list for a new vector is looked for."""
_LARGEST = 127
_TINY = 1e-30
_AT_ONCE = 50_000


class Centres:
    """The centres of an index's lists, rounded to 8 bits a number as questions are: half the time to compare.

    Args:
        faiss: The library.
        index: An `ivf` index with its centres.
    """

    def __init__(self, faiss: ModuleType, index: Any) -> None:
        rounded, scales = _rounded(faiss.downcast_index(index.quantizer).reconstruct_n(0, index.nlist), together=True)
        self._scale = scales
        self._rounded: Any = faiss.IndexScalarQuantizer(
            index.d, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )
        self._rounded.add(rounded)

    def near(self, queries: Matrix, probes: int) -> tuple[NDArray[np.int64], Matrix]:
        """The nearest so many lists of each query, and how near they are."""
        rounded, scales = _rounded(queries, together=False)
        scores, lists = self._rounded.search(rounded, probes)
        scores /= self._scale * scales
        return lists, scores


def _rounded(matrix: Matrix, *, together: bool) -> tuple[Matrix, Matrix]:
    """Whole numbers of 8 bits, and what the rows were multiplied by."""
    import numpy as np

    largest = np.abs(matrix).max(axis=None if together else 1, keepdims=True)
    scales: Matrix = (_LARGEST / np.maximum(largest, _TINY)).astype(np.float32)
    rounded: Matrix = np.rint(matrix * scales)
    return rounded, scales


def look(
    faiss: ModuleType, index: Any, queries: Matrix, fetch: int, into: tuple[NDArray[np.int64], Matrix], selector: Any
) -> tuple[Matrix, NDArray[np.int64]]:
    """The scores and ids of the best in these lists, -1 for what is not there."""
    import numpy as np

    scores = np.empty((len(queries), fetch), dtype=np.float32)
    ids = np.empty((len(queries), fetch), dtype=np.int64)
    lists, nearness = into
    index.search_preassigned_c(
        len(queries),
        faiss.swig_ptr(queries),
        fetch,
        faiss.swig_ptr(lists),
        faiss.swig_ptr(nearness),
        faiss.swig_ptr(scores),
        faiss.swig_ptr(ids),
        False,  # noqa: FBT003 - FAISS takes no keywords: ids, not places in lists
        faiss.SearchParametersIVF(sel=selector, nprobe=lists.shape[1]),
    )
    return scores, ids


def clustered(
    faiss: ModuleType, ids: NDArray[np.int64], matrix: Matrix, apart: NDArray[np.int64]
) -> tuple[Any, NDArray[np.int64]]:
    """An `ivf` index with these vectors, and the list that each of them is in.

    Those at the places `apart` have no part in finding the centres, so that the index can be tried with them.
    """
    import numpy as np

    count, dim = matrix.shape
    quantizer = _quantizer(faiss, matrix, int(max(16, min(_LISTS * count**0.5, count / _LEAST_A_LIST))), apart)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer,
        dim,
        quantizer.ntotal,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # noqa: FBT003 - FAISS takes no keywords: whole vectors, not their distances from the list's centre
    )
    index.train(matrix[:1])  # the centres are there already, and half precision has nothing to learn
    index.set_direct_map_type(faiss.DirectMap.Hashtable)
    lists = np.empty(count, dtype=np.int64)
    for start in range(0, count, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        lists[part] = quantizer.search(matrix[part], 1)[1][:, 0]
        put(faiss, index, matrix[part], ids[part], lists[part])
    return index, lists


def put(faiss: ModuleType, index: Any, matrix: Matrix, ids: NDArray[np.int64], lists: NDArray[np.int64]) -> None:
    """Add vectors to an index of lists of which it is known already into which of them they go."""
    index.add_core(len(ids), faiss.swig_ptr(matrix), faiss.swig_ptr(ids), faiss.swig_ptr(lists))


def _quantizer(faiss: ModuleType, matrix: Matrix, wanted: int, apart: NDArray[np.int64]) -> Any:
    """About so many centres, themselves in lists around the centres of the cells."""
    import numpy as np

    count, dim = matrix.shape
    # The same vectors give the same lists: the sample is drawn with a fixed seed.
    mixed = np.random.default_rng(0).permutation(count)[: wanted * _TRAINED_ON_A_LIST]
    some = matrix[np.setdiff1d(mixed, apart)]
    cells = _means(faiss, some, math.isqrt(wanted))
    top = faiss.IndexFlatIP(dim)
    top.add(cells)
    inside = top.search(some, 1)[1][:, 0]
    centres = []
    for cell in range(len(cells)):
        members = some[inside == cell]
        if len(members):
            centres.append(_means(faiss, members, min(len(members), max(1, round(wanted * len(members) / len(some))))))
    quantizer = faiss.IndexIVFFlat(top, dim, len(cells), faiss.METRIC_INNER_PRODUCT)
    quantizer.train(cells)  # which sees that its centres are there
    quantizer.set_direct_map_type(faiss.DirectMap.Array)
    quantizer.add(np.concatenate(centres))
    quantizer.nprobe = min(len(cells), _CELLS_TO_ADD)
    return quantizer


def _means(faiss: ModuleType, matrix: Matrix, wanted: int) -> Matrix:
    clustering = faiss.Clustering(matrix.shape[1], wanted)
    clustering.niter = _ITERATIONS
    clustering.spherical = True
    clustering.min_points_per_centroid = 1  # it is on purpose: nothing is to be said about it on stderr
    clustering.train(matrix, faiss.IndexFlatIP(matrix.shape[1]))
    means: Matrix = faiss.vector_to_array(clustering.centroids).reshape(wanted, matrix.shape[1])
    return means
