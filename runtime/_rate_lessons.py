"""What is learned from refusals that the mirror of the window did not expect.

What it cannot know is made good for in turn. If requests were charged as what they used, the server may charge what
was reserved. If not, it may count over less than a minute: less goes at once, at the same rate. If that does not help
either, somebody else uses the same key, and part of the limit is left to them; the part grows while refusals follow
each other, and comes back slowly. A server whose headers say what is left needs none of this: there a refusal means
that somebody else was quicker, and a little of what is left is kept free.

Refusals of requests that went before the last lesson teach nothing new.
"""

from __future__ import annotations

import math

from ._clock import Seconds
from ._rate_pace import Pace

DISTRUST: Seconds = 600.0
"""How long a refusal keeps its lessons: estimates are charged, the burst stays small."""

SMALLEST_CUT = 0.06
"""What is taken from the share of the limits after a refusal that only another user of the key explains; half of it if
no refusal wanted more than a `BRIEF` pause."""

LARGEST_CUT = 0.12
"""It doubles up to this, while refusals follow each other within `SOON`."""

SOON: Seconds = 35.0

SOON_IF_BRIEF: Seconds = 20.0

RECOVERY = 0.004
"""How much of the share comes back a second, from a server that never wanted more than a second's pause: it may count
seconds, and then it refuses what came a little early, and nobody else is there."""

SLOW, FASTER = 0.0005, 0.00003
"""From any other: so much a second, and so much more for each second without a refusal. For others who use the key will
most likely still be there in half a minute, and not in five."""

BRIEF: Seconds = 1.0
"""A server that counts seconds wants no longer pause."""

SMALLEST_SHARE = 0.1

CROWD = 0.02
"""What is kept free of what the server says is left, after each refusal that its headers explain: somebody else was
there in between."""

LARGEST_CROWD = 0.1

CROWD_FADES = 0.0003
"""How much of that comes back a second."""


class Lessons:
    """Those of one scope. `whole` is whether the limits are ours alone, as far as we know."""

    __slots__ = ("_brief", "_crowd", "_crowd_at", "_cut", "_last", "_share", "_share_at", "estimates_until", "whole")

    def __init__(self) -> None:
        self.whole: bool = True
        self.estimates_until: Seconds = -math.inf
        """Until when the server is taken to charge what was reserved."""
        self._last: Seconds = -math.inf
        self._brief = True
        self._share, self._share_at, self._cut = 1.0, -math.inf, SMALLEST_CUT
        self._crowd, self._crowd_at = 0.0, -math.inf

    def share(self, now: Seconds) -> float:
        """The part of the limits that is left to us."""
        if self.whole:
            return 1.0
        since = now - self._share_at
        share = self._share + (RECOVERY * since if self._brief else SLOW * since + FASTER * since**2)
        self.whole = share >= 1.0
        return min(1.0, share)

    def kept_free(self, now: Seconds) -> float:
        """The part of the limits that is left free for others who may be quicker."""
        return max(0.0, self._crowd - CROWD_FADES * (now - self._crowd_at)) if self._crowd else 0.0

    def crowded(self, sent: Seconds, now: Seconds) -> None:
        """A request that went at `sent` was refused, and the headers say that there was no room any more."""
        if sent > self._crowd_at:
            self._crowd = min(LARGEST_CROWD, self.kept_free(now) + CROWD)
            self._crowd_at = now

    def refused(
        self, sent: Seconds, now: Seconds, pace: Pace, burst: int, *, overcharged: bool, pause: Seconds | None = None
    ) -> None:
        """Learn from the refusal of a request that went at `sent`.

        `burst` is what may go at once by the configuration; `overcharged` whether the window would be over its limit
        if what was reserved counted; `pause` what the server wanted.
        """
        if now - self._last > DISTRUST:
            self._brief = True
        self._brief = self._brief and pause is not None and pause <= BRIEF
        if sent <= self._last:
            return
        if now - self._last > DISTRUST:
            pace.relax(burst)
        soon = now - self._last < (SOON_IF_BRIEF if self._brief else SOON)
        smallest = SMALLEST_CUT / 2 if self._brief else SMALLEST_CUT
        self._last = now
        if overcharged:
            self.estimates_until = now + DISTRUST
        elif not pace.tightest:
            pace.tighten()
        else:
            self._cut = min(LARGEST_CUT, 2 * self._cut) if soon else smallest
            self._share = max(SMALLEST_SHARE, self.share(now) - self._cut)
            self._share_at, self.whole = now, False
