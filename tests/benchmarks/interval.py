"""What a row of ratios says: their median, its 95 % interval, and whether a demanded bound holds.

The interval is the one of order statistics: it asks nothing of the distribution (slices on a shared machine are
skewed, with two speed modes), only that the rounds are alike. With sorted x1..xn it is [xk, xn+1-k] for the largest
k whose two tails of Binomial(n, 1/2) stay within 5 % together. Fewer than six values cannot give 95 %.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import attrs

CONFIDENCE = 0.95


@attrs.frozen
class Interval:
    """A median and where it lies with probability `coverage`."""

    median: float
    low: float
    high: float
    coverage: float


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The median of `values` and its interval; with too few values the widest there is, whose coverage says so."""
    ordered = sorted(values)
    n = len(ordered)
    if not n:
        raise ValueError("no values: an interval needs at least one")
    total = 2**n
    tail, cut = 1, 0  # `tail` counts the outcomes of n coin throws with at most `cut` heads
    while cut + 1 < n / 2 and 2 * (tail + math.comb(n, cut + 1)) <= (1 - confidence) * total:
        cut += 1
        tail += math.comb(n, cut)
    return Interval(statistics.median(ordered), ordered[cut], ordered[n - 1 - cut], max(0.0, 1 - 2 * tail / total))


@attrs.frozen(kw_only=True)
class Bound:
    """What is demanded of a figure: at least, or at most, `limit`."""

    limit: float
    at_least: bool
    unit: str = "x"

    def holds(self, interval: Interval) -> bool:
        """Whether the interval's worse end is still within the bound."""
        return interval.low >= self.limit if self.at_least else interval.high <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g} {self.unit}"


def at_least(limit: float, unit: str = "x") -> Bound:
    """More is better."""
    return Bound(limit=limit, at_least=True, unit=unit)


def at_most(limit: float, unit: str = "x") -> Bound:
    """Less is better."""
    return Bound(limit=limit, at_least=False, unit=unit)


@attrs.frozen(kw_only=True)
class Figure:
    """One measured figure beside what is demanded of it."""

    name: str
    bound: Bound
    values: tuple[float, ...]
    needed: int
    """So many values are needed for a verdict (1: the value is a count, not a sample)."""
    detail: str = ""

    @property
    def interval(self) -> Interval:
        """The median of the values with its 95 % interval."""
        return median_interval(self.values)

    @property
    def verdict(self) -> str:
        """HOLDS, DOES NOT HOLD, or that there are too few values to say."""
        if len(self.values) < self.needed:
            return f"not judged ({len(self.values)} of {self.needed} samples)"
        return "HOLDS" if self.bound.holds(self.interval) else "DOES NOT HOLD"
