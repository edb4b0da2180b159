"""A cell: the stable identity of an actor, its mailbox, and what outlives a crash.

Ref -> Cell -> Incarnation. The ref is what others hold. The cell outlives crashes: it owns the mailbox, so that
waiting messages survive a restart, the stash, the last snapshot, and the incarnation number, so that nothing of an old
life is taken for the new one's. An incarnation is one task and one instance of the actor class (`_incarnation.py`).

`routes` is what senders look at: the handlers of the actor's class by message class. It is empty while the class is not
known yet and after the actor has stopped, so that one look-up in a dict answers three questions in the hot path: is
there such a handler, is it of the right kind, does the actor still live.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import attrs

from ._actor import Actor
from ._child import NEW, STOPPED, ActorNode, CellState, Child
from ._crash_report import CrashReport
from ._envelope import HELD, WITHDRAWN, Ask, Envelope, Stream, Tell, message_of
from ._errors import ActorError, ActorStopped, MailboxFull, StartFailed
from ._events import DeadLetter
from ._incarnation import Incarnation
from ._mailbox import MailboxQueue
from ._mistakes import stopped_with_system, wrong_message
from ._monitor import Down
from ._overflow import mailbox_queue
from ._spec import ChildSpec, ExitReason, Overflow
from ._traceback_text import said

if TYPE_CHECKING:
    from ._handler import Route
    from ._orders import Order
    from ._ref import Ref
    from ._supervisor import Supervisor
    from ._system import System

BASES: dict[str, type[object]] = {"ask": Ask, "ask_many": Ask, "stream": Stream}
_NO_ROUTES: dict[type, Route | None] = {}

Fault = Callable[[str, object], BaseException | None]
"""Test hook: called with a phase (queued, taken, handled) and the message; an exception it gives crashes the actor."""


@attrs.frozen(kw_only=True)
class ActorStatistics:
    """What an actor has done so far. `queued` messages wait, `senders` wait for room, `dropped` found none."""

    name: str
    state: str
    incarnation: int
    queued: int
    senders: int
    capacity: int
    handled: int
    crashes: int
    dead_letters: int
    dropped: int = 0
    stashed: int = 0


class Cell(Child):
    """See the head of this file. Made by a supervisor, reached through a `Ref`."""

    __slots__ = (
        "_life",
        "actor_class",
        "asleep",
        "attention",
        "dead_letters",
        "dropped",
        "fault",
        "front",
        "handled",
        "lane",
        "mailbox",
        "ref",
        "routes",
        "snapshot",
        "start",
        "stash",
    )

    def __init__(
        self, system: System, supervisor: Supervisor, spec: ChildSpec, name: str, ref: Ref[Actor] | None = None
    ) -> None:
        from ._ref import Ref

        super().__init__(system, supervisor, spec, name)
        self.ref: Ref[Actor] = Ref(self) if ref is None else ref  # pyright: ignore[reportIncompatibleVariableOverride] - set only here
        self.start: Callable[[], Actor] = cast("Callable[[], Actor]", spec.start)
        self.mailbox: MailboxQueue = mailbox_queue(spec.mailbox, self.drop)
        self.routes: dict[type, Route | None] = _NO_ROUTES
        self.actor_class: type[Actor] | None = None
        self.attention: bool = False  # something else than an ordinary message is due: the slow way round
        self.handled: int = 0
        self.dead_letters: int = 0
        self.dropped: int = 0
        self.asleep: bool = False  # a lazy actor that nobody has sent anything to
        self.fault: Fault | None = None
        self.lane: deque[Order] | None = None  # orders: suspend, get_state ...
        self.front: deque[object] | None = None  # due before the mailbox: held back, unstashed, delivered again
        self.stash: deque[Envelope] | None = None
        self.snapshot: tuple[object] | None = None
        self._life: Incarnation | None = None

    # ------------------------------------------------------------ what refs ask
    def stopped_error(self, verb: str = "ask") -> ActorStopped:
        """The error for whoever asks an actor that is gone."""
        if self.system.root.over:
            return stopped_with_system(verb, self.name, self.system.name)
        last = self.last_end
        why = f"; its last crash was {said(last.error)}" if last is not None and last.error is not None else ""
        return ActorStopped(
            f"actor {self.name!r} has stopped and cannot answer{why}. "
            "Spawn it again, or hold on to a ref of an actor that lives.",
            actor=self.name,
        )

    def full_error(self) -> MailboxFull:
        """The error for whoever found no room."""
        return MailboxFull(
            f"the mailbox of {self.name!r} is full ({self.mailbox.capacity} messages). "
            "Await `tell` to wait for room, spawn it with a larger Mailbox, or choose another `overflow`.",
            actor=self.name,
        )

    def check(self, message: object, verb: str) -> Route | None:
        """The route of a message that the fast look-up did not find; None while the class is not known.

        Raises:
            TypeError: it cannot be sent that way; the text shows the right line.
            ActorStopped: the actor had stopped.
        """
        actor = self.actor_class
        base = BASES.get(verb, Tell)
        route = actor.__route__(type(message)) if actor is not None and isinstance(message, base) else None
        if not isinstance(message, base) or (route is None and actor is not None):
            raise wrong_message(verb, message, actor, self.name)
        if self.over:
            raise self.stopped_error(verb)
        self.rouse()
        return route

    @property
    def idle(self) -> bool:
        """Whether an inline handler may run now: the actor's task sleeps, nothing waits, nothing is in flight."""
        life, mailbox = self._life, self.mailbox
        return (
            mailbox.sleeper is not None
            and not mailbox.count
            and not self.attention
            and life is not None
            and not life.running
        )

    @property
    def ends_unseen(self) -> bool:
        """Whether nobody can tell when it ends: see `Supervisor._stop_children`."""
        life = self._life
        return (
            self.idle
            and life is not None
            and life.family is None
            and not life.links
            and not self.monitors
            and not type(life.actor).__stops__
        )

    def rouse(self) -> None:
        """Begin the first life of a lazy actor: somebody wants something of it."""
        if self.asleep:
            self.asleep = False
            cast("Supervisor", self.supervisor).rouse(self)

    def waiting(self) -> int:
        """How many messages wait."""
        return len(self.mailbox) + (len(self.front) if self.front else 0)

    def statistics(self) -> ActorStatistics:
        """A record of the counters."""
        return ActorStatistics(
            name=self.name,
            state=self.state.value,
            incarnation=self.incarnation,
            queued=self.waiting(),
            senders=self.mailbox.waiting_senders,
            capacity=self.spec.mailbox.capacity,
            handled=self.handled,
            crashes=self.crashes,
            dead_letters=self.dead_letters,
            dropped=self.dropped,
            stashed=len(self.stash) if self.stash else 0,
        )

    def crash_reports(self) -> tuple[CrashReport, ...]:
        """The last crashes, oldest first."""
        return tuple(self.reports or ())

    # ------------------------------------------------------------ what nobody will handle
    def dead_letter(self, message: object, why: str) -> None:
        """Count a message that nobody will handle, and say so to whoever listens."""
        self.dead_letters += 1
        events = self.system.event_bus
        if events.active:
            now = self.system.clock.now()
            suppressed = self.system.letters.admit(now)
            if suppressed is not None:
                kind = type(message).__qualname__
                events.emit(DeadLetter(at=now, actor=self.name, message=kind, why=why, suppressed=suppressed))

    def drop(self, item: object, why: str) -> None:
        """A message for which there was no room: fail its asker at once, or count a dead letter."""
        self.dropped += 1
        if isinstance(item, Envelope):
            item.fail(self.full_error())
        self.dead_letter(message_of(item), why)

    def refuse(self, item: object, why: str) -> None:
        """Fail the asker of a message that a stopped actor will not handle, or count a dead letter."""
        if not (isinstance(item, Envelope) and (item.state == WITHDRAWN or item.fail(self.gone_error()))):
            self.dead_letter(message_of(item), why)

    def gone_error(self) -> ActorError:
        """Why a message that waits will not be handled: the actor never started, or has stopped."""
        stopped = isinstance(self._start_error, ActorStopped)  # while it started: that is no failure of the start
        if self._start_error is not None and self.incarnation == 1 and not stopped:
            error: StartFailed = self._start_failed(self._start_error)
            error.__cause__ = self._start_error
            return error
        return self.stopped_error()

    # ------------------------------------------------------------ the system lane
    @property
    def life(self) -> Incarnation | None:
        """The incarnation that runs, if one does."""
        return self._life

    def _poke(self) -> None:
        self.attention = True
        self.mailbox.poke()

    def order(self, order: Order) -> None:
        """Put an order on the lane that a full mailbox never blocks."""
        if self.lane is None:
            self.lane = deque()
        if len(self.lane) >= 64:  # then bounded by the tasks that still wait for theirs
            self.lane = deque(waiting for waiting in self.lane if waiting.state < WITHDRAWN)
        self.lane.append(order)
        self._poke()

    # ------------------------------------------------------------ the life of a child
    def _life_of_its_own(self) -> Callable[[], Awaitable[None]]:
        self.asleep = False  # whoever begins its life: the first message has nothing left to do
        self._life = Incarnation(self)
        return self._life.live

    def _cut(self, why: str) -> bool:
        return self._life is not None and self._life.cut_off(why)

    def started(self, routes: dict[type, Route | None]) -> None:
        """The incarnation has run `on_start`."""
        self.routes = routes
        self._started()

    def crash(self, error: BaseException) -> None:
        """End the present incarnation as crashed; between two lives there is nothing to crash."""
        if self._life is not None:
            self._life.crash(error)

    def resumed(self, error: Exception, report: CrashReport) -> None:
        """A handler raised what the directives say to go on after."""
        self.system.log.warning("[%s] goes on after %s", self.name, said(error))
        self.keep(report)

    def life_over(self, reason: ExitReason, handling: tuple[str, ...]) -> None:
        """The last thing an incarnation does."""
        self._life = None
        self.mailbox.sleeper = None
        if self.stash:  # what a life had set aside waits for the next one, in front of the rest
            self.unstash()
        self.attention = True
        self._end(reason, handling)

    def unstash(self) -> None:
        """Put what was set aside back in front of everything that waits, in its order."""
        if self.stash:
            front: deque[object] = self.front if self.front is not None else deque()
            front.extendleft(reversed(self.stash))
            self.stash.clear()
            self.front = front
            self.attention = True

    def hold(self, item: object) -> None:
        """Put one item in front of everything that waits."""
        if isinstance(item, Envelope) and item.state != WITHDRAWN:
            item.state = HELD
        if self.front is None:
            self.front = deque()
        self.front.appendleft(item)
        self.attention = True

    def down(self, reason: ExitReason) -> Down:
        """The record that monitors get."""
        return Down(self.ref, reason, self.incarnation)

    def family_nodes(self) -> tuple[ActorNode, ...]:
        """The children that the present incarnation has spawned."""
        family = self._life.family if self._life is not None else None
        return family.node().children if family is not None else ()

    def _closed(self) -> None:
        self.routes = _NO_ROUTES
        for item in (*self._taken_out(), *self.mailbox.close()):
            self.refuse(item, "the actor has stopped")
        while self.lane:
            self.lane.popleft().fail(self.stopped_error())
        self.system.registry.forget(self)

    def _taken_out(self) -> list[object]:
        items = [*(self.front or ()), *(self.stash or ())]
        self.front = self.stash = None
        return items

    def revive(self) -> None:
        """Make a child that was stopped and kept ready for another life. Raises `StartFailed` if its name is taken."""
        if self.state is STOPPED:
            self.system.registry.register(self)
            self.mailbox = mailbox_queue(self.spec.mailbox, self.drop)
            self.state: CellState = NEW
            if self.actor_class is not None:
                self.routes = self.actor_class.__routes__


def places(cell: Cell, item: object) -> bool:
    """Put `item` into the mailbox of `cell` now; False if that needs a wait for room.

    Raises:
        MailboxFull: there is none and the mailbox says FAIL, or the message is dropped and somebody asked.
        ActorStopped: the actor has stopped.
    """
    mailbox = cell.mailbox
    if mailbox.offer(item):
        return True
    if mailbox.closed:
        raise cell.gone_error()
    overflow = cell.spec.mailbox.overflow
    if overflow is Overflow.WAIT:
        return False
    if overflow is Overflow.FAIL:
        cell.dropped += 1
        raise cell.full_error()
    asked = isinstance(item, Envelope) and item.asked
    cell.drop(message_of(item), "the mailbox was full")
    if asked:
        raise cell.full_error()
    return True
