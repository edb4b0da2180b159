"""What became of a request that was granted: said once, to the bucket that granted it."""

from __future__ import annotations

from collections import deque
from typing import Literal

import attrs

from ._clock import Seconds
from ._server_limits import ServerLimits

Fate = Literal["settled", "declined", "overloaded", "failed", "given_back"]


@attrs.frozen(weakref_slot=False)
class Report:
    """How the request called `turn_id` ended.

    `settled`: answered, it used `used_tokens` (None: nobody said). `declined`: the server refused it because of its
    limits, and names a wait perhaps. `overloaded`: the server was too slow or too busy. `failed`: anything else,
    `charged` unless the server did nothing for it. `given_back`: it was never sent.
    """

    turn_id: str
    fate: Fate
    used_tokens: int | None = None
    limits: ServerLimits | None = None
    retry_after: Seconds | None = None
    charged: bool = True


class Tray:
    """Where reports are put for the limiter to read: each turn has room for its own, so it is never full.

    A mailbox has a bound and may be full just when many calls end at once; a report that was lost would count a call
    as being under way for ever. `wanted` says that somebody waits for what a report may bring: who puts one there
    then rouses the limiter and takes the mark down.
    """

    __slots__ = ("reports", "wanted")

    def __init__(self) -> None:
        self.reports: deque[Report] = deque()
        self.wanted: bool = False
