"""What a handler inherits: the deadline of the message in hand, its trace and baggage, and who waits for whom.

One ContextVar, set for each message to its envelope. Tasks that a handler starts inherit it, so an ask made three
nurseries deep still ends by the deadline of the goal that caused it, and a circle of asks is found before it hangs.

An ask keeps the envelope it was made in (`origin`): the asker waits, so that one is alive anyway. A tell takes along
what that envelope carries instead, one small object for the whole trace: a chain of tells may be endless, and would
keep every message of it in memory.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING

from ._envelope import IN_HAND, Carried, Envelope

if TYPE_CHECKING:
    from ._cell import Cell
    from ._system import System

current: ContextVar[Envelope | None] = ContextVar("trouper_handling", default=None)


def ask_chain(handling: Envelope | None, target: Cell) -> tuple[str, ...] | None:
    """The names of a circle that an ask to `target` would close, or None.

    It is a circle only if every actor on the way handles one message at a time: a concurrent handler
    leaves its actor free to answer.
    """
    names: list[str] = []
    step = handling
    while step is not None:
        cell = step.cell
        if cell is not None:
            if step.state != IN_HAND:
                return None  # a task that outlived the handler that started it: nobody waits for it any more
            if step.route is not None and not step.route.exclusive:
                return None
            names.append(cell.name)
            if cell is target:
                return (*reversed(names), target.name)
        step = step.origin
    return None


def carried_of(envelope: Envelope) -> Carried:
    """What `envelope` passes on: its own, or what the ask in whose handling it was made passes on."""
    step = envelope
    while step.carried is None and step.origin is not None:
        step = step.origin
    if step.carried is None:
        step.carried = Carried()
    envelope.carried = step.carried
    return step.carried


def trace_of(envelope: Envelope, system: System) -> str:
    """The id that every message caused by the same first message shares; made when somebody first asks for it."""
    return carried_of(envelope).trace(system)


def baggage_of(envelope: Envelope | None) -> Mapping[str, object]:
    """What `carry` put on the way, seen from `envelope`."""
    return carried_of(envelope).baggage if envelope is not None else Carried().baggage


@contextmanager
def carry(**items: object) -> Generator[None, None, None]:
    """Send `items` along with every message of the block: `self.ctx.baggage` there, and wherever those messages lead.

    Values should be immutable: they are handed on, not copied. Inside of a handler they are added to what it carries.
    """
    outer = current.get()
    inner = Envelope(None, None, outer.deadline if outer is not None else math.inf, outer)
    first = carried_of(outer) if outer is not None else None
    inner.carried = Carried(first, MappingProxyType({**baggage_of(outer), **items}))
    token = current.set(inner)
    try:
        yield
    finally:
        current.reset(token)
