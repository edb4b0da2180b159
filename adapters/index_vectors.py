"""Vectors as rows of a numpy matrix, checked: what every index does before it takes any in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trouper.actors.memory_data import Selection
from trouper.actors.protocols import Vector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]


def rows(vectors: Sequence[Vector], dim: int, *, first: int = 0) -> Matrix:
    """The vectors below each other; `first` is which of all vectors the first of these is.

    Raises:
        ValueError: one has another dimension, or holds something that is not a finite number.
    """
    import numpy as np

    for number, vector in enumerate(vectors, first):
        if len(vector) != 4 * dim:
            raise ValueError(f"vector {number} has {len(vector)} bytes; this index takes {4 * dim} ({dim} numbers)")
    matrix = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), dim)
    if not np.isfinite(matrix).all():
        raise ValueError("a vector holds NaN or infinity: it was not made by a sound embedder")
    return np.ascontiguousarray(matrix, dtype=np.float32)


def newest(ids: Sequence[int], vectors: Sequence[Vector]) -> tuple[list[int], list[Vector]]:
    """Each id once, with the last of its vectors."""
    if len(ids) != len(vectors):
        raise ValueError(f"{len(ids)} ids but {len(vectors)} vectors: give one vector an id")
    unique = dict(zip(ids, vectors, strict=True))
    return list(unique), list(unique.values())


def ids_in(among: Selection) -> list[int]:
    """The ids of a selection, smallest first: of a few among a million a hundred times as fast as one by one."""
    import numpy as np

    whole = np.frombuffer(bytes(among.bits), dtype=np.uint8)
    places = np.flatnonzero(whole)
    bits = np.unpackbits(whole[places], bitorder="little").reshape(-1, 8)
    byte, bit = np.nonzero(bits)
    found: list[int] = (8 * places[byte] + bit).tolist()
    return found


def best_first(pairs: Iterable[tuple[int, float]], k: int) -> tuple[tuple[int, float], ...]:
    """The `k` best, best first; equal scores by smaller id."""
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:k])


def scores_of(matrix: Matrix, query: Matrix, ids: Sequence[int]) -> dict[int, float]:
    """The inner product of each row with the query, under the row's id; row by row, so that equal rows score equal."""
    return dict(zip(ids, (matrix * query).sum(axis=1).tolist(), strict=True))


def alike(matrix: Matrix) -> tuple[tuple[float, ...], ...]:
    """The inner products of all rows with all rows."""
    return tuple(map(tuple, (matrix @ matrix.T).tolist()))
