"""What a full mailbox does when waiting is not what its owner wants: the policies that make room by dropping.

`WAIT`, `FAIL` and `DROP_NEW` need nothing here: the queue refuses, and the sender waits, raises, or lets go.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from ._envelope import HELD, WITHDRAWN, Envelope, message_of
from ._mailbox import MailboxQueue
from ._spec import Mailbox, Overflow

if TYPE_CHECKING:
    from ._cell import Cell  # noqa: F401 # pyright: ignore[reportUnusedImport] - named in a docstring

Drop = Callable[[object, str], None]
"""`Cell.drop`: fails the asker of a dropped message at once, or makes it a dead letter."""


def mailbox_queue(mailbox: Mailbox, drop: Drop) -> MailboxQueue:
    """The queue that does what `mailbox` says."""
    if mailbox.overflow is Overflow.DROP_OLD:
        return DropOld(mailbox.capacity, drop)
    if mailbox.overflow is Overflow.LATEST_BY_KEY and mailbox.key is not None:
        return LatestByKey(mailbox.capacity, drop, mailbox.key)
    return MailboxQueue(mailbox.capacity)


class DropOld(MailboxQueue):
    """Full: the message that has waited longest makes room."""

    __slots__ = ("_drop",)

    def __init__(self, capacity: int, drop: Drop) -> None:
        super().__init__(capacity)
        self.simple = False
        self.limit = 0
        self._drop = drop

    def offer(self, item: object) -> bool:
        """Queue `item`; False only when closed."""
        if not super().offer(item):
            if self.closed:
                return False
            self._drop_oldest("a newer message took its place")
            return super().offer(item)
        return True

    def _drop_oldest(self, why: str) -> None:
        oldest = self.take()  # living: `offer` has swept
        if isinstance(oldest, Envelope):
            oldest.state = max(oldest.state, HELD)
        self._drop(oldest, why)


class _Slot:
    """A place in the channel whose content may still change."""

    __slots__ = ("item", "key")

    def __init__(self, key: Hashable, item: object) -> None:
        self.key = key
        self.item = item


class LatestByKey(DropOld):
    """Of the messages with one key only the latest waits, in the place of the first; full: the oldest makes room."""

    __slots__ = ("_key", "_slots")

    def __init__(self, capacity: int, drop: Drop, key: Callable[[object], Hashable]) -> None:
        super().__init__(capacity, drop)
        self._key = key
        self._slots: dict[Hashable, _Slot] = {}

    def offer(self, item: object) -> bool:
        """Queue `item`, or put it in the place of the one with the same key; False only when closed."""
        key = self._key(message_of(item))
        if key is None or self.closed:
            return super().offer(item)
        slot = self._slots.get(key)
        if slot is not None:
            old = slot.item
            if not (isinstance(old, Envelope) and old.state == WITHDRAWN):  # else its place is nobody's any more
                slot.item = item
                if isinstance(old, Envelope):
                    old.state = HELD
                self._drop(old, "a newer message with the same key took its place")
                return True
        slot = _Slot(key, item)
        if super().offer(slot):
            self._slots[key] = slot
            return True
        return False

    def take(self) -> object:
        """The next item."""
        return self._open(super().take())

    def _open(self, item: object) -> object:
        if isinstance(item, _Slot):
            if self._slots.get(item.key) is item:
                del self._slots[item.key]
            return item.item
        return item

    def _drain(self) -> list[object]:
        return [self._open(item) for item in super()._drain()]

    def _requeue(self, item: object) -> None:
        key = self._key(message_of(item))
        if key is None:
            super()._requeue(item)
            return
        slot = self._slots[key] = _Slot(key, item)
        super()._requeue(slot)
