"""Facts about texts and results, by plain code: how much, what is built how, what differs."""

from __future__ import annotations

import difflib
import io
import json
import re
import tokenize
from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from trouper.actors.protocols import Json
from trouper.runtime import BadArguments

from .step_results import Object, Piece, calculated, memory_texts, objects, pieces_of, plural, searched, whole

MAX_DIFF_LINES = 6000
"""Lines of both texts together that are aligned; more are compared as bags of lines."""
MAX_DIFF_SHOWN = 400
MAX_OUTLINE = 200


@attrs.frozen
class Analysis:
    """What was found: for a person, and for the next step."""

    text: str
    facts: dict[str, Json]


def overview(content: object) -> Analysis:
    """What the content consists of, each part in a line."""
    pieces = pieces_of(content)
    parts = [_measures(p) for p in pieces]
    lines = [_line(p, facts) for p, facts in zip(pieces, parts, strict=True)]
    return Analysis("\n".join(lines) or "There is nothing in it.", {"parts": list(parts), **_totals(parts)})


def count(content: object) -> Analysis:
    """Totals over all parts: lines, words, characters; matches and files where there are searches."""
    pieces = pieces_of(content)
    totals = _totals([_measures(p) for p in pieces])
    by_file: Counter[str] = Counter()
    for piece in pieces:
        if isinstance(found := piece.data.get("by_file"), Mapping):
            by_file.update({str(path): whole(n) for path, n in found.items()})
    facts: dict[str, Json] = dict(totals)
    if by_file:
        facts["by_file"] = dict(sorted(by_file.items()))
    return Analysis(", ".join(f"{n:,} {name}" for name, n in totals.items()) or "There is nothing to count.", facts)


def structure(content: object) -> Analysis:
    """Headings of Markdown, top-level keys of JSON and of settings files, definitions of Python."""
    parts: list[Json] = []
    lines: list[str] = []
    for piece in pieces_of(content):
        kind, entries = _outline(piece)
        title = piece.title or piece.kind
        shown = entries[:MAX_OUTLINE]
        parts.append({"title": title, "format": kind, "entries": list(shown), "count": len(entries)})
        lines.append(f"{title}: {kind}, {plural(len(entries), 'entry', 'entries')}")
        lines.extend(f"  {entry}" for entry in shown)
        if len(entries) > len(shown):
            lines.append(f"  ... and {len(entries) - len(shown)} more")
    return Analysis("\n".join(lines) or "There is nothing in it.", {"parts": parts})


def compare(content: object) -> Analysis:
    """How the parts differ: the second and each further one against the first.

    Raises:
        BadArguments: there are fewer than two parts.
    """
    pieces = pieces_of(content)
    if len(pieces) < 2:
        raise BadArguments(f"content: comparing needs two parts or more, it has {len(pieces)}; give a list of results")
    comparisons = [_difference(pieces[0], other) for other in pieces[1:]]
    text = "\n".join(str(c["text"]) for c in comparisons)
    return Analysis(text, {"comparisons": list(comparisons), "identical": all(c["identical"] for c in comparisons)})


def _measures(piece: Piece) -> dict[str, Json]:
    facts: dict[str, Json] = {"kind": piece.kind, "title": piece.title}
    if piece.kind == "search":
        by_file = piece.data.get("by_file")
        files = whole(piece.data.get("files")) or (len(by_file) if isinstance(by_file, Mapping) else 0)
        return facts | {"matches": whole(piece.data.get("count")), "files": files}
    if piece.kind == "memories":
        return facts | {"memories": len(memory_texts(piece.data))}
    if piece.kind == "calculation":
        value = piece.data["value"]
        return facts | ({"value": value} if isinstance(value, int | float) else {})
    text = piece.text
    unfinished = bool(text) and not text.endswith("\n")
    return facts | {"lines": text.count("\n") + unfinished, "words": len(text.split()), "characters": len(text)}


_COUNTED = ("matches", "files", "memories", "lines", "words", "characters")


def _totals(parts: Sequence[Mapping[str, Json]]) -> dict[str, int]:
    return {name: sum(whole(p.get(name)) for p in parts) for name in _COUNTED if any(name in p for p in parts)}


def _line(piece: Piece, facts: Mapping[str, Json]) -> str:
    title = f"{piece.title}: " if piece.title and piece.kind != "search" else ""
    if piece.kind == "search":
        by_file = piece.data.get("by_file")
        found = by_file.items() if isinstance(by_file, Mapping) and piece.data.get("pattern") else ()
        top = sorted(found, key=lambda kv: (-whole(kv[1]), str(kv[0])))
        named = ", ".join(f"{path} ({n})" for path, n in top[:10])
        more = f" and {plural(len(top) - 10, 'more file')}" if len(top) > 10 else ""
        return searched(piece.data) + (f": {named}{more}" if named else "")
    if piece.kind == "calculation":
        return calculated(piece.data)
    if piece.kind == "memories":
        return f"{title}{plural(whole(facts.get('memories')), 'memory', 'memories')}"
    counts = [plural(whole(facts.get(name)), name[:-1]) for name in ("lines", "words", "characters")]
    return f"{title}{', '.join(counts)}"


# ---------------------------------------------------------------------- structure

_HEADING = re.compile(r"#{1,6}(?=\s)")
_SETTING = re.compile(r"\[{1,2}([^\[\]]+)\]|([\w.-]+)\s*[:=]")


def _outline(piece: Piece) -> tuple[str, list[str]]:
    title, text = piece.title.lower(), piece.text
    if piece.kind == "search":
        matches = objects(piece.data.get("matches"))
        return "matches", [f"{m.get('path')}:{m.get('line')}" for m in matches]
    if title.endswith((".py", ".pyi")):
        return "python", _definitions(text)
    if title.endswith((".yaml", ".yml", ".toml", ".ini", ".cfg")):
        return "settings", [m[1] or m[2] for line in text.splitlines() if (m := _SETTING.match(line))]
    if piece.kind == "data" or title.endswith(".json") or text.lstrip()[:1] in ("{", "["):
        keys = _keys(piece.data if piece.kind == "data" else text)
        if keys is not None:
            return "json", keys
    return "headings", _headings(text)


def _headings(text: str) -> list[str]:
    entries: list[str] = []
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and (found := _HEADING.match(line)):
            entries.append(f"{found[0]} {line[found.end() :].strip().rstrip('#').rstrip()}")
    return entries


def _keys(value: object) -> list[str] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping):
        return [f"{name}: {_shape(inner)}" for name, inner in value.items()]
    return [_shape(value)]


def _shape(value: object) -> str:
    if isinstance(value, Mapping):
        return f"object of {len(value)}"
    if isinstance(value, list):
        return f"list of {len(value)}"
    return {bool: "truth value", int: "number", float: "number", str: "text"}.get(type(value), "null")


def _definitions(text: str) -> list[str]:
    """Classes and functions with their lines. By tokens, not by `ast`: that warns about the code it reads."""
    entries: list[str] = []
    before = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME and before in ("class", "def"):
                indent = len(token.line) - len(token.line.lstrip())
                entries.append(f"{'  ' * (indent // 4)}{before} {token.string} (line {token.start[0]})")
            before = token.string
    except (tokenize.TokenError, SyntaxError):
        entries.append("(the rest is no valid Python)")
    return entries


# ---------------------------------------------------------------------- comparison


def _difference(one: Piece, other: Piece) -> dict[str, Json]:
    names = (one.title or "the first", other.title or "the second")
    a, b = _compared(one).splitlines(), _compared(other).splitlines()
    facts: dict[str, Json] = {"of": list(names), "identical": a == b}
    if a == b:
        return facts | {"added": 0, "removed": 0, "diff": "", "text": f"{names[0]} and {names[1]} are the same."}
    if len(a) + len(b) > MAX_DIFF_LINES:
        return facts | _as_bags(names, a, b)
    diff = list(difflib.unified_diff(a, b, *names, lineterm=""))
    added = sum(line.startswith("+") for line in diff[2:])
    removed = sum(line.startswith("-") for line in diff[2:])
    shown = diff[:MAX_DIFF_SHOWN]
    more = [f"... and {len(diff) - len(shown)} more lines"] if len(diff) > len(shown) else []
    text = _told(names, added, removed, a, b)
    return facts | {"added": added, "removed": removed, "diff": "\n".join([*shown, *more]), "text": text}


def _as_bags(names: tuple[str, str], a: Sequence[str], b: Sequence[str]) -> dict[str, Json]:
    """Texts too long to be aligned in reasonable time: which lines only one of them has, wherever."""
    gone, new = Counter(a) - Counter(b), Counter(b) - Counter(a)
    added, removed = new.total(), gone.total()
    shown = [f"- {line}" for line in list(gone)[:100]] + [f"+ {line}" for line in list(new)[:100]]
    text = f"{_told(names, added, removed, a, b)} Too long to be aligned: lines were compared wherever they stand."
    return {"added": added, "removed": removed, "diff": "\n".join(shown), "text": text}


def _told(names: tuple[str, str], added: int, removed: int, a: Sequence[str], b: Sequence[str]) -> str:
    return (
        f"{names[0]} ({plural(len(a), 'line')}) and {names[1]} ({plural(len(b), 'line')}) differ: "
        f"{plural(removed, 'line')} only in {names[0]}, {added:,} only in {names[1]}."
    )


def _compared(piece: Piece) -> str:
    """What of a piece is compared: of a search the places with their text, else its text."""
    if piece.kind != "search":
        return piece.text
    return "\n".join(_place(m) for m in objects(piece.data.get("matches")))


def _place(match: Object) -> str:
    return f"{match.get('path')}: {match.get('text')}"
