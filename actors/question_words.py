"""The words of a question that say what it is about. Pure; English, and harmless elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_COMMON = """
a about all am an and any are as at be been but by can could did do does for from had has have he her him his how i if
in into is it its just me my no not of on or our she should so some that the their them then there these they this to
up us was we were what when where which who whom whose why will with would you your
"""
EVERYWHERE = frozenset(_COMMON.split())
"""Words that are in most texts, so that sharing them means nothing."""


def telling_words(text: str) -> Sequence[str]:
    """The words that mean something, as they stand; all of them if none does."""
    found = _WORD.findall(text)
    return [word for word in found if word.casefold() not in EVERYWHERE] or found


def without_common_words(text: str) -> str:
    """The text with nothing but those words; as it is if it has none."""
    return " ".join(telling_words(text)) or text
