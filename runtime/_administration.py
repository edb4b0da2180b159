"""What others hold of a supervisor: its children by id, and the calls that change them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal, cast

import attrs

from ._calls import Calls, require_outside
from ._child import Child
from ._errors import ChildError
from ._lazy import Dormant
from ._monitor import Monitor
from ._shown import shown
from ._spec import ChildSpec, SupervisorSpec
from ._supervisor import Supervisor

if TYPE_CHECKING:
    from ._actor import Actor
    from ._ref import Ref

ChildState = Literal["running", "restarting", "undefined"]


@attrs.frozen(kw_only=True)
class ChildInfo:
    """One child of a supervisor; `ref` is None while it does not run (`undefined`) or is between two lives."""

    id: str
    ref: Ref[Actor] | SupervisorRef | None
    state: ChildState
    kind: Literal["actor", "supervisor"]


@attrs.frozen(kw_only=True)
class ChildCounts:
    """How many children a supervisor has: specs, of these alive, and of what kind they are, alive or not."""

    specs: int
    active: int
    supervisors: int
    workers: int


class SupervisorRef:
    """The address of a supervisor; comes from the system. It stays valid when the supervisor is restarted."""

    __slots__ = ("_calls", "_supervisor")

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._calls: Calls = Calls(supervisor)

    def __repr__(self) -> str:
        return f"<SupervisorRef {self.name!r} {self._supervisor.state.value} #{self.incarnation}>"

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._supervisor.name

    @property
    def incarnation(self) -> int:
        """1 for the first life, one more after each restart."""
        return self._supervisor.incarnation

    # ------------------------------------------------------------ looking
    def child(self, child_id: str) -> Ref[Actor]:
        """The ref of a child that is an actor. Raises `LookupError` naming the children there are."""
        child = self._supervisor.children.get(child_id)
        if child is None or isinstance(child, Supervisor):
            known = ", ".join(self._supervisor.children) or "none"
            raise LookupError(f"supervisor {self.name!r} has no actor {child_id!r}; its children are: {known}")
        return cast("Ref[Actor]", child.ref)

    def which_children(self) -> tuple[ChildInfo, ...]:
        """The children, newest first. Raises `ActorStopped` when the supervisor has ended."""
        self._supervisor.require_alive()
        return tuple(_info(key, child) for key, child in reversed(self._supervisor.children.items()))

    def count_children(self) -> ChildCounts:
        """How many there are. Raises `ActorStopped` when the supervisor has ended."""
        self._supervisor.require_alive()
        children = self._supervisor.children.values()
        dynamic = self._supervisor._is_dynamic
        supervisors = sum(child.kind == "supervisor" for child in children)
        return ChildCounts(
            specs=1 if dynamic else len(children),
            active=sum(_phase(child) == "running" for child in children),
            supervisors=supervisors,
            workers=len(children) - supervisors,
        )

    def get_childspec(self, which: str | Ref[Actor]) -> ChildSpec:
        """The spec of a child, defaults filled in.

        Raises:
            ChildError: `not_found`.
            ActorStopped: the supervisor has ended.
        """
        supervisor = self._supervisor
        supervisor.require_alive()
        template = supervisor.flags.children[0] if supervisor._is_dynamic else None
        if template is not None and which == template.id:
            return template
        child = self._calls.known(which) if isinstance(which, str) else self._calls.child_of(which)
        if child is None:
            raise ChildError(f"{which!r} is no child any more", actor=self.name, reason="not_found")
        return child.spec if template is None else template

    # ------------------------------------------------------------ changing
    async def start_child(self, *args: object) -> Ref[Actor] | SupervisorRef | None:
        """Start one more child and wait for its start; None if it declined (`Ignore`).

        Args:
            *args: A `ChildSpec`; for a dynamic supervisor what its one spec's `start` is called with.

        Cancelled: the child is stopped again.

        Raises:
            StartFailed: it did not start; its spec is dropped.
            ChildError: `already_started` (its ref is in `.ref`) or `already_present`.
            ActorStopped: the supervisor has ended.
        """
        supervisor = self._supervisor
        if supervisor._is_dynamic:
            template = supervisor.flags.children[0]
            spec = template
            if args:
                if not callable(template.start):
                    raise TypeError(f"the children of {self.name!r} are supervisors: start_child() takes no arguments")
                spec = attrs.evolve(template, start=functools.partial(template.start, *args))
            return _ref(await self._calls.start_dynamic(spec))
        if len(args) != 1 or not isinstance(args[0], ChildSpec):
            raise TypeError(
                f"{self.name!r}.start_child{args!r}: give one ChildSpec, as in start_child(ChildSpec(id='a', start=A))"
            )
        return _ref(await self._calls.start_child(args[0]))

    async def terminate_child(self, which: str | Ref[Actor] | SupervisorRef) -> None:
        """Stop a child within its own time; its spec stays (unless it is temporary), and nothing restarts it.

        Harmless when it does not run. Never counts as a restart, never triggers `auto_shutdown`.
        Cancelled: the stop goes on.

        Raises:
            ChildError: `not_found`; `simple_one_for_one` for an id, since those children have none.
            ActorStopped: the supervisor has ended.
        """
        await self._calls.terminate(which)

    async def restart_child(self, child_id: str) -> Ref[Actor] | SupervisorRef | None:
        """Start a child that does not run; None if it declined. Cancelled: it is stopped again.

        Raises:
            StartFailed: it did not start; its spec stays.
            ChildError: `running`, `restarting`, `not_found`, or `simple_one_for_one`.
            ActorStopped: the supervisor has ended.
        """
        return _ref(await self._calls.restart(child_id))

    async def delete_child(self, child_id: str) -> None:
        """Forget the spec of a child that does not run.

        Raises:
            ChildError: `running`, `restarting`, `not_found`, or `simple_one_for_one`.
            ActorStopped: the supervisor has ended.
        """
        await self._calls.delete(child_id)

    async def change(self, spec: SupervisorSpec) -> None:
        """Put new flags and specs in place of the old, for everything that happens from now on.

        Children that run are kept, also those that `spec` does not name any more; new ones are present and not
        running (`restart_child` starts them). A `spec` that cannot be built cannot be given, so a bad one does no harm.

        Raises:
            ChildError: `simple_one_for_one`: it cannot become or cease to be dynamic.
            ActorStopped: the supervisor has ended.
        """
        if not isinstance(spec, SupervisorSpec):
            raise TypeError(f"{self.name!r}.change({shown(spec)}): give a SupervisorSpec")
        await self._calls.change(spec)

    async def stop(self) -> None:
        """Stop the children in reverse order and wait for it. Cancelled: the stop goes on without you."""
        supervisor = self._supervisor
        require_outside(supervisor, "stop")
        if supervisor.supervisor is not None:
            supervisor.supervisor.stop_soon(supervisor)
        await supervisor.wait_stopped()  # bounded by the children's own shutdown times

    async def wait_stopped(self) -> None:
        """Wait until it has ended for good. Bound it with a cancel scope of your own."""
        await self._supervisor.wait_stopped()

    def monitor(self) -> Monitor:
        """Watch it end: `with ref.monitor() as m: down = await m.down()`."""
        return Monitor(self._supervisor)

    def child_of(self, supervisor: Supervisor) -> Child | None:  # noqa: ARG002 - as `Ref.child_of`
        """What this ref stands for."""
        return self._supervisor


def _phase(child: Child | Dormant) -> ChildState:
    return "running" if isinstance(child, Dormant) else cast("ChildState", child.phase)


def _info(key: str, child: Child | Dormant) -> ChildInfo:
    phase = _phase(child)
    ref = child.ref if phase == "running" else None
    kind: Literal["actor", "supervisor"] = "supervisor" if child.kind == "supervisor" else "actor"
    return ChildInfo(id=key, ref=ref, state=phase, kind=kind)


def _ref(child: Child | None) -> Ref[Actor] | SupervisorRef | None:
    return None if child is None else child.ref
