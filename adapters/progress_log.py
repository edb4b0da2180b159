"""Trouper's log on stderr: plain lines, and a level that the command line and the configuration agree on."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from .cli_output import plain

LogLevel = Literal["debug", "info", "warning", "error"]

_LEVELS: dict[LogLevel, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def level_of(configured: LogLevel, *, verbose: bool = False, quiet: bool = False, view: bool = False) -> int:
    """The level of the log.

    `-v` shows everything. `--quiet` and a live view leave it to warnings and errors, unless the configuration
    wants even less; the view shows what the lines would say.
    """
    if verbose:
        return logging.DEBUG
    return max(_LEVELS[configured], logging.WARNING) if quiet or view else _LEVELS[configured]


class LineHandler(logging.Handler):
    """Writes each record as one line through `write`. A record that cannot be written is dropped."""

    def __init__(self, write: Callable[[str], None], *, verbose: bool) -> None:
        super().__init__()
        self._write = write
        self._verbose = verbose
        if verbose:
            self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; called by `logging`, from any thread."""
        try:
            self._write(self.format(record))
        except (OSError, ValueError):
            return  # stderr has gone: there is nobody left to tell

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line: warnings and errors say what they are, tracebacks are for `-v`."""
        if self._verbose:
            return super().format(record)
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return prefix + record.getMessage()


def write_line(line: str) -> None:
    """Write one line to stderr."""
    stream = sys.stderr
    if stream is not None:
        stream.write((plain(line) if stream.isatty() else line) + "\n")
        stream.flush()


@contextmanager
def logging_to(write: Callable[[str], None], level: int, *, verbose: bool = False) -> Iterator[None]:
    """Trouper's log goes through `write` inside the block, and nowhere else."""
    log = logging.getLogger("trouper")
    handler = LineHandler(write, verbose=verbose)
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before
        log.setLevel(before[0])
