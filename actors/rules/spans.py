"""A goal as typed spans: words, numbers, paths, quotations, punctuation.

Everything after this file works on spans, never on the raw string, so a path or a quotation is one thing that
can be given exactly one role. The expressions are possessive or anchored on one character class: scanning is
linear in the length of the goal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import attrs

from .words import DOT_FILES, EXTENSIONS, NAMED_FILES, NOT_FILES

SpanKind = Literal["word", "number", "op", "file", "folder", "glob", "quote", "address", "mark", "stop"]

_APOSTROPHES = "'\u2018\u2019"
_QUOTES = {
    '"': '"',
    "`": "`",
    "'": "'\u2019",
    "\u201c": "\u201d",  # double, English
    "\u201d": "\u201d",
    "\u201e": "\u201c\u201d",  # double, low
    "\u2018": "\u2019",  # single, English
    "\u2019": "\u2019",
    "\u201a": "\u2018\u2019",  # single, low
    "\u00ab": "\u00bb",  # angular
    "\u00bb": "\u00ab",
}
"""How each opening quotation mark may close."""
_CONTRACTIONS = {
    "what's": ("what", "is"),
    "what're": ("what", "are"),
    "who's": ("who", "is"),
    "where's": ("where", "is"),
    "when's": ("when", "is"),
    "how's": ("how", "is"),
    "there's": ("there", "is"),
    "that's": ("that", "is"),
    "it's": ("it", "is"),
    "i'd": ("i", "would"),
    "i'll": ("i", "will"),
    "i've": ("i", "have"),
    "you've": ("you", "have"),
    "we've": ("we", "have"),
    "cannot": ("can", "not"),
}
_MISSPELT = {
    "summerize": "summarize",
    "summerise": "summarise",
    "sumarize": "summarize",
    "sumarise": "summarise",
    "summery": "summary",
    "remeber": "remember",
    "rember": "remember",
    "serach": "search",
    "seach": "search",
    "calcualte": "calculate",
    "caluclate": "calculate",
    "claculate": "calculate",
    "wich": "which",
    "teh": "the",
    "adn": "and",
    "plase": "please",
    "pleas": "please",
    "reprot": "report",
    "comapre": "compare",
    "diffrence": "difference",
    "diffrences": "differences",
    "whats": "what's",
    "wheres": "where's",
}
"""Slips of the fingers in the words that carry the sentence; free text keeps its spelling."""
_SIGNS = "+\\-\u2212*/^%()\u00d7\u00f7x="
"""What may stand between numbers; the minus and times signs of typography among them."""
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+")
_ARITHMETIC = re.compile(rf"[\d.,$€£{_SIGNS}]+")
_OPERATOR = re.compile(rf"\*\*|[{_SIGNS}]")
_WITH_UNIT = re.compile(r"(\d[\d.,]*)(kb|mb|gb|tb|km|cm|mm|kg|mg|ms|min|hrs?|[hgmsb])", re.IGNORECASE)
_DATE_OR_VERSION = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d+(?:\.\d+){2,}|\d+-\d+-\d[\d-]*")
_FILE_NAME = re.compile(r"\.?[\w@+~][\w.@+~-]*\.(\w{1,10})")
_SEGMENT = re.compile(r"[\w.@+~-]+")
_GLOB = re.compile(r"[\w.@+~/*?-]+")
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*://|www\.)\S+|[\w.+-]+@[\w-]+\.[\w.-]+", re.IGNORECASE)
_CLOSING = {")": "(", "]": "[", "}": "{", ">": "<"}
_STOPS = ".!?;…"
_MARKS = ",:"
_DASHES = "\u2013\u2014"
_LONGEST_QUOTATION = 1000


@attrs.frozen
class Span:
    """One piece of the goal: `text` as it stands there, `low` for comparing, `[start, end)` its place."""

    kind: SpanKind
    text: str
    start: int
    end: int
    low: str = ""


def spans_of(goal: str) -> tuple[Span, ...]:
    """The goal cut into spans, in order; white space is dropped, a line end becomes a `stop`."""
    found: list[Span] = []
    at = 0
    while at < len(goal):
        if goal[at].isspace():
            at = _white(goal, at, found)
        elif (end := _quotation(goal, at)) > at:
            found.append(Span("quote", goal[at + 1 : end - 1], at, end, goal[at + 1 : end - 1].casefold()))
            at = end
        else:
            end = at + 1
            while end < len(goal) and not goal[end].isspace() and not _opens_inside(goal, end):
                end += 1
            found.extend(_chunk(goal[at:end], at, attached=at > 0 and not goal[at - 1].isspace()))
            at = end
    return tuple(found)


def enumerators(spans: Sequence[Span]) -> frozenset[int]:
    """The places of the numbers that only count the sentences: `1. Read ... 2. Write ...`."""
    found: list[int] = []
    for at, span in enumerate(spans[:-1]):
        begins = at == 0 or spans[at - 1].kind == "stop" or bool(found)
        numbered = span.kind == "number" and span.low == str(len(found) + 1)
        if begins and numbered and spans[at + 1].low in {".", ")", ":"}:
            found.append(at)
    return frozenset(found if len(found) > 1 else ())


def _white(goal: str, at: int, found: list[Span]) -> int:
    """Skip white space; a line end closes the sentence like a full stop."""
    end = at
    while end < len(goal) and goal[end].isspace():
        end += 1
    if "\n" in goal[at:end] or "\r" in goal[at:end]:
        found.append(Span("stop", "\n", at, end, "\n"))
    return end


def _opens_inside(goal: str, at: int) -> bool:
    """Whether a quotation begins inside this run of characters: `foo:"bar"`, `("bar")`."""
    return goal[at - 1] in "(:=,[" and goal[at] in _QUOTES and _quotation(goal, at) > at


def _quotation(goal: str, at: int) -> int:
    """The end of the quotation that begins here, or `at` when none does.

    A single quote opens only at the start of a word and closes only at the end of one: `don't` is a word.
    """
    closing = _QUOTES.get(goal[at])
    if closing is None or (goal[at] in _APOSTROPHES and at > 0 and goal[at - 1].isalnum()):
        return at
    for end in range(at + 2, min(len(goal), at + _LONGEST_QUOTATION)):
        word_goes_on = goal[end] in _APOSTROPHES and goal[end + 1 : end + 2].isalnum()
        if goal[end] in closing and not word_goes_on:
            return end + 1
    return at


def _chunk(chunk: str, start: int, *, attached: bool) -> list[Span]:
    """One run of characters without white space, cut into its spans."""
    if chunk in {"->", "=>", ">", "-->", "==>"}:
        return [Span("word", chunk, start, start + len(chunk), "->")]
    bare = chunk.rstrip(":").casefold()
    if bare in {"tl;dr", "tldr"}:
        return [Span("word", chunk, start, start + len(chunk), "tl;dr")]
    before: list[Span] = []
    while chunk and not _is_arithmetic(chunk) and (_leads(chunk) or (attached and chunk[0] in _STOPS + _MARKS + ")")):
        before.append(_mark(chunk[0], start))
        chunk, start = chunk[1:], start + 1
    after: list[Span] = []
    while _trails(chunk):
        after.insert(0, _mark(chunk[-1], start + len(chunk) - 1))
        chunk = chunk[:-1]
    return before + (_core(chunk, start) if chunk else []) + after


def _leads(chunk: str) -> bool:
    """Whether the first character only opens something: a parenthesis, a quotation that never closes."""
    return len(chunk) > 1 and (chunk[0] in "([{<¿¡" or (chunk[0] in _QUOTES and chunk[0] not in chunk[1:]))


def _trails(chunk: str) -> bool:
    """Whether the last character is punctuation after the word, not part of it: `print(` keeps its parenthesis."""
    if len(chunk) < 2:
        return False
    letter = chunk[-1]
    if letter in _CLOSING:
        return chunk.count(letter) > chunk.count(_CLOSING[letter])
    if letter == ".":
        return chunk != ".." and not chunk.endswith("/.") and not chunk.endswith("/..")
    return letter in _STOPS + _MARKS + '"' + "\u201d"


def _mark(letter: str, start: int) -> Span:
    return Span("stop" if letter in _STOPS else "mark", letter, start, start + 1, letter)


def _core(chunk: str, start: int) -> list[Span]:
    """A chunk without the punctuation around it."""
    end = start + len(chunk)
    low = chunk.casefold().replace("\u2019", "'")
    if chunk in _DASHES or (chunk != "." and len(chunk) == 1 and chunk in _STOPS + _MARKS):
        return [_mark("," if chunk in _DASHES else chunk, start)]
    if _ADDRESS.fullmatch(chunk):
        return [Span("address", chunk, start, end, low)]
    if _DATE_OR_VERSION.fullmatch(chunk):
        return [Span("word", chunk, start, end, low)]
    if _is_arithmetic(chunk):
        return _arithmetic(chunk, start)
    if low.startswith("sqrt(") and _is_arithmetic(chunk[4:]):
        return [Span("word", chunk[:4], start, start + 4, "sqrt"), *_arithmetic(chunk[4:], start + 4)]
    if measured := _WITH_UNIT.fullmatch(chunk):
        middle = start + measured.end(1)
        return [*_arithmetic(measured[1], start), Span("word", measured[2], middle, end, measured[2].casefold())]
    low = _MISSPELT.get(low, low)
    if low in _CONTRACTIONS:
        return [Span("word", chunk, start, end, part) for part in _CONTRACTIONS[low]]
    kind = path_kind(chunk)
    if kind is not None:
        return [Span(kind, chunk, start, end, low)]
    return [Span("op" if _OPERATOR.fullmatch(chunk) else "word", chunk, start, end, low)]


def path_kind(text: str) -> Literal["file", "folder", "glob"] | None:
    """Whether this text is a path by its looks: `./x`, `x/`, `a/b.md`, `notes.txt`, `*.py`."""
    if text in {".", "..", "./", "../", "~", "~/"}:
        return "folder"
    if "*" in text:
        shaped = _GLOB.fullmatch(text) and any(map(str.isalpha, text))
        return "glob" if shaped and ("/" in text or not text.endswith("*")) else None
    rooted = text.startswith(("./", "../", "~/", "/"))
    parts = [part for part in text.removeprefix("~").split("/") if part]
    if not parts or not all(map(_SEGMENT.fullmatch, parts)) or ("//" in text):
        return None
    if text.endswith("/"):
        return "folder"
    last = parts[-1]
    named = _FILE_NAME.fullmatch(last)
    if last in DOT_FILES or ((rooted or "/" in text) and last in NAMED_FILES):
        return "file"
    if named and (rooted or named[1].casefold() in EXTENSIONS) and text.casefold() not in NOT_FILES:
        return "file"
    return "folder" if rooted else None


def _is_arithmetic(chunk: str) -> bool:
    return bool(_ARITHMETIC.fullmatch(chunk)) and any(map(str.isdigit, chunk)) and not chunk.startswith("/")


def _arithmetic(chunk: str, start: int) -> list[Span]:
    """`(128+256)/3`, `17%`, `1,200` cut into numbers and operators; other shapes stay one word."""
    found: list[Span] = []
    at = 0
    while at < len(chunk):
        number, operator = _NUMBER.match(chunk, at), _OPERATOR.match(chunk, at)
        hit = number or operator
        if hit is None and chunk[at] in "$€£":
            at += 1
            continue
        if hit is None and chunk[at] in ".,":
            found.append(_mark(chunk[at], start + at))
            at += 1
            continue
        if hit is None:
            return [Span("word", chunk, start, start + len(chunk), chunk.casefold())]
        low = hit[0].replace(",", "") if number else hit[0]
        found.append(Span("number" if number else "op", hit[0], start + at, start + hit.end(), low))
        at = hit.end()
    return found
