"""Publish and subscribe within one system: a topic is a name, a bound per subscriber, and no retries.

A publisher never waits for a subscriber. A subscriber that has `bound` unread messages of a topic misses the next one:
it is counted and becomes a dead letter. For an actor the messages are tells in its own mailbox, so that they keep their
place among the others; whoever is no actor reads a `Feed`.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio

from ._deadline import carried_of, current
from ._envelope import QUEUED, Envelope, Tell
from ._traceback_text import said

if TYPE_CHECKING:
    from ._incarnation import Incarnation


class Subscription:
    """One incarnation's subscription to one topic."""

    def __init__(self, topics: Topics, topic: str, life: Incarnation, bound: int) -> None:
        self._topics = topics
        self._topic = topic
        self._life = life
        self._bound = bound
        self._unread: deque[Envelope] = deque()

    def offer(self, message: Tell) -> bool:
        """Queue `message` in the actor's mailbox, unless too many of this topic are unread or there is no room."""
        cell = self._life.cell
        if len(self._unread) >= self._bound:  # look who has been read meanwhile, also out of order
            self._unread = deque(envelope for envelope in self._unread if envelope.state == QUEUED)
        if len(self._unread) >= self._bound:
            cell.dead_letter(message, f"{self._bound} messages of topic {self._topic!r} are unread")
            return False
        envelope = Envelope(message, cell)
        cause = current.get() or cell.system.inline
        if cause is not None:
            envelope.carried = carried_of(cause)
        try:
            room = cell.mailbox.offer(envelope)
        except Exception as error:  # noqa: BLE001 - the key function of this mailbox; the other subscribers get theirs
            cell.dead_letter(message, f"the key of its mailbox raised {said(error)}")
            return False
        if not room:
            cell.dead_letter(message, "the mailbox was full")
            return False
        self._unread.append(envelope)
        return True

    def end(self) -> None:
        """No further messages."""
        self._topics.leave(self._topic, self)


class Feed:
    """A subscription of somebody who is no actor: `with system.subscribe("t") as feed: async for m in feed: ...`."""

    def __init__(self, topics: Topics, topic: str, capacity: int) -> None:
        self._topics = topics
        self._topic = topic
        self._send, self._receive = trio.open_memory_channel[Tell](capacity)
        self.dropped: int = 0

    @trio.lowlevel.enable_ki_protection
    def __enter__(self) -> Self:
        self._topics.join(self._topic, self)
        return self

    @trio.lowlevel.enable_ki_protection
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._topics.leave(self._topic, self)
        self._send.close()
        self._receive.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Tell:
        """The next message; ends when the system has closed. Cancelled: no message is lost."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def offer(self, message: Tell) -> bool:
        """Keep `message` if there is room."""
        try:
            self._send.send_nowait(message)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self.dropped += 1
            return False
        return True

    def end(self) -> None:
        """No more messages will come."""
        self._send.close()


class Topics:
    """Who subscribes to what in one system."""

    def __init__(self) -> None:
        self._topics: dict[str, dict[Subscription | Feed, None]] = {}
        self._closed = False

    def join(self, topic: str, subscriber: Subscription | Feed) -> None:
        """Begin to deliver; what joins a closed system ends at once."""
        if self._closed:
            subscriber.end()
            return
        self._topics.setdefault(topic, {})[subscriber] = None

    def leave(self, topic: str, subscriber: Subscription | Feed) -> None:
        """Stop delivering."""
        subscribers = self._topics.get(topic)
        if subscribers is not None:
            subscribers.pop(subscriber, None)
            if not subscribers:
                del self._topics[topic]

    @trio.lowlevel.enable_ki_protection
    def publish(self, topic: str, message: Tell) -> int:
        """Give `message` to everybody who subscribes to `topic`; how many could take it."""
        if not isinstance(message, Tell):
            raise TypeError(
                f"publish({topic!r}, {message!r}): a message of a topic is a Tell; derive its class from it"
            )
        return sum([subscriber.offer(message) for subscriber in tuple(self._topics.get(topic, ()))])

    def counts(self) -> dict[str, int]:
        """How many subscribe to each topic."""
        return {topic: len(subscribers) for topic, subscribers in self._topics.items()}

    def close(self) -> None:
        """End every feed."""
        self._closed = True
        for subscribers in tuple(self._topics.values()):
            for subscriber in tuple(subscribers):
                subscriber.end()
