"""What a bucket shows of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from ._clock import Seconds

Blocked = Literal["", "pause", "concurrency", "pace", "requests", "tokens", "server"]
"""What the head of the queue waits for."""


@attrs.frozen(kw_only=True)
class BucketStatistics:
    """What the last minute holds, and who waits. `tokens` as charged so far, without those that wait."""

    requests: int = 0
    tokens: int = 0
    waiting: int = 0
    unsettled: int = 0
    """Granted and not reported on: calls under way."""
    paused_for: Seconds = 0.0
    max_unsettled: int | None = None
    """How many may be under way; None: as many as like."""
    burst: int = 0
    """How many may go at once, by what the server has borne so far."""
    share: float = 1.0
    """Of the limits, as far as others leave it to us."""
    blocked: Blocked = ""
    """What the next one waits for."""


def together(all_of: Sequence[BucketStatistics]) -> BucketStatistics:
    """The sums; of what cannot be added, the tightest."""
    if len(all_of) == 1:
        return all_of[0]
    blocked: Blocked = ""
    for part in all_of:
        blocked = blocked or part.blocked
    bounds = [part.max_unsettled for part in all_of if part.max_unsettled is not None]
    return BucketStatistics(
        requests=sum(part.requests for part in all_of),
        tokens=sum(part.tokens for part in all_of),
        waiting=sum(part.waiting for part in all_of),
        unsettled=sum(part.unsettled for part in all_of),
        paused_for=max((part.paused_for for part in all_of), default=0.0),
        max_unsettled=min(bounds, default=None),
        burst=min((part.burst for part in all_of), default=0),
        share=min((part.share for part in all_of), default=1.0),
        blocked=blocked,
    )
