"""Reading the tokens of JSON from text that arrives in pieces, which may end anywhere, also inside a token.

Each reader is a generator that yields when it has used up the piece there is, and goes on when there is another.
Whoever drives it puts the next piece into `_buffer` and 0 into `_at` before.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final

Waiting = Generator[None, None, None]

_BODY = re.compile(r'[^"\\\x00-\x1f]*+(?:\\["\\/bfnrt][^"\\\x00-\x1f]*+)*+')
_SPACE = re.compile(r"[ \t\n\r]*+")
_QUOTED = re.compile(r'[^"\\]*+')
_LONGEST_WORD: Final = 10
"""No key and no literal that matters is longer."""


class Broken(Exception):
    """The value is no JSON from here on. `word` was read already; None: no key can stand here."""

    def __init__(self, word: str | None = None) -> None:
        super().__init__()
        self.word = word


class Lost(Exception):
    """What a whole reading would do now depends on text that has gone by."""


class PieceReader:
    """The pieces, one at a time, and where in the newest one the reading stands."""

    __slots__ = ("_at", "_buffer")

    def __init__(self) -> None:
        self._buffer: str = ""
        self._at: int = 0

    def _peek(self) -> Generator[None, None, str]:
        """The next character that is not white space; it is not taken."""
        return (yield from self._run(_SPACE))

    def _run(self, pattern: re.Pattern[str], kept: list[str] | None = None) -> Generator[None, None, str]:
        """Take what matches `pattern`, over as many pieces of text as it goes; the character behind it."""
        while True:
            found = pattern.match(self._buffer, self._at)
            if found:
                self._at = found.end()
                if kept is not None:
                    kept.append(found[0])
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            yield

    def _next(self, *, take: bool = True) -> Generator[None, None, str]:
        while self._at == len(self._buffer):
            yield
        mark = self._buffer[self._at]
        self._at += take
        return mark

    def _word(self) -> Generator[None, None, str]:
        """Take the letters that stand here; of a long word only so many that it cannot be one that counts."""
        word = ""
        while len(word) <= _LONGEST_WORD:
            letter = yield from self._next(take=False)
            if not (letter.isascii() and letter.isalpha()):
                break
            self._at += 1
            word += letter
        return word

    def _string(self) -> Generator[None, None, str]:
        """Read a string; what stands between the quotes, as it is written."""
        self._at += 1
        pieces: list[str] = []
        while True:
            mark = yield from self._run(_BODY, pieces)
            if mark == '"':
                self._at += 1
                return pieces[0] if len(pieces) == 1 else "".join(pieces)
            if mark != "\\":
                raise Broken
            self._at += 1
            pieces.append("\\")
            pieces.append((yield from self._escape()))

    def _escape(self) -> Generator[None, None, str]:
        """Read what follows a backslash: text that is cut between the two, or a character by its number."""
        mark = yield from self._next(take=False)
        if mark in '"\\/bfnrt':
            self._at += 1
            return mark
        first = yield from self._unit()
        if 0xD800 <= int(first[1:], 16) < 0xDC00 and (yield from self._next(take=False)) == "\\":
            self._at += 1
            if (yield from self._next(take=False)) != "u":
                raise Lost
            second = yield from self._unit()
            if 0xDC00 <= int(second[1:], 16) < 0xE000:
                return f"{first}\\{second}"
        if 0xD800 <= int(first[1:], 16) < 0xE000:
            raise Lost
        return first

    def _unit(self) -> Generator[None, None, str]:
        if (yield from self._next(take=False)) != "u":
            raise Broken
        self._at += 1
        digits = "u"
        while len(digits) < 5:
            digit = yield from self._next(take=False)
            if digit not in "0123456789abcdefABCDEF":
                raise Broken
            self._at += 1
            digits += digit
        return digits

    def _skip_string(self) -> Waiting:
        while (yield from self._run(_QUOTED)) != '"':
            self._at += 1  # the backslash
            yield from self._next()
        self._at += 1
