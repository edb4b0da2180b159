"""JSON as plans need it: strict, without recursion, every refusal with its position.

The standard library's decoder is fast, but how deep it can go depends on how deep its caller's stack
already is, it keeps the last of two equal keys, takes `NaN`, and turns `1e999` into infinity. So the fast
decoder only does the easy work: whatever it refuses, and whatever is close to a limit, goes through
`decode_at`, which keeps its own stack and words every error. Both give the same value for the same text.
"""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

import attrs

MAX_DEPTH: Final = 512
"""How many lists and objects may stand inside one another in a plan, whoever calls from wherever."""


class Reported:
    """Stands where a value was that has been reported already, so that nobody reports it again."""

    def __repr__(self) -> str:
        return "<reported>"


REPORTED: Final = Reported()


class JsonError(Exception):
    """The text is not JSON from `position` on; `depth` containers were open there."""

    def __init__(self, message: str, position: int, *, depth: int = 0, truncated: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.depth = depth
        self.truncated = truncated


class Repeated(dict[str, object]):
    """An object that gave some keys more than once; `claims` has all the values of those keys."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__()
        self.claims: dict[str, list[object]] = {}
        for key, value in pairs:
            if key in self:
                self.claims.setdefault(key, [self[key]]).append(value)
            else:
                self[key] = value
        for key in self.claims:
            self[key] = REPORTED


@attrs.frozen
class Document:
    """A decoded value, and those of its objects that repeat a key.

    `keys`: None, or how many keys there must be in it. If there are others, or something stands too deep, it has to be
    decoded again, `proven`.
    """

    value: object
    repeated: tuple[Repeated, ...] = ()
    keys: int | None = attrs.field(default=None, eq=False)


_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def decode(text: str, *, proven: bool = True) -> Document:
    """The one JSON value that `text` is; whitespace around it is allowed.

    Unless it must be `proven`, whoever gets it has to count its keys, if it has a number of `keys`, and see how deep
    it is.

    Raises:
        JsonError: it is none, or more than one, or nested deeper than `MAX_DEPTH`.
    """
    if "\\u" not in text or not _SURROGATE_ESCAPE.search(text):
        try:
            document = _decode_large(text) if len(text) > _LARGE else None
            if document is not None and (not proven or is_proven(document)):
                return Document(document.value) if proven else document
            document = _decode_fast(text)
        except (ValueError, RecursionError):
            pass  # the decoder below finds the same fault and says where it is, or has the stack for it
        else:
            if text.count("[") + text.count("{") <= MAX_DEPTH or keys_if_shallow(document.value) is not None:
                return document
    document, end = decode_at(text, 0)
    end = _skip(text, end)
    if end < len(text):
        raise JsonError("there is more text after the end of the JSON value", end)
    return document


def _decode_large(text: str) -> Document | None:
    """A value and how many keys it has if it repeats none; None if a closer look is needed.

    The standard library tells of repeated keys only through a call for each object, which takes longer than the
    decoding. So the keys are counted instead, in the text and in what came out.
    """
    keys = text.count('":')
    if keys != text.count(":") and any(f"{space}:" in text for space in " \t\n\r"):
        return None  # there may be keys that are not counted
    return Document(json.loads(text, parse_float=_finite, parse_constant=_no_constant), keys=keys)


def is_proven(document: Document) -> bool:
    """Whether it repeats no key and is not too deep, as far as that has not been looked at before."""
    return document.keys is None or document.keys == keys_if_shallow(document.value)


def keys_if_shallow(value: object, deepest: int = MAX_DEPTH) -> int | None:
    """How many keys there are in a decoded value; None if lists and objects stand deeper in one another than that."""
    # Level by level; written for speed, since a plan of 10,000 steps has 200,000 values.
    front: list[Any] = [value] if type(value) in _CONTAINERS else []
    keys = 0
    for _ in range(deepest):
        items: list[Any] = []
        for container in front:
            if type(container) is list:
                items += container
            else:
                keys += len(container)
                items += container.values()
        front = [item for item in items if type(item) in _CONTAINERS]
        if not front:
            return keys
    return None


_CONTAINERS: Final = frozenset({list, dict, Repeated})
_LARGE: Final = 10_000
"""From so many characters on time counts."""


def _decode_fast(text: str) -> Document:
    repeated: list[Repeated] = []

    def build(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        repeated.append(Repeated(pairs))
        return repeated[-1]

    value = json.loads(text, object_pairs_hook=build, parse_float=_finite, parse_constant=_no_constant)
    return Document(value, tuple(repeated))


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(digits)
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


# ------------------------------------------------------------------ the decoder with its own stack

_SPACE = re.compile(r"[ \t\n\r]*+")
_STRING_BODY = re.compile(
    r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+',
)
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(\.[0-9]++)?([eE][-+]?[0-9]++)?")
_WORD = re.compile(r"-?[A-Za-z]++")
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None}
_NOT_NUMBERS = frozenset({"NaN", "Infinity", "-Infinity"})
_HINTS = {
    "'": "; JSON strings stand in double quotes",
    "/": "; JSON has no comments",
    "#": "; JSON has no comments",
    "]": "; JSON allows no comma before it",
    "}": "; JSON allows no comma before it",
}


class _Open:
    """A list or object whose end has not been read yet."""

    __slots__ = ("closer", "items", "key", "pairs")

    def __init__(self, closer: str) -> None:
        self.closer = closer
        self.items: list[object] = []
        self.pairs: list[tuple[str, object]] = []
        self.key = ""

    def add(self, value: object) -> None:
        if self.closer == "]":
            self.items.append(value)
        else:
            self.pairs.append((self.key, value))

    def close(self, repeated: list[Repeated]) -> object:
        if self.closer == "]":
            return self.items
        found = dict(self.pairs)
        if len(found) == len(self.pairs):
            return found
        repeated.append(Repeated(self.pairs))
        return repeated[-1]


def decode_at(text: str, start: int) -> tuple[Document, int]:
    """The JSON value that begins at `start`, and where it ends. One pass, no recursion.

    Raises:
        JsonError: no JSON value begins there.
    """
    stack: list[_Open] = []
    repeated: list[Repeated] = []
    try:
        at = _skip(text, start)
        while True:
            opener = text[at : at + 1]
            if opener and opener in "[{":
                if len(stack) == MAX_DEPTH:
                    raise JsonError(f"too deep: more than {MAX_DEPTH} lists and objects in one another", at)
                stack.append(_Open("]" if opener == "[" else "}"))
                at = _skip(text, at + 1)
                if text[at : at + 1] != stack[-1].closer:
                    at = _read_key(text, at, stack[-1])
                    continue
                at += 1
                value = stack.pop().close(repeated)
            else:
                value, at = _scalar(text, at)
            # A value is complete: it goes into its container, and every container that ends here with it.
            while stack:
                top = stack[-1]
                top.add(value)
                at = _skip(text, at)
                mark = text[at : at + 1]
                if mark == ",":
                    at = _read_key(text, _skip(text, at + 1), top)
                    break
                if mark != top.closer:
                    raise _unexpected(text, at, f"',' or {top.closer!r}")
                at += 1
                value = stack.pop().close(repeated)
            else:
                return Document(value, tuple(repeated)), at
    except JsonError as error:
        error.depth = len(stack)
        raise


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _read_key(text: str, at: int, container: _Open) -> int:
    """Go to the next value: in an object past its key and the colon."""
    if container.closer == "]":
        return at
    if text[at : at + 1] != '"':
        raise _unexpected(text, at, "a key in double quotes")
    container.key, at = _string(text, at)
    at = _skip(text, at)
    if text[at : at + 1] != ":":
        raise _unexpected(text, at, "':'")
    return _skip(text, at + 1)


def _scalar(text: str, at: int) -> tuple[object, int]:
    if text[at : at + 1] == '"':
        return _string(text, at)
    number = NUMBER.match(text, at)
    if number:
        return as_number(number), number.end()
    word = _WORD.match(text, at)
    if word and word[0] in _WORDS:
        return _WORDS[word[0]], word.end()
    if word and word[0] in _NOT_NUMBERS:
        raise JsonError(f"{word[0]} is not a JSON number", at)
    if word and word.end() == len(text) and any(name.startswith(word[0]) for name in _WORDS):
        at = len(text)  # `tru` and then nothing: cut off, not misspelt
    raise _unexpected(text, at, "a value")


def as_number(found: re.Match[str]) -> int | float:
    """The number that `NUMBER` found.

    Raises:
        JsonError: nobody can compute with it.
    """
    try:
        return int(found[0]) if found[1] is None and found[2] is None else _finite(found[0])
    except ValueError:
        digits = found.end() - found.start()
        raise JsonError(f"a number of {digits} characters is too large to compute with", found.start()) from None


def _string(text: str, at: int) -> tuple[str, int]:
    body = _STRING_BODY.match(text, at)
    end = body.end() if body else at
    if text[end : end + 1] != '"':
        raise _bad_string(text, end)
    value = text[at + 1 : end]
    if "\\" in value:
        value = str(json.loads(text[at : end + 1]))
        if _SURROGATE.search(value):
            raise JsonError("half a surrogate pair in a string is not text", at)
    return value, end + 1


def _bad_string(text: str, at: int) -> JsonError:
    rest = text[at : at + 7]
    if not rest or (len(rest) < 6 and re.fullmatch(r"\\(?:u[0-9a-fA-F]{0,3})?", rest)):
        return _unexpected(text, len(text), 'the closing "')
    if rest[0] == "\\":
        return JsonError(f"{rest[:2]!r} is not an escape that JSON knows", at)
    return JsonError(f"a raw {rest[0]!r} inside a string; write it as an escape", at)


def _unexpected(text: str, at: int, wanted: str) -> JsonError:
    if at >= len(text):
        return JsonError(f"the text ends where {wanted} should follow", at, truncated=True)
    hint = _HINTS.get(text[at], "") if wanted.startswith("a ") or text[at] in "'/#" else ""
    return JsonError(f"{text[at]!r} stands where {wanted} should{hint}", at)
