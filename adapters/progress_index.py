"""How far indexing has come, as a bar for a terminal."""

from __future__ import annotations

from trouper.actors.documents import DocumentIndexed, IndexingBegun
from trouper.runtime import Event, Seconds

from .cli_output import plain

WIDTH = 30
"""Characters of the bar."""


class IndexView:
    """Port `View`: files done of files found, and the one that was done last."""

    def __init__(self) -> None:
        self._files: int | None = None
        self._done = 0
        self._passages = 0
        self._last = ""

    def take(self, event: Event) -> None:
        """Note what has happened."""
        if isinstance(event, IndexingBegun):
            self._files = event.files
        elif isinstance(event, DocumentIndexed):
            self._done = max(self._done, event.number)
            self._passages += event.passages
            self._last = event.path

    def lines(self, now: Seconds, *, width: int, height: int) -> list[str]:  # noqa: ARG002 - the port's shape
        """One line; none before it is known how many files there are."""
        if self._files is None:
            return []
        full = WIDTH * self._done // max(1, self._files)
        line = f"[{'#' * full}{'.' * (WIDTH - full)}] {self._done}/{self._files} files, {self._passages} passages"
        room = width - len(line) - 3
        name = plain(self._last)
        if room >= 12 and name:
            line += "  " + (name if len(name) <= room else "…" + name[-(room - 1) :])
        return [line[: max(1, width - 1)]]
