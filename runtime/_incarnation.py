"""One life of an actor: a task, an instance of its class, and everything that dies with them.

Three rules keep it right under cancellation:

* A crash never leaves the task as an exception (it would cancel the siblings in the supervisor's nursery). It is
  recorded, the waiting ask is failed at once, and the supervisor is told.
* A handler runs inside a scope that is re-used from message to message and replaced only after an asker withdrew.
  A scope each message is the most expensive single thing on trio. The asker's abort cancels that scope only while
  its own message is in hand, so a stale cancel never reaches the next message.
* A message that was taken from the mailbox is recorded (`in_hand`, `flying`, the cell's `front`) before the next
  checkpoint: whatever happens, its asker is answered exactly once.

`_serve_within` is a flat loop for speed: a function call costs a tenth of a microsecond, a whole tell little more than
one. Everything that is not an ordinary message (orders, timers, `Down`, stop, what was set aside) raises the cell's
`attention` and goes the slow way through `_due`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

import trio
from trio.lowlevel import cancel_shielded_checkpoint, wait_task_rescheduled

from ._actor import Actor
from ._child import STOPPING
from ._crash_report import CrashReport, crash_report
from ._deadline import current
from ._envelope import HELD, IN_HAND, WITHDRAWN, Envelope, message_of
from ._errors import ActorCrashed, ActorStopped, Ignore, LinkedActorDown
from ._events import ActorStarted
from ._mistakes import no_actor, returned_coroutine, wrong_message
from ._restart_rules import directive_for
from ._spec import KILLED, NORMAL, Directive, ExitKind, ExitReason, crashed
from ._stream import StreamEnvelope
from ._timers import Timer
from ._traceback_text import said
from ._watchdog import Watch

if TYPE_CHECKING:
    from ._cell import Cell
    from ._child import Child
    from ._handler import Route
    from ._supervisor import Supervisor
    from ._topics import Subscription

BURST = 64
"""Messages handled between two forced checkpoints, so that an actor whose handlers never wait is fair."""

URGENT = 1024
"""`Down` messages and timers that may wait for one actor; further `Down`s become dead letters."""

_NO_ITEM = object()


class Incarnation:
    """See the head of this file. `live` is its task."""

    __slots__ = (
        "actor",
        "cancelled",
        "cell",
        "cut",
        "error",
        "exit_reason",
        "family",
        "flying",
        "gone",
        "handling_at_end",
        "in_hand",
        "links",
        "number",
        "nursery",
        "per_route",
        "progressed",
        "running",
        "scope",
        "snapshots",
        "stashed",
        "subscriptions",
        "suspended",
        "swapped",
        "timers",
        "unsolicited",
        "urgent",
        "watch",
        "watching",
    )

    def __init__(self, cell: Cell) -> None:
        self.cell: Cell = cell
        self.number: int = cell.incarnation
        self.actor: Actor = _NOBODY
        self.nursery: trio.Nursery | None = None  # of the concurrent handlers, if its class has any
        self.scope: trio.CancelScope | None = None  # which its task is in, or was in last
        self.cut: bool = False  # it has been cancelled
        self.cancelled: bool = False  # and has noticed
        self.error: BaseException | None = None  # what it crashed with
        self.exit_reason: ExitReason | None = None  # what it wants to end with
        self.handling_at_end: tuple[str, ...] = ()
        self.unsolicited: Envelope = Envelope(None, cell)  # stands for every bare tell, one after another
        self.unsolicited.route = None
        self.unsolicited.state = IN_HAND
        self.in_hand: Envelope | None = None  # of the exclusive handler
        self.snapshots: bool = False
        self.flying: dict[Envelope, trio.lowlevel.Task | None] = {}  # of the concurrent ones
        self.running: int = 0
        self.per_route: dict[Route, int] | None = None
        self.stashed: bool = False  # the message in hand is to be set aside when its handler returns
        self.swapped: bool = False  # another instance has taken over
        self.gone: bool = False
        self.suspended: bool = False
        self.progressed: int = 0
        self.urgent: deque[object] | None = None
        self.timers: dict[Timer, None] | None = None
        self.watching: dict[Child, None] | None = None
        self.links: dict[Incarnation, None] | None = None
        self.subscriptions: dict[str, Subscription] | None = None
        self.family: Supervisor | None = None
        self.watch: Watch | None = None

    # ------------------------------------------------------------ the task
    @trio.lowlevel.enable_ki_protection
    async def live(self) -> None:
        """Start, serve until stopped or crashed, clean up, tell the cell."""
        cell = self.cell
        current.set(self.unsolicited)  # not the message in whose handling this actor was spawned
        cell._task = trio.lowlevel.current_task()
        reason, started, served = KILLED, False, False
        try:
            if cell._spares_on_stop:  # killed before this task ran
                self.cancelled = True
            else:
                started = await self._start()
                if started:
                    await self._serve()
            served = not self.cancelled
        except Exception as error:  # noqa: BLE001 - left over from a group whose other half was our own Cancelled
            self._note_crash(error)
        except BaseExceptionGroup as group:
            cell._torn = True
            own, rest = group.split(Exception)
            if own is not None:  # of a handler or start that was cancelled by what goes through here
                self._note_crash(own)
            if rest is not None:
                raise rest from None
        except BaseException:
            cell._torn = True
            raise
        finally:
            # Reached with a Cancelled or KeyboardInterrupt in flight as well: whatever it is, nobody is left waiting.
            if self.error is not None:
                reason = crashed(self.error)
            elif self.exit_reason is not None:
                reason = self.exit_reason
            elif cell._stop_reason is not None and served:
                reason = cell._stop_reason
            if self.error is not None and not cell.begun and cell._start_error is None:
                cell._start_error = self.error
            self._fail_in_hand(reason)
            self._let_go()
            try:
                await self._stop_family()
                if started and type(self.actor).__stops__ and not (reason is KILLED and cell._spares_on_stop):
                    await self._on_stop(reason)
                    await self._stop_family()  # on_stop may have spawned
            finally:
                self.gone = True
                self._let_go()
                self._hand_on_links(reason)
                cell.life_over(reason, self.handling_at_end)

    async def _stop_family(self) -> None:
        if self.family is not None:
            with trio.CancelScope(shield=True):  # bounded by the children's own shutdown times
                await self.family.stop()

    def require_alive(self) -> None:
        """Raise `ActorStopped` when this incarnation has ended: nothing that is to die with it can begin."""
        if self.gone:
            raise ActorStopped(
                f"incarnation {self.number} of {self.cell.name!r} has ended; its `ctx` cannot be used any more",
                actor=self.cell.name,
            )

    def make(self, factory: Callable[[], Actor]) -> Actor:
        """A new instance with its context."""
        from ._context import Context

        actor = _made_by(factory)
        if not isinstance(actor, Actor):
            raise no_actor(actor, factory)
        actor.ctx = Context(self)
        return actor

    async def _start(self) -> bool:
        cell = self.cell
        try:
            actor = self.make(cell.start)
            self.actor = actor
            kind = type(actor)
            cell.actor_class = kind
            if cell.snapshot is not None and kind.__snapshots__:
                cast("Any", actor).restore(cell.snapshot[0])
            if kind.__starts__:
                with trio.CancelScope() as self.scope:
                    await actor.on_start()
                if self.scope.cancelled_caught:
                    self.cancelled = True
                    return False
        except Ignore as declined:
            cell._start_error = declined
            self.exit_reason = NORMAL
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why the start failed
            cell._start_error = error
            self._note_crash(error)
            return False
        if self.error is not None:
            cell._start_error = self.error
            return False
        self.snapshots = kind.__snapshots__
        cell.started(kind.__routes__)
        if cell.spec.watchdog is not None:
            self.watch = Watch(self, cell.spec.watchdog)
        events = cell.system.event_bus
        if events.active:
            events.emit(ActorStarted(at=cell.system.clock.now(), actor=cell.name, incarnation=self.number))
        return True

    def take_over(self, actor: Actor, factory: Callable[[], Actor]) -> None:
        """Go on as another instance; later lives are made by `factory` too."""
        self.actor = actor
        self.cell.start = factory
        self.cell.actor_class = type(actor)
        self.cell.snapshot = None
        self.cell.routes = type(actor).__routes__
        self.swapped = True
        self.snapshots = type(actor).__snapshots__
        self.take_snapshot()

    def take_snapshot(self) -> None:
        """Keep the state for the next incarnation, if the actor wants that."""
        if type(self.actor).__snapshots__:
            self.cell.snapshot = (cast("Any", self.actor).snapshot(),)

    async def _on_stop(self, reason: ExitReason) -> None:
        cell = self.cell
        bound = trio.move_on_after(cell.system.cleanup_bound, shield=True)
        try:
            with bound:
                await self.actor.on_stop(reason)
        except Exception as error:  # noqa: BLE001 - logged; the end of the incarnation goes on
            cell.system.log.warning("[%s] on_stop raised %s", cell.name, said(error))
        if bound.cancelled_caught:
            cell.system.log.warning("[%s] on_stop was cut after %s s", cell.name, cell.system.cleanup_bound)

    def _let_go(self) -> None:
        for timer in self.timers or ():
            timer.alarm.cancel()
        for child in self.watching or ():
            if child.monitors is not None:
                child.monitors.pop(self, None)
        for subscription in (self.subscriptions or {}).values():
            subscription.end()
        if self.watch is not None:
            self.watch.end()
        for item in self.urgent or ():
            if not isinstance(item, Timer):
                self.cell.dead_letter(item, "the incarnation it was meant for has ended")
        self.urgent = self.timers = None

    def _hand_on_links(self, reason: ExitReason) -> None:
        for other in tuple(self.links or ()):
            if other.links is not None:
                other.links.pop(self, None)
            if not reason.clean:
                other.crash(
                    LinkedActorDown(
                        f"{self.cell.name!r}, to which it is linked, ended: {reason}",
                        actor=other.cell.name,
                        reason=reason,
                    )
                )

    # ------------------------------------------------------------ crashes
    def crash(self, error: BaseException) -> None:
        """End this incarnation as crashed: fail every ask in hand now, cancel the rest."""
        self._note_crash(error)
        if self.cut_off(f"actor {self.cell.name} crashed"):
            self.cell.expect_end()
        self.cell.attention = True

    def cut_off(self, why: str) -> bool:
        """Cancel this life; False if its task has not run yet."""
        scope = self.scope if self.nursery is None else self.nursery.cancel_scope
        if scope is None:
            return False
        self.cut = True
        scope.cancel(reason=why)
        return True

    def _note_crash(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
            self.cell.keep(self._reported(error))  # before its askers learn of it: they may look
        self._fail_in_hand(crashed(self.error))

    def _reported(self, error: BaseException) -> CrashReport:
        cell = self.cell
        return crash_report(
            error,
            at=cell.system.clock.now(),
            actor=cell.name,
            incarnation=self.number,
            handling=tuple(type(envelope.message).__qualname__ for envelope in self._all_in_hand()),
        )

    def _all_in_hand(self) -> list[Envelope]:
        return [*([self.in_hand] if self.in_hand is not None else ()), *self.flying]

    def _fail_in_hand(self, reason: ExitReason) -> None:
        lost = self._all_in_hand()
        if not lost:
            return
        self.in_hand = None
        self.flying.clear()
        self.handling_at_end += tuple(type(envelope.message).__qualname__ for envelope in lost)
        for envelope in reversed(lost):
            if envelope.route is None or not envelope.route.is_tell:
                envelope.fail(self._lost(envelope, reason))
            elif reason.kind is ExitKind.CRASHED:
                self._deliver_again(envelope)

    def _deliver_again(self, envelope: Envelope) -> None:
        allowed = self.cell.spec.mailbox.redeliver
        if not allowed:
            return
        if envelope is self.unsolicited:
            envelope = self._kept(envelope.message)
        envelope.attempts += 1
        if envelope.attempts <= allowed:
            self.cell.hold(envelope)
        else:
            self.cell.dead_letter(envelope.message, f"{envelope.attempts} incarnations crashed with it in hand")

    def _kept(self, message: object) -> Envelope:
        """The tell that was taken last, in an envelope of its own."""
        envelope = Envelope(message, self.cell)
        envelope.carried = self.unsolicited.carried
        return envelope

    def _lost(self, envelope: Envelope, reason: ExitReason) -> BaseException:
        if reason.kind is ExitKind.KILLED and self.cell.state is not STOPPING:
            return ActorCrashed(
                f"actor {self.cell.name!r} was killed with {type(envelope.message).__qualname__} in hand "
                f"(incarnation {self.number})",
                actor=self.cell.name,
                incarnation=self.number,
            )
        if reason.kind is not ExitKind.CRASHED:
            return self.cell.stopped_error()
        error = ActorCrashed(
            f"actor {self.cell.name!r} crashed with {type(envelope.message).__qualname__} in hand "
            f"(incarnation {self.number}): {said(cast('BaseException', reason.error))}",
            actor=self.cell.name,
            incarnation=self.number,
        )
        error.__cause__ = reason.error
        return error

    def _failed(self, envelope: Envelope, error: Exception) -> bool:
        """A handler raised: True if that ends this life, False if it goes on (`Directive.RESUME`)."""
        directives = self.cell.spec.directives
        if directives and directive_for(directives, error) is Directive.RESUME:
            cell = self.cell
            envelope.fail(self._lost(envelope, crashed(error)))
            cell.resumed(error, self._reported(error))
            return False
        self._note_crash(error)
        if self.running and self.cut_off(f"actor {self.cell.name} crashed"):
            self.cell.expect_end()
        return True

    # ------------------------------------------------------------ serving messages
    @property
    def over(self) -> bool:
        """Whether this life takes no further message."""
        return self.error is not None or self.exit_reason is not None or self.cell._stop_reason is not None

    async def _serve(self) -> None:
        """Handle messages until stopped or crashed."""
        self.cell.attention = True  # what has been set aside, or asked for, before this life began
        while not (self.over or self.cancelled):
            if self.nursery is None and type(self.actor).__concurrent__:
                await self._serve_with_nursery()
                return
            self.swapped = False
            try:
                with trio.CancelScope() as scope:
                    self.scope = scope
                    if self.cut:  # while the one before was being left
                        scope.cancel(reason="this life has been cut off")
                    await self._serve_within(scope)
                if scope.cancelled_caught and self.cut:
                    self.cancelled = True
            except Exception as error:  # noqa: BLE001 - a cancelled handler whose own nursery raised something as well
                self._note_crash(error)
            if self.in_hand is not None and self.in_hand.state == WITHDRAWN:
                self.in_hand = None  # its asker has gone; the actor lives on
            self.stashed = False
            current.set(self.unsolicited)

    async def _serve_with_nursery(self) -> None:
        """The same around the tasks of concurrent handlers. An actor that has none does without: 14 us, 1.5 KB."""
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            if self.cut:
                nursery.cancel_scope.cancel(reason="this life has been cut off")
            await self._serve()
        if nursery.cancel_scope.cancelled_caught:
            self.cancelled = True

    async def _serve_within(self, scope: trio.CancelScope) -> None:
        cell = self.cell
        mailbox = cell.mailbox
        actor = self.actor
        routes = type(actor).__routes__
        snapshots = type(actor).__snapshots__
        unsolicited = self.unsolicited
        unsolicited.scope = scope
        simple = mailbox.simple
        task = trio.lowlevel.current_task()
        left = BURST
        while True:
            if cell.attention:
                self.in_hand = None
                item = self._due()
                if item is _NO_ITEM:
                    if self.over or self.swapped:
                        return
                    if cell.attention:
                        left = BURST
                        await mailbox.sleep()
                    continue
            elif mailbox.count:
                if simple:
                    batch = mailbox.batch
                    item = batch.pop() if batch else mailbox.pull()
                    mailbox.count -= 1
                    if mailbox.line:
                        mailbox.admit()
                else:
                    item = mailbox.take()
            else:
                self.in_hand = item = envelope = message = value = None  # an idle actor keeps nobody's message alive
                unsolicited.message = unsolicited.carried = None
                left = BURST
                mailbox.sleeper = task
                await wait_task_rescheduled(mailbox.abort_sleep)
                continue

            route = routes.get(type(item))
            if route is not None:  # a bare tell
                envelope = unsolicited
                message = item
                envelope.carried = None
            elif type(item) is tuple:  # a tell and what it carries
                envelope = unsolicited
                message, envelope.carried = item  # pyright: ignore[reportUnknownVariableType] - a pair, by `_item`
                route = routes.get(type(message))  # pyright: ignore[reportUnknownArgumentType] - the same
            elif isinstance(item, Envelope):
                envelope = item
                if envelope.state == WITHDRAWN:
                    mailbox.dead -= 1
                    continue
                message = envelope.message
                route = routes.get(type(message))
                envelope.scope = scope
            else:
                envelope = unsolicited
                message = item
                envelope.carried = None
            if route is None:
                route = self._late_route(item)  # pyright: ignore[reportUnknownArgumentType] - the same
                if route is None:
                    continue
            careful = not route.simple or self.running or cell.fault is not None
            if careful and not self._may_begin(item, route, message):  # pyright: ignore[reportUnknownArgumentType] - the same
                if self.error is not None:
                    return
                continue

            envelope.message = message
            envelope.route = route
            envelope.state = IN_HAND
            self.in_hand = envelope
            if envelope is not unsolicited:
                current.set(envelope)
            try:
                if careful:
                    value = await self._call_carefully(actor, route, envelope)
                else:
                    value = await route.function(actor, message)
                if snapshots:
                    cell.snapshot = (cast("Any", actor).snapshot(),)
            except route.raises as declared:
                if not envelope.fail(declared) and route.is_tell:
                    cell.system.log.warning("[%s] %s in answer to a tell", cell.name, said(declared))
                self.stashed = False
            except Exception as error:  # noqa: BLE001 - a crash by definition; it goes to the supervisor
                if self._failed(envelope, error):
                    return
                self.stashed = False
            else:
                if self.stashed:
                    self._set_aside(envelope)
                    self.stashed = False
                elif envelope is not unsolicited:
                    if type(value) is CoroutineType:
                        self._note_crash(returned_coroutine(route, cast("Any", value)))
                        return
                    envelope.answer(value)
            cell.handled += 1
            if envelope is not unsolicited:
                current.set(unsolicited)
                if envelope.state == WITHDRAWN:
                    self.in_hand = None
                    return  # its scope may have been cancelled: go on in a new one
            left -= 1
            if not left:
                self.in_hand = None
                left = BURST
                await cancel_shielded_checkpoint()

    def _may_begin(self, item: object, route: Route, message: object) -> bool:
        """Whether the loop shall handle `item` itself, now; else it has been put where it belongs."""
        cell = self.cell
        if self.running and not self._may_run(route):
            cell.hold(item)
            return False
        if cell.fault is not None and (injected := cell.fault("queued", message)) is not None:
            cell.hold(item)  # still unread: for the next life
            self._note_crash(injected)
            return False
        if not route.exclusive:
            self._begin_concurrent(route, item if isinstance(item, Envelope) else self._kept(message))
            return False
        return True

    async def _call_carefully(self, actor: Actor, route: Route, envelope: Envelope) -> object:
        """Run a handler that is not a plain one, or one with a fault injected before or after it."""
        self._inject("taken", envelope.message)
        value = await self._call(actor, route, envelope)
        self._inject("handled", envelope.message)
        return value

    def _due(self) -> object:
        """What comes before the mailbox, or `_NO_ITEM`; lowers `attention` when nothing of the kind is left."""
        cell = self.cell
        while cell.lane and not (cell.lane[0].quiet and self.running and cell.lane[0].state == HELD):
            cell.lane.popleft().carry_out(self)
        if self.over or self.swapped or self.suspended or cell.lane:
            return _NO_ITEM
        watch = self.watch
        if watch is not None and watch.idle and (self.urgent or cell.front or cell.mailbox.count):
            watch.begin()
        if self.urgent:
            if self.running and not self._head_may_run(self.urgent[0]):
                return _NO_ITEM
            item = self.urgent.popleft()
            return item.read() if isinstance(item, Timer) else item
        while cell.front:
            head = cell.front[0]
            if isinstance(head, Envelope) and head.state == WITHDRAWN:
                cell.front.popleft()
                continue
            if self.running and not self._head_may_run(head):
                return _NO_ITEM
            return cell.front.popleft()
        if watch is not None and watch.idle:
            return _NO_ITEM  # `attention` stays: the next message comes this way, and begins the watch
        cell.attention = False
        if cell.mailbox.count:
            return cell.mailbox.take()
        return _NO_ITEM

    def _head_may_run(self, item: object) -> bool:
        message = item.message if isinstance(item, Timer) else message_of(item)
        route = type(self.actor).__route__(type(message))
        return route is None or self._may_run(route)

    def _may_run(self, route: Route) -> bool:
        if route.exclusive:
            return self.running == 0
        return (self.per_route or {}).get(route, 0) < cast("int", route.concurrent)

    def _late_route(self, item: object) -> Route | None:
        """The route of a message that the cache of routes does not know, or None when it has been turned away.

        Either it is one class too many for the cache, or the actor's class was not known when it was sent.
        """
        actor, message = type(self.actor), message_of(item)
        error: Exception | None = None
        try:
            route = actor.__route__(type(message))
        except TypeError as wrong:  # a message class that is not fit to be one
            route, error = None, wrong
        if route is None:
            if error is None:
                error = wrong_message("ask", message, actor, self.cell.name)
            if not (isinstance(item, Envelope) and item.fail(error)):
                self.cell.dead_letter(message, "no handler")
        return route

    def _inject(self, phase: str, message: object) -> None:
        fault = self.cell.fault
        if fault is not None:
            error = fault(phase, message)
            if error is not None:
                raise error

    # ------------------------------------------------------------ the ways to call a handler
    async def _call(self, actor: Actor, route: Route, envelope: Envelope) -> object:
        """Run a handler that is not a plain exclusive `async def`."""
        if route.inline:
            return route.function(actor, envelope.message)
        if route.context and envelope.context is not None:
            return await self._in_context(actor, route, envelope)
        return await self._run(actor, route, envelope)

    @staticmethod
    async def _run(actor: Actor, route: Route, envelope: Envelope) -> object:
        if isinstance(envelope, StreamEnvelope):
            async with aclosing(route.function(actor, envelope.message)) as items:
                async for item in items:
                    await envelope.give(item)
            return None
        return await route.function(actor, envelope.message)

    async def _in_context(self, actor: Actor, route: Route, envelope: Envelope) -> object:
        """Run it in the contextvars of the asker: trio takes a task's new context up at its next checkpoint."""
        task = trio.lowlevel.current_task()
        own = task.context
        task.context = cast("Any", envelope.context)
        await cancel_shielded_checkpoint()
        current.set(envelope)
        try:
            return await self._run(actor, route, envelope)
        finally:
            task.context = own
            await cancel_shielded_checkpoint()

    def run_inline(self, route: Route, message: object, origin: Envelope | None, timeout: float | None) -> Any:
        """Run an inline handler that needs more than a call, in the caller's task; only while the actor is idle."""
        deadline = origin.deadline if origin is not None else math.inf
        if timeout is not None:
            deadline = min(deadline, trio.current_time() + timeout)
        elif deadline == math.inf:
            deadline = trio.current_time() + self.cell.system.ask_timeout
        current.set(Envelope(message, self.cell, deadline, origin))
        try:
            self._inject("taken", message)
            value = route.function(self.actor, message)
            self._inject("handled", message)
        finally:
            current.set(origin)
        if type(value) is CoroutineType:
            raise returned_coroutine(route, cast("Any", value))
        self.take_snapshot()
        return value

    def failed_inline(self, route: Route, message: object, error: Exception) -> BaseException:
        """An inline handler raised what it does not declare; gives what its asker is to be told."""
        envelope = self.in_hand = Envelope(message, self.cell)
        envelope.route = route
        envelope.state = IN_HAND
        lost = self._lost(envelope, crashed(error))
        if self._failed(envelope, error):
            self.crash(error)
        self.in_hand = None
        return lost

    # ------------------------------------------------------------ concurrent handlers
    def _begin_concurrent(self, route: Route, envelope: Envelope) -> None:
        self.running += 1
        if self.per_route is None:
            self.per_route = {}
        self.per_route[route] = self.per_route.get(route, 0) + 1
        envelope.route = route
        envelope.state = IN_HAND
        envelope.scope = trio.CancelScope()  # before the task runs: the asker may go meanwhile
        self.flying[envelope] = None
        assert self.nursery is not None  # noqa: S101 - serving happens inside it
        self.nursery.start_soon(self._fly, route, envelope)

    @trio.lowlevel.enable_ki_protection
    async def _fly(self, route: Route, envelope: Envelope) -> None:
        current.set(envelope)
        try:
            if envelope.state == IN_HAND:
                self.flying[envelope] = trio.lowlevel.current_task()
                with envelope.scope:
                    await self._handle_concurrently(route, envelope)
        except Exception as error:  # noqa: BLE001 - a cancelled handler whose own nursery raised something as well
            self._failed(envelope, error)
        finally:
            if envelope.state != IN_HAND or not envelope.asked:  # else cut off: `_fail_in_hand` has yet to answer it
                self.flying.pop(envelope, None)
            self.running -= 1
            cast("dict[Route, int]", self.per_route)[route] -= 1
            self.cell.attention = True
            self.cell.mailbox.poke()

    async def _handle_concurrently(self, route: Route, envelope: Envelope) -> None:
        cell, actor = self.cell, self.actor
        try:
            self._inject("taken", envelope.message)
            value = await self._call(actor, route, envelope)
            self._inject("handled", envelope.message)
            if type(actor).__snapshots__:
                cell.snapshot = (cast("Any", actor).snapshot(),)
        except route.raises as declared:
            envelope.fail(declared)
        except Exception as error:  # noqa: BLE001 - a crash by definition; it goes to the supervisor
            self._failed(envelope, error)
        else:
            if type(value) is CoroutineType:
                self._failed(envelope, returned_coroutine(route, cast("Any", value)))
                return
            if envelope.state == IN_HAND:
                cell.handled += 1
                envelope.answer(value)

    # ------------------------------------------------------------ what others put before the mailbox
    def put_urgent(self, item: object) -> None:
        """A timer that is due, or a `Down`: before whatever waits in the mailbox."""
        if self.urgent is None:
            self.urgent = deque()
        if len(self.urgent) >= URGENT and not isinstance(item, Timer):
            self.cell.dead_letter(item, "too many ends of monitored actors wait")
            return
        self.urgent.append(item)
        self.cell._poke()

    def set_aside(self) -> None:
        """Stash the message in hand."""
        envelope, cell = self.in_hand, self.cell
        if envelope is None or envelope.route is None or envelope.route.inline:
            raise RuntimeError(
                "stash() sets aside the message that an exclusive `async def` handler has in hand: call it there"
            )
        if self.stashed:
            raise RuntimeError("stash() was called twice for one message")
        if cell.stash and len(cell.stash) >= cell.spec.mailbox.capacity:
            cell.stash = deque(held for held in cell.stash if held.state != WITHDRAWN)
            if len(cell.stash) >= cell.spec.mailbox.capacity:
                raise cell.full_error()
        self.stashed = True  # done when the handler returns: until then the asker's going cancels it

    def _set_aside(self, envelope: Envelope) -> None:
        if envelope.state == WITHDRAWN:
            return
        if envelope is self.unsolicited:
            envelope = self._kept(envelope.message)
        envelope.state = HELD
        if self.cell.stash is None:
            self.cell.stash = deque()
        self.cell.stash.append(envelope)


@trio.lowlevel.disable_ki_protection
def _made_by(factory: Callable[[], Actor]) -> Actor:
    """Call what the user wrote, so that Ctrl-C can interrupt it."""
    return factory()


_NOBODY: Actor = Actor()
"""Stands for the instance until there is one."""
