"""Finding memories by their words: SQLite's FTS5, asked so that it stays quick in a large memory.

A question is full of words that are everywhere. Looking at every memory that has one of them costs time and finds
nothing, so the rare words of the question are asked for, and the frequent ones only if there are no rare ones. The
score is the share of the question's weight that a memory has (0 to 1), a word weighing by how few memories that are
meant have it (inverse document frequency). It can be compared from question to question and says something in a
memory of three texts too, which BM25's own number does not; how often a word stands in a memory counts for nothing,
for memories are short.
"""

from __future__ import annotations

import heapq
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from trouper.actors.memory_data import Selection
from trouper.actors.question_words import EVERYWHERE, telling_words

from .store_pieces import parted
from .store_schema import number

_MOST_WORDS = 32
_FREQUENT = 1_000
"""A word that more memories have is asked for only when there is nothing rarer."""
_MOST_FOUND = 2_000
"""The rarest words are asked for until so many memories have been looked at."""


def find_words(
    connection: sqlite3.Connection, query: str, among: Selection, limit: int, *, thorough: bool = False
) -> tuple[tuple[int, float], ...]:
    """At most `limit` memories of `among` that share words with `query`, best first, the newer of equals.

    With `thorough` the frequent words are looked for too, if the rare ones have not found enough: for who has nothing
    but words, and in a namespace where a word is rare that is frequent elsewhere.
    """
    words = words_of(query)
    if not words or limit < 1 or not among.count:
        return ()
    rare = _rarest(connection, words)
    frequent = [word for word in words if word not in rare]
    total = number(connection, "SELECT ifnull(max(id), 0) FROM memory")
    having = {word: list(_having(connection, _quoted(word), among)) for word in rare}
    weights = {word: _weight(len(numbers), total) for word, numbers in having.items()}
    weights.update((word, _weight(_FREQUENT, total)) for word in frequent)
    scores = _shares(having, weights)
    if not rare:
        every = _having(connection, " AND ".join(map(_quoted, words)), among)
        scores = dict.fromkeys(islice(every, limit), 1.0)
    if thorough and len(scores) < limit:
        having |= {word: list(islice(_having(connection, _quoted(word), among), _FREQUENT)) for word in frequent}
        scores = _shares(having, weights) | {one: score for one, score in scores.items() if score == 1.0}
    best = heapq.nsmallest(limit, scores.items(), key=lambda pair: (-pair[1], -pair[0]))
    return tuple((one, min(1.0, score)) for one, score in best)


def _shares(having: Mapping[str, Sequence[int]], weights: Mapping[str, float]) -> dict[int, float]:
    """The share of all weight that each memory has; 1 is all."""
    whole = math.fsum(weights.values())
    scores: dict[int, float] = {}
    for word, numbers in having.items():
        share = weights[word] / whole
        for one in numbers:
            scores[one] = scores.get(one, 0.0) + share
    return scores


def words_of(query: str) -> Sequence[str]:
    """The words to look for, each once: those that mean something, or all if none does.

    Where a script has no spaces, pairs of letters stand for its words.
    """
    pieces, rest = parted(query)
    words = [word.casefold() for word in telling_words(rest)]
    if pieces:
        words = [word for word in words if word not in EVERYWHERE]
    return list(dict.fromkeys([*words, *pieces]))[:_MOST_WORDS]


def _rarest(connection: sqlite3.Connection, words: Sequence[str]) -> list[str]:
    """The rare ones among `words`, as far as there is time for them."""
    frequencies = sorted((_frequency(connection, word), place, word) for place, word in enumerate(words))
    found: list[str] = []
    room = _MOST_FOUND
    for frequency, _, word in frequencies:
        room -= frequency
        if frequency > _FREQUENT or room < 0:
            break
        found.append(word)
    return found


def _frequency(connection: sqlite3.Connection, word: str) -> int:
    """How many memories have it, counted to a little above what is frequent."""
    query = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"
    return int(connection.execute(query, (_quoted(word), _FREQUENT + 1)).fetchone()[0])


def _having(connection: sqlite3.Connection, expression: str, among: Selection) -> Iterator[int]:
    """Those of `among` that have what the expression asks for, oldest first.

    Who is meant is a bit each here: to ask the table of memories about each of them costs five times as much.
    """
    bits = among.bits
    end = len(bits) << 3
    for (one,) in connection.execute("SELECT rowid FROM words WHERE words MATCH ?", (expression,)):
        if one < end and bits[one >> 3] >> (one & 7) & 1:
            yield one


def _weight(frequency: int, total: int) -> float:
    return math.log1p((max(total, frequency) - frequency + 0.5) / (frequency + 0.5))


def _quoted(word: str) -> str:
    """As a term of FTS5's own language, whatever is in it."""
    return '"' + word.replace('"', '""') + '"'
