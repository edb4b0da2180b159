"""Words of scripts that put no spaces between them, as pieces that can be looked for. Pure.

SQLite's tokenizer takes `我喜欢喝咖啡` for one word, so that nobody who asks for `咖啡` finds it. Where such letters
stand in a text its letters and its overlapping pairs of letters are indexed beside it, and pairs are looked for: no
dictionary is needed, and pairs find nearly as well as words do (Nie, Gao, Zhang and Zhou, 2000, "On the use of words
and n-grams for Chinese information retrieval"). Korean is among them for the endings that it joins to its words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

_LETTERS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1100-\u11ff\u1780-\u17ff"  # Burmese, Korean in parts, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese
    "\uac00-\ud7af"  # Korean
)
_RUN = re.compile(f"[{_LETTERS}]+")
_WORD = re.compile(r"\w+")


def pieces_of(text: str) -> str | None:
    """What is indexed beside a text, each once: such letters alone and in pairs, and what was joined to them.

    None for a text without such letters.
    """
    if text.isascii() or not _RUN.search(text):
        return None
    found: list[str] = []
    for letters in _runs(text):
        found += letters
        found += _pairs(letters)
    for word in _WORD.findall(text):
        if _RUN.search(word):
            found += filter(None, _RUN.split(word))
    return " ".join(dict.fromkeys(found)) or None


def parted(query: str) -> tuple[Sequence[str], str]:
    """The pieces to look for, a single letter only where it stands alone, and the rest of the query."""
    if query.isascii() or not _RUN.search(query):
        return (), query
    found: list[str] = []
    for letters in _runs(query):
        found += _pairs(letters) if len(letters) > 1 else letters
    return found, _RUN.sub(" ", query)


def _runs(text: str) -> Iterator[str]:
    """Letters that stand side by side, in one form however they are written; marks above and below are left out."""
    for run in _RUN.findall(text):
        letters = ""
        for letter in unicodedata.normalize("NFKC", run):
            if letter.isalnum():
                letters += letter
            elif letters and not unicodedata.category(letter).startswith("M"):
                yield letters
                letters = ""
        if letters:
            yield letters


def _pairs(letters: str) -> list[str]:
    return [first + second for first, second in pairwise(letters)]
