"""The buckets of all scopes: a scope is whatever the provider counts by itself, a model under a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ._bucket import TokenBucket
from ._clock import Seconds
from ._rate_limits import Limits
from ._rate_line import RateTray
from ._rate_queue import Turn
from ._rate_reports import Report
from ._rate_statistics import BucketStatistics, together

MOST_SCOPES = 256
"""Of which there are buckets at once; those that hold nothing make room."""


class RateBooks:
    """A bucket for each scope, made when it is first asked for.

    Hand the same books to every incarnation of the limiter, so that what was spent outlives its crashes.

    Args:
        default: The limits of a scope that has none of its own; None: none.
        own: Limits by scope; None: none.
    """

    def __init__(self, default: Limits | None, own: Mapping[str, Limits | None] | None = None) -> None:
        self.default: Limits | None = default
        self.own: Mapping[str, Limits | None] = dict(own or {})
        self.tray: RateTray = RateTray()
        self._buckets: dict[str, TokenBucket] = {}
        self.remembers: bool = False
        """Whether what earlier processes spent is in it."""

    @classmethod
    def around(cls, bucket: TokenBucket) -> RateBooks:
        """Books with the limits of that bucket, which is the one of calls that name no scope."""
        books = cls(bucket.limits)
        books._buckets[""] = bucket
        return books

    def limits_of(self, scope: str) -> Limits | None:
        """What holds for that scope."""
        return self.own.get(scope, self.default)

    def bucket(self, scope: str, now: Seconds) -> TokenBucket | None:
        """The bucket of that scope, None if it has no limits."""
        bucket = self._buckets.get(scope)
        if bucket is None:
            limits = self.limits_of(scope)
            if limits is None:
                return None
            if len(self._buckets) >= MOST_SCOPES:
                self._make_room(now)
            bucket = self._buckets[scope] = TokenBucket(limits)
        return bucket

    def buckets(self) -> Iterator[tuple[str, TokenBucket]]:
        """All there are."""
        yield from self._buckets.items()

    def report(self, report: Report, now: Seconds) -> str | None:
        """Put a report into the bucket that it belongs to, and give its scope; None if it is known already."""
        scope = report.scope
        if scope is None:
            scope = next((scope for scope, bucket in self._buckets.items() if bucket.knows(report.turn_id)), None)
        bucket = None if scope is None else self._buckets.get(scope)
        if bucket is None or not bucket.knows(report.turn_id):
            return None
        bucket.report(report, now)
        return scope

    def known(self, scope: str | None) -> TokenBucket | None:
        """The bucket of that scope, if there is one already."""
        return None if scope is None else self._buckets.get(scope)

    def turns(self) -> Iterator[Turn]:
        """Every turn that is not over."""
        for bucket in self._buckets.values():
            yield from bucket.turns()

    def statistics(self, now: Seconds) -> Mapping[str, BucketStatistics]:
        """By scope."""
        return {scope: bucket.statistics(now) for scope, bucket in self._buckets.items()}

    def total(self, now: Seconds) -> BucketStatistics:
        """All scopes together."""
        return together(tuple(self.statistics(now).values()))

    def _make_room(self, now: Seconds) -> None:
        idle = [scope for scope, bucket in self._buckets.items() if bucket.is_idle(now)]
        for scope in idle:
            del self._buckets[scope]
            self.tray.lines.pop(scope, None)
