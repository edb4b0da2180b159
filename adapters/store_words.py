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
from collections.abc import Sequence

from trouper.actors.memory_data import MemoryFilter
from trouper.actors.question_words import telling_words

from .store_statements import condition_of

_MOST_WORDS = 32
_FREQUENT = 1_000
"""A word that more memories have is asked for only when there is nothing rarer."""
_MOST_FOUND = 2_000
"""The rarest words are asked for until so many memories have been looked at."""


def find_words(
    connection: sqlite3.Connection, query: str, meant: MemoryFilter, limit: int, now: float
) -> tuple[tuple[int, float], ...]:
    """At most `limit` memories that share words with `query`, best first, the newer of equals: id and score."""
    words = words_of(query)
    if not words or limit < 1:
        return ()
    rare = _rarest(connection, words)
    if not rare:
        return tuple(
            (number, 1.0) for number in _having(connection, " AND ".join(map(_quoted, words)), meant, now, limit)
        )
    total = connection.execute("SELECT ifnull(max(id), 0) FROM memory").fetchone()[0]
    having = {word: _having(connection, _quoted(word), meant, now, _FREQUENT) for word in rare}
    weights = {word: _weight(len(numbers), total) for word, numbers in having.items()}
    whole = math.fsum(weights.values()) + _weight(_FREQUENT, total) * (len(words) - len(rare))
    scores: dict[int, float] = {}
    for word, numbers in having.items():
        share = weights[word] / whole
        for number in numbers:
            scores[number] = scores.get(number, 0.0) + share
    best = heapq.nsmallest(limit, scores.items(), key=lambda pair: (-pair[1], -pair[0]))
    return tuple((number, min(1.0, score)) for number, score in best)


def words_of(query: str) -> Sequence[str]:
    """The words to look for, each once: those that mean something, or all if none does."""
    return list(dict.fromkeys(word.casefold() for word in telling_words(query)))[:_MOST_WORDS]


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


def _having(connection: sqlite3.Connection, expression: str, meant: MemoryFilter, now: float, limit: int) -> list[int]:
    """The memories that are meant and have what the expression asks for."""
    condition, values = condition_of(meant, now)
    # CROSS: from the words to the memories. The other way round, which SQLite may prefer, costs a hundred times more.
    rows = connection.execute(
        "SELECT memory.id FROM words CROSS JOIN memory ON memory.id = words.rowid"  # noqa: S608 - ours
        f" WHERE words MATCH ? AND {condition} LIMIT ?",
        (expression, *values, limit),
    )
    return [number for (number,) in rows]


def _weight(frequency: int, total: int) -> float:
    return math.log1p((max(total, frequency) - frequency + 0.5) / (frequency + 0.5))


def _quoted(word: str) -> str:
    """As a term of FTS5's own language, whatever is in it."""
    return '"' + word.replace('"', '""') + '"'
