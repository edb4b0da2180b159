"""What an operator would ask at night, as frozen records.

Nobody listening costs one attribute check. A listener has a bounded buffer: when it is full the event is
dropped for that listener and counted in `dropped`, never is an actor made to wait.
"""

from __future__ import annotations

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
    """A bounded subscription: `with system.events() as events: async for event in events: ...`."""

    def __init__(self, bus: EventBus, capacity: int) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise ValueError(f"events(capacity={capacity!r}): give a whole number of at least 1; nothing is unbounded")
        self._bus = bus
        self._send, self._receive = trio.open_memory_channel[Event](capacity)
        self.dropped: int = 0

    def __enter__(self) -> Self:
        self._bus.subscribe(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus.unsubscribe(self)
        self._send.close()
        self._receive.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event; ends when the system has closed. Cancelled: no event is lost."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def offer(self, event: Event) -> None:
        """Keep `event` if there is room. Never raises: an actor must not fail for a listener that has closed."""
        try:
            self._send.send_nowait(event)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self.dropped += 1

    def end(self) -> None:
        """No more events will come."""
        self._send.close()

    def take_nowait(self) -> tuple[Event, ...]:
        """The events waiting now."""
        events: list[Event] = []
        while True:
            try:
                events.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                return tuple(events)


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

    def close(self) -> None:
        """End every subscription; what was kept can still be read."""
        self._closed = True
        self.active = False
        streams, self._streams = self._streams, []
        for stream in streams:
            stream.end()
