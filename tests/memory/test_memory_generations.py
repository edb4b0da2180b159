"""A change of embedder, an index that outgrows its kind: the old one serves until the new one is whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from trouper.actors import memory_derived
from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memories import Memories
from trouper.actors.memory import Memory, MemoryDefaults
from trouper.adapters.embed_choice import offline_embedder
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_memory import InMemoryStore
from trouper.runtime import BadRequest, ModelUnavailable, open_system

MANY = [f"text {n} about {word}" for n, word in enumerate(["tea", "cats", "rain", "music", "bread"] * 60)]


class Named(HashEmbedder):
    """A space of its own; slow and failing where it is told to."""

    def __init__(self, name: str, dim: int = 32) -> None:
        super().__init__(dim)
        self.name = name
        self.texts: list[str] = []
        self.seconds = 0.0
        self.fails: Callable[[str], Exception | None] = lambda text: None

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        self.texts += texts
        await trio.sleep(self.seconds)
        for text in texts:
            if (error := self.fails(text)) is not None:
                raise error
        return await super().embed(texts)


class Stage:
    def __init__(self, store: InMemoryStore, embedder: Named, former: Named | None = None, index=NumpyIndex) -> None:
        self.store, self.embedder, self.former, self.index = store, embedder, former, index

    def make(self) -> Memory:
        former = self.former
        return Memory(
            self.store,
            self.index,
            embedder=self.embedder.name,
            former=None if former is None else lambda name: former if name == former.name else None,
            defaults=MemoryDefaults(hybrid=False, min_score=-1.0),
        )

    async def start(self, system) -> Stage:
        await system.spawn(EmbeddingBatcher, self.embedder, name="batcher")
        self.ref = await system.spawn(self.make, name="memory", intensity=9)
        self.memories = Memories(self.ref)
        return self

    async def contents(self, query: str, k: int = 5, **options: object) -> list[str]:
        return [m.content for m in await self.memories.recall(query, k, **options)]


async def filled() -> InMemoryStore:
    store = InMemoryStore()
    async with open_system() as system:
        await (await Stage(store, Named("old")).start(system)).memories.remember(MANY)
    return store


async def expected(store: InMemoryStore, name: str, dim: int, query: str) -> list[str]:
    """What a fresh memory with that embedder finds."""
    other = InMemoryStore()
    await other.add([])
    async with open_system() as system:
        stage = await Stage(other, Named(name, dim)).start(system)
        await stage.memories.remember(MANY)
        return await stage.contents(query)


async def test_the_old_vectors_serve_while_the_new_ones_are_made(autojump_clock) -> None:
    store = await filled()
    old = await expected(store, "x", 32, "music")
    new = await expected(store, "x", 48, "music")
    assert old != new
    async with open_system() as system:
        embedder = Named("new", 48)
        stage = await Stage(store, embedder, Named("old")).start(system)
        embedder.seconds = 10.0
        began = trio.current_time()
        assert await stage.contents("music") == old
        assert trio.current_time() - began < 11  # its own embedding, and not that of 300 memories
        assert (await stage.memories.statistics()).waiting > 0
        (added,) = await stage.memories.remember("all about music")
        assert (await stage.contents("all about music", 1)) == ["all about music"]
        await stage.memories.forget([1])
        await trio.sleep(100)

        embedder.seconds = 0.0
        assert (await stage.memories.statistics()).waiting == 0
        assert [text for text in await stage.contents("music", 6) if text != "all about music"][:4] == new[:4]
        assert await store.embedders() == {("old", 32): 300, ("new", 48): 300}
        assert added in await store.vector_ids("new", 48)
        assert await stage.memories.drop_other_vectors() == 1
        assert await store.embedders() == {("new", 48): 300}
        assert len(await stage.contents("music", 999)) == 300
        assert sorted(set(embedder.texts)) == sorted({*MANY, "music", "all about music"})
        assert embedder.texts.count(MANY[7]) == 1


async def test_without_the_old_embedder_words_find_what_has_no_vector_yet(autojump_clock) -> None:
    store = await filled()
    async with open_system() as system:
        embedder = Named("new", 48)
        stage = await Stage(store, embedder).start(system)
        embedder.seconds = 5.0
        found = await stage.contents("music 213", hybrid=True)
        assert "213 about music" in found[0]
        await trio.sleep(100)
        assert len(await stage.contents("music", 9)) == 9
        assert await store.embedders() == {("old", 32): 300, ("new", 48): 300}


async def test_a_change_of_embedder_that_is_interrupted_goes_on_where_it_was(autojump_clock) -> None:
    store = await filled()
    for _ in range(3):
        async with open_system() as system:
            embedder = Named("new", 48)
            stage = await Stage(store, embedder, Named("old")).start(system)
            embedder.seconds = 5.0
            await stage.contents("music")
            await trio.sleep(6)  # one part, not all
    async with open_system() as system:
        stage = await Stage(store, Named("new", 48), Named("old")).start(system)
        await stage.contents("music")
        await trio.sleep(1)
        assert len(stage.embedder.texts) <= 2
        assert await store.embedders() == {("old", 32): 300, ("new", 48): 300}


async def test_an_embedder_that_cannot_be_asked_is_asked_again_later(autojump_clock) -> None:
    store = await filled()
    async with open_system() as system:
        embedder = Named("new", 48)
        stage = await Stage(store, embedder, Named("old")).start(system)
        embedder.fails = lambda text: ModelUnavailable("down") if text in MANY else None
        old = await stage.contents("music")
        await trio.sleep(20)
        assert await stage.contents("music") == old
        embedder.fails = lambda text: None
        await trio.sleep(40)
        assert await store.embedders() == {("old", 32): 300, ("new", 48): 300}


async def test_a_text_that_no_embedder_takes_is_found_by_its_words(autojump_clock) -> None:
    store = await filled()
    async with open_system() as system:
        embedder = Named("new", 48)
        stage = await Stage(store, embedder).start(system)
        embedder.fails = lambda text: BadRequest("no") if text == MANY[13] else None
        await stage.contents("music")
        await trio.sleep(50)

        assert await store.embedders() == {("old", 32): 300, ("new", 48): 299}
        found = await stage.memories.recall(MANY[13], 1, hybrid=True)
        assert (found[0].content, found[0].similarity) == (MANY[13], None)
        asked = len(embedder.texts)
        await stage.contents("tea")
        await trio.sleep(50)
        assert len(embedder.texts) == asked + 1


async def test_a_few_memories_without_a_vector_get_one_before_the_search(autojump_clock) -> None:
    store = InMemoryStore()
    async with open_system() as system:
        await (await Stage(store, Named("old")).start(system)).memories.remember(MANY[: memory_derived.FEW])
    async with open_system() as system:
        stage = await Stage(store, Named("new", 48)).start(system)
        assert len(await stage.contents("tea", 99)) == memory_derived.FEW


async def test_a_broken_embedder_does_not_keep_the_few_from_being_found_by_words(autojump_clock) -> None:
    store = InMemoryStore()
    async with open_system() as system:
        await (await Stage(store, Named("old")).start(system)).memories.remember(MANY[:5])
    async with open_system() as system:
        embedder = Named("new", 48)
        embedder.fails = lambda text: ModelUnavailable("down") if text in MANY else None
        stage = await Stage(store, embedder).start(system)
        assert await stage.contents("cats", hybrid=True) == [MANY[1]]


def test_the_embedders_that_need_no_network_are_found_by_their_names() -> None:
    for embedder in (HashEmbedder(), HashEmbedder(64)):
        found = offline_embedder(embedder.name)
        assert (found.name, found.dim) == (embedder.name, embedder.dim)
    assert offline_embedder("text-embedding-3-small") is None
    assert offline_embedder("hash-ngrams-x") is None


# ------------------------------------------------------------------ another kind of index


class Growing(NumpyIndex):
    """Outgrown at 100 vectors; the build waits until it is let go."""

    made = 0

    def __init__(self, dim: int, *, large: bool = False) -> None:
        super().__init__(dim)
        self.large = large

    @property
    def kind(self) -> str:
        return "large" if self.large else "small"

    def outgrown(self) -> bool:
        return not self.large and len(self) > 100

    def successor(self):
        make = super().successor()
        dim = self.dim

        def build() -> Growing:
            Growing.made += 1
            copy, other = make(), Growing(dim, large=True)
            ids = sorted(copy.ids())
            other.add(ids, [copy._vectors[number] for number in ids])
            return other

        return build


async def test_an_index_that_is_outgrown_is_replaced_and_nothing_is_missed(monkeypatch) -> None:
    """What is remembered and forgotten while the new one is built is in it too."""
    built, may_go = trio.Event(), trio.Event()
    run_sync = trio.to_thread.run_sync

    async def slow(work, *args, **options):
        result = await run_sync(work, *args, **options)
        if isinstance(result, Growing):
            built.set()
            await may_go.wait()
        return result

    monkeypatch.setattr(trio.to_thread, "run_sync", slow)
    Growing.made = 0
    async with open_system() as system:
        stage = await Stage(InMemoryStore(), Named("one"), index=Growing).start(system)
        ids = await stage.memories.remember(MANY[:150])
        await stage.contents("tea")
        with trio.fail_after(10):
            await built.wait()
        assert (await stage.memories.statistics()).index == "small"
        await stage.memories.remember("all about jazz")
        await stage.memories.forget(ids[:5])
        assert await stage.contents("all about jazz", 1) == ["all about jazz"]
        may_go.set()
        with trio.fail_after(10):
            while (await stage.memories.statistics()).index == "small":
                await trio.lowlevel.checkpoint()

        assert (await stage.memories.statistics()).vectors == 146
        assert await stage.contents("all about jazz", 1) == ["all about jazz"]
        assert len(await stage.contents("tea", 999)) == 146
        assert Growing.made == 1
