"""What memories are told apart by: namespaces, categories, tags, metadata, time, what took their place."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence

import pytest
import trio

from trouper.actors import memory_selections
from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memories import Memories
from trouper.actors.memory import NO_VECTORS, Memory, MemoryDefaults
from trouper.actors.memory_data import MemoryFilter, MemoryRow, NewMemory
from trouper.actors.memory_messages import EraseExpired, Forget, Recall, Remember, Supersede
from trouper.actors.memory_ranking import DAY, Blend
from trouper.actors.vectors import embedding_key
from trouper.adapters.cache_memory import InMemoryEmbeddingCache
from trouper.adapters.embed_hash import HashEmbedder, hash_vector
from trouper.adapters.embed_none import NoEmbedder
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_memory import InMemoryStore
from trouper.adapters.store_sqlite import SqliteMemoryStore
from trouper.runtime import MemoryRefused, ModelUnavailable, open_system

DIM = 64
TEXTS = ("tea", "bread", "rain")


class Embedder(HashEmbedder):
    """Fails where it is told to; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.error: Exception | None = None
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        self.texts += texts
        if self.error is not None:
            raise self.error
        return await super().embed(texts)


class Stage:
    """A memory over fakes, with a clock of its own."""

    def __init__(self, *, embedder=None, store=None, **defaults: object) -> None:
        self.now = 1_000_000.0
        self.store = store or InMemoryStore(now=lambda: self.now)
        self.embedder = embedder or Embedder()
        self.defaults = MemoryDefaults(**defaults)

    async def start(self, system) -> Stage:
        await system.spawn(EmbeddingBatcher, self.embedder, name="batcher", intensity=9)
        self.ref = await system.spawn(self.make, name="memory", intensity=9)
        self.memories = Memories(self.ref)
        return self

    def make(self) -> Memory:
        return Memory(self.store, NumpyIndex, embedder=self.embedder.name, defaults=self.defaults, now=lambda: self.now)


async def contents(memories: Memories, query: str, k: int = 99, **options: object) -> list[str]:
    return [m.content for m in await memories.recall(query, k, **{"min_score": -1.0, **options})]


async def test_a_namespace_never_sees_anothers_memories(autojump_clock) -> None:
    """Fifty nearer memories of somebody else take no place from the one that is one's own."""
    async with open_system() as system:
        stage = await Stage().start(system)
        anna, bob = stage.memories.of("anna"), stage.memories.of("bob")
        await anna.remember([f"green apple {n}" for n in range(50)])
        (own,) = await bob.remember("a pear")

        assert await contents(bob, "green apple", 5) == ["a pear"]
        assert await contents(bob, "green apple", 5, hybrid=True) == ["a pear"]
        assert await contents(stage.memories, "green apple") == []
        assert len(await contents(anna, "green apple")) == 50
        (found,) = await bob.recall("pear", 1)
        assert (found.id, found.namespace) == (own, "bob")
        assert await anna.forget([own]) == 0
        assert await anna.forget(everything=True) == 50
        assert await contents(bob, "apple") == ["a pear"]


async def test_the_configured_namespace_is_that_of_who_names_none(autojump_clock) -> None:
    async with open_system() as system:
        stage = await Stage(namespace="home").start(system)
        await stage.memories.remember("a fact")

        assert await contents(stage.memories.of("home"), "fact") == ["a fact"]
        assert await stage.memories.forget(everything=True) == 1


async def test_tags_categories_and_metadata_filter_exactly(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage().start(system)).memories
        await memories.remember([f"apple {n}" for n in range(40)], {"project": "x", "done": False})
        await memories.remember("one apple", {"project": "y", "done": 0}, tags=["fruit", "red"], category="note")
        await memories.remember("two apples", {"project": ["y"]}, tags=["fruit"])

        assert await contents(memories, "apple", 2, where={"project": "y"}) == ["one apple"]
        assert await contents(memories, "apple", 2, where={"done": 0}) == ["one apple"]
        assert len(await contents(memories, "apple", where={"done": False})) == 40
        assert await contents(memories, "apple", 2, tags=["fruit", "red"]) == ["one apple"]
        assert len(await contents(memories, "apple", 9, tags=["fruit"])) == 2
        assert await contents(memories, "apple", 3, categories=["note"]) == ["one apple"]
        assert await contents(memories, "apple", where={"project": "y"}, tags=["blue"]) == []
        assert len(await contents(memories, "apple", where={"project": ["x", "y"]})) == 41
        assert await memories.forget(where={"project": "x"}) == 40
        assert len(await contents(memories, "apple")) == 2


async def test_what_is_forgotten_loses_its_vector_in_the_cache_too(autojump_clock) -> None:
    """A vector tells something of its text. Those of others, and of what has the same text elsewhere, may go too."""
    async with open_system() as system:
        stage, cache = Stage(), InMemoryEmbeddingCache()
        await stage.store.add([NewMemory(content="tea", vector=hash_vector("tea", DIM), embedder="before")])
        kept = {(name, text): embedding_key(name, text) for name in ("before", stage.embedder.name) for text in TEXTS}
        await cache.put_many([(key, hash_vector(text, DIM)) for (_, text), key in kept.items()])
        await system.spawn(lambda: EmbeddingBatcher(stage.embedder, cache=cache), name="batcher")
        name = stage.embedder.name
        memory = await system.spawn(lambda: Memory(stage.store, NumpyIndex, embedder=name, cache=cache), name="memory")
        ids = await Memories(memory).remember(TEXTS)
        assert await Memories(memory).forget(ids[:2]) == 2

        left = dict(zip(kept, await cache.get_many(list(kept.values())), strict=True))
        assert {(name, text) for (name, text), vector in left.items() if vector is not None} == {
            ("before", TEXTS[2]),
            (stage.embedder.name, TEXTS[2]),
        }


async def test_a_memory_is_found_until_it_expires_and_erased_after_that(autojump_clock) -> None:
    async with open_system() as system:
        stage = await Stage(ttl=100.0).start(system)
        await stage.memories.remember("short apple", ttl=10)
        await stage.memories.remember("long apple", ttl=math.inf)
        await stage.memories.remember("usual apple")
        assert len(await contents(stage.memories, "apple")) == 3
        stage.now += 10
        assert sorted(await contents(stage.memories, "apple", 2)) == ["long apple", "usual apple"]
        stage.now += 95
        assert await contents(stage.memories, "apple") == ["long apple"]
        assert len(await contents(stage.memories, "apple", superseded=True)) == 3

        await stage.ref.tell(EraseExpired())
        await trio.sleep(1)
        assert len(await contents(stage.memories, "apple", superseded=True)) == 1
        assert await stage.memories.count() == 1
        await stage.memories.remember("usual apple")
        assert len(await contents(stage.memories, "apple")) == 2


async def test_what_has_expired_is_erased_by_itself(autojump_clock) -> None:
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember("a fact", ttl=10)
        stage.now += 11
        await trio.sleep(3_601)

        assert await stage.memories.count() == 0


async def test_what_was_superseded_is_kept_and_not_found(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage().start(system)).memories
        (old,) = await memories.remember("the release is on Friday")
        assert await contents(memories, "when is the release?") == ["the release is on Friday"]
        new = await memories.supersede(old, "the release is on Monday")

        assert await contents(memories, "when is the release?") == ["the release is on Monday"]
        both = await memories.recall("when is the release?", superseded=True)
        assert {m.id: m.superseded_by for m in both} == {old: new, new: None}
        with pytest.raises(MemoryRefused, match="no memory 99"):
            await memories.supersede(99, "x")
        with pytest.raises(MemoryRefused, match="no memory"):
            await memories.of("bob").supersede(new, "x")
        assert await contents(memories, "when is the release?") == ["the release is on Monday"]
        assert await memories.remember("the release is on Friday") == (old,)
        assert len(await contents(memories, "when is the release?")) == 2


# ------------------------------------------------------------------ near duplicates

NEAR = ("meet the printer company on Friday at ten", "meet the printer company on Friday, at ten")
FAR = "bread needs salt"


async def test_near_duplicates_are_kept_unless_somebody_says_otherwise(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage(near_threshold=0.95).start(system)).memories
        ids = await memories.remember([*NEAR, FAR])

        assert len(set(ids)) == 3
        assert ids.near == ()
        assert len(await contents(memories, "meeting")) == 3


async def test_a_merged_memory_stands_for_the_old_one_and_says_so(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage(near_duplicates="merge", near_threshold=0.95).start(system)).memories
        (old,) = await memories.remember(NEAR[0], tags=["work"], salience=0.9)
        ids = await memories.remember([FAR, NEAR[1]], tags=["new"])

        assert [(one.index, one.id) for one in ids.near] == [(1, old)]
        assert ids.near[0].score >= 0.95
        assert await contents(memories, "meeting printer", 1) == [NEAR[1]]
        assert old not in [m.id for m in await memories.recall("meeting", 9)]
        (new,) = await memories.recall("meeting printer", 1)
        assert (new.tags, new.salience) == (("new", "work"), 0.9)
        assert (await memories.remember(NEAR[1])).near == ()  # the same text is no near duplicate
        beside = await memories.remember(["one two three four five six", "one two three four five six!"])
        assert [(one.index, one.id) for one in beside.near] == [(1, beside[0])]
        assert (await memories.of("bob").remember(NEAR[0])).near == ()
        assert (await memories.remember(NEAR[0], category="note")).near == ()


async def test_a_near_duplicate_can_be_refused_and_then_nothing_is_stored(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage(near_duplicates="refuse", near_threshold=0.95).start(system)).memories
        await memories.remember(NEAR[0])
        with pytest.raises(MemoryRefused, match="nearly says what memory 1 says"):
            await memories.remember([FAR, NEAR[1]])
        with pytest.raises(MemoryRefused, match="text 1 beside it"):
            await memories.remember(["one two three four five", "one two three four five!"])
        assert await memories.count() == 1
        assert await memories.remember(NEAR[1], near_duplicates="keep") == (2,)


# ------------------------------------------------------------------ ranking


async def test_what_expires_while_it_is_looked_for_is_not_found(autojump_clock, monkeypatch) -> None:
    """Who is meant was known a moment before; the rows are looked at once more."""
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember("a short note", ttl=50)
        await stage.memories.remember("a long note")
        find_words = stage.store.find_words

        async def slowly(*given, **more):
            found = await find_words(*given, **more)
            stage.now += 100
            return found

        assert sorted(await contents(stage.memories, "note")) == ["a long note", "a short note"]
        monkeypatch.setattr(stage.store, "find_words", slowly)

        assert await contents(stage.memories, "note") == ["a long note"]


async def test_an_attribute_that_is_erased_takes_all_that_was_believed_before_along(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage().start(system)).memories.of("anna")
        for city in ("Oslo", "Bergen", None):
            await memories.set_profile({"city": city})

        assert [row async for row in memories.read(superseded=True)] == []


@pytest.mark.parametrize("policy", ["merge", "refuse"])
async def test_the_same_text_again_is_the_same_memory_and_no_near_duplicate(autojump_clock, policy) -> None:
    """Who did not hear the answer says it again; that must not be refused, nor supersede anything."""
    async with open_system() as system:
        memories = (await Stage(near_duplicates=policy, near_threshold=0.9).start(system)).memories
        (one,) = await memories.remember("the printer on floor two is from acme")
        (two,) = await memories.remember("the printer on floor two is from acme!", near_duplicates="keep")
        again = await memories.remember(["the printer on floor two is from acme", "tea at five", "tea at five"])

        assert (again[0], again[1], again.near) == (one, again[2], ())
        assert sorted(await contents(memories, "printer", k=2)) == sorted(
            ["the printer on floor two is from acme", "the printer on floor two is from acme!"]
        )
        assert two != one


async def test_shared_words_help_and_a_memory_that_vectors_miss_is_found(autojump_clock) -> None:
    class Blind(Embedder):
        """No question is like any memory to it."""

        async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
            return await super().embed(["zzz" if text.startswith("what") else "mmm" for text in texts])

    async with open_system() as system:
        memories = (await Stage(embedder=Blind()).start(system)).memories
        await memories.remember([*(f"text {n}" for n in range(60)), "the code is X-17-beta"])

        (found,) = await memories.recall("what is code X-17-beta", 1)
        assert found.content == "the code is X-17-beta"
        assert found.words == 1.0
        assert (await memories.recall("what is code X-17-beta", 1, hybrid=False))[0].content == "text 0"


async def test_without_an_embedder_words_find_and_vectors_come_when_there_is_one(autojump_clock) -> None:
    store = InMemoryStore()
    async with open_system() as system:
        memories = (await Stage(embedder=NoEmbedder(), store=store).start(system)).memories
        await memories.remember(["the cat sleeps on the mat", "bread needs salt"], near_duplicates="merge")

        (found,) = await memories.recall("who sleeps?")
        assert (found.content, found.similarity) == ("the cat sleeps on the mat", None)
        assert 0 < found.score <= 0.5
        assert await memories.recall("nothing of that") == ()
        assert (await memories.statistics()).embedder is None
        assert await memories.forget([found.id]) == 1
        assert await memories.recall("who sleeps?") == ()
    assert Stage(embedder=NoEmbedder()).embedder.name == NO_VECTORS
    async with open_system() as system:
        memories = (await Stage(store=store).start(system)).memories
        (found,) = await memories.recall("bread")
        assert found.similarity is not None


async def test_an_embedder_that_fails_leaves_the_words_unless_they_are_not_wanted(autojump_clock) -> None:
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember(["the cat sleeps", "bread needs salt"])
        stage.embedder.error = ModelUnavailable("down")

        assert await contents(stage.memories, "cat") == ["the cat sleeps"]
        with pytest.raises(ModelUnavailable):
            await stage.memories.recall("cat", hybrid=False)
        stage.embedder.error = None
        assert len(await contents(stage.memories, "cat")) == 2


async def test_recency_salience_and_use_count_as_far_as_they_are_asked_to(autojump_clock) -> None:
    async with open_system() as system:
        stage = await Stage(background=False).start(system)
        memories = stage.memories
        (old,) = await memories.remember("an apple is red", salience=0.9, half_life=10 * DAY)
        stage.now += 100 * DAY
        (new,) = await memories.remember("an apple is green", salience=0.5)

        async def first(**weights: float) -> int:
            return (await memories.recall("an apple is", 2, blend=Blend(**weights)))[0].id

        scores = {m.id: m.score for m in await memories.recall("an apple is red", 2)}
        assert scores[old] > scores[new]
        assert await first(recency=5.0) == new
        assert await first(salience=5.0) == old  # recalled just now, so it has not faded
        stage.now += 50 * DAY
        assert await first(salience=5.0) == new
        for _ in range(20):
            await memories.recall("an apple is red", 1)
        assert await first(uses=5.0) == old
        rows = {row.id: row.accesses async for row in memories.read()}
        assert rows[old] > rows[new]


async def test_variety_gives_what_says_something_else(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage().start(system)).memories
        await memories.remember([f"the printer is broken again {n}" for n in range(5)])
        await memories.remember("the printer is from Acme")

        assert "the printer is from Acme" not in await contents(memories, "the printer is broken", 3)
        found = await contents(memories, "the printer is broken", 3, diversity=0.6)
        assert "the printer is from Acme" in found
        assert found[0] == (await contents(memories, "the printer is broken", 1))[0]


async def test_uses_are_counted_behind_the_answer_or_before_it(autojump_clock) -> None:
    for background in (True, False):
        async with open_system() as system:
            stage = await Stage(background=background).start(system)
            (one,) = await stage.memories.remember("a fact")
            await stage.memories.recall("fact")
            before = (await stage.store.get([one]))[0].accesses
            await trio.sleep(2)

            assert before == (0 if background else 1)
            assert (await stage.store.get([one]))[0].accesses == 1


# ------------------------------------------------------------------ people and conversations


async def test_a_profile_has_the_last_value_of_each_attribute(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage().start(system)).memories
        anna = memories.of("anna")
        await anna.set_profile({"name": "Anna", "city": "Oslo", "tea": "green"})
        await anna.set_profile({"city": "Bergen", "name": "Anna"})
        assert dict(await anna.profile()) == {"name": "Anna", "city": "Bergen", "tea": "green"}
        await anna.set_profile({"city": "Oslo", "tea": None})

        assert dict(await anna.profile()) == {"name": "Anna", "city": "Oslo"}
        assert dict(await memories.profile()) == {}
        assert "city: Bergen" in await contents(anna, "city", superseded=True)
        assert not any("tea" in text for text in await contents(anna, "tea", superseded=True))
        for bad in ({"": "x"}, {"x": " "}, {"x": 7}):
            with pytest.raises(MemoryRefused):
                await anna.set_profile(bad)


@pytest.mark.parametrize("background", [True, False])
async def test_a_long_conversation_is_summed_up_and_its_last_turns_are_kept(autojump_clock, background: bool) -> None:
    async with open_system() as system:
        stage = await Stage(background=background).start(system)
        anna = stage.memories.of("anna")
        for n in range(45):
            await anna.keep_turn("first", "Anna" if n % 2 else "bot", f"turn {n}")
        await anna.keep_turn("second", "Anna", "turn 44")
        await trio.sleep(1)

        found = await anna.conversation("first")
        assert [turn.text for turn in found.turns] == [f"turn {n}" for n in range(25, 45)]
        assert (found.turns[-1].speaker, found.turns[-2].speaker) == ("bot", "Anna")
        assert found.summary is not None
        assert "bot: turn 0" in found.summary
        assert (await anna.conversation("second")).summary is None
        assert len((await anna.conversation("second")).turns) == 1
        assert (await stage.memories.conversation("first")).turns == ()
        assert "turn 3" not in await contents(anna, "turn 3")
        for n in range(45, 70):
            await anna.keep_turn("first", "Anna", f"turn {n}")
        await trio.sleep(1)
        again = await anna.conversation("first", turns=3)
        assert [turn.text for turn in again.turns] == ["turn 67", "turn 68", "turn 69"]
        assert "Before: " in (again.summary or "")


async def test_the_same_turn_sent_twice_is_kept_once(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage().start(system)).memories
        ids = [await memories.keep_turn("c", "Anna", "yes", key=key) for key in ("1", "1", None, None)]

        assert ids[0] == ids[1]
        assert len(set(ids)) == 3
        assert len((await memories.conversation("c")).turns) == 3


# ------------------------------------------------------------------ in and out


def said(row: MemoryRow) -> tuple[object, ...]:
    """All that a memory says, besides ids."""
    times = (row.created, row.expires, row.half_life)
    return (row.content, row.namespace, row.category, row.tags, row.salience, dict(row.meta), row.distinct, times)


async def test_what_is_exported_is_imported_elsewhere_as_it_was(autojump_clock) -> None:
    async with open_system() as system:
        stage = await Stage().start(system)
        memories = stage.memories
        await memories.remember(["one", "two"], {"a": [1, None]}, tags=["t"], salience=0.7, half_life=9.0, ttl=1e9)
        await memories.supersede(1, "uno")
        await memories.supersede(3, "un")
        await memories.of("bob").set_profile({"name": "Bob"})
        lines = [line async for line in memories.export(everybody=True)]
        rows = [row async for row in memories.read(superseded=True, everybody=True)]
        assert len(lines) == 5
        assert len([line async for line in memories.of("bob").export()]) == 1
    async with open_system() as system:
        other = await Stage().start(system)
        await other.memories.remember("here before")
        assert await other.memories.import_lines(lines) == 5
        assert await other.memories.import_lines([*lines, "", " "]) == 5

        found = [row async for row in other.memories.read(superseded=True, everybody=True)]
        assert len(found) == 6
        shifted = [
            json.dumps([r.content, r.namespace, r.category, r.tags, r.created, r.expires, r.meta]) for r in found
        ]
        assert shifted[1:] == [
            json.dumps([r.content, r.namespace, r.category, r.tags, r.created, r.expires, r.meta]) for r in rows
        ]
        assert [r.superseded_by and r.superseded_by - 1 for r in found[1:]] == [r.superseded_by for r in rows]
        assert await contents(other.memories, "un", 1) == ["un"]
        assert await other.memories.of("carl").import_lines(lines) == 5
        assert dict(await other.memories.of("carl").profile()) == {"name": "Bob"}
        for bad in ("{", "[]", "7", json.dumps({"content": "x"}), lines[0].replace('"one"', "7")):
            with pytest.raises(MemoryRefused):
                await other.memories.import_lines([bad])


async def test_statistics_say_what_there_is(autojump_clock) -> None:
    async with open_system() as system:
        memories = (await Stage().start(system)).memories
        await memories.remember(["one", "two"])
        await memories.recall("one")
        found = await memories.statistics()

        assert (found.store.memories, found.vectors, found.index, found.waiting, found.recalls) == (2, 2, "numpy", 0, 1)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Forget(), "what to forget"),
        (Remember(("a",), ttl=0), "ttl"),
        (Remember(("a",), ttl=math.nan), "ttl"),
        (Remember(("a",), ttl=True), "ttl"),
        (Remember(("a",), namespace=" "), "namespace"),
        (Remember(("a",), category="c" * 201), "category"),
        (Remember(("a",), salience=2), "salience"),
        (Remember(("a",), half_life=-1), "half_life"),
        (Supersede((), Remember(("a",))), "ids of the memories"),
        (Supersede((1,), Remember(("a", "b"))), "one text"),
        (Recall("q", where={"a": object()}), "where"),
        (Recall("q", diversity=2), "diversity"),
        (Recall("q", diversity=math.nan), "diversity"),
    ],
)
async def test_what_makes_no_sense_is_refused(autojump_clock, message, why: str) -> None:
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember("a fact")
        before = await stage.store.generation()

        with pytest.raises(MemoryRefused, match=why):
            await stage.ref.ask(message)
        assert await stage.store.generation() == before
        assert stage.ref.incarnation == 1


# ------------------------------------------------------------------ against a plain list


def brute(rows: dict[int, NewMemory], meant: MemoryFilter, dead: set[int], now: float, query: str, k: int) -> list[int]:
    """What `recall` without words has to give, by looking at every row that was ever acknowledged."""

    def score(row: NewMemory) -> float:
        a, b = memoryview(hash_vector(row.content, DIM)).cast("f"), memoryview(hash_vector(query, DIM)).cast("f")
        return math.fsum(x * y for x, y in zip(a, b, strict=True))

    fitting = [
        number
        for number, row in rows.items()
        if row.namespace == meant.namespace
        and (not meant.categories or row.category in meant.categories)
        and (meant.dead or (number not in dead and (row.expires is None or row.expires > now)))
        and all(any(row.meta.get(name, ...) == value for value in values) for name, values in meant.where)
    ]
    return sorted(fitting, key=lambda n: (-round(score(rows[n]), 5), n))[:k]


@pytest.mark.parametrize("looks", [5_000, 3])
@pytest.mark.parametrize("seed", range(6))
async def test_any_history_is_recalled_as_a_search_over_every_row_would(
    autojump_clock, monkeypatch, seed: int, looks: int
) -> None:
    """Namespaces, metadata, expiry, superseding, forgetting, other writers and restarts, in any order.

    Also where so much changes at once that selections are found anew instead of followed.
    """
    monkeypatch.setattr(memory_selections, "_MOST_LOOKS", looks)
    rng = random.Random(seed)
    rows: dict[int, NewMemory] = {}
    dead: set[int] = set()
    async with open_system() as system:
        stage = await Stage(hybrid=False).start(system)
        for step in range(60):
            place, choice = rng.choice(["anna", "bob"]), rng.random()
            text = f"{' '.join(rng.choices(['tea', 'cat', 'rain', 'oslo', 'bread', 'blue'], k=3))} {step}"
            meta = {"a": rng.randrange(2)} if rng.random() < 0.5 else {}
            ttl = rng.choice([None, None, 5.0, 50.0])
            expires = None if ttl is None else stage.now + ttl
            row = NewMemory(content=text, namespace=place, meta=meta, expires=expires)
            alive = [n for n, r in rows.items() if r.namespace == place and n not in dead]
            if choice < 0.45:
                (number,) = await stage.ref.ask(Remember((text,), meta, namespace=place, ttl=ttl))
                rows[number] = row
            elif choice < 0.55 and alive:
                old = rng.choice(alive)
                number = await stage.ref.ask(Supersede((old,), Remember((text,), meta, namespace=place, ttl=ttl)))
                rows[number] = row
                dead.add(old)
            elif choice < 0.65 and alive:
                gone = rng.sample(alive, min(2, len(alive)))
                assert await stage.ref.ask(Forget(tuple(gone))) == len(gone)
                for number in gone:
                    del rows[number]
            elif choice < 0.7:
                await stage.ref.ask(Forget(matching=MemoryFilter(namespace=place, where={"a": 1})))
                for number in [n for n, r in rows.items() if r.namespace == place and r.meta.get("a") == 1]:
                    del rows[number]
            elif choice < 0.8:
                other = NewMemory(
                    content=text, namespace=place, vector=hash_vector(text, DIM), embedder=stage.embedder.name
                )
                (number,) = await stage.store.add([other])
                rows[number] = other
            elif choice < 0.85:
                stage.ref.stop()
                await stage.ref.wait_stopped()
                stage.ref = await system.spawn(stage.make, name=f"memory {step}")
            stage.now += rng.choice([0.0, 1.0, 7.0])
            where = {"a": rng.randrange(2)} if rng.random() < 0.4 else {}
            meant = MemoryFilter(namespace=place, where=where, dead=rng.random() < 0.2)
            query = f"{rng.choice(['tea', 'cat', 'rain'])} {rng.choice(['oslo', 'bread', 'blue'])}"
            message = Recall(query, 4, -1.0, namespace=place, where=where, superseded=meant.dead)
            found = await stage.ref.ask(message)
            assert [m.id for m in found] == brute(rows, meant, dead, stage.now, query, 4), step


# ------------------------------------------------------------------ odd characters


@pytest.mark.parametrize("kind", [InMemoryStore, None])
async def test_a_nul_in_metadata_or_a_tag_is_a_character_like_any_other(tmp_path, kind) -> None:
    """Was: SQLite's JSON ended the text there, so that it was found, and forgotten, by what stood before it."""
    store = kind() if kind is not None else SqliteMemoryStore(tmp_path / "m.sqlite")
    said = [{"k": "a\0b", "n": 1}, {"k": "a"}, {"k\0": "a"}, {"k": "a\0"}, {"k": "\\u0000a", "n": True}]
    tags = [["t\0u"], ["t"], ["u"], ["t\0"], ["\\u0000"]]
    rows = [NewMemory(content=f"{n}", meta=meta, tags=tuple(tags[n])) for n, meta in enumerate(said)]
    await store.add(rows)
    filters = [
        *({"where": {name: value}} for name in ("k", "k\0") for value in ("a", "a\0b", "a\0", "\\u0000a")),
        *({"where": {"k": ["a\0b", "a"], "n": number}} for number in (1, True, 1.0, None)),
        *({"tags": (tag,)} for tag in ("t", "t\0u", "t\0", "u", "\\u0000")),
    ]
    there = await store.get(range(1, 6))
    for chosen in filters:
        meant = MemoryFilter(**chosen)
        expected = [row.id for row in there if meant.matches(row, 0.0)]

        assert list(await store.select(meant)) == expected, chosen
    await store.aclose()
