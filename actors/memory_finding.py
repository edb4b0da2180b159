"""How memories are found: by vectors and by words, each among those that are meant, then in the order of ranking."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import attrs

from trouper.runtime import LLMError

from .memory_data import MemoryRow
from .memory_derived import Derived
from .memory_messages import Query, Recalled
from .memory_ranking import blended, by_score, diverse, relevance
from .memory_space import VectorSpace
from .protocols import MemoryStore, QueryingEmbedder, Vector

log: logging.Logger = logging.getLogger("trouper.memory")

_ROOM = 32
"""So many are looked at in the least where something else than likeness counts, and four times as many as wanted."""
_MOST_ROOM = 4_000


@attrs.frozen
class _Candidates:
    """What was found, before it is ranked: likeness by vectors, share of words."""

    likeness: dict[int, float]
    words: dict[int, float]


async def find(
    store: MemoryStore, derived: Derived, query: Query, vector: Vector | None, now: Callable[[], float]
) -> tuple[Recalled, ...]:
    """The memories that fit. `vector` is the query's, None if there is none. Takes the lane.

    Raises:
        MemoryFailed: the store could not be read.
    """
    room = query.k
    if query.hybrid or query.diversity or not query.blend.idle or vector is None:
        room = min(_MOST_ROOM, max(_ROOM, 4 * query.k))
    words = dict(await store.find_words(query.text, room, query.meant)) if query.hybrid or vector is None else {}
    async with derived.lane.lock:
        await derived.in_step(None if vector is None else len(vector) // 4)
        likeness = {} if vector is None else await _alike(derived, query, vector, room, list(words))
        candidates = _Candidates(likeness, words)
        rows = {row.id: row for row in await store.get([*likeness, *(n for n in words if n not in likeness)])}
        moment = now()
        fitting = {number: row for number, row in rows.items() if query.meant.matches(row, moment)}
        scores = _scores(fitting, candidates, query, moment)
        order = await _order(derived, scores, query)
    return tuple(_recalled(fitting[number], scores[number], candidates) for number in order)


async def _alike(derived: Derived, query: Query, vector: Vector, room: int, also: Sequence[int]) -> dict[int, float]:
    """The likeness of the nearest that are meant, and of those that were found by their words."""
    space, asked = derived.space, vector
    if derived.former is not None and derived.former_embedder is not None:
        try:
            former = derived.former_embedder
            text = former.as_query(query.text) if isinstance(former, QueryingEmbedder) else query.text
            (asked,) = await former.embed((text,))
            space = derived.former
        except LLMError as error:
            log.warning("[MEMORY] %s cannot be asked any more: %s", derived.former.embedder, error)
            derived.former = derived.former_embedder = None
    if space is None:
        return {}
    meant = await derived.selections.get(query.meant)
    found = dict(await space.search(asked, room, meant))
    others = [number for number in also if number not in found]
    if others:
        found.update(await derived.lane.run(len(others), space.index.scores, asked, others))
    return found


def _scores(fitting: dict[int, MemoryRow], found: _Candidates, query: Query, now: float) -> dict[int, float]:
    scores: dict[int, float] = {}
    for number, row in fitting.items():
        score = relevance(found.likeness.get(number), found.words.get(number, 0.0))
        if score >= query.least:
            scores[number] = blended(score, row, query.blend, now)
    return scores


async def _order(derived: Derived, scores: dict[int, float], query: Query) -> Sequence[int]:
    ranked = by_score(scores)
    space: VectorSpace | None = derived.former or derived.space
    if not query.diversity or space is None or len(ranked) < 2:
        return ranked[: query.k]
    known = [number for number in ranked[:_MOST_ROOM] if number in space.index]
    rows = await derived.lane.run(len(known) ** 2, space.index.alike, known)
    alike = {number: dict(zip(known, row, strict=True)) for number, row in zip(known, rows, strict=True)}
    return diverse(scores, alike, query.k, query.diversity)


def _recalled(row: MemoryRow, score: float, found: _Candidates) -> Recalled:
    likeness = found.likeness.get(row.id)
    return Recalled(
        row.id,
        row.content,
        score,
        row.created,
        row.meta,
        namespace=row.namespace,
        category=row.category,
        tags=row.tags,
        salience=row.salience,
        similarity=None if likeness is None else max(-1.0, min(1.0, likeness)),
        words=found.words.get(row.id, 0.0),
        superseded_by=row.superseded_by,
    )
