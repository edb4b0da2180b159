"""What came of checking a tool's result by other means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import attrs

from .protocols import Evidence, Json


def _within_one(_: object, __: object, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"confidence={value!r}: must be from 0 to 1, or None")


@attrs.frozen
class Checked:
    """What came of checking a result: what was compared, and what did not agree.

    No `checks` means that nothing could be compared: the result is unverifiable, which is not the same as right.
    """

    problems: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    confidence: float | None = attrs.field(default=None, kw_only=True, validator=_within_one)
    """How sure the checks are, from 0 to 1. None: 1 where something was checked."""

    @property
    def verdict(self) -> Literal["ok", "refuted", "unverifiable"]:
        """`refuted` with any problem, `ok` with checks and none, else `unverifiable`."""
        if self.problems:
            return "refuted"
        return "ok" if self.checks else "unverifiable"

    def __add__(self, other: Checked) -> Checked:
        """Both together, as sure as the less sure of them."""
        known = [c.confidence for c in (self, other) if c.confidence is not None]
        return Checked(
            self.problems + other.problems, self.checks + other.checks, confidence=min(known) if known else None
        )


Verify = Callable[[Mapping[str, object], Json, Evidence], Awaitable["Checked | list[str]"]]
"""Re-checks a result by other means: `async def verify(parameters, result, evidence)`."""
