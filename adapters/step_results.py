"""What the results of tools are, told by their fields: so that any mix of them can be analysed and reported.

A plan hands results on as plain data (`$step1`, `$step2.matches`, a list of both, or a text that a model
wrote). Here they become pieces again: a search, a file, a calculation. What nobody recognises is data.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import attrs

Kind = Literal[
    "search",
    "file",
    "summary",
    "calculation",
    "memories",
    "passages",
    "analysis",
    "page",
    "written",
    "text",
    "data",
]
Object = Mapping[str, object]


_MAX_INDENTED = 20
_MAX_DEPTH = 8
"""Lists within lists that are looked into for results; what lies deeper is data."""


@attrs.frozen
class Piece:
    """One part of a content: what it is, what to call it, its fields, and its text for reading."""

    kind: Kind
    title: str
    data: Object
    text: str


def pieces_of(content: object, label: str = "", depth: int = 0) -> list[Piece]:
    """The pieces that a content is made of, in order. `label` is the name it was given in an object."""
    if depth > _MAX_DEPTH:
        return [Piece("data", label, {"data": content}, dumped(content))]
    if isinstance(content, str):
        return [Piece("text", label, {"text": content}, content)]
    if isinstance(content, Mapping):
        return _of_object(content, label, depth)
    if isinstance(content, list | tuple):
        return _of_list(content, label, depth)
    text = _scalar(content)
    return [Piece("text", label, {"text": text}, text)]


def as_text(content: object) -> str:
    """A content as plain text for a person: `17% of 2340 = 397.8`, not its fields."""
    return "\n\n".join(p for p in (_readable(piece) for piece in pieces_of(content)) if p)


def whole(value: object) -> int:
    """A count in a result; 0 where there is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def objects(value: object) -> list[Object]:
    """The objects in a list of a result."""
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list | tuple) else []


def plural(n: int, one: str, many: str = "") -> str:
    """`1 file`, `3 files`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def searched(data: Object) -> str:
    """`7 lines match 'TODO' in 3 files`, in the words that reports and summaries share."""
    count, files = whole(data.get("count")), whole(data.get("files"))
    pattern = data.get("pattern")
    if not pattern:
        return f"{plural(count, 'file')} found"
    verb = "matches" if count == 1 else "match"
    inside = f" in {plural(files, 'file')}" if files else ""
    return f"{plural(count, 'line')} {verb} {str(pattern)!r}{inside}"


def _of_object(data: Object, label: str, depth: int) -> list[Piece]:
    for fields, kind, title, text in _KINDS:
        if all(f in data for f in fields):
            return [Piece(kind, label or title(data), data, text(data))]
    inner = {
        name: pieces_of(value, str(name), depth + 1)
        for name, value in data.items()
        if isinstance(value, Mapping | list)
    }
    known = [p for pieces in inner.values() for p in pieces if p.kind not in ("data", "text")]
    if data and len(inner) == len(data) and known:
        return [p for pieces in inner.values() for p in pieces]  # an object that names several results
    return [Piece("data", label, data, dumped(data))]


def _of_list(content: Sequence[object], label: str, depth: int) -> list[Piece]:
    if content and all(_is_match(v) for v in content):
        return _of_object(_as_search([v for v in content if isinstance(v, Mapping)]), label, depth)
    if content and all(isinstance(v, Mapping) and {"id", "content"} <= set(v) for v in content):
        return _of_object({"query": "", "memories": list(content), "count": len(content)}, label, depth)
    if content and all(not isinstance(v, Mapping | list | tuple) for v in content):
        lines = [_scalar(v) for v in content]
        return [Piece("text", label, {"items": lines}, "\n".join(lines))]
    return [piece for value in content for piece in pieces_of(value, label, depth + 1)]


def _is_match(value: object) -> bool:
    return isinstance(value, Mapping) and {"path", "line", "text"} <= set(value)


def _as_search(matches: Sequence[Object]) -> Object:
    """`$step1.matches` alone: what can be counted of it, counted."""
    by_file = Counter(str(m["path"]) for m in matches)
    return {"matches": list(matches), "count": len(matches), "files": len(by_file), "by_file": dict(by_file)}


def _text(name: str) -> Callable[[Object], str]:
    return lambda data: _scalar(data[name])


def _match_texts(data: Object) -> str:
    if not data.get("pattern") and data.get("by_file"):
        texts = [str(m.get("text") or m.get("path")) for m in objects(data["matches"])]
    else:
        texts = [str(m.get("text", "")) for m in objects(data["matches"])]
    return "\n".join(texts)


def _search_title(data: Object) -> str:
    pattern = data.get("pattern")
    what = f"Matches of {str(pattern)!r}" if pattern else "Files" if "pattern" in data else "Matches"
    path = data.get("path")
    return f"{what} in {path}" if isinstance(path, str) and path != "." else what


_KINDS: tuple[tuple[tuple[str, ...], Kind, Callable[[Object], str], Callable[[Object], str]], ...] = (
    (("matches", "count"), "search", _search_title, _match_texts),
    (("path", "content"), "file", _text("path"), _text("content")),
    (("summary",), "summary", lambda _: "Summary", _text("summary")),
    (("expression", "value"), "calculation", lambda _: "Calculation", lambda d: calculated(d)),
    (("passages", "query"), "passages", lambda d: f"What documents say about {d['query']}", lambda d: passage_texts(d)),
    (("memories",), "memories", lambda d: _memory_title(d), lambda d: "\n".join(memory_texts(d))),
    (("kind", "facts", "text"), "analysis", lambda _: "Analysis", _text("text")),
    (("url", "text"), "page", _text("url"), _text("text")),
    (("path", "sha256"), "written", _text("path"), lambda d: f"{d['path']} ({plural(whole(d.get('bytes')), 'byte')})"),
    (("message",), "text", lambda _: "", _text("message")),
)


def calculated(data: Object) -> str:
    """`17% of 2340 = 397.8`."""
    text = data.get("text")
    return text if isinstance(text, str) and text else f"{data['expression']} = {_scalar(data['value'])}"


def memory_texts(data: Object) -> list[str]:
    """What was remembered, a text each, best first."""
    return [str(m.get("content", "")) for m in objects(data.get("memories"))]


def passage_texts(data: Object) -> str:
    """What documents say, without their names."""
    return "\n\n".join(str(p.get("text", "")) for p in objects(data.get("passages")))


def passage_place(passage: Object) -> str:
    """`handbook/leave.md:5-7`."""
    return f"{passage.get('file')}:{passage.get('first_line')}-{passage.get('last_line')}"


def _memory_title(data: Object) -> str:
    query = data.get("query")
    return f"What is remembered about {query}" if query else "What is remembered"


def _readable(piece: Piece) -> str:
    if piece.kind == "search":
        data = piece.data
        by_file = data.get("by_file")
        counts = by_file.items() if isinstance(by_file, Mapping) else ()
        if not data.get("pattern") and "pattern" in data:
            return "\n".join([searched(data), *(f"- {path}" for path, _ in counts)])
        return "\n".join([searched(data), *(f"- {path}: {n}" for path, n in counts)])
    if piece.kind == "memories":
        return "\n".join(memory_texts(piece.data)) or "nothing is remembered about that"
    if piece.kind == "passages":
        told = [f"{passage_place(p)}\n{p.get('text')}" for p in objects(piece.data.get("passages"))]
        return "\n\n".join(told) or "no indexed document says anything about that"
    return piece.text


def dumped(value: object) -> str:
    """Data as JSON for a person: indented, unless it is nested so deep that it would be mostly white space."""
    indent = 2 if isinstance(value, Mapping | list | tuple) and _depth(value) <= _MAX_INDENTED else None
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def _depth(value: object) -> int:
    """How deep lists and objects are nested, by layers and not by recursion."""
    layer, depth = [value], 0
    while layer := [v for v in layer if isinstance(v, Mapping | list | tuple)]:
        depth += 1
        layer = [inner for v in layer for inner in (v.values() if isinstance(v, Mapping) else v)]
    return depth


def _scalar(value: object) -> str:
    return value if isinstance(value, str) else dumped(value)
