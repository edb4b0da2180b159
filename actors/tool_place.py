"""Where a tool's call happens: what the caller provides for it, and what it wants to hear of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from .tool_context import ToolContext
from .tool_counts import tool_counts

if TYPE_CHECKING:
    from .protocols import ProcessHost
    from .tool import Tool


log: logging.Logger = logging.getLogger("trouper.tools")


def _unheard(tool: Tool, ctx: ToolContext, seconds: float) -> None:
    """A blocked loop that nobody asked about: the log has it."""


def _unseen(tool: Tool, ctx: ToolContext) -> None:
    """A swallowed cancellation that nobody asked about: the log has it."""


@attrs.frozen(kw_only=True)
class ToolPlace:
    """What the calls of one run have in common; give it to `Tool.call`."""

    processes: ProcessHost | None = None
    """Runs the tools with `isolation="process"`; without one they cannot be called."""
    block_limit: float = 0.1
    """Seconds that a tool in the event loop may compute without a checkpoint before it is named."""
    on_blocked: Callable[[Tool, ToolContext, float], None] = _unheard
    """Called after each stretch that was longer, with its seconds."""
    on_dismissed: Callable[[Tool, ToolContext], None] = _unseen
    """Called when a tool was dismissed because it swallowed its cancellation again and again."""
    max_abandoned: int = 32
    """Hung threads of one tool that are left behind before a further call is refused."""

    def report_blocked(self, tool: Tool, ctx: ToolContext, seconds: float) -> None:
        """Name a tool that has held up the event loop."""
        log.warning(
            "[TOOL] %s held up the event loop for %.2f s (step %d of %s): nothing else could run. "
            "Write it as a plain function, which runs in a thread, or with isolation='process'.",
            tool.name,
            seconds,
            ctx.step_id,
            ctx.run_id or "no run",
        )
        tool_counts().blocked_total += 1
        self.on_blocked(tool, ctx, seconds)

    def report_dismissed(self, tool: Tool, ctx: ToolContext) -> None:
        """Name a tool that had to be dismissed."""
        log.warning(
            "[TOOL] %s swallowed its cancellation again and again and was closed (step %d of %s). "
            "Catch trio.Cancelled only to clean up, and raise it again.",
            tool.name,
            ctx.step_id,
            ctx.run_id or "no run",
        )
        tool_counts().dismissed_total += 1
        self.on_dismissed(tool, ctx)


BARE = ToolPlace()
"""The place of a call outside a run: no processes, the usual limits."""
