"""The queue before an actor: a bounded trio memory channel with a parking place on either side.

The channel holds the messages (bound, order). Two things are ours. An idle actor sleeps in its own place,
not inside `receive()`, so that a stop reaches it without room in the queue. Senders that find no room park
in a `ParkingLot`, first come first served; a place is promised to the one that is woken, so a newcomer
cannot overtake it.

An asker that gives up leaves a dead envelope behind. Dead ones are skipped when their turn comes, and swept
as soon as somebody needs the room: 64 timed-out asks to a stuck actor leave 64 free places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._envelope import State

if TYPE_CHECKING:
    from ._envelope import Envelope


class MailboxQueue:
    """At most `capacity` living envelopes; `close` turns away whoever still waits for room."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._send, self._receive = trio.open_memory_channel["Envelope"](capacity)
        self._lot = trio.lowlevel.ParkingLot()
        self._promised = 0
        self._count = 0
        self._dead = 0
        self._sleeper: trio.lowlevel.Task | None = None
        self.closed = False

    def __len__(self) -> int:
        return self._count - self._dead

    @property
    def waiting_senders(self) -> int:
        """How many senders wait for room."""
        return len(self._lot)

    # ------------------------------------------------------------ the senders' side
    def put_nowait(self, envelope: Envelope) -> bool:
        """Queue `envelope` if there is room that nobody was promised."""
        if self._count + self._promised >= self.capacity:
            self._sweep()
            if self._count + self._promised >= self.capacity:
                return False
        self._put(envelope)
        return True

    async def put(self, envelope: Envelope) -> bool:
        """Queue `envelope`, waiting for room; False if the mailbox closed meanwhile. Cancelled: not queued."""
        if not self._lot and self.put_nowait(envelope):
            return True
        await self._lot.park()
        if self.closed:
            return False
        self._promised -= 1
        self._put(envelope)
        return True

    def _put(self, envelope: Envelope) -> None:
        self._send.send_nowait(envelope)
        envelope.queued = True
        self._count += 1
        self.poke()

    def withdrawn(self) -> None:
        """One of the queued envelopes has lost its asker."""
        self._dead += 1
        if self._lot:
            self._sweep()

    def _sweep(self) -> None:
        if not self._dead:
            return
        living = [e for e in self._drain() if e.state is not State.WITHDRAWN]
        for envelope in living:
            self._send.send_nowait(envelope)
            envelope.queued = True
        self._count, self._dead = len(living), 0
        self._admit()

    def _drain(self) -> list[Envelope]:
        drained: list[Envelope] = []
        while self._count:
            envelope = self._receive.receive_nowait()
            envelope.queued = False
            drained.append(envelope)
            self._count -= 1
        return drained

    def _admit(self) -> None:
        while self._lot and self._count + self._promised < self.capacity:
            self._promised += 1
            self._lot.unpark(count=1)

    # ------------------------------------------------------------ the actor's side
    def take(self) -> Envelope | None:
        """The next living envelope, or None."""
        while self._count:
            envelope = self._receive.receive_nowait()
            envelope.queued = False
            self._count -= 1
            if envelope.state is State.WITHDRAWN:
                self._dead -= 1
                continue
            self._admit()
            return envelope
        self._admit()
        return None

    def close(self) -> tuple[Envelope, ...]:
        """Refuse all further messages; gives the living ones that were waiting."""
        self.closed = True
        waiting = tuple(e for e in self._drain() if e.state is not State.WITHDRAWN)
        self._dead = 0
        self._lot.unpark_all()
        return waiting

    async def sleep(self) -> None:
        """Sleep until poked. Only the actor's own task may."""
        self._sleeper = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort_sleep)

    def _abort_sleep(self, _: object) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED

    def poke(self) -> None:
        """Wake the actor if it sleeps."""
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            trio.lowlevel.reschedule(sleeper)
