"""A value made short enough for a prompt: what it looks like stays, what makes it long goes.

The next plan refers to results by the names of their fields, so the names are worth more than the contents: texts and
lists are cut first, and only a value that is still too long loses its inside.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

import attrs

T = TypeVar("T")

DEPTH: Final = 8
"""Containers inside each other that are shown."""

_SIZES: Final = ((2000, 40), (400, 12), (100, 4), (30, 2))
"""Characters of a text and entries of a container, from generous to mean: the first that fits is taken."""

_LINE_ENDS: Final = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""What some readers take for the end of a line, and JSON lets stand."""


def one_line(value: object, *, sort_keys: bool = False) -> str:
    """`value` as JSON on one line: nothing in it can look like another line of the prompt."""
    text = json.dumps(value, ensure_ascii=False, default=str, sort_keys=sort_keys)
    return text.translate(_LINE_ENDS).encode("utf-8", "replace").decode()


def abridged(value: object, most: int) -> str:
    """`value` as one line of JSON with at most `most` characters (and at least 60); says what it has left out.

    The cost does not depend on the size of the value.
    """
    for characters, entries in _SIZES:
        text = one_line(_Cut(characters, entries, left=max(most, 60) // 2).of(value, DEPTH))
        if len(text) <= most:
            return text
    return one_line(_named(value))


@attrs.define
class _Cut:
    """One try: how much of a text and of a container may stay, and how many values are `left` to show in all.

    A value needs two characters at least, so more than half of the wanted length could never be shown: that bounds
    the work on a value that is wide at every depth.
    """

    characters: int
    entries: int
    left: int

    def of(self, value: object, depth: int) -> object:
        self.left -= 1
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return self._object(value, depth) if depth and self.left > 0 else _named(value)
        if isinstance(value, Sequence):
            return self._list(value, depth) if depth and self.left > 0 else _named(value)
        if isinstance(value, int) and value.bit_length() > 256:
            return f"(a number of {value.bit_length():,} bits)"
        return value if value is None or isinstance(value, int | float) else self._text(str(value))

    def _text(self, text: str) -> str:
        if len(text) <= self.characters:
            return text
        return f"{text[: self.characters]}... ({len(text):,} characters)"

    def _object(self, value: Mapping[object, object], depth: int) -> dict[str, object]:
        shown = self._few(value.items())
        cut = {self._text(str(name)): self.of(inner, depth - 1) for name, inner in shown}
        if len(shown) < len(value):
            cut["..."] = f"{len(value) - len(shown):,} more"
        return cut

    def _list(self, value: Sequence[object], depth: int) -> list[object]:
        shown = self._few(value)
        cut = [self.of(inner, depth - 1) for inner in shown]
        if len(shown) < len(value):
            cut.append(f"... {len(value) - len(shown):,} more")
        return cut

    def _few(self, values: Iterable[T]) -> list[T]:
        return list(islice(values, max(0, min(self.entries, self.left))))


def _named(value: object) -> str:
    """What kind of value was left out."""
    if isinstance(value, str):
        return f"(a text of {len(value):,} characters)"
    if isinstance(value, Mapping):
        return f"(an object with {len(value):,} fields)"
    if isinstance(value, Sequence):
        return f"(a list of {len(value):,})"
    return "(a long value)"
