"""The mirror of a provider's window: what went within the last minute, and what it counts as.

Requests that went within a tenth of a second share a slot, which leaves when its youngest one is a minute old: so a
minute is at most 600 slots whatever goes, every question costs the same, and the mirror is late by a tenth of a
second at most, never early. It is a little longer than the provider's, because the network is not always as quick.
"""

from __future__ import annotations

import math
from collections import deque

import attrs

from ._clock import Seconds

WINDOW: Seconds = 60.0
"""What providers count over."""

SLOT: Seconds = 0.1
"""Requests that went within this time of the first of them leave the window together."""

SLACK: Seconds = 0.25
"""By how much the way to the server may differ between two requests: what went a minute apart arrives closer."""


@attrs.define(eq=False)
class Slot:
    """Requests that went at about the same time.

    `tokens` is what they used as far as that is known, else what was reserved; `estimates` is never less than what
    was reserved, for providers that charge the estimate for good.
    """

    first: Seconds
    last: Seconds
    requests: int = 0
    tokens: int = 0
    estimates: int = 0
    gone: bool = False
    before: tuple[int, int] = (0, 0)
    """Requests and tokens that had ever gone when it began."""
    surely: tuple[int, int] = (0, 0)
    """Those that had gone so long before it that they arrived before it."""
    left: tuple[int, int] = (0, 0)
    """Those that had ever left the window when it began."""


class Window:
    """What the last `length` seconds hold. `forget` first: the sums are as of the last call of it."""

    __slots__ = (
        "_gone_requests",
        "_gone_tokens",
        "_newest",
        "_slots",
        "estimates",
        "exit_at",
        "left",
        "length",
        "requests",
        "tokens",
    )

    def __init__(self, length: Seconds = WINDOW + SLACK) -> None:
        self.length: Seconds = length
        self._slots: deque[Slot] = deque()
        self._newest: Slot | None = None
        self._gone_requests = self._gone_tokens = 0
        self.requests: int = 0
        self.tokens: int = 0
        self.estimates: int = 0
        self.left: tuple[int, int] = (0, 0)
        """Requests and tokens, as charged, that have ever left it."""
        self.exit_at: Seconds = math.inf
        """When the oldest slot leaves; infinite if it holds nothing."""

    @property
    def gone(self) -> tuple[int, int]:
        """Requests and tokens, as reserved, that have ever gone."""
        return self._gone_requests, self._gone_tokens

    def forget(self, now: Seconds) -> None:
        """Drop what no window that ends now or later can hold."""
        slots = self._slots
        while self.exit_at <= now:
            slot = slots.popleft()
            slot.gone = True
            self.requests -= slot.requests
            self.tokens -= slot.tokens
            self.estimates -= slot.estimates
            self.left = self.left[0] + slot.requests, self.left[1] + slot.tokens
            if slots:
                self.exit_at = slots[0].last + self.length
            else:
                self.exit_at, self._newest = math.inf, None

    def add(self, at: Seconds, tokens: int, requests: int = 1) -> Slot:
        """Something goes at `at`, which is not before what went last; the slot is for `change`."""
        slot = self._newest
        if slot is None or at - slot.first >= SLOT:
            slot = self._newest = Slot(at, at, before=self.gone, surely=self._gone_by(at - SLACK), left=self.left)
            self._slots.append(slot)
            if len(self._slots) == 1:
                self.exit_at = at + self.length
        elif at > slot.last:
            slot.last = at
            if len(self._slots) == 1:
                self.exit_at = at + self.length
        self._gone_requests += requests
        self._gone_tokens += tokens
        slot.requests += requests
        slot.tokens += tokens
        slot.estimates += tokens
        self.requests += requests
        self.tokens += tokens
        self.estimates += tokens
        return slot

    def change(self, slot: Slot, tokens: int, estimates: int, requests: int = 0) -> None:
        """Add to a slot, or take from it; one that has left the window stays as it was."""
        if slot.gone:
            return
        slot.requests += requests
        slot.tokens += tokens
        slot.estimates += estimates
        self.requests += requests
        self.tokens += tokens
        self.estimates += estimates

    def give_back(self, slot: Slot, tokens: int) -> None:
        """One request of so many tokens has not gone after all."""
        self.change(slot, -tokens, -tokens, -1)
        self._gone_requests -= 1
        self._gone_tokens -= tokens

    def room_for(self, wanted: int, held: int, limit: int, now: Seconds) -> Seconds:
        """About when `wanted` will have gone, which includes those ahead, if the window holds `held` of `limit` now.

        As if what it holds were even, which is exact if all went at once. What fills more than a whole window has to
        wait for those ahead to leave in their turn, a window later.
        """
        rounds = (wanted - 1) // limit
        over = wanted - rounds * limit + held - limit
        at = now
        if over > 0 and held > 0:
            first, last = self._slots[0].last, self._slots[-1].last
            at = first + self.length + min(1.0, over / held) * (last - first)
        return at + rounds * self.length

    def _gone_by(self, at: Seconds) -> tuple[int, int]:
        gone = self.gone
        for slot in reversed(self._slots):
            if slot.last < at:
                break
            gone = slot.before
        return gone
