"""Checking what a result claims, from the outside, for any tool.

A tool that says `{"path": "notes.txt", "lines": 12}` has made a claim that anybody can check. The fields
understood here are those that tools commonly use for the same thing; whatever has another shape gives no
check, and a result without a check is unverifiable, never right. A field that could honestly mean something
else is left alone (a `total` beside `items` is as often a sum of money as a number of items): a refuted
result that was right costs a run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import attrs

from .protocols import Evidence, Json
from .secrets import MARK
from .tool import Checked

MAX_FILES = 200
MAX_MATCHES = 1000
MAX_RECORDS = 100
"""How much of one result is looked at; the checks say how many that were."""

_PATHS = ("path", "file", "filename")
_LISTS = ("matches", "memories", "items")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_CUT = ("…", "...")


async def check_claims(result: Json, evidence: Evidence) -> Checked:
    """Check the well-known claims in `result`; no checks where there are none.

    Files are read again (`path` with `sha256`, `bytes`, `lines`, `words`, `exists`), lists counted again
    (`count` with `matches`, `items` or `memories`; `by_file` with `count` and `files`), and lines looked up
    (`matches` of `path`, `line`, `text`).
    """
    read = _Files(evidence)
    if isinstance(result, list):
        records = [r for r in result[:MAX_RECORDS] if isinstance(r, dict)]
    else:
        records = [result] if isinstance(result, dict) else []
    found = Checked()
    for record in records:
        found += _counts(record)
        found += await _file(record, read)
        found += await _matches(record, read)
    return found


@attrs.define
class _Files:
    """Files read once each."""

    evidence: Evidence
    known: dict[str, bytes | None] = attrs.field(factory=dict)

    async def read(self, path: str) -> bytes | None:
        if path not in self.known:
            self.known[path] = await self.evidence.read(path)
        return self.known[path]


def _whole(record: Mapping[str, Json], *names: str) -> int | None:
    """The first of these fields that is a whole number."""
    found = (record.get(n) for n in names)
    return next((v for v in found if isinstance(v, int) and not isinstance(v, bool)), None)


def _counts(record: Mapping[str, Json]) -> Checked:
    found = Checked()
    lists = [n for n in _LISTS if isinstance(record.get(n), list)]
    count = _whole(record, "count") if lists != ["matches"] else _whole(record, "count", "total")
    if len(lists) == 1 and count is not None and not record.get("truncated"):
        listed = record[lists[0]]
        n = len(listed) if isinstance(listed, list) else 0
        problem = f"it claims {count} {lists[0]} and lists {n}"
        found += Checked((problem,) if n != count else (), (f"count against the {lists[0]} listed",))
    return found + _by_file(record)


def _by_file(record: Mapping[str, Json]) -> Checked:
    by_file = record.get("by_file")
    if not isinstance(by_file, dict):
        return Checked()
    numbers = [v for v in by_file.values() if isinstance(v, int) and not isinstance(v, bool)]
    problems: list[str] = []
    checks: list[str] = []
    count, files = _whole(record, "count", "total"), _whole(record, "files")
    if count is not None and len(numbers) == len(by_file):
        checks.append("count against the sum over files")
        if sum(numbers) != count:
            problems.append(f"it claims {count} in total and {sum(numbers)} over its files")
    if files is not None:
        checks.append("files against the files listed")
        if files != len(by_file):
            problems.append(f"it claims {files} files and lists {len(by_file)}")
    return Checked(tuple(problems), tuple(checks))


async def _file(record: Mapping[str, Json], read: _Files) -> Checked:
    path = next((p for n in _PATHS if isinstance(p := record.get(n), str)), None)
    claims = _claims_about_a_file(record)
    if path is None or not claims or MARK in path:
        return Checked()
    data = await read.read(path)
    if data is None:
        absent = record.get("exists") is False
        problem = f"{path}: there is no such file, or it may not be read"
        return Checked(() if absent else (problem,), (f"{path} looked up",))
    problems: list[str] = []
    for name, claimed, actual in _measured(claims, data):
        if claimed not in actual:
            problems.append(f"{path}: it claims {name} {claimed}, the file has {actual[0]}")
    return Checked(tuple(problems), tuple(f"{path}: {name} measured again" for name in claims))


def _claims_about_a_file(record: Mapping[str, Json]) -> dict[str, object]:
    claims: dict[str, object] = {}
    sha256 = record.get("sha256")
    if isinstance(sha256, str) and _SHA256.fullmatch(sha256):
        claims["sha256"] = sha256.lower()
    for name, aliases in (
        ("bytes", ("bytes", "size", "size_bytes")),
        ("lines", ("lines", "line_count")),
        ("words", ("words", "word_count")),
    ):
        if (value := _whole(record, *aliases)) is not None:
            claims[name] = value
    if isinstance(record.get("exists"), bool):
        claims["exists"] = record["exists"]
    return claims


def _measured(claims: Mapping[str, object], data: bytes) -> list[tuple[str, object, tuple[object, ...]]]:
    """Each claim with what would be right; where usage differs, every honest reading is."""
    ends = data.count(b"\n")
    unfinished = int(bool(data) and not data.endswith(b"\n"))
    right: dict[str, tuple[object, ...]] = {
        "sha256": (hashlib.sha256(data).hexdigest(),),
        "bytes": (len(data),),
        "lines": (ends + unfinished, ends),
        "words": (len(data.split()), len(data.decode(errors="replace").split())),
        "exists": (True,),
    }
    return [(name, claimed, right[name]) for name, claimed in claims.items()]


async def _matches(record: Mapping[str, Json], read: _Files) -> Checked:
    matches = record.get("matches")
    if not isinstance(matches, list):
        return Checked()
    problems: list[str] = []
    looked = 0
    lines: dict[str, Sequence[str]] = {}
    for match in matches[:MAX_MATCHES]:
        where = _place(match)
        if where is None:
            continue
        path, number, text = where
        if path not in lines:
            if len(lines) >= MAX_FILES:
                break
            data = await read.read(path)
            lines[path] = () if data is None else data.decode(errors="replace").split("\n")
        looked += 1
        if not (1 <= number <= len(lines[path]) and _same_line(text, lines[path][number - 1])):
            problems.append(f"{path}:{number} does not read {text[:80]!r}")
    if not looked:
        return Checked()
    return Checked(tuple(problems), (f"{looked} of {len(matches)} matches read again",))


def _place(match: Json) -> tuple[str, int, str] | None:
    if not isinstance(match, dict):
        return None
    path, number, text = match.get("path"), _whole(match, "line"), match.get("text")
    if MARK in f"{path}{text}":
        return None  # a secret was taken out: it no longer reads as the file does
    # Line 0 stands for "the file as a whole" in a list of files.
    if isinstance(path, str) and isinstance(text, str) and number is not None and (number != 0 or text):
        return path, number, text
    return None


def _same_line(claimed: str, line: str) -> bool:
    """Whether the text is that line, but for white space around it and a marked cut at its end."""
    for mark in _CUT:
        if claimed.endswith(mark) and line.strip().startswith(claimed[: -len(mark)].strip()):
            return True
    return claimed.strip() == line.strip()
