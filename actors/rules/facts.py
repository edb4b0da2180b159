"""Readers for what the memory is told and asked: facts, topics, names.

A fact is a statement in the goal's own words. A question is never one, and neither is a command, wherever in the
text it hides: `the release is on Friday and tell Bob about it` is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from .free import (
    CLAUSE_WORDS,
    COPULAS,
    DANGLING,
    JOINING,
    KNOWN_DEEDS,
    PREPOSITIONS,
    PRONOUNS,
    ends_clause,
    free,
    may_contain,
)
from .match import Reader, Reading
from .words import ASKING, AUXILIARIES, DEEDS, DETERMINERS, FINITE, words

LONGEST_TOPIC = 16
_TIMES = words("minutes minute hours hour oclock o'clock am pm a.m. p.m. seconds days day time")
_ELSEWHERE = words(
    "ip balance account schedule calendar battery screen computer laptop disk location position inbox mailbox emails",
    "mails messages cpu ram folder directory file files desktop horoscope clipboard taxes tax network speed",
    "bandwidth traffic browser uptime commute order orders parcel package shipment flights timezone heartbeat",
    "salary fortune future options chances problem mistake question answer next plan plans goals job",
)
"""What is asked of other sources than the memory."""
_OBJECTS = frozenset({"file", "folder", "glob", "quote", "number", "address"})
_NO_OBJECTS = (
    AUXILIARIES
    | JOINING
    | words("on in at by for with from of as every each about like too also has during after before until when while")
)
_PURPOSES = words(
    "ask look get use find recall come go back for it them to that this again later up need remember have know read",
    "see check at once me you i we refer retrieve access reuse quote return when soon next time another day the a of",
    "be able result answer not don't forget about value number tomorrow lose will can may want",
)
_BEFORE_COMMANDS = words("and then also please now just finally next afterwards , so but do don't dont not never")


def topic(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """What the memory is asked about; numbers are part of it."""
    if reading.low(at) in {"to", "if", "whether", "you"}:
        return
    for end in range(at + 1, min(at + LONGEST_TOPIC, len(reading.spans)) + 1):
        if not may_contain(reading, end - 1, numbers=True) or reading.low(end - 1) in {"memory", "memories"}:
            return
        last = end
        while last > at and reading.low(last - 1) in COPULAS | PREPOSITIONS:
            last -= 1
        open_ended = reading.low(last - 1) in DANGLING or reading.spans[last - 1].kind == "mark"
        if last > at and not open_ended and (last == end or ends_clause(reading, end)):
            yield end, reading.text(at, last)


def thing_known(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A topic, not a statement that begins with `that`."""
    if reading.low(at) not in {"that", "to", "this", "it"}:
        yield from topic(reading, at)


def own(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """`my shoe size`: what only the memory can know, and no machine, account or clock."""
    if reading.low(at) in {"my", "our"}:
        for end, text in topic(reading, at):
            if not _ELSEWHERE & {span.low for span in reading.spans[at:end]}:
                yield end, text


def mine(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A topic that belongs to whoever speaks."""
    for end, text in topic(reading, at):
        if {"my", "our", "me", "i", "us"} & {span.low for span in reading.spans[at:end]}:
            yield end, text


def untimed(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A topic without a time or a deed: `remind me` of something, not at some time or to do it."""
    if reading.low(at) not in {"to", "in", "at", "on", "by", "every", "when", "if"}:
        for end, text in topic(reading, at):
            timed = any(span.kind == "number" for span in reading.spans[at:end])
            if not timed and not _TIMES & {span.low for span in reading.spans[at:end]}:
                yield end, text


def noun(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A few plain words that name one thing: `database`, `wifi code`."""
    if reading.low(at) not in PRONOUNS | DETERMINERS:
        yield from free(reading, at, 4)


def label(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """The name under which something is remembered."""
    for end, text in free(reading, at, 6, numbers=True):
        if reading.low(at) not in {"if", "it", "them", "that"}:
            yield end, text


def purpose(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """What it will be good for later; changes nothing: `so I can ask for it later`."""
    for end in range(at + 1, min(at + 9, len(reading.spans) + 1)):
        span = reading.spans[end - 1]
        if span.kind != "word" or span.low not in _PURPOSES:
            return
        yield end, reading.text(at, end)


def fact(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A statement to keep, up to the end of a clause. Never a question, never with a command in it."""
    yield from _told(reading, at, closing=words(". ! ; , : -"))


def polite_fact(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A fact after `could you remember that`, where the question mark belongs to the request."""
    yield from _told(reading, at, closing=words(". ! ; , : - ?"))


def _told(reading: Reading, at: int, *, closing: frozenset[str]) -> Iterator[tuple[int, str]]:
    first = reading.low(at)
    if first in ASKING | words("please pls to if whether about for is are do does did can could would should will"):
        return
    if first in DEEDS | KNOWN_DEEDS and not any(reading.low(at + i) in FINITE for i in (1, 2, 3)):
        return
    for end in range(at + 2, len(reading.spans) + 1):
        if commands(reading, end - 1):
            return
        following = reading.low(end) if end < len(reading.spans) else "."
        if following == "?" and "?" not in closing:
            return
        if following in closing | JOINING | CLAUSE_WORDS | {"\n"}:
            yield end, reading.text(at, end)


def statement(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """A fact that can be told by itself, because it has a verb and does not begin with one."""
    first = reading.low(at)
    if reading.span(at) is None or first in DEEDS | AUXILIARIES | ASKING | PREPOSITIONS | words("by until as"):
        return
    for end, text in fact(reading, at):
        told = {span.low for span in reading.spans[at + 1 : end]}
        paths = any(span.kind in {"file", "folder", "glob"} for span in reading.spans[at:end])
        if told & (FINITE | {":", "="}) and not paths:
            yield end, text


def commands(reading: Reading, at: int) -> bool:
    """Whether a clause that begins after this place is a command: `. Delete ...`, `and send it`, `then run`."""
    before = reading.spans[at]
    if not (before.kind in {"mark", "stop"} or before.low in JOINING | CLAUSE_WORDS | {"but"}):
        return False
    start = at + 1
    while reading.low(start) in _BEFORE_COMMANDS:
        start += 1
    if reading.low(start) not in DEEDS | KNOWN_DEEDS:
        return False
    following = reading.span(start + 1)
    if before.kind == "stop" or before.low in CLAUSE_WORDS or following is None:
        return before.kind == "stop" or following is not None
    return following.kind in _OBJECTS or (following.kind == "word" and following.low not in _NO_OBJECTS)


READERS: dict[str, Reader] = {
    "topic": topic,
    "thing_known": thing_known,
    "own": own,
    "mine": mine,
    "untimed": untimed,
    "noun": noun,
    "label": label,
    "purpose": purpose,
    "fact": fact,
    "polite_fact": polite_fact,
    "statement": statement,
}
