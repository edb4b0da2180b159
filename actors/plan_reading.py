"""One try at a plan: read while it is being written, and given to the run step by step.

What has been offered is on trial until the whole text has become a plan. However the try ends without one (the text is
no plan, it breaks off, nobody wants it any more), everything it has offered is taken back, at once, in one place.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from types import TracebackType
from typing import Final, Self

from trouper.runtime import Plan, PlanError, PlanStream, Step

from .messages import StepFeed

MOST_WHY: Final = 500


class PlanReading:
    """Reads pieces of text into `feed`. A context manager: left by an exception it retracts what it has offered.

    Args:
        stream: What finds the steps in the text.
        feed: Where they go; None: nothing is offered, the plan is taken as a whole.
        admits: Whether a step may be offered. After one that may not nothing more is: the plan will not do.
    """

    def __init__(self, stream: PlanStream, feed: StepFeed | None, admits: Callable[[Step], bool]) -> None:
        self._stream = stream
        self._feed = feed
        self._admits = admits
        self._offered: dict[int, Step] = {}
        self._offering = feed is not None
        self.begun: bool = False
        """Whether any text has come."""

    @property
    def wanted(self) -> bool:
        """Whether anybody takes the steps while they come."""
        return self._feed is not None

    async def follow(self, pieces: AsyncIterable[str]) -> None:
        """Read until the end of `pieces`; each step is offered in the turn in which its last bracket comes."""
        async for piece in pieces:
            self.begun = True
            self._read(piece)

    def confirm(self, plan: Plan) -> None:
        """The whole text is `plan`: what was offered stays, unless it is not in the plan as it was offered."""
        steps = {step.id: step for step in plan.steps}
        if any(steps.get(step.id) != step for step in self._offered.values()):
            self.retract("the plan that it became is another one than it had begun")

    def retract(self, why: str) -> None:
        """Take back what was offered, if anything was; nothing more is offered, but the text is read to its end."""
        self._offering = False
        if self._feed is not None and self._offered:
            self._offered.clear()
            self._feed.retract(why)

    def _read(self, piece: str) -> None:
        for step in self._stream.feed(piece):
            self._offering = self._offering and self._admits(step)
            if self._feed is not None and self._offering:
                self._offered[step.id] = step
                self._feed.offer(step)
        if self._stream.stale:
            self.retract("what was written after these steps does not go with them")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            self.retract(_reason(error))


def _reason(error: BaseException) -> str:
    if isinstance(error, PlanError):
        first, more = error.problems[0].message, len(error.problems) - 1
        text = f"the plan that was being written cannot be run: {first}{f' (and {more} more)' if more else ''}"
    elif isinstance(error, Exception):
        text = f"the plan was not finished: {error}"
    else:
        text = "nobody wants the plan any more"
    return text if len(text) <= MOST_WHY else f"{text[:MOST_WHY]}..."
