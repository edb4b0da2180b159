"""In which order memories are given: likeness, shared words, time, salience, use and variety. Pure.

Likeness and words are joined as two witnesses are, what one of them leaves of doubt the other may take away:
`1 - (1 - likeness) * (1 - trust * words ** 3)`. So a memory is never worse off for having the words, an exact match
stays 1, and a score means the same from one query to the next, which ranks (reciprocal rank fusion) do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs

from trouper.runtime import Seconds

from .memory_data import MemoryRow

WORDS_TRUST = 0.5
"""How much of the doubt all of the query's words together take away."""
WORDS_POWER = 3
"""A half of the words, by their weight, is an eighth of that: one word that is shared by chance decides nothing."""
DAY: Seconds = 86_400.0


def _weight(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"'{attribute.name}' must be >= 0 and finite: {value}")


def _time(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"'{attribute.name}' must be > 0 and finite: {value}")


@attrs.frozen(kw_only=True)
class Blend:
    """What counts besides how well a memory fits, which weighs 1. All 0: nothing else does."""

    recency: float = attrs.field(default=0.0, validator=_weight)
    """Being new: half of it is gone after `recency_half_life` seconds."""
    salience: float = attrs.field(default=0.0, validator=_weight)
    """Mattering, faded by the memory's own half-life."""
    uses: float = attrs.field(default=0.0, validator=_weight)
    """Having been recalled often."""
    recency_half_life: Seconds = attrs.field(default=30 * DAY, validator=_time)

    @property
    def idle(self) -> bool:
        """Whether nothing else counts."""
        return not (self.recency or self.salience or self.uses)


def relevance(likeness: float | None, words: float) -> float:
    """How well a memory fits: its likeness (None: unknown) and the share of the query's words that it has."""
    doubt = 1.0 - (0.0 if likeness is None else max(-1.0, min(1.0, likeness)))
    return max(-1.0, min(1.0, 1.0 - doubt * (1.0 - WORDS_TRUST * words**WORDS_POWER)))


def blended(score: float, row: MemoryRow, blend: Blend, now: float) -> float:
    """The score with what else counts; the weights are shares, so that 1 stays the most there is."""
    if blend.idle:
        return score
    age = max(0.0, now - row.created)
    total: float = (
        score
        + blend.recency * 0.5 ** (age / blend.recency_half_life)
        + blend.salience * faded_salience(row, now)
        + blend.uses * use_of(row)
    )
    return float(total / (1.0 + blend.recency + blend.salience + blend.uses))


def faded_salience(row: MemoryRow, now: float) -> float:
    """How much a memory matters now: halved with each half-life since it was made or last recalled."""
    if row.half_life is None:
        return row.salience
    last = row.created if row.accessed is None else max(row.created, row.accessed)
    return float(row.salience * 2.0 ** -(max(0.0, now - last) / row.half_life))


def use_of(row: MemoryRow) -> float:
    """How often it was recalled, 0 to 1: nothing, once 0.15, ten times a half, a hundred times nearly 1."""
    return min(1.0, math.log1p(row.accesses) / math.log(101))


def by_score(scores: Mapping[int, float]) -> Sequence[int]:
    """The ids, best first; equal scores by smaller id."""
    return sorted(scores, key=lambda number: (-scores[number], number))
