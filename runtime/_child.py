"""What a supervisor starts, restarts and stops: the part that an actor's cell and a nested supervisor share.

A child is a state machine. Its current life ends in `_end`, which tells the supervisor and whoever monitors it;
nothing of a life is ever awaited by the supervisor in a way that its crash could reach it as an exception.
"""

from __future__ import annotations

import abc
import enum
import functools
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import attrs
import trio

from ._crash_report import CrashReport
from ._errors import ActorStopped, Ignore, StartFailed
from ._events import ActorEnded, Unstoppable
from ._spec import SHUTDOWN, ChildSpec, ExitKind, ExitReason, Shutdown
from ._traceback_text import said, task_stack

if TYPE_CHECKING:
    from ._actor import Actor
    from ._administration import SupervisorRef
    from ._alarms import Alarm
    from ._clock import Seconds
    from ._intensity import RestartWindow
    from ._monitor import Down
    from ._ref import Ref
    from ._supervisor import Supervisor
    from ._system import System

REPORTS = 8
"""Crash reports kept of one child."""


class CellState(enum.Enum):
    """Where a child stands. `alive`: there is a task, or one is about to be."""

    alive: bool

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    DOWN = "down"
    """A life has ended and its supervisor has not decided yet."""
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


NEW, STARTING, RUNNING, DOWN, RESTARTING, STOPPING, STOPPED = CellState

for _state in CellState:  # an attribute: the hash of an enum's member, which a set needs, is Python code
    _state.alive = _state in (STARTING, RUNNING, STOPPING)


class Child(abc.ABC):
    """See the head of this file. Made by a supervisor."""

    __slots__ = (
        "_alarm",
        "_changed",
        "_spares_on_stop",
        "_start_error",
        "_stop_reason",
        "_task",
        "_torn",
        "awaited",
        "begun",
        "crashes",
        "doomed",
        "failing",
        "failures",
        "incarnation",
        "kept",
        "last_end",
        "monitors",
        "name",
        "reports",
        "spec",
        "started_at",
        "state",
        "supervisor",
        "system",
        "window",
    )

    kind = "actor"
    ref: Ref[Actor] | SupervisorRef

    def __init__(self, system: System, supervisor: Supervisor | None, spec: ChildSpec, name: str) -> None:
        self.system: System = system
        self.supervisor: Supervisor | None = supervisor
        self.spec: ChildSpec = spec
        self.name: str = name
        self.state: CellState = NEW
        self.incarnation: int = 0
        self.crashes: int = 0
        self.failures: int = 0  # crashes in a row, for the backoff
        self.started_at: Seconds = 0.0
        self.window: RestartWindow | None = None  # its own restart budget; None: its supervisor's
        self.kept: bool = True  # its spec stays with the supervisor when it ends by itself
        self.last_end: ExitReason | None = None
        self.reports: deque[CrashReport] | None = None
        self.monitors: dict[object, Callable[[Down], None]] | None = None
        self._changed: trio.lowlevel.ParkingLot | None = None
        self._start_error: BaseException | None = None
        self._stop_reason: ExitReason | None = None
        self._spares_on_stop = False
        self._task: trio.lowlevel.Task | None = None
        self._torn = False  # an interrupt, or the cancellation of all around it, goes through: nobody is started again
        self._alarm: Alarm | None = None  # of its patience, or of its backoff
        self.begun: bool = False  # this life has started
        self.doomed: bool = False  # is being stopped for good: nobody starts it again
        self.failing: bool = False  # its last start failed, and it has not started since
        self.awaited: bool = False  # somebody waits for the start of this life, and deals with its failure

    # ------------------------------------------------------------ what the kinds of children do in their own way
    @abc.abstractmethod
    def _poke(self) -> None:
        """Wake its task."""

    @abc.abstractmethod
    def _life_of_its_own(self) -> Callable[[], Awaitable[None]]:
        """What the task of the next life runs."""

    @abc.abstractmethod
    def _cut(self, why: str) -> bool:
        """Cancel the life that runs, if one does."""

    @property
    def over(self) -> bool:
        """Whether it will not run again, unless it is revived."""
        return self.state is STOPPED

    @property
    def phase(self) -> str:
        """How administration calls it: running, restarting or undefined (present, and not running)."""
        if self.state is RESTARTING or (self.failing and self.state in {STARTING, DOWN}):
            return "restarting"
        return "undefined" if self.state in {STOPPED, NEW} else "running"

    @abc.abstractmethod
    def down(self, reason: ExitReason) -> Down:
        """The record that monitors get."""

    @abc.abstractmethod
    def _closed(self) -> None:
        """It will not run again, unless it is revived."""

    # ------------------------------------------------------------ waiting for a change
    def _notify(self) -> None:
        lot, self._changed = self._changed, None  # most children are waited for once, if at all
        if lot is not None:
            lot.unpark_all()

    def _started(self) -> None:
        """The life that now runs has started: tell who waits for it."""
        self.begun, self.failing = True, False
        self.started_at = self.system.clock.now()
        if self.state is STARTING:
            self.state = RUNNING
        self._notify()

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = trio.lowlevel.ParkingLot()
        await self._changed.park()

    async def wait_started(self) -> None:
        """Wait until this life has started. Bounded by the start itself; a stop ends it.

        Raises:
            StartFailed: the start raised; the cause is attached.
            Ignore: it declined to start.
        """
        while not self.begun and self.state.alive:
            await self._change()
        error = self._start_error
        if self.begun:
            return
        if isinstance(error, Ignore):
            raise error
        if error is not None:
            raise self._start_failed(error) from error

    def _start_failed(self, error: BaseException) -> StartFailed:
        return StartFailed(f"{self.kind} {self.name!r} did not start: {said(error)}", actor=self.name)

    async def wait_down(self) -> None:
        """Wait until the life that now runs has ended."""
        life = self.incarnation
        while self.incarnation == life and self.state.alive:
            await self._change()

    async def wait_stopped(self) -> None:
        """Wait until it has stopped for good. Bound it with a cancel scope of your own."""
        await trio.lowlevel.checkpoint()
        while self.state is not STOPPED:
            await self._change()

    # ------------------------------------------------------------ one life
    def begin(self, nursery: trio.Nursery) -> None:
        """Start the next life as a task of `nursery`. Returns at once; see `wait_started`."""
        self.state = STARTING
        self.incarnation += 1
        self.started_at = self.system.clock.now()
        self._start_error = self._stop_reason = None
        self._spares_on_stop = self._torn = self.begun = False
        # In the system's own context: contextvars of whoever spawned it, or crashed it, are none of its business.
        start = functools.partial(nursery.start_soon, self._life_of_its_own(), name=f"{self.name}#{self.incarnation}")
        self.system.context.run(start)

    def start_refused(self, error: BaseException) -> None:
        """A start that could not even begin."""
        self._start_error = error
        self.begun, self.failing = False, True
        self.state = DOWN

    def request_stop(self, reason: ExitReason = SHUTDOWN) -> None:
        """Ask the running life to end after what it has in hand."""
        if self._stop_reason is None:
            self._stop_reason = reason
        if self.state is STARTING or self.state is RUNNING:
            self.state = STOPPING
        if self.spec.shutdown is Shutdown.BRUTAL:
            self.kill()
        else:
            self._poke()

    def kill(self, *, on_stop: bool = False) -> None:
        """Cancel the running life without grace."""
        self._spares_on_stop = not on_stop
        if self._cut(f"{self.name} is being stopped") and self.state is not STOPPING:
            self.expect_end()  # else somebody stops it, and has an eye on it
        self._poke()

    async def stop(self, reason: ExitReason = SHUTDOWN) -> None:
        """End it for good: polite for the child's own time, then cancelled; always waits for the end.

        Cancelled: the stop has been requested and goes on; the supervisor's nursery waits for it.
        """
        await self.take_down(reason)
        self.finish()

    async def take_down(self, reason: ExitReason = SHUTDOWN) -> None:
        """End the present life as `stop` does; it may be started again, and what waits for it goes on waiting."""
        if self.state.alive:
            self.request_stop(reason)
            if self._alarm is None and (grace := self.spec.grace) != math.inf:
                life = self.incarnation
                self._alarm = self.system.alarms.at(
                    self.system.clock.now() + grace, lambda: self._out_of_patience(life)
                )
            await self.wait_down()

    def lose_patience(self) -> None:
        """Cancel what has not stopped politely by now."""
        self._out_of_patience(self.incarnation)

    def _out_of_patience(self, life: int) -> None:
        if self.incarnation != life or not self.state.alive:
            return
        self._alarm = None
        if self.spec.shutdown is not Shutdown.BRUTAL:
            self.kill(on_stop=True)
        self.expect_end()

    def expect_end(self) -> None:
        """It has been cancelled: if it has not ended when its clean-up must be over, say so."""
        if self._alarm is None and self.state.alive:
            life, waited = self.incarnation, self.system.cleanup_bound + 1.0
            self._alarm = self.system.alarms.at(
                self.system.clock.now() + waited, lambda: self._unstoppable(life, waited)
            )

    def set_alarm(self, alarm: Alarm | None) -> None:
        """Keep one alarm that is called off when this life or this wait ends."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = alarm

    def _unstoppable(self, life: int, waited: Seconds) -> None:
        if self.incarnation == life and self.state.alive:
            stack = task_stack(self._task) if self._task is not None else ""
            self.system.log.error("[%s] ignores its cancellation; it is at:\n%s", self.name, stack)
            events = self.system.event_bus
            if events.active:
                now = self.system.clock.now()
                events.emit(Unstoppable(at=now, actor=self.name, waited=waited, stack=stack))

    def _end(self, reason: ExitReason, handling: tuple[str, ...] = ()) -> None:
        """A life is over: note it, tell who waits or watches, and let the supervisor decide."""
        self._task = None
        self.set_alarm(None)
        self.last_end = reason
        if reason.kind is ExitKind.CRASHED:
            self.crashes += 1
            text = said(cast("BaseException", reason.error))
            self.system.log.warning("[%s] incarnation %d crashed: %s", self.name, self.incarnation, text)
        events = self.system.event_bus
        if events.active:
            now, number = self.system.clock.now(), self.incarnation
            events.emit(ActorEnded(at=now, actor=self.name, incarnation=number, reason=reason, handling=handling))
        if not self.begun and self._start_error is None:
            self._start_error = ActorStopped(f"{self.kind} {self.name!r} was stopped while it started", actor=self.name)
        self.failing = not self.begun and not isinstance(self._start_error, Ignore)
        stopping = self.state is STOPPING
        self.state = DOWN
        self._tell_monitors(reason)
        if not stopping and not self._torn:
            self._report(reason)
        self._notify()

    def _tell_monitors(self, reason: ExitReason) -> None:
        if self.monitors:
            down = self.down(reason)
            for tell in tuple(self.monitors.values()):
                tell(down)

    def drop_monitors(self) -> None:
        """It is gone for good: nobody need keep it to be told."""
        for watcher in self.monitors or ():
            watching = getattr(watcher, "watching", None)
            if watching is not None:
                watching.pop(self, None)
        self.monitors = None

    def _report(self, reason: ExitReason) -> None:
        if self.supervisor is not None:
            self.supervisor.child_down(self, reason)

    def keep(self, report: CrashReport) -> None:
        """Add to the ring of crash reports."""
        if self.reports is None:
            self.reports = deque(maxlen=REPORTS)
        self.reports.append(report)

    def finish(self) -> None:
        """It will not run again unless it is revived."""
        if self.state is STOPPED:
            return
        self.state = STOPPED
        self.set_alarm(None)
        if self.last_end is None:  # it has never lived
            self.last_end = SHUTDOWN
            self._tell_monitors(SHUTDOWN)
        self._closed()
        self._notify()


@attrs.frozen(kw_only=True)
class ActorNode:
    """One actor or supervisor of the live tree."""

    name: str
    kind: str
    state: str
    incarnation: int = 1
    children: tuple[ActorNode, ...] = ()
