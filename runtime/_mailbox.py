"""The queue before an actor: a bounded trio memory channel with a parking place on either side.

The channel carries the messages, in batches: whoever sends while the newest batch is still in the channel adds to it.
So a burst pays for the two calls of the channel (200 and 65 ns, a quarter of a whole tell) once and not once a message;
with them paid each time `tell_nowait` was 6.4 times as fast as a channel's send and receive, and is 9 times like this
(`python -m tests.benchmarks.kernel --only tell_nowait`). The bound is on messages, not on batches.

Two things are ours. An idle actor sleeps in its own place, not inside `receive()`, so that an order reaches it without
room in the queue, and an empty mailbox costs no exception. Senders that find no room stand in `line`, first come first
served, and whoever makes room moves the first one's message in himself. So a newcomer cannot overtake, a teller that
wakes up has been served, and an asker is not woken at all: it sleeps on until it is answered. With a hundred clients of
one actor that halves the cost of an ask.

An asker that gives up leaves a dead envelope behind. Dead ones are skipped when their turn comes, and swept
as soon as somebody needs the room: 64 timed-out asks to a stuck actor leave 64 free places.

A tell that carries nothing (no trace, no baggage) is queued bare, without an envelope: that halves its cost.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, cast

import trio

from ._envelope import HELD, QUEUED, WITHDRAWN, Envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    import outcome


class _Nothing:
    """What a woken actor is handed: trio only asks `unwrap()` of it, and one for all is enough."""

    def unwrap(self) -> None:
        """Nothing."""


NOTHING = cast("outcome.Outcome[object]", _Nothing())


class _Served(_Nothing):
    """What a sender that stood in line is handed: whether its message was queued."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer

    # trio hands on whatever it is
    def unwrap(self) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Whether it was."""
        return self.answer


SERVED = cast("outcome.Outcome[object]", _Served(answer=True))
TURNED_AWAY = cast("outcome.Outcome[object]", _Served(answer=False))


class MailboxQueue:
    """At most `capacity` living messages; `close` turns away whoever still waits for room."""

    __slots__ = (
        "_receive",
        "_send",
        "batch",
        "capacity",
        "closed",
        "count",
        "dead",
        "limit",
        "line",
        "open",
        "simple",
        "sleeper",
    )

    def __init__(self, capacity: int) -> None:
        self.capacity: int = capacity
        # A sender that finds fewer messages than `limit` may queue without asking `offer`, and the actor of a simple
        # queue takes without asking `take`: a call costs as much as all else they do.
        self.limit: int = capacity
        self.simple: bool = True
        send, receive = trio.open_memory_channel["list[object]"](capacity)
        self._send: Callable[[list[object]], None] = send.send_nowait
        self._receive: Callable[[], list[object]] = receive.receive_nowait
        self.open: list[object] | None = None  # the newest batch: in the channel, and may still grow
        self.batch: list[object] = []  # the one that is being read, in reverse
        self.line: OrderedDict[trio.lowlevel.Task, object] | None = None  # who waits for room, with what
        self.count: int = 0  # messages in the channel
        self.dead: int = 0  # of these, withdrawn by their askers
        self.sleeper: trio.lowlevel.Task | None = None
        self.closed: bool = False

    def __len__(self) -> int:
        return self.count - self.dead

    @property
    def waiting_senders(self) -> int:
        """How many senders wait for room."""
        return len(self.line) if self.line is not None else 0

    # ------------------------------------------------------------ through the channel, in batches
    def push(self, item: object) -> None:
        """Put one more into the channel: into the newest batch if nobody has taken that out yet."""
        if self.open is not None:
            self.open.append(item)
        else:
            self.open = [item]
            self._send(self.open)

    def pull(self) -> object:
        """The next one out of the channel; only when there is one."""
        batch = self.batch
        if not batch:
            batch = self.batch = self._receive()
            if batch is self.open:
                self.open = None
            batch.reverse()
        return batch.pop()

    # ------------------------------------------------------------ the senders' side
    def offer(self, item: object) -> bool:
        """Queue `item` if there is room and nobody stands in line for it."""
        if self.line:
            return False
        if self.count >= self.capacity:
            self._sweep()
            if self.count >= self.capacity:
                return False
        self.push(item)
        self.count += 1
        sleeper = self.sleeper
        if sleeper is not None:
            self.sleeper = None
            trio.lowlevel.reschedule(sleeper, NOTHING)
        return True

    async def put(self, item: object) -> bool:
        """Queue `item`, waiting for room; False if the mailbox closed meanwhile. Cancelled: not queued.

        A checkpoint only if it has to wait.
        """
        if self.offer(item):
            return True
        if self.closed:
            return False
        task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self.leave_line(task)
            return trio.lowlevel.Abort.SUCCEEDED

        self.stand_in_line(task, item)
        return bool(await trio.lowlevel.wait_task_rescheduled(abort))

    def stand_in_line(self, task: trio.lowlevel.Task, item: object) -> None:
        """Queue `item` as soon as there is room. An asker (`item.task`) sleeps on, any other task is then woken."""
        if self.line is None:
            self.line = OrderedDict()
        self.line[task] = item
        self.limit = 0

    def leave_line(self, task: trio.lowlevel.Task) -> bool:
        """Whoever stood in line has gone; whether it did stand there."""
        if not self.line or self.line.pop(task, None) is None:
            return False
        if not self.line and self.simple:
            self.limit = self.capacity
        return True

    def withdrawn(self) -> None:
        """One of the queued envelopes has lost its asker."""
        self.dead += 1
        if self.line:
            self._sweep()

    def _sweep(self) -> None:
        if not self.dead:
            return
        living = [item for item in self._drain() if not _dead(item)]
        for item in living:
            self._requeue(item)
        self.count, self.dead = len(living), 0
        self.admit()

    def _requeue(self, item: object) -> None:
        self.push(item)

    def _drain(self) -> list[object]:
        return [self.pull() for _ in range(self.count)]

    def admit(self) -> None:
        """Let in whoever stands in line, first come first served, as far as there is room."""
        line = self.line
        while line and self.count < self.capacity:
            task, item = line.popitem(last=False)
            self.push(item)
            self.count += 1
            if isinstance(item, Envelope):
                item.state = QUEUED
                if item.task is not None:
                    continue
            trio.lowlevel.reschedule(task, SERVED)
        if not line and self.simple:
            self.limit = self.capacity
        self.poke()

    # ------------------------------------------------------------ the actor's side
    def take(self) -> object:
        """The next item; only when `count` is not 0. It may be a withdrawn envelope: the caller looks."""
        item = self.pull()
        self.count -= 1
        if self.line:
            self.admit()
        return item

    def close(self) -> tuple[object, ...]:
        """Refuse all further messages; gives the living ones that were waiting, also those of askers in line."""
        self.closed = True
        waiting = [item for item in self._drain() if not _dead(item)]
        self.count = self.dead = 0
        self.capacity = self.limit = 0  # `offer` refuses from now on
        while self.line:
            task, item = self.line.popitem(last=False)
            if isinstance(item, Envelope) and item.task is not None:
                waiting.append(item)
            else:
                trio.lowlevel.reschedule(task, TURNED_AWAY)
        for item in waiting:
            if isinstance(item, Envelope):
                item.state = HELD
        return tuple(waiting)

    async def sleep(self) -> None:
        """Sleep until poked. Only the actor's own task may."""
        self.sleeper = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self.abort_sleep)

    def abort_sleep(self, _: object) -> trio.lowlevel.Abort:
        """Trio's abort function of a sleeping actor."""
        self.sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED

    def poke(self) -> None:
        """Wake the actor if it sleeps."""
        sleeper, self.sleeper = self.sleeper, None
        if sleeper is not None:
            trio.lowlevel.reschedule(sleeper, NOTHING)


def _dead(item: object) -> bool:
    return isinstance(item, Envelope) and item.state == WITHDRAWN
