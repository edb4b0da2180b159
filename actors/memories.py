"""What the caller of a running troupe does with its memory: `troupe.memories`, or one namespace of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import trio

from trouper.runtime import Actor, MemoryRefused, Ref, Seconds

from .memory_conversation import Conversation, KeepTurn, ReadConversation, ReadProfile, SetProfile, check_name
from .memory_data import CONFIGURED, MemoryFilter, MemoryRow, Scalar
from .memory_lines import MemoryLine, exported, imported, refusal
from .memory_messages import (
    DropOtherVectors,
    Forget,
    GetMemoryStatistics,
    MarkSuperseded,
    MemoryCount,
    MemoryStatistics,
    NearDuplicates,
    PutMemories,
    ReadMemories,
    Recall,
    Recalled,
    Remember,
    Remembered,
    Supersede,
)
from .memory_ranking import Blend

_A_PAGE = 500
_A_READ = 200
"""Rows between which the loop goes round, whatever is done with them: some milliseconds."""
_LOOKED_AT = 100
"""Lines of an import that are read before somebody else has a turn."""
Where = Mapping[str, Scalar | Sequence[Scalar]]


class Memories:
    """The memory of a troupe, of one namespace or of the configured one. May be used from any task.

    All methods raise `MemoryRefused` for what makes no sense (nothing was done) and `MemoryFailed` when the store
    cannot be read or written; where texts are embedded also `LLMError`.
    """

    def __init__(self, memory: Ref[Actor], namespace: str | None = None) -> None:
        self._memory = memory
        # An empty name would be the configured namespace in a filter: whose name is missing has no memories.
        self.namespace: str | None = namespace if namespace is None else check_name(namespace, "namespace")

    def of(self, namespace: str) -> Memories:
        """The memories of one namespace: one for each user, for one. Raises `MemoryRefused` for what is no name."""
        return Memories(self._memory, namespace)

    @property
    def _whose(self) -> str:
        return CONFIGURED if self.namespace is None else self.namespace

    # ------------------------------------------------------------ putting in
    async def remember(
        self,
        texts: str | Sequence[str],
        meta: Mapping[str, object] | None = None,
        *,
        category: str | None = None,
        tags: str | Sequence[str] = (),
        salience: float = 0.5,
        half_life: Seconds | None = None,
        ttl: Seconds | None = None,
        near_duplicates: NearDuplicates | None = None,
    ) -> Remembered:
        """Store texts; gives their ids. Cancelled: all or none were stored.

        Args:
            texts: One or several. One that is known keeps its id and what was said of it.
            meta: JSON values under text keys, to filter by.
            category: What kind of memory it is; `fact` if None.
            tags: Words to filter by.
            salience: How much it matters, 0 to 1.
            half_life: Seconds without a recall in which half of the salience fades; None: it does not.
            ttl: Seconds until it is not found any more; None: as configured, `math.inf`: never.
            near_duplicates: `keep`, `merge` or `refuse`; None: as configured.
        """
        given = (texts,) if isinstance(texts, str) else tuple(texts)
        message = Remember(
            given,
            meta or {},
            namespace=self.namespace,
            category=category,
            tags=_names(tags),
            salience=salience,
            half_life=half_life,
            ttl=ttl,
            near_duplicates=near_duplicates,
        )
        return await self._memory.ask(message)

    async def supersede(
        self,
        ids: int | Sequence[int],
        text: str,
        meta: Mapping[str, object] | None = None,
        *,
        category: str | None = None,
    ) -> int:
        """Let `text` stand for memories that it replaces: they are kept, and not found any more. Gives its id."""
        old = (ids,) if isinstance(ids, int) else tuple(ids)
        by = Remember((text,), meta or {}, namespace=self.namespace, category=category)
        return await self._memory.ask(Supersede(old, by))

    # ------------------------------------------------------------ finding
    async def recall(
        self,
        query: str,
        k: int | None = None,
        *,
        categories: str | Sequence[str] = (),
        without: str | Sequence[str] = (),
        tags: str | Sequence[str] = (),
        where: Where | None = None,
        min_score: float | None = None,
        hybrid: bool | None = None,
        diversity: float = 0.0,
        blend: Blend | None = None,
        superseded: bool = False,
    ) -> tuple[Recalled, ...]:
        """The memories that fit `query` best, best first.

        Args:
            query: What it is about, in any words.
            k: At most so many; `memory.k` if None.
            categories: Only these; all if empty.
            without: None of these categories, such as `episode`, what runs have left behind.
            tags: Only those that have all of them.
            where: Only those whose metadata is so: `{"project": "x"}`, or a list of values that will do.
            min_score: None of less; `memory.min_score` if None.
            hybrid: Whether shared words count besides likeness; `memory.hybrid` if None.
            diversity: 0: the best; towards 1: rather what says something else than the ones before.
            blend: How much being new, mattering and having been of use count.
            superseded: Also what was superseded or has expired.
        """
        message = Recall(
            query,
            k,
            min_score,
            _names(categories),
            without=_names(without),
            namespace=self.namespace,
            tags=_names(tags),
            where=where or {},
            hybrid=hybrid,
            diversity=diversity,
            blend=blend,
            superseded=superseded,
        )
        return await self._memory.ask(message)

    async def read(self, *, superseded: bool = False, everybody: bool = False) -> AsyncIterator[MemoryRow]:
        """Every memory of the namespace, or of all, oldest first; what is stored meanwhile may be among them or not."""
        matching = MemoryFilter(namespace=None if everybody else self._whose, dead=superseded)
        after = 0
        while part := await self._memory.ask(ReadMemories(matching=matching, after=after, limit=_A_READ)):
            for row in part:
                yield row
            after = part[-1].id

    async def count(self) -> int:
        """How many memories there are in all namespaces, superseded ones too."""
        return await self._memory.ask(MemoryCount())

    async def statistics(self) -> MemoryStatistics:
        """What the memory holds, and how it is searched."""
        return await self._memory.ask(GetMemoryStatistics())

    # ------------------------------------------------------------ taking out
    async def forget(
        self,
        ids: int | Sequence[int] | None = None,
        *,
        categories: str | Sequence[str] = (),
        tags: str | Sequence[str] = (),
        where: Where | None = None,
        everything: bool = False,
    ) -> int:
        """Erase memories for good, from every file; gives how many there were.

        Args:
            ids: These; of a namespace only those that are in it.
            categories: Those of these categories.
            tags: Those that have all of these tags.
            where: Those whose metadata is so.
            everything: All of this namespace.
        """
        chosen = (ids,) if isinstance(ids, int) else None if ids is None else tuple(ids)
        matching = None
        if categories or tags or where or everything or (self.namespace is not None and chosen is not None):
            matching = MemoryFilter(
                namespace=self._whose, categories=_names(categories), tags=_names(tags), where=where or {}
            )
        return await self._memory.ask(Forget(chosen, matching=matching))

    async def drop_other_vectors(self) -> int:
        """Let go of the vectors of former embedders; gives how many embedders. Nothing while some still serve."""
        return await self._memory.ask(DropOtherVectors())

    # ------------------------------------------------------------ people and conversations
    async def keep_turn(self, conversation: str, speaker: str, text: str, *, key: str | None = None) -> int:
        """Remember what somebody said in a conversation; with a `key` once, however often it is told."""
        message = KeepTurn(conversation=conversation, speaker=speaker, text=text, key=key, namespace=self.namespace)
        return await self._memory.ask(message)

    async def conversation(self, conversation: str, turns: int = 20) -> Conversation:
        """What is remembered of a conversation: what came before in short, and its last turns."""
        message = ReadConversation(conversation=conversation, turns=turns, namespace=self.namespace)
        return await self._memory.ask(message)

    async def set_profile(self, entries: Mapping[str, str | None]) -> None:
        """Remember attributes of whom the namespace belongs to; a value of None erases one."""
        await self._memory.ask(SetProfile(entries=dict(entries), namespace=self.namespace))

    async def profile(self) -> Mapping[str, str]:
        """What is known of whom the namespace belongs to."""
        return await self._memory.ask(ReadProfile(namespace=self.namespace))

    # ------------------------------------------------------------ in and out
    async def export(self, *, everybody: bool = False) -> AsyncIterator[str]:
        """Every memory as a line of JSON, oldest first, superseded ones too, without vectors. A line has no line break.

        With `everybody` those of all namespaces.
        """
        async for row in self.read(superseded=True, everybody=everybody):
            yield exported(row)

    async def import_lines(self, lines: Iterable[str]) -> int:
        """Store what `export` gave; gives how many memories that were. What is known already stays as it is.

        Every line is looked at first. Then parts of 500 are stored, all of a part or none of it; if the disk or the
        embedder fails, it can be done again from the beginning.

        Raises:
            MemoryRefused: lines are not of an export; it says which, and nothing was stored.
        """
        # Only the texts are kept between the two looks: what they say would be a hundred thousand objects for the
        # garbage collector to look through, with the loop standing still.
        found: list[str] = []
        bad: dict[int, str] = {}
        for place, line in enumerate(lines, 1):
            if place % _LOOKED_AT == 0:
                await trio.lowlevel.checkpoint()
            if not line.strip():
                continue
            try:
                imported(line, self.namespace)
            except MemoryRefused as error:
                bad[place] = str(error)
            else:
                found.append(line)
        if bad:
            raise refusal(bad)
        new_ids: dict[int, int] = {}
        successors: dict[int, int] = {}
        for start in range(0, len(found), _A_PAGE):
            part = await self._looked_at_again(found[start : start + _A_PAGE])
            ids = await self._memory.ask(PutMemories(tuple(one.kept for one in part)))
            new_ids.update((one.id, new) for one, new in zip(part, ids, strict=True))
            successors.update((one.id, one.superseded_by) for one in part if one.superseded_by is not None)
        pairs = [(new_ids[old], new_ids[by]) for old, by in successors.items() if by in new_ids]
        for start in range(0, len(pairs), _A_PAGE):
            await self._memory.ask(MarkSuperseded(tuple(pairs[start : start + _A_PAGE])))
        return len(found)

    async def _looked_at_again(self, lines: Sequence[str]) -> list[MemoryLine]:
        """What these lines, which have been found good, say; others have their turn meanwhile."""
        said: list[MemoryLine] = []
        for place, line in enumerate(lines, 1):
            said.append(imported(line, self.namespace))
            if place % _LOOKED_AT == 0:
                await trio.lowlevel.checkpoint()
        return said


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several: a text is a sequence of letters too, and nobody means those."""
    return (given,) if isinstance(given, str) else tuple(given)
