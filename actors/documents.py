"""Documents: files cut into passages, found again by what they say and what they mean.

The store is the truth about what is indexed and the vectors' index a cache of it, as with the memory. Indexing goes in
groups of files: read and cut, embedded together, written in one transaction. What was interrupted goes on where it
stopped, because a file that is written down with the digest of its bytes is not read again.

A passage is found by its words and by its meaning; the two lists are put together by rank. What a file says is data:
a passage is quoted with its place, and nothing in it is an instruction to anybody.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from trouper.runtime import (
    Actor,
    ActorCrashed,
    ActorError,
    DocumentsFailed,
    DocumentsRefused,
    Event,
    LLMError,
    handler,
)

from .batcher import EmbedEach
from .chunking import Chunk, Chunking, chunks_of
from .document_messages import (
    CountDocuments,
    DocumentIndexed,
    GrowIndex,
    IndexDocuments,
    IndexingBegun,
    IndexReport,
    Passage,
    SearchDocuments,
    check_search,
)
from .document_space import PassageSpace
from .memory import NO_VECTORS
from .passages import snippet_of
from .protocols import (
    DocumentCounts,
    DocumentSource,
    DocumentStore,
    Found,
    KnownDocument,
    NewDocument,
    PassageRow,
    Priority,
    ReadDocument,
    SkippedFile,
    Vector,
    VectorIndex,
)
from .ranking import fused

log: logging.Logger = logging.getLogger("trouper.documents")

__all__ = [
    "CountDocuments",
    "DocumentIndexed",
    "Documents",
    "IndexDocuments",
    "IndexReport",
    "IndexingBegun",
    "Passage",
    "SearchDocuments",
]

BREADTH = 4
"""How many times `k` passages each of the two searches gives, before they are put together."""
GROUP = 4
"""How many batches of embeddings are asked for, and then written, at once."""

CUT_HERE = 20_000
"""Characters of a text that is cut in the event loop: two or three milliseconds."""

_TRIES = 3
_AT_ONCE = 2_000
"""Passages that are put together, or let go, before others come round: a millisecond or two."""


class Documents(Actor):
    """Answers `IndexDocuments`, `SearchDocuments`, `CountDocuments`; asks its peer `batcher` for vectors.

    One file tree is indexed at a time; searching goes on meanwhile and finds what was written down so far. The store
    is not closed here: it belongs to whoever made it.
    """

    def __init__(
        self,
        store: DocumentStore,
        source: DocumentSource,
        index: Callable[[int], VectorIndex],
        *,
        embedder: str,
        as_query: Callable[[str], str] | None = None,
        chunking: Chunking | None = None,
        batch_size: int = 100,
    ) -> None:
        """Give the ports and their settings.

        Args:
            store: The truth.
            source: Where files are found and read.
            index: Makes an empty index for vectors of so many numbers.
            embedder: The name of the vector space that the batcher's embedder makes; `NO_VECTORS`: there is none,
                and passages are found by their words.
            as_query: How the embedder wants a question to be put, if not as it is.
            chunking: How files are cut.
            batch_size: How many passages are embedded in one call.
        """
        self._store = store
        self._source = source
        self._embedder = embedder
        self._as_query = as_query
        self._chunking = chunking if chunking is not None else Chunking()
        self._group = batch_size * GROUP
        self._space: PassageSpace = PassageSpace(store, index, embedder)
        self._growing = False

    async def on_start(self) -> None:
        """Find the batcher."""
        self._batcher = self.ctx.peer("batcher")

    # ------------------------------------------------------------ indexing
    @handler(concurrent=1, raises=(DocumentsFailed, LLMError))
    async def index(self, message: IndexDocuments) -> IndexReport:
        """Index what is new or changed, and forget what is gone.

        Cancelled: what was written stays, and is not read again by the next attempt.

        Raises:
            DocumentsRefused: a path is not there and nothing of it was indexed (else that is forgotten), or it cannot
                be looked at, or has too many files below it; nothing was done.
            LLMError: embeddings could not be had; what was written before stays.
            DocumentsFailed: the store failed; what was written before stays.
        """
        found = await self._source.find(message.paths)
        known = await self._store.known()
        check_missing(found, known)
        gone = _gone(known, found.roots, {file.path for file in found.files})
        self._tell(IndexingBegun(at=trio.current_time(), actor=self.ctx.name, files=len(found.files)))
        report = IndexReport(skipped=found.skipped, removed=await self._store.remove(gone))
        waiting: list[tuple[int, ReadDocument, list[Chunk]]] = []
        for number, file in enumerate(found.files, 1):
            read = await self._source.read(file.path, unless=self._still_good(known.get(file.path)))
            if isinstance(read, ReadDocument):
                waiting.append((number, read, await self._cut(read)))
                if sum(len(chunks) for _, _, chunks in waiting) >= self._group:
                    report = _added(report, await self._write(waiting))
                continue
            report = await self._passed_over(report, file.path, read, known)
            self._tell_file(file.path, number, 0, read.reason if read is not None else "")
        if waiting:
            report = _added(report, await self._write(waiting))
        log.info("[DOCUMENTS] %d indexed, %d unchanged", report.indexed, report.unchanged)
        return report

    async def _passed_over(
        self, report: IndexReport, path: str, read: SkippedFile | None, known: Mapping[str, KnownDocument]
    ) -> IndexReport:
        """A file that is as it was, or that has no text any more."""
        if read is None:
            return attrs.evolve(report, unchanged=report.unchanged + 1)
        removed = await self._store.remove([path]) if path in known else 0
        return attrs.evolve(report, skipped=(*report.skipped, read), removed=report.removed + removed)

    async def _cut(self, read: ReadDocument) -> list[Chunk]:
        """The passages of a file; cutting a large one would hold up everybody, so a thread does it."""
        cut = functools.partial(_passages, read, self._chunking)
        return cut() if len(read.text) <= CUT_HERE else await trio.to_thread.run_sync(cut, abandon_on_cancel=True)

    async def _write(self, waiting: list[tuple[int, ReadDocument, list[Chunk]]]) -> IndexReport:
        """Embed the passages of some files and put all of it into the store; `waiting` is empty then.

        A large file has ten thousands of passages. Others come round while they are put together, and while they are
        let go: either took 12 ms in one go.
        """
        chunks = [chunk for _, _, chunks in waiting for chunk in chunks]
        vectors: list[Vector | None] = []
        for start in range(0, len(chunks), self._group):
            texts = [_embedded_text(chunk) for chunk in chunks[start : start + self._group]]
            vectors += await self._vectors(texts, "background")
        report = IndexReport(indexed=len(waiting), passages=len(vectors), unembedded=vectors.count(None))
        told = [(read.path, number, len(chunks)) for number, read, chunks in waiting]
        documents: list[NewDocument] = []
        every: list[list[tuple[Chunk, Vector | None]]] = []
        left = iter(vectors)
        for _, read, own in waiting:
            pieces: list[tuple[Chunk, Vector | None]] = []
            for start in range(0, len(own), _AT_ONCE):
                pieces += zip(own[start : start + _AT_ONCE], left)  # noqa: B905 - `left` has those of all files
                await trio.lowlevel.checkpoint()
            every.append(pieces)
            documents.append(NewDocument(document=read, recipe=self._recipe(), embedder=self._embedder, pieces=pieces))
        await self._store.replace(documents)
        for path, number, passages in told:
            self._tell_file(path, number, passages)
        waiting.clear()
        del chunks, vectors, left, own  # nobody but `every` has the passages now
        for pieces in every:
            while pieces:
                del pieces[-_AT_ONCE:]
                await trio.lowlevel.checkpoint()
        return report

    async def _vectors(self, texts: Sequence[str], priority: Priority) -> list[Vector | None]:
        """A vector for each text, None for one that has none: it is found by its words."""
        if self._embedder == NO_VECTORS:
            return [None] * len(texts)
        each = await self._ask(tuple(texts), priority)
        return [None if isinstance(one, LLMError) else one for one in each]

    def _still_good(self, known: KnownDocument | None) -> bytes | None:
        """The digest at which a file need not be read again: it was cut and embedded as it would be now."""
        if known is None or known.recipe != self._recipe() or known.embedder != self._embedder:
            return None
        return known.digest

    def _recipe(self) -> str:
        return f"{self._source.recipe} {self._chunking.max_chars}/{self._chunking.overlap_chars}"

    # ------------------------------------------------------------ searching
    @handler(concurrent=16, raises=(DocumentsFailed,))
    async def search(self, message: SearchDocuments) -> tuple[Passage, ...]:
        """Find passages. Cancelled: nothing was changed. Without vectors it finds them by their words alone.

        Raises:
            DocumentsRefused: the query is empty or far too long, or `k` makes no sense.
            DocumentsFailed: the store could not be read.
        """
        query, k = check_search(message)
        breadth = k * BREADTH
        by_words = await self._store.matching(query, breadth)
        by_meaning = await self._nearest(query, breadth)
        ranked = fused([number for number, _ in by_words], [number for number, _ in by_meaning])[:k]
        scores = dict(ranked)
        rows = await self._store.passages([number for number, _ in ranked])
        now = await self._source.changed([row.path for row in rows])
        return tuple(
            _passage(row, scores[row.id], query, stale=state != (row.size, row.changed))
            for row, state in zip(rows, now, strict=True)
        )

    async def _nearest(self, query: str, k: int) -> tuple[tuple[int, float], ...]:
        """The passages that mean most nearly the same; none if the query cannot be embedded, which is logged."""
        try:
            asked = query if self._as_query is None else self._as_query(query)
            (vector,) = await self._vectors([asked], "interactive")
        except (LLMError, DocumentsFailed) as error:
            log.warning("[DOCUMENTS] searching by words only: %s", error)
            return ()
        if vector is None:
            return ()
        found = await self._space.search(vector, k)
        if not self._growing and self._space.outgrown():
            self._growing = True
            self.ctx.send_after(0.0, GrowIndex())
        return found

    @handler(concurrent=1)
    async def grow(self, _: GrowIndex) -> None:
        """Put an index of the kind that suits so many passages in the place of one that does not."""
        try:
            await self._space.grow()
        finally:
            self._growing = False

    @handler(concurrent=16, raises=(DocumentsFailed,))
    async def count(self, _: CountDocuments) -> DocumentCounts:
        """How much is indexed.

        Raises:
            DocumentsFailed: the store could not be read.
        """
        return await self._store.counts()

    # ------------------------------------------------------------ beside it
    async def _ask(self, texts: tuple[str, ...], priority: Priority) -> tuple[Vector | LLMError, ...]:
        """Ask the batcher; embedding has no effects, so a crash there is survived by asking again."""
        for last in (False,) * (_TRIES - 1) + (True,):
            try:
                return await self._batcher.ask(EmbedEach(texts, priority=priority))
            except ActorCrashed as error:
                if last:
                    raise _no_vectors(len(texts), error) from error
                log.warning("[DOCUMENTS] the batcher crashed, asking it again: %s", error)
            except ActorError as error:
                raise _no_vectors(len(texts), error) from error
        raise AssertionError("unreachable: the last try returns or raises")

    def _tell_file(self, path: str, number: int, passages: int, skipped: str = "") -> None:
        if self.ctx.listening:
            now = trio.current_time()
            self.ctx.emit(
                DocumentIndexed(
                    at=now, actor=self.ctx.name, path=path, number=number, passages=passages, skipped=skipped
                )
            )

    def _tell(self, event: Event) -> None:
        if self.ctx.listening:
            self.ctx.emit(event)


def check_missing(found: Found, known: Mapping[str, KnownDocument]) -> None:
    """Let paths pass that are gone and of which something is known: it will be forgotten.

    Raises:
        DocumentsRefused: one is not there and never was, as far as we know.
    """
    for real, given in found.missing.items():
        below = real.rstrip("/") + "/"
        if not any(path == real or path.startswith(below) for path in known):
            raise DocumentsRefused(
                f"{given!r} cannot be indexed: there is no such file or directory; nothing was indexed"
            )


def _gone(known: Mapping[str, KnownDocument], roots: Sequence[str], found: set[str]) -> list[str]:
    """Files that were indexed and are below the roots no more."""
    below = tuple(root.rstrip("/") + "/" for root in roots)
    return [path for path in known if path not in found and (path in roots or path.startswith(below))]


def _added(report: IndexReport, more: IndexReport) -> IndexReport:
    return attrs.evolve(
        report,
        indexed=report.indexed + more.indexed,
        passages=report.passages + more.passages,
        unembedded=report.unembedded + more.unembedded,
    )


def _embedded_text(chunk: Chunk) -> str:
    """What is embedded: a passage under its headings, which often say what it is about and it does not."""
    return f"{' > '.join(chunk.headings)}\n{chunk.text}" if chunk.headings else chunk.text


def _passages(read: ReadDocument, chunking: Chunking) -> list[Chunk]:
    """The passages of a file, with the lines of the file."""
    chunks = chunks_of(read.text, read.shape, chunking, pages=read.pages)
    return [_in_file(chunk, read.lines) for chunk in chunks] if read.lines else chunks


def _in_file(chunk: Chunk, lines: Sequence[int]) -> Chunk:
    """The same piece with the lines of the file instead of those of the text made of it."""
    last = len(lines) - 1
    first, end = lines[min(chunk.first_line - 1, last)], lines[min(chunk.last_line - 1, last)]
    return attrs.evolve(chunk, first_line=first, last_line=max(first, end))


def _passage(row: PassageRow, score: float, query: str, *, stale: bool) -> Passage:
    return Passage(
        file=row.path,
        first_line=row.first_line,
        last_line=row.last_line,
        score=score,
        text=row.text,
        snippet=snippet_of(row.text, query),
        headings=row.headings,
        page=row.page,
        stale=stale,
    )


def _no_vectors(count: int, error: ActorError) -> DocumentsFailed:
    return DocumentsFailed(
        f"{count} passages could not be embedded: {error}. What was written before stays; try again."
    )
