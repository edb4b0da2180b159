"""Regular expressions that cannot stop the world.

Python's `re` keeps the interpreter to itself while it works, and some patterns (`(a+)+$`) work for years on
forty characters: in a thread that would stop every actor, every deadline and Ctrl-C. So a pattern runs in a
child process, which is killed when one file takes it too long. Judging patterns by their look instead was
rejected: it refuses honest ones and misses others.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs

from trouper.runtime import BadArguments, ToolError

SECONDS_PER_FILE = 5.0
_MAX_PATTERN = 1000
_CHILD = Path(__file__).with_name("regex_child.py")


def check_pattern(pattern: str) -> None:
    """Refuse what is no regular expression.

    Raises:
        BadArguments: it does not compile, or is longer than 1,000 characters.
    """
    if len(pattern) > _MAX_PATTERN:
        raise BadArguments(f"pattern: {len(pattern)} characters, a regular expression may have {_MAX_PATTERN}")
    if "[[:" in pattern:
        raise BadArguments(f"pattern {pattern!r}: classes like [[:space:]] are unknown here, use \\s, \\d, \\w")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadArguments(f"pattern {pattern!r} is no regular expression: {error}") from error


@attrs.frozen(eq=False)
class RegexSearch:
    """One pattern at work in its process; see `regex_search`."""

    _process: subprocess.Popen[bytes]
    _seconds: float

    def lines(self, data: bytes, name: str) -> list[int]:
        """The numbers of the lines in `data` that match.

        Raises:
            ToolError: it took too long on this file (`name`, for the message).
        """
        late = threading.Timer(self._seconds, self._process.kill)
        late.start()
        try:
            answer = self._ask(data)
        finally:
            late.cancel()
        if not answer:
            raise ToolError(
                f"the regular expression did not finish {name} ({len(data):,} bytes) within "
                f"{self._seconds:g} s; make it simpler (no repeats inside repeats), or search for plain text",
                effect=False,
                retry_possible=False,
            )
        numbers: list[int] = json.loads(answer)
        return numbers

    def _ask(self, data: bytes) -> bytes:
        to, back = self._process.stdin, self._process.stdout
        if to is None or back is None:  # both are pipes
            return b""
        with contextlib.suppress(BrokenPipeError):  # killed while it was still reading
            to.write(len(data).to_bytes(8, "big") + data)
            to.flush()
        return back.readline()


@contextlib.contextmanager
def regex_search(pattern: str, *, ignore_case: bool, seconds: float = SECONDS_PER_FILE) -> Iterator[RegexSearch]:
    """Match files against a pattern in a child process that ends with the block. Blocks: call it in a thread.

    `seconds` is the most that one file may take.
    """
    process = subprocess.Popen(  # noqa: S603 - our own interpreter on our own file
        [sys.executable, "-I", "-S", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # so that Ctrl-C is ours to hear, and not the child's to print a traceback of
    )
    try:
        asked = json.dumps({"pattern": pattern, "ignore_case": ignore_case}) + "\n"
        if process.stdin is not None:
            process.stdin.write(asked.encode())
        yield RegexSearch(process, seconds)
    finally:
        process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.communicate()
