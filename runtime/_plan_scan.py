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
from ._plan_pieces import Broken, Lost, PieceReader, Waiting
from ._plan_text import is_like_a_step

Sign = Literal["plan", "entry", "broken", "lost"]
_NOTHING: Final = Document(None)


@attrs.frozen
class Seen:
    """Something about the plan that the newest piece of text has made clear.

    Attributes:
        sign: A `plan` begins (its list of steps is there), an `entry` of that list is complete, the plan
            is `broken` (no valid plan can come of this value), or nothing more can be said (`lost`).
        entry: The decoded entry; nothing if it is no object.
    """

    sign: Sign
    entry: Document = _NOTHING


_OPENER = re.compile(r"[\[{]")
_ANY_SPACE = re.compile(r"\s*+")
_NUMBER_RUN = re.compile(r"[-+.0-9eE]*+")
_QUOTE_OR_BRACKET = re.compile(r'["\[\]{}]')
_ENDS: Final = {"[": "]", "{": "}"}
_LITERALS: Final = frozenset({"true", "false", "null"})
_PLAN_KEYS: Final = frozenset({"steps", "action", "tool"})
_LOOSE_KEYS: Final = frozenset({"steps", "goal", "reasoning", "id", "action", "tool"})


class EntryScanner(PieceReader):
    """Reads text piece by piece and tells of each piece what it completed."""

    __slots__ = ("_mark", "_plan_key", "_reader", "_record", "_seen")

    def __init__(self) -> None:
        super().__init__()
        self._mark: int = 0  # where in the buffer the entry goes on that is being recorded
        self._record: list[str] | None = None  # its text so far, without that of the buffer
        self._plan_key: bool = False
        self._seen: list[Seen] = []
        self._reader: Waiting | None = self._read()
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
        self._seen.append(Seen(sign))

    def _read(self) -> Waiting:
        try:
            while True:
                opener = yield from self._seek()
                self._plan_key = False
                if opener:
                    yield from self._value_or_skip(opener)
                else:
                    self._tell("broken")  # an object with a bare key
                    yield from self._skip(1)
        except Lost:
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

    def _skip(self, depth: int) -> Waiting:
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

    def _value_or_skip(self, opener: str) -> Waiting:
        open_ends = [_ENDS[opener]]
        try:
            yield from self._inside(open_ends)
        except Broken as broken:
            self._record = None
            if not open_ends:
                return  # it was `[see below]`, no list at all
            key_here = broken.word is not None and (yield from self._loose_key(broken.word))
            if key_here or self._plan_key:
                self._tell("broken")
                yield from self._skip(len(open_ends))

    def _inside(self, ends: list[str]) -> Waiting:
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
                        raise Broken
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
                raise Broken("")
            self._at += 1
            empty = False

    def _key(self, outermost: bool, shape: _Shape) -> Generator[None, None, str]:
        """Read a key and the colon; the mark the value begins with."""
        if (yield from self._peek()) != '"':
            raise Broken("")
        raw = yield from self._string()
        if (yield from self._peek()) != ":":
            raise Broken("")
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
            raise Lost from None
        entry = document.value
        if not shape.told:
            if not is_like_a_step(entry):
                shape.odd = True
                return
            shape.told = True
            self._tell("plan")
            if shape.odd:
                self._tell("broken")
        self._seen.append(Seen("entry", document))

    def _scalar(self, mark: str, ends: list[str], *, only: bool) -> Waiting:
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
                raise Broken(word)

    def _number(self, ends: list[str], *, only: bool) -> Waiting:
        pieces: list[str] = []
        yield from self._run(_NUMBER_RUN, pieces)
        run = "".join(pieces)
        found = NUMBER.match(run)
        if found is None:
            if only:
                ends.clear()
            raise Broken
        try:
            as_number(found)
        except JsonError:
            raise Broken from None
        if found.end() < len(run):
            raise Broken


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
