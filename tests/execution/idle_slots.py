"""Watches every run from outside: whenever nobody has anything to do, no slot may be free that somebody waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from trouper.actors.dispatch import Dispatch


class IdleSlots(trio.abc.Instrument):
    """`found` are the moments at which a slot was free, and a claim for it, or a plain step, waited."""

    def __init__(self) -> None:
        self.open: list[Dispatch] = []
        self.found: list[tuple[float, str]] = []

    def before_io_wait(self, timeout: float) -> None:
        runner = trio._core._run.GLOBAL_RUN_CONTEXT.runner
        if runner.runq:
            return
        for dispatch in self.open:
            for waiting in self._waiting(dispatch):
                self.found.append((runner.clock.current_time(), waiting))

    def _waiting(self, dispatch: Dispatch) -> Iterator[str]:
        if dispatch.free < 1:
            return
        for priority, _, claim in dispatch.claims:
            if claim.live and not dispatch._caps.full(claim.caps):
                yield f"a claim of priority {priority}"
        for line in dispatch.lines:
            if line and not line.busy:
                yield f"a plain step of priority {line.first}"


@contextmanager
def watched_slots() -> Iterator[IdleSlots]:
    """An instrument for `trio.run`; at the end nothing may have been found."""
    idle, opened, closed = IdleSlots(), Dispatch.__init__, Dispatch.close

    def opens(self: Dispatch, *args: object) -> None:
        opened(self, *args)  # type: ignore[arg-type]
        idle.open.append(self)

    def closes(self: Dispatch) -> None:
        closed(self)
        idle.open.remove(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dispatch, "__init__", opens)
        patch.setattr(Dispatch, "close", closes)
        yield idle
    assert not idle.found, f"free slots, and somebody waited: {idle.found[:3]}"
