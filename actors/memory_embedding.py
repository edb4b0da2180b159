"""How the memory comes by vectors: it asks the batcher, in parts, and again after a crash there."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import trio

from trouper.runtime import Actor, ActorCrashed, ActorError, LLMError, MemoryFailed, Ref, Seconds

from .batcher import Embed
from .protocols import MemoryStore, Priority, Vector

log: logging.Logger = logging.getLogger("trouper.memory")

Prepare = Callable[[], Awaitable[None]]

_TRIES = 3
_TEXTS_A_CALL = 250
_PATIENCE: Seconds = 10.0
"""So long a question waits for its vector, and at most half of the time it has: then its words have to do."""


async def prepared(store: MemoryStore, prepare: Prepare | None) -> None:
    """Let the embedder load before anybody is served, if there is anything to be found: loading holds up the loop.

    Cancelled: it may be loaded. What fails is told, and met again by whoever needs it: no troupe waits for that.
    """
    if prepare is None:
        return
    try:
        if await store.count():
            await prepare()
    except MemoryFailed as error:
        log.debug("[MEMORY] whether there is anything to be found is not known: %s", error)
    except Exception as error:  # noqa: BLE001 - a library fails in its own ways
        log.warning("[MEMORY] the embedder is not ready, it is loaded when it is needed: %s", error)


async def embedded(batcher: Ref[Actor], texts: Sequence[str], priority: Priority = "interactive") -> tuple[Vector, ...]:
    """The vectors of many texts, asked for in parts, so that nobody works on all of them at once.

    Raises:
        LLMError: one could not be embedded.
        MemoryFailed: the batcher did not answer.
    """
    parts = [tuple(texts[start : start + _TEXTS_A_CALL]) for start in range(0, len(texts), _TEXTS_A_CALL)]
    if len(parts) == 1:
        return await _part(batcher, Embed(parts[0], priority=priority))
    made: list[tuple[Vector, ...]] = [() for _ in parts]
    failures: list[LLMError | MemoryFailed] = []

    async def embed(place: int) -> None:
        try:
            made[place] = await _part(batcher, Embed(parts[place], priority=priority))
        except (LLMError, MemoryFailed) as error:
            failures.append(error)
            nursery.cancel_scope.cancel(reason="another part could not be embedded")

    async with trio.open_nursery() as nursery:
        for place in range(len(parts)):
            nursery.start_soon(embed, place)
    if failures:
        raise failures[0]
    return tuple(vector for part in made for vector in part)


async def question_vector(
    embed: Callable[[Sequence[str]], Awaitable[tuple[Vector, ...]]], text: str, deadline: Seconds, *, needed: bool
) -> Vector | None:
    """The vector of a question; unless it is `needed` None if it cannot be had, or not in time, which is logged.

    Raises:
        LLMError: it is needed, and could not be embedded.
        MemoryFailed: it is needed, and the batcher did not answer.
    """
    if needed:
        (vector,) = await embed((text,))
        return vector
    patience = max(0.0, min(_PATIENCE, (deadline - trio.current_time()) / 2))
    try:
        with trio.move_on_after(patience):
            (vector,) = await embed((text,))
            return vector
        log.warning("[MEMORY] the query is looked for by its words only: no vector of it came in %.3g s", patience)
    except (LLMError, MemoryFailed) as error:
        log.warning("[MEMORY] the query is looked for by its words only: %s", error)
    return None


async def _part(batcher: Ref[Actor], message: Embed) -> tuple[Vector, ...]:
    """Ask the batcher; embedding has no effects, so a crash there is survived by asking again."""
    for _ in range(_TRIES - 1):
        try:
            return await batcher.ask(message)
        except ActorCrashed as error:
            log.warning("[MEMORY] the batcher crashed, asking it again: %s", error)
        except ActorError as error:
            raise _no_vectors(len(message.texts), error) from error
    try:
        return await batcher.ask(message)
    except ActorError as error:
        raise _no_vectors(len(message.texts), error) from error


def _no_vectors(count: int, error: ActorError) -> MemoryFailed:
    return MemoryFailed(f"{count} texts could not be embedded, nothing was stored or searched: {error}")
