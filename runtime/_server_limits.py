"""What a server said about its rate limits, beside an answer or a refusal."""

from __future__ import annotations

import attrs

from ._clock import Seconds


@attrs.frozen(kw_only=True)
class ServerLimits:
    """The `x-ratelimit-*` headers of one answer; None where the server did not say.

    `limit_*` is what it grants in its window, `remaining_*` what was left when it answered, `reset_*` the seconds
    until all of it is there again. Servers leave them out now and then, so they may refine what a limiter knows and
    never be needed by it.
    """

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests: Seconds | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens: Seconds | None = None
