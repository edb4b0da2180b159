"""Probes and faults for actors: crash one at a chosen moment, through the same path a real crash takes."""

from __future__ import annotations

import enum

import trio

from ._actor import Actor
from ._ref import Ref


class When(enum.Enum):
    """The moment of an injected crash."""

    NOW = "now"
    """At once, with whatever is in hand."""
    QUEUED = "queued"
    """When the next message is due and still unread: it is kept for the next incarnation."""
    IN_FLIGHT = "in_flight"
    """When the next message is in hand and its handler begins."""
    BEFORE_REPLY = "before_reply"
    """When the next message has been handled, before its asker has the answer."""


_PHASES = {When.QUEUED: "queued", When.IN_FLIGHT: "taken", When.BEFORE_REPLY: "handled"}


class InjectedCrash(Exception):
    """What an actor crashes with when a test says so."""


class Crash:
    """One injected crash of the actor behind `ref`; `happened` tells whether it has come to pass."""

    def __init__(self, ref: Ref[Actor], when: When, message: type | None) -> None:
        self.happened: bool = False
        self.handling: object = None
        self._cell = ref._cell
        self._when = when
        self._message = message

    def arm(self) -> None:
        """Begin to wait for the moment; NOW is at once."""
        if self._when is When.NOW:
            self._disarm_with(None)
            self._cell.crash(InjectedCrash(f"{self._cell.name} was crashed by a test"))
        else:
            self._cell.fault = self._fault

    def _disarm_with(self, message: object) -> None:
        self.happened = True
        self.handling = message
        self._cell.fault = None

    def _fault(self, phase: str, message: object) -> BaseException | None:
        if phase != _PHASES[self._when] or (self._message is not None and not isinstance(message, self._message)):
            return None
        self._disarm_with(message)
        return InjectedCrash(f"{self._cell.name} was crashed by a test with {type(message).__qualname__} in hand")


def crash(ref: Ref[Actor], when: When = When.NOW, *, message: type | None = None) -> Crash:
    """Crash an actor once, at the moment `when` says (of the first message of class `message`, if given).

    Its supervisor, its askers and the event stream see exactly what a bug in the actor would make them see.
    """
    fault = Crash(ref, when, message)
    fault.arm()
    return fault


async def wait_incarnation(ref: Ref[Actor], number: int) -> None:
    """Wait until the actor lives its `number`-th life. Bound it with a cancel scope of your own."""
    while ref.incarnation < number or ref.statistics().state not in {"running", "stopping", "stopped"}:
        await trio.lowlevel.checkpoint()
