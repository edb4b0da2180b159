"""Texts cut into the numbered word pieces of one tokenizer file: byte pairs, as SentencePiece and Llama count them.

The library for such files (`tokenizers`) holds the interpreter's lock, and the event loop with it, for 50 ms while it
reads the file, for as long while it puts the pieces together, and for 40 ms at a text of 100,000 characters; and no
call of it does less. So the file is read here in parts, and the cutting is Python, which gives others their turn.

Why the numbers are the same: the library joins, as long as it can, the two neighbours whose rule comes first in the
file, the leftmost of them. What it does on one side of a place that is never joined over does not depend on the other
side. Two letters that no rule brings together are such a place, and so is the end of a word, for no rule joins a
space to what is before it (this is looked at). So words can be cut one by one, and in words the parts between such
places. Both come again and again, and what they were cut into is kept, which makes it as fast as the library.

A file that wants anything else is not read here, and is left to the library.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import re
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SPACE = "\u2581"
"""What stands for a space in a piece."""
_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": _SPACE},
        {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
    ],
}
_PLAIN = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}
"""Options of a model that must be left empty."""
_LONGEST = 20_000
"""Letters that are cut as one word; if there are more, it is two words. No language needs it, and it is a bound."""
_KEPT_LETTERS = 32
_KEPT_WORDS = 50_000
"""Of how long a word it is kept how it was cut, and of how many: 8 MB."""
_PLACES = 1 << 32
_PART = 32_768
_BREATH = 0.000_05
"""So many bytes of a file are read in one go, half a millisecond, and so many seconds others then have their turn."""


class WordPieces:
    """The pieces of a file and the rules by which they are joined. For any thread, several at once too."""

    def __init__(self, numbers: dict[str, int], ranks: dict[str, int], near: set[str], marks: dict[str, int]) -> None:
        """Give the tables.

        Args:
            numbers: Of each piece.
            ranks: Of each rule, "left right": the smallest is applied first.
            near: The two letters at which some rule joins. The space is first in them, or both.
            marks: Texts that are a piece as they stand, whatever is around them, and their numbers.
        """
        self._numbers = numbers
        self._ranks = ranks
        self._near = near
        self._marks = marks
        alternatives = sorted(marks, key=len, reverse=True)
        self._mark = re.compile(f"({'|'.join(map(re.escape, alternatives))})") if marks else None
        social = re.escape("".join(sorted(set().union(*near) - {_SPACE})))
        self._words = re.compile(f"{_SPACE}*[{social}]+|{_SPACE}+|." if social else ".", re.DOTALL)
        # Bytes and not lists: nothing in here is looked at by Python's garbage collector.
        self._kept: dict[str, bytes] = {}

    def cut(self, text: str) -> bytes:
        """The numbers of the pieces of a text, four bytes each, in the machine's order.

        Raises:
            UnicodeEncodeError: it holds half a character.
        """
        if self._mark is None:
            return b"".join(self._cut(text))
        found: list[bytes] = []
        for place, part in enumerate(self._mark.split(text)):
            if place % 2:
                found.append(_packed([self._marks[part]]))
            else:
                found += self._cut(part)
        return b"".join(found)

    def _cut(self, text: str) -> Iterator[bytes]:
        """Word by word, each with the spaces before it; one goes before the first."""
        known = self._kept.get
        for match in self._words.finditer(_SPACE + text.replace(" ", _SPACE) if text else ""):
            word = match.group()
            yield known(word) or self._new(word)

    def _new(self, word: str) -> bytes:
        """A word that was not seen, from the parts in which it is joined."""
        found: list[bytes] = []
        start = 0
        for place in range(1, len(word) + 1):
            if place - start < _LONGEST and word[place - 1 : place + 1] in self._near:
                continue
            part, start = word[start:place], place
            known = self._kept.get(part)
            if known is None:
                known = self._keep(part, _packed([self._numbers[piece] for piece in self._joined(self._letters(part))]))
            found.append(known)
        return self._keep(word, b"".join(found))

    def _keep(self, word: str, cut: bytes) -> bytes:
        if len(word) <= _KEPT_LETTERS:
            if len(self._kept) >= _KEPT_WORDS:
                self._kept.clear()
            self._kept[word] = cut
        return cut

    def _letters(self, word: str) -> list[str]:
        """A word's letters; one that is no piece is the pieces of its bytes."""
        found: list[str] = []
        for letter in word:
            if letter in self._numbers:
                found.append(letter)
            else:
                found += map(_byte, letter.encode())
        return found

    def _joined(self, pieces: list[str]) -> list[str]:
        """Join neighbours until no rule applies any more, the rule of the smallest rank first, the leftmost first.

        All places where a rule applies wait in a heap. What is taken from it may be out of date: then the two that
        stand there now have another rank, for a text has one piece and a split of it one rule.
        """
        rank_of, count = self._ranks.get, len(pieces)
        after, before = list(range(1, count + 1)), list(range(-1, count - 1))
        waiting: list[int] = []  # rank and place in one number: half the time of pairs
        for place in range(count - 1):
            rank = rank_of(f"{pieces[place]} {pieces[place + 1]}")
            if rank is not None:
                waiting.append(rank * _PLACES + place)
        heapq.heapify(waiting)
        while waiting:
            rank, place = divmod(heapq.heappop(waiting), _PLACES)
            left, right = pieces[place], after[place]
            if not left or right == count or rank_of(f"{left} {pieces[right]}") != rank:
                continue
            joined = pieces[place] = left + pieces[right]
            pieces[right] = ""  # it is part of the other now
            further = after[place] = after[right]
            if further < count:
                before[further] = place
                rank = rank_of(f"{joined} {pieces[further]}")
                if rank is not None:
                    heapq.heappush(waiting, rank * _PLACES + place)
            earlier = before[place]
            if earlier >= 0:
                rank = rank_of(f"{pieces[earlier]} {joined}")
                if rank is not None:
                    heapq.heappush(waiting, rank * _PLACES + earlier)
        return [piece for piece in pieces if piece]


def _packed(numbers: list[int]) -> bytes:
    return array("I", numbers).tobytes()


def _byte(value: int) -> str:
    return f"<0x{value:02X}>"


# ------------------------------------------------------------------ from a file
def read_pieces(file: Path) -> WordPieces | None:
    """The pieces and rules of a tokenizer file, read in parts; None: it wants something that is not done here.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON.
    """
    plan = _read(file.read_bytes())
    try:
        return _made(plan)
    except (KeyError, IndexError, TypeError, AttributeError):  # a plan of another form
        return None


def _made(plan: dict[str, Any]) -> WordPieces | None:
    model, added = plan["model"], plan["added_tokens"]
    numbers, rules = model["vocab"], model["merges"]
    sound = (
        model["type"] == "BPE"
        and model["byte_fallback"] is True
        and not model.get("ignore_merges")
        and not any(model.get(name) for name in _PLAIN)
        and plan["normalizer"] == _NORMALIZER
        and plan["pre_tokenizer"] is None
        and all(_byte(value) in numbers for value in range(256))
        and not any(one[option] for one in added for option in ("single_word", "lstrip", "rstrip", "normalized"))
        and all(" " not in piece for piece in numbers)
        and all(rule.replace(" ", "", 1) in numbers and "<0x" not in rule for rule in rules)
    )
    if not sound:
        return None
    # Three loops here: each is Python, and one call of 5 ms that makes a table would not let others come round.
    ranks = {rule: rank for rank, rule in enumerate(rules)}
    near = {left[-1] + right[0] for left, _, right in (rule.partition(" ") for rule in rules)}
    if any(pair[1] == _SPACE != pair[0] for pair in near):
        return None
    return WordPieces(numbers, ranks, near, {one["content"]: one["id"] for one in added})


def _read(raw: bytes) -> dict[str, Any]:
    """The JSON of a tokenizer file, its two long parts taken out and read piece by piece where they have lines."""
    numbers, rules = _between(raw, b'"vocab": {'), _between(raw, b'"merges": [')
    if numbers is not None and rules is not None and numbers[1] < rules[0]:
        with contextlib.suppress(ValueError):  # they end elsewhere
            plan: dict[str, Any] = json.loads(raw[: numbers[0]] + raw[numbers[1] : rules[0]] + raw[rules[1] :])
            model = plan.get("model")
            if isinstance(model, dict) and model.get("vocab") == {} and model.get("merges") == []:
                for part in _parts(raw, *numbers):
                    model["vocab"].update(json.loads(b"{%b}" % part))
                for part in _parts(raw, *rules):
                    model["merges"] += json.loads(b"[%b]" % part)
                return plan
    found: dict[str, Any] = json.loads(raw)
    return found


def _between(raw: bytes, begin: bytes) -> tuple[int, int] | None:
    """From where to where the lines after `begin` go, up to the bracket at the end of a line that closes them.

    A string in JSON has no line break and its quotes have a backslash before them, so none is taken for this.
    """
    start = raw.find(begin) + len(begin)
    if start < len(begin):
        return None
    for place in range(start, len(raw), _PART):  # in parts, too: to look for these takes a millisecond each
        end = min(place + _PART + 2, len(raw))
        found = [raw.find(closing, place, end) for closing in (b"},\n", b"],\n", b"}\n", b"]\n")]
        if max(found) >= 0:
            return start, min(one for one in found if one >= 0)
    return None


def _parts(raw: bytes, start: int, end: int) -> Iterator[bytes]:
    """What lies there in parts that are cut after the comma of a line, with a turn for others between them."""
    while start < end:
        cut = raw.find(b",\n", start + _PART, end)
        cut = end if cut < 0 else cut
        yield raw[start:cut]
        start = cut + 1
        time.sleep(_BREATH)
