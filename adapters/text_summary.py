"""Extractive summaries in plain code: the sentences that carry the most of what a text talks about.

No model: nothing is rephrased and nothing is invented, and the result says so. A sentence scores by how
frequent its words are in the whole; where a question is asked, only what shares words with it is quoted.
Searches and logs are summed up by counting what says the same thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from .step_results import Object, Piece, calculated, objects, pieces_of, searched
from .text_units import Group, groups_of, units_of, words_of


@attrs.frozen
class Extract:
    """A summary and the sentences it quotes."""

    summary: str
    sentences: tuple[str, ...]


def extract(content: object, sentences: int, question: str = "") -> Extract:
    """Summarise a content of any kind in about `sentences` quotations, at least one for each piece of prose."""
    pieces = pieces_of(content)
    weights = _weights(pieces)
    asked = frozenset(words_of(question))
    each = _shares(pieces, sentences)
    parts = [_piece(p, n, weights, asked) for p, n in zip(pieces, each, strict=True)]
    told = [_told(p, part, named=len(pieces) > 1) for p, part in zip(pieces, parts, strict=True)]
    quoted = tuple(dict.fromkeys(s for part in parts for s in part.sentences))
    return Extract("\n".join(t for t in told if t) or "There is nothing in it to summarise.", quoted)


def _shares(pieces: Sequence[Piece], sentences: int) -> list[int]:
    """How many quotations each piece may have: the earlier ones get what does not divide evenly."""
    n = max(len(pieces), 1)
    return [max(1, sentences // n + (i < sentences % n)) for i in range(len(pieces))]


def _weights(pieces: Sequence[Piece]) -> Mapping[str, float]:
    counts = Counter(w for p in pieces for w in words_of(p.text))
    most = max(counts.values(), default=1)
    return {word: n / most for word, n in counts.items()}


def _piece(piece: Piece, n: int, weights: Mapping[str, float], asked: frozenset[str]) -> Extract:
    if piece.kind == "search":
        return _search(piece.data, n)
    if piece.kind == "calculation":
        return Extract(calculated(piece.data), ())
    if piece.kind == "file" and piece.title.lower().endswith(".log"):
        return _log(piece.text, n, asked)
    best = _best(units_of(piece.text, piece.title), n, weights, asked)
    # What is no text to begin with is shown, but there is nothing to quote.
    quoted = () if piece.kind in ("data", "written") else tuple(best)
    return Extract(" ".join(_ended(s) for s in best), quoted)


def _best(units: Sequence[str], n: int, weights: Mapping[str, float], asked: frozenset[str]) -> list[str]:
    """The `n` best units, in their own order."""
    words = [frozenset(words_of(u)) for u in units]
    if asked and any(asked & w for w in words):
        candidates = [i for i, w in enumerate(words) if asked & w]
    else:
        candidates = list(range(len(units)))

    def score(i: int) -> tuple[int, float, int]:
        # Divided by more than the length, or the shortest line of common words would always win.
        weight = sum(weights.get(w, 0.0) for w in words[i]) / (len(words[i]) + 4)
        return len(asked & words[i]), weight + (0.1 if i == 0 else 0.0), -i

    ranked = sorted(candidates, key=score, reverse=True)
    chosen: dict[str, int] = {}
    for i in ranked:
        chosen.setdefault(units[i], i)  # the same line twice says nothing more
        if len(chosen) == n:
            break
    return sorted(chosen, key=lambda u: chosen[u])


def _search(data: Object, n: int) -> Extract:
    matches = objects(data.get("matches"))
    head = searched(data) + "."
    by_file = data.get("by_file")
    if isinstance(by_file, Mapping) and len(by_file) > 1 and data.get("pattern"):
        top = sorted(by_file.items(), key=lambda kv: (-int(str(kv[1])), str(kv[0])))[:3]
        head += " Most in " + ", ".join(f"{path} ({count})" for path, count in top) + "."
    lines = [str(m.get("text", "")) for m in matches]
    groups = groups_of(lines)[:n]
    where = [f"{matches[g.first].get('path')}:{matches[g.first].get('line')}" for g in groups]
    return Extract("\n".join([head, *_counted(groups, where)]), tuple(g.example for g in groups))


def _log(text: str, n: int, asked: frozenset[str]) -> Extract:
    lines = text.splitlines()
    told = [line for line in lines if asked & set(words_of(line))] or [
        line for line in lines if set(words_of(line)) & {"error", "critical", "fatal", "exception", "traceback"}
    ]
    groups = groups_of(told or lines)[:n]
    head = f"{len(told or lines)} of {len(lines)} lines, by what they say:"
    return Extract("\n".join([head, *_counted(groups, [])]), tuple(g.example for g in groups))


def _counted(groups: Sequence[Group], where: Sequence[str]) -> list[str]:
    places = [f" ({w})" for w in where] or [""] * len(groups)
    return [
        f"- {g.count} x {'' if g.same else 'like: '}{g.example}{place}" for g, place in zip(groups, places, strict=True)
    ]


def _told(piece: Piece, part: Extract, *, named: bool) -> str:
    if not part.summary:
        return f"{piece.title or 'The text'} is empty." if piece.kind in ("file", "text", "page") else ""
    title = piece.title if named and piece.kind in ("file", "page", "text", "data", "memories", "written") else ""
    return f"{title}: {part.summary}" if title else part.summary


def _ended(sentence: str) -> str:
    return sentence if sentence[-1:] in ".!?:;" else sentence + "."
