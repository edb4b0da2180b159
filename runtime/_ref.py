"""What others hold of an actor. A ref stays valid across restarts and is the only way to reach one.

`ask` and `tell_nowait` are written flat, for speed; what they find wrong they leave to slower functions.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import AsyncGenerator, Callable, Iterable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled, current_task, wait_task_rescheduled

from ._actor import Actor
from ._async_with import async_with
from ._cell import places
from ._clock import Seconds
from ._deadline import ask_chain, carried_of, current
from ._envelope import HELD, Ask, Batch, BatchEnvelope, Envelope, Stream, Tell
from ._errors import ActorStopped, MailboxFull
from ._mistakes import ask_cycle, awaited, returned_coroutine
from ._monitor import Monitor
from ._orders import Order, get_state, replace_state, resume, suspend, swap
from ._stream import Items, StreamEnvelope

if TYPE_CHECKING:
    from ._cell import ActorStatistics, Cell
    from ._child import Child
    from ._crash_report import CrashReport
    from ._lazy import Dormant
    from ._supervisor import Supervisor

T = TypeVar("T")
A_co = TypeVar("A_co", bound=Actor, covariant=True)

INF = math.inf
TELL_BURST = 256
"""Messages that `tell_many` sends between two checkpoints."""


class Ref(Generic[A_co]):
    """The address of an actor; comes from the system, never from a constructor call of yours."""

    __slots__ = ("_cell", "_dormant")

    _cell: Cell
    _dormant: Dormant | None

    def __init__(self, cell: Cell) -> None:
        self.bind(cell)

    def bind(self, cell: Cell) -> None:
        """From now on this ref leads to `cell`."""
        self._cell = cell
        self._dormant = None
        if type(self) is LazyRef:
            self.__class__ = Ref  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]  # the same slots

    def __repr__(self) -> str:
        if self._dormant is not None:
            return f"<Ref {self.name!r} lazy>"
        return f"<Ref {self._cell.name!r} {self._cell.state.value} #{self._cell.incarnation}>"

    @property
    def name(self) -> str:
        """The name the actor is registered under."""
        return self._dormant.name if self._dormant is not None else self._cell.name

    @property
    def incarnation(self) -> int:
        """1 for the first life, one more after each restart; 0 for a lazy actor before its first message."""
        return self._cell.incarnation if self._dormant is None else 0

    def statistics(self) -> ActorStatistics:
        """A frozen record of the actor's counters."""
        return self._dormant.statistics() if self._dormant is not None else self._cell.statistics()

    def crash_reports(self) -> tuple[CrashReport, ...]:
        """The last crashes, oldest first: with what in hand, and where."""
        return self._cell.crash_reports() if self._dormant is None else ()

    # ------------------------------------------------------------ ask
    @awaited("ref.ask(message)", "answer = await ref.ask(message)")
    @trio.lowlevel.enable_ki_protection
    async def ask(self, message: Ask[T], *, timeout: Seconds | None = None) -> T:
        """Send `message` and wait for the answer.

        The deadline travels with the message: whatever the actor asks in turn must finish within it. With
        `timeout=None` the deadline of the message being handled is inherited, outside of any handler the
        system's `ask_timeout` holds. If the actor crashes meanwhile the ask fails at once; the message is not
        sent again after the restart. Cancelled: a waiting message is withdrawn, a running handler cancelled.

        Raises:
            ActorStopped: the actor had stopped, or stopped before it answered.
            ActorCrashed: the handler raised; the cause is attached.
            AskTimeout: no answer within the deadline.
            AskCycle: the answer would wait for this very ask.
            MailboxFull: the mailbox was full, and its overflow policy is not to wait.
            StartFailed: a lazy actor did not start.
        """
        cell = self._cell
        route = cell.routes.get(type(message))
        if route is None or not route.is_ask:
            route = cell.check(message, "ask")
        answer: T
        origin = current.get()
        if route is not None and route.inline and cell.mailbox.sleeper is not None and not cell.attention:
            life = cell._life
            if life is not None and not life.running:
                await checkpoint_if_cancelled()
                system = cell.system
                try:
                    if timeout is not None or cell.fault is not None or life.snapshots:
                        answer = life.run_inline(route, message, origin, timeout)
                    else:
                        if origin is None:
                            system.inline = outside = system.outside
                            outside.carried = None
                        answer = route.function(life.actor, message)
                        if type(answer) is CoroutineType:
                            raise returned_coroutine(route, cast("Any", answer))
                except route.raises:
                    raise
                except Exception as error:
                    raise life.failed_inline(route, message, error) from error
                finally:
                    system.inline = None
                    await cancel_shielded_checkpoint()
                cell.handled += 1
                return answer
        deadline = INF
        if origin is not None:
            deadline = origin.deadline
            chain = ask_chain(origin, cell)
            if chain is not None:
                raise ask_cycle(cell.name, message, chain, cell.actor_class)
        system = cell.system
        if timeout is not None:
            deadline = min(deadline, trio.current_time() + timeout)
        elif deadline == INF:
            deadline = trio.current_time() + system.ask_timeout
        mailbox = cell.mailbox
        envelope = Envelope(message, cell, deadline, origin, current_task())
        if route is not None and route.context:
            envelope.context = contextvars.copy_context()
        if mailbox.count < mailbox.limit:
            mailbox.count += 1
            mailbox.push(envelope)
            if mailbox.sleeper is not None:
                mailbox.poke()
        elif not places(cell, envelope):
            envelope.state = HELD
            mailbox.stand_in_line(cast("trio.lowlevel.Task", envelope.task), envelope)
        alarms = system.alarms
        alarms.young[envelope] = None
        if deadline < alarms.next:
            alarms.sooner(deadline)
        try:
            answer = await wait_task_rescheduled(envelope.abort)
        finally:
            alarms.young.pop(envelope, None)
        return answer

    @overload
    async def ask_many(
        self, messages: Iterable[Ask[T]], *, timeout: Seconds | None = None, return_exceptions: Literal[False] = False
    ) -> list[T]: ...
    @overload
    async def ask_many(
        self, messages: Iterable[Ask[T]], *, timeout: Seconds | None = None, return_exceptions: bool
    ) -> list[T | Exception]: ...

    @awaited("ref.ask_many(messages)", "answers = await ref.ask_many(messages)")
    @trio.lowlevel.enable_ki_protection
    async def ask_many(
        self, messages: Iterable[Ask[T]], *, timeout: Seconds | None = None, return_exceptions: bool = False
    ) -> list[T] | list[T | Exception]:
        """Ask all of `messages` and wait for all answers; they come in the order of the messages.

        Costs one wake-up for all. The first ask that fails withdraws the others and is raised; with
        `return_exceptions` errors stand in the list instead. Waits for room where the mailbox says so.
        Cancelled: what waits is withdrawn, what runs cancelled.

        Raises:
            ActorError: as `ask`.
        """
        cell = self._cell
        batch = Batch(return_exceptions=return_exceptions)
        origin = current.get()
        chain = ask_chain(origin, cell)
        deadline = _deadline(cell, origin, timeout)
        alarms = cell.system.alarms
        try:
            for message in messages:
                envelope = BatchEnvelope(message, cell, deadline, origin, batch, batch.open_slot())
                try:
                    route = cell.routes.get(type(message))
                    if route is None or not route.is_ask:
                        route = cell.check(message, "ask_many")
                    if chain is not None:
                        raise ask_cycle(cell.name, message, chain, cell.actor_class)
                    if route is not None and route.context:
                        envelope.context = contextvars.copy_context()
                    room = cell.mailbox.offer(envelope) or places(cell, envelope)
                except (MailboxFull, ActorStopped) as error:
                    envelope.fail(error)
                    room = True
                batch.envelopes.append(envelope)
                alarms.young[envelope] = None
                if deadline < alarms.next:
                    alarms.sooner(deadline)
                if not room and not await batch.wait_for_room(cell.mailbox, envelope):
                    envelope.fail(cell.gone_error())
                if batch.failed is not None:
                    break
            await batch.wait()
        finally:
            for envelope in batch.envelopes:
                alarms.young.pop(envelope, None)
            batch.withdraw()
        return cast("list[T]", batch.answers)

    @async_with("ref.stream(message)", "items")
    async def stream(
        self, message: Stream[T], *, timeout: Seconds | None = None, buffer: int = 0
    ) -> AsyncGenerator[Items[T], None]:
        """Ask for many answers: `async with ref.stream(Tail()) as items: async for item in items: ...`.

        The handler waits at each `yield` until the item is wanted; with `buffer` it may be that many ahead.
        Leaving the block, also by cancellation, cancels the handler. `timeout` bounds the whole stream and
        defaults as that of `ask`: give `math.inf` to one that is meant to go on for as long as the block.

        Raises:
            ActorCrashed: out of the iteration, at once, when the handler raised.
            AskTimeout: out of the iteration: the handler had not ended within the deadline.
            ActorStopped: as `ask`.
        """
        cell = self._cell
        route = cell.routes.get(type(message))
        if route is None or not route.is_stream:
            route = cell.check(message, "stream")
        origin = current.get()
        chain = ask_chain(origin, cell)
        if chain is not None:
            raise ask_cycle(cell.name, message, chain, cell.actor_class)
        envelope = StreamEnvelope(message, cell, _deadline(cell, origin, timeout), origin, buffer)
        if route is not None and route.context:
            envelope.context = contextvars.copy_context()
        if not places(cell, envelope):
            await _wait_for_room(cell, envelope)
        alarms = cell.system.alarms
        alarms.young[envelope] = None
        if envelope.deadline < alarms.next:
            alarms.sooner(envelope.deadline)
        try:
            yield Items(envelope)
        finally:
            alarms.young.pop(envelope, None)
            envelope.leave()

    # ------------------------------------------------------------ tell
    @awaited("ref.tell(message)", "await ref.tell(message)")
    @trio.lowlevel.enable_ki_protection
    async def tell(self, message: Tell) -> None:
        """Send `message` and do not wait for it to be handled; waits for room if the mailbox is full.

        Cancelled: nothing was sent.

        Raises:
            ActorStopped: the actor had stopped, or stopped while there was no room.
            MailboxFull: the mailbox was full, and its overflow policy is FAIL; or it is full and the handler that
                sends is the one it waits for, so that there would never be room.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        cell = self._cell
        item = self._item(message, "tell")
        if cell.mailbox.offer(item) or places(cell, item):
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await _wait_to_tell(cell, item)

    @awaited("ref.tell_many(messages)", "await ref.tell_many(messages)")
    @trio.lowlevel.enable_ki_protection
    async def tell_many(self, messages: Iterable[Tell]) -> None:
        """Send all of `messages`, in order, with one checkpoint for a whole batch; waits for room.

        Cancelled: those that found room were sent.

        Raises:
            ActorStopped: as `tell`; the messages before it were sent.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        cell = self._cell
        mailbox = cell.mailbox
        get, cause = cell.routes.get, current.get()
        carried = carried_of(cause) if cause is not None else None
        for sent, message in enumerate(messages, 1):
            route = get(type(message))
            if route is None or not route.plain_tell:
                item = self._item(message, "tell_many")
                mailbox, get = cell.mailbox, cell.routes.get
            else:
                item = message if carried is None else (message, carried)
            if mailbox.count < mailbox.limit:
                mailbox.count += 1
                mailbox.push(item)
                if mailbox.sleeper is not None:
                    mailbox.poke()
            elif not places(cell, item):
                await _wait_to_tell(cell, item)
            if not sent % TELL_BURST:
                await trio.lowlevel.checkpoint()
        await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.enable_ki_protection
    def tell_nowait(self, message: Tell) -> None:
        """Send `message` if there is room.

        Raises:
            MailboxFull: there is none (and the overflow policy is to wait or to fail).
            ActorStopped: the actor had stopped.
        """
        cell = self._cell
        route = cell.routes.get(type(message))
        item: object
        if route is None or not route.plain_tell:
            item = self._item(message, "tell_nowait")
        else:
            cause = current.get() or cell.system.inline
            item = message if cause is None else (message, cause.carried or carried_of(cause))
        mailbox = cell.mailbox
        if mailbox.count < mailbox.limit:
            mailbox.count += 1
            batch = mailbox.open
            if batch is not None:
                batch.append(item)
            else:
                mailbox.push(item)
            if mailbox.sleeper is not None:
                mailbox.poke()
        elif not places(cell, item):
            raise cell.full_error()

    def _item(self, message: object, verb: str) -> object:
        """What to queue for a tell: the bare message, with what it carries, or an envelope for a context.

        Raises:
            TypeError: it cannot be sent that way.
            ActorStopped: the actor had stopped.
        """
        cell = self._cell
        route = cell.routes.get(type(message))
        if route is None or not route.is_tell:
            route = cell.check(message, verb)
        cause = current.get() or cell.system.inline
        carried = carried_of(cause) if cause is not None else None
        if route is not None and route.plain_tell:
            return message if carried is None else (message, carried)
        envelope = Envelope(message, cell)
        envelope.carried = carried
        if route is not None and route.context:
            envelope.context = contextvars.copy_context()
        return envelope

    # ------------------------------------------------------------ the end
    @trio.lowlevel.enable_ki_protection
    def stop(self) -> None:
        """Ask the actor to stop for good; see `wait_stopped`. Its supervisor forgets it."""
        cell = self._cell
        cast("Supervisor", cell.supervisor).stop_soon(cell)

    @trio.lowlevel.enable_ki_protection
    def kill(self) -> None:
        """End the present incarnation at once: it is cancelled, `on_stop` does not run.

        Its supervisor restarts it as after a crash, unless it is temporary.
        """
        self._cell.kill()

    @awaited("ref.wait_stopped()", "await ref.wait_stopped()")
    async def wait_stopped(self) -> None:
        """Wait until the actor has stopped for good. Bound it with a cancel scope of your own."""
        await self._cell.wait_stopped()

    def monitor(self) -> Monitor:
        """Watch it end: `with ref.monitor() as m: down = await m.down()`."""
        return Monitor(self._cell)

    def child_of(self, supervisor: Supervisor) -> Child | None:  # noqa: ARG002 - as `SupervisorRef.child_of`
        """What this ref stands for."""
        return self._cell

    # ------------------------------------------------------------ orders
    async def suspend(self, *, timeout: Seconds | None = None) -> None:
        """Let it handle no further message until `resume`; gives when what it has in hand has ended.

        Messages wait meanwhile, asks may time out. A restart ends it. Cancelled: it may be suspended or not.
        """
        await self._order(suspend, timeout, quiet=True)

    async def resume(self, *, timeout: Seconds | None = None) -> None:
        """Let it go on."""
        await self._order(resume, timeout)

    async def get_state(self, *, timeout: Seconds | None = None) -> Any:
        """Its state between two messages: what `snapshot` gives, else a shallow copy of its attributes."""
        return await self._order(get_state, timeout)

    async def replace_state(self, state: object, *, timeout: Seconds | None = None) -> None:
        """Put `state` in the place of its own between two messages: through `restore`, else as its attributes."""
        await self._order(replace_state(state), timeout, quiet=True)

    async def swap(
        self,
        factory: Callable[[], Actor],
        convert: Callable[[Any], object] | None = None,
        *,
        timeout: Seconds | None = None,
    ) -> None:
        """Let it go on as what `factory` gives, with its state, between two messages; later restarts use `factory` too.

        `convert` makes the new state of the old one. `on_stop` and `on_start` do not run: the actor lives on. If
        `factory`, `convert` or `restore` raises, that is raised here and nothing has changed.
        """
        await self._order(swap(factory, convert), timeout, quiet=True)

    @trio.lowlevel.enable_ki_protection
    async def _order(self, act: Callable[..., object], timeout: Seconds | None, *, quiet: bool = False) -> object:
        cell = self._cell
        if cell.over:
            raise cell.stopped_error()
        origin = current.get()
        cell.rouse()
        chain = ask_chain(origin, cell)
        order = Order(cell, _deadline(cell, origin, timeout), act, quiet=quiet)
        if chain is not None:
            raise ask_cycle(cell.name, order, chain, cell.actor_class)
        order.task = current_task()
        cell.order(order)
        alarms = cell.system.alarms
        alarms.young[order] = None
        if order.deadline < alarms.next:
            alarms.sooner(order.deadline)
        try:
            return await wait_task_rescheduled(order.abort)
        finally:
            alarms.young.pop(order, None)


class LazyRef(Ref[A_co]):
    """A ref that leads to no cell yet; its first use makes one, and then it is a `Ref` like any other.

    A class of its own because `__getattr__` makes reading any attribute of a class several times slower.
    """

    __slots__ = ()

    def __init__(self, dormant: Dormant) -> None:
        self._dormant = dormant

    def __getattr__(self, name: str) -> Any:
        # Reached only when `_cell` is not set. The actor sleeps on until the first message.
        if name == "_cell":
            dormant = self._dormant
            if dormant is not None:
                return dormant.materialise()
        raise AttributeError(f"'Ref' object has no attribute {name!r}")


def _deadline(cell: Cell, origin: Envelope | None, timeout: Seconds | None) -> Seconds:
    deadline = origin.deadline if origin is not None else INF
    if timeout is not None:
        return min(deadline, trio.current_time() + timeout)
    return trio.current_time() + cell.system.ask_timeout if deadline == INF else deadline


async def _wait_to_tell(cell: Cell, item: object) -> None:
    """Queue a tell when there is room, however long that takes: bound it with a cancel scope. Cancelled: not sent.

    Raises:
        ActorStopped: the actor stopped meanwhile.
        MailboxFull: the handler that sends it is what the mailbox waits for, so there will never be room.
    """
    if ask_chain(current.get(), cell) is not None:
        raise cell.full_error()
    if not await cell.mailbox.put(item):
        raise cell.stopped_error()


async def _wait_for_room(cell: Cell, envelope: Envelope) -> None:
    """Queue `envelope` when there is room. Cancelled: it was not queued.

    Raises:
        ActorStopped: the actor stopped meanwhile.
        AskTimeout: no room within the deadline.
    """
    envelope.state = HELD  # not in the mailbox yet: nothing is withdrawn from there if the asker goes
    with trio.move_on_at(envelope.deadline):
        if not await cell.mailbox.put(envelope):
            raise cell.gone_error()
        return
    raise envelope.too_late()
