"""Where callers stand in line by themselves, and where they put their reports: the limiter reads both when it looks.

Who would not be first has nothing to ask: it could only be told to wait. So, as long as others of its class wait, a
caller puts its turn here and sleeps, and the limiter takes all that came into its books at its next look. One who may
have something to be told, because nobody waits, or because of its size or its deadline, asks.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from ._clock import Seconds
from ._rate_queue import Priority, Turn

if TYPE_CHECKING:
    from ._rate_reports import Report

GRACE: Seconds = 1.0
"""A look that is later than this may never come: then newcomers ask, and are told what is wrong."""


class RateLine:
    """How one scope stood at the last look, for those who come before the next one. Closed unless `places` is above 0.

    `places` requests of at most `tokens` together may join: as many again as waited. So `latest` can be what a
    newcomer behind twice as many would be told, and nobody joins who would not be served in time.
    """

    __slots__ = ("at", "background", "interactive", "largest", "latest", "places", "tokens", "until")

    def __init__(self) -> None:
        self.places: int = 0
        self.tokens: int = 0
        self.largest: int = 0
        """What a minute allows: more is an error at once."""
        self.interactive: bool = False
        self.background: bool = False
        """Whether somebody of that class waits."""
        self.at: Seconds = -math.inf
        """About when a newcomer would go."""
        self.latest: Seconds = math.inf
        """A deadline before it is one for the limiter to judge."""
        self.until: Seconds = -math.inf
        """Some time after the next look."""


class RateTray:
    """What callers leave for the limiter to read, in order: turns that join a line, reports on those that are over.

    A mailbox has a bound and may be full just when many calls end at once; a report that was lost would count a call
    as being under way for ever. Each caller has room for its own here, so it is never full. Who puts a report here
    rouses the limiter, if it is of use to somebody before the next look, and the limiter is not `roused` already.
    """

    __slots__ = ("entries", "hopeful", "lines", "roused", "wanted")

    def __init__(self) -> None:
        self.entries: deque[Turn | Report] = deque()
        self.lines: dict[str, RateLine] = {}
        """By scope; those where nobody could join are closed, or not there."""
        self.wanted: bool = False
        """Somebody waits."""
        self.hopeful: bool = False
        """Somebody waits whom an answer that has come may let go; if not, only what was never sent, or a refusal."""
        self.roused: bool = False

    def join(
        self, turn_id: str, tokens: int, now: Seconds, scope: str, priority: Priority, deadline: Seconds
    ) -> Turn | None:
        """Stand in line behind those who wait already: the turn to sleep for; None if the limiter must be asked."""
        line = self.lines.get(scope)
        if (
            line is None
            or line.places <= 0
            or not 0 <= tokens <= line.tokens
            or tokens > line.largest
            or deadline < line.latest
            or now > line.until
            or not (line.interactive if priority == "interactive" else line.background)
        ):
            return None
        line.places -= 1
        line.tokens -= tokens
        turn = Turn(turn_id, tokens, priority, now, deadline, line.at, scope, self)
        self.entries.append(turn)
        return turn

    def close(self) -> None:
        """Nobody joins any more until the next look: whoever comes asks."""
        for line in self.lines.values():
            line.places = 0
