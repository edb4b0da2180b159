"""Small codes beside the vectors of an `ivf` index: a search looks for many by their codes, then compares the vectors.

To compare the 40,000 vectors that lie in the lists near a question takes 2 ms in half precision, with codes of two bits
a number 0.7 ms (product quantization, 16 centres for two numbers; 32 codes are compared by one instruction: FAISS's
"fast scan"). A code says little about which of two near vectors is nearer, so a hundred are found by their codes, and
the best of them by their vectors: the scores are the vectors', and what is not in the index of vectors is not found.
How many have to be compared is measured on what is there; where codes are no help there are none.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .index_faiss_clusters import look, put

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .index_faiss_trial import Trial
    from .index_vectors import Matrix

    Near = tuple[NDArray[np.int64], Matrix]

_BITS = 4
_PARTS = range(2, 33)
_MOST_PARTS = 256
"""The sum of so many comparisons of 8 bits fits into 16."""
_ONE_QUERY = 10
"""FAISS's way of scanning that is the quickest for one query: a sixth quicker than what it takes by itself."""
_TRAINED_ON = 100_000
_AT_ONCE = 50_000
_FETCHED = (50, 70, 100, 140, 200, 400)
_LOST = 0.002
"""So much of what is in the lists may be lost because of the codes."""
_TRIED = 600
_NEAREST = 10
_MOST_FETCHED = 1_000


class Codes:
    """The codes of the vectors of another index, in the same lists under the same ids.

    Args:
        index: FAISS's index of the codes.
        fetch: So many are to be found by their codes if ten are wanted.
    """

    def __init__(self, index: Any, fetch: int) -> None:
        self.index: Any = index
        self.index.implem = _ONE_QUERY
        self.fetch = fetch

    def to_compare(self, wanted: int) -> int | None:
        """So many have to be found by their codes; None if that is too many for codes to be of use."""
        # Of ten times as many a smaller share is only just missed.
        fetch = max(wanted, (wanted + _NEAREST) * self.fetch // (2 * _NEAREST))
        return fetch if fetch <= _MOST_FETCHED else None

    def remove(self, faiss: ModuleType, ids: NDArray[np.int64], lists: Iterable[int]) -> None:
        """Remove ids, which are in these lists; nothing of their codes stays behind."""
        import numpy as np

        self.index.remove_ids(faiss.IDSelectorBatch(ids))
        # FAISS leaves the codes behind the end of a list as they were, and what is added there is mixed with them.
        inside = faiss.downcast_InvertedLists(self.index.invlists)
        packer = self.index.get_CodePacker()
        nothing = np.zeros(packer.code_size, dtype=np.uint8)
        for number in set(lists):
            size = inside.list_size(number)
            codes = inside.get_codes(number)
            for place in range(size, -(-size // packer.nvec) * packer.nvec):
                packer.pack_1_c(faiss.swig_ptr(nothing), place, codes)

    def emptied(self, faiss: ModuleType) -> None:
        """Let the codes go, as far as that can be done without the interpreter's lock."""
        nothing = faiss.ArrayInvertedLists(self.index.nlist, self.index.code_size)
        nothing.this.disown()  # it is the index's now
        self.index.replace_invlists(nothing, True)  # noqa: FBT003 - FAISS takes no keywords: and it is to free them


def coded(
    faiss: ModuleType, index: Any, ids: NDArray[np.int64], matrix: Matrix, lists: NDArray[np.int64]
) -> Codes | None:
    """Codes of what is in `index`, not tried yet; None if its vectors do not come apart."""
    parts = _parts(matrix.shape[1])
    if parts is None:
        return None
    plain = faiss.IndexIVFPQ(index.quantizer, index.d, index.nlist, parts, _BITS, faiss.METRIC_INNER_PRODUCT)
    plain.by_residual = True
    plain.use_precomputed_table = -1
    plain.pq.cp.min_points_per_centroid = 1  # it is on purpose: nothing is to be said about it on stderr
    plain.train(matrix[:: max(1, len(matrix) // _TRAINED_ON)])
    for start in range(0, len(ids), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        put(faiss, plain, matrix[part], ids[part], lists[part])
    packed = faiss.IndexIVFPQFastScan(plain)
    packed.referenced_objects = [index]  # whose centres are its centres
    nothing = faiss.ArrayInvertedLists(plain.nlist, plain.code_size)
    nothing.this.disown()
    plain.replace_invlists(nothing, True)  # noqa: FBT003 - see `emptied`
    return Codes(packed, _FETCHED[-1])


def enough_fetched(
    faiss: ModuleType, codes: Codes, trial: Trial, near: Near, within: NDArray[np.float64]
) -> int | None:
    """How many have to be found by their codes so that nearly none of what the lists hold is lost.

    Args:
        faiss: The library.
        codes: The codes to be tried.
        trial: With what.
        near: The lists near each of its queries.
        within: The share of the nearest that is in these lists, of each.
    """
    lists, scores = near
    first = slice(0, _TRIED)
    for fetch in _FETCHED:
        _, found = look(faiss, codes.index, trial.queries[first], fetch, (lists[first], scores[first]), None)
        if trial.share_found(found) >= within[first].mean() - _LOST:
            return fetch
    return None


def _parts(dim: int) -> int | None:
    """Of how many parts a code is made; None if a vector of so many numbers does not come apart."""
    size = next((size for size in _PARTS if dim % size == 0 and dim // size <= _MOST_PARTS), None)
    return None if size is None else dim // size
