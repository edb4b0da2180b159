"""Texts that nearly say what is remembered already: found, and dealt with as the policy says, never silently."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from trouper.runtime import MemoryRefused

from .memory_data import MemoryFilter, MemoryRow, NewMemory, Selection
from .memory_derived import Derived
from .memory_messages import NearDuplicates
from .protocols import MemoryStore, Vector, VectorIndex

_LOOKED_AT = 8
"""So many of the nearest are looked at: static word vectors are the same for the same words in another order."""


@attrs.frozen
class Near:
    """Row `index` is nearly memory `id`, or the earlier row `row` of the same message."""

    index: int
    score: float
    id: int | None = None
    row: int | None = None


async def near_duplicates(
    store: MemoryStore,
    derived: Derived,
    new_index: Callable[[int], VectorIndex],
    rows: Sequence[NewMemory],
    vectors: Sequence[Vector],
    threshold: float,
) -> tuple[Near, ...]:
    """Which of `rows` are nearly something that their namespace and category has. The lane must be held.

    One whose very text is there is that memory and no duplicate of it, nor of another one that is like it.
    """
    assert derived.space is not None  # noqa: S101 - the caller has brought it in step
    beside = new_index(len(vectors[0]) // 4)
    before: dict[tuple[str, str], Selection] = {}
    alike: list[list[Near]] = []
    for place, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
        meant = MemoryFilter(namespace=row.namespace, categories=(row.category,))
        known = await derived.space.search(vector, _LOOKED_AT, await derived.selections.get(meant))
        group = before.setdefault((row.namespace, row.category), Selection())
        found = [Near(place, score, id=number) for number, score in known]
        found += [Near(place, score, row=number - 1) for number, score in beside.search(vector, _LOOKED_AT, group)]
        alike.append([near for near in found if near.score >= threshold])
        beside.add([place + 1], [vector])
        group.add(place + 1)
    there = {row.id: row for row in await store.get([near.id for found in alike for near in found if near.id])}
    nearest: list[Near] = []
    for row, found in zip(rows, alike, strict=True):
        texts = [there.get(near.id) if near.id is not None else rows[near.row or 0] for near in found]
        if found and not any(_same(row, text) for text in texts):
            nearest.append(max(found, key=lambda near: near.score))  # the first of equals: what is stored
    return tuple(nearest)


def _same(row: NewMemory, other: NewMemory | MemoryRow | None) -> bool:
    return other is not None and (row.content, row.distinct) == (other.content, other.distinct)


def refuse(rows: Sequence[NewMemory], near: Sequence[Near], policy: NearDuplicates) -> None:
    """Raise `MemoryRefused` if the policy wants no near duplicates and there are some."""
    if policy != "refuse" or not near:
        return
    first = near[0]
    what = f"memory {first.id}" if first.id is not None else f"text {(first.row or 0) + 1} beside it"
    raise MemoryRefused(
        f"text {first.index + 1} of {len(rows)} nearly says what {what} says (likeness {first.score:.3f}), and "
        "memory.near_duplicates is `refuse`: nothing was stored. Supersede the old one, or say it differently."
    )


async def with_what_was_said(
    store: MemoryStore, rows: Sequence[NewMemory], near: Sequence[Near]
) -> tuple[NewMemory, ...]:
    """The rows; one that will stand for a memory has its tags too, and matters at least as much."""
    old = {row.id: row for row in await store.get([one.id for one in near if one.id is not None])}
    made = list(rows)
    for one in near:
        known = old.get(one.id) if one.id is not None else None
        if known is not None:
            row = made[one.index]
            tags = tuple(dict.fromkeys((*row.tags, *known.tags)))
            made[one.index] = attrs.evolve(row, tags=tags, salience=max(row.salience, known.salience))
    return tuple(made)
