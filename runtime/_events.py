"""What an operator would ask at night, as frozen records.

Nobody listening costs one attribute check. A listener has a bounded buffer: when it is full the event is
dropped for that listener and counted in `dropped`, never is an actor made to wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import attrs
import trio

from ._clock import Seconds
from ._spec import ExitReason


@attrs.frozen(kw_only=True)
class Event:
    """Something happened to `actor` at `at` (trio's clock, seconds)."""

    at: Seconds
    actor: str


@attrs.frozen(kw_only=True)
class ActorStarted(Event):
    """An incarnation has run `on_start`."""

    incarnation: int


@attrs.frozen(kw_only=True)
class ActorEnded(Event):
    """An incarnation ended; a crash has its error in `reason`; `handling` names the messages in hand."""

    incarnation: int
    reason: ExitReason
    handling: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ActorRestarting(Event):
    """The supervisor starts the next incarnation after `delay` seconds."""

    incarnation: int
    delay: Seconds


@attrs.frozen(kw_only=True)
class Escalated(Event):
    """A supervisor (`actor`) gave up on `child`."""

    child: str
    message: str


@attrs.frozen(kw_only=True)
class DeadLetter(Event):
    """A message to `actor` that nobody will handle. Of a storm only so many a second become events."""

    message: str
    why: str
    suppressed: int = 0
    """How many dead letters of the system before this one had no event."""


@attrs.frozen(kw_only=True)
class Unstoppable(Event):
    """The actor ignores its cancellation; the system waits for it because nothing may outlive it."""

    waited: Seconds
    stack: str = ""
    """Where its task is, outermost frame first."""


@attrs.frozen(kw_only=True)
class Stuck(Event):
    """A handler has made no progress for its watchdog's limit."""

    message: str
    """The class of the message in its hands."""
    waited: Seconds
    stack: str = ""
    """Where its task is, outermost frame first."""


@attrs.frozen(kw_only=True)
class Suspended(Event):
    """The actor handles no messages until it is resumed; they wait."""

    incarnation: int


@attrs.frozen(kw_only=True)
class Resumed(Event):
    """The actor handles messages again."""

    incarnation: int


class EventStream:
    """A bounded subscription: `with system.events() as events: async for event in events: ...`.

    Its own queue and not a channel of trio: a listener must not make what it listens to slow, and an event costs here a
    fifth of what it costs there.
    """

    def __init__(self, bus: EventBus, capacity: int) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise ValueError(f"events(capacity={capacity!r}): give a whole number of at least 1; nothing is unbounded")
        self._bus = bus
        self._room = capacity  # none once it has ended
        self._kept: deque[Event] = deque()
        self._lot = trio.lowlevel.ParkingLot()
        self._asleep = False  # somebody may wait in the lot
        self._ended = False
        self._closed = False
        self.dropped: int = 0

    def __enter__(self) -> Self:
        self._bus.subscribe(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus.unsubscribe(self)
        self._closed = True
        self._kept.clear()
        self.end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event; ends when the system has closed. Cancelled: no event is lost.

        Raises:
            trio.ClosedResourceError: the `with` block was left.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while True:
            if self._closed:
                # Woken by the one, cancelled by the other: whoever was cancelled wants to hear that.
                await trio.lowlevel.checkpoint_if_cancelled()
                raise trio.ClosedResourceError
            if self._kept:
                event = self._kept.popleft()
                if not waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return event
            if self._ended:
                raise StopAsyncIteration
            self._asleep = waited = True
            await self._lot.park()

    def offer(self, event: Event) -> None:
        """Keep `event` if there is room. Never raises: an actor must not fail for a listener that has closed."""
        kept = self._kept
        if len(kept) < self._room:
            kept.append(event)
            if self._asleep:
                self._wake()
        else:
            self.dropped += 1

    def end(self) -> None:
        """No more events will come."""
        self._ended = True
        self._room = 0
        self._wake()

    def take_nowait(self) -> tuple[Event, ...]:
        """The events waiting now."""
        events = tuple(self._kept)
        self._kept.clear()
        return events

    def _wake(self) -> None:
        # All of them: whoever finds nothing left goes back to sleep.
        self._asleep = False
        self._lot.unpark_all()


class EventBus:
    """Who listens to a system. `active` is False when nobody does: check it before building an event."""

    def __init__(self) -> None:
        self.active: bool = False
        self._closed = False
        self._streams: list[EventStream] = []

    def open(self, capacity: int) -> EventStream:
        """A subscription; it counts from its `with` on."""
        return EventStream(self, capacity)

    def subscribe(self, stream: EventStream) -> None:
        """Begin to deliver to `stream`; on a bus that has closed it ends at once."""
        if self._closed:
            stream.end()
            return
        self._streams.append(stream)
        self.active = True

    def unsubscribe(self, stream: EventStream) -> None:
        """Stop delivering to `stream`."""
        if stream in self._streams:
            self._streams.remove(stream)
        self.active = bool(self._streams)

    def emit(self, event: Event) -> None:
        """Give `event` to everyone who listens."""
        for stream in self._streams:
            stream.offer(event)

    def channel(self) -> Callable[[Event], None] | None:
        """What takes events, for as long as no other task has had a turn; None if nobody listens."""
        if len(self._streams) == 1:
            return self._streams[0].offer
        return self.emit if self._streams else None

    def close(self) -> None:
        """End every subscription; what was kept can still be read."""
        self._closed = True
        self.active = False
        streams, self._streams = self._streams, []
        for stream in streams:
            stream.end()
