"""What a tool is told about the step that it runs for, and what it says about being run twice."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable

import attrs


class Effect(enum.Enum):
    """What it means to run a tool twice."""

    PURE = "pure"
    """Nothing happens outside: run it as often as you like."""
    KEYED = "keyed"
    """Something happens, but the same call again changes nothing more."""
    ONCE = "once"
    """Each call counts: never repeated unless the tool says that nothing had happened."""


def _silent(message: str) -> None:
    """Progress that nobody listens to."""


@attrs.frozen(kw_only=True, weakref_slot=False)
class ToolContext:
    """What a tool may know about the step it runs for. Take it as `ctx: ToolContext`."""

    run_id: str = ""
    step_id: int = 0
    attempt: int = 1
    """1 for the first try."""
    idempotency_key: str = ""
    """The same for each attempt of the same step of the same run."""
    deadline: float = math.inf
    """When the step must have ended, on trio's clock."""
    workspace: str = ""
    """The work directory as an absolute path."""
    progress: Callable[[str], None] = _silent
    """Tells whoever watches how far it is; from any thread."""
