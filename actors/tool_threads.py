"""Plain functions in worker threads, and what becomes of those that hang.

A thread cannot be stopped. When its step is cancelled it is left behind: the step goes on at once, and the place that
the call held is free for the next one, because a place that only a hung thread could give back would be lost for ever.
What keeps such threads from piling up is that they are counted, and that a tool of which too many hang is refused.

The counting is our own and not trio's limiter: there a thread gives its token back through its event loop, which may
have ended long before the thread does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from trouper.runtime import ToolError

from .protocols import Json
from .tool_counts import ToolCounts, tool_counts

if TYPE_CHECKING:
    from .tool import Tool

log: logging.Logger = logging.getLogger("trouper.tools")

_lock = threading.Lock()


class _Work:
    """One call in its thread; who comes first, its end or its being left, is decided under the lock."""

    def __init__(self, tool: Tool, function: Callable[[], Json], counts: ToolCounts) -> None:
        self._tool = tool
        self._function = function
        self._counts = counts
        self._running = False
        self._left = False

    def run(self) -> Json:
        """In the thread: the call, unless it was left before it began."""
        with _lock:
            if self._left:
                return None
            self._running = True
        try:
            return self._function()
        finally:
            self._end()

    def _end(self) -> None:
        with _lock:
            self._running = False
            if self._left:
                self._counts.hanging[self._tool] -= 1

    def leave(self) -> bool:
        """In the loop, when nobody waits for it any more: whether it runs on."""
        with _lock:
            self._left = True
            if self._running:
                self._counts.hanging[self._tool] += 1
                self._counts.abandoned_total += 1
                return True
        return False


async def run_in_thread(
    tool: Tool, function: Callable[[], Json], limiter: trio.CapacityLimiter, max_abandoned: int
) -> Json:
    """Run `function` for `tool` in a thread, when `limiter` has a place.

    Cancelled: it is left behind and runs on unheard; one that has not begun never will.

    Raises:
        ToolError: too many threads of this tool still hang; it was not entered.
        BaseException: what the function raised.
    """
    held = object()
    await limiter.acquire_on_behalf_of(held)
    work = _Work(tool, function, counts := tool_counts())
    try:
        if (hanging := counts.hanging[tool]) >= max_abandoned:
            counts.refused_total += 1
            raise ToolError(
                f"{tool.name} was not started: {hanging} threads of it still hang, left behind by steps that were "
                "cancelled or late. Give its waits a time limit, or run it with isolation='process', which is killed.",
                effect=False,
            )
        # A limiter of its own: trio would keep the token of a hung thread for ever.
        own = trio.CapacityLimiter(1)
        return await trio.to_thread.run_sync(
            work.run, abandon_on_cancel=True, limiter=own, thread_name=f"tool {tool.name}"
        )
    finally:
        limiter.release_on_behalf_of(held)
        if work.leave():
            log.info("[TOOL] %s runs on in its thread, unheard: %d of it do", tool.name, counts.hanging[tool])
