"""Which memories each kind of question is about, kept from one question to the next.

A selection is a bit for each id. To find it the store looks at every row of a namespace, some tens of milliseconds
for 100,000; so the last ones are kept and follow what is added and erased, and are found again when somebody else
changed the store or the first of their memories has expired.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from .memory_data import MemoryFilter, MemoryRow, Selection
from .protocols import MemoryStore

MOST = 128
"""Selections that are kept: for a million memories each takes 125 kB."""
_MOST_LOOKS = 5_000
"""More comparisons than that in one go would hold up the loop: those selections are found anew when asked for."""


class Selections:
    """The selections of the last filters, in step with the store as long as they are told of every change."""

    def __init__(self, store: MemoryStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._known: OrderedDict[str, tuple[MemoryFilter, Selection]] = OrderedDict()

    async def get(self, meant: MemoryFilter) -> Selection:
        """The ids of what is meant, now. Do not change it. Raises `MemoryFailed`."""
        key = meant.key
        known = self._known.get(key)
        if known is not None and (known[1].until is None or self._now() < known[1].until):
            self._known.move_to_end(key)
            return known[1]
        selection = await self._store.select(meant)
        self._known[key] = (meant, selection)
        while len(self._known) > MOST:
            self._known.popitem(last=False)
        return selection

    @property
    def until(self) -> float | None:
        """When the first memory that is meant by any of them expires."""
        return min((known.until for _, known in self._known.values() if known.until is not None), default=None)

    def clear(self) -> None:
        """Somebody else has changed the store, or what is there says something else now."""
        self._known.clear()

    def added(self, rows: Iterable[MemoryRow]) -> None:
        """These are new."""
        now = self._now()
        rows = tuple(rows)
        namespaces = {None, *(row.namespace for row in rows)}
        concerned = [key for key, (meant, _) in self._known.items() if meant.namespace in namespaces]
        if len(rows) * len(concerned) > _MOST_LOOKS:
            for key in concerned:
                del self._known[key]
            return
        for key in concerned:
            meant, selection = self._known[key]
            for row in rows:
                if meant.matches(row, now):
                    selection.add(row.id, None if meant.dead else row.expires)

    def removed(self, ids: Sequence[int], *, only_living: bool = False) -> None:
        """These are gone; with `only_living` they are superseded, and who asked for the dead still means them."""
        if len(ids) * len(self._known) > 10 * _MOST_LOOKS:
            self.clear()
        for meant, selection in self._known.values():
            if not (only_living and meant.dead):
                for number in ids:
                    selection.discard(number)

    def __len__(self) -> int:
        return len(self._known)
