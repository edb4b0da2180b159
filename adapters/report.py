"""Reports: any content as Markdown, plain text or JSON. The same content gives the same bytes: no clock."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

from .step_results import (
    Object,
    Piece,
    as_text,
    calculated,
    dumped,
    memory_texts,
    objects,
    passage_place,
    pieces_of,
    plural,
    searched,
    whole,
)

Format = Literal["markdown", "json", "text"]

# Only what a Markdown reader would take for a mark: a report full of `my\_file` is hard to read as text.
_MARKS = re.compile(r"([`*\[\]]|\\(?=[^\w\s])|(?<!\w)_|_(?!\w)|<(?=[a-zA-Z/!?])|~(?=~)|&(?=#?\w+;))")
_LEADING = re.compile(r"^(\s*)(#{1,6}(?=\s|$)|>|[-+](?=\s|$)|(?:=+|-+)(?=\s*$))")
_NUMBERED = re.compile(r"^(\s*\d+)([.)])(?=\s|$)")
_BAR = r"\|"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".toml": "toml",
    ".json": "json",
    ".sh": "sh",
    ".js": "javascript",
    ".md": "markdown",
}


def format_of(path: str, wanted: str | None) -> Format:
    """The format asked for, else by the file's extension: `.json`, `.txt` and `.log`, else Markdown."""
    if wanted == "json" or (wanted is None and path.lower().endswith(".json")):
        return "json"
    if wanted is None and path.lower().endswith((".txt", ".log", ".text")):
        return "text"
    return "markdown"


def render(content: object, title: str, style: Format) -> str:
    """The whole report, ending with a line break."""
    if style == "json":
        whole_content = {"title": title, "content": content} if title else content
        return dumped(whole_content) + "\n"
    if style == "text":
        return "\n\n".join(part for part in (title, as_text(content).strip("\n")) if part) + "\n"
    return _markdown(content, title)


def _markdown(content: object, title: str) -> str:
    pieces = pieces_of(content)
    if not title and len(pieces) == 1 and pieces[0].kind == "text" and not pieces[0].title:
        return pieces[0].text.strip("\n") + "\n"  # a text that somebody wrote to be the file
    title = title or (pieces[0].title if len(pieces) == 1 and pieces[0].title else "Report")
    blocks = [f"# {escaped(title)}"]
    for piece in pieces:
        if len(pieces) > 1 and piece.title:
            blocks.append(f"## {escaped(piece.title)}")
        blocks.extend(_blocks(piece))
    if not pieces:
        blocks.append("There is nothing to report.")
    return "\n\n".join(b for b in blocks if b) + "\n"


def _blocks(piece: Piece) -> list[str]:
    if piece.kind == "search":
        return _search(piece.data)
    if piece.kind == "file":
        language = _LANGUAGES.get(PurePosixPath(piece.title).suffix.lower(), "")
        size = plural(whole(piece.data.get("lines")), "line") if "lines" in piece.data else ""
        return [f"{code(str(piece.data['path']))}{': ' + size if size else ''}", fence(piece.text, language)]
    if piece.kind == "calculation":
        return [f"**{code(calculated(piece.data))}**"]
    if piece.kind == "memories":
        told = memory_texts(piece.data)
        return ["\n".join(f"- {escaped(text)}" for text in told) if told else "Nothing is remembered about that."]
    if piece.kind == "passages":
        return _passages(piece.data)
    if piece.kind == "analysis":
        return _analysis(piece)
    if piece.kind == "data":
        return [_table(piece.data) or fence(piece.text, "json")]
    if piece.kind == "text" and "items" in piece.data:
        return ["\n".join(f"- {escaped(line)}" for line in piece.text.split("\n"))]
    if piece.kind == "text":
        return [piece.text.strip("\n")]
    return [_lines(piece.text)]


def _search(data: Object) -> list[str]:
    matches = objects(data.get("matches"))
    by_file = data.get("by_file")
    listing = not data.get("pattern") and "pattern" in data
    blocks = [f"**{escaped(searched(data))}.**"]
    if isinstance(by_file, Mapping) and by_file and not listing:
        rows = "\n".join(f"| {code(str(path)).replace('|', _BAR)} | {n} |" for path, n in by_file.items())
        blocks.append(f"| File | Lines |\n| --- | ---: |\n{rows}")
    if listing:
        blocks.append("\n".join(f"- {code(str(m.get('path')))}" for m in matches))
    else:
        blocks.append("\n".join(f"- {code(_place(m))}" for m in matches))
    if data.get("truncated"):
        blocks.append(
            f"Not everything is shown: {len(matches):,} of {whole(data.get('count')):,} are listed, "
            "long lines are cut at `…`."
        )
    if isinstance(skipped := data.get("skipped"), list) and skipped:
        blocks.append("Not searched:\n\n" + "\n".join(f"- {escaped(str(s))}" for s in skipped))
    return blocks


def _passages(data: Object) -> list[str]:
    """Each passage as it stands in its file, under its place."""
    blocks = []
    for passage in objects(data.get("passages")):
        blocks += [code(passage_place(passage)), fence(str(passage.get("text", "")))]
    return blocks or ["No indexed document says anything about that."]


def _place(match: Object) -> str:
    return f"{match.get('path')}:{match.get('line')}: {str(match.get('text', '')).strip()}"


def _analysis(piece: Piece) -> list[str]:
    blocks = [_lines(piece.text)]
    facts = piece.data.get("facts")
    if isinstance(facts, Mapping):
        diffs = (str(c.get("diff") or "") for c in objects(facts.get("comparisons")))
        blocks.extend(fence(diff, "diff") for diff in diffs if diff)
    return blocks


def _table(data: Object) -> str:
    """An object of plain values as a table; nothing if it has deeper ones."""
    if not data or any(isinstance(v, Mapping | list | tuple) for v in data.values()):
        return ""
    rows = "\n".join(
        f"| {_cell(str(k))} | {_cell(v if isinstance(v, str) else json.dumps(v))} |" for k, v in data.items()
    )
    return f"| Name | Value |\n| --- | --- |\n{rows}"


def _lines(text: str) -> str:
    """Lines that stay lines: a Markdown reader would join them."""
    shown: list[str] = []
    in_list = False
    for line in (line.strip() for line in text.strip("\n").split("\n")):
        item = line.startswith("- ")
        if shown and shown[-1] and line:
            if item != in_list:
                shown.append("")  # where a list begins or ends, or it would take in its neighbours
            elif not item:
                shown[-1] += "  "
        shown.append(f"- {escaped(line[2:])}" if item else escaped(line))
        in_list = item
    return "\n".join(shown)


def _cell(text: str) -> str:
    return escaped(" ".join(text.split())).replace("|", _BAR)


def escaped(text: str) -> str:
    """Text on one line that Markdown shows as it is."""
    line = _CONTROL.sub("�", " ".join(text.splitlines()))
    return _NUMBERED.sub(r"\1\\\2", _LEADING.sub(r"\1\\\2", _MARKS.sub(r"\\\1", line)))


def code(text: str) -> str:
    """Text as inline code, with as many backticks around it as it needs."""
    line = _CONTROL.sub("�", " ".join(text.splitlines()))
    ticks = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    space = " " if "`" in line or not line.strip() else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def fence(text: str, language: str = "") -> str:
    """Text as a block of code, with a fence that the text cannot close."""
    longest = max((len(run) for run in re.findall(r"^[ \t]*(`{3,})", text, re.MULTILINE)), default=2)
    ticks = "`" * (longest + 1)
    body = _CONTROL.sub("�", text.replace("\r\n", "\n")).rstrip("\n")
    return f"{ticks}{language}\n{body}\n{ticks}"
