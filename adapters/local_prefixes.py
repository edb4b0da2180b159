"""Prompt prefixes that a local model has computed, kept as files: the first plan after a restart waits 0.4 s, not 8.

A file belongs to one model, one version of the engine, one size of context and one text, all of which are in its name;
of the goals that were asked nothing is in it. The engine reads such a file unchecked, and a damaged one may end its
process, while it is read or in the answer after it. So it is renamed before it is read, and renamed back when there was
an answer: what ended a process is never read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import attrs

MOST = 8
"""Files that are kept; each holds some megabytes."""

_READING = ".reading"
_WRITING = ".writing"
_KEPT = ".prefix"


def prefix_key(text: str, *, model: str, engine: str, context: int) -> str:
    """The name of what this model has computed of `text`: `model` is the digest of its file."""
    said = "\0".join((model, engine, str(context), text))
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


@attrs.frozen
class KeptPrefixes:
    """The files in `folder`, which only their owner may read. No method raises: a cache that fails is a miss."""

    folder: Path

    def prepare(self) -> bool:
        """Make the folder and clear away what is left over; False if it cannot be used."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            left = [*self.folder.glob(f"*{_READING}"), *self.folder.glob(f"*{_WRITING}")]
            kept = sorted(self.folder.glob(f"*{_KEPT}"), key=lambda file: file.stat().st_mtime, reverse=True)
            for file in (*left, *kept[MOST:]):
                file.unlink(missing_ok=True)
        except OSError:
            return False
        return os.access(self.folder, os.W_OK)

    def has(self, key: str) -> bool:
        """Whether it is there."""
        return (self.folder / f"{key}{_KEPT}").exists()

    def claim(self, key: str) -> str | None:
        """The name of the file to read, taken out of use until `release`; None if it is not there."""
        name = f"{key}{_READING}"
        try:
            (self.folder / f"{key}{_KEPT}").rename(self.folder / name)
        except OSError:
            return None
        return name

    def release(self, key: str, *, good: bool) -> None:
        """It has been read and answered with, or could not be read: back into use, or away with it."""
        self._finish(self.folder / f"{key}{_READING}", key, good=good)

    def draft(self, key: str) -> str:
        """The name of the file to write; nothing until `publish`."""
        return f"{key}{_WRITING}"

    def publish(self, key: str, *, good: bool) -> None:
        """It has been written in whole, or not."""
        self._finish(self.folder / f"{key}{_WRITING}", key, good=good)

    def _finish(self, file: Path, key: str, *, good: bool) -> None:
        with contextlib.suppress(OSError):
            if good:
                file.chmod(0o600)
                file.replace(self.folder / f"{key}{_KEPT}")
            else:
                file.unlink(missing_ok=True)
