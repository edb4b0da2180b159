"""Several rankings of the same things as one. Pure.

Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009): each ranking gives a thing 1 / (60 + its place).
It needs no scores that compare, so words counted by BM25 and meaning measured by a cosine go together.
"""

from __future__ import annotations

from collections.abc import Sequence

FLAT = 60
"""How slowly a place loses worth; the value of the paper, which found it to matter little."""


def fused(*rankings: Sequence[int]) -> list[tuple[int, float]]:
    """All ids of `rankings`, best first, each with a score above 0; 1.0 is the first place in every ranking.

    Each ranking has its ids best first, none twice. Of equal scores the one that an earlier ranking has comes first.
    """
    sums: dict[int, float] = {}
    for ranking in rankings:
        for place, number in enumerate(ranking, 1):
            sums[number] = sums.get(number, 0.0) + 1.0 / (FLAT + place)
    most = len(rankings) / (FLAT + 1)
    # A stable sort: `sums` has them in the order in which the rankings name them.
    return sorted(((number, total / most) for number, total in sums.items()), key=lambda pair: -pair[1])
