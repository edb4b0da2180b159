"""The live view of what goes on, on a terminal: a run with its levels and steps, redrawn a few times a second.

The view may be wrong, late or gone; the run may not notice. So it only reads events, from a bounded buffer that
drops what it cannot take; it draws into memory, and a thread carries the finished frame to the terminal: one that
was stopped (Ctrl-S) holds up that thread and nothing else. One frame at a time, so that nothing piles up. Whatever
goes wrong in here is logged once, and the view ends.

rich lays out the lines. Its `Live` is not used: it writes from where it is called, which here is the event loop.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import attrs
import trio

from trouper.actors.outcome import Outcome
from trouper.runtime import Event, EventStream, Seconds

from .cli_output import plain
from .progress_board import Board
from .progress_lines import BoardView
from .progress_log import write_line

log: logging.Logger = logging.getLogger("trouper.progress")

T = TypeVar("T")

FRAME: Seconds = 0.125
"""Between two frames."""
LAST_FRAME: Seconds = 1.0
"""How long a terminal may take for the last frame of a run."""
MOST_LINES = 200
"""Log lines that wait for a frame; the oldest are dropped."""

Writer = Callable[[bytes], Awaitable[None]]


class View(Protocol):
    """What is shown: it takes events in, and gives lines for a terminal."""

    def take(self, event: Event) -> None:
        """Note what has happened."""
        ...

    def lines(self, now: Seconds, *, width: int, height: int) -> list[str]:
        """How it stands now: styled lines, each at most `width` wide, at most `height` of them."""
        ...


_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


@attrs.frozen
class Size:
    """Of a terminal, in characters."""

    width: int
    height: int


def terminal_size() -> Size:
    """How large the terminal is now."""
    size = shutil.get_terminal_size()
    return Size(size.columns, size.lines)


async def to_stderr(frame: bytes) -> None:
    """Write `frame` to the terminal in a thread. Cancelled: the thread may still be writing it."""
    await trio.to_thread.run_sync(_write_all, 2, frame, abandon_on_cancel=True)


def _write_all(descriptor: int, data: bytes) -> None:
    # Not through `sys.stderr`: a thread that is stuck in it would keep its lock, and the process could not end.
    while data:
        data = data[os.write(descriptor, data) :]


class Screen:
    """The part of the terminal that a view has. `line` may be called from any thread."""

    def __init__(
        self, write: Writer = to_stderr, size: Callable[[], Size] = terminal_size, *, encoding: str | None = None
    ) -> None:
        import rich.console  # now: at the first frame it would hold up the run for a tenth of a second
        import rich.table  # noqa: F401 - the same

        self._write = write
        self._size = size
        self._encoding = encoding or getattr(sys.stderr, "encoding", None) or "utf-8"
        self._waiting: deque[str] = deque(maxlen=MOST_LINES)
        self._drawing = trio.Lock()
        self._height = 0
        self._active = False

    def line(self, text: str) -> None:
        """Write a line of log: above the view with its next frame, or at once where there is no view."""
        if self._active:
            self._waiting.append(text)
        else:
            write_line(text)

    async def watch(
        self,
        events: EventStream,
        work: Callable[[], Awaitable[T]],
        *,
        before: Outcome | None = None,
        view: View | None = None,
    ) -> T:
        """Do `work` and show `events` meanwhile; gives and raises what `work` does.

        They are shown in `view`, as the steps of a run if None; `before` is what a run that goes on had come to.

        Cancelled: so is `work`; the view shows how it ended, within `LAST_FRAME`.
        """
        ended: list[T | Exception] = []
        finished = trio.Event()
        # Ended by `finished` and not by a cancellation, which would leave a frame half-written behind the last one.
        scope = trio.CancelScope(shield=True)
        shown = view if view is not None else BoardView(Board(before=before))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show, events, finished, scope, shown)
            try:
                ended.append(await work())
            except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery's group
                ended.append(error)
            finally:
                finished.set()
                scope.deadline = trio.current_time() + LAST_FRAME
        if isinstance(ended[0], Exception):
            raise ended[0]
        return ended[0]

    @asynccontextmanager
    async def set_aside(self) -> AsyncIterator[None]:
        """The view is taken off the terminal, and no frame drawn, inside the block."""
        async with self._drawing:
            if self._active:
                await self._write(self._bytes(self._erase() + _SHOW_CURSOR))
            yield

    async def _show(self, events: EventStream, finished: trio.Event, scope: trio.CancelScope, view: View) -> None:
        self._active = True
        try:
            with scope:
                await self._redraw(events, finished, view)
        except Exception as error:  # noqa: BLE001 - a view that fails must not fail the run: it is reported
            self._active = False
            log.warning("the progress view has ended: %s", _named(error))
        finally:
            self._active = False
            while self._waiting:
                write_line(self._waiting.popleft())

    async def _redraw(self, events: EventStream, finished: trio.Event, view: View) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_follow, view, events)
            while not finished.is_set():
                await self._frame(view)
                with trio.move_on_after(FRAME):
                    await finished.wait()
            nursery.cancel_scope.cancel()
        for event in events.take_nowait():
            view.take(event)
        await self._frame(view, last=True)

    async def _frame(self, view: View, *, last: bool = False) -> None:
        async with self._drawing:
            size = self._size()
            drawn = view.lines(trio.current_time(), width=size.width, height=size.height)
            lines = self._taken()
            text = _HIDE_CURSOR + self._erase() + "".join(f"{line}\n" for line in (*map(plain, lines), *drawn))
            self._height = 0 if last else len(drawn)
            try:
                await self._write(self._bytes(text + (_SHOW_CURSOR if last else "")))
            except Exception:
                self._waiting.extendleft(reversed(lines))
                raise

    def _erase(self) -> str:
        height, self._height = self._height, 0
        return f"\x1b[{height}A\r\x1b[J" if height else ""

    def _taken(self) -> list[str]:
        """The lines that wait; a thread may add to them meanwhile."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def _bytes(self, text: str) -> bytes:
        return text.encode(self._encoding, "replace")


def _named(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def _follow(view: View, events: EventStream) -> None:
    async for event in events:
        view.take(event)
