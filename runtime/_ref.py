"""What others hold of an actor. A ref stays valid across restarts and is the only way to reach one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

import trio

from ._actor import Actor
from ._clock import Seconds
from ._deadline import ask_chain, current, effective_deadline
from ._envelope import Ask, Envelope, State, Tell
from ._errors import AskCycle, AskTimeout, MailboxFull

if TYPE_CHECKING:
    from ._cell import ActorStatistics, Cell

T = TypeVar("T")
A_co = TypeVar("A_co", bound=Actor, covariant=True)


class Ref(Generic[A_co]):
    """The address of an actor; comes from the system, never from a constructor call of yours."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def __repr__(self) -> str:
        return f"<Ref {self._cell.name!r} {self._cell.state.value} #{self._cell.incarnation}>"

    @property
    def name(self) -> str:
        """The name the actor is registered under."""
        return self._cell.name

    @property
    def incarnation(self) -> int:
        """1 for the first life, one more after each restart."""
        return self._cell.incarnation

    def statistics(self) -> ActorStatistics:
        """A frozen record of the actor's counters."""
        return self._cell.statistics()

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
        """
        cell = self._cell
        self._check(message, Ask)
        handling = current.get()
        chain = ask_chain(handling, cell)
        if chain is not None:
            raise AskCycle(
                f"asking {cell.name!r} would wait for itself: {' -> '.join(chain)}. "
                "Use tell for one leg, or make a handler on the way concurrent.",
                actor=cell.name,
                chain=chain,
            )
        deadline = effective_deadline(timeout, cell.system.ask_timeout)
        envelope = Envelope(message, cell, State.WAITING, deadline, handling)
        if deadline >= trio.current_effective_deadline():
            return cast("T", await self._post_and_wait(envelope))
        began = trio.current_time()
        with trio.move_on_at(deadline):
            return cast("T", await self._post_and_wait(envelope))
        raise AskTimeout(
            f"{cell.name!r} did not answer {type(message).__qualname__} within {deadline - began:.3g} s "
            f"({cell.state.value}, {len(cell.mailbox)} waiting). Allow more time, or see what it is busy with.",
            actor=cell.name,
        )

    async def _post_and_wait(self, envelope: Envelope) -> object:
        box = self._cell.mailbox
        self._cell.require_alive()
        if not (box.waiting_senders == 0 and box.put_nowait(envelope)) and not await box.put(envelope):
            raise self._cell.stopped_error()
        return await envelope.wait()

    async def tell(self, message: Tell) -> None:
        """Send `message` and do not wait for it to be handled; waits for room if the mailbox is full.

        Cancelled: nothing was sent.

        Raises:
            ActorStopped: the actor had stopped, or stopped while there was no room.
        """
        self._check(message, Tell)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._cell.require_alive()
        if await self._cell.mailbox.put(self._envelope(message)):
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            raise self._cell.stopped_error()

    def tell_nowait(self, message: Tell) -> None:
        """Send `message` if there is room.

        Raises:
            MailboxFull: there is none.
            ActorStopped: the actor had stopped.
        """
        self._check(message, Tell)
        cell = self._cell
        cell.require_alive()
        if not cell.mailbox.put_nowait(self._envelope(message)):
            raise MailboxFull(
                f"the mailbox of {cell.name!r} is full ({cell.mailbox.capacity} messages). "
                "Await `tell` to wait for room, or spawn it with a larger Mailbox.",
                actor=cell.name,
            )

    def stop(self) -> None:
        """Ask the actor to stop for good; see `wait_stopped`."""
        self._cell.supervisor.stop_soon(self._cell)

    async def wait_stopped(self) -> None:
        """Wait until the actor has stopped for good. Bound it with a cancel scope of your own."""
        await self._cell.ended.wait()

    def _envelope(self, message: Tell) -> Envelope:
        return Envelope(message, self._cell, State.TELL, float("inf"), current.get())

    def _check(self, message: object, base: type) -> None:
        kind = type(message)
        if not isinstance(message, base):
            raise TypeError(self._wrong(message, base))
        actor = self._cell.actor_class
        if actor is not None and actor.__dispatch__(kind) is None:
            raise TypeError(
                f"{actor.__qualname__} has no handler for {kind.__qualname__}. Add one: "
                f"`@handler async def ...(self, message: {kind.__qualname__})`"
            )

    def _wrong(self, message: object, base: type) -> str:
        if isinstance(message, type) and issubclass(message, base):
            return f"{message.__qualname__} is a class: send an instance, `{message.__qualname__}(...)`"
        if isinstance(message, Ask | Tell):
            right = "ask" if base is Tell else "tell"
            wrong = "tell" if base is Tell else "ask"
            return (
                f"{type(message).__qualname__} cannot be sent with `{wrong}`: `await ref.{right}(...)` is meant for it"
            )
        return f"{message!r} is not a message: derive its class from trouper.{base.__name__}"
