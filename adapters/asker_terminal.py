"""Asking the person at the terminal for leave: one question at a time, and the answer is no unless it is yes."""

from __future__ import annotations

import contextlib
import os
import sys

import trio

from .cli_output import plain
from .progress import Screen, to_stderr


def can_ask() -> bool:
    """Whether there is somebody at a terminal who sees a question on stderr and can answer it."""
    if sys.platform == "win32":
        return False  # nothing there waits for a console without a thread that nobody can stop
    return os.isatty(0) and os.isatty(2) and not _in_the_background()


def _in_the_background() -> bool:
    """Whether the terminal is another job's: reading from it would stop this process."""
    try:
        return os.tcgetpgrp(0) != os.getpgrp()
    except OSError:  # not the terminal that our jobs are controlled from
        return False


class TerminalAsker:
    """Port `Asker` over stdin and stderr, both of them a terminal (`can_ask`)."""

    def __init__(self, screen: Screen | None = None) -> None:
        self._screen = screen
        self._one_at_a_time = trio.Lock()

    async def ask(self, question: str) -> bool:
        """Put the question and wait for a line; `y` or `yes` is yes. Cancelled: the question is withdrawn."""
        async with self._one_at_a_time:
            aside = self._screen.set_aside() if self._screen is not None else contextlib.nullcontext()
            async with aside:
                _forget_what_was_typed()
                await to_stderr(f"{plain(question)} [y/N] ".encode())
                await trio.lowlevel.wait_readable(0)
                answer = os.read(0, 4096)  # a terminal gives one line
        return answer.strip().lower() in {b"y", b"yes"}


def _forget_what_was_typed() -> None:
    """What was typed before the question was seen is no answer to it."""
    import termios

    termios.tcflush(0, termios.TCIFLUSH)
