"""No minute above the limits, over many calls; the million is `python -m tests.benchmarks.limiter --only law`."""

from __future__ import annotations

from tests.benchmarks.limiter import longest_law


def test_thirty_thousand_random_calls_never_exceed_a_minute() -> None:
    """As charged at each admission, with answers of all lengths coming back meanwhile."""
    requests, tokens, _ = longest_law(30_000)

    assert requests <= 5000
    assert 1_900_000 < tokens <= 2_000_000  # and the limit was reached, so this means something
