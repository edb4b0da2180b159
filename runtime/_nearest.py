"""The nearest known names to a misspelt one, at a cost that no input can blow up."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

_LONGEST = 60  # difflib is quadratic in the length, and nobody misspells a longer name
_MOST = 500
_SHOWN = 3


def nearest(word: str, names: Iterable[str]) -> tuple[str, ...]:
    """Up to three of `names` that are spelt like `word`, in capitals or not, the nearest first."""
    if not word or len(word) > _LONGEST:
        return ()
    candidates: dict[str, list[str]] = {}
    for name in islice(names, _MOST):
        if len(name) <= _LONGEST:
            candidates.setdefault(name.casefold(), []).append(name)
    found = get_close_matches(word.casefold(), candidates, n=_SHOWN, cutoff=0.6)
    return tuple(name for folded in found for name in candidates[folded])[:_SHOWN]


def suggestion(word: str, names: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or nothing when no name is near."""
    near = nearest(word, names)
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def listed(names: Iterable[object], most: int = 12) -> str:
    """The names in one line for a message, cut after `most` of them."""
    found = [str(name)[:_LONGEST] for name in islice(names, most + 1)]
    if not found:
        return "none"
    return ", ".join(found[:most]) + (", ..." if len(found) > most else "")
