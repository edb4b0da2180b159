"""Server-sent events out of bytes, however the network cut them.

Lines are split as bytes and decoded when whole, so a read that ends inside a UTF-8 sequence, inside a line or
between CR and LF makes no difference. Everything that grows has a bound: a server that never sends a line end
costs at most `max_line` bytes of memory. Pure: no I/O, no clock.
"""

from __future__ import annotations

import re

import attrs

MAX_LINE = 1 << 20
MAX_EVENT = 4 << 20

_LINE_END = re.compile(rb"\r\n|\n|\r")


class SseError(ValueError):
    """The bytes are not a stream of events; the message says why."""


@attrs.frozen
class SseEvent:
    """One event: its `data` lines joined by newlines, and its name."""

    data: str
    name: str = "message"


class SseDecoder:
    """Feed it bytes, take whole events. An event that the stream cuts off is never given out."""

    def __init__(self, *, max_line: int = MAX_LINE, max_event: int = MAX_EVENT) -> None:
        self._max_line = max_line
        self._max_event = max_event
        self._unfinished = bytearray()
        self._after_cr = False
        self._at_start = True
        self._data: list[str] = []
        self._size = 0
        self._name = ""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes.

        Raises:
            SseError: a line or an event is over its bound, or a line is not UTF-8.
        """
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        *whole, rest = _LINE_END.split(chunk)
        events: list[SseEvent] = []
        for piece in whole:
            self._unfinished += piece
            self._check_line()
            event = self._line(bytes(self._unfinished))
            self._unfinished.clear()
            if event is not None:
                events.append(event)
        self._unfinished += rest
        self._check_line()
        return events

    def _check_line(self) -> None:
        if len(self._unfinished) > self._max_line:
            raise SseError(f"a line is longer than {self._max_line:,} bytes")

    def _line(self, raw: bytes) -> SseEvent | None:
        if self._at_start:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
            self._at_start = False
        if not raw:
            return self._dispatch()
        try:
            field, _, value = raw.decode("utf-8").partition(":")
        except UnicodeDecodeError as error:
            raise SseError(f"a line is not UTF-8: {error}") from error
        value = value.removeprefix(" ")
        if field == "data":
            self._size += len(raw)
            if self._size > self._max_event:
                raise SseError(f"an event is longer than {self._max_event:,} bytes")
            self._data.append(value)
        elif field == "event":
            self._name = value
        return None  # comments have an empty field; `id` and `retry` mean nothing to us

    def _dispatch(self) -> SseEvent | None:
        data, name = self._data, self._name
        self._data, self._name, self._size = [], "", 0
        return SseEvent("\n".join(data), name or "message") if data else None
