"""The administration calls of a supervisor, one after another: as in OTP, where it is one process that answers them.

They take turns with each other and with the restart of a group (`Supervisor._turn`), so that none sees a child that
another one is in the middle of. What a caller begins is carried through when the caller is cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import trio

from ._cell import Cell
from ._child import STARTING, Child
from ._deadline import current
from ._errors import AskCycle, ChildError, SpecError, StartFailed
from ._lazy import Dormant
from ._spec import SHUTDOWN, AutoShutdown, ChildSpec, Strategy, SupervisorSpec
from ._supervisor import Supervisor

if TYPE_CHECKING:
    from ._actor import Actor
    from ._administration import SupervisorRef
    from ._ref import Ref


def require_outside(child: Child | Dormant, call: str) -> None:
    """An actor that waits for its own end, or for the end of what it is in, would wait for ever."""
    envelope = current.get()
    while envelope is not None:
        inside: Child | None = envelope.cell
        while inside is not None:
            if inside is child:
                raise AskCycle(
                    f"{call}({child.spec.id!r}) from within {inside.name!r} would wait for its own end. "
                    "Use `self.ctx.exit()`, or let somebody outside of it call.",
                    actor=child.name,
                    chain=(inside.name, child.name),
                )
            inside = inside.owner if isinstance(inside, Supervisor) and inside.owner else inside.supervisor
        envelope = envelope.origin


class Calls:
    """See the head of this file. Each `SupervisorRef` has one."""

    __slots__ = ("_supervisor",)

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor: Supervisor = supervisor

    def _require_not_starting(self, call: str) -> None:
        """A group starts one child after the other: the `on_start` of one cannot wait for the turn of the next."""
        envelope = current.get()
        cell: Child | None = envelope.cell if envelope is not None else None
        while cell is not None:
            if cell.supervisor is self._supervisor and cell.state is STARTING and self._supervisor._turn.locked():
                raise AskCycle(
                    f"{call} from the `on_start` of {cell.name!r} would wait for that very start. "
                    "Call it from a handler, or start the child under `self._supervisor.ctx`.",
                    actor=self._supervisor.name,
                    chain=(cell.name, self._supervisor.name),
                )
            cell = cell.supervisor

    def known(self, child_id: str) -> Child:
        if self._supervisor._is_dynamic:
            raise ChildError(
                f"the children of {self._supervisor.name!r} are dynamic: they have no ids; call it with a child's ref",
                actor=self._supervisor.name,
                reason="simple_one_for_one",
            )
        child = self._supervisor.children.get(child_id)
        if isinstance(child, Dormant):
            child = child.materialise()
        if child is None:
            known = ", ".join(self._supervisor.children) or "none"
            raise ChildError(
                f"supervisor {self._supervisor.name!r} has no child {child_id!r}; there are: {known}",
                actor=self._supervisor.name,
                reason="not_found",
            )
        return child

    @trio.lowlevel.enable_ki_protection
    async def start_child(self, spec: ChildSpec) -> Child | None:
        """`SupervisorRef.start_child` of an ordinary supervisor."""
        self._supervisor._require_running()
        if spec.significant and self._supervisor.flags.auto_shutdown is AutoShutdown.NEVER:
            raise SpecError(
                [f"child {spec.id!r} is significant, which means nothing under AutoShutdown.NEVER; leave it out"],
                spec=f"start_child of supervisor {self._supervisor.name!r}",
            )
        self._require_not_starting("start_child")
        async with self._supervisor._turn:
            self._supervisor._require_running()
            return await self._supervisor.start_child(spec, name=f"{self._supervisor.name}/{spec.id}")

    @trio.lowlevel.enable_ki_protection
    async def start_dynamic(self, spec: ChildSpec) -> Child | None:
        """`SupervisorRef.start_child` of a dynamic one: not one at a time, its children do not depend on each other."""
        self._supervisor._require_running()
        self._supervisor._numbers += 1
        name = f"{self._supervisor.name}/{spec.id}-{self._supervisor._numbers}"
        self._supervisor.require_open(name)
        child: Child
        if isinstance(spec.start, SupervisorSpec):
            child = Supervisor(self._supervisor.system, self._supervisor, spec, name, spec.start)
        else:
            child = Cell(self._supervisor.system, self._supervisor, spec, name)
            self._supervisor.system.registry.register(child)
        self._supervisor.children[name] = child
        return child if await self._supervisor._start(child, added=True) else None

    def child_of(self, ref: Ref[Actor] | SupervisorRef) -> Child | None:
        """The child behind a ref; None for one that was a child and is gone."""
        child = ref.child_of(self._supervisor)
        if child is not None and self._supervisor.children.get(self._supervisor.key_of(child)) is child:
            return child
        if child is not None and child.supervisor is self._supervisor:
            return None
        raise ChildError(
            f"{ref!r} is no child of supervisor {self._supervisor.name!r}",
            actor=self._supervisor.name,
            reason="not_found",
        )

    @trio.lowlevel.enable_ki_protection
    async def terminate(self, which: str | Ref[Actor] | SupervisorRef) -> None:
        """`SupervisorRef.terminate_child`: stop a child; its spec stays unless it is temporary, dynamic or spawned."""
        self._supervisor._require_running()
        self._require_not_starting("terminate_child")
        child = self.known(which) if isinstance(which, str) else self.child_of(which)
        if child is not None:
            require_outside(child, "terminate_child")
        if child is not None and self._supervisor._nursery is not None:
            # In a task of our own: if the caller is cancelled the stop goes on, and is carried through.
            ended = trio.Event()
            self._supervisor._nursery.start_soon(self._terminate, child, ended)
            await ended.wait()  # bounded by the child's own shutdown time, and the turns before

    @trio.lowlevel.enable_ki_protection
    async def _terminate(self, child: Child, ended: trio.Event) -> None:
        try:
            async with self._supervisor._turn:
                if self._supervisor.children.get(self._supervisor.key_of(child)) is child:
                    await child.stop(SHUTDOWN)
                    self._supervisor._absorb(child)
                    self._supervisor._rest(child)
        finally:
            ended.set()

    @trio.lowlevel.enable_ki_protection
    async def restart(self, child_id: str) -> Child | None:
        """`SupervisorRef.restart_child`."""
        self._supervisor._require_running()
        self._require_not_starting("restart_child")
        async with self._supervisor._turn:
            self._supervisor._require_running()
            child = self._resting(child_id)
            self._supervisor._revive(child)
            return child if await self._supervisor._start(child, added=False) else None

    @trio.lowlevel.enable_ki_protection
    async def delete(self, child_id: str) -> None:
        """`SupervisorRef.delete_child`."""
        self._supervisor._require_running()
        self._require_not_starting("delete_child")
        async with self._supervisor._turn:
            self._supervisor._require_running()
            self._supervisor.forget(self._resting(child_id))

    def _resting(self, child_id: str) -> Child:
        child = self.known(child_id)
        if child.phase == "restarting":
            raise ChildError(
                f"child {child_id!r} of {self._supervisor.name!r} is being restarted; `terminate_child` it first",
                actor=child.name,
                reason="restarting",
            )
        if child.phase == "running":
            raise ChildError(
                f"child {child_id!r} of {self._supervisor.name!r} is running; `terminate_child` it first",
                actor=child.name,
                reason="running",
                ref=cast("Any", child).ref,
            )
        return child

    @trio.lowlevel.enable_ki_protection
    async def change(self, flags: SupervisorSpec) -> None:
        """New flags and specs, from now on; nobody is started or stopped by it."""
        self._supervisor._require_running()
        async with self._supervisor._turn:
            self._supervisor._require_running()
            if (flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE) is not self._supervisor._is_dynamic:
                raise ChildError(
                    f"supervisor {self._supervisor.name!r} cannot change between SIMPLE_ONE_FOR_ONE and another "
                    "strategy: their children are kept in different ways; start a new one",
                    actor=self._supervisor.name,
                    reason="simple_one_for_one",
                )
            if self._supervisor._is_dynamic:
                self._change_dynamic(flags.children[0])
            else:
                self._change_children(flags)
            self._supervisor.flags = flags
            self._supervisor.spec = attrs.evolve(self._supervisor.spec, start=flags)
            self._supervisor.own_window.intensity, self._supervisor.own_window.period = flags.intensity, flags.period

    def _change_dynamic(self, spec: ChildSpec) -> None:
        for child in self._supervisor.children.values():
            if isinstance(child, Child):
                child.spec = attrs.evolve(spec, start=child.spec.start)

    def _change_children(self, flags: SupervisorSpec) -> None:
        for spec in flags.children:
            present, name = self._supervisor.children.get(spec.id), f"{self._supervisor.name}/{spec.id}"
            if present is None and self._supervisor.system.registry.find(name) is not None:
                raise StartFailed(f"the name {name!r} is taken by another actor; nothing was changed", actor=name)
            if present is not None and (present.kind == "supervisor") is not spec.is_supervisor:
                raise ChildError(
                    f"child {spec.id!r} of {self._supervisor.name!r} is of kind {present.kind} and cannot "
                    "become another; terminate and delete it first. Nothing was changed",
                    actor=name,
                    reason="already_present",
                )
        old, self._supervisor.children = self._supervisor.children, {}
        for spec in flags.children:
            child = old.pop(spec.id, None)
            if isinstance(child, Child):
                self._supervisor._take_spec(child, spec)
                self._supervisor.children[spec.id] = child
            else:
                self._supervisor._make(spec, f"{self._supervisor.name}/{spec.id}").finish()  # present, and not running
        self._supervisor.children.update(old)
