"""How memories are found: by vectors and by words, each among those that are meant, then in the order of ranking.

What an index says of likeness may be a little wrong where it keeps vectors in half precision, and what it shows may
have been changed by another process. So the memories that may be among the best are looked at closely at the end: the
store gives their rows, the exact likeness, and the state that all this is of. If it is not the state that was searched
all is brought in step and done once more. The answer is what a search over every vector of the store would give.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import attrs
import trio

from trouper.runtime import LLMError

from .memory_data import MemoryRow, Selection
from .memory_derived import Derived
from .memory_messages import Query, Recalled
from .memory_ranking import blended, by_score, relevance
from .memory_space import VectorSpace
from .protocols import Generation, MemoryStore, QueryingEmbedder, Question, Vector

log: logging.Logger = logging.getLogger("trouper.memory")

_ROOM = 32
"""So many are looked at in the least where something else than likeness counts, and four times as many as wanted."""
_MOST_ROOM = 4_000
_MANY = 500
_MARGIN = 4
"""So many more are searched where likeness is not exact, to see that the next ones are clearly worse."""


@attrs.frozen
class _Candidates:
    """What was found, before it is ranked: likeness by vectors, share of words.

    `likeness` is at most `error` wrong; where there is a `question` the store can say it exactly.
    """

    words: dict[int, float]
    likeness: dict[int, float] = attrs.field(factory=dict)
    error: float = 0.0
    question: Question | None = None

    def relevance(self, number: int) -> float:
        return relevance(self.likeness.get(number), self.words.get(number, 0.0))


async def find(
    store: MemoryStore, derived: Derived, query: Query, vector: Vector | None, now: Callable[[], float]
) -> tuple[Recalled, ...]:
    """The memories that fit. `vector` is the query's, None if there is none. Takes the lane.

    Raises:
        MemoryFailed: the store could not be read.
    """
    dim = None if vector is None else len(vector) // 4
    async with derived.lane.lock:
        if not derived.shows(dim):
            await derived.in_step(dim)
        found, state = await _find(store, derived, query, vector, now)
        if state != derived.generation:
            await derived.in_step(dim)
            found, _ = await _find(store, derived, query, vector, now)
    return found


async def _find(
    store: MemoryStore, derived: Derived, query: Query, vector: Vector | None, now: Callable[[], float]
) -> tuple[tuple[Recalled, ...], Generation]:
    """The same in what is derived now, and of which state of the store the rows are."""
    room = query.k
    if query.hybrid or query.diversity or not query.blend.idle or vector is None:
        room = min(_MOST_ROOM, max(_ROOM, 4 * query.k))
    meant = await derived.selections.get(query.meant)
    found = _Candidates({})
    if query.hybrid or vector is None:
        found = _Candidates(dict(await store.find_words(query.text, room, meant, thorough=vector is None)))
    if vector is not None:
        found = await _alike(derived, query, vector, room, meant, found)
    moment = now()
    fitting, exact, state = await _looked_at(store, found, query, moment)
    await _others_turn(fitting)
    scores = _scores(fitting, exact, query, moment)
    await _others_turn(fitting)
    order = await _order(store, derived, scores, query)
    return tuple(_recalled(fitting[number], scores[number], exact) for number in order), state


async def _alike(
    derived: Derived, query: Query, vector: Vector, room: int, meant: Selection, found: _Candidates
) -> _Candidates:
    """With the likeness of the nearest that are meant, and of those that were found by their words."""
    space, asked = derived.space, vector
    if derived.former is not None and derived.former_embedder is not None:
        try:
            former = derived.former_embedder
            text = former.as_query(query.text) if isinstance(former, QueryingEmbedder) else query.text
            (asked,) = await former.embed((text,))
            space = derived.former
        except LLMError as error:
            log.warning("[MEMORY] %s cannot be asked any more: %s", derived.former.embedder, error)
            await derived.drop_former()
    if space is None:
        return found
    likeness = dict(await _nearest(space, asked, room, meant))
    others = [number for number in found.words if number not in likeness]
    if others:
        likeness.update(await derived.lane.run(len(others), space.index.scores, asked, others))
    return _Candidates(found.words, likeness, space.index.error, Question(space.embedder, asked))


async def _nearest(space: VectorSpace, asked: Vector, room: int, meant: Selection) -> Sequence[tuple[int, float]]:
    """The nearest `room` at least: with all that may be among them, as far as the index can say."""
    error = space.index.error
    wanted = room + _MARGIN if error else room
    while True:
        found = await space.search(asked, wanted, meant)
        if not error or len(found) < wanted or found[-1][1] < found[room - 1][1] - 2 * error or wanted >= _MOST_ROOM:
            return found
        wanted = min(_MOST_ROOM, 4 * wanted)


async def _looked_at(
    store: MemoryStore, found: _Candidates, query: Query, now: float
) -> tuple[dict[int, MemoryRow], _Candidates, Generation]:
    """The rows of those that may be among the best, as far as they are meant; with exact likeness; and their state.

    Where only relevance counts these are the first ones, and those that are as good as the last of them within what
    is uncertain. If one of the first is not meant any more, all are looked at.
    """
    rough = {number: found.relevance(number) for number in (*found.likeness, *found.words)}
    order = [number for number in by_score(rough) if rough[number] >= query.least - found.error]
    first = len(order)
    if query.blend.idle and not query.diversity:
        first = _among_the_best(order, rough, query.k, found.error)
    question = found.question if found.error else None
    looked = await store.look(order[:first], question)
    fitting = {row.id: row for row in looked.rows if query.meant.matches(row, now)}
    if len(fitting) < first < len(order):
        looked = await store.look(order, question)
        fitting = {row.id: row for row in looked.rows if query.meant.matches(row, now)}
    exact = attrs.evolve(found, likeness={**found.likeness, **looked.likeness})
    return fitting, exact, looked.generation


async def _others_turn(fitting: dict[int, MemoryRow]) -> None:
    """What is done with thousands takes some milliseconds: between two such things the loop goes round."""
    if len(fitting) > _MANY:
        await trio.lowlevel.checkpoint()


def _among_the_best(order: Sequence[int], rough: dict[int, float], k: int, error: float) -> int:
    """How many of `order` may be among the best `k`, if their scores are at most `error` wrong."""
    end = min(k, len(order))
    if error and end:
        least = rough[order[end - 1]] - 2 * error
        while end < len(order) and rough[order[end]] >= least:
            end += 1
    return end


def _scores(fitting: dict[int, MemoryRow], found: _Candidates, query: Query, now: float) -> dict[int, float]:
    scores: dict[int, float] = {}
    for number, row in fitting.items():
        score = found.relevance(number)
        if score >= query.least:
            scores[number] = blended(score, row, query.blend, now)
    return scores


async def _order(store: MemoryStore, derived: Derived, scores: dict[int, float], query: Query) -> Sequence[int]:
    ranked = by_score(scores)
    space: VectorSpace | None = derived.former or derived.space
    if not query.diversity or space is None or len(ranked) < 2:
        return ranked[: query.k]
    best = {number: scores[number] for number in ranked[:_MOST_ROOM]}
    return await store.vary(space.embedder, space.dim, best, query.k, query.diversity)


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
