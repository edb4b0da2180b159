"""What a handler inherits: the deadline of the message in hand, its trace, and who waits for whom.

One ContextVar, set for each message. Tasks that a handler starts inherit it, so an ask made three nurseries
deep still ends by the deadline of the goal that caused it, and a circle of asks is found before it hangs.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs
import trio

from ._clock import Seconds

if TYPE_CHECKING:
    from ._cell import Cell


@attrs.frozen(eq=False)
class Handling:
    """One message being handled: by whom, until when, and on whose behalf (`asked_by`, outermost last)."""

    cell: Cell
    deadline: Seconds
    exclusive: bool
    asked_by: Handling | None
    trace: str


current: ContextVar[Handling | None] = ContextVar("trouper_handling", default=None)


def effective_deadline(timeout: Seconds | None, default: Seconds) -> Seconds:
    """The instant by which an ask made now must be answered."""
    handling = current.get()
    inherited = handling.deadline if handling is not None else math.inf
    if timeout is not None:
        return min(inherited, trio.current_time() + timeout)
    return inherited if inherited != math.inf else trio.current_time() + default


def ask_chain(handling: Handling | None, target: Cell) -> tuple[str, ...] | None:
    """The names of a circle that an ask to `target` would close, or None.

    It is a circle only if every actor on the way handles one message at a time: a concurrent handler
    leaves its actor free to answer.
    """
    names: list[str] = []
    step = handling
    while step is not None:
        if not step.exclusive:
            return None
        names.append(step.cell.name)
        if step.cell is target:
            return (*reversed(names), target.name)
        step = step.asked_by
    return None
