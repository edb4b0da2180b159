"""What the headers of an answer say of the server's rate limits. Pure.

Two families are read: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, which OpenAI, Azure, Groq, vLLM's
gateways and most others send, with or without `-minute` at the end; and Anthropic's
`anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`. A reset is a duration (`6m0s`, `12ms`, `7.66s`), a
number of seconds, or a moment (RFC 3339, or seconds or milliseconds since the epoch). Headers without the word
requests or tokens do not say what they count, nor over which time, and are left alone.
"""

from __future__ import annotations

import datetime
import math
import re
import time
from collections.abc import Mapping

from trouper.runtime import Seconds, ServerLimits

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")

MOST = 10**15
"""Of requests or tokens; a larger number is nobody's limit."""

EPOCH = 1e9
"""A reset larger than this is a moment, not a duration: 31 years are no rate limit."""

_FIELDS: dict[str, str] = {
    name: f"{what}_{of}"
    for what in ("limit", "remaining", "reset")
    for of in ("requests", "tokens")
    for name in (
        f"x-ratelimit-{what}-{of}",
        f"x-ratelimit-{what}-{of}-minute",
        f"anthropic-ratelimit-{of}-{what}",
    )
}


def server_limits(headers: Mapping[str, str], *, wall: float | None = None) -> ServerLimits | None:
    """The limits in `headers` (names in lower case), None where they say nothing usable.

    `wall` is the time of day, in seconds since the epoch, that a moment is measured against.
    """
    counts: dict[str, int] = {}
    resets: dict[str, Seconds] = {}
    for name, value in headers.items():
        field = _FIELDS.get(name)
        if field is None:
            continue
        if field.startswith("reset"):
            seconds = _reset(value, wall)
            if seconds is not None:
                resets.setdefault(field, seconds)
        else:
            count = _count(value)
            if count is not None:
                counts.setdefault(field, count)
    if not counts and not resets:
        return None
    return ServerLimits(
        limit_requests=counts.get("limit_requests"),
        remaining_requests=counts.get("remaining_requests"),
        reset_requests=resets.get("reset_requests"),
        limit_tokens=counts.get("limit_tokens"),
        remaining_tokens=counts.get("remaining_tokens"),
        reset_tokens=resets.get("reset_tokens"),
    )


def _count(value: str) -> int | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if 0 <= number <= MOST else None


def _reset(value: str, wall: float | None) -> Seconds | None:
    value = value.strip().lower()
    if _DURATION.fullmatch(value):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
        return seconds if seconds < EPOCH else None
    moment = _moment(value)
    if moment is None:
        return None
    if moment < EPOCH:
        return moment
    if moment >= EPOCH * 1000:
        moment /= 1000.0
    seconds = max(0.0, moment - (time.time() if wall is None else wall))
    return seconds if seconds < EPOCH else None


def _moment(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        try:
            moment = datetime.datetime.fromisoformat(value.upper())
            return (moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    return number if math.isfinite(number) and number >= 0 else None
