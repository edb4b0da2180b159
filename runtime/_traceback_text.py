"""Tracebacks and stacks as text of bounded size, whatever was raised.

The standard library's formatter is not bounded where it matters here: a chain of causes may be a thousand long, a
group may have ten thousand members, a line of generated source a megabyte, and `str(error)` may raise. A crash report
is made of just such errors, so this one counts: frames, errors, characters of a line, and lines.
"""

from __future__ import annotations

import linecache
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from types import CodeType, TracebackType
from typing import cast

import trio

from ._shown import LINE, name_of, one_line

FIRST_FRAMES = 8
LAST_FRAMES = 24
"""Of a deep recursion both ends are shown: how it began and where it broke."""
MOST_ERRORS = 12
"""Causes, contexts and members of groups, all together."""
MOST_LINES = 200
DEEPEST_GROUP = 4
DEEPEST_STACK = 10_000
"""Frames of a task that are looked at."""

CAUSE = "... which directly caused:"
CONTEXT = "... and while that was handled:"

Frame = tuple[CodeType, int]
"""Which code, at which line."""


def traceback_text(error: BaseException, trace: TracebackType | None = None) -> str:
    """What Python would print for `error`: causes first, then its frames and itself; bounded. Raises nothing.

    Args:
        error: What was raised. Cycles of `__context__` are cut.
        trace: Its frames, where they are not those it has by now.
    """
    try:
        text = _Text()
        text.chain(error, trace if trace is not None else error.__traceback__, "", 0)
        return "\n".join(_cut(text.lines))
    except Exception:  # noqa: BLE001 - an error class that lies about its own attributes
        return said(error)


def task_stack(task: trio.lowlevel.Task) -> str:
    """Where a task is, outermost frame first; bounded. Raises nothing: of a task that has ended it is empty."""
    frames: list[Frame] = []
    with suppress(Exception):  # a frame that is gone, or an awaitable trio cannot look into
        frames.extend((frame.f_code, line) for frame, line in islice(task.iter_await_frames(), DEEPEST_STACK))
    return "\n".join(_stack_lines(frames))


def said(error: BaseException) -> str:
    """`KeyError: 'goal'` as one bounded line. Raises nothing."""
    name = name_of(type(error))
    try:
        text = one_line(str(error), LINE - len(name) - 2)
    except KeyboardInterrupt:
        raise
    except BaseException as second:  # noqa: BLE001 - the report of a crash must not crash
        text = f"<its str raises {name_of(type(second))}>"
    return f"{name}: {text}" if text else name


class _Text:
    """The lines so far, and how many more errors may be told of."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._left = MOST_ERRORS
        self._seen: set[int] = set()

    def chain(self, error: BaseException, trace: TracebackType | None, indent: str, depth: int) -> None:
        """`error` after what it was raised from or within."""
        links = self._links(error)
        for one, leads_to in reversed(links):
            if one is None:
                self.lines.append(f"{indent}... (earlier errors left out)")
            else:
                frames = _frames(trace if one is error else one.__traceback__)
                self.lines += [indent + line for line in (*_stack_lines(frames), said(one))]
                if isinstance(one, BaseExceptionGroup):
                    self._members(cast("BaseExceptionGroup[BaseException]", one), indent, depth + 1)
            if leads_to:
                self.lines.append(indent + leads_to)

    def _links(self, error: BaseException) -> list[tuple[BaseException | None, str]]:
        """`error`, what it came from, what that came from; each with how it led to the one before it."""
        links: list[tuple[BaseException | None, str]] = []
        one: BaseException | None = error
        leads_to = ""
        while one is not None and id(one) not in self._seen:
            if self._left == 0:
                links.append((None, leads_to))
                break
            self._left -= 1
            self._seen.add(id(one))
            links.append((one, leads_to))
            if one.__cause__ is not None:
                one, leads_to = one.__cause__, CAUSE
            else:
                one, leads_to = (None if one.__suppress_context__ else one.__context__), CONTEXT
        return links

    def _members(self, group: BaseExceptionGroup[BaseException], indent: str, depth: int) -> None:
        told = 0
        if depth <= DEEPEST_GROUP:
            for member in group.exceptions:
                if self._left == 0:
                    break
                known = " (shown above)" if id(member) in self._seen else ""
                self.lines.append(f"{indent}  +-- {told + 1} of {len(group.exceptions)}{known}")
                self.chain(member, member.__traceback__, f"{indent}  | ", depth)
                told += 1
        if told < len(group.exceptions):
            self.lines.append(f"{indent}  +-- ... {len(group.exceptions) - told} more left out")


def _cut(lines: list[str]) -> list[str]:
    """Both ends of too many lines: the first error, and the last, which is the one that was raised."""
    if len(lines) <= MOST_LINES:
        return lines
    half = MOST_LINES // 2
    return [*lines[:half], f"... {len(lines) - 2 * half} lines left out ...", *lines[-half:]]


def _frames(trace: TracebackType | None) -> Iterator[Frame]:
    while trace is not None:
        yield trace.tb_frame.f_code, trace.tb_lineno
        trace = trace.tb_next


def _stack_lines(frames: Iterable[Frame]) -> Iterator[str]:
    rest = iter(frames)
    for frame in islice(rest, FIRST_FRAMES):
        yield from _frame_lines(*frame)
    last: deque[Frame] = deque(maxlen=LAST_FRAMES)
    count = 0
    for frame in rest:
        last.append(frame)
        count += 1
    if count > LAST_FRAMES:
        yield f"  ... {count - LAST_FRAMES} frames left out ..."
    for frame in last:
        yield from _frame_lines(*frame)


def _frame_lines(code: CodeType, line: int) -> Iterator[str]:
    yield "  " + one_line(f'File "{code.co_filename}", line {line}, in {code.co_qualname}', LINE)
    try:
        source = one_line(linecache.getline(code.co_filename, line), LINE)
    except Exception:  # noqa: BLE001 - a file name that the operating system refuses
        source = ""
    if source:
        yield "    " + source
