"""How often memories are recalled: collected, and written down together."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from trouper.runtime import MemoryFailed

from .protocols import MemoryStore

log: logging.Logger = logging.getLogger("trouper.memory")


class Uses:
    """What is collected and not yet written is lost with the process: a count is not worth an answer."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._uses: dict[int, int] = {}

    def add(self, ids: Iterable[int]) -> bool:
        """These were recalled; whether something waits to be written."""
        for number in ids:
            self._uses[number] = self._uses.get(number, 0) + 1
        return bool(self._uses)

    async def write(self) -> None:
        """Write down what was collected. Cancelled, or if the store fails: it may be lost."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._store.count_uses(uses)
        except MemoryFailed as error:
            log.debug("[MEMORY] uses were not counted: %s", error)
