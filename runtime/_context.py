"""What an actor knows of its place, and what it can do to it: `self.ctx`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, cast

import attrs
import trio

from ._actor import Actor
from ._clock import Seconds
from ._deadline import baggage_of, current, trace_of
from ._envelope import Tell
from ._errors import ActorStopped
from ._events import Event
from ._monitor import unwatch, watch
from ._spawn import spawn_under
from ._spec import (
    NORMAL,
    Backoff,
    ChildSpec,
    Directive,
    ExitReason,
    Mailbox,
    Restart,
    Shutdown,
    SupervisorSpec,
    Watchdog,
)
from ._timers import Timer
from ._topics import Subscription

if TYPE_CHECKING:
    from ._administration import SupervisorRef
    from ._cell import Cell
    from ._incarnation import Incarnation
    from ._ref import Ref
    from ._supervisor import Supervisor

SHORTEST: Seconds = 0.001
"""Of `every`: shorter than that it would be a busy loop."""

A = TypeVar("A", bound=Actor)
Ts = TypeVarTuple("Ts")


@attrs.frozen(eq=False)
class Context:
    """One incarnation's place in its system. Timers, monitors, links, subscriptions and children end with it."""

    _life: Incarnation

    @property
    def _cell(self) -> Cell:
        return self._life.cell

    # ------------------------------------------------------------ who and where
    @property
    def ref(self) -> Ref[Actor]:
        """This actor's own ref, to hand to others."""
        return self._life.cell.ref

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return self._life.cell.name

    @property
    def incarnation(self) -> int:
        """1 for the first life, one more after each restart."""
        return self._life.number

    @property
    def deadline(self) -> Seconds:
        """When the message in hand must be answered (trio's clock; infinite for a tell)."""
        handling = current.get() or self._cell.system.inline
        return handling.deadline if handling is not None else math.inf

    @property
    def trace(self) -> str:
        """The id that every message caused by the same first message shares; empty outside of a handler."""
        handling = current.get() or self._cell.system.inline
        if handling is None or (handling is self._life.unsolicited and self._life.in_hand is None):
            return ""
        return trace_of(handling, self._life.cell.system)

    @property
    def baggage(self) -> Mapping[str, object]:
        """What `trouper.carry` put on the way of the message in hand."""
        return baggage_of(current.get() or self._cell.system.inline)

    # ------------------------------------------------------------ this life
    @trio.lowlevel.enable_ki_protection
    def exit(self, reason: ExitReason = NORMAL) -> None:
        """End this incarnation after the message in hand; what follows is for the supervisor and the restart type."""
        if self._life.exit_reason is None:
            self._life.exit_reason = reason
        self._life.cell._poke()

    def progress(self) -> None:
        """Tell the watchdog that the handler gets on."""
        self._life.progressed += 1

    @trio.lowlevel.enable_ki_protection
    def stash(self) -> None:
        """Set the message in hand aside until `unstash_all`; its ask stays open, its deadline goes on.

        Done when the handler returns: an `unstash_all` in the same handler does not bring this one back.

        Raises:
            MailboxFull: as many as the mailbox holds are set aside already.
            RuntimeError: not in an exclusive handler, or twice for one message.
        """
        self._life.set_aside()

    @trio.lowlevel.enable_ki_protection
    def unstash_all(self) -> None:
        """Put what was set aside back in front of everything that waits, in its order."""
        self._life.cell.unstash()

    # ------------------------------------------------------------ later
    def send_after(self, delay: Seconds, message: Tell) -> Timer:
        """Send `message` to this actor in `delay` seconds. The timer dies with the incarnation.

        It comes before whatever waits in the mailbox, and needs no room there.
        """
        return self._timer(delay, message, None)

    def every(self, interval: Seconds, message: Tell) -> Timer:
        """Send `message` to this actor every `interval` seconds; a tick is left out while the last one is unread."""
        if not interval >= SHORTEST:
            raise ValueError(f"every({interval!r}, ...): the interval must be at least {SHORTEST} seconds")
        return self._timer(interval, message, interval)

    @trio.lowlevel.enable_ki_protection
    def _timer(self, delay: Seconds, message: Tell, interval: Seconds | None) -> Timer:
        life = self._life
        life.require_alive()
        life.cell.check(message, "tell")
        if not delay >= 0:
            raise ValueError(f"send_after({delay!r}, ...): the delay must be at least 0 seconds")
        timer = Timer(life, delay, message, interval)
        if life.timers is None:
            life.timers = {}
        life.timers[timer] = None
        return timer

    # ------------------------------------------------------------ others
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
        directives: Mapping[type[BaseException], Directive] | None = None,
        watchdog: Watchdog | None = None,
    ) -> Ref[A]:
        """Start a child of this incarnation; the keywords are those of `System.spawn`.

        It is stopped before this actor's `on_stop` runs. A child that crashes more often than its intensity allows
        crashes this actor with `RestartIntensityExceeded`. Cancelled: the child is stopped again.

        Raises:
            StartFailed: the constructor or `on_start` raised, or the name is taken.
        """
        ref = await spawn_under(
            await self._family(),
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

    async def _family(self) -> Supervisor:
        from ._supervisor import Supervisor

        life = self._life
        life.require_alive()
        if life.family is None:
            cell = life.cell
            above = cast("Supervisor", cell.supervisor)
            spec = ChildSpec(id=f"{cell.name}/children", start=SupervisorSpec())
            family = Supervisor(cell.system, above, spec, spec.id, SupervisorSpec())
            family.owner = cell
            family.on_give_up = life.crash
            life.family = family
            family.begin(above.require_open(family.name))
        await life.family.wait_started()
        return life.family

    def peer(self, child_id: str) -> Ref[Actor]:
        """The sibling with that id under the same supervisor, or under one further up.

        Raises:
            LookupError: there is none; the message names those there are.
        """
        return cast("Supervisor", self._cell.supervisor).find_peer(child_id)

    @trio.lowlevel.enable_ki_protection
    def monitor(self, ref: Ref[Actor] | SupervisorRef) -> None:
        """From now on a `Down` message comes for each life of `ref` that ends: write `@handler async def down(...)`.

        It comes before whatever waits in the mailbox. For an actor that has stopped for good it comes at once.
        """
        life = self._life
        life.require_alive()
        child = ref.child_of(cast("Supervisor", life.cell.supervisor))
        if child is not None:
            if life.watching is None:
                life.watching = {}
            life.watching[child] = None
            watch(child, life, life.put_urgent)

    @trio.lowlevel.enable_ki_protection
    def demonitor(self, ref: Ref[Actor] | SupervisorRef) -> None:
        """No further `Down` messages of `ref`."""
        child = ref.child_of(cast("Supervisor", self._cell.supervisor))
        if child is not None and self._life.watching is not None:
            self._life.watching.pop(child, None)
            unwatch(child, self._life)

    @trio.lowlevel.enable_ki_protection
    def link(self, ref: Ref[Actor]) -> None:
        """Share an end with `ref`'s present incarnation: if either crashes or is killed, the other crashes too.

        Raises:
            ActorStopped: it does not run.
        """
        mine, other = self._life, ref._cell.life
        if other is None:
            raise ActorStopped(f"{ref.name!r} does not run and cannot be linked to", actor=ref.name)
        if other is not mine:
            for one, another in ((mine, other), (other, mine)):
                if one.links is None:
                    one.links = {}
                one.links[another] = None

    @trio.lowlevel.enable_ki_protection
    def unlink(self, ref: Ref[Actor]) -> None:
        """Share it no longer."""
        mine, other = self._life, ref._cell.life
        if other is not None:
            for one, another in ((mine, other), (other, mine)):
                if one.links is not None:
                    one.links.pop(another, None)

    # ------------------------------------------------------------ topics and events
    @trio.lowlevel.enable_ki_protection
    def publish(self, topic: str, message: Tell) -> int:
        """Give `message` to everybody who subscribes to `topic`; how many could take it. Never waits."""
        return self._cell.system.topics.publish(topic, message)

    @trio.lowlevel.enable_ki_protection
    def subscribe(self, topic: str, bound: int = 64) -> None:
        """What is published under `topic` comes as a message from now on; with `bound` unread, further are dropped."""
        if isinstance(bound, bool) or not isinstance(bound, int) or bound < 1:
            raise ValueError(f"subscribe({topic!r}, bound={bound!r}): give a whole number of at least 1")
        life = self._life
        life.require_alive()
        if life.subscriptions is None:
            life.subscriptions = {}
        if topic in life.subscriptions:
            life.subscriptions[topic].end()
        topics = life.cell.system.topics
        subscription = life.subscriptions[topic] = Subscription(topics, topic, life, bound)
        topics.join(topic, subscription)

    @trio.lowlevel.enable_ki_protection
    def unsubscribe(self, topic: str) -> None:
        """No longer; what is in the mailbox already still comes."""
        subscription = (self._life.subscriptions or {}).pop(topic, None)
        if subscription is not None:
            subscription.end()

    @property
    def listening(self) -> bool:
        """Whether anybody listens to the system's events: check it before building one."""
        return self._cell.system.event_bus.active

    def emit(self, event: Event) -> None:
        """Give an event of your own to whoever listens."""
        self._cell.system.event_bus.emit(event)

    @property
    def channel(self) -> Callable[[Event], None] | None:
        """`emit` for a loop that must be quick, None if nobody listens: ask again when others have had a turn."""
        return self._cell.system.event_bus.channel()
