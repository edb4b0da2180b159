"""A board as lines for a terminal: one line a step, as many as fit."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import attrs

from trouper.runtime import Event

from .cli_output import plain
from .progress_board import Board, Mark, Row

if TYPE_CHECKING:
    from rich.text import Text

MOST_ROWS = 20
"""Steps that get a line of their own."""
MARGIN = 4
"""Lines of the terminal that the view leaves free, its own head and foot among them."""

_STYLES = {
    Mark.WAITING: "dim",
    Mark.RUNNING: "cyan",
    Mark.OK: "green",
    Mark.FAILED: "bold red",
    Mark.SKIPPED: "yellow",
    Mark.CANCELLED: "yellow",
    Mark.IN_DOUBT: "bold magenta",
    Mark.ASKED: "bold blue",
}


_COLUMNS: tuple[Literal["left", "right"], ...] = ("left", "right", "left", "left", "right")
"""Level, step, action, state, seconds; what remains of the width is for the note."""


def board_lines(board: Board, now: float, *, width: int, height: int) -> list[str]:
    """The lines of a view, styled for a terminal, each at most `width` wide, at most `height` of them."""
    from rich.console import Console
    from rich.table import Table

    if board.began is None:
        return []
    table = Table.grid(padding=(0, 1))
    for justify in _COLUMNS:
        table.add_column(justify=justify, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    shown = board.shown(max(1, min(MOST_ROWS, height - MARGIN)))
    level = -1
    for row in shown:
        table.add_row(*_cells(row, now, first=row.level != level))
        level = row.level
    console = Console(file=io.StringIO(), force_terminal=True, width=max(20, width), legacy_windows=False)
    with console.capture() as captured:
        console.print(_head(board, now), no_wrap=True, overflow="ellipsis", markup=False, highlight=False)
        console.print(table)
        for line in _foot(board, len(shown)):
            console.print(line, style="dim", no_wrap=True, overflow="ellipsis", markup=False, highlight=False)
    return captured.get().splitlines()[: max(1, height - 1)]


def _head(board: Board, now: float) -> str:
    seconds = (now if board.ended is None else board.ended) - (board.began or 0.0)
    state = board.status or ("planning" if not board.rows else "running")
    return f"{state} {seconds:.1f} s  {_one_line(board.goal)}"


def _cells(row: Row, now: float, *, first: bool) -> Iterator[Text]:
    from rich.text import Text

    seconds = row.seconds(now)
    yield Text(f"level {row.level}" if first else "", style="dim")
    yield Text(str(row.step))
    yield Text(_one_line(row.action))
    yield Text(row.mark.value + (f" (try {row.attempt})" if row.attempt > 1 else ""), style=_STYLES[row.mark])
    yield Text("" if seconds is None else f"{seconds:.2f} s")
    yield Text(_one_line(row.note or (f"verdict: {row.verdict}" if row.verdict else "")), style="dim")


def _foot(board: Board, shown: int) -> Iterator[str]:
    hidden = len(board.rows) - shown
    if hidden > 0:
        counts = ", ".join(f"{n} {mark.value}" for mark, n in board.counts().items())
        yield f"... and {hidden} more steps; in all {counts}"
    if board.warning:
        yield _one_line(board.warning)
    if board.replans:
        yield f"planned again {board.replans} time{'s' if board.replans > 1 else ''}"
    if board.restarts:
        yield f"{board.restarts} restart{'s' if board.restarts > 1 else ''} of actors"


def _one_line(text: str) -> str:
    return plain(" ".join(text[:500].split()))


@attrs.frozen
class BoardView:
    """A board as a view."""

    board: Board

    def take(self, event: Event) -> None:
        """Note what has happened."""
        self.board.take(event)

    def lines(self, now: float, *, width: int, height: int) -> list[str]:
        """How the run stands now."""
        return board_lines(self.board, now, width=width, height=height)
