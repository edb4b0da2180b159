"""What the memory is asked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Self, get_args

import attrs

from trouper.runtime import Ask, MemoryRefused, Seconds, Tell

from .memory_data import (
    DEFAULT_NAMESPACE,
    FACT,
    KeptMemory,
    MemoryFilter,
    MemoryRow,
    NewMemory,
    Scalar,
    StoreStatistics,
    check_writable,
)
from .memory_ranking import Blend

MOST_TEXTS = 10_000
MOST_CHARACTERS = 100_000
"""Of one text. What is longer is a document, not a memory."""
MOST_QUERY = 20_000
MOST_K = 1_000

NearDuplicates = Literal["keep", "merge", "refuse"]


@attrs.frozen
class NearDuplicate:
    """A text that nearly says what memory `id` said: how alike (cosine), and that the new one now stands for both."""

    index: int
    """Which of the texts."""
    id: int
    score: float


class Remembered(tuple[int, ...]):  # noqa: SLOT001 - a tuple has no room for more without a dict
    """The ids of what was remembered, in order; `near` says which texts took the place of others."""

    near: tuple[NearDuplicate, ...]

    def __new__(cls, ids: Sequence[int] = (), near: Sequence[NearDuplicate] = ()) -> Self:
        """Ids, and what was merged."""
        made = super().__new__(cls, tuple(ids))
        made.near = tuple(near)
        return made


@attrs.frozen
class Recalled:
    """One memory that was found. `created` is seconds since 1970."""

    id: int
    content: str
    score: float
    """How well it fits: likeness, with what shared words and the blend add; -1 to 1."""
    created: float
    meta: Mapping[str, object] = attrs.field(factory=dict)
    namespace: str = attrs.field(default=DEFAULT_NAMESPACE, kw_only=True)
    category: str = attrs.field(default=FACT, kw_only=True)
    tags: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    salience: float = attrs.field(default=0.5, kw_only=True)
    similarity: float | None = attrs.field(default=None, kw_only=True)
    """The cosine to the query; None: it was found by its words only."""
    words: float = attrs.field(default=0.0, kw_only=True)
    """The share of the query's words, by their weight, that it has."""
    superseded_by: int | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Remember(Ask[Remembered]):
    """Keep texts; gives their ids, in order.

    A text that its namespace knows keeps its id, its date and what was said of it.
    """

    texts: tuple[str, ...]
    meta: Mapping[str, object] = attrs.field(factory=dict)
    namespace: str | None = attrs.field(default=None, kw_only=True)
    """Whose memory; None: as configured."""
    category: str | None = attrs.field(default=None, kw_only=True)
    """None: what `meta["kind"]` says, else `fact`."""
    tags: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    salience: float = attrs.field(default=0.5, kw_only=True)
    half_life: Seconds | None = attrs.field(default=None, kw_only=True)
    ttl: Seconds | None = attrs.field(default=None, kw_only=True)
    """Seconds until it is not found any more; None: as configured, `math.inf`: never."""
    distinct: str = attrs.field(default="", kw_only=True)
    """The same text with another `distinct` is another memory."""
    near_duplicates: NearDuplicates | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Supersede(Ask[int]):
    """Let one text stand for memories that it replaces; they are kept and not found any more. Gives its id."""

    ids: tuple[int, ...]
    by: Remember


@attrs.frozen
class Recall(Ask[tuple[Recalled, ...]]):
    """The `k` memories that fit `query` best, best first, none below `min_score`; `None`: as configured.

    Only those of the namespace, of one of the `kinds` (categories; empty: all) and none of `without`, with all `tags`,
    whose metadata is as `where` says: `{"project": "x"}`, or `{"project": ["x", "y"]}` for one of several.
    """

    query: str
    k: int | None = None
    min_score: float | None = None
    kinds: tuple[str, ...] = ()
    without: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    namespace: str | None = attrs.field(default=None, kw_only=True)
    tags: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    where: Mapping[str, Scalar | Sequence[Scalar]] = attrs.field(factory=dict, kw_only=True)
    hybrid: bool | None = attrs.field(default=None, kw_only=True)
    """Whether shared words count too; None: as configured."""
    diversity: float = attrs.field(default=0.0, kw_only=True)
    """0: the best; towards 1: rather what says something else than the ones before (MMR)."""
    blend: Blend | None = attrs.field(default=None, kw_only=True)
    """What else counts besides how well it fits; None: as configured."""
    superseded: bool = attrs.field(default=False, kw_only=True)
    """Also what was superseded or has expired."""


@attrs.frozen
class Forget(Ask[int]):
    """Erase memories; gives how many were there. With `matching` too: those of `ids` that match."""

    ids: tuple[int, ...] | None = None
    matching: MemoryFilter | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class MemoryCount(Ask[int]):
    """How many memories there are, superseded ones too."""


@attrs.frozen(kw_only=True)
class ReadMemories(Ask[tuple[MemoryRow, ...]]):
    """At most `limit` memories that match, whose ids are larger than `after`, by id."""

    matching: MemoryFilter
    after: int = 0
    limit: int = 500


@attrs.frozen
class PutMemories(Ask[tuple[int, ...]]):
    """Put memories in as they were, with their dates: an import. Gives their ids in order.

    What is known already stays as it is.
    """

    rows: tuple[KeptMemory, ...]


@attrs.frozen
class MarkSuperseded(Ask[None]):
    """Let the second memory of each pair stand for the first: an import. What is not there is passed over."""

    pairs: tuple[tuple[int, int], ...]


@attrs.frozen
class DropOtherVectors(Ask[int]):
    """Let go of the vectors of every embedder but today's, once all memories have today's; gives how many embedders."""


@attrs.frozen(kw_only=True)
class MemoryStatistics:
    """What the memory holds, and how it is searched."""

    store: StoreStatistics
    embedder: str | None
    """None: memories are found by their words only."""
    index: str | None
    """The kind of the index; None: nothing has been recalled yet."""
    vectors: int
    waiting: int
    """Memories that have no vector of this embedder yet, at most so many as are looked for at once."""
    recalls: int
    saved: int
    """Snapshots written by this incarnation."""


@attrs.frozen
class GetMemoryStatistics(Ask[MemoryStatistics]):
    """How things stand."""


@attrs.frozen(kw_only=True)
class MemoryDefaults:
    """What a message that does not say takes, and when the index is written down or handled in a thread."""

    k: int = 5
    min_score: float = 0.0
    namespace: str = DEFAULT_NAMESPACE
    ttl: Seconds | None = None
    hybrid: bool = True
    blend: Blend = attrs.field(factory=Blend)
    near_duplicates: NearDuplicates = "keep"
    near_threshold: float = 0.97
    background: bool = True
    """Whether uses are counted behind the answer."""
    snapshot_every: int = 1_000
    """Changes after which a snapshot is written, besides the one at the end."""
    threads_above: int = 5_000
    """Vectors above which searching and adding happen in a worker thread: below it costs less than the hop."""


# ------------------------------------------------------------------ what it tells itself
@attrs.frozen
class CountUses(Tell):
    """Write down how often memories were recalled."""


@attrs.frozen
class EmbedMore(Tell):
    """Go on giving vectors to memories that have none; those up to `after` have been tried."""

    after: int = 0


@attrs.frozen
class ChangeKind(Tell):
    """The index has outgrown its kind."""


@attrs.frozen
class EraseExpired(Tell):
    """Erase what has expired."""


# ------------------------------------------------------------------ checks
def new_memories(message: Remember, defaults: MemoryDefaults, now: float) -> tuple[NewMemory, ...]:
    """What a message wants to be stored.

    Raises:
        MemoryRefused: it cannot be; the message says which text and why.
    """
    texts = check_texts(message.texts)
    kind = message.meta.get("kind") if isinstance(message.meta, Mapping) else None
    category = message.category or (kind if isinstance(kind, str) and kind else FACT)
    ttl = defaults.ttl if message.ttl is None else message.ttl
    if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int | float) or not ttl > 0):
        raise MemoryRefused(f"ttl is {ttl!r}; give seconds, more than 0, or `math.inf` for ever")
    expires = None if ttl is None or math.isinf(ttl) else now + ttl
    namespace = defaults.namespace if message.namespace is None else message.namespace
    if message.near_duplicates not in (None, *get_args(NearDuplicates)):
        raise MemoryRefused(f"near_duplicates is {message.near_duplicates!r}; give `keep`, `merge` or `refuse`")
    return tuple(
        NewMemory(
            content=text,
            namespace=namespace,
            category=category,
            tags=tuple(message.tags),
            salience=message.salience,
            half_life=message.half_life,
            expires=expires,
            meta=message.meta,
            distinct=message.distinct,
        )
        for text in texts
    )


def check_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts, if all of them can be remembered.

    Raises:
        MemoryRefused: one cannot; the message says which and why.
    """
    if isinstance(texts, str):
        raise MemoryRefused("give the texts as a tuple: `Remember((text,))`, not one text")
    if len(texts) > MOST_TEXTS:
        raise MemoryRefused(f"{len(texts):,} texts at once; at most {MOST_TEXTS:,} are taken: send them in parts")
    for number, text in enumerate(texts, 1):
        which = f"text {number} of {len(texts)}"
        if not isinstance(text, str) or not text.strip():
            raise MemoryRefused(f"{which} is empty: there is nothing to remember")
        if len(text) > MOST_CHARACTERS:
            raise MemoryRefused(
                f"{which} has {len(text):,} characters, at most {MOST_CHARACTERS:,} are taken. Remember its parts."
            )
        check_writable(text, which)
    return tuple(texts)


def check_ids(ids: Sequence[int]) -> tuple[int, ...]:
    """Those that can be ids at all; the others are nobody's.

    Raises:
        MemoryRefused: one is not a number.
    """
    for number in ids:
        if isinstance(number, bool) or not isinstance(number, int):
            raise MemoryRefused(f"{number!r} is not the id of a memory: ids are whole numbers, as `recall` gives them")
    return tuple(number for number in ids if 0 < number < 2**63)


@attrs.frozen(kw_only=True)
class Query:
    """A `Recall` with the defaults put in, checked."""

    text: str
    k: int
    least: float
    meant: MemoryFilter
    hybrid: bool
    diversity: float
    blend: Blend


def check_recall(message: Recall, defaults: MemoryDefaults) -> Query:
    """What a message asks for, the defaults put in.

    Raises:
        MemoryRefused: something of it makes no sense.
    """
    query, k, least = message.query, message.k, message.min_score
    if not isinstance(query, str) or not query.strip():
        raise MemoryRefused("the query is empty: say what you are looking for")
    if len(query) > MOST_QUERY:
        raise MemoryRefused(f"the query has {len(query):,} characters, at most {MOST_QUERY:,} are taken: shorten it")
    k = defaults.k if k is None else k
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MOST_K:
        raise MemoryRefused(f"k is {k!r}; give a whole number from 1 to {MOST_K}")
    least = defaults.min_score if least is None else least
    if isinstance(least, bool) or not isinstance(least, int | float) or not math.fabs(least) <= 1:
        raise MemoryRefused(f"min_score is {least!r}; give a number from -1 to 1")
    diversity = message.diversity
    if isinstance(diversity, bool) or not isinstance(diversity, int | float) or not 0 <= diversity <= 1:
        raise MemoryRefused(f"diversity is {diversity!r}; give a number from 0 to 1")
    if message.blend is not None and not isinstance(message.blend, Blend):
        raise MemoryRefused(f"blend is {message.blend!r}; give a `Blend`, or nothing")
    if not (message.hybrid is None or isinstance(message.hybrid, bool)) or not isinstance(message.superseded, bool):
        raise MemoryRefused(f"hybrid is {message.hybrid!r}, superseded is {message.superseded!r}; give true or false")
    meant = MemoryFilter(
        namespace=defaults.namespace if message.namespace is None else message.namespace,
        categories=tuple(message.kinds),
        without=tuple(message.without),
        tags=tuple(message.tags),
        where=message.where,
        dead=message.superseded,
    )
    return Query(
        text=query,
        k=k,
        least=float(least),
        meant=meant,
        hybrid=defaults.hybrid if message.hybrid is None else message.hybrid,
        diversity=float(diversity),
        blend=defaults.blend if message.blend is None else message.blend,
    )
