"""Which of a goal's paths is read and which is written, by the words that stand before each.

`Summarise a.md into b.md` names two files, and a form that has them the wrong way round differs from the right one in
nothing but this. So what is written to stands after a word that says so, and what is read does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .rules.spans import Span
from .rules.words import DETERMINERS, words

_TOWARDS = words("to into as called named -> onto titled")
_BETWEEN = DETERMINERS | words(
    "new file files report note text markdown document summary log plain short list results result it them notes"
)
_WRITTEN = words("save write store put create make produce generate record export output dump draft note jot prepare")
_WRITING = _WRITTEN | words(
    "list collect keep saved written stored report answer summary comparison overview it them that differences"
)
_LISTED = words("and & , plus or with")
_FROM = words("of from about read open through for at inside summarise summarize")
_FAR = 6


def misplaced(spans: tuple[Span, ...], filled: Mapping[str, Any]) -> Iterator[str]:
    """Paths of the form that stand on the wrong side of it."""
    sink = filled.get("save_as", "")
    sources = [*filled.get("files", "").split(" + "), filled.get("in", "")]
    compares = filled.get("then") == "compare"
    before = ""
    for at, span in enumerate(spans):
        if span.kind not in {"file", "quote", "folder", "glob"}:
            continue
        towards = _leads_to(spans, at)
        if towards is None:
            towards = before == sink != ""
        compared = compares and before in sources and at > 0 and spans[at - 1].low in {"to", "with", "against"}
        wrong = (span.text == sink and not towards) or (span.text in sources and towards and not compared)
        if wrong:
            yield span.text
        before = span.text


def written_to(spans: tuple[Span, ...]) -> frozenset[str]:
    """The files that the words before them say something goes to."""
    found: set[str] = set()
    before = False
    for at, span in enumerate(spans):
        if span.kind in {"file", "quote"}:
            towards = _leads_to(spans, at)
            before = before if towards is None else towards
            if before:
                found.add(span.text)
    return frozenset(found)


def _leads_to(spans: tuple[Span, ...], at: int) -> bool | None:
    """Whether the words before a path say that something goes there; None if it only goes on with a list."""
    close = True  # nothing but articles and the like so far
    for back in range(at - 1, -1, -1):
        low = spans[back].low
        if spans[back].kind in {"file", "folder", "glob"}:
            return False
        if low in _WRITTEN or (close and low in _TOWARDS):
            return True
        if low == "in":
            return any(span.low in _WRITING for span in spans[max(0, back - _FAR) : back])
        if low in _FROM:
            return False
        if low in {"it", "them", "this", "that"} and not close:
            return True  # `file them under b.md`: what was read goes there
        if close and low in _LISTED:
            return None
        close = close and low in _BETWEEN
    return False
