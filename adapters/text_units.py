"""Text cut into what can be quoted: sentences, list items, lines; and lines that say the same thing counted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

MAX_UNIT = 400
"""Characters of one quotation; a longer one is cut between words."""

_LINEWISE = (".py", ".js", ".ts", ".yaml", ".yml", ".toml", ".json", ".ini", ".cfg", ".csv", ".log", ".sh", ".c", ".h")
# These look at lines without white space around them, and no part can take what its neighbour takes: a text of
# ten thousand spaces must not keep the interpreter busy for a minute.
_OWN_LINE = re.compile(r"(?:[-*+•]|\d+[.)]|\[[ xX]\]|\||>)\s+|[A-Z][\w /-]{0,30}:\s")
_HEADING = re.compile(r"#{1,6}\s")
_RULE = re.compile(r"[-=*_~`|:+ ]{3,}$|```|~~~")
_MARKER = re.compile(r"(?:(?:[-*+•>]|\d+[.)])\s+)?(?:\[[ xX]\]\s+)?")
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|cf|vs|Dr|Mr|Mrs|Ms|St|No|Fig|approx)\.|\b[A-Z]\.)$")
# What differs from one occurrence of a message to the next: times, dates, numbers, addresses, quoted names.
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b|\d+")
_STAMP = re.compile(r"^[\[(]?\d{2,4}[-/]\d{1,2}[-/]\d{1,4}[T ]?[\d:.,]*(?:Z|[+-]\d{2}:?\d{2})?[\])]?\s*")
_WORD = re.compile(r"\w[\w'-]*")

_STOPWORDS = """
a about above after again all also am an and any are as at be because been before being below between
both but by can could did do does doing down during each few for from further had has have having he her
here hers him his how i if in into is it its itself just let me more most my no nor not now of off on
once only or other our out over own same she should so some such than that the their them then there
these they this those through to too under until up us very was we were what when where which while who
whom why will with would you your please tell give show list find write summary summarise summarize
explain short overview main
"""
STOPWORDS = frozenset(_STOPWORDS.split())
"""Words that say nothing about a text; the last line are those of requests such as 'write a summary'."""


def units_of(text: str, title: str = "") -> list[str]:
    """The parts of a text that can be quoted by themselves, in order, each verbatim but for line breaks.

    Prose gives its sentences; list items, table rows and `Name: value` lines stand for themselves, and so does
    each line of a file that `title` names as code, settings or a log. Headings are left out.
    """
    if title.lower().endswith(_LINEWISE):
        return [u for line in text.splitlines() if (u := _cut(line)) and not _RULE.match(u)]
    units: list[str] = []
    prose: list[str] = []
    for line in (line.strip() for line in [*_unfenced(text.splitlines()), ""]):
        silent = not line or _HEADING.match(line) or _RULE.match(line)
        alone = _OWN_LINE.match(line)
        if prose and (silent or alone):
            units.extend(_sentences(" ".join(prose)))
            prose = []
        if alone and not silent:
            units.extend(_sentences(_MARKER.sub("", line, count=1)))
        elif not silent:
            prose.append(line)
    return units


def _unfenced(lines: Sequence[str]) -> list[str]:
    """The lines without fenced code; all of them if there is nothing else, or a fence that never closes."""
    fences = [i for i, line in enumerate(lines) if line.lstrip().startswith(("```", "~~~"))]
    if len(fences) % 2:
        return list(lines)
    inside = {i for a, b in zip(fences[::2], fences[1::2], strict=True) for i in range(a, b + 1)}
    outside = ["" if i in inside else line for i, line in enumerate(lines)]
    return outside if any(line.strip() for line in outside) else list(lines)


def words_of(text: str) -> list[str]:
    """The words that carry meaning, in lower case, without their commonest endings."""
    return [_stem(w) for w in _WORD.findall(text.lower()) if len(w) > 1 and w not in STOPWORDS]


@attrs.frozen
class Group:
    """Lines that say the same thing but for numbers, times and addresses."""

    count: int
    example: str
    """The first of them, verbatim."""
    first: int
    """Its place among all lines, from 0."""
    same: bool = True
    """Whether they are the very same, numbers included."""


def groups_of(lines: Sequence[str]) -> list[Group]:
    """The lines grouped by what they say, most frequent first, then in order of appearance."""
    places: dict[str, list[int]] = {}
    for i, line in enumerate(lines):
        if key := _message(line):
            places.setdefault(key, []).append(i)
    ranked = sorted(places.values(), key=lambda at: (-len(at), at[0]))
    return [Group(len(at), _cut(lines[at[0]]), at[0], len({lines[i].strip() for i in at}) == 1) for at in ranked]


def _message(line: str) -> str:
    return " ".join(_VARIABLE.sub("#", _STAMP.sub("", line.strip()[:MAX_UNIT])).lower().split())


def _sentences(prose: str) -> Iterable[str]:
    start = 0
    for end in _END.finditer(prose):
        if not _ABBREVIATION.search(prose, max(0, end.start() - 12), end.start()):
            yield _cut(prose[start : end.start()] + end[0].rstrip())
            start = end.end()
    if rest := prose[start:].strip():
        yield _cut(rest)


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_UNIT else text[:MAX_UNIT].rsplit(" ", 1)[0]


def _stem(word: str) -> str:
    for ending in ("ies", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word.removesuffix("e") if len(word) > 3 else word
