"""Where the command line writes: the result to stdout, everything else to stderr.

Tools are other people's code, and some of it prints. So that stdout carries the result and nothing else, file
descriptor 1 leads to stderr while a command runs, for tools and for the processes they start; the result goes out
through a descriptor that nobody else has.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import ClassVar, TextIO

import click

from .cli_exit import ExitCode

# All control characters but tab and newline: a file that is quoted must not steer the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """`text` with its control characters spelled out, for a terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class CannotWrite(click.ClickException):
    """The result could not be written to stdout."""

    exit_code: ClassVar[int] = ExitCode.FAILED


class Results:
    """The way to stdout. A reader that has gone (`| head`) is no error: the rest is thrown away."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def text(self, text: str) -> None:
        """Write `text` and a newline.

        Raises:
            CannotWrite: the disk is full, or the like.
        """
        if self._stream is None:
            return
        try:
            self._stream.write((plain(text) if self._stream.isatty() else text) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self._give_up()
        except OSError as error:
            self._give_up()
            raise CannotWrite(f"the result could not be written to standard output: {error}") from error

    def json(self, value: object) -> None:
        """Write one object on one line."""
        self.text(json.dumps(value, ensure_ascii=self._ascii_only(), allow_nan=False))

    def _ascii_only(self) -> bool:
        encoding = getattr(self._stream, "encoding", None) or "ascii"
        return encoding.lower().replace("-", "") != "utf8"

    def _give_up(self) -> None:
        # What is still buffered would fail again when the stream is closed.
        stream, self._stream = self._stream, None
        with contextlib.suppress(OSError, io.UnsupportedOperation):
            if stream is not None:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)


@contextlib.contextmanager
def results_apart() -> Iterator[Results]:
    """Whatever else is printed inside the block goes to stderr; only what is given to `Results` reaches stdout."""
    with _descriptor_apart(sys.stdout) as stream, contextlib.redirect_stdout(sys.stderr):
        yield Results(stream)


@contextlib.contextmanager
def _descriptor_apart(stdout: TextIO | None) -> Iterator[TextIO | None]:
    """A stream of its own to where descriptor 1 led; `stdout` itself if that is not the process's own."""
    own = sys.__stdout__
    if own is None or stdout is not own or sys.stderr is None:
        yield stdout
        return
    own.flush()
    kept = os.dup(1)  # not inherited by children
    with open(kept, "w", encoding=own.encoding, errors="backslashreplace") as stream:  # noqa: PTH123 - a descriptor
        os.dup2(2, 1)
        try:
            yield stream
        finally:
            own.flush()
            os.dup2(kept, 1)


def stderr_is_terminal() -> bool:
    """Whether stderr is a terminal on which a line can be drawn again."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def tell(text: str) -> None:
    """Say something to the person, on stderr. That nobody listens there is no reason to fail."""
    stream = sys.stderr
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):  # ValueError: closed
        stream.write((plain(text) if stream.isatty() else text) + "\n")
        stream.flush()


def complain(text: str) -> None:
    """Say what went wrong."""
    tell(f"trouper: {text}")
