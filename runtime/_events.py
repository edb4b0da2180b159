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
    """A message to `actor` that nobody will handle."""

    message: str
    why: str


@attrs.frozen(kw_only=True)
class Unstoppable(Event):
    """The actor ignores its cancellation; the system waits for it because nothing may outlive it."""

    waited: Seconds


class EventStream:
    """A bounded subscription: `with system.events() as events: async for event in events: ...`."""

    def __init__(self, bus: EventBus, capacity: int) -> None:
        self._bus = bus
        self._send, self._receive = trio.open_memory_channel[Event](capacity)
        self.dropped = 0

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
        """Keep `event` if there is room."""
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
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
            except (trio.WouldBlock, trio.EndOfChannel):
                return tuple(events)


class EventBus:
    """Who listens to a system. `active` is False when nobody does: check it before building an event."""

    def __init__(self) -> None:
        self.active = False
        self._streams: list[EventStream] = []

    def open(self, capacity: int) -> EventStream:
        """A subscription; it counts from its `with` on."""
        return EventStream(self, capacity)

    def subscribe(self, stream: EventStream) -> None:
        """Begin to deliver to `stream`."""
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
        """End every subscription."""
        for stream in tuple(self._streams):
            stream.end()
