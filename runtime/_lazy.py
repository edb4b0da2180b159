"""A lazy actor before its first message: a name, how to make it, and nothing else.

Its ref has no cell yet; the first use of the ref makes one (`Ref.__getattr__`), the first message begins its life.
Until then it costs no task, no mailbox and no spec of its own: all lazy actors with the same options share one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from ._cell import ActorStatistics, Cell
from ._child import ActorNode, CellState
from ._intensity import RestartWindow
from ._spec import SHUTDOWN, ChildSpec, ExitReason

if TYPE_CHECKING:
    from ._actor import Actor
    from ._ref import Ref
    from ._supervisor import Supervisor


class Dormant:
    """An actor that nobody has sent anything to."""

    __slots__ = ("name", "options", "ref", "start", "supervisor")

    def __init__(
        self,
        supervisor: Supervisor,
        name: str,
        start: Callable[[], Actor],
        options: tuple[ChildSpec, int, float],
    ) -> None:
        from ._ref import LazyRef

        self.supervisor: Supervisor = supervisor
        self.name: str = name
        self.start: Callable[[], Actor] = start
        self.options: tuple[ChildSpec, int, float] = options  # the spec but for id and start; intensity; period
        self.ref: Ref[Actor] = LazyRef(self)

    def materialise(self) -> Cell:
        """Make its cell, asleep: the first message begins its life. In a system that stops it is a stopped one."""
        spec, intensity, period = self.options
        spec = attrs.evolve(spec, id=self.name, start=self.start)
        return self.supervisor.materialise(self, spec, RestartWindow(intensity, period))

    # ------------------------------------------------------------ what a supervisor may want of any child
    kind = "actor"
    kept = False
    state = CellState.NEW
    incarnation = 0

    @property
    def spec(self) -> ChildSpec:
        """The template that its spec will be made from."""
        return self.options[0]

    async def stop(self, reason: ExitReason = SHUTDOWN) -> None:  # noqa: ARG002 - like every child's
        """There is nothing to stop."""
        self.finish()

    def request_stop(self, reason: ExitReason = SHUTDOWN) -> None:  # noqa: ARG002 - like every child's
        """There is nothing to stop."""
        self.finish()

    async def wait_down(self) -> None:
        """It does not run."""

    def kill(self, *, on_stop: bool = False) -> None:
        """There is nothing to kill."""

    def finish(self) -> None:
        """Its ref leads to a stopped actor from now on."""
        self.stopped_cell()

    def stopped_cell(self) -> Cell:
        """A cell that never lives, for whoever still holds the ref."""
        ref = self.ref
        cell = Cell(self.supervisor.system, self.supervisor, self.options[0], self.name, ref)
        self.supervisor.system.registry.forget(self)
        ref.bind(cell)
        cell.finish()
        return cell

    def node(self) -> ActorNode:
        """Its part of the tree."""
        return ActorNode(name=self.name, kind="actor", state="new", incarnation=0)

    def statistics(self) -> ActorStatistics:
        """A record of a life that has not begun."""
        return ActorStatistics(
            name=self.name,
            state="new",
            incarnation=0,
            queued=0,
            senders=0,
            capacity=self.spec.mailbox.capacity,
            handled=0,
            crashes=0,
            dead_letters=0,
        )
