"""What the events cost when nobody listens: how often an ask checks for listeners, times what a check costs.

An A/B run cannot show it: two builds of the same loop differ by more than 2 % for no reason at all. So the checks
that one ask makes are counted, and a check is timed against the same loop without it.
"""

from __future__ import annotations

import time

from trouper.runtime._events import EventBus

from .slices import Slice
from .subjects import Echo, server

LOOPS = 2_000


class CountingBus(EventBus):
    """An event bus that knows how often it was asked whether anybody listens."""

    looked = 0

    @property
    def active(self) -> bool:
        CountingBus.looked += 1
        return False

    @active.setter
    def active(self, _: bool) -> None: ...


async def checks_in_an_ask(asks: int = 100) -> float:
    """How often one ask, both tasks together, checks for listeners."""
    async with server() as ref:
        ref._cell.system.event_bus.__class__ = CountingBus
        await ref.ask(Echo(1))
        before = CountingBus.looked
        for _ in range(asks):
            await ref.ask(Echo(1))
        return (CountingBus.looked - before) / asks


def loop_with_check() -> Slice:
    """A turn: a local's attribute's attribute, as the kernel reads it, and a branch."""

    class Holder:
        __slots__ = ("event_bus",)

    system = Holder()
    system.event_bus = EventBus()

    async def run() -> float:
        began = time.process_time()
        for _ in range(LOOPS):
            if system.event_bus.active:
                raise AssertionError
        return (time.process_time() - began) / LOOPS

    return run


async def loop_without() -> float:
    """The same turn without the check."""
    began = time.process_time()
    for _ in range(LOOPS):
        pass
    return (time.process_time() - began) / LOOPS
