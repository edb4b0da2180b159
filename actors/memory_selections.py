"""Which memories each kind of question is about, kept from one question to the next.

A selection is a bit for each id. To find it the store looks at every row of a namespace, some tens of milliseconds
for 100,000; so the last ones are kept and follow what is put in and erased, and are found again when somebody else
changed the store or the first of their memories has expired.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from trouper.runtime import MemoryFailed

from .memory_data import MemoryFilter, Selection
from .protocols import MemoryStore

log: logging.Logger = logging.getLogger("trouper.memory")

MOST = 128
"""Selections that are kept: for a million memories each takes 125 kB."""
_MOST_LOOKS = 10_000
"""Ids times selections: more in one go would hold up the loop. Beyond that the last ones follow, the others do not."""


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

    async def put(self, ids: Sequence[int], namespaces: Collection[str]) -> None:
        """These were put in, all of them in one of `namespaces`; some may have been there and say something else now.

        Which of them are meant the store says. What it cannot say, or would take long for, is found anew when it is
        asked for. Cancelled: so is all that these may concern.
        """
        concerned = [key for key, (meant, _) in self._known.items() if meant.namespace in {None, *namespaces}]
        before = [(key, *self._known.pop(key)) for key in concerned]
        room = _MOST_LOOKS // max(1, len(ids))
        following = before[-room:] if room else []
        if not following:
            return
        try:
            found = await self._store.select_among([meant for _, meant, _ in following], ids)
        except MemoryFailed as error:
            log.warning("[MEMORY] %s", error)
            return
        for (key, meant, selection), now_meant in zip(following, found, strict=True):
            selection.replace(ids, now_meant)
            self._known[key] = (meant, selection)

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
