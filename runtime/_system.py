"""A system of actors: everything that was spawned in `open_system` ends before its block does.

The actors live behind a shield: when the scope around the block is cancelled, the body of the block gets the
`Cancelled` and its end stops the actors in order, each with its own time; without the shield all of them would be
cut down at the same instant and no `on_stop` could ask anybody anything.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple, cast

import attrs
import trio

from ._actor import Actor
from ._cell import ActorStatistics
from ._clock import Clock, Seconds
from ._errors import RestartIntensityExceeded, TrouperError
from ._events import EventBus, EventStream
from ._intensity import RestartWindow
from ._ref import Ref
from ._registry import Registry
from ._spec import Backoff, ChildSpec, Mailbox, Restart, SupervisorSpec
from ._supervisor import ActorNode, Supervisor, SupervisorRef, start_children

A = TypeVar("A", bound=Actor)
Ts = TypeVarTuple("Ts")


@attrs.frozen(kw_only=True)
class SystemStatistics:
    """Counters of every living actor."""

    name: str
    actors: tuple[ActorStatistics, ...]


class System:
    """Where actors live; comes from `open_system`."""

    def __init__(self, name: str, *, ask_timeout: Seconds, cleanup_bound: Seconds, clock: Clock) -> None:
        self.name = name
        self.ask_timeout = ask_timeout
        self.cleanup_bound = cleanup_bound
        self.clock = clock
        self.registry = Registry()
        self.event_bus = EventBus()
        self.log = logging.getLogger("trouper.runtime")
        self.failure: RestartIntensityExceeded | None = None
        self.root = Supervisor(self, None, name, intensity=0)
        self._body = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._traces = 0

    async def spawn(
        self,
        actor: Callable[[*Ts], A],
        *args: *Ts,
        name: str | None = None,
        mailbox: Mailbox | None = None,
        restart: Restart = Restart.PERMANENT,
        intensity: int = 3,
        period: Seconds = 5.0,
        backoff: Backoff | None = None,
        shutdown: Seconds = 5.0,
    ) -> Ref[A]:
        """Start an actor under the root and give its ref once `on_start` has run.

        Args:
            actor: The actor's class, or whatever gives an actor; called again for each restart.
            *args: Its positional arguments (keywords through `functools.partial`).
            name: Under which it is registered; by default made from the class's name.
            mailbox: How many messages may wait.
            restart: When it is started again.
            intensity: How many restarts within `period` seconds are allowed; each spawn has its own budget.
            period: See `intensity`.
            backoff: How long to wait before a restart.
            shutdown: Seconds a polite stop may take.

        Cancelled: the actor is stopped again.

        Raises:
            StartFailed: the constructor or `on_start` raised, or the name is taken.
        """
        stem = getattr(actor, "__name__", None) or type(actor).__name__
        name = name if name is not None else self.registry.unique(stem.lower())
        spec = ChildSpec(
            id=name,
            start=functools.partial(actor, *args),
            restart=restart,
            shutdown=shutdown,
            backoff=backoff,
            mailbox=mailbox if mailbox is not None else Mailbox(),
        )
        cell = await self.root.start_child(spec, name=name, window=RestartWindow(intensity, period))
        return cast("Ref[A]", cell.ref)

    async def start_supervisor(self, spec: SupervisorSpec, *, name: str | None = None) -> SupervisorRef:
        """Start a supervisor and its children, in order; gives its ref once all have started.

        Raises:
            StartFailed: a child did not start; those before it were stopped again.
        """
        if self._nursery is None or self.root.stopping:
            raise RuntimeError("the system is closed: start supervisors inside `async with open_system()`")
        name = name if name is not None else self.registry.unique("supervisor")
        taken = {s.name for s in self.root.supervisors if not s.stopped.is_set()}
        stem, n = name, 2
        while name in taken:
            name, n = f"{stem}-{n}", n + 1
        supervisor = Supervisor(self, self.root, name, intensity=spec.intensity, period=spec.period)
        await self._nursery.start(supervisor.run)
        self.root.supervisors[:] = [s for s in self.root.supervisors if not s.stopped.is_set()]
        self.root.supervisors.append(supervisor)
        await start_children(supervisor, spec, [f"{name}/{child.id}" for child in spec.children])
        return SupervisorRef(supervisor)

    def find(self, name: str) -> Ref[Actor] | None:
        """The actor with that name, or None."""
        cell = self.registry.find(name)
        return cell.ref if cell is not None else None

    async def wait_registered(self, name: str) -> Ref[Actor]:
        """Wait until an actor of that name exists. Bound it with a cancel scope of your own."""
        return (await self.registry.wait_registered(name)).ref

    def events(self, capacity: int = 1024) -> EventStream:
        """A bounded subscription to what happens: `with system.events() as events: async for event in events`."""
        return self.event_bus.open(capacity)

    def tree(self) -> ActorNode:
        """The live supervision tree."""
        return self.root.node()

    def statistics(self) -> SystemStatistics:
        """Counters of every living actor."""
        return SystemStatistics(name=self.name, actors=tuple(c.statistics() for c in self.registry.cells()))

    def incarnations(self) -> dict[str, int]:
        """The incarnation number of every living actor, by name."""
        return {cell.name: cell.incarnation for cell in self.registry.cells()}

    async def stop(self) -> None:
        """Stop every actor in reverse order of its start and wait for it."""
        self.root.request_stop()
        await self.root.stopped.wait()

    def fail(self, error: RestartIntensityExceeded) -> None:
        """The root has given up: cancel the body of `open_system`, which then raises `error`."""
        if self.failure is None:
            self.failure = error
            self._body.cancel(reason=str(error))

    def new_trace(self) -> str:
        """An id for a message that nobody's message caused."""
        self._traces += 1
        return f"{self.name}-{self._traces}"

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """The system's own task: the root and the supervisors under it, behind a shield."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as self._nursery:
                await self._nursery.start(self.root.run)
                task_status.started()


@asynccontextmanager
async def open_system(
    name: str = "system",
    *,
    ask_timeout: Seconds = 60.0,
    cleanup_bound: Seconds = 5.0,
    seed: int | None = None,
) -> AsyncGenerator[System, None]:
    """A system of actors for the length of an `async with` block.

    Args:
        name: For logs and the tree.
        ask_timeout: How long an ask made outside of any handler may take when it names no timeout.
        cleanup_bound: How long the `on_stop` of one actor may take.
        seed: Makes the jitter of backoffs repeatable.

    However the block ends, every actor is stopped before it does: in reverse order of start, each with its own
    shutdown time. Raises what the block raises, as itself.

    Raises:
        RestartIntensityExceeded: a root actor crashed more often than allowed; the block was cancelled.
    """
    system = System(name, ask_timeout=ask_timeout, cleanup_bound=cleanup_bound, clock=Clock.seeded(seed))
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(system.run)
            try:
                with system._body:
                    yield system
            finally:
                with trio.CancelScope(shield=True):  # bounded: each child has its own shutdown time
                    await system.stop()
    except BaseExceptionGroup as group:
        raised = _unwrap(group)
    finally:
        system.event_bus.close()
    if system.failure is not None and (raised is None or isinstance(raised, TrouperError)):
        raise system.failure
    if raised is not None:
        raise raised


def _unwrap(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception our nursery wrapped; the group itself if there are several."""
    return group.exceptions[0] if len(group.exceptions) == 1 else group
