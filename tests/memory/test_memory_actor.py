"""The memory actor: the store is the truth, the index follows it, and every refusal is a typed one."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Sequence

import pytest
import trio

from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memory import Forget, Memory, MemoryCount, MemoryDefaults, Recall, Remember
from trouper.actors.memory_conversation import KeepTurn, ReadConversation, SetProfile
from trouper.actors.memory_data import NewMemory
from trouper.actors.memory_messages import MOST_CHARACTERS, MOST_QUERY, MOST_TEXTS
from trouper.adapters.embed_hash import HashEmbedder, hash_vector
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_memory import InMemoryStore
from trouper.runtime import ActorCrashed, AskTimeout, BadRequest, MemoryFailed, MemoryRefused, RateLimited, open_system
from trouper.runtime.testing import When, crash


class Embedder(HashEmbedder):
    """Counts the texts it embeds; slow and failing where it is told to."""

    def __init__(self, dim: int = 64, name: str = "first") -> None:
        super().__init__(dim)
        self.name = name
        self.texts: list[str] = []
        self.seconds = 0.0
        self.error: Exception | None = None

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        self.texts += texts
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return await super().embed(texts)


class Troupe:
    """A batcher and a memory over fakes; everything can be looked at."""

    def __init__(self, *, store: InMemoryStore | None = None, embedder: Embedder | None = None, **defaults) -> None:
        self.store = store or InMemoryStore()
        self.embedder = embedder or Embedder()
        self.defaults = MemoryDefaults(**{"hybrid": False, **defaults})
        self.indexes: list[NumpyIndex] = []

    def index(self, dim: int) -> NumpyIndex:
        self.indexes.append(NumpyIndex(dim))
        return self.indexes[-1]

    def make(self) -> Memory:
        return Memory(self.store, self.index, embedder=self.embedder.name, defaults=self.defaults)

    async def start(self, system) -> Troupe:
        self.batcher = await system.spawn(EmbeddingBatcher, self.embedder, name="batcher", intensity=9)
        self.ref = await system.spawn(self.make, name="memory", intensity=9)
        return self

    async def remember(self, *texts: str, **meta: object) -> tuple[int, ...]:
        return await self.ref.ask(Remember(texts, meta))

    async def recall(self, query: str, k: int | None = None, **more) -> list[str]:
        return [m.content for m in await self.ref.ask(Recall(query, k, **more))]


def stored(text: str, **more: object) -> NewMemory:
    return NewMemory(content=text, vector=hash_vector(text, 64), embedder="first", **more)


def brute(texts: Sequence[str], query: str, k: int, dim: int = 64) -> list[str]:
    def score(text: str) -> float:
        a = struct.unpack(f"<{dim}f", hash_vector(text, dim))
        b = struct.unpack(f"<{dim}f", hash_vector(query, dim))
        return math.fsum(x * y for x, y in zip(a, b, strict=True))

    return sorted(texts, key=lambda t: -score(t))[:k]


FACTS = ("the cat sleeps on the mat", "the database runs in Oslo", "invoices are sent on Friday", "Tom likes tea")


async def test_what_was_remembered_is_recalled_best_first(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        ids = await troupe.remember(*FACTS, kind="fact", source="test")
        found = await troupe.ref.ask(Recall("where does the database run?", 3))

        assert found[0].content == FACTS[1]
        assert (found[0].id, found[0].meta) == (ids[1], {"kind": "fact", "source": "test"})
        assert found[0].created > 0
        assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)
        assert all(-1 <= m.score <= 1 for m in found)
        assert (await troupe.ref.ask(Recall(FACTS[0], 1)))[0].score == pytest.approx(1.0)
        assert await troupe.ref.ask(MemoryCount()) == 4


async def test_an_empty_memory_recalls_nothing_and_embeds_nothing(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)

        assert await troupe.recall("anything") == []
        assert await troupe.remember() == ()
        assert await troupe.ref.ask(MemoryCount()) == 0
        assert troupe.embedder.texts == []


async def test_k_and_min_score_hold_and_have_defaults(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe(k=2, min_score=-1.0).start(system)
        await troupe.remember(*FACTS)

        assert len(await troupe.recall("the")) == 2
        assert len(await troupe.recall("the", 3)) == 3
        assert len(await troupe.recall("the", 99)) == 4
        assert await troupe.recall(FACTS[3], 4, min_score=0.99) == [FACTS[3]]
        assert await troupe.recall("zzz qqq", 4, min_score=0.99) == []
    async with open_system() as system:
        troupe = await Troupe(store=troupe.store, k=1, min_score=0.99).start(system)
        assert await troupe.recall("zzz qqq") == []
        assert await troupe.recall(FACTS[3]) == [FACTS[3]]


async def test_kinds_are_filtered_exactly(autojump_clock) -> None:
    """Fifty nearer memories of another kind do not crowd out the two that were asked for."""
    async with open_system() as system:
        troupe = await Troupe().start(system)
        await troupe.remember(*[f"green apple {n}" for n in range(50)], kind="episode")
        await troupe.remember("an apple", "tree", kind="note")
        await troupe.remember("apple without a kind")

        assert await troupe.recall("green apple", 2, kinds=("note",), min_score=-1) == ["an apple", "tree"]
        assert await troupe.recall("green apple", 5, kinds=("fact",)) == ["apple without a kind"]
        assert len(await troupe.recall("green apple", 60, kinds=("note", "episode"), min_score=-1)) == 52
        assert await troupe.recall("green apple", 5, kinds=("nothing",)) == []


async def test_the_same_text_is_remembered_once(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        (first,) = await troupe.remember("a fact")
        assert await troupe.recall("a fact") == ["a fact"]

        assert await troupe.remember("a fact", "another", "another") == (first, first + 1, first + 1)
        assert sorted(await troupe.recall("a fact", 9)) == ["a fact", "another"]
        assert len(troupe.indexes) == 1


async def test_what_was_forgotten_is_not_found(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        ids = await troupe.remember(*FACTS)
        await troupe.recall("tea")

        assert await troupe.ref.ask(Forget((ids[3], 99, -1, 2**70))) == 1
        assert FACTS[3] not in await troupe.recall("Tom likes tea", 9)
        assert await troupe.ref.ask(MemoryCount()) == 3
        assert [index.ids() for index in troupe.indexes] == [set(ids[:3])]


@pytest.mark.parametrize("seed", range(10))
async def test_any_history_is_recalled_like_brute_force(autojump_clock, seed: int) -> None:
    """Remember, forget, crash, a second process on the same store: recall always equals a search over the truth."""
    rng = random.Random(seed)
    words = [f"w{n}" for n in range(30)]
    truth: dict[int, str] = {}
    async with open_system() as system:
        troupe = await Troupe().start(system)
        for step in range(30):
            choice = rng.random()
            if choice < 0.5:
                texts = [f"{' '.join(rng.sample(words, 4))} {step}-{n}" for n in range(rng.randrange(1, 6))]
                truth.update(zip(await troupe.remember(*texts), texts, strict=True))
            elif choice < 0.7 and truth:
                gone = rng.sample(sorted(truth), min(len(truth), 3))
                await troupe.ref.ask(Forget(tuple(gone)))
                for number in gone:
                    del truth[number]
            elif choice < 0.8:
                crash(troupe.ref, rng.choice([When.QUEUED, When.IN_FLIGHT]))
            else:
                text = f"from elsewhere {step}"
                (number,) = await troupe.store.add([stored(text)])
                truth[number] = text
            query = " ".join(rng.sample(words, 3))
            found = await _recalled(troupe, query)
            assert found == brute(list(truth.values()), query, 7)


async def _recalled(troupe: Troupe, query: str) -> list[str]:
    for _ in range(3):
        try:
            return await troupe.recall(query, 7, min_score=-1.0)
        except ActorCrashed:
            continue
    raise AssertionError("it crashed again and again")


# ------------------------------------------------------------------ the index follows the store


async def test_a_change_by_somebody_else_is_seen(autojump_clock) -> None:
    store = InMemoryStore()
    async with open_system() as system:
        mine = await Troupe(store=store).start(system)
        await mine.remember("one thing")
        await mine.recall("thing")
        async with open_system() as other_system:
            other = await Troupe(store=store).start(other_system)
            (added,) = await other.remember("another thing")
            assert sorted(await mine.recall("thing", 9)) == ["another thing", "one thing"]
            await other.ref.ask(Forget((added,)))
            assert await mine.recall("thing", 9) == ["one thing"]


async def test_a_change_by_somebody_else_in_the_middle_of_ours_is_seen(autojump_clock) -> None:
    class Interleaved(InMemoryStore):
        async def add(self, rows):
            ids = await super().add(rows)
            text = f"theirs beside {rows[0].content}"
            await super().add([stored(text)])
            return ids

    async with open_system() as system:
        troupe = await Troupe(store=Interleaved()).start(system)
        await troupe.remember("old thing")
        assert len(await troupe.recall("thing", 9)) == 2
        await troupe.remember("our thing")

        assert len(await troupe.recall("thing", 9)) == 4


async def test_the_index_is_made_once_and_kept_in_step(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        for n in range(20):
            await troupe.remember(f"fact {n}")
            assert len(await troupe.recall("fact", 99, min_score=-1)) == n + 1

    assert len(troupe.indexes) == 1


async def test_many_first_recalls_make_one_index(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        await troupe.remember(*FACTS)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(troupe.recall, "tea")

    assert len(troupe.indexes) == 1


async def test_another_embedder_embeds_what_is_there_again_and_once(autojump_clock) -> None:
    store = InMemoryStore()
    async with open_system() as system:
        await (await Troupe(store=store).start(system)).remember(*FACTS)
    for dim, name in ((64, "second"), (32, "third")):
        for texts in (sorted((*FACTS, "tea")), ["tea"]):
            async with open_system() as system:
                troupe = await Troupe(store=store, embedder=Embedder(dim, name)).start(system)
                assert await troupe.recall("tea", 4, min_score=-1) == brute(FACTS, "tea", 4, dim)
                assert sorted(troupe.embedder.texts) == texts
                await troupe.recall("tea")
                assert len(troupe.indexes) == 1
    assert await store.embedders() == {("first", 64): 4, ("second", 64): 4, ("third", 32): 4}


async def test_an_embedder_that_does_not_know_its_dimension_yet_works(autojump_clock) -> None:
    """As one over HTTP: 0 until the first answer has shown it."""

    class Late(Embedder):
        async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
            self.dim = 64
            return await super().embed(texts)

    store = InMemoryStore()
    for _ in range(2):
        embedder = Late()
        embedder.dim = 0
        async with open_system() as system:
            troupe = await Troupe(store=store, embedder=embedder).start(system)
            await troupe.remember("a fact")
            assert await troupe.recall("a fact") == ["a fact"]


async def test_a_crash_loses_nothing_that_was_acknowledged(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        await troupe.remember(*FACTS)
        await troupe.recall("tea")
        crash(troupe.ref, When.BEFORE_REPLY)
        with pytest.raises(ActorCrashed):
            await troupe.remember("stored, but not acknowledged")

        assert len(await troupe.recall("tea", 9, min_score=-1)) == 5
        assert troupe.ref.incarnation == 2


async def test_a_crash_of_the_batcher_is_survived(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        crash(troupe.batcher, When.IN_FLIGHT)

        assert await troupe.remember("a fact") == (1,)
        assert (troupe.batcher.incarnation, troupe.ref.incarnation) == (2, 1)


async def test_an_embedder_with_a_bug_is_a_typed_error_here(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        troupe.embedder.error = ZeroDivisionError("a bug")

        with pytest.raises(BadRequest, match="a bug"):
            await troupe.remember("a fact")
        assert troupe.ref.incarnation == troupe.batcher.incarnation == 1
        assert await troupe.store.count() == 0


# ------------------------------------------------------------------ failures


async def test_nothing_is_stored_when_a_text_cannot_be_embedded(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        troupe.embedder.error = RateLimited("429")
        with pytest.raises(RateLimited):
            await troupe.remember("a", "b")
        assert await troupe.ref.ask(MemoryCount()) == 0
        troupe.embedder.error = None
        await troupe.remember("a")
        troupe.embedder.error = BadRequest("no")
        with pytest.raises(BadRequest):
            await troupe.recall("a")
        assert troupe.ref.incarnation == 1


async def test_a_store_that_fails_is_a_typed_error_and_the_index_is_made_again(autojump_clock) -> None:
    """Whatever the failed change did, the next recall is the truth."""

    class Failing(InMemoryStore):
        fail = False

        async def add(self, rows):
            ids = await super().add(rows)
            if self.fail:
                raise MemoryFailed("nobody knows")
            return ids

        async def delete(self, ids):
            count = await super().delete(ids)
            if self.fail:
                raise MemoryFailed("nobody knows")
            return count

    store = Failing()
    async with open_system() as system:
        troupe = await Troupe(store=store).start(system)
        (first,) = await troupe.remember("first thing")
        await troupe.recall("thing")
        store.fail = True
        with pytest.raises(MemoryFailed, match="nobody knows"):
            await troupe.remember("second thing")
        assert sorted(await troupe.recall("thing", 9)) == ["first thing", "second thing"]
        with pytest.raises(MemoryFailed, match="nobody knows"):
            await troupe.ref.ask(Forget((first,)))
        assert await troupe.recall("thing", 9) == ["second thing"]
        assert troupe.ref.incarnation == 1


async def test_a_closed_store_is_a_typed_error_and_no_crash(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        await troupe.store.aclose()
        for message in (Remember(("a",)), Recall("a"), Forget((1,)), MemoryCount()):
            with pytest.raises(MemoryFailed, match="closed"):
                await troupe.ref.ask(message)
        assert troupe.ref.incarnation == 1


async def test_remembering_goes_on_when_the_asker_leaves(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        troupe.embedder.seconds = 5.0
        with trio.move_on_after(1):
            await troupe.remember("a fact")
        assert await troupe.ref.ask(MemoryCount()) == 0
        await trio.sleep(5)

        assert await troupe.ref.ask(MemoryCount()) == 1


async def test_an_embedder_that_is_too_slow_for_the_deadline_does_not_crash_the_memory(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        troupe.embedder.seconds = 5.0
        with pytest.raises(AskTimeout):
            await troupe.ref.ask(Remember(("a fact",)), timeout=1)
        troupe.embedder.seconds = 0.0

        assert await troupe.remember("another") == (1,)
        assert troupe.ref.incarnation == 1


async def test_recalls_run_beside_each_other(autojump_clock) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        await troupe.remember(*FACTS)
        await troupe.recall("tea")
        troupe.embedder.seconds = 1.0
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for n in range(8):
                nursery.start_soon(troupe.recall, f"query {n}")
        assert trio.current_time() - began < 2.1


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Recall(""), "empty"),
        (Recall(" \n"), "empty"),
        (Recall(None), "empty"),
        (Recall("x" * 1_000_000), f"at most {MOST_QUERY:,}"),
        (Recall("q", 0), "k is 0"),
        (Recall("q", -1), "k is -1"),
        (Recall("q", 1001), "k is 1001"),
        (Recall("q", k=True), "k is True"),
        (Recall("q", 2.5), r"k is 2\.5"),
        (Recall("q", 1, math.nan), "min_score is nan"),
        (Recall("q", 1, 1.5), "min_score"),
        (Recall("q", 1, "0.5"), "min_score"),
        (Remember(("",)), "text 1 of 1 is empty"),
        (Remember(("a", " ")), "text 2 of 2 is empty"),
        (Remember(("a", 7)), "text 2 of 2"),
        (Remember("abc"), "tuple"),
        (Remember(("x" * (MOST_CHARACTERS + 1),)), "Remember its parts"),
        (Remember(("x",) * (MOST_TEXTS + 1)), "in parts"),
        (Remember(("a\ud800",)), "half a character"),
        (Remember(("a",), {"x": object()}), "metadata"),
        (Remember(("a",), {1: 2}), "metadata"),
        (Remember(("a",), {"x": math.inf}), "metadata"),
        (Forget(("1",)), "not the id"),
        (Forget((True,)), "not the id"),
        (Recall("q", namespace="\ud800"), "half a character"),
        (Recall("q", tags=("\ud800",)), "half a character"),
        (Recall("q", kinds=(7,)), "no text"),
        (Recall("q", where={"\ud800": 1}), "half a character"),
        (Recall("q", where={"a": ["\ud800"]}), "half a character"),
        (Recall("q", where={"a": 2**63}), "64 bits"),
        (Recall("q", where={"a": -(10**400)}), "64 bits"),
        (Remember(("a",), near_duplicates="drop"), "near_duplicates"),
        (Remember(("a",), distinct="\ud800"), "half a character"),
        (Remember(("a",), distinct=7), "no text"),
        (KeepTurn(conversation="\ud800", speaker="s", text="t"), "half a character"),
        (KeepTurn(conversation="c", speaker="s", text="t", key="\ud800"), "half a character"),
        (ReadConversation(conversation="\ud800"), "half a character"),
        (SetProfile(entries={"city": "Oslo", "\ud800": "x"}), "half a character"),
        (SetProfile(entries={"city": "Oslo", "pet": "\ud800"}), "half a character"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anything_is_done(autojump_clock, message, why: str) -> None:
    async with open_system() as system:
        troupe = await Troupe().start(system)
        await troupe.remember("a fact")
        before = await troupe.store.generation()

        with pytest.raises(MemoryRefused, match=why):
            await troupe.ref.ask(message)
        assert await troupe.store.generation() == before
        assert troupe.ref.incarnation == 1
