"""What became of a request that was granted: said once, to the bucket that granted it."""

from __future__ import annotations

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

    `scope` is where it was granted; None: nobody knows any more, and it is looked for.
    `at` is when `limits` came; None: just now.
    """

    turn_id: str
    fate: Fate
    used_tokens: int | None = None
    limits: ServerLimits | None = None
    retry_after: Seconds | None = None
    charged: bool = True
    scope: str | None = None
    at: Seconds | None = None
