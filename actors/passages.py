"""A few words of a passage that show why it was found. Pure."""

from __future__ import annotations

import re

LONGEST = 240
"""Characters of a snippet."""

_WORD = re.compile(r"\w+")


def snippet_of(text: str, query: str, longest: int = LONGEST) -> str:
    """The stretch of `text` with the most different words of `query`, on one line, cut between words.

    `…` stands where something was left out before or after it. Without a common word it is the beginning.
    """
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    wanted = {word.lower() for word in _WORD.findall(query) if len(word) > 2} or {query.lower()}
    places = [(m.start(), m[0].lower()) for m in _WORD.finditer(line) if m[0].lower() in wanted]
    room = longest - 2
    start = _best_window(places, room)
    if start:
        start = max(0, start - room // 6)  # some words before the first that fits
        start = line.find(" ", start) + 1 if start else 0
    end = min(len(line), start + room)
    if end < len(line):
        end = max(line.rfind(" ", start, end), start + room // 2)
    return ("…" if start else "") + line[start:end].strip() + ("…" if end < len(line) else "")


def _best_window(places: list[tuple[int, str]], room: int) -> int:
    """Where the window of `room` characters with the most different words begins; the first of equals."""
    best, most, low = 0, 0, 0
    for high in range(len(places)):
        while places[high][0] - places[low][0] > room * 2 // 3:
            low += 1
        different = len({word for _, word in places[low : high + 1]})
        if different > most:
            best, most = places[low][0], different
    return best
