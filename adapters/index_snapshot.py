"""A file with a seal beside it: how an index is put on disk so that a damaged or stale one is never believed.

The data goes to a temporary file, is synced and renamed; then the seal (`NAME.json`: SHA-256, size, dimension,
count, stamp) the same way. A crash between the two renames leaves new data under an old seal: the checksum does
not fit, the snapshot is not used and the index is rebuilt. A temporary file has a name of its own, so that two
processes never write into one file, and a renamed file is never written again, so that what was verified through
an open file is what is read through it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import attrs

from trouper.runtime import MemoryFailed

_log = logging.getLogger("trouper.memory")
_SEAL_BYTES = 64 * 1024


@attrs.frozen(kw_only=True)
class Seal:
    """What the data must be."""

    format: str
    sha256: str
    size: int
    dim: int
    count: int
    stamp: str

    def text(self) -> str:
        """As it is written: the facts, and a checksum of theirs, so that a flipped digit is noticed too."""
        facts = attrs.asdict(self)
        return json.dumps({**facts, "seal": _digest(facts)})


def _digest(facts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write_snapshot(path: str, write: Callable[[str], None], *, kind: str, dim: int, count: int, stamp: str) -> None:
    """Let `write` fill a temporary file, then put it at `path` with its seal.

    Raises:
        MemoryFailed: the disk did not take it; what was there before is still there or is not believed.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(target) as temporary:
            write(str(temporary))
            size, digest = _sync(temporary)
            temporary.replace(target)
        seal = Seal(format=kind, sha256=digest, size=size, dim=dim, count=count, stamp=stamp)
        with _temporary(_seal_path(target)) as temporary:
            temporary.write_text(seal.text(), encoding="utf-8")
            _sync(temporary)
            temporary.replace(_seal_path(target))
        _sync_folder(target.parent)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: faiss could not write
        raise MemoryFailed(
            f"the index snapshot {path!r} could not be written: {error}. No memory is lost, the index will be "
            "rebuilt from the store at the next start; free some space or check the permissions of the folder."
        ) from error


def stamp_of(path: str) -> str | None:
    """With which stamp the snapshot at `path` says it was saved; None if there is none that can be read."""
    try:
        return _read_seal(_seal_path(Path(path))).stamp
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def remove_snapshot(path: str) -> None:
    """Erase the snapshot at `path`, if there is one. Raises `MemoryFailed`."""
    target = Path(path)
    try:
        _seal_path(target).unlink(missing_ok=True)
        target.unlink(missing_ok=True)
    except OSError as error:
        raise MemoryFailed(f"the index snapshot {path!r} could not be erased: {error}. Erase it by hand.") from error


@attrs.frozen
class Verified:
    """The open file, at its beginning, and what it must be. Whoever gets it closes the file."""

    file: BufferedReader
    seal: Seal


def open_verified(path: str, *, kinds: Sequence[str], dim: int, stamp: str) -> Verified | None:
    """The snapshot at `path` if everything fits, else `None`; says in the log what did not fit."""
    target = Path(path)
    try:
        seal = _read_seal(_seal_path(target))
        file = target.open("rb")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        _log.info("[MEMORY] index snapshot %s is not used: %s; rebuilding", path, error)
        return None
    try:
        why = _misfit(seal, file, kinds=kinds, dim=dim, stamp=stamp)
        file.seek(0)
    except OSError as error:
        why = str(error)
    if why is None:
        return Verified(file, seal)
    file.close()
    _log.info("[MEMORY] index snapshot %s is not used: %s; rebuilding", path, why)
    return None


def _misfit(seal: Seal, file: BufferedReader, *, kinds: Sequence[str], dim: int, stamp: str) -> str | None:
    if seal.format not in kinds or seal.dim != dim:
        return f"it is {seal.format} of dimension {seal.dim}, not {' or '.join(kinds)} of {dim}"
    if seal.stamp != stamp:
        return f"it is of {seal.stamp!r}, the memory of {stamp!r}"
    size = os.fstat(file.fileno()).st_size
    if size != seal.size:
        return f"it has {size} bytes instead of {seal.size}"
    return None if hashlib.file_digest(file, "sha256").hexdigest() == seal.sha256 else "its checksum does not fit"


def _seal_path(target: Path) -> Path:
    return target.with_name(target.name + ".json")


def _read_seal(path: Path) -> Seal:
    with path.open("rb") as file:
        facts = json.loads(file.read(_SEAL_BYTES))
    if not isinstance(facts, dict) or facts.pop("seal", None) != _digest(facts):
        raise ValueError(f"{path.name} is damaged")
    return Seal(**facts)


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A fresh file beside `target`; gone afterwards, unless it was renamed."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _sync(path: Path) -> tuple[int, str]:
    """Bring the file to the disk; its size and SHA-256 as it can be read back."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """A rename is durable once the folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
