"""Progress, not pings: names an actor whose handler has made none for its limit, with the handler's stack.

Nothing is paid per message. While the actor is busy an alarm looks twice a limit at what is in hand and at the count of
`ctx.progress()`; if both are as they were, the time since is time without progress. So a stuck handler is named
after at least one limit and before two. When the actor is idle there is no alarm: the next message sets it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._errors import HandlerStuck
from ._events import Stuck
from ._spec import Watchdog
from ._traceback_text import task_stack

if TYPE_CHECKING:
    from ._alarms import Alarm
    from ._clock import Seconds
    from ._envelope import Envelope
    from ._incarnation import Incarnation


class Watch:
    """The watchdog of one incarnation."""

    def __init__(self, life: Incarnation, watchdog: Watchdog) -> None:
        self._life = life
        self._watchdog = watchdog
        self._alarm: Alarm | None = None
        self._seen: dict[Envelope, tuple[Seconds, tuple[int, int], object, bool]] = {}  # since, progress, message, told
        self.idle: bool = True
        life.cell.attention = True

    def begin(self) -> None:
        """The actor has something to do: look from now on."""
        self.idle = False
        self._seen.clear()
        self._again()

    def end(self) -> None:
        """The incarnation has ended."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _look(self) -> None:
        life, system = self._life, self._life.cell.system
        now = system.clock.now()
        in_hand = dict(life.flying)
        if life.in_hand is not None:
            in_hand[life.in_hand] = life.cell._task
        seen = self._seen
        self._seen = {}
        for envelope, task in in_hand.items():
            # Bare tells share one envelope, and a constant may be sent many times: count what has been handled, too.
            progress = (life.progressed, life.cell.handled if envelope is life.in_hand else 0)
            since, then, message, told = seen.get(envelope, (now, progress, envelope.message, False))
            if then != progress or message is not envelope.message:
                since, then, message, told = now, progress, envelope.message, False
            self._seen[envelope] = (since, then, message, told)
            if now - since >= self._watchdog.limit and not told:
                self._seen[envelope] = (since, then, message, True)
                self._report(envelope, task, now - since)
        if in_hand:
            self._again()
        else:
            self.idle = True
            life.cell._poke()  # the actor looks at `idle` before it takes the next message

    def _again(self) -> None:
        system = self._life.cell.system
        self._alarm = system.alarms.at(system.clock.now() + self._watchdog.limit / 2, self._look)

    def _report(self, envelope: Envelope, task: trio.lowlevel.Task | None, waited: Seconds) -> None:
        life = self._life
        cell = life.cell
        kind = type(envelope.message).__qualname__
        stack = task_stack(task) if task is not None else ""
        cell.system.log.warning(
            "[%s] %s has made no progress for %.3g s; it is at:\n%s", cell.name, kind, waited, stack
        )
        if cell.system.event_bus.active:
            cell.system.event_bus.emit(
                Stuck(at=cell.system.clock.now(), actor=cell.name, message=kind, waited=waited, stack=stack)
            )
        if self._watchdog.restart:
            life.crash(
                HandlerStuck(
                    f"{cell.name!r} has made no progress with {kind} for {waited:.3g} s "
                    f"(allowed: {self._watchdog.limit:g} s). Call `self.ctx.progress()` where it makes some.",
                    actor=cell.name,
                )
            )
