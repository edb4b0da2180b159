"""The memory: texts that are remembered, found again by what they mean, and outlive the process.

The store is the truth and everything else is derived from it: the index of the vectors, and the selections of who
may be found by whom. What `remember` has answered is on the disk, and what was derived can always be made again. It
is believed only while its generation is the store's. The generation grows by one with each change that anybody
commits: after a change of ours it must be the next one. A change by another process, or one of ours that reached the
store and nothing else, leaves a gap, and what is behind a gap is brought up to date before the next search.

Embedding is done before the store is touched, many at a time; what changes or reads the index holds the lane, one at
a time. So the index is never searched while it is changed, and no recall sees the half of a change.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import attrs

from trouper.runtime import (
    ExitKind,
    ExitReason,
    LLMError,
    MemoryFailed,
    MemoryRefused,
    OnCancel,
    handler,
)

from .memory_conversation import Conversations, Talking, shortened
from .memory_data import CONFIGURED, MemoryFilter, MemoryRow
from .memory_derived import Derived
from .memory_embedding import Prepare, embedded, prepared, question_vector
from .memory_finding import find
from .memory_messages import (
    ChangeKind,
    CountUses,
    DropOtherVectors,
    EmbedMore,
    EraseExpired,
    Forget,
    GetMemoryStatistics,
    MarkSuperseded,
    MemoryCount,
    MemoryDefaults,
    MemoryStatistics,
    PutMemories,
    ReadMemories,
    Recall,
    Recalled,
    Remember,
    Remembered,
    Supersede,
    check_ids,
    check_recall,
    check_texts,
    new_memories,
)
from .memory_personal import PersonalMemory
from .memory_uses import Uses
from .memory_writing import Writing, new_rows
from .protocols import Embedder, EmbeddingCache, MemoryStore, Vector, VectorIndex

__all__ = [
    "NO_VECTORS",
    "Forget",
    "Memory",
    "MemoryCount",
    "MemoryDefaults",
    "Recall",
    "Recalled",
    "Remember",
]

log: logging.Logger = logging.getLogger("trouper.memory")

NO_VECTORS = "none"
"""The name of an embedder that is none: memories are found by their words."""

_USES_AFTER = 1.0
"""Seconds that uses are collected before they are written down."""
_EXPIRED_EVERY = 3_600.0
_EXPIRED_AT_ONCE = 1_000
_EMBED_AGAIN_AFTER = 30.0
"""Seconds after an embedder could not be asked for memories that have no vector yet."""


class Memory(PersonalMemory):
    """Answers what `memory_messages` and `memory_conversation` have; asks its peer `batcher` for vectors.

    The store is opened on first use, so that a damaged file fails the asks that need it and not the troupe.
    It is not closed here: it belongs to whoever made it, and the next incarnation needs it again.
    """

    def __init__(
        self,
        store: MemoryStore,
        index: Callable[[int], VectorIndex],
        *,
        embedder: str,
        snapshot: str | None = None,
        defaults: MemoryDefaults | None = None,
        former: Callable[[str], Embedder | None] | None = None,
        talking: Talking | None = None,
        summarise: Callable[[str], str] = shortened,
        model_summaries: bool = False,
        as_query: Callable[[str], str] | None = None,
        prepare: Prepare | None = None,
        cache: EmbeddingCache | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Give the ports and their settings.

        Args:
            store: The truth.
            index: Makes an empty index for vectors of so many numbers.
            embedder: The name of the vector space that the batcher's embedder makes; `NO_VECTORS`: there is none.
            snapshot: Where the index is kept between runs; `None`: it is made again each time.
            defaults: See `MemoryDefaults`.
            former: The embedder of that name, if it can still be had: it serves while another one takes its place.
            talking: How conversations are summed up.
            summarise: Makes a summary in plain code.
            model_summaries: Whether the peer `llm` is asked for summaries, in the role `summariser`; where it fails,
                plain code does it.
            as_query: How the embedder wants a question to be put, if not as it is.
            prepare: Loads the embedder; done at the start if there are memories.
            cache: Where vectors of texts are kept: what is forgotten is forgotten there too.
            now: Seconds since 1970.
        """
        self._store = store
        self._embedder: str | None = embedder if embedder != NO_VECTORS else None
        self._defaults = defaults if defaults is not None else MemoryDefaults()
        self._now = now
        self._derived: Derived = Derived(
            store,
            index,
            embedder=embedder,
            embed=self._embed,
            embed_behind=self._embed_behind,
            former=former,
            snapshot=snapshot,
            threads_above=self._defaults.threads_above,
            now=now,
        )
        self._writing: Writing = Writing(
            store,
            self._derived,
            new_index=index,
            embed=self._embed,
            embedder=self._embedder,
            defaults=self._defaults,
            cache=cache,
        )
        talking = talking if talking is not None else Talking()
        self._conversations: Conversations = Conversations(
            store, self._writing, talking, self._summary, ttl=self._defaults.ttl, now=now
        )
        self._summarise = summarise
        self._model_summaries = model_summaries
        self._as_query = as_query
        self._prepare = prepare
        self._uses: Uses = Uses(store)
        self._counting = False
        self._embedding = False
        self._expiring = False
        self._growing = False
        self._recalls = 0
        self._anything = False  # once there was something it is not counted again: that looks at every row

    async def on_start(self) -> None:
        """Find those it asks, and let the embedder load."""
        self._batcher = self.ctx.peer("batcher")
        self._llm = self.ctx.peer("llm") if self._model_summaries else None
        await prepared(self._store, self._prepare)

    async def on_stop(self, reason: ExitReason) -> None:
        """Write down uses and index, unless this incarnation crashed."""
        if reason.kind is not ExitKind.CRASHED:
            await self._uses.write()
            await self._writing.save()

    # ------------------------------------------------------------ putting in
    @handler(concurrent=16, on_cancel=OnCancel.FINISH, raises=(MemoryFailed, LLMError))
    async def remember(self, message: Remember) -> Remembered:
        """Store texts, durably before the answer. Cancelled: it ends in its own time; all are stored or none.

        Raises:
            MemoryRefused: a text or what is said of it cannot be stored, or nearly the same is there; nothing was.
            LLMError: a text could not be embedded; nothing was stored.
            MemoryFailed: the store failed; the message says whether anything was stored.
        """
        rows = await new_rows(message, self._defaults, self._now())
        done = await self._writing.put(rows, message.near_duplicates or self._defaults.near_duplicates)
        self._follow_up(expiring=any(row.expires is not None for row in rows))
        return done

    @handler(concurrent=4, on_cancel=OnCancel.FINISH, raises=(MemoryFailed, LLMError))
    async def put(self, message: PutMemories) -> tuple[int, ...]:
        """Store memories as they were elsewhere. Cancelled: it ends in its own time; all are stored or none.

        Raises:
            MemoryRefused: one cannot be stored; nothing was.
            LLMError: one without a vector could not be embedded; nothing was stored.
            MemoryFailed: the store failed; the message says whether anything was stored.
        """
        check_texts([row.memory.content for row in message.rows])
        return await self._writing.restore(message.rows)

    @handler(concurrent=4, on_cancel=OnCancel.FINISH, raises=(MemoryFailed, LLMError))
    async def supersede(self, message: Supersede) -> int:
        """Let one text stand for others. Cancelled: it ends in its own time.

        Raises:
            MemoryRefused: one of the memories is not there, or what is to stand for them cannot; nothing was done.
            LLMError: the text could not be embedded; nothing was done.
            MemoryFailed: the store failed; the message says whether anything was done.
        """
        rows = new_memories(message.by, self._defaults, self._now())
        ids = check_ids(message.ids)
        if len(rows) != 1 or not ids:
            raise MemoryRefused("one text supersedes: give one, and the ids of the memories that it replaces")
        return await self._writing.supersede(ids, rows[0])

    @handler(concurrent=4, on_cancel=OnCancel.FINISH, raises=(MemoryFailed,))
    async def mark_superseded(self, message: MarkSuperseded) -> None:
        """Let memories stand for others. Cancelled: it ends in its own time.

        Raises:
            MemoryFailed: the store failed; the message says whether anything was done.
        """
        await self._writing.mark_superseded(message.pairs)

    # ------------------------------------------------------------ finding
    @handler(concurrent=16, raises=(MemoryFailed, LLMError))
    async def recall(self, message: Recall) -> tuple[Recalled, ...]:
        """Find memories. Cancelled: nothing was changed, except that vectors may have been renewed.

        Raises:
            MemoryRefused: the query is empty or far too long, or a number or a filter makes no sense.
            LLMError: the query could not be embedded, and words alone are not to be looked for.
            MemoryFailed: the store could not be read.
        """
        query = check_recall(message, self._defaults)
        self._recalls += 1
        self._anything = self._anything or await self._store.count() > 0
        if not self._anything:
            return ()
        vector: Vector | None = None
        if self._embedder is not None:
            asked = query.text if self._as_query is None else self._as_query(query.text)
            vector = await question_vector(self._embed, asked, self.ctx.deadline, needed=not query.hybrid)
        found = await find(self._store, self._derived, query, vector, self._now)
        self._follow_up()
        await self._used([memory.id for memory in found])
        return found

    @handler(concurrent=4, raises=(MemoryFailed,))
    async def read(self, message: ReadMemories) -> tuple[MemoryRow, ...]:
        """Read memories as they are stored.

        Raises:
            MemoryFailed: the store could not be read.
        """
        return await self._store.page(message.after, message.limit, self._resolved(message.matching))

    @handler(concurrent=16, raises=(MemoryFailed,))
    async def count(self, _: MemoryCount) -> int:
        """How many there are.

        Raises:
            MemoryFailed: the store could not be read.
        """
        return await self._store.count()

    @handler(concurrent=4, raises=(MemoryFailed,))
    async def statistics(self, _: GetMemoryStatistics) -> MemoryStatistics:
        """How things stand.

        Raises:
            MemoryFailed: the store could not be read.
        """
        space = self._derived.space
        return MemoryStatistics(
            store=await self._store.statistics(),
            embedder=self._embedder,
            index=space.index.kind if space is not None else None,
            vectors=len(space.index) if space is not None else 0,
            waiting=self._derived.waiting,
            recalls=self._recalls,
            saved=space.saved if space is not None else 0,
        )

    # ------------------------------------------------------------ taking out
    @handler(concurrent=4, on_cancel=OnCancel.FINISH, raises=(MemoryFailed,))
    async def forget(self, message: Forget) -> int:
        """Erase memories, durably and wholly before the answer. Cancelled: it ends in its own time.

        Raises:
            MemoryRefused: an id is not a number, or nothing says which memories.
            MemoryFailed: the store failed; the message says whether anything was erased.
        """
        if message.ids is None and message.matching is None:
            raise MemoryRefused("say what to forget: ids, or which memories; `MemoryFilter(namespace=None)` is all")
        ids = check_ids(message.ids) if message.ids is not None else None
        if message.matching is not None:
            meant = await self._store.select(attrs.evolve(self._resolved(message.matching), dead=True))
            ids = tuple(meant) if ids is None else tuple(number for number in ids if number in meant)
        return await self._writing.erase(ids or ())

    @handler(concurrent=1, on_cancel=OnCancel.FINISH, raises=(MemoryFailed,))
    async def drop_other_vectors(self, _: DropOtherVectors) -> int:
        """Let go of vectors that nobody needs. Cancelled: it ends in its own time.

        Raises:
            MemoryFailed: the store failed; some of them may be there still.
        """
        return await self._derived.drop_others()

    def _resolved(self, meant: MemoryFilter) -> MemoryFilter:
        return attrs.evolve(meant, namespace=self._defaults.namespace) if meant.namespace == CONFIGURED else meant

    # ------------------------------------------------------------ behind the answers
    def _follow_up(self, *, expiring: bool = False) -> None:
        """See to what a question has brought to light."""
        if self._derived.waiting and not self._embedding:
            self._embedding = True
            self.ctx.send_after(0.0, EmbedMore())
        space = self._derived.space
        if space is not None and not self._growing and space.index.outgrown():
            self._growing = True
            self.ctx.send_after(0.0, ChangeKind())
        if not self._expiring and (expiring or self._derived.selections.until is not None):
            self._expiring = True
            self.ctx.every(_EXPIRED_EVERY, EraseExpired())

    @handler(concurrent=1)
    async def embed_more(self, message: EmbedMore) -> None:
        """Give vectors to some memories that have none, and go on until all have one."""
        try:
            last = await self._derived.embed_part(message.after)
        except (LLMError, MemoryFailed) as error:
            log.warning("[MEMORY] memories wait for their vectors: %s", error)
            self.ctx.send_after(_EMBED_AGAIN_AFTER, message)
            return
        if last is not None:
            self.ctx.send_after(0.0, EmbedMore(last))
        else:
            self._embedding = False
            self._follow_up()

    @handler(concurrent=1)
    async def change_kind(self, _: ChangeKind) -> None:
        """Put an index of the kind that suits in the place of one that does not."""
        space = self._derived.space
        try:
            if space is not None and await space.change_kind():
                await self._writing.save()
        finally:
            self._growing = False

    @handler(concurrent=1, on_cancel=OnCancel.FINISH)
    async def erase_expired(self, _: EraseExpired) -> None:
        """Erase what has expired; it has not been found since."""
        try:
            while ids := await self._store.expired(_EXPIRED_AT_ONCE):
                await self._writing.erase(ids)
                log.info("[MEMORY] %d memories have expired and are erased", len(ids))
        except MemoryFailed as error:
            log.warning("[MEMORY] what has expired was not erased: %s", error)

    async def _used(self, ids: Sequence[int]) -> None:
        if not self._uses.add(ids):
            return
        if not self._defaults.background:
            await self._uses.write()
        elif not self._counting:
            self._counting = True
            self.ctx.send_after(_USES_AFTER, CountUses())

    @handler(concurrent=1, on_cancel=OnCancel.FINISH)
    async def count_uses(self, _: CountUses) -> None:
        """Write down how often memories were recalled."""
        self._counting = False
        await self._uses.write()

    async def _embed(self, texts: Sequence[str]) -> tuple[Vector, ...]:
        return await embedded(self._batcher, texts)

    async def _embed_behind(self, texts: Sequence[str]) -> tuple[Vector, ...]:
        return await embedded(self._batcher, texts, "background")
