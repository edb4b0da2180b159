"""Messages that an actor sends to itself later. They die with the incarnation that asked for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._clock import Seconds

if TYPE_CHECKING:
    from ._alarms import Alarm
    from ._envelope import Tell
    from ._incarnation import Incarnation


class Timer:
    """A message on its way in time: what `ctx.send_after` and `ctx.every` give."""

    __slots__ = ("_interval", "_life", "_unread", "alarm", "message")

    def __init__(self, life: Incarnation, delay: Seconds, message: Tell, interval: Seconds | None) -> None:
        self._life = life
        self.message: Tell = message
        self._interval = interval
        self._unread = False
        system = life.cell.system
        self.alarm: Alarm = system.alarms.at(system.clock.now() + delay, self._fire)

    @trio.lowlevel.enable_ki_protection
    def cancel(self) -> None:
        """Call it off, also if its message is due and has not been read; harmless when it is over."""
        self.alarm.cancel()
        life = self._life
        if self._unread and life.urgent is not None:
            life.urgent.remove(self)
            self._unread = False
        if life.timers is not None:
            life.timers.pop(self, None)

    def read(self) -> Tell:
        """The message, now that its turn has come."""
        self._unread = False
        return self.message

    def _fire(self) -> None:
        life = self._life
        if self._interval is not None:
            # From the instant it was due, so that it does not drift; what was missed in a stall is not made up for.
            system = life.cell.system
            due = self.alarm.at + self._interval
            now = system.clock.now()
            self.alarm = system.alarms.at(due if due > now else now + self._interval, self._fire)
        elif life.timers is not None:
            life.timers.pop(self, None)
        if not self._unread:  # a slow actor gets one tick, not a heap of them
            self._unread = True
            life.put_urgent(self)
