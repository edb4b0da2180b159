"""The work directory: every path a tool is given is resolved here, and stays inside or is refused.

A path is resolved like the kernel does it (links followed, `..` after links), compared with the root, and
then *opened component by component from the root without following links*. So it does not help to swap a
directory for a link between the check and the use: the resolved path has no links, and one that appears
makes the opening fail. Files are replaced by a rename within one directory, or made by a hard link where
nothing may be replaced; whatever fails before that leaves the old state and no temporary file.

Everything here blocks, and is called in threads (see `file_access`).
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs
import trio

from trouper.runtime import BadArguments, ConfigError, ConfigProblem, PermissionRefused, ToolError

MAX_READ = 10_000_000
"""Bytes that one read gives at most."""
MAX_EVIDENCE = 64_000_000
"""Bytes that a check reads at most."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe must not wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK)


@attrs.frozen
class Written:
    """What a write left behind."""

    path: str
    """Relative to the work directory, with `/`."""
    bytes: int
    sha256: str


class Workspace:
    """Files below one directory. Also the verifier's `Evidence`.

    Raises:
        ConfigError: `root` is no directory.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root: Path = Path(os.path.realpath(root))
        self._granted: set[Path] = set()
        if not self.root.is_dir():
            raise ConfigError(
                [ConfigProblem(path="workdir", message=f"{os.fspath(root)!r} is not a directory")],
                source="the work directory",
            )

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    # ------------------------------------------------------------------ where a path leads

    def locate(self, path: str | os.PathLike[str]) -> Path:
        """The absolute path that `path` leads to, links followed, inside or not. It need not exist.

        Raises:
            BadArguments: it can be no path (empty, a NUL character, a `~` to expand, half a surrogate pair).
        """
        text = os.fspath(path)
        if not text.strip():
            raise BadArguments("the path is empty; use '.' for the work directory")
        if "\0" in text:
            raise BadArguments(f"{text!r} is no path: it has a NUL character")
        if text == "~" or text.startswith("~/"):
            raise BadArguments(f"{text!r}: '~' is not expanded; write the path relative to the work directory")
        try:
            return Path(os.path.realpath(self.root / text))
        except (OSError, ValueError) as error:
            raise BadArguments(f"{_short(text)} is no path: {error}") from error

    def permits(self, real: Path) -> bool:
        """Whether a located path lies inside, or below a path that was granted."""
        return any(real.is_relative_to(top) for top in (self.root, *self._granted))

    def grant(self, real: Path) -> None:
        """Let this path, and what lies below it, be used though it is outside: leave was given."""
        self._granted.add(real)

    def resolve(self, path: str | os.PathLike[str]) -> Path:
        """The absolute path, inside the work directory.

        Raises:
            PermissionRefused: it leads outside.
            BadArguments: it can be no path.
        """
        real = self.locate(path)
        if not self.permits(real):
            raise PermissionRefused(
                f"{_short(os.fspath(path))} leads to {real}, outside the work directory {self.root}. "
                "To allow it set `permissions.outside: allow` in the configuration."
            )
        return real

    def name(self, real: Path) -> str:
        """A located path as results show it: relative to the work directory with `/`, or absolute if outside."""
        inside = real.is_relative_to(self.root)
        return _printable(real.relative_to(self.root).as_posix() if inside else real.as_posix())

    # ------------------------------------------------------------------ reading

    @contextlib.contextmanager
    def open_directory(self, real: Path) -> Iterator[int]:
        """A file descriptor of a resolved directory, opened without following links. Raises `OSError`."""
        top = self.root if real.is_relative_to(self.root) else Path(real.anchor)
        fd = os.open(top, _DIRECTORY)
        try:
            for part in real.relative_to(top).parts:
                inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    def open_file(self, real: Path) -> int:
        """A file descriptor of a resolved regular file, for reading, links not followed. Raises `OSError`."""
        if real == self.root or not real.name:
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        with self.open_directory(real.parent) as parent:
            return open_regular(parent, real.name)

    def read_bytes(self, path: str | os.PathLike[str], *, limit: int = MAX_READ) -> bytes:
        """The whole file.

        Raises:
            ToolError: no such file, a directory, no permission, or more than `limit` bytes.
            PermissionRefused: it lies outside.
        """
        return self.read_dated(path, limit=limit)[0]

    def read_dated(self, path: str | os.PathLike[str], *, limit: int = MAX_READ) -> tuple[bytes, int]:
        """The whole file, and when it was last changed (nanoseconds, the file system's clock)."""
        real = self.resolve(path)
        try:
            with os.fdopen(self.open_file(real), "rb") as file:
                status = os.fstat(file.fileno())
                data = file.read(limit + 1)
        except OSError as error:
            raise self.failed("read", real, error) from error
        if len(data) > limit:
            size = max(status.st_size, len(data))
            raise ToolError(
                f"{self.name(real)} has {size:,} bytes, more than the {limit:,} that are read at once; "
                "search it with search_files",
                effect=False,
                retry_possible=False,
            )
        return data, status.st_ctime_ns

    def changed_ns(self, path: str | os.PathLike[str]) -> int | None:
        """When the file was last changed (nanoseconds, the file system's clock); None if it is not there."""
        try:
            return os.lstat(self.resolve(path)).st_ctime_ns
        except OSError:
            return None

    # ------------------------------------------------------------------ writing

    def holds(self, path: str | os.PathLike[str], data: bytes) -> bool | None:
        """Whether the file has exactly this content; None if there is nothing at that path.

        Raises:
            ToolError: what is there is no file, or may not be read.
        """
        real = self.resolve(path)
        try:
            with os.fdopen(self.open_file(real), "rb") as file:
                if os.fstat(file.fileno()).st_size != len(data):
                    return False
                return file.read(len(data) + 1) == data
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.failed("write", real, error) from error

    def write(self, path: str | os.PathLike[str], data: bytes, *, replace: bool) -> Written:
        """Write the whole file at once: afterwards it is there with all of `data`, or nothing has changed.

        Missing directories are made (and removed again when the write fails). Without `replace` a file that
        is there stays, also if it appeared this very moment.

        Raises:
            FileExistsError: without `replace`, when something is at that path.
            ToolError: disk full, no permission, a directory; nothing was written.
            PermissionRefused: it lies outside.
        """
        if os.fspath(path).endswith("/"):
            raise BadArguments(f"{_short(os.fspath(path))} names a directory; add the file's name")
        real = self.resolve(path)
        made: list[Path] = []
        try:
            self._make_parents(real.parent, made)
            with self.open_directory(real.parent) as parent:
                _write_in(parent, real.name, data, replace=replace)
        except OSError as error:
            for directory in reversed(made):
                with contextlib.suppress(OSError):  # somebody may have put something into it
                    directory.rmdir()
            if isinstance(error, FileExistsError) and not replace:
                raise
            raise self.failed("write", real, error, size=len(data)) from error
        return Written(self.name(real), len(data), hashlib.sha256(data).hexdigest())

    def _make_parents(self, directory: Path, made: list[Path]) -> None:
        missing = [d for d in (directory, *directory.parents) if not os.path.lexists(d)]
        for one in reversed(missing):
            with self.open_directory(one.parent) as parent:
                try:
                    os.mkdir(one.name, dir_fd=parent)
                except FileExistsError:
                    continue  # another step made it meanwhile
            made.append(one)

    # ------------------------------------------------------------------ evidence

    async def read(self, path: str) -> bytes | None:
        """The file's bytes now; None if there is no such file, or it lies outside, or is too large."""
        return await trio.to_thread.run_sync(self._evidence, path, abandon_on_cancel=True)

    def _evidence(self, path: str) -> bytes | None:
        try:
            return self.read_bytes(path, limit=MAX_EVIDENCE)
        except ToolError:
            return None

    # ------------------------------------------------------------------ what went wrong

    def failed(self, doing: str, real: Path, error: OSError, *, size: int | None = None) -> ToolError:
        """The error of the system as one for a person: what could not be done to which file, and why."""
        name = _short(self.name(real))
        said = _REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
        if isinstance(error, FileNotFoundError):
            said = f"there is no such file in {self.root}{_near(real)}"
        wanted = f" ({size:,} bytes)" if size is not None else ""
        after = "; nothing was written" if doing == "write" else ""
        return ToolError(
            f"cannot {doing} {name}{wanted}: {said}{after}",
            effect=False,
            retry_possible=error.errno in (errno.EIO, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOSPC),
        )


_REASONS = {
    errno.EISDIR: "it is a directory",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.EACCES: "permission denied",
    errno.EPERM: "the system does not permit it",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than allowed",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "a link leads to itself, or was put in the way",
    errno.EINVAL: "it is not a regular file",
    errno.ENXIO: "it is not a regular file",
    errno.EMFILE: "too many files are open",
}


def open_regular(parent: int, name: str) -> int:
    """A file descriptor of the regular file `name` in the directory `parent`, links not followed."""
    fd = os.open(name, _FILE, dir_fd=parent)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "it is not a regular file")


def _near(real: Path) -> str:
    """A hint at a file of nearly that name."""
    try:
        near = difflib.get_close_matches(real.name, [p.name for p in real.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f" (did you mean {_printable(near[0])!r}?)" if near else ""


def _write_in(parent: int, name: str, data: bytes, *, replace: bool) -> None:
    """Put a file into the directory `parent` by way of a temporary one beside it."""
    mode = _mode(parent, name) if replace else None
    temporary = f".{secrets.token_hex(8)}.tmp"
    fd = os.open(temporary, _NEW, 0o666, dir_fd=parent)
    try:
        with os.fdopen(fd, "wb", buffering=0) as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        if replace:
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        else:
            _link(parent, temporary, name)
    finally:
        with contextlib.suppress(FileNotFoundError):  # renamed: that is the file now
            os.unlink(temporary, dir_fd=parent)
    # The file is there now. That a power cut might still undo its name is no reason to call the write failed.
    with contextlib.suppress(OSError):
        os.fsync(parent)


def _link(parent: int, temporary: str, name: str) -> None:
    """Give the file its name, only if nothing has that name: a link is refused where a rename would replace."""
    try:
        os.link(temporary, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here (FAT and others): take the name with an empty file, then replace our own.
        os.close(os.open(name, _NEW, 0o666, dir_fd=parent))
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)


def _mode(parent: int, name: str) -> int | None:
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "it is a directory")
    return stat.S_IMODE(status.st_mode) if stat.S_ISREG(status.st_mode) else None


def _short(path: str) -> str:
    return path if len(path) <= 120 else f"{path[:60]}…{path[-50:]} ({len(path)} characters)"


def _printable(path: str) -> str:
    """A path whose bytes are no UTF-8, as text that can be written down."""
    return path.encode(errors="surrogateescape").decode(errors="replace")
