"""Readers for the free parts of a sentence: what may fill a slot, and where it must end.

Free text is the only place where a wish could hide, so each reader stops at whatever could be one: a word that
chooses or excludes, a number nobody counts with, a path, a command after `and`. A template then cannot reach the
end of the sentence, and the goal is refused with exactly those words.
"""

from __future__ import annotations

from collections.abc import Iterator

from .match import Reader, Reading
from .names import ANAPHORS
from .spans import path_kind
from .wishes import wishes
from .words import (
    ASKING,
    AUXILIARIES,
    DEEDS,
    DETERMINERS,
    words,
)

LONGEST_QUESTION = 24
JOINING = words("and or & plus nor")
DANGLING = JOINING | words("the a an of to in on at for with from by as into under my your our is are i you then")
_QUESTION_STARTS = DETERMINERS - {"a", "an"} | ASKING | words("whether each about everything anything")
_DEFINITE = words("the its their all any every each these those his her this")
PRONOUNS = words("me us you i we he she they it him her down up out back off away")
_ASKED_OF = DETERMINERS | AUXILIARIES | words("it they to we i you many much long often of else exactly kind")
"""What goes on after `and how`; `and who wrote Hamlet` is another question."""
_DONE = words("done finished ready complete completed over")
_COPIES = words("backup backups clone")
COPULAS = words("is are was were")
PREPOSITIONS = words("in on at for from to with about of")
_BACK = words("it they them its their these those ones this")
_HISTORY = words("wrote changed edited created modified updated committed added deleted touched")
_ADJECTIVES = words("main key most important central major essential core overall relevant")
CLAUSE_WORDS = words("then afterwards thereafter subsequently")
KNOWN_DEEDS = words(
    "search find read summarise summarize compare calculate compute recall list count explain describe grep look",
    "scan extract analyse analyze remember combine show give collect check",
)


def question(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """What is asked of the sources: `what it says`, `the total`, `how they differ`."""
    first = reading.low(at)
    if first == "when" and _DONE & {reading.low(at + i) for i in (2, 3)}:
        return  # `tell me when it is done` asks for a message, not about the sources
    plainly = first == "in" and reading.low(at + 1) in {"plain", "simple"}
    whether = first == "if" and reading.low(at - 1) in {"me", "us", "know", "out", "check", "see"}
    if first in _QUESTION_STARTS or plainly or whether:
        yield from free(reading, at, LONGEST_QUESTION)


def what_clause(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """What a sink can be given besides a noun: `what it says`, `how they differ`."""
    if reading.low(at) in ASKING | {"whether"}:
        yield from free(reading, at, LONGEST_QUESTION)


def whether_clause(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """`whether refunds are allowed`; after `check` an `if` means the same."""
    if reading.low(at) in {"whether", "if"}:
        yield from free(reading, at, LONGEST_QUESTION)


def asking(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A whole question about what stands in a source. Who wrote it, and when, stands nowhere in it."""
    first = reading.low(at)
    if first not in ASKING | AUXILIARIES:
        return
    if first in {"do", "have"} and reading.low(at + 1) not in {"they", "we", "i", "you", "any"}:
        return  # `do the tasks in todo.txt` is no question
    if [reading.low(at + i) for i in (1, 2, 3)] in (["time", "is", "it"], ["day", "is", "it"], ["date", "is", "it"]):
        return
    if first in AUXILIARIES and (reading.low(at + 1) == "you" or reading.low(at + 2) in DEEDS):
        return  # `would you ...` and `can we delete ...` are no questions either
    if first in {"who", "when", "whom"} and any(reading.low(at + i) in _HISTORY for i in (1, 2, 3)):
        return
    for end, text in free(reading, at, LONGEST_QUESTION):
        if end > at + 1:
            yield end, text


def asking_back(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A question that speaks of what an earlier clause brought: `what does it say?`."""
    for end, text in asking(reading, at):
        if any(span.low in _BACK for span in reading.spans[at:end]):
            yield end, text


def noun_phrase(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """What is to be picked out of the sources: `the action items`, `key quotes`."""
    if reading.low(at) not in DEEDS | AUXILIARIES | ASKING | PRONOUNS | {"if"}:
        for end, text in free(reading, at, 8):
            low = [span.low for span in reading.spans[at:end]]
            if low != ["all"] and not AUXILIARIES & set(low[1:]) and low[-1] not in ANAPHORS | _COPIES:
                yield end, text


def definite(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """Something the sources must have: `the decisions`, `their names`, `action items`; never `a poem`."""
    first = reading.low(at)
    for end, text in noun_phrase(reading, at):
        plural = reading.low(end - 1).endswith("s") and not reading.spans[at].text.istitle()
        if first in _DEFINITE or (first not in DETERMINERS and plural):
            yield end, text


def free(reading: Reading, at: int, longest: int, *, numbers: bool = False) -> Iterator[tuple[int, str]]:
    """Every acceptable end of a free text that begins here."""
    asks = reading.low(at) in ASKING or reading.low(at - 1) in ASKING
    for end in range(at + 1, min(at + longest, len(reading.spans)) + 1):
        span = reading.spans[end - 1]
        whether = end == at + 1 and span.low == "if"  # readers that begin with `if` mean `whether`
        if not whether and not may_contain(reading, end - 1, numbers=numbers):
            return
        open_ended = whether or span.low in DANGLING or span.kind == "mark"
        closed = asks and end > at + 2 and span.low in COPULAS | PREPOSITIONS and ends_clause(reading, end)
        if not open_ended or closed:
            yield end, reading.text(at, end)


def ends_clause(reading: Reading, at: int) -> bool:
    """Whether no further word of this clause stands here."""
    span = reading.span(at)
    return span is None or span.kind in {"mark", "stop"} or span.low in JOINING | CLAUSE_WORDS


def may_contain(reading: Reading, at: int, *, numbers: bool) -> bool:
    """Whether the span at this place can be inside free text."""
    span = reading.spans[at]
    if span.low in JOINING or span.low == ",":
        return _goes_on(reading, at + 1)
    if span.kind == "quote":
        return path_kind(span.text) is None
    if span.kind not in {"word", "number"} or "/" in span.text or span.low in CLAUSE_WORDS:
        return False
    return not wishes(reading, at, numbers=numbers)


def _goes_on(reading: Reading, at: int) -> bool:
    """Whether what follows `and` or a comma still belongs to the same free text."""
    span = reading.span(at)
    if span is None:
        return False
    if span.low in JOINING:
        return _goes_on(reading, at + 1)
    if span.low in ASKING:
        return reading.low(at + 1) in _ASKED_OF or ends_clause(reading, at + 1)
    if span.kind == "quote" or span.low in DETERMINERS | _ADJECTIVES | {"whether", "of", "about"}:
        return True
    plural = span.low.endswith("s") and len(span.low) > 3 and not span.low.endswith(("ss", "'s"))
    return span.kind == "word" and plural and span.low not in DEEDS | AUXILIARIES | KNOWN_DEEDS


READERS: dict[str, Reader] = {
    "question": question,
    "what_clause": what_clause,
    "whether_clause": whether_clause,
    "asking": asking,
    "asking_back": asking_back,
    "noun_phrase": noun_phrase,
    "definite": definite,
}
