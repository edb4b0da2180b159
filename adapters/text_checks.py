"""Checking what the text tools say, by other means than theirs: quotations looked up, figures counted again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from trouper.actors.protocols import Json
from trouper.actors.tool import Checked

from .step_results import calculated, objects, pieces_of, whole

_MAX_PROBLEMS = 20


def quoted_in(content: object, quotations: object) -> Checked:
    """Whether each quotation occurs word for word in the content, but for line breaks. None of them is no check."""
    quoted = [q for q in quotations if isinstance(q, str)] if isinstance(quotations, list) else []
    if not quoted:
        return Checked()
    # An independent reading of the content: every text in it, wherever it stands.
    told = [squeezed(text) for text in _strings(content)]
    strange = [q for q in quoted if not any(squeezed(q) in text for text in told)]
    problems = tuple(f"not in the content: {q[:80]!r}" for q in strange[:_MAX_PROBLEMS])
    return Checked(problems, (f"{len(quoted)} quotations looked up",))


def squeezed(text: str) -> str:
    """The text with single spaces and no line breaks."""
    return " ".join(text.split())


def figures_in(content: object, report: str) -> Checked:
    """Whether the figures of the content's searches and calculations stand in the report."""
    figures: list[tuple[str, str]] = []
    for piece in pieces_of(content):
        if piece.kind == "search":
            figures.append(("the number of matches", str(whole(piece.data.get("count")))))
        elif piece.kind == "calculation":
            figures.append(("the result", calculated(piece.data).rpartition("= ")[2]))
    plain = report.replace(",", "")
    missing = [f"the report does not have {name}, {figure}" for name, figure in figures if figure not in plain]
    return Checked(tuple(missing), (f"{len(figures)} figures looked up in the report",) if figures else ())


def analysis_of(content: object, result: Json) -> Checked:
    """Whether an analysis agrees with its content: counts counted again, differences and entries looked up."""
    facts = result.get("facts") if isinstance(result, dict) else None
    if not isinstance(facts, dict):
        return Checked(("the result has no facts",), ("facts",))
    found = quoted_in(content, facts.get("relevant"))
    kind = result.get("kind") if isinstance(result, dict) else None
    if kind in ("overview", "count"):
        return found + _counted(content, facts)
    if kind == "compare":
        return found + _compared(content, facts)
    return found + _outlined(content, facts)


def _counted(content: object, facts: Mapping[str, Json]) -> Checked:
    counts: Counter[str] = Counter()
    for piece in pieces_of(content):
        if piece.kind == "search":
            counts["matches"] += whole(piece.data.get("count"))
        elif piece.kind not in ("memories", "calculation"):
            counts["words"] += sum(1 for _ in re.finditer(r"\S+", piece.text))
            counts["characters"] += sum(len(line) for line in piece.text.splitlines(keepends=True))
    names = [name for name in ("matches", "words", "characters") if name in facts or counts[name]]
    wrong = [n for n in names if whole(facts.get(n)) != counts[n]]
    problems = tuple(f"it claims {facts.get(n)} {n}, counted again there are {counts[n]}" for n in wrong)
    return Checked(problems, tuple(f"{n} counted again" for n in names))


def _compared(content: object, facts: Mapping[str, Json]) -> Checked:
    """Differences must add up, and each line shown must be in the text it is said to be from."""
    texts = [piece.text.splitlines() for piece in pieces_of(content) if piece.kind != "search"]
    comparisons = objects(facts.get("comparisons"))
    if len(texts) != len(comparisons) + 1:
        return Checked()  # searches are compared by their places, which are not looked up here
    problems: list[str] = []
    for other, comparison in zip(texts[1:], comparisons, strict=True):
        names = comparison.get("of")
        added, removed = whole(comparison.get("added")), whole(comparison.get("removed"))
        if comparison.get("identical") is not (texts[0] == other):
            problems.append(f"{names}: whether they are identical")
        if added - removed != len(other) - len(texts[0]):
            problems.append(
                f"{names}: {added} lines more and {removed} less do not make {len(other)} of {len(texts[0])}"
            )
        shown = str(comparison.get("diff") or "").splitlines()
        body = shown[2:] if shown and shown[0].startswith("--- ") else shown
        for mark, text in (("-", texts[0]), ("+", other)):
            there = set(text)
            lines = [line[1:] for line in body if line.startswith(mark)]
            # A comparison without alignment puts a space behind the mark.
            strange = [line for line in lines if not {line, line.removeprefix(" ")} & there]
            problems.extend(f"{names}: {mark + line[:80]!r} is not there" for line in strange)
    return Checked(tuple(problems[:_MAX_PROBLEMS]), (f"{len(comparisons)} comparisons looked up",))


def _outlined(content: object, facts: Mapping[str, Json]) -> Checked:
    pieces, parts = pieces_of(content), objects(facts.get("parts"))
    if len(pieces) != len(parts):
        return Checked((f"it outlines {len(parts)} parts of {len(pieces)}",), ("parts counted",))
    problems: list[str] = []
    entries = 0
    for piece, part in zip(pieces, parts, strict=True):
        listed = part.get("entries")
        names = [_entry_name(str(e)) for e in listed] if isinstance(listed, list) and piece.kind != "search" else []
        entries += len(names)
        told = squeezed(piece.text)
        problems.extend(f"{piece.title}: no {name[:80]!r} in it" for name in names if name not in told)
    checks = (f"{entries} entries looked up",) if entries else ()
    return Checked(tuple(problems[:_MAX_PROBLEMS]), checks)


def _entry_name(entry: str) -> str:
    """The part of an outline's entry that must stand in the text."""
    if entry.startswith(("(", "#")):
        return squeezed(entry.strip("# ")) if entry.startswith("#") else ""
    return squeezed(entry.partition(" (line ")[0].rpartition(": ")[0] or entry.partition(" (line ")[0])


def _strings(content: object) -> Iterator[str]:
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            if all(not isinstance(v, Mapping | list | tuple) for v in value):
                yield " ".join(v if isinstance(v, str) else json.dumps(v) for v in value)
            waiting.extend(value)
