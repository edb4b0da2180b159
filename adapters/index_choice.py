"""Which index `memory.index` means; imported before any of the libraries is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from trouper.actors.protocols import VectorIndex

IndexName = Literal["auto", "flat", "ivf", "hnsw", "numpy"]


def index_maker(name: IndexName) -> Callable[[int], VectorIndex]:
    """What makes an empty index for vectors of so many numbers."""

    def make(dim: int) -> VectorIndex:
        if name == "numpy":
            from .index_numpy import NumpyIndex

            return NumpyIndex(dim)
        from .index_faiss import FaissIndex

        return FaissIndex(dim, name)

    return make
