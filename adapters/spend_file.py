"""What the last minute has used of rate limits, as files: so that a program that is started again knows it.

A line for all that went together, written before it goes: some microseconds, here and now. What is in the file
survives the death of the program, not that of the machine, for nothing waits for the disk. What was reserved is what
is written; that an answer was shorter is not, so the first minute after a restart is a careful one.

Each program that runs has a file of its own in the directory, held by a lock that its death gives back; reading takes
in all of them. So programs side by side know what the others had spent when they began.

Ages are reckoned by the wall clock, which can be set. One that went back makes what was written look as if it came
from the future: it counts as spent just now, which costs a minute at most.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from trouper.actors.protocols import Spent

from .file_lock import lock_file

log: logging.Logger = logging.getLogger("trouper.limiter")

KEPT = 61.0
"""Seconds that a spend is of interest: a minute, and what the network may be late."""

TOGETHER = 0.1
"""Spends of one scope within this time make one line when the file is written anew."""

ROOM = 128 * 1024
"""Bytes after which it is written anew, unless the last minute alone needs half of that."""

PROGRAMS = 16
"""So many may have a file in one directory."""

_PRIVATE = 0o600


def spend_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where they are kept, by XDG's rule."""
    home = (os.environ if environ is None else environ).get("XDG_STATE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path("~/.local/state").expanduser()
    return base / "trouper" / "rates"


class FileSpendLog:
    """Port `SpendLog` over a directory, which is made when something is written into it.

    Scopes are written as they are: they must not hold a key. It never raises: a directory that cannot be used is said
    once in the log, and then a restart forgets.
    """

    def __init__(self, directory: str | Path, *, wall: Callable[[], float] = time.time) -> None:
        self.directory: Path = Path(directory).expanduser()
        self._wall = wall
        self._descriptor: int | None = None
        self._path: Path = self.directory / "spent-0.jsonl"
        self._recent: deque[list[object]] = deque()
        self._size = 0
        self._room = ROOM
        self._broken = False

    def load(self) -> Sequence[Spent]:
        """What was spent within the last minute, by whatever program."""
        now = self._wall()
        found: list[Spent] = []
        for path in self._files():
            for at, scope, requests, tokens in _lines(path):
                if now - at <= KEPT:
                    found.append(Spent(scope=scope, requests=requests, tokens=tokens, age=max(0.0, now - at)))
        return tuple(sorted(found, key=lambda spent: -spent.age))

    def note(self, spent: Sequence[Spent]) -> None:
        """This goes now. It is written when this returns, or said in the log that it cannot be."""
        if self._broken:
            return
        now = self._wall()
        lines = bytearray()
        for one in spent:
            if one.requests or one.tokens:
                entry: list[object] = [round(now - one.age, 3), one.scope, one.requests, one.tokens]
                self._recent.append(entry)
                lines += _line(entry)
        try:
            if self._descriptor is None:
                self._open()
            if self._size + len(lines) > self._room:
                self._write_anew(now)
            elif lines and self._descriptor is not None:
                os.write(self._descriptor, lines)
                self._size += len(lines)
        except OSError as error:
            self._broken = True
            log.warning(
                "[LIMITER] what was spent cannot be written into %s (%s): a restart within the next minute forgets it",
                self.directory,
                error.strerror,
            )

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        self._broken = True

    # ------------------------------------------------------------ the files
    def _files(self) -> Iterator[Path]:
        for number in range(PROGRAMS):
            yield self.directory / f"spent-{number}.jsonl"

    def _open(self) -> None:
        """Take the first file that nobody holds; what is in it stays for others to read."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self._files():
            descriptor = _opened(path, os.O_APPEND)
            if lock_file(descriptor):
                self._descriptor, self._path = descriptor, path
                self._size = os.fstat(descriptor).st_size
                if self._size:
                    os.write(descriptor, b"\n")  # the last line may be torn
                now = self._wall()
                inherited = [list(entry) for entry in _lines(path) if 0 <= now - entry[0] <= KEPT]
                self._recent.extendleft(reversed(inherited))
                return
            os.close(descriptor)
        raise OSError(0, f"{PROGRAMS} programs have a file there already")

    def _write_anew(self, now: float) -> None:
        """Only the last minute, in a new file that takes the place of the old one at once."""
        merged: deque[list[object]] = deque()
        last: dict[object, list[object]] = {}
        for at, scope, requests, tokens in _entries(self._recent):
            if now - at > KEPT:
                continue
            known = last.get(scope)
            if known is not None and isinstance(known[0], float) and 0 <= at - known[0] < TOGETHER:
                # The later time: what went together leaves together, when the youngest of it does.
                known[2], known[3] = _whole(known[2]) + requests, _whole(known[3]) + tokens
            else:
                entry: list[object] = [at, scope, requests, tokens]
                last[scope] = entry
                merged.append(entry)
        self._recent = merged
        data = b"".join(_line(entry) for entry in merged)
        temporary = self._path.with_suffix(".new")
        descriptor = _opened(temporary, os.O_TRUNC | os.O_APPEND)
        try:
            lock_file(descriptor)
            os.write(descriptor, data)
            temporary.replace(self._path)
        except OSError:
            os.close(descriptor)
            raise
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._size = descriptor, len(data)
        self._room = max(ROOM, 2 * len(data))


def _opened(path: Path, flags: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, _PRIVATE)


def _line(entry: Sequence[object]) -> bytes:
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _lines(path: Path) -> Iterator[tuple[float, str, int, int]]:
    """What can be read of a file; a torn last line, or damage, is left out."""
    try:
        data = path.read_bytes()
    except OSError:
        return
    yield from _entries(_parsed(line) for line in data.splitlines())


def _parsed(line: bytes) -> Sequence[object]:
    try:
        entry = json.loads(line)
    except ValueError:
        return ()
    return entry if isinstance(entry, list) else ()


def _entries(rows: Iterator[Sequence[object]] | deque[list[object]]) -> Iterator[tuple[float, str, int, int]]:
    for row in rows:
        match row:
            case [int() | float() as at, str() as scope, int() as requests, int() as tokens]:
                yield float(at), scope, requests, tokens


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
