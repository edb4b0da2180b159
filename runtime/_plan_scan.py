"""Finding the steps of a plan in text that is still being written, each as soon as its last bracket is there.

`_plan_text` decides which value of a whole text is the plan. This reads the same language while the text
arrives, and must never see a step where that one will not: so it takes JSON exactly as strictly, notices a
mistake at the same character, and goes on after it in the same way. Where it would have to go back (half a
surrogate pair in a string) it gives up instead.

The reader is one generator that asks for more text whenever it has used up what there is. What a parser with a
table of states would have to remember between two pieces of text, its local variables remember. Every
character is read once when it is scanned and once more, by the standard decoder, when its step is complete,
however the text is cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from typing import Final, Literal

import attrs

from ._plan_json import MAX_DEPTH, NUMBER, Document, JsonError, as_number, decode
from ._plan_text import is_like_a_step

Sign = Literal["plan", "entry", "broken", "lost"]
_Waiting = Generator[None, None, None]
_NOTHING: Final = Document(None)


@attrs.frozen
class Seen:
    """Something about the plan that the newest piece of text has made clear.

    Attributes:
        sign: A `plan` begins (its list of steps is there), an `entry` of that list is complete, the plan
            is `broken` (no valid plan can come of this value), or nothing more can be said (`lost`).
        value: The how manyth JSON value of the text it is about.
        entry: The decoded entry; nothing if it is no object.
    """

    sign: Sign
    value: int
    entry: Document = _NOTHING


class _Broken(Exception):
    """The value is no JSON from here on. `word` was read already; None: no key can stand here."""

    def __init__(self, word: str | None = None) -> None:
        super().__init__()
        self.word = word


class _Lost(Exception):
    """What a whole reading would do now depends on text that has gone by."""


_OPENER = re.compile(r"[\[{]")
_SPACE = re.compile(r"[ \t\n\r]*+")
_ANY_SPACE = re.compile(r"\s*+")
_LETTERS = re.compile(r"[A-Za-z]*+")
_BODY = re.compile(r'[^"\\\x00-\x1f]*+(?:\\["\\/bfnrt][^"\\\x00-\x1f]*+)*+')
_NUMBER_RUN = re.compile(r"[-+.0-9eE]*+")
_QUOTE_OR_BRACKET = re.compile(r'["\[\]{}]')
_QUOTED = re.compile(r'[^"\\]*+')
_ENDS: Final = {"[": "]", "{": "}"}
_LITERALS: Final = frozenset({"true", "false", "null"})
_PLAN_KEYS: Final = frozenset({"steps", "action", "tool"})
_LOOSE_KEYS: Final = frozenset({"steps", "goal", "reasoning", "id", "action", "tool"})
_LONGEST_WORD: Final = 10
"""No key and no literal that matters is longer."""


class EntryScanner:
    """Reads text piece by piece and tells of each piece what it completed."""

    __slots__ = ("_at", "_buffer", "_mark", "_plan_key", "_reader", "_record", "_seen", "_value")

    def __init__(self) -> None:
        self._buffer: str = ""
        self._at: int = 0
        self._mark: int = 0  # where in the buffer the entry goes on that is being recorded
        self._record: list[str] | None = None  # its text so far, without that of the buffer
        self._plan_key: bool = False
        self._value: int = 0
        self._seen: list[Seen] = []
        self._reader: _Waiting | None = self._read()
        next(self._reader)

    def feed(self, chunk: str) -> list[Seen]:
        """Go on with the next piece of the text."""
        if self._reader is None or not chunk:
            return []
        if self._record is not None:
            self._record.append(self._buffer[self._mark :])
            self._mark = 0
        self._buffer = chunk
        self._at = 0
        self._seen = []
        try:
            next(self._reader)
        except StopIteration:
            self._reader = None
        return self._seen

    def _tell(self, sign: Sign) -> None:
        self._seen.append(Seen(sign, self._value))

    def _read(self) -> _Waiting:
        try:
            while True:
                opener = yield from self._seek()
                self._value += 1
                self._plan_key = False
                if opener:
                    yield from self._value_or_skip(opener)
                else:
                    self._tell("broken")  # an object with a bare key
                    yield from self._skip(1)
        except _Lost:
            self._tell("lost")

    # -------------------------------------------------------------- between the values

    def _seek(self) -> Generator[None, None, str]:
        """Go to where a value begins, behind its opening bracket; `""` if it will be one that is broken."""
        while True:
            found = _OPENER.search(self._buffer, self._at)
            if found is None:
                self._at = len(self._buffer)
                yield
                continue
            self._at = found.end()
            mark = yield from self._peek()
            if found[0] == "[":
                if mark in '[{"]-0123456789tfn':
                    return "["
            elif mark in '"}':
                return "{"
            elif (yield from self._loose_key("")):
                return ""

    def _skip(self, depth: int) -> _Waiting:
        """Go past the end of a broken value, where the `depth` brackets that were open are closed again."""
        while depth > 0:
            found = _QUOTE_OR_BRACKET.search(self._buffer, self._at)
            if found is None:
                self._at = len(self._buffer)
                yield
                continue
            self._at = found.end()
            if found[0] == '"':
                yield from self._skip_string()
            else:
                depth += 1 if found[0] in "[{" else -1

    def _skip_string(self) -> _Waiting:
        while (yield from self._run(_QUOTED)) != '"':
            self._at += 1  # the backslash
            yield from self._next()
        self._at += 1

    def _loose_key(self, word: str) -> Generator[None, None, bool]:
        """Whether a key of a plan stands here, quoted wrongly or not at all; `word` of it was read before."""
        if not word:
            if (yield from self._next(take=False)) == "'":
                self._at += 1
            word = yield from self._word()
        if word not in _LOOSE_KEYS:
            return False
        if (yield from self._next(take=False)) == "'":
            self._at += 1
        if (yield from self._run(_ANY_SPACE)) != ":":
            return False
        self._at += 1
        return True

    # -------------------------------------------------------------- inside a value

    def _value_or_skip(self, opener: str) -> _Waiting:
        open_ends = [_ENDS[opener]]
        try:
            yield from self._inside(open_ends)
        except _Broken as broken:
            self._record = None
            if not open_ends:
                return  # it was `[see below]`, no list at all
            key_here = broken.word is not None and (yield from self._loose_key(broken.word))
            if key_here or self._plan_key:
                self._tell("broken")
                yield from self._skip(len(open_ends))

    def _inside(self, ends: list[str]) -> _Waiting:
        """Read the value to its end. `ends` has the closing bracket of every container that is open."""
        shape = _Shape(ends[0] == "]")
        empty = True  # the innermost container was opened just now
        while ends:
            mark = yield from self._peek()
            if not empty or mark != ends[-1]:
                if ends[-1] == "}":
                    mark = yield from self._key(len(ends) == 1, shape)
                if len(ends) == shape.depth and ends[-1] == "]":
                    self._entry_begins(mark, shape)
                if mark in "[{":
                    if len(ends) == MAX_DEPTH:
                        raise _Broken
                    self._opens_steps(mark, len(ends), shape)
                    ends.append(_ENDS[mark])
                    self._at += 1
                    empty = True
                    continue
                yield from self._scalar(mark, ends, only=shape.bare and empty and len(ends) == 1)
                mark = yield from self._peek()
            # A value is complete, or the container is empty: whatever ends here with it ends.
            while mark == ends[-1]:
                self._at += 1
                ends.pop()
                if not ends:
                    return
                self._closed(len(ends), shape)
                mark = yield from self._peek()
            if mark != ",":
                raise _Broken("")
            self._at += 1
            empty = False

    def _key(self, outermost: bool, shape: _Shape) -> Generator[None, None, str]:
        """Read a key and the colon; the mark the value begins with."""
        if (yield from self._peek()) != '"':
            raise _Broken("")
        raw = yield from self._string()
        if (yield from self._peek()) != ":":
            raise _Broken("")
        self._at += 1
        if raw[raw.rfind('"') + 1 :] in _PLAN_KEYS:
            self._plan_key = True
        if outermost:
            shape.at_steps = raw == "steps" or ("\\" in raw and json.loads(f'"{raw}"') == "steps")
            if shape.at_steps and shape.had_steps:
                self._tell("broken")  # the key stands there twice
            shape.had_steps |= shape.at_steps
        return (yield from self._peek())

    def _opens_steps(self, mark: str, depth: int, shape: _Shape) -> None:
        if mark == "[" and depth == 1 and shape.at_steps and not shape.told:
            shape.told = True
            shape.depth = 2
            self._tell("plan")

    def _entry_begins(self, mark: str, shape: _Shape) -> None:
        if mark == "{":
            self._record = []
            self._mark = self._at
        elif shape.told:
            self._tell("entry")
        else:
            shape.odd = True

    def _closed(self, depth: int, shape: _Shape) -> None:
        """A container inside the value was closed: an entry, perhaps, or the list of the steps."""
        if depth == shape.depth - 1 and not shape.bare:
            shape.depth = 0
        if depth != shape.depth or self._record is None:
            return
        text = "".join((*self._record, self._buffer[self._mark : self._at]))
        self._record = None
        try:
            document = decode(text)
        except JsonError:  # pragma: no cover - it was read as strictly before
            raise _Lost from None
        entry = document.value
        if not shape.told:
            if not is_like_a_step(entry):
                shape.odd = True
                return
            shape.told = True
            self._tell("plan")
            if shape.odd:
                self._tell("broken")
        self._seen.append(Seen("entry", self._value, document))

    def _scalar(self, mark: str, ends: list[str], *, only: bool) -> _Waiting:
        """Read a text, a number or a word. `only`: without it there is no list that begins here at all."""
        if mark == '"':
            yield from self._string()
        elif mark in "-0123456789":
            yield from self._number(ends, only=only)
        else:
            word = yield from self._word()
            if word not in _LITERALS:
                if only:
                    ends.clear()
                raise _Broken(word)

    def _number(self, ends: list[str], *, only: bool) -> _Waiting:
        pieces: list[str] = []
        yield from self._run(_NUMBER_RUN, pieces)
        run = "".join(pieces)
        found = NUMBER.match(run)
        if found is None:
            if only:
                ends.clear()
            raise _Broken
        try:
            as_number(found)
        except JsonError:
            raise _Broken from None
        if found.end() < len(run):
            raise _Broken

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
                raise _Broken
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
                raise _Lost
            second = yield from self._unit()
            if 0xDC00 <= int(second[1:], 16) < 0xE000:
                return f"{first}\\{second}"
        if 0xD800 <= int(first[1:], 16) < 0xE000:
            raise _Lost
        return first

    def _unit(self) -> Generator[None, None, str]:
        if (yield from self._next(take=False)) != "u":
            raise _Broken
        self._at += 1
        digits = "u"
        while len(digits) < 5:
            digit = yield from self._next(take=False)
            if digit not in "0123456789abcdefABCDEF":
                raise _Broken
            self._at += 1
            digits += digit
        return digits

    # -------------------------------------------------------------- the text

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


@attrs.define
class _Shape:
    """What is known of the value that is being read: where its steps are."""

    bare: bool
    """It is a list, which may itself be that of the steps."""
    depth: int = attrs.field(default=attrs.Factory(lambda self: int(self.bare), takes_self=True), init=False)
    """How many containers are open where an entry begins; 0: no entries here."""
    told: bool = False
    """It is known to be a plan."""
    odd: bool = False
    """Before that was clear it had something that is no step."""
    had_steps: bool = False
    """It has a key `steps`."""
    at_steps: bool = False
    """The value of its key `steps` comes next."""
