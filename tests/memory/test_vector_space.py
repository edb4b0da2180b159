"""The vectors of one embedder keep up with the store, and the loop comes round meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import trio

from trouper.actors.memory_data import NewMemory
from trouper.actors.memory_space import Lane, VectorSpace
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_memory import InMemoryStore

DIM = 16
EMBEDDER = "looked up"


def vectors(count: int, seed: int = 0) -> list[bytes]:
    made = np.random.default_rng(seed).normal(size=(count, DIM))
    return [row.astype("<f4").tobytes() for row in made / np.linalg.norm(made, axis=1, keepdims=True)]


async def store_of(count: int) -> InMemoryStore:
    store = InMemoryStore()
    await store.add(
        [
            NewMemory(content=f"text {n}", vector=vector, embedder=EMBEDDER)
            for n, vector in enumerate(vectors(count), start=1)
        ]
    )
    return store


class Watched(NumpyIndex):
    """Says what it is asked, and whether in the thread of the test."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.asked: list[tuple[str, int, bool]] = []
        self.grown = False
        self._home = threading.get_ident()

    def _note(self, what: str, count: int) -> None:
        self.asked.append((what, count, threading.get_ident() == self._home))

    def expect(self, count: int) -> None:
        self._note("expect", count)

    def add(self, ids: Sequence[int], vectors: Sequence[bytes]) -> None:
        self._note("add", len(ids))
        super().add(ids, vectors)

    def clear(self) -> None:
        self._note("clear", len(self))
        super().clear()

    def outgrown(self) -> bool:
        return self.grown

    def successor(self) -> Callable[[], NumpyIndex]:
        self.grown = False
        return super().successor()


async def space_of(
    store: InMemoryStore, index: NumpyIndex, *, threads: bool = False, above: int = 5_000
) -> VectorSpace:
    return VectorSpace(store, index, embedder=EMBEDDER, lane=Lane(above, threads=threads))


async def test_an_index_is_told_how_many_will_come_before_the_first_of_them() -> None:
    index = Watched(DIM)
    space = await space_of(await store_of(40), index)
    await space.catch_up()

    assert index.asked == [("expect", 40, True), ("add", 40, True)]


async def test_the_first_use_of_an_index_is_in_a_thread_and_what_is_little_afterwards_is_not() -> None:
    """It may import a library of many megabytes; that thread is the only one that a small memory ever costs."""
    index = Watched(DIM)
    store = await store_of(40)
    space = await space_of(store, index, threads=True)
    await space.catch_up()
    await space.add([99], vectors(1))

    assert index.asked == [("expect", 40, False), ("add", 40, True), ("add", 1, True)]


async def test_an_empty_memory_has_its_library_imported_in_a_thread_too() -> None:
    index = Watched(DIM)
    space = await space_of(InMemoryStore(), index, threads=True)
    await space.catch_up()

    assert index.asked == [("expect", 0, False)]


async def test_what_the_store_has_no_more_is_taken_out_and_what_is_inside_is_not_put_in_again() -> None:
    """A file that another process has changed: most of it is read anew, and only what is missing is put in."""
    store = await store_of(2_300)
    index = Watched(DIM)
    space = await space_of(store, index)
    await space.add(range(1, 21), vectors(2_300)[:20])
    await space.add(range(1_000, 1_080), vectors(2_300)[999:1_079])
    await store.delete(range(1, 11))
    await space.catch_up()

    assert index.ids() == frozenset(range(11, 2_301))
    assert sum(count for what, count, _ in index.asked if what == "add") == 100 + 2_200, "each of them once"
    for number in (11, 150, 2_300):
        assert index.search(vectors(2_300)[number - 1], 1)[0][0] == number


async def test_the_loop_comes_round_while_many_are_put_in(autojump_clock: trio.testing.MockClock) -> None:
    """2,500 take some 7 ms in one piece."""
    rounds = 0

    async def turn() -> None:
        nonlocal rounds
        while True:
            await trio.lowlevel.checkpoint()
            rounds += 1

    space = await space_of(InMemoryStore(), NumpyIndex(DIM))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn)
        before = rounds
        await space.add(range(1, 2_501), vectors(2_500))
        came = rounds - before
        nursery.cancel_scope.cancel()

    assert came >= 5, "ten pieces, with the loop between each two of them"
    assert space.index.ids() == frozenset(range(1, 2_501))


async def test_what_was_put_in_before_a_cancellation_is_made_up_for(autojump_clock: trio.testing.MockClock) -> None:
    store = await store_of(1_000)
    space = await space_of(store, NumpyIndex(DIM))
    with trio.CancelScope() as scope:
        scope.cancel()
        await space.add(range(1, 1_001), vectors(1_000))
    assert 0 < len(space.index) < 1_000

    await space.catch_up()
    assert space.index.ids() == frozenset(range(1, 1_001))
    assert space.unsaved == 1_000


async def test_what_an_index_held_is_freed_in_a_thread() -> None:
    """To free a hundred megabytes holds everybody up: of the index that is replaced, and of a space that ends."""
    index = Watched(DIM)
    space = await space_of(await store_of(30), index, above=20)
    await space.catch_up()
    index.grown = True
    assert await space.change_kind()
    assert index.asked[-1] == ("clear", 30, False)
    assert space.index is not index
    assert len(space.index) == 30

    await space.let_go()
    assert len(space.index) == 0


async def test_many_are_made_into_the_kind_that_suits_at_once() -> None:
    """An index that was made again is the one that stays, whatever it was before."""
    count = 2_600
    store = await store_of(count)

    class Large(FaissIndex):
        """Of vectors that it takes for a hundred thousand."""

        def expect(self, count: int) -> None:
            super().expect(50 * count)

    space = VectorSpace(store, Large(DIM), embedder=EMBEDDER, lane=Lane(5_000, threads=False))
    await space.catch_up()

    assert space.index.kind == "fp16"
    assert space.index.ids() == frozenset(range(1, count + 1))
