"""A cell: the stable identity of an actor, its mailbox, its state machine, and its incarnations.

Ref -> Cell -> Incarnation. The ref is what others hold. The cell outlives crashes: it owns the mailbox, so that
waiting messages survive a restart, and the incarnation number, so that nothing of an old life is taken for the
new one's. An incarnation is one task with one nursery and one instance of the actor class; everything that the
instance started dies with it.

Three rules keep it right under cancellation:

* A crash never leaves the incarnation's task as an exception (it would cancel the siblings in the supervisor's
  nursery). It is recorded, the waiting ask is failed at once, and the supervisor is told.
* A handler runs inside a scope that is re-used from message to message and replaced only after it was cancelled.
  A scope each message is the most expensive single thing on trio. The asker's abort cancels that scope only while
  its own message is in hand, so a stale cancel never reaches the next message.
* A message that was taken from the mailbox is recorded (`_head`, `_in_hand`) before the next checkpoint: whatever
  happens, its asker is answered exactly once.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import outcome
import trio

from ._actor import Actor, HandlerSpec, OnCancel, snapshots
from ._clock import Seconds
from ._deadline import Handling, current
from ._envelope import Ask, Envelope, State
from ._errors import ActorCrashed, ActorStopped, StartFailed
from ._events import ActorEnded, ActorStarted, DeadLetter, Event, Unstoppable
from ._intensity import RestartWindow
from ._mailbox import MailboxQueue
from ._spec import KILLED, NORMAL, SHUTDOWN, ChildSpec, ExitKind, ExitReason, Restart, crashed

if TYPE_CHECKING:
    from ._ref import Ref
    from ._supervisor import Supervisor
    from ._system import System

BURST = 32
"""Messages handled between two forced checkpoints, so that an actor whose handlers never wait is fair."""


class CellState(enum.Enum):
    """Where an actor stands."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@attrs.frozen(kw_only=True)
class ActorStatistics:
    """What an actor has done so far. `queued` messages wait, `senders` wait for room."""

    name: str
    state: str
    incarnation: int
    queued: int
    senders: int
    capacity: int
    handled: int
    crashes: int
    dead_letters: int


@attrs.frozen
class Context:
    """What an actor knows of its place: `self.ctx`."""

    _cell: Cell

    @property
    def ref(self) -> Ref[Actor]:
        """This actor's own ref, to hand to others."""
        return self._cell.ref

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return self._cell.name

    @property
    def incarnation(self) -> int:
        """1 for the first life, one more after each restart."""
        return self._cell.incarnation

    @property
    def deadline(self) -> Seconds:
        """When the message in hand must be answered (trio's clock; infinite for a tell)."""
        handling = current.get()
        return handling.deadline if handling is not None else math.inf

    @property
    def trace(self) -> str:
        """The id that every message caused by the same first message shares; empty outside of a handler."""
        handling = current.get()
        return handling.trace if handling is not None else ""

    @property
    def listening(self) -> bool:
        """Whether anybody listens to the system's events: check it before building one."""
        return self._cell.system.event_bus.active

    def emit(self, event: Event) -> None:
        """Give an event of your own to whoever listens."""
        self._cell.system.event_bus.emit(event)

    def peer(self, child_id: str) -> Ref[Actor]:
        """The sibling with that id under the same supervisor, or under one further up.

        Raises:
            LookupError: there is none; the message names those there are.
        """
        return self._cell.supervisor.find_peer(child_id)


Fault = Callable[[str, object], BaseException | None]
"""Test hook: called with a phase (queued, taken, handled) and the message; an exception it gives crashes the actor."""


class Cell:
    """See the head of this file. Made by a supervisor, reached through a `Ref`."""

    def __init__(self, system: System, supervisor: Supervisor, spec: ChildSpec, name: str) -> None:
        from ._ref import Ref

        self.system = system
        self.supervisor = supervisor
        self.spec = spec
        self.name = name
        self.ref: Ref[Actor] = Ref(self)
        self.state = CellState.NEW
        self.incarnation = 0
        self.mailbox = MailboxQueue(spec.mailbox.capacity)
        self.handled = self.crashes = self.dead_letters = self.failures_in_a_row = 0
        self.fault: Fault | None = None
        self.actor_class: type[Actor] | None = None
        self.last_crash: BaseException | None = None
        self.window: RestartWindow | None = None  # its own restart budget; None: its supervisor's
        self.ended = trio.Event()  # this cell will never run again
        self._snapshot: outcome.Value[object] | None = None
        self._stop_reason: ExitReason | None = None
        self._started: trio.Event | None = None
        self._start_error: BaseException | None = None
        self._down: trio.Event | None = None  # the running incarnation has ended
        self._life: trio.CancelScope | None = None
        self._head: Envelope | None = None  # taken, waits for its turn
        self._in_hand: list[Envelope] = []
        self._handling_at_end: tuple[str, ...] = ()  # the classes of the messages that this life ended with
        self._crash: BaseException | None = None
        self._nursery: trio.Nursery | None = None
        self._scope: trio.CancelScope | None = None
        self._running = 0
        self._per_handler: dict[HandlerSpec, int] = {}

    # ------------------------------------------------------------ what refs ask
    def require_alive(self) -> None:
        """Raise `ActorStopped` if this actor will never take a message again."""
        if self.state is CellState.STOPPED or (self.state is CellState.STOPPING and self.mailbox.closed):
            raise self.stopped_error()

    def stopped_error(self) -> ActorStopped:
        """The error for whoever asks an actor that is gone."""
        why = f"; its last crash was {self.last_crash!r}" if self.last_crash is not None else ""
        return ActorStopped(
            f"actor {self.name!r} has stopped and cannot answer{why}. "
            "Spawn it again, or hold on to a ref of an actor that lives.",
            actor=self.name,
        )

    def statistics(self) -> ActorStatistics:
        """A record of the counters."""
        return ActorStatistics(
            name=self.name,
            state=self.state.value,
            incarnation=self.incarnation,
            queued=len(self.mailbox) + (self._head is not None),
            senders=self.mailbox.waiting_senders,
            capacity=self.mailbox.capacity,
            handled=self.handled,
            crashes=self.crashes,
            dead_letters=self.dead_letters,
        )

    def dead_letter(self, envelope: Envelope, why: str) -> None:
        """Count a message that nobody will handle, and say so to whoever listens."""
        self.dead_letters += 1
        events = self.system.event_bus
        if events.active:
            kind = type(envelope.message).__qualname__
            events.emit(DeadLetter(at=self.system.clock.now(), actor=self.name, message=kind, why=why))

    # ------------------------------------------------------------ what the supervisor does
    def begin(self, nursery: trio.Nursery) -> None:
        """Start the next incarnation as a task of `nursery`. Returns at once; see `wait_started`."""
        self.state = CellState.STARTING
        self.incarnation += 1
        self._started, self._start_error = trio.Event(), None
        self._down = trio.Event()
        self._crash = None
        self._handling_at_end = ()
        nursery.start_soon(self._live, name=f"{self.name}#{self.incarnation}")

    async def wait_started(self) -> None:
        """Wait until `on_start` has run; raises `StartFailed` if it, or what comes before it, raised."""
        if self._started is not None:
            await self._started.wait()
        if self._start_error is not None:
            raise StartFailed(
                f"actor {self.name!r} did not start: {type(self._start_error).__name__}: {self._start_error}",
                actor=self.name,
            ) from self._start_error

    def request_stop(self, reason: ExitReason = SHUTDOWN) -> None:
        """Ask the running incarnation to end after the message in hand."""
        if self._stop_reason is None:
            self._stop_reason = reason
        if self.state in {CellState.STARTING, CellState.RUNNING}:
            self.state = CellState.STOPPING
        self.mailbox.poke()

    async def stop(self, reason: ExitReason = SHUTDOWN) -> None:
        """Polite for the child's `shutdown` seconds, then cancelled; always waits for the end.

        Cancelled: the stop has been requested and goes on; the supervisor's nursery waits for it.
        """
        self.request_stop(reason)
        if self._down is not None and not self._down.is_set():
            with trio.move_on_after(self.spec.shutdown):
                await self._down.wait()
            if not self._down.is_set():
                self.kill()
                await self._wait_unstoppable(self._down)
        self.finish()

    def kill(self) -> None:
        """Cancel the running incarnation without grace."""
        if self._life is not None:
            self._life.cancel(reason=f"actor {self.name} is being stopped")

    async def _wait_unstoppable(self, down: trio.Event) -> None:
        patience = self.system.cleanup_bound + 1.0
        with trio.move_on_after(patience):
            await down.wait()
            return
        events = self.system.event_bus
        if events.active:
            events.emit(Unstoppable(at=self.system.clock.now(), actor=self.name, waited=patience))
        await down.wait()  # no deadline: nothing may outlive its nursery; the event above names the culprit

    def finish(self) -> None:
        """This cell will never run again: fail what waits, free the name."""
        if self.state is CellState.STOPPED:
            return
        self.state = CellState.STOPPED
        waiting = list(self.mailbox.close())
        if self._head is not None:
            waiting.insert(0, self._head)
            self._head = None
        for envelope in waiting:
            if not envelope.fail(self.stopped_error()):
                self.dead_letter(envelope, "the actor has stopped")
        self.system.registry.forget(self)
        self.ended.set()

    # ------------------------------------------------------------ one incarnation
    async def _live(self) -> None:
        reason = KILLED
        actor: Actor | None = None
        life = self._life = trio.CancelScope()
        try:
            with life:
                async with trio.open_nursery() as self._nursery:
                    actor = await self._start()
                    if actor is not None:
                        await self._serve(actor)
        finally:
            # Reached with a Cancelled or KeyboardInterrupt in flight as well: whatever it is, nobody is left waiting.
            if self._crash is not None:
                reason = crashed(self._crash)
            elif self._stop_reason is not None and not life.cancelled_caught:
                reason = self._stop_reason
            self._fail_in_hand(reason)
            if actor is not None and self._start_error is None:
                await self._on_stop(actor, reason)
            self._end(reason)

    async def _start(self) -> Actor | None:
        try:
            actor = self.spec.start()
            if not isinstance(actor, Actor):
                raise TypeError(f"the start of {self.name!r} gave {actor!r}, which is not an Actor")
            self.actor_class = type(actor)
            actor.ctx = Context(self)
            if self._snapshot is not None and snapshots(actor):
                actor.restore(self._snapshot.value)  # type: ignore[attr-defined]  # checked by snapshots()
            await actor.on_start()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why the start failed
            self._start_error = self._crash = error
            return None
        if self.state is CellState.STARTING:
            self.state = CellState.RUNNING
        assert self._started is not None  # noqa: S101 - set by `begin`
        self._started.set()
        events = self.system.event_bus
        if events.active:
            events.emit(ActorStarted(at=self.system.clock.now(), actor=self.name, incarnation=self.incarnation))
        return actor

    async def _on_stop(self, actor: Actor, reason: ExitReason) -> None:
        with trio.move_on_after(self.system.cleanup_bound, shield=True) as bound:
            try:
                await actor.on_stop(reason)
            except Exception as error:  # noqa: BLE001 - recorded below; the end of the incarnation goes on
                self.last_crash = error
                self.system.log.warning("[%s] on_stop raised %r", self.name, error)
        if bound.cancelled_caught:
            self.system.log.warning("[%s] on_stop was cut after %s s", self.name, self.system.cleanup_bound)

    def _end(self, reason: ExitReason) -> None:
        self._nursery = self._life = self._scope = None
        self._running = 0
        self._per_handler.clear()
        if reason.kind is ExitKind.CRASHED:
            self.crashes += 1
            self.last_crash = reason.error
            self.system.log.warning("[%s] incarnation %d crashed: %r", self.name, self.incarnation, reason.error)
        events = self.system.event_bus
        if events.active:
            events.emit(
                ActorEnded(
                    at=self.system.clock.now(),
                    actor=self.name,
                    incarnation=self.incarnation,
                    reason=reason,
                    handling=self._handling_at_end,
                )
            )
        assert self._started is not None  # noqa: S101 - set by `begin`
        assert self._down is not None  # noqa: S101 - set by `begin`
        if not self._started.is_set():
            if self._start_error is None:
                self._start_error = ActorStopped(f"actor {self.name!r} was stopped while it started", actor=self.name)
            self._started.set()
        self._down.set()
        self.supervisor.child_down(self, reason)

    def _fail_in_hand(self, reason: ExitReason) -> None:
        in_hand, self._in_hand = self._in_hand, []
        self._handling_at_end += tuple(type(envelope.message).__qualname__ for envelope in in_hand)
        for envelope in in_hand:
            envelope.fail(self._lost(envelope, reason))

    def _lost(self, envelope: Envelope, reason: ExitReason) -> BaseException:
        if reason.kind is not ExitKind.CRASHED:
            return self.stopped_error()
        error = ActorCrashed(
            f"actor {self.name!r} crashed with {type(envelope.message).__qualname__} in hand "
            f"(incarnation {self.incarnation}): {type(reason.error).__name__}: {reason.error}",
            actor=self.name,
            incarnation=self.incarnation,
        )
        error.__cause__ = reason.error
        return error

    def crash(self, error: BaseException) -> None:
        """End this incarnation as crashed: fail every ask in hand now, cancel the rest."""
        if self._crash is None:
            self._crash = error
        self._fail_in_hand(crashed(self._crash))
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason=f"actor {self.name} crashed")

    # ------------------------------------------------------------ serving messages
    async def _serve(self, actor: Actor) -> None:
        """Handle messages until stopped or crashed."""
        while not self._over:
            with trio.CancelScope() as scope:
                self._scope = scope
                await self._serve_within(actor, scope)
        self._scope = None

    @property
    def _over(self) -> bool:
        return self._stop_reason is not None or self._crash is not None

    async def _serve_within(self, actor: Actor, scope: trio.CancelScope) -> None:
        left = BURST
        while not scope.cancel_called and not self._over:
            envelope = self._next()
            if envelope is None:
                left = BURST
                await self.mailbox.sleep()
                continue
            if envelope.state is State.WITHDRAWN:
                self._head = None
                continue
            spec = self._spec_for(actor, envelope)
            if spec is None:
                continue
            if not self._may_run(spec):
                left = BURST
                await self.mailbox.sleep()
                continue
            if self.fault is not None and (error := self.fault("queued", envelope.message)) is not None:
                self.crash(error)  # the message is still unread: the next incarnation gets it
                return
            self._head = None
            if spec.options.concurrent is None:
                await self._handle(actor, spec, envelope, scope)
            else:
                self._begin_concurrent(actor, spec, envelope)
            left -= 1
            if not left:
                left = BURST
                await trio.lowlevel.cancel_shielded_checkpoint()

    def _next(self) -> Envelope | None:
        if self._head is None:
            self._head = self.mailbox.take()
        return self._head

    def _spec_for(self, actor: Actor, envelope: Envelope) -> HandlerSpec | None:
        spec = type(actor).__dispatch__(type(envelope.message))
        if spec is None:  # refs check the class of the first incarnation; a factory may give another class
            self._head = None
            error = TypeError(f"{type(actor).__qualname__} has no handler for {type(envelope.message).__qualname__}")
            if not envelope.fail(error):
                self.dead_letter(envelope, "no handler")
        return spec

    def _may_run(self, spec: HandlerSpec) -> bool:
        if spec.options.concurrent is None:
            return self._running == 0
        return self._per_handler.get(spec, 0) < spec.options.concurrent

    async def _handle(self, actor: Actor, spec: HandlerSpec, envelope: Envelope, scope: trio.CancelScope) -> None:
        """Run one handler; the asker is answered exactly once, whatever happens."""
        self._in_hand.append(envelope)
        envelope.scope = scope
        envelope.finish = spec.options.on_cancel is OnCancel.FINISH
        token = current.set(self._handling(envelope, spec))
        try:
            result = await self._result(actor, spec, envelope)
        finally:
            current.reset(token)
            envelope.scope = None
            if envelope.state is State.WITHDRAWN and envelope in self._in_hand:
                self._in_hand.remove(envelope)  # its asker has gone; the actor lives on
        if result is not None and envelope in self._in_hand:
            self._in_hand.remove(envelope)
            self.handled += 1
            self.failures_in_a_row = 0
            envelope.answer(result)

    async def _result(self, actor: Actor, spec: HandlerSpec, envelope: Envelope) -> outcome.Outcome[object] | None:
        """What to answer; None after a crash (then everybody in hand has been told)."""
        try:
            self._inject("taken", envelope)
            value = await spec.function(actor, envelope.message)
            self._inject("handled", envelope)
        except spec.options.raises as declared:
            return outcome.Error(declared)
        except Exception as error:  # noqa: BLE001 - a crash by definition; it goes to the supervisor
            self.crash(error)
            return None
        if snapshots(actor):
            self._snapshot = outcome.Value(actor.snapshot())  # type: ignore[attr-defined]  # checked
        return outcome.Value(value)

    def _inject(self, phase: str, envelope: Envelope) -> None:
        if self.fault is not None:
            error = self.fault(phase, envelope.message)
            if error is not None:
                raise error

    def _handling(self, envelope: Envelope, spec: HandlerSpec) -> Handling:
        origin = envelope.origin if isinstance(envelope.message, Ask) else None
        return Handling(
            self,
            envelope.deadline,
            spec.options.concurrent is None,
            origin,
            envelope.origin.trace if envelope.origin is not None else self.system.new_trace(),
        )

    # ------------------------------------------------------------ concurrent handlers
    def _begin_concurrent(self, actor: Actor, spec: HandlerSpec, envelope: Envelope) -> None:
        self._running += 1
        self._per_handler[spec] = self._per_handler.get(spec, 0) + 1
        scope = trio.CancelScope()
        envelope.scope = scope  # before the task runs: the asker may go meanwhile
        envelope.finish = spec.options.on_cancel is OnCancel.FINISH
        self._in_hand.append(envelope)
        assert self._nursery is not None  # noqa: S101 - serving happens inside it
        self._nursery.start_soon(self._handle_concurrently, actor, spec, envelope, scope)

    async def _handle_concurrently(
        self, actor: Actor, spec: HandlerSpec, envelope: Envelope, scope: trio.CancelScope
    ) -> None:
        try:
            if envelope in self._in_hand:  # else a crash has answered it before this task ran
                self._in_hand.remove(envelope)
                if envelope.state is not State.WITHDRAWN:
                    with scope:
                        await self._handle(actor, spec, envelope, scope)
        finally:
            self._running -= 1
            self._per_handler[spec] = self._per_handler.get(spec, 1) - 1
            self.mailbox.poke()


def restarts(restart: Restart, reason: ExitReason) -> bool:
    """Whether a child of this restart type is started again after that end."""
    if restart is Restart.PERMANENT:
        return True
    return restart is Restart.TRANSIENT and not reason.clean


__all__ = ["NORMAL", "ActorStatistics", "Cell", "CellState", "Context", "restarts"]
