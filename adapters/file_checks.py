"""Checking what the file tools claim, by other means than theirs.

A search is counted again over an own listing, by looking through the raw bytes instead of line by line; a
file is read and hashed again. What was changed after the step is no evidence and is left out (see `Seen`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from trouper.actors.claims import check_claims
from trouper.actors.protocols import Evidence, Json
from trouper.actors.tool import Checked

from .file_access import FileAccess
from .globs import glob_matcher
from .text_search import MAX_FILE, SKIPPED_DIRECTORIES

_MAX_PROBLEMS = 20


def result_key(result: object) -> str:
    """A result, short enough to be remembered by."""
    text = json.dumps(result, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def written_key(result: Json) -> str:
    """What a write claims: this path with this content."""
    return f"{result.get('path')} {result.get('sha256')}" if isinstance(result, dict) else ""


async def reread(access: FileAccess, result: Json, evidence: Evidence, key: str) -> Checked:
    """Compare what a result says about one file with the file, unless that was changed since."""
    if not isinstance(result, dict) or not isinstance(path := result.get("path"), str):
        return Checked(("the result names no file",), ("path",))
    if await _changed(access, path, access.seen.when(key)):
        return Checked()
    found = await check_claims(result, evidence)
    content = result.get("content")
    if isinstance(content, str) and (data := await evidence.read(path)) is not None:
        same = data.decode(errors="replace").removeprefix("\ufeff") == content
        problem = f"{path} has not the content that was read"
        found += Checked(() if same else (problem,), (f"{path}: content compared",))
    return found


async def _changed(access: FileAccess, path: str, since: int | None) -> bool:
    now = await access.in_thread(access.workspace.changed_ns, path)
    return since is not None and now is not None and now > since


async def recount(
    access: FileAccess, parameters: Mapping[str, object], result: Json, evidence: Evidence, since: int | None
) -> Checked:
    """Search again by another algorithm, and compare file by file; `since` is when the result was true.

    A regular expression is not searched for again (it would need the same engine): its lines are looked up
    and its counts added up.
    """
    if not isinstance(result, dict) or not isinstance(claimed := result.get("by_file"), dict):
        return Checked(("the result has no counts by file",), ("by_file",))
    there = await access.in_thread(_listing, access, parameters)
    if since is None:
        names = sorted({*there, *claimed})
    else:
        # Changed or gone since: no evidence. What was there before and is not claimed must have no match.
        names = sorted(name for name, changed in there.items() if changed <= since)
    found = await check_claims(result if set(claimed) <= set(names) else _without_lines(result), evidence)
    if parameters.get("regex"):
        return found
    return found + await _count_again(access, claimed, names, there, parameters, evidence)


def _without_lines(result: Mapping[str, Json]) -> Json:
    return {name: value for name, value in result.items() if name != "matches"}


async def _count_again(
    access: FileAccess,
    claimed: Mapping[str, Json],
    names: Sequence[str],
    there: Collection[str],
    parameters: Mapping[str, object],
    evidence: Evidence,
) -> Checked:
    problems: list[str] = []
    counted = 0
    for name in names:
        n = await _count(access, name, parameters, evidence) if name in there else 0
        if n is None:
            continue
        counted += 1
        if claimed.get(name, 0) != n:
            problems.append(f"{name}: it claims {claimed.get(name, 0)}, counted again there are {n}")
    # Nothing counted in a place that has files is no check: they have all been changed, or cannot be read.
    checks = (f"{counted} files counted again",) if counted or not there else ()
    return Checked(tuple(problems[:_MAX_PROBLEMS]), checks)


async def _count(access: FileAccess, name: str, parameters: Mapping[str, object], evidence: Evidence) -> int | None:
    """The matching lines of a file that is there; None if it cannot be read."""
    pattern = str(parameters.get("pattern", ""))
    if not pattern:
        return 1
    data = await evidence.read(name)
    if data is None or len(data) > MAX_FILE:
        return None
    return await access.in_thread(_occurrences, data, pattern, lower=bool(parameters.get("ignore_case")))


def _occurrences(data: bytes, pattern: str, *, lower: bool) -> int:
    """How many lines have the pattern, found by leaping from hit to line end through the whole text."""
    if b"\0" in data:
        return 0
    if lower:
        data, pattern = data.decode(errors="replace").lower().encode(), pattern.lower()
    needle = pattern.encode(errors="replace")
    n, at = 0, data.find(needle)
    while at >= 0:
        n += 1
        end = data.find(b"\n", at)
        at = data.find(needle, end + 1) if end >= 0 else -1
    return n


def _listing(access: FileAccess, parameters: Mapping[str, object]) -> dict[str, int]:
    """The files that the search should have looked at, as results name them, with their time of change."""
    top = access.workspace.resolve(str(parameters.get("path", ".")))
    if not top.is_dir():
        return {access.workspace.name(top): top.lstat().st_ctime_ns} if top.exists() else {}
    fits = glob_matcher(str(parameters.get("glob", "**/*")))
    found: dict[str, int] = {}
    for where, directories, files in os.walk(top):
        directories[:] = [d for d in directories if d not in SKIPPED_DIRECTORIES]
        for path in (Path(where, file) for file in files):
            with contextlib.suppress(OSError):  # gone while we look
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and fits(path.relative_to(top).as_posix()):
                    found[access.workspace.name(path)] = status.st_ctime_ns
    return found
