"""The files that are indexed: found below what was named, read one by one.

Links are not followed, and what begins with a dot or was made by a tool (`node_modules`, `__pycache__`) is not entered
unless it was named itself. Whatever else is left out is named with its reason. Everything runs in a thread; a thread
that only reads may be left behind by a cancellation.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import trio

from trouper.actors.protocols import Found, FoundFile, ReadDocument, SkippedFile
from trouper.runtime import DocumentsRefused

from .document_text import RECIPE, Unreadable, readable_kinds, text_of
from .text_search import SKIPPED_DIRECTORIES

MAX_FILES = 200_000
"""Files below what is named at once; with more of them nothing is indexed."""

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DocumentFiles:
    """Port `DocumentSource` over the file system.

    Args:
        max_bytes: A larger file is skipped.
        apart: Paths that are not documents: what the memory and the index are kept in, and what lies below or is named
            as these are with a hyphen after it.
    """

    def __init__(self, *, max_bytes: int = 20_000_000, apart: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._max_bytes = max_bytes
        self._apart = tuple(os.path.realpath(path) for path in apart)
        self._recipe: str | None = None

    @property
    def recipe(self) -> str:
        """How text is made of files here; another set of installed readers makes more of them."""
        if self._recipe is None:
            self._recipe = _recipe()
        return self._recipe

    async def find(self, paths: Sequence[str]) -> Found:
        """The files at and below `paths`. Cancelled: the thread is left to itself, it only reads.

        Raises:
            DocumentsRefused: one of the paths cannot be looked at, or there are too many files.
        """
        return await trio.to_thread.run_sync(self._find, tuple(paths), abandon_on_cancel=True)

    async def read(self, path: str, *, unless: bytes | None = None) -> ReadDocument | SkippedFile | None:
        """The text of a file; None if the digest of its bytes is `unless`. Cancelled: as `find`."""
        return await trio.to_thread.run_sync(self._read, path, unless, abandon_on_cancel=True)

    async def changed(self, paths: Sequence[str]) -> tuple[tuple[int, int] | None, ...]:
        """Size and time of the last change (nanoseconds) of each file now; None if it is gone."""
        return await trio.to_thread.run_sync(lambda: tuple(map(_changed, paths)), abandon_on_cancel=True)

    # ------------------------------------------------------------ finding
    def _find(self, paths: Sequence[str]) -> Found:
        self._recipe = _recipe()  # here, once for all files: looking for a library reads the disk
        if not paths:
            raise DocumentsRefused("there is nothing to index: name files or directories")
        files: dict[str, FoundFile] = {}
        skipped: dict[str, SkippedFile] = {}
        roots: list[str] = []
        missing: dict[str, str] = {}
        for path in paths:
            try:
                real = os.path.realpath(Path(path).expanduser())
                real.encode()
                roots.append(real)
                mode = Path(real).stat().st_mode
            except FileNotFoundError:
                missing[real] = path
                continue
            except (OSError, ValueError, RuntimeError) as error:
                raise DocumentsRefused(f"{path!r} cannot be indexed: {error}; nothing was indexed") from error
            if stat.S_ISDIR(mode):
                self._walk(real, files, skipped)
            else:
                self._look(real, os.lstat(real), files, skipped)
        order = sorted(files)
        return Found(
            roots=tuple(roots),
            files=tuple(files[path] for path in order),
            skipped=tuple(skipped[path] for path in sorted(skipped) if path not in files),
            missing=missing,
        )

    def _walk(self, top: str, files: dict[str, FoundFile], skipped: dict[str, SkippedFile]) -> None:
        def failed(error: OSError) -> None:
            where = _printable(str(error.filename or top))
            skipped[where] = SkippedFile(path=where, reason=(error.strerror or str(error)).lower())

        for where, directories, names, fd in os.fwalk(top, follow_symlinks=False, onerror=failed):
            entered = sorted(d for d in directories if not d.startswith(".") and d not in SKIPPED_DIRECTORIES)
            directories[:] = [d for d in entered if _opens(where, d, fd, skipped)]
            for name in sorted(names):
                if name.startswith("."):
                    continue
                path = f"{where.rstrip('/')}/{name}"
                try:
                    path.encode()
                    self._look(path, os.stat(name, dir_fd=fd, follow_symlinks=False), files, skipped)
                except UnicodeEncodeError:
                    path = _printable(path)
                    skipped[path] = SkippedFile(path=path, reason="its name is not UTF-8")
                except OSError as error:
                    if error.errno != errno.ENOENT:  # it was there a moment ago
                        skipped[path] = SkippedFile(path=path, reason=(error.strerror or str(error)).lower())
                if len(files) > MAX_FILES:
                    raise DocumentsRefused(
                        f"there are more than {MAX_FILES:,} files below {top!r}; nothing was indexed. Name parts of it"
                    )

    def _look(
        self, path: str, status: os.stat_result, files: dict[str, FoundFile], skipped: dict[str, SkippedFile]
    ) -> None:
        own = any(path == one or path.startswith((f"{one}-", f"{one}/")) for one in self._apart)
        if own or stat.S_ISLNK(status.st_mode):
            return
        if not stat.S_ISREG(status.st_mode):
            skipped[path] = SkippedFile(path=path, reason="not a regular file")
        elif status.st_size > self._max_bytes:
            skipped[path] = SkippedFile(path=path, reason=self._too_large(status.st_size))
        else:
            files[path] = FoundFile(path=path, size=status.st_size)

    def _too_large(self, size: int) -> str:
        return f"{size / 1e6:,.1f} MB, more than {self._max_bytes / 1e6:g} MB (documents.max_file_mb)"

    # ------------------------------------------------------------ reading
    def _read(self, path: str, unless: bytes | None) -> ReadDocument | SkippedFile | None:
        try:
            with os.fdopen(os.open(path, _OPEN), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return SkippedFile(path=path, reason="not a regular file")
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            return SkippedFile(path=path, reason=(error.strerror or str(error)).lower())
        if len(data) > self._max_bytes:
            return SkippedFile(path=path, reason=self._too_large(max(status.st_size, len(data))))
        digest = hashlib.sha256(data).digest()
        if digest == unless:
            return None
        try:
            found = text_of(path, data)
        except Unreadable as error:
            return SkippedFile(path=path, reason=str(error))
        if not found.text or found.text.isspace():
            return SkippedFile(path=path, reason="empty")
        return ReadDocument(
            path=path,
            digest=digest,
            size=status.st_size,
            changed=status.st_mtime_ns,
            text=found.text,
            shape=found.shape,
            recipe=self.recipe,
            pages=found.pages,
            lines=found.lines,
        )


def _recipe() -> str:
    return f"{RECIPE} {' '.join(kind for kind, here in readable_kinds().items() if here)}".strip()


def _opens(where: str, name: str, fd: int, skipped: dict[str, SkippedFile]) -> bool:
    """Whether a directory can be entered. `os.fwalk` would tell of one that cannot by its last name only."""
    try:
        os.close(os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=fd))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):  # gone, or a link
            path = _printable(f"{where.rstrip('/')}/{name}")
            skipped[path] = SkippedFile(path=path, reason=(error.strerror or str(error)).lower())
        return False
    return True


def _changed(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).lstat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _printable(path: str) -> str:
    """A path whose bytes are no UTF-8, as text that can be written down."""
    return path.encode(errors="surrogateescape").decode(errors="replace")
