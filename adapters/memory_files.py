"""The files that a memory is kept in, all of them named after its database."""

from __future__ import annotations

from pathlib import Path

import attrs


@attrs.frozen
class MemoryFiles:
    """The names; nothing is looked at. SQLite adds its own to each database: `-wal`, `-shm`, `-journal`."""

    database: Path

    @property
    def snapshot(self) -> Path:
        """The index of vectors, as it was written last."""
        return self.database.with_suffix(".faiss")

    @property
    def seal(self) -> Path:
        """What says that the snapshot is whole, and of which state it is."""
        return self.database.with_suffix(".faiss.json")

    @property
    def embeddings(self) -> Path:
        """The cache of vectors by the hash of their text."""
        return self.database.with_name(f"{self.database.stem}-embeddings.sqlite")

    @property
    def responses(self) -> Path:
        """The answers of models, where they are kept on the disk."""
        return self.database.with_name(f"{self.database.stem}-responses.sqlite")

    @property
    def rates(self) -> Path:
        """The directory of what was spent of rate limits."""
        return self.database.with_name(f"{self.database.stem}-rates")

    def every(self) -> tuple[Path, ...]:
        """All of them: none is a document."""
        return (self.database, self.snapshot, self.seal, self.embeddings, self.responses, self.rates)
