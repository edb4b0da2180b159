"""Which models broke off in the middle of an answer that somebody was reading.

What was read cannot be said again, so such a call fails although another model might have answered it. Whoever throws
away what it has read asks once more, in the same trace; that call does not begin at the model that just broke off.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence

from trouper.runtime import LLMError

from .model_endpoint import Endpoint

KEPT = 256
"""Of how many calls it is remembered."""


class Breaks:
    """By the trace and the role of those who ask. Bounded: the oldest is forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], dict[str, LLMError]] = OrderedDict()

    def broke_off(self, trace: str, role: str, endpoint: Endpoint, error: LLMError) -> None:
        """A model broke off in an answer that was being read."""
        broken = self._kept.setdefault((trace, role), {})
        broken[endpoint.name] = copy.copy(error)  # without its trace, which holds on to all that was there
        self._kept.move_to_end((trace, role))
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def first_of(self, chain: Sequence[Endpoint], trace: str, role: str) -> tuple[int, LLMError | None]:
        """Where in `chain` a call begins, and what happened before that; the last is never passed over."""
        broken = self._kept.get((trace, role))
        error: LLMError | None = None
        if broken is None:
            return 0, None
        for i, endpoint in enumerate(chain[:-1]):
            if endpoint.name not in broken:
                return i, error
            error = broken[endpoint.name]
        return len(chain) - 1, error
