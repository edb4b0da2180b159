"""Counts how many are somewhere at once, whatever the speed of the machine."""

from __future__ import annotations

import trio
import trio.testing

PATIENCE = 60.0
"""Seconds that what must come may take; a bound and no measure."""


class Hold:
    """Whoever comes waits until `places` are waiting and nothing else moves; from then on nobody waits.

    So `most`, how many were there at once, owes nothing to how long each stays. If fewer come than there are places,
    `PATIENCE` ends the waiting, and `most` tells.
    """

    def __init__(self, places: int = 0) -> None:
        self._places = places
        self._over = trio.Event()
        self.now = self.most = 0

    async def pass_through(self, _: object = None) -> None:
        """Wait with the others. Cancelled: the place is free again."""
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.now == self._places and not self._over.is_set():
                await trio.testing.wait_all_tasks_blocked(0.02)
                self._over.set()
            if self._places:
                with trio.move_on_after(PATIENCE):
                    await self._over.wait()
                self._over.set()
        finally:
            self.now -= 1
