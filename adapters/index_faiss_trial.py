"""How much of what is near an `ivf` index finds: tried with some of its own vectors, to know how far it has to look."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .index_faiss_clusters import Centres
    from .index_vectors import Matrix

_LEAST_PROBES = 16
_TRIED = 1_000
_SPARED = 0.01
_NEAREST = 10
_FOUND = 0.984
"""The share of the nearest ten that is to be in the lists: 0.98, and a little for having tried few, and for codes."""
_FIRST_LISTS = 1 / 8
_AT_ONCE = 100


def to_be_tried(count: int) -> NDArray[np.int64]:
    """The places of the vectors to try an index of so many with."""
    import numpy as np

    return np.sort(np.random.default_rng(1).permutation(count)[:_TRIED])


def to_be_left(tried: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Which of those tried have no part in the training, if there are vectors enough to spare them.

    Centres lie better for those that have made them what they are: of a million passages half of a hundredth less was
    found of others.
    """
    return tried if len(tried) <= _SPARED * count else tried[:0]


class Trial:
    """Some of the vectors of an index, those at `places`, and their true neighbours. `ids` ascend.

    By scores, not by ids: of many equal vectors any ten will do.
    """

    def __init__(self, faiss: ModuleType, ids: NDArray[np.int64], matrix: Matrix, places: NDArray[np.int64]) -> None:
        import numpy as np

        self._ids = ids
        self._matrix: Matrix = matrix
        self._places = places
        self.queries: Matrix = matrix[self._places]
        near = min(_NEAREST + 1, len(ids))
        _, found = faiss.knn(self.queries, matrix, near, metric=faiss.METRIC_INNER_PRODUCT)
        itself = found == self._places[:, None]
        # Where it is not among its own nearest (there are equal ones), the last of them goes instead.
        itself[~itself.any(axis=1), -1] = True
        self._true: NDArray[np.int64] = found[~itself].reshape(len(found), near - 1)
        self._least = np.empty(len(found), dtype=np.float32)
        for start in range(0, len(found), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            scores = (matrix[self._true[part]] * self.queries[part, None, :]).sum(axis=2)
            self._least[part] = scores.min(axis=1) - np.float32(1e-6)

    def enough_probes(self, centres: Centres, lists: NDArray[np.int64], of: int) -> tuple[int, NDArray[np.float64]]:
        """Into how many of `of` lists a search must look to find nearly all, `lists` being where each vector is.

        Gives for each of the queries the share that it finds then, too. Of a million vectors around 2,000 centres the
        nearest 16 of 16,000 lists hold 99.9 % of the nearest ten; of a million passages of English and code, embedded
        by the mean of their words, it takes about 700; of vectors without any order half of all.
        """
        import numpy as np

        holding = lists[self._true]
        most = max(1, int(of * _FIRST_LISTS))
        while True:
            rank = np.full(holding.shape, of, dtype=np.int64)
            looked, _ = centres.near(self.queries, most)
            for row, (held, order) in enumerate(zip(holding, looked, strict=True)):
                place = np.full(of, of, dtype=np.int64)
                place[order[order >= 0]] = np.arange(len(order))[order >= 0]
                rank[row] = place[held]
            probes = int(np.sort(rank, axis=None)[min(rank.size - 1, int(_FOUND * rank.size))]) + 1
            if probes <= most or most == of:
                probes = min(of, max(probes, _LEAST_PROBES))
                return probes, (rank < probes).mean(axis=1)
            most = of

    def share_found(self, found: NDArray[np.int64]) -> float:
        """Of the nearest ten of the first of the queries: how many are among these ids, -1 being none."""
        import numpy as np

        hits = 0
        for place, query, least, row in zip(self._places, self.queries, self._least, found, strict=False):
            where = np.searchsorted(self._ids, row[row >= 0])
            scores = (self._matrix[where[where != place]] * query).sum(axis=1)
            hits += min(_NEAREST, int((scores >= least).sum()))
        return hits / (_NEAREST * len(found))
