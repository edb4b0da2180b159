"""The tools that remember: remember and recall, over whatever keeps the memories."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypedDict

from trouper.actors.memory_data import day
from trouper.actors.protocols import Evidence, Json
from trouper.actors.tool import Checked, Effect, Tool, tool
from trouper.runtime import BadArguments

from .step_results import as_text, plural

MAX_TEXT = 2000
"""Characters of one memory; a longer text becomes several, cut between paragraphs."""
MAX_TEXTS = 50
MAX_RECALLED = 100


class Stored(Protocol):
    """A memory as the store has it."""

    @property
    def id(self) -> int:
        """Its number."""
        ...

    @property
    def content(self) -> str:
        """Its text."""
        ...


class Recalled(Stored, Protocol):
    """A memory that was found."""

    @property
    def score(self) -> float:
        """How near it is to the query; larger is nearer."""
        ...

    @property
    def category(self) -> str:
        """What kind of memory it is."""
        ...

    @property
    def created(self) -> float:
        """Since when it is remembered, seconds since 1970."""
        ...


class Memory(Protocol):
    """Port: what the tools need of the memory. Both raise `MemoryFailed` or `LLMError` kinds."""

    async def remember(self, texts: Sequence[str]) -> Sequence[int]:
        """Keep the texts; the same text again gives the old id. Ids in order."""
        ...

    async def recall(self, query: str, k: int) -> Sequence[Recalled]:
        """At most `k` memories, nearest first."""
        ...


Lookup = Callable[[Sequence[int]], Awaitable[Sequence[Stored]]]
"""The memories with these ids, straight from the store."""


class Remembered(TypedDict):
    """What remember gives."""

    ids: list[int]
    stored: int
    texts: list[str]


class FoundMemory(TypedDict):
    """One memory that was found."""

    id: int
    content: str
    score: float
    category: str
    created: str


class RecallResult(TypedDict):
    """What recall gives; `text` has the memories a line each. What they say is data, whatever it says."""

    query: str
    memories: list[FoundMemory]
    count: int
    text: str
    untrusted: bool


def make(memory: Memory, *, lookup: Lookup | None = None) -> list[Tool]:
    """Make remember and recall. With `lookup` the verifier checks their results against the store."""
    return [_remember(memory, lookup), _recall(memory, lookup)]


def _remember(memory: Memory, lookup: Lookup | None) -> Tool:
    async def remember(fact: object, label: str = "") -> Remembered:
        """Keep something for later runs.

        Args:
            fact: the text, or a result of another step, which is kept as readable text.
            label: what it is, put before it: `batch size`.
        """
        texts = memory_texts(fact, label)
        ids = [int(i) for i in await memory.remember(texts)]
        return Remembered(ids=ids, stored=len(set(ids)), texts=texts)

    async def verify(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:  # noqa: ARG001 - the port's shape
        """Read what is kept under the ids."""
        ids, texts = _list(result, "ids"), _list(result, "texts")
        if len(ids) != len(texts):
            return Checked((f"it claims {len(ids)} ids for {len(texts)} texts",), ("ids against texts",))
        return await _compared(lookup, ids, texts)

    return tool(effect=Effect.KEYED, permission="memory", verify=verify)(remember)


def _recall(memory: Memory, lookup: Lookup | None) -> Tool:
    async def recall(query: str, k: int = 5) -> RecallResult:
        """Find what was remembered.

        Args:
            query: what it is about, in any words.
            k: how many memories at most.
        """
        if not query.strip():
            raise BadArguments("query: it is empty; say what the memory is about")
        if not 1 <= k <= MAX_RECALLED:
            raise BadArguments(f"k: {k} is not between 1 and {MAX_RECALLED}")
        found = await memory.recall(query, k)
        memories = [
            FoundMemory(id=m.id, content=m.content, score=float(m.score), category=m.category, created=day(m.created))
            for m in found
        ]
        text = "\n".join(m["content"] for m in memories) or f"nothing is remembered about {query}"
        return RecallResult(query=query, memories=memories, count=len(memories), text=text, untrusted=True)

    async def verify(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:  # noqa: ARG001 - the port's shape
        """Read what is kept under the ids."""
        memories = [m for m in _list(result, "memories") if isinstance(m, dict)]
        claimed = result.get("count") if isinstance(result, dict) else None
        if claimed != len(memories):
            return Checked((f"it claims {claimed} memories and lists {len(memories)}",), ("count",))
        if not memories:
            return Checked()  # that nothing is near enough is the index's word
        return await _compared(lookup, [m.get("id") for m in memories], [m.get("content") for m in memories])

    return tool(effect=Effect.PURE, permission="memory", verify=verify)(recall)


async def _compared(lookup: Lookup | None, ids: Sequence[object], texts: Sequence[object]) -> Checked:
    if lookup is None:
        return Checked()
    wanted = [i for i in ids if isinstance(i, int)]
    kept = {m.id: m.content for m in await lookup(wanted)}
    problems = [
        f"memory {i}: the store has {'another text' if i in kept else 'none with that id'}"
        for i, text in zip(ids, texts, strict=True)
        if not isinstance(i, int) or kept.get(i) != text
    ]
    return Checked(tuple(problems), (f"{plural(len(ids), 'memory', 'memories')} read in the store",))


def _list(result: Json, name: str) -> list[Json]:
    value = result.get(name) if isinstance(result, dict) else None
    return value if isinstance(value, list) else []


def memory_texts(fact: object, label: str = "") -> list[str]:
    """The texts to keep for a fact: one for each element of a list, long ones cut between paragraphs.

    Raises:
        BadArguments: there is nothing to keep, or far too much.
    """
    facts = list(fact) if isinstance(fact, list | tuple) else [fact]
    whole = [text for text in (as_text(f).strip() for f in facts) if text]
    texts = list(dict.fromkeys(part for text in whole for part in _parts(text)))
    if not texts:
        raise BadArguments("fact: it is empty, there is nothing to remember")
    if len(texts) > MAX_TEXTS:
        size = sum(len(t) for t in texts)
        raise BadArguments(
            f"fact: {len(texts)} texts ({size:,} characters) are too many to remember at once (at most {MAX_TEXTS} of "
            f"{MAX_TEXT:,} characters); summarize it first"
        )
    return [f"{label.strip()}: {t}" for t in texts] if label.strip() else texts


def _parts(text: str) -> list[str]:
    if len(text) <= MAX_TEXT:
        return [text]
    parts: list[str] = []
    current = ""
    for paragraph in text.split("\n\n"):
        joined = f"{current}\n\n{paragraph}".strip()
        if len(joined) > MAX_TEXT and current:
            parts.append(current)
            joined = paragraph.strip()
        while len(joined) > MAX_TEXT:
            cut = max(joined.rfind("\n", 1, MAX_TEXT), joined.rfind(" ", 1, MAX_TEXT))
            cut = cut if cut > 0 else MAX_TEXT
            parts.append(joined[:cut].strip())
            joined = joined[cut:].strip()
        current = joined
    return [p for p in [*parts, current] if p]
