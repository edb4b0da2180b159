"""Searching text files below a directory, like `LC_ALL=C grep -rnI`: links are not followed.

Counts are of matching *lines*. Binary files (a NUL byte) are passed over, as `-I` does; what else could not
be searched is named in `skipped`, never left out in silence. Blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from trouper.runtime import BadArguments, ToolError

from .globs import glob_matcher
from .regex_search import check_pattern, regex_search
from .workspace import Workspace

SKIPPED_DIRECTORIES = frozenset({".git", ".hg", ".svn", "__pycache__", ".venv", "node_modules"})
"""Directories that are not entered unless the search begins there: what tools made, not people."""
MAX_LISTED = 5000
"""Matches listed; the counts go on."""
MAX_FILES = 50_000
"""Files with matches in one result."""
MAX_TEXT = 300
"""Characters of a line that are listed."""
MAX_FILE = 64_000_000
"""Bytes of a file that is searched."""


@attrs.frozen(kw_only=True)
class Query:
    """What to look for. An empty pattern lists files."""

    pattern: str = ""
    glob: str = "**/*"
    ignore_case: bool = False
    regex: bool = False

    def check(self) -> None:
        """Refuse what can match no line.

        Raises:
            BadArguments: a line break or NUL in the pattern, no regular expression, or a bad glob.
        """
        if "\n" in self.pattern or "\0" in self.pattern:
            raise BadArguments("pattern: lines are searched one by one, so it cannot have a line break or a NUL")
        if self.regex:
            check_pattern(self.pattern)
        glob_matcher(self.glob)


@attrs.frozen
class Match:
    """One matching line; line 0 with no text stands for a file as a whole."""

    path: str
    line: int
    text: str


@attrs.define
class Found:
    """What a search found, in the order of the paths."""

    count: int = 0
    matches: list[Match] = attrs.field(factory=list)
    by_file: dict[str, int] = attrs.field(factory=dict)
    truncated: bool = False
    skipped: list[str] = attrs.field(factory=list)

    def add(self, path: str, lines: list[tuple[int, str]]) -> None:
        """Note the matching lines of one file."""
        if not lines:
            return
        if len(self.by_file) >= MAX_FILES:
            raise ToolError(
                f"more than {MAX_FILES:,} files match; narrow `path` or `glob`", effect=False, retry_possible=False
            )
        self.count += len(lines)
        self.by_file[path] = len(lines)
        room = MAX_LISTED - len(self.matches)
        for number, text in lines[:room]:
            cut = len(text) > MAX_TEXT
            self.matches.append(Match(path, number, text[:MAX_TEXT] + "…" if cut else text))
            self.truncated |= cut
        self.truncated |= len(lines) > room


def search(workspace: Workspace, path: str, query: Query, pause: Callable[[], None] = lambda: None) -> Found:
    """Search the file or directory `path`; `pause` is called before each file and may raise to end it.

    Raises:
        ToolError: there is no such path, too many files match, or a regular expression never finishes.
        PermissionRefused: it leads outside.
    """
    query.check()
    found = Found()
    top = workspace.resolve(path)
    files = _files(workspace, top, query.glob, found)
    with contextlib.ExitStack() as stack:
        numbers = _matcher(query, stack)
        for relative in files:
            pause()
            file = top / relative if relative else top
            name = workspace.name(file)
            if not query.pattern:
                found.add(name, [(0, "")])
                continue
            data = _data(workspace, file, found)
            if data:
                found.add(name, _texts(data, numbers(data, name)))
    return found


def _matcher(query: Query, stack: contextlib.ExitStack) -> Callable[[bytes, str], list[int]]:
    """A function from a file's bytes and name to the numbers of its matching lines."""
    if query.regex and query.pattern:
        return stack.enter_context(regex_search(query.pattern, ignore_case=query.ignore_case)).lines
    if query.ignore_case:
        wanted = query.pattern.lower()
        return lambda data, _: [
            n for n, t in enumerate(_lines(data), 1) if wanted in t.decode(errors="replace").lower()
        ]
    needle = query.pattern.encode(errors="surrogateescape")
    return lambda data, _: [n for n, t in enumerate(_lines(data), 1) if needle in t] if needle in data else []


def _lines(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return lines


def _texts(data: bytes, numbers: list[int]) -> list[tuple[int, str]]:
    lines = _lines(data) if numbers else []
    return [(n, lines[n - 1].decode(errors="replace").removesuffix("\r")) for n in numbers]


def _data(workspace: Workspace, file: Path, found: Found) -> bytes:
    """The file's bytes; nothing if it is binary, or cannot be read (then it is noted)."""
    try:
        with os.fdopen(workspace.open_file(file), "rb") as opened:
            data = opened.read(MAX_FILE + 1)
    except OSError as error:
        # Gone or turned into something else since it was listed: then it was never a file of this search.
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EISDIR, errno.ENOTDIR):
            found.skipped.append(f"{workspace.name(file)}: {error.strerror}")
        return b""
    if len(data) > MAX_FILE:
        found.skipped.append(f"{workspace.name(file)}: larger than {MAX_FILE:,} bytes")
        return b""
    return b"" if b"\0" in data else data


def _files(workspace: Workspace, top: Path, glob: str, found: Found) -> list[str]:
    """The regular files below `top` that fit the glob, relative to it and sorted; `[""]` for `top` itself."""
    fits = glob_matcher(glob)
    try:
        if not top.is_dir():
            os.close(workspace.open_file(top))
            return [""]
        with workspace.open_directory(top) as fd:
            return sorted(p for p in _walk(fd, found) if fits(p))
    except OSError as error:
        raise workspace.failed("search", top, error) from error


def _walk(top: int, found: Found) -> Iterator[str]:
    def failed(error: OSError) -> None:
        found.skipped.append(f"{error.filename}: {error.strerror}")

    for where, directories, files, fd in os.fwalk(".", dir_fd=top, follow_symlinks=False, onerror=failed):
        directories[:] = [d for d in directories if d not in SKIPPED_DIRECTORIES]
        for file in files:
            path = file if where == "." else f"{where.removeprefix('./')}/{file}"
            try:
                path.encode()
                if stat.S_ISREG(os.stat(file, dir_fd=fd, follow_symlinks=False).st_mode):
                    yield path
            except UnicodeEncodeError:
                found.skipped.append(f"{path.encode(errors='replace').decode()}: its name is not UTF-8")
            except OSError as error:
                if error.errno != errno.ENOENT:
                    found.skipped.append(f"{path}: {error.strerror}")
