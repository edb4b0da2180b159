"""What the documents are asked, what they answer, and what they tell while files are indexed."""

from __future__ import annotations

import attrs

from trouper.runtime import Ask, DocumentsRefused, Event, Tell

from .protocols import DocumentCounts, SkippedFile

MOST_QUERY = 20_000
MOST_K = 1_000


@attrs.frozen(kw_only=True)
class IndexReport:
    """What indexing has done, and to how many files; `skipped` are those that could not be read."""

    indexed: int = 0
    unchanged: int = 0
    removed: int = 0
    passages: int = 0
    """Of the files that were indexed."""
    unembedded: int = 0
    """Of these, found by their words only."""
    skipped: tuple[SkippedFile, ...] = ()


@attrs.frozen(kw_only=True)
class Passage:
    """A piece of a file that was found. `score` is above 0 and at most 1; `stale`: the file was changed since."""

    file: str
    first_line: int
    last_line: int
    score: float
    text: str
    snippet: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    stale: bool = False

    def as_json(self) -> dict[str, object]:
        """The shape of a passage in `search --json` and in a tool's result."""
        return {**attrs.asdict(self), "headings": list(self.headings)}


@attrs.frozen
class IndexDocuments(Ask[IndexReport]):
    """Bring the index up to date with the files at and below these paths."""

    paths: tuple[str, ...]


@attrs.frozen
class SearchDocuments(Ask[tuple[Passage, ...]]):
    """The `k` passages that answer `query` best."""

    query: str
    k: int = 5


@attrs.frozen
class CountDocuments(Ask[DocumentCounts]):
    """How much is indexed."""


@attrs.frozen
class GrowIndex(Tell):
    """The index of vectors has outgrown its kind."""


@attrs.frozen(kw_only=True)
class IndexingBegun(Event):
    """So many files were found, and will be looked at."""

    files: int


@attrs.frozen(kw_only=True)
class DocumentIndexed(Event):
    """A file was looked at: it is the `number`th. `passages` is 0 for one that had not changed."""

    path: str
    number: int
    passages: int
    skipped: str = ""
    """Why it was not indexed."""


def check_search(message: SearchDocuments) -> tuple[str, int]:
    """The query and `k`, if they make sense.

    Raises:
        DocumentsRefused: they do not.
    """
    query, k = message.query, message.k
    if not isinstance(query, str) or not query.strip():
        raise DocumentsRefused("the query is empty; say what to look for")
    if len(query) > MOST_QUERY:
        raise DocumentsRefused(
            f"the query has {len(query):,} characters, more than the {MOST_QUERY:,} that are allowed"
        )
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MOST_K:
        raise DocumentsRefused(f"k must be a whole number from 1 to {MOST_K}, not {k!r}")
    return query, k
