"""Reports of what cannot be printed: entry 91 of OTP's suite (see INDEX.md)."""

from __future__ import annotations

import functools
import logging

import attrs
import pytest

from tests.supervision.children import Book, Ping, told
from trouper import (
    Actor,
    ActorCrashed,
    Ask,
    ChildSpec,
    Restart,
    StartFailed,
    SupervisorSpec,
    Tell,
    handler,
    open_system,
)

# ------------------------------------------------------------------ reports
BIG = 20_000


class Unprintable(Exception):
    """Whoever prints it gets another error."""

    def __str__(self) -> str:
        raise ValueError("no text for you")

    __repr__ = __str__


def deep(levels: int) -> BaseException:
    """An error that came from an error that came from ..."""
    error: BaseException = ValueError("the first")
    for level in range(levels):
        outer = KeyError(f"{level} {'y' * 100}")
        outer.__cause__ = error
        error = outer
    return error


DIFFICULT = {
    "long": lambda: ValueError("x" * BIG),
    "lines": lambda: ValueError("x\n" * BIG),
    "deep": lambda: deep(2000),
    "wide": lambda: ExceptionGroup("many", [ValueError("x" * 1000) for _ in range(300)]),
    "unprintable": Unprintable,
}


@attrs.frozen
class Raise(Tell):
    """Raise that."""

    kind: str


@attrs.frozen
class AskRaise(Ask[None]):
    """Raise that, while somebody waits."""

    kind: str


class Raiser(Actor):
    """Raises what it is told to, also in its start."""

    def __init__(self, starts: list[str]) -> None:
        self.starting = starts

    async def on_start(self) -> None:
        if self.starting:
            error = DIFFICULT[self.starting.pop()]()
            raise error

    @handler
    async def tell(self, message: Raise) -> None:
        error = DIFFICULT[message.kind]()
        raise error

    @handler
    async def ask(self, message: AskRaise) -> None:
        error = DIFFICULT[message.kind]()
        raise error

    @handler
    async def ping(self, message: Ping) -> int:
        return self.ctx.incarnation


@pytest.mark.parametrize("kind", DIFFICULT)
async def test_case_91_whatever_is_raised_the_tree_stands_and_every_report_is_bounded(kind, caplog) -> None:
    """In the log, the error of the asker, the events, the ring of reports, and when the supervisor gives up."""
    caplog.set_level(logging.DEBUG)
    async with open_system() as system:
        starts: list[str] = []
        child = ChildSpec(id="r", start=functools.partial(Raiser, starts))
        spec = SupervisorSpec(intensity=4, children=[child, Book().child("a")])
        top = await system.start_supervisor(spec, name="top", restart=Restart.TEMPORARY)
        r = top.child("r")
        with system.events() as events:
            await told(r, Raise(kind))
            with pytest.raises(ActorCrashed) as crashed:
                await r.ask(AskRaise(kind))
            starts.append(kind)
            await told(r, Raise(kind))
            assert await r.ask(Ping()) == 5
            reports = r.crash_reports()
            with top.monitor() as monitor:
                await told(r, Raise(kind))
                down = await monitor.down()
            with pytest.raises(StartFailed) as failed:
                await system.spawn(Raiser, [kind], name="new")
            said = [str(event.reason) for event in events.take_nowait() if hasattr(event, "reason")]

        lines = [*map(str, reports), *said, str(down.reason)]
        lines += [str(crashed.value), str(failed.value), str(down.reason.error)]
        assert [len(line) for line in lines if len(line) > 1000 or "\n" in line] == []
        assert [len(report.traceback) for report in reports if len(report.traceback) > 50_000] == []
        assert [len(record.getMessage()) for record in caplog.records if len(record.getMessage()) > 5000] == []
        assert len(reports) == 4
