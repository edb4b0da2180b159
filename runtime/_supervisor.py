"""A supervisor: starts its children in order, restarts those that crash, stops them in reverse.

The decisions are steps of a state machine (`child_down` is called by a child's task at its very end and returns at
once), never nested loops: a supervisor in the middle of a restart storm still answers, stops and is stopped. A child's
exception never enters this nursery; it arrives as an `ExitReason`.

Restart intensity as in OTP: `intensity` restarts within `period` seconds are allowed, one more and the supervisor gives
up, stops its children and fails upwards. A start that fails during a restart counts like a crash. Beyond OTP: an
optional backoff with seeded jitter between crash and restart; messages wait meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs
import trio

from ._cell import Cell, CellState, restarts
from ._clock import Seconds
from ._errors import RestartIntensityExceeded, StartFailed
from ._events import ActorRestarting, Escalated
from ._intensity import RestartWindow, backoff_delay
from ._spec import SHUTDOWN, ChildSpec, ExitReason, Restart, SupervisorSpec

if TYPE_CHECKING:
    from ._actor import Actor
    from ._ref import Ref
    from ._system import System


@attrs.frozen(kw_only=True)
class ActorNode:
    """One actor or supervisor of the live tree."""

    name: str
    kind: str
    state: str
    incarnation: int = 1
    children: tuple[ActorNode, ...] = ()


class Supervisor:
    """See the head of this file. `run` is its task; everything else may be called from any task of the system."""

    def __init__(
        self,
        system: System,
        parent: Supervisor | None,
        name: str,
        *,
        intensity: int = 1,
        period: Seconds = 5.0,
    ) -> None:
        self.system = system
        self.parent = parent
        self.name = name
        self.window = RestartWindow(intensity, period)
        self.children: dict[str, Cell] = {}
        self.supervisors: list[Supervisor] = []
        self.failure: RestartIntensityExceeded | None = None
        self.stopping = False
        self.stopped = trio.Event()
        self._stop = trio.Event()
        self._nursery: trio.Nursery | None = None

    # ------------------------------------------------------------ its task
    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live until told to stop; then stop the children in reverse order of their start."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await self._stop.wait()
                await self._stop_children()
                self._nursery.cancel_scope.cancel(reason=f"supervisor {self.name} has stopped")
        finally:
            self.stopping = True
            self.stopped.set()

    def request_stop(self) -> None:
        """Begin to stop; see `stopped`."""
        self.stopping = True
        self._stop.set()

    async def _stop_children(self) -> None:
        for supervisor in reversed(self.supervisors):
            supervisor.request_stop()
            await supervisor.stopped.wait()  # bounded by its children's shutdown times
        for cell in reversed(tuple(self.children.values())):
            await cell.stop(SHUTDOWN)

    # ------------------------------------------------------------ children
    async def start_child(self, spec: ChildSpec, *, name: str, window: RestartWindow | None = None) -> Cell:
        """Start a child and wait for its `on_start`. Cancelled: the child is stopped again.

        Raises:
            StartFailed: it did not start (its name and id are free again), or this supervisor is stopping.
        """
        if self.stopping or self._nursery is None:
            raise StartFailed(
                f"supervisor {self.name!r} has stopped or is stopping: nothing can be started under it",
                actor=name,
            )
        cell = Cell(self.system, self, spec, name)
        cell.window = window
        self.system.registry.register(cell)
        if spec.id in self.children:
            self.system.registry.forget(cell)
            raise StartFailed(f"supervisor {self.name!r} already has a child {spec.id!r}", actor=name)
        self.children[spec.id] = cell
        cell.begin(self._nursery)
        try:
            await cell.wait_started()
        except StartFailed:
            self.forget(cell)
            raise
        except BaseException:
            self.stop_soon(cell)
            raise
        return cell

    def find_peer(self, child_id: str) -> Ref[Actor]:
        """The child with that id here or further up."""
        supervisor: Supervisor | None = self
        known: list[str] = []
        while supervisor is not None:
            cell = supervisor.children.get(child_id)
            if cell is not None:
                return cell.ref
            known += supervisor.children
            supervisor = supervisor.parent
        raise LookupError(
            f"there is no actor {child_id!r} under {self.name!r}; there are: {', '.join(known) or 'none'}"
        )

    def forget(self, cell: Cell) -> None:
        """Remove a child that will not run again."""
        cell.finish()
        if self.children.get(cell.spec.id) is cell:
            del self.children[cell.spec.id]

    def stop_soon(self, cell: Cell) -> None:
        """Stop a child for good, in a task of this supervisor."""
        if self._nursery is None or self.stopped.is_set():
            cell.finish()
            return
        cell.request_stop()
        self._nursery.start_soon(self._stop_and_forget, cell)

    async def _stop_and_forget(self, cell: Cell) -> None:
        await cell.stop(SHUTDOWN)
        self.forget(cell)

    # ------------------------------------------------------------ the end of a child
    def child_down(self, cell: Cell, reason: ExitReason) -> None:
        """An incarnation of `cell` has ended: restart it, let it rest, or give up."""
        if self.stopping or cell.state in {CellState.STOPPING, CellState.STOPPED}:
            return  # whoever stops it waits for it
        if cell.incarnation == 1 and cell.state is CellState.STARTING:
            return  # `start_child` waits and reports
        if not restarts(cell.spec.restart, reason):
            cell.finish()
            if cell.spec.restart is Restart.TEMPORARY:
                self.forget(cell)
            return
        self._restart(cell, reason)

    def _restart(self, cell: Cell, reason: ExitReason) -> None:
        now = self.system.clock.now()
        window = cell.window or self.window
        cell.failures_in_a_row += 1
        if self._nursery is None or not window.admit(now):
            self._give_up(cell, reason, window)
            return
        delay = backoff_delay(cell.spec.backoff, cell.failures_in_a_row, self.system.clock.random)
        cell.state = CellState.RESTARTING
        events = self.system.event_bus
        if events.active:
            events.emit(ActorRestarting(at=now, actor=cell.name, incarnation=cell.incarnation + 1, delay=delay))
        if delay > 0:
            self._nursery.start_soon(self._restart_later, cell, delay)
        else:
            cell.begin(self._nursery)

    async def _restart_later(self, cell: Cell, delay: Seconds) -> None:
        await trio.sleep(delay)
        if cell.state is CellState.RESTARTING and not self.stopping and self._nursery is not None:
            cell.begin(self._nursery)

    def _give_up(self, cell: Cell, reason: ExitReason, window: RestartWindow) -> None:
        error = RestartIntensityExceeded(
            f"supervisor {self.name!r} gave up on {cell.name!r}: crash {cell.crashes} came after "
            f"{window.recent(self.system.clock.now())} restarts within {window.period:g} s "
            f"(allowed: {window.intensity}). Last crash: {reason.error!r}. "
            "Fix that, or raise `intensity` in its spec.",
            actor=cell.name,
        )
        error.__cause__ = reason.error
        cell.finish()
        self.fail(error)

    def fail(self, error: RestartIntensityExceeded) -> None:
        """Stop, and fail upwards: to the parent, at the root to the body of `open_system`."""
        if self.failure is not None:
            return
        self.failure = error
        events = self.system.event_bus
        if events.active:
            now = self.system.clock.now()
            events.emit(Escalated(at=now, actor=self.name, child=error.actor, message=str(error)))
        self.request_stop()
        if self.parent is not None:
            self.parent.fail(error)
        else:
            self.system.fail(error)

    def node(self) -> ActorNode:
        """This part of the live tree, supervisors first, children in start order."""
        below = [s.node() for s in self.supervisors if not s.stopped.is_set()]
        below += [
            ActorNode(name=c.name, kind="actor", state=c.state.value, incarnation=c.incarnation)
            for c in self.children.values()
        ]
        state = "stopped" if self.stopped.is_set() else "stopping" if self.stopping else "running"
        return ActorNode(name=self.name, kind="supervisor", state=state, children=tuple(below))


class SupervisorRef:
    """What `system.start_supervisor` gives: its children by id, and how to stop it."""

    __slots__ = ("_supervisor",)

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._supervisor.name

    def child(self, child_id: str) -> Ref[Actor]:
        """The ref of a child. Raises `LookupError` naming the children there are."""
        cell = self._supervisor.children.get(child_id)
        if cell is None:
            known = ", ".join(self._supervisor.children) or "none"
            raise LookupError(f"supervisor {self.name!r} has no child {child_id!r}; there are: {known}")
        return cell.ref

    def which_children(self) -> tuple[str, ...]:
        """The ids of the children, newest first."""
        return tuple(reversed(self._supervisor.children))

    async def stop(self) -> None:
        """Stop the children in reverse order and wait for it. Cancelled: the stop goes on without you."""
        self._supervisor.request_stop()
        await self._supervisor.stopped.wait()


async def start_children(supervisor: Supervisor, spec: SupervisorSpec, names: Iterable[str]) -> None:
    """Start the children of `spec` in order; if one fails, stop those before it in reverse and raise."""
    try:
        for child, name in zip(spec.children, names, strict=True):
            await supervisor.start_child(child, name=name)
    except BaseException:
        supervisor.request_stop()
        with trio.CancelScope(shield=True):  # bounded by the children's own shutdown times
            await supervisor.stopped.wait()
        raise
