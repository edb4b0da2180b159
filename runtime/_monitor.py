"""Watching an actor end without being touched by it: monitors, and the `Down` they give."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import attrs
import trio

from ._envelope import Tell
from ._spec import ExitReason

if TYPE_CHECKING:
    from ._actor import Actor
    from ._administration import SupervisorRef
    from ._child import Child
    from ._ref import Ref

KEPT = 64
"""Ends that a monitor keeps for whoever is slow to ask; older ones are dropped and counted."""


@attrs.frozen
class Down(Tell):
    """One life of a monitored actor (or supervisor) has ended. `ref` may live on: see `incarnation`."""

    ref: Ref[Actor] | SupervisorRef
    reason: ExitReason
    incarnation: int


class Monitor:
    """Every end of an actor while the block is open: `with ref.monitor() as m: down = await m.down()`.

    There is one `Down` for each incarnation that ends. An actor that had stopped for good when the block was
    entered gives its last end at once, so that nobody waits for what has already happened.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self._ends: deque[Down] = deque(maxlen=KEPT)
        self._lot = trio.lowlevel.ParkingLot()
        self.dropped: int = 0

    @trio.lowlevel.enable_ki_protection
    def __enter__(self) -> Self:
        watch(self._child, self, self._note)
        return self

    @trio.lowlevel.enable_ki_protection
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unwatch(self._child, self)

    def _note(self, down: Down) -> None:
        self.dropped += len(self._ends) == KEPT
        self._ends.append(down)
        self._lot.unpark()

    async def down(self) -> Down:
        """Wait for the next end. Bound it with a cancel scope of your own. Cancelled: no end is lost."""
        await trio.lowlevel.checkpoint()
        while not self._ends:
            await self._lot.park()
        return self._ends.popleft()

    def down_nowait(self) -> Down | None:
        """The next end if it has come, else None."""
        return self._ends.popleft() if self._ends else None


def watch(child: Child, watcher: object, tell: Callable[[Down], None]) -> None:
    """Call `tell` for each life of `child` that ends; at once if it had already stopped for good."""
    if child.monitors is None:
        child.monitors = {}
    child.monitors[watcher] = tell
    if child.over and child.last_end is not None:
        tell(child.down(child.last_end))


def unwatch(child: Child, watcher: object) -> None:
    """Stop calling."""
    if child.monitors is not None:
        child.monitors.pop(watcher, None)
