"""The journal as files: one a run, a JSON object a line, readable with `less` and gone with `rm`.

A record is in the file when `append` returns: one call of a few microseconds for each, here and now and not in a
thread, because to append some hundred bytes to a local file takes less than the way to a thread and back. Whatever was
kept back to be written together would be lost when the program is killed. What is written survives the death of the
program, not that of the machine: nothing waits for the disk.

Whoever writes a run holds a lock on its file until the run has ended, so that no second program goes on with it. The
death of the program gives the lock back, and may leave the last line torn: it is left out, and said.

Secrets are taken out before anything is written, and the files are nobody else's to read.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

import attrs

from trouper.actors.records import RunEnded
from trouper.actors.secrets import redact
from trouper.runtime import JournalError, Record

from .file_lock import lock_file
from .journal_codec import as_line, decode, encode, of_line

log: logging.Logger = logging.getLogger("trouper.journal")

FORMAT = 1
_SUFFIX = ".jsonl"
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-.*\.jsonl", re.DOTALL)
_LONGEST_NAME = 120
_PRIVATE = 0o600


@attrs.frozen(kw_only=True)
class Glance:
    """What is known of a run without reading all of it."""

    run_id: str
    created: float
    """Seconds since 1970."""
    first: Record | None
    last: Record | None
    held: bool
    """Whether a program has it in hand now."""


class FileJournal:
    """Port `Journal` over a directory, which is made when something is written into it. Keeps the last `keep` runs."""

    def __init__(
        self,
        directory: str | Path,
        keep: int = 200,
        *,
        secrets: Collection[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        """`secrets` are texts that must not be written, such as the key of the model."""
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ValueError(f"FileJournal(keep={keep!r}): give a whole number of runs, 1 or more")
        self.directory: Path = Path(directory).expanduser()
        self._keep = keep
        self._secrets = tuple(secrets)
        self._now = now
        self._last = 0.0
        self._open: dict[str, int] = {}
        self._broken: JournalError | None = None

    # ------------------------------------------------------------ writing
    def append(self, record: Record) -> bool:
        """Write a record. False if it is not in the file: `sync` says why, and nothing is written any more."""
        if self._broken is not None:
            return False  # what came after a gap would look like all there was
        try:
            line = as_line(without_secrets(encode(record), self._secrets))
            _write_all(self._descriptor(record.run_id), line, self.directory)
        except JournalError as error:
            self._broken = error
            log.warning("[JOURNAL] %s", error)
            return False
        if isinstance(record, RunEnded):
            self._let_go(record.run_id)
        return True

    async def sync(self) -> None:
        """Make sure that everything is written: it is, or has failed before. Takes no time.

        Raises:
            JournalError: something could not be written: what is in the files is not all that happened.
        """
        if self._broken is not None:
            raise self._broken

    async def aclose(self) -> None:
        """Let go of the files. Idempotent."""
        for run_id in list(self._open):
            self._let_go(run_id)

    def _descriptor(self, run_id: str) -> int:
        if run_id not in self._open:
            path = self._path(run_id)
            if path is None:
                self._open[run_id] = self._create(run_id)
                self._forget_old()
            else:
                self._open[run_id] = _reopen(path, run_id)
        return self._open[run_id]

    def _create(self, run_id: str) -> int:
        # Never twice the same time, nor back: the order of the names is the order of the runs.
        created = self._last = max(self._now(), self._last + 1e-6)
        moment = datetime.fromtimestamp(created, UTC)
        with _told(f"the journal of {run_id} cannot be made in {self.directory} (another place: `journal.path`)"):
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.directory / f"{moment:%Y%m%dT%H%M%S.%fZ}-{_as_name(run_id)}{_SUFFIX}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, _PRIVATE)
        lock_file(descriptor)
        header = {"journal": FORMAT, "run": run_id, "created": created}
        _write_all(descriptor, as_line(header), self.directory)
        return descriptor

    def _let_go(self, run_id: str) -> None:
        descriptor = self._open.pop(run_id, None)
        if descriptor is not None:
            os.close(descriptor)

    def _forget_old(self) -> None:
        names = self._names()
        ours = {f"{_as_name(run_id)}{_SUFFIX}" for run_id in self._open}
        for name in names[: max(0, len(names) - self._keep)]:
            if name.partition("-")[2] in ours:
                continue  # in hand: its next record would go nowhere
            with contextlib.suppress(OSError):  # another program may have been faster
                (self.directory / name).unlink()

    # ------------------------------------------------------------ reading
    async def read(self, run_id: str) -> Sequence[Record]:
        """The records of a run, oldest first; none if it is not known.

        Raises:
            JournalError: it cannot be read, or is damaged before its last line.
        """
        path = self._path(run_id)
        if path is None:
            return ()
        _, lines = _lines(path)
        return tuple(_records(path, lines))

    async def runs(self) -> Sequence[str]:
        """The ids of the runs that are kept, oldest first."""
        return tuple(_run_of(self.directory / name) for name in self._names())

    def glance(self, run_id: str) -> Glance | None:
        """When a run began, its first and its last record; None if it is not known.

        Raises:
            JournalError: it cannot be read.
        """
        path = self._path(run_id)
        if path is None:
            return None
        header, lines = _lines(path)
        ends = tuple(_records(path, lines[:1] + lines[1:][-1:]))
        created = header.get("created")
        return Glance(
            run_id=run_id,
            created=created if isinstance(created, int | float) else 0.0,
            first=ends[0] if ends else None,
            last=ends[-1] if ends else None,
            held=run_id in self._open or _is_held(path),
        )

    def _names(self) -> list[str]:
        """The files, oldest first: their names begin with the time."""
        try:
            return sorted(file.name for file in self.directory.iterdir() if _NAME.fullmatch(file.name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise JournalError(f"{self.directory} cannot be read: {error.strerror}") from error

    def _path(self, run_id: str) -> Path | None:
        end = f"-{_as_name(run_id)}{_SUFFIX}"
        return next((self.directory / name for name in self._names() if name.partition("-")[2] == end[1:]), None)


# ------------------------------------------------------------------ secrets
_OURS = frozenset(
    {"record", "at", "actor", "run_id", "step", "id", "action", "attempt", "attempts", "effect", "status"}
)
_TIMES = frozenset({"ready", "started", "ended", "waits", "pause", "elapsed", "inside", "item"})
_CLEAN = _OURS | _TIMES
"""Fields that we fill in ourselves: looking for secrets in them is most of the cost of a small record."""


def without_secrets(data: dict[str, object], known: Collection[str] = ()) -> dict[str, object]:
    """An encoded record with `[secret]` in the place of whatever is one."""
    return {name: value if name in _CLEAN else _hidden(name, value, known) for name, value in data.items()}


def _hidden(name: str, value: object, known: Collection[str]) -> object:
    return without_secrets(value, known) if name == "outcome" and isinstance(value, dict) else redact(value, known)


# ------------------------------------------------------------------ names
def journal_directory(path: str | None, environ: Mapping[str, str] | None = None) -> Path:
    """The directory of the runs, by XDG's rule when no `path` is given."""
    if path is not None:
        return Path(path).expanduser()
    home = (os.environ if environ is None else environ).get("XDG_STATE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path("~/.local/state").expanduser()
    return base / "trouper" / "runs"


def _as_name(run_id: str) -> str:
    """A run's id as a part of a file's name: as it is if it is plain and short."""
    name = quote(run_id, safe="", errors="surrogatepass").replace("~", "%7E")
    digest = hashlib.sha256(run_id.encode("utf-8", "surrogatepass")).hexdigest()
    return name if len(name) <= _LONGEST_NAME else f"~{digest}"


def _run_of(path: Path) -> str:
    name = path.name.partition("-")[2].removesuffix(_SUFFIX)
    if not name.startswith("~"):
        return unquote(name, errors="surrogatepass")
    header, _ = _lines(path)
    return str(header.get("run", name))


# ------------------------------------------------------------------ files
def _write_all(descriptor: int, data: bytes, where: Path) -> None:
    with _told(f"the journal in {where} cannot be written (another place: `journal.path`)"):
        while data:
            data = data[os.write(descriptor, data) :]


def _reopen(path: Path, run_id: str) -> int:
    """The file of a run that somebody began, to go on with it; a torn last line is cut off.

    Raises:
        JournalError: another program has it in hand.
    """
    with _told(f"{path} cannot be opened"):
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        if not lock_file(descriptor):
            raise JournalError(f"another program has the run {run_id} in hand; wait until it has ended")
        with _told(f"{path} cannot be written"):
            data = path.read_bytes()
            os.ftruncate(descriptor, data.rfind(b"\n") + 1)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not lock_file(descriptor)
    finally:
        os.close(descriptor)


def _lines(path: Path) -> tuple[dict[str, object], list[bytes]]:
    """The head of a file and its lines; a torn last one is left out and said."""
    with _told(f"{path} cannot be read"):
        *whole, torn = path.read_bytes().split(b"\n")
    if torn:
        log.warning("[JOURNAL] the last line of %s is torn and left out: its program was stopped", path)
    if not whole:
        return {}, []
    header = of_line(whole[0])
    if not isinstance(header, dict) or header.get("journal") != FORMAT:
        raise JournalError(f"{path} is no journal, or one of a newer version")
    return header, whole[1:]


def _records(path: Path, lines: Sequence[bytes]) -> Iterator[Record]:
    for number, line in enumerate(lines, 2):
        try:
            yield decode(of_line(line))
        except JournalError as error:
            raise JournalError(f"{path}, line {number}: {error}") from error


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JournalError(f"{what}: {error.strerror or error}") from error
