"""What is remembered of people: turns that are told again, values that are too long, and how long both are kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.memories import Memories
from trouper.actors.memory import Memory, MemoryDefaults, Recall
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_memory import InMemoryStore
from trouper.runtime import AskTimeout, MemoryRefused, open_system

DIM = 16


class Slow(HashEmbedder):
    """Takes `seconds` for each call."""

    seconds = 0.0

    def __init__(self) -> None:
        super().__init__(DIM)

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        await trio.sleep(self.seconds)
        return await super().embed(texts)


class Stage:
    """A memory over fakes, with a clock of its own; summaries are made before the answer."""

    def __init__(self, **defaults: object) -> None:
        self.now = 1_000_000.0
        self.store = InMemoryStore(now=lambda: self.now)
        self.embedder = Slow()
        self.defaults = MemoryDefaults(**{"background": False, **defaults})

    async def start(self, system) -> Stage:
        await system.spawn(EmbeddingBatcher, self.embedder, name="batcher")
        self.ref = await system.spawn(self.make, name="memory")
        self.memories = Memories(self.ref)
        return self

    def make(self) -> Memory:
        return Memory(self.store, NumpyIndex, embedder=self.embedder.name, defaults=self.defaults, now=lambda: self.now)


# ------------------------------------------------------------------ turns


async def test_a_turn_that_is_told_again_after_a_summary_has_taken_its_place_is_not_alive_again(autojump_clock) -> None:
    """Was: the retry put it before the last turns, with today's date."""
    async with open_system() as system:
        memories = (await Stage().start(system)).memories
        ids = [await memories.keep_turn("c", "Anna", f"turn {n}", key=f"k{n}") for n in range(41)]
        before = await memories.conversation("c", turns=99)
        assert before.summary is not None

        assert await memories.keep_turn("c", "Anna", "turn 3", key="k3") == ids[3]
        assert await memories.conversation("c", turns=99) == before


async def test_turns_of_two_conversations_are_two_whatever_their_names_and_keys_are(autojump_clock) -> None:
    """Was: name and key were joined by a character that both may hold."""
    async with open_system() as system:
        memories = (await Stage().start(system)).memories
        pairs = [("c", "x#k"), ("c#x", "k"), ("c#", "x#k"), ("1#c", "x"), ("1", "c#x")]
        ids = [await memories.keep_turn(conversation, "Anna", "yes", key=key) for conversation, key in pairs]

        assert len(set(ids)) == len(pairs)
        assert [len((await memories.conversation(name)).turns) for name, _ in pairs] == [1] * len(pairs)


# ------------------------------------------------------------------ profiles


async def test_a_value_that_is_too_long_is_refused_before_any_other_is_stored(autojump_clock) -> None:
    """Was: it was stored, and the export that it was in could not be imported."""
    async with open_system() as system:
        memories = (await Stage().start(system)).memories
        await memories.set_profile({"city": "Oslo"})
        with pytest.raises(MemoryRefused, match="characters"):
            await memories.set_profile({"city": "Bergen", "life": "x" * 100_000})

        assert dict(await memories.profile()) == {"city": "Oslo"}


# ------------------------------------------------------------------ how long


async def test_the_configured_time_to_live_holds_for_turns_summaries_and_profiles_too(autojump_clock) -> None:
    """Was: `memory.ttl` was for what is remembered by name only, and conversations were kept for ever."""
    async with open_system() as system:
        stage = await Stage(ttl=100).start(system)
        memories = stage.memories
        for n in range(45):
            await memories.keep_turn("c", "Anna", f"turn {n}")
        await memories.set_profile({"city": "Oslo", "name": "Anna"})
        assert (await memories.conversation("c")).summary is not None

        stage.now += 60
        await memories.set_profile({"name": "Anna"})  # said again
        stage.now += 60
        conversation = await memories.conversation("c")
        assert (conversation.summary, conversation.turns) == (None, ())
        assert dict(await memories.profile()) == {"name": "Anna"}


# ------------------------------------------------------------------ questions


async def test_a_question_whose_vector_does_not_come_is_looked_for_by_its_words_in_time(autojump_clock) -> None:
    """Was: it waited for all of its time and was answered with nothing at all."""
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember(["the printer is from Acme", "tea is at five"])
        stage.embedder.seconds = 1_000
        began = trio.current_time()
        found = await stage.memories.recall("who made the printer", 1)
        assert [memory.content for memory in found] == ["the printer is from Acme"]
        assert trio.current_time() - began == pytest.approx(10)
        with trio.fail_after(1_000):
            with pytest.raises(AskTimeout):  # words are not wanted: there is nothing to give
                await stage.memories.recall("who made the printer", hybrid=False)


async def test_a_question_in_a_hurry_waits_for_half_of_its_time(autojump_clock) -> None:
    async with open_system() as system:
        stage = await Stage().start(system)
        await stage.memories.remember(["the printer is from Acme", "tea is at five"])
        stage.embedder.seconds = 1_000
        found = await stage.ref.ask(Recall("printer", 1), timeout=1)

        assert [memory.content for memory in found] == ["the printer is from Acme"]
