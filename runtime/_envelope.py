"""What travels in a mailbox: the message, and for an ask the sleeping asker with its deadline.

The reply goes straight to the asker's task (`reschedule`): no channel, Event or cancel scope per message. A channel
a reply costs about 6 us and a scope per message 6-8 us, a third of a whole ask; the direct way costs neither. Trio
only asks `unwrap()` of what it hands to the sleeper, so the envelope itself is handed over: no `outcome` a reply.

The abort function, which trio runs when the asker is cancelled while asleep, withdraws a message that still waits
and cancels a handler that works for this asker alone. The envelope in hand is also what a handler inherits (deadline,
trace, baggage, who waits for whom): see `_deadline.py`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import trio

from ._clock import Seconds
from ._errors import AskTimeout

if TYPE_CHECKING:
    import contextvars

    import outcome

    from ._cell import Cell
    from ._handler import Route
    from ._mailbox import MailboxQueue
    from ._system import System

T_co = TypeVar("T_co", covariant=True)


class Ask(Generic[T_co]):
    """Base of messages that are answered with a `T`: `await ref.ask(Add(2))` is an int if `Add(Ask[int])`."""

    __slots__ = ()


class Tell:
    """Base of messages that have no answer."""

    __slots__ = ()


class Stream(Generic[T_co]):
    """Base of messages that are answered with many `T`, one after another, as fast as the asker takes them."""

    __slots__ = ()


_NOTHING: Mapping[str, object] = MappingProxyType({})


class Carried:
    """What a message passes on to the tells it causes: its trace, and the baggage that `carry` put on the way.

    One object for all of them, however long the chain gets; the text of the trace is made when somebody reads it.
    """

    __slots__ = ("_first", "_trace", "baggage")

    def __init__(self, first: Carried | None = None, baggage: Mapping[str, object] = _NOTHING) -> None:
        self.baggage: Mapping[str, object] = baggage
        self._first = first
        self._trace: str | None = None

    def trace(self, system: System) -> str:
        """The id that every message caused by the same first message shares."""
        if self._first is not None:
            return self._first.trace(system)
        if self._trace is None:
            self._trace = system.new_trace()
        return self._trace


class State(enum.IntEnum):
    """Where an envelope stands."""

    QUEUED = 0
    """In the mailbox, or on its way there."""
    HELD = 1
    """Taken out of the mailbox and not yet handled: stashed, waiting for a concurrent handler, an order."""
    IN_HAND = 2
    WITHDRAWN = 3
    ANSWERED = 4


QUEUED, HELD, IN_HAND, WITHDRAWN, ANSWERED = State


class Envelope:
    """One message on its way, and who waits for the answer (`task` is None for a tell)."""

    __slots__ = (
        "attempts",
        "carried",
        "cell",
        "context",
        "deadline",
        "error",
        "message",
        "origin",
        "route",
        "scope",
        "state",
        "task",
        "value",
    )

    def __init__(
        self,
        message: object,
        cell: Cell | None,
        deadline: Seconds = math.inf,
        origin: Envelope | None = None,
        task: trio.lowlevel.Task | None = None,
    ) -> None:
        self.message: object = message
        self.cell: Cell | None = cell
        self.deadline: Seconds = deadline
        self.origin: Envelope | None = origin  # the envelope in whose handling this ask was made
        self.task = task
        self.state: int = QUEUED
        self.error: BaseException | None = None
        self.carried: Carried | None = None  # made when it is first passed on or read
        self.context: contextvars.Context | None = None
        self.attempts: int = 0  # incarnations that crashed with it in hand
        # `route` and `scope` are set when it is taken in hand, `value` when it is answered.
        self.route: Route | None
        self.scope: trio.CancelScope
        self.value: object

    @property
    def asked(self) -> bool:
        """Whether somebody waits for the answer, or did until it withdrew."""
        return self.task is not None or self.state == WITHDRAWN

    # ------------------------------------------------------------ the asker's side
    def withdraw(self) -> None:
        """The asker is gone: free the place in the mailbox, or cancel the handler that works for it."""
        before, self.state = self.state, WITHDRAWN
        task, self.task = self.task, None
        if self.cell is None:
            return
        if before == QUEUED:
            self.cell.mailbox.withdrawn()
        elif before == HELD:
            if task is not None:
                self.cell.mailbox.leave_line(task)  # if that is where it was held
            self.cell.mailbox.poke()  # it may have been what others were held back behind
        elif before == IN_HAND and not (self.route is not None and self.route.finish):
            self.scope.cancel()

    def abort(self, _: object) -> trio.lowlevel.Abort:
        """Trio's abort function of a sleeping asker."""
        self.withdraw()
        return trio.lowlevel.Abort.SUCCEEDED

    async def wait(self) -> object:
        """Sleep until the answer is there. Cancelled: the message is withdrawn."""
        self.task = trio.lowlevel.current_task()
        return await trio.lowlevel.wait_task_rescheduled(self.abort)

    def expire(self) -> None:
        """The deadline has passed."""
        if self.state < WITHDRAWN:
            task = self.task
            error = self.too_late()
            self.withdraw()
            self.end(task, error)

    def too_late(self) -> AskTimeout:
        """The error for an asker whose deadline has passed."""
        cell = cast("Cell", self.cell)
        return AskTimeout(
            f"{cell.name!r} did not answer {type(self.message).__qualname__} in time "
            f"({cell.state.value}, {cell.waiting()} waiting). "
            "Allow more time, or see what it is busy with.",
            actor=cell.name,
        )

    def unwrap(self) -> object:
        """What trio gives to the asker that wakes up."""
        error = self.error
        if error is None:
            return self.value
        try:
            raise error
        finally:
            self.error = None
            del error, self  # else the traceback would keep this frame, and the frame the traceback

    # ------------------------------------------------------------ the actor's side
    def answer(self, value: object) -> None:
        """Give the asker its answer, if it still waits."""
        if self.state < WITHDRAWN:
            self.state = ANSWERED
            task = self.task
            if task is not None:
                self.task = None
                self.value = value
                trio.lowlevel.reschedule(task, cast("outcome.Outcome[object]", self))

    def fail(self, error: BaseException) -> bool:
        """Answer with an error; False if nobody waits (a tell, or the asker has gone)."""
        if self.state >= WITHDRAWN:
            return False
        self.state = ANSWERED
        task, self.task = self.task, None
        if task is None:
            return False
        self.end(task, error)
        return True

    def end(self, task: trio.lowlevel.Task | None, error: BaseException) -> None:
        """Wake the asker with an error."""
        if task is not None:
            self.error = error
            trio.lowlevel.reschedule(task, cast("outcome.Outcome[object]", self))


class Outside(Envelope):
    """What inline handlers inherit that were asked from outside of any handler, one after another."""

    __slots__ = ("_system",)

    def __init__(self, system: System) -> None:
        self._system = system
        super().__init__(None, None)

    @property
    def deadline(self) -> Seconds:
        """When the ask must be answered: computed when somebody looks, as next to nobody does."""
        return trio.current_time() + self._system.ask_timeout

    @deadline.setter
    def deadline(self, _: Seconds) -> None: ...  # pyright: ignore[reportIncompatibleVariableOverride] - set in vain


def message_of(item: object) -> object:
    """The message of what lies in a mailbox: itself, the first of a tuple, or an envelope's."""
    if isinstance(item, Envelope):
        return item.message
    return item[0] if type(item) is tuple else item  # pyright: ignore[reportUnknownVariableType] - a tell's


class BatchEnvelope(Envelope):
    """One ask of an `ask_many`: its end is told to the batch, which wakes the one asker of all."""

    __slots__ = ("batch", "index")

    def __init__(
        self,
        message: object,
        cell: Cell,
        deadline: Seconds,
        origin: Envelope | None,
        batch: Batch,
        index: int,
    ) -> None:
        super().__init__(message, cell, deadline, origin)
        self.batch = batch
        self.index = index

    @property
    def asked(self) -> bool:
        """Always."""
        return True

    def answer(self, value: object) -> None:
        """Note the answer; the last one wakes the asker."""
        if self.state < WITHDRAWN:
            self.state = ANSWERED
            self.batch.note(self.index, value)

    def fail(self, error: BaseException) -> bool:
        """Note the error; it wakes the asker unless it wanted exceptions as values."""
        if self.state >= WITHDRAWN:
            return False
        self.state = ANSWERED
        self.batch.note_error(self.index, error)
        return True

    def expire(self) -> None:
        """The deadline has passed."""
        if self.state < WITHDRAWN:
            error = self.too_late()
            self.withdraw()
            self.batch.note_error(self.index, error)


class Batch:
    """The asks of one `ask_many` and their answers, in the order of its messages."""

    def __init__(self, *, return_exceptions: bool) -> None:
        self.answers: list[object] = []
        self.envelopes: list[BatchEnvelope] = []
        self.left = 0
        self.failed: BaseException | None = None
        self._return_exceptions = return_exceptions
        self._line: MailboxQueue | None = None  # where the asker stands with its next message
        self._sleeper: trio.lowlevel.Task | None = None

    def open_slot(self) -> int:
        """A place for one more answer."""
        self.answers.append(None)
        self.left += 1
        return len(self.answers) - 1

    def note(self, index: int, value: object) -> None:
        """An answer has come."""
        self.answers[index] = value
        self.left -= 1
        if not self.left or (self._line is not None and index == len(self.answers) - 1):
            self._wake()  # the last one; or the one in line has ended there

    def note_error(self, index: int, error: BaseException) -> None:
        """An ask has failed: a value like another, or the end of them all."""
        if self._return_exceptions:
            self.note(index, error)
        elif self.failed is None:
            self.failed = error
            self.withdraw()
            self._wake()

    def withdraw(self) -> None:
        """Take back what has not been answered."""
        for envelope in self.envelopes:
            if envelope.state < WITHDRAWN:
                envelope.withdraw()

    async def wait_for_room(self, mailbox: MailboxQueue, envelope: BatchEnvelope) -> bool:
        """Stand in line with `envelope` until there is room, it has ended, or the batch has failed.

        Gives whether the mailbox is still open. Cancelled: it was not queued.
        """
        self._sleeper, self._line = trio.lowlevel.current_task(), mailbox
        envelope.state = HELD
        mailbox.stand_in_line(self._sleeper, envelope)
        try:
            return bool(await trio.lowlevel.wait_task_rescheduled(self._abort))
        finally:
            self._sleeper = self._line = None

    async def wait(self) -> None:
        """Until all answers, or the first error, have come: exactly one checkpoint. Cancelled: all are withdrawn."""
        if self.left and self.failed is None:
            self._sleeper = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        if self.failed is not None:
            raise self.failed

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        if self._line is not None and self._sleeper is not None:
            self._line.leave_line(self._sleeper)
        self._sleeper = None
        self.withdraw()
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake(self) -> None:
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is None or (self._line is not None and not self._line.leave_line(sleeper)):
            return  # nobody sleeps, or it has just been let in and is about to wake up
        trio.lowlevel.reschedule(sleeper, cast("outcome.Outcome[object]", _OPEN))


class _Open:
    """What a batch hands to its asker: the mailbox has not been closed."""

    def unwrap(self) -> bool:
        """True."""
        return True


_OPEN = _Open()
