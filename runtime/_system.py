"""A system of actors: everything that was spawned in `open_system` ends before its block does.

The actors live behind a shield: when the scope around the block is cancelled, the body of the block gets the
`Cancelled` and its end stops the actors in order, each with its own time; without the shield all of them would be
cut down at the same instant and no `on_stop` could ask anybody anything.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, TypeVar, TypeVarTuple, cast

import attrs
import trio

from ._actor import Actor
from ._administration import SupervisorRef
from ._alarms import Alarms
from ._async_with import async_with
from ._calls import require_outside
from ._cell import ActorStatistics
from ._child import ActorNode
from ._clock import Clock, Seconds
from ._dead_letters import DeadLetterGate
from ._envelope import Outside, Tell
from ._errors import RestartIntensityExceeded, StartFailed, TrouperError
from ._events import EventBus, EventStream
from ._intensity import RestartWindow
from ._mistakes import awaited, closed_system
from ._ref import Ref
from ._registry import Registry
from ._shown import shown
from ._spawn import spawn_under, template_of
from ._spec import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    Directive,
    Mailbox,
    Restart,
    Shutdown,
    SupervisorSpec,
    Watchdog,
)
from ._supervisor import Supervisor
from ._topics import Feed, Topics

A = TypeVar("A", bound=Actor)
Ts = TypeVarTuple("Ts")


@attrs.frozen(kw_only=True)
class SystemStatistics:
    """Counters of every living actor; `topics` are those somebody subscribes to, `suppressed` dead letters untold."""

    name: str
    actors: tuple[ActorStatistics, ...]
    topics: Mapping[str, int]
    suppressed: int = 0


class System:
    """Where actors live; comes from `open_system`."""

    def __init__(self, name: str, *, ask_timeout: Seconds, cleanup_bound: Seconds, clock: Clock) -> None:
        self.name = name
        self.ask_timeout = ask_timeout
        self.cleanup_bound = cleanup_bound
        self.clock = clock
        self.registry: Registry = Registry()
        self.event_bus: EventBus = EventBus()
        self.alarms: Alarms = Alarms()
        self.topics: Topics = Topics()
        self.letters: DeadLetterGate = DeadLetterGate()
        self.log: logging.Logger = logging.getLogger("trouper.runtime")
        self.outside: Outside = Outside(self)
        self.inline: Outside | None = None
        """Stands for the message in hand while an inline handler runs that was asked from outside of any handler.

        Not in `current`: it runs from its beginning to its end without a switch of tasks, and setting a context
        variable twice costs a tenth of the whole ask.
        """
        self.failure: RestartIntensityExceeded | None = None
        flags = SupervisorSpec(intensity=0)
        self.root: Supervisor = Supervisor(self, None, ChildSpec(id=name, start=flags), name, flags)
        self.root.on_give_up = self.fail
        self.context: contextvars.Context = contextvars.copy_context()  # what every life of every actor begins with
        self._body = trio.CancelScope()
        self._traces = 0
        self._templates: list[tuple[dict[str, Any], int, Seconds, tuple[ChildSpec, int, Seconds]]] = []

    @awaited("system.spawn(Counter)", "counter = await system.spawn(Counter)")
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
        shutdown: Seconds | Shutdown = 5.0,
        lazy: bool = False,
        supervisor: SupervisorRef | None = None,
        directives: Mapping[type[BaseException], Directive] | None = None,
        watchdog: Watchdog | None = None,
    ) -> Ref[A]:
        """Start an actor and give its ref once `on_start` has run.

        Args:
            actor: The actor's class, or whatever gives an actor; called again for each restart.
            *args: Its positional arguments (keywords through `functools.partial`).
            name: Under which it is registered; by default made from the class's name.
            mailbox: How many messages may wait, and what happens to the next one.
            restart: When it is started again.
            intensity: How many restarts within `period` seconds are allowed; each spawn has its own budget.
            period: See `intensity`.
            backoff: How long to wait before a restart.
            shutdown: Seconds a polite stop may take; or `Shutdown.BRUTAL`, `Shutdown.INFINITY`.
            lazy: Give the ref at once; the first message starts the actor, and may get `StartFailed`.
            supervisor: Under whom; the root if None. It is forgotten there when it ends.
            directives: What a crash leads to, by class of error; the nearest class counts.
            watchdog: After how long without progress a handler is reported.

        Cancelled: the actor is stopped again.

        Raises:
            StartFailed: the constructor or `on_start` raised, or the name is taken.
            SpecError: an option is wrong; every mistake at once.
        """
        self._require_open("system.spawn(...)")
        ref = await spawn_under(
            self.root if supervisor is None else supervisor._supervisor,
            actor,
            args,
            name=name,
            mailbox=mailbox,
            restart=restart,
            intensity=intensity,
            period=period,
            backoff=backoff,
            shutdown=shutdown,
            lazy=lazy,
            directives=directives,
            watchdog=watchdog,
        )
        return cast("Ref[A]", ref)

    async def start_supervisor(
        self,
        spec: SupervisorSpec,
        *,
        name: str | None = None,
        restart: Restart | None = None,
        intensity: int = 0,
        period: Seconds = 5.0,
    ) -> SupervisorRef:
        """Start a supervisor and its children, in order; gives its ref once all have started.

        Args:
            spec: Its flags and children.
            name: Under which it stands in the tree; its children are called `name/id`.
            restart: What the root does when the supervisor itself ends. By default it is permanent, and with
                `auto_shutdown` transient, so that it may end.
            intensity: How many restarts of the whole supervisor within `period` seconds are allowed; with 0 its
                giving up cancels the block of `open_system`, which raises `RestartIntensityExceeded`.
            period: See `intensity`.

        Cancelled: it is stopped again.

        Raises:
            StartFailed: a child did not start; those before it were stopped again.
        """
        self._require_open("system.start_supervisor(...)")
        if not isinstance(spec, SupervisorSpec):
            raise TypeError(
                f"system.start_supervisor({shown(spec)}): give a SupervisorSpec, as in "
                "start_supervisor(SupervisorSpec(children=[...]))"
            )
        name = self.free_name("supervisor") if name is None else name
        if name in self.root.children or self.registry.find(name) is not None:
            raise StartFailed(f"the name {name!r} is taken; stop that one first, or choose another name", actor=name)
        if restart is None:
            restart = Restart.PERMANENT if spec.auto_shutdown is AutoShutdown.NEVER else Restart.TRANSIENT
        child = ChildSpec(id=name, start=spec, restart=restart)
        started = await self.root.start_child(child, name=name, window=RestartWindow(intensity, period), kept=False)
        return cast("Supervisor", started).ref

    def free_name(self, stem: str) -> str:
        """A name that nobody has: `stem` itself, or with a number."""
        name, number = stem, 2
        while name in self.root.children or self.registry.find(name) is not None:
            name, number = f"{stem}-{number}", number + 1
        return name

    def _require_open(self, call: str) -> None:
        if self.root.over or self.root.stopping:
            raise closed_system(call, self.name)

    def lazy_template(self, options: dict[str, Any], intensity: int, period: Seconds) -> tuple[ChildSpec, int, Seconds]:
        """What lazy actors with the same options share; a few kinds are remembered."""
        for known, allowed, within, template in self._templates:
            if known == options and allowed == intensity and within == period:
                return template
        template = (template_of(options), intensity, period)
        self._templates.append((options, intensity, period, template))
        del self._templates[:-8]
        return template

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

    def publish(self, topic: str, message: Tell) -> int:
        """Give `message` to everybody who subscribes to `topic`; how many could take it. Never waits."""
        return self.topics.publish(topic, message)

    def subscribe(self, topic: str, capacity: int = 64) -> Feed:
        """What is published under `topic`: `with system.subscribe("t") as feed: async for message in feed`.

        At most `capacity` unread messages are kept; further ones are dropped and counted in `feed.dropped`.
        """
        self._require_open("system.subscribe(...)")
        return Feed(self.topics, topic, capacity)

    def tree(self) -> ActorNode:
        """The live supervision tree."""
        return self.root.node()

    def statistics(self) -> SystemStatistics:
        """Counters of every living actor."""
        return SystemStatistics(
            name=self.name,
            actors=tuple(c.statistics() for c in self.registry.cells()),
            topics=self.topics.counts(),
            suppressed=self.letters.suppressed,
        )

    def incarnations(self) -> dict[str, int]:
        """The incarnation number of every living actor, by name."""
        return {cell.name: cell.incarnation for cell in self.registry.cells()}

    async def stop(self) -> None:
        """Stop every actor in reverse order of its start and wait for it."""
        require_outside(self.root, "system.stop")
        if self.root.state.alive:
            await self.root.stop()

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
        """The system's own task: the root and everything under it, behind a shield."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as alarms:
                alarms.start_soon(self.alarms.run)
                async with trio.open_nursery() as nursery:
                    self.root.begin(nursery)
                    await self.root.wait_started()
                    task_status.started()
                alarms.cancel_scope.cancel(reason="the system has stopped")


@async_with("trouper.open_system()", "system")
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
            with trio.CancelScope(shield=True):  # short: a start that is cut here would leave nobody to stop the root
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
        system.topics.close()
    if system.failure is not None and (raised is None or isinstance(raised, TrouperError)):
        raise system.failure
    if raised is not None:
        raise raised


def _unwrap(error: BaseException) -> BaseException:
    """What our nurseries wrapped: an interrupt above all, else the one exception, else the innermost group of several.

    The nurseries are ours, and what an interrupt has broken on its way (a start, an ask) is not worth a group.
    """
    for leaf in _leaves(error):
        if not isinstance(leaf, Exception | trio.Cancelled):
            return leaf
    while len(inside := _inside(error)) == 1:
        error = inside[0]
    return error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    inside = _inside(error)
    if not inside:
        yield error
    for inner in inside:
        yield from _leaves(inner)


def _inside(error: BaseException) -> tuple[BaseException, ...]:
    """The members of a group; nothing for what is no group."""
    is_group = isinstance(error, BaseExceptionGroup)
    return cast("BaseExceptionGroup[BaseException]", error).exceptions if is_group else ()
