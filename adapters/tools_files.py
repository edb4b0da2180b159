"""The tools that look into files and write them: search_files, read_file, write_file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import NotRequired, TypedDict

import trio

from trouper.actors.permissions import PermissionPolicy
from trouper.actors.protocols import Evidence, Json
from trouper.actors.tool import Checked, Effect, Tool, tool
from trouper.runtime import ToolError

from .file_access import FileAccess
from .file_checks import recount, reread, result_key, written_key
from .step_results import as_text
from .text_search import Query, search
from .workspace import Workspace

_SKIPPED_NAMED = 100
# A file system stamps files with a clock that lags by up to a tick (10 ms at worst) behind the one we read.
_TICK_NS = 20_000_000


class FoundMatch(TypedDict):
    """One matching line; line 0 with no text stands for a file as a whole."""

    path: str
    line: int
    text: str


class SearchResult(TypedDict):
    """What search_files gives."""

    pattern: str
    path: str
    glob: str
    count: int
    files: int
    matches: list[FoundMatch]
    by_file: dict[str, int]
    truncated: bool
    skipped: list[str]


class FileContent(TypedDict):
    """What read_file gives; `undecodable` counts the places where the file was no UTF-8."""

    path: str
    content: str
    lines: int
    bytes: int
    sha256: str
    undecodable: NotRequired[int]


class FileWritten(TypedDict):
    """What write_file gives."""

    path: str
    bytes: int
    sha256: str


def make(workspace: Workspace, policy: PermissionPolicy, access: FileAccess | None = None) -> list[Tool]:
    """search_files, read_file and write_file on `workspace` under `policy`.

    `access` shares threads and what is known of recent results with other tools of the same troupe.
    """
    access = access or FileAccess(workspace, policy)
    return [_search_files(access), _read_file(access), _write_file(access)]


def _search_files(access: FileAccess) -> Tool:
    async def search_files(
        pattern: str = "", path: str = ".", glob: str = "**/*", ignore_case: bool = False, regex: bool = False
    ) -> SearchResult:
        """Find text in files, or list files.

        Args:
            pattern: the text to find, as it is; empty to list the files that `glob` selects.
            path: the directory to search with all below it, or one file.
            glob: which files: `*.py` at any depth, or `docs/**/*.md` from `path`.
            ignore_case: whether upper and lower case are the same.
            regex: whether `pattern` is a regular expression.
        """
        query = Query(pattern=pattern, glob=glob, ignore_case=ignore_case, regex=regex)
        query.check()
        real = await access.reach(path)
        began = time.time_ns() - _TICK_NS
        found = await access.in_thread(search, access.workspace, path, query, trio.from_thread.check_cancelled)
        result = SearchResult(
            pattern=pattern,
            path=access.workspace.name(real),
            glob=glob,
            count=found.count,
            files=len(found.by_file),
            matches=[FoundMatch(path=m.path, line=m.line, text=m.text) for m in found.matches],
            by_file=found.by_file,
            truncated=found.truncated,
            skipped=_named(found.skipped),
        )
        access.seen.note(await access.in_thread(result_key, result), began)
        return result

    async def verify(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:
        """Count again by another algorithm over an own listing of the files."""
        since = access.seen.when(await access.in_thread(result_key, result))
        return await recount(access, parameters, result, evidence, since)

    return tool(effect=Effect.PURE, permission="read", verify=verify)(search_files)


def _read_file(access: FileAccess) -> Tool:
    async def read_file(path: str) -> FileContent:
        """Read a text file.

        Args:
            path: the file, relative to the work directory.
        """
        real = await access.reach(path)
        data, changed = await access.in_thread(access.workspace.read_dated, path)
        result = await access.in_thread(_content, access.workspace.name(real), data)
        access.seen.note(await access.in_thread(result_key, result), changed)
        return result

    async def verify(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:  # noqa: ARG001 - the port's shape
        """Read and hash the file again."""
        return await reread(access, result, evidence, await access.in_thread(result_key, result))

    return tool(effect=Effect.PURE, permission="read", verify=verify)(read_file)


def _write_file(access: FileAccess) -> Tool:
    async def write_file(path: str, content: object, overwrite: bool = True) -> FileWritten:
        """Write text to a file, all of it or nothing.

        Args:
            path: the file, relative to the work directory; missing directories are made.
            content: the text; a result of another step is written as readable text.
            overwrite: false to fail if another file is there, whatever the permissions say.
        """
        written = await access.put(path, as_text(content).encode(errors="replace"), overwrite=overwrite)
        return FileWritten(path=written.path, bytes=written.bytes, sha256=written.sha256)

    async def verify(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:  # noqa: ARG001 - the port's shape
        """Read and hash the file again."""
        return await reread(access, result, evidence, written_key(result))

    return tool(effect=Effect.KEYED, permission="write", verify=verify)(write_file)


def _content(name: str, data: bytes) -> FileContent:
    if (nul := data.find(b"\0")) >= 0:
        raise ToolError(
            f"{name} is not a text file: there is a NUL byte at offset {nul:,} of {len(data):,}",
            effect=False,
            retry_possible=False,
        )
    content = data.decode(errors="replace")
    result = FileContent(
        path=name,
        content=content.removeprefix("\ufeff"),
        lines=data.count(b"\n") + (not data.endswith(b"\n") if data else 0),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    if undecodable := content.count("\ufffd") - data.count("\ufffd".encode()):
        result["undecodable"] = undecodable
    return result


def _named(skipped: list[str]) -> list[str]:
    more = len(skipped) - _SKIPPED_NAMED
    return [*skipped[:_SKIPPED_NAMED], f"and {more} more"] if more > 0 else skipped
