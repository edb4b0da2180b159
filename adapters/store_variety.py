"""Memories that fit and say different things: chosen where their vectors are, beside the loop.

Maximal marginal relevance (Carbonell and Goldstein, 1998): each is chosen for its score and for being unlike the ones
before it. For a thousand out of four thousand that is a thousand products with a matrix, a third of a second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from .index_vectors import rows
from .store_vectors import vectors_of


def varied(
    connection: sqlite3.Connection, embedder: str, dim: int, scores: Mapping[int, float], k: int, diversity: float
) -> tuple[int, ...]:
    """At most `k` of these ids, each the best by `(1 - diversity) * score - diversity * likeness`.

    The likeness is that to the most similar one chosen so far, 0 at the least, and for one without a vector. Equal
    ones by smaller id.
    """
    import numpy as np

    ids = sorted(scores)
    vectors = dict(vectors_of(connection, embedder, dim, ids))
    matrix = np.zeros((len(ids), dim), dtype=np.float32)
    having = [place for place, number in enumerate(ids) if number in vectors]
    if having:
        matrix[having] = rows([vectors[ids[place]] for place in having], dim)
    worth = (1.0 - diversity) * np.array([scores[number] for number in ids], dtype=np.float64)
    nearest = np.zeros(len(ids))
    chosen: list[int] = []
    for _ in range(min(k, len(ids))):
        best = int((worth - diversity * nearest).argmax())
        worth[best] = -np.inf
        chosen.append(ids[best])
        np.maximum(nearest, matrix @ matrix[best], out=nearest)
    return tuple(chosen)
