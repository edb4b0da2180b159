"""The batcher: many askers share few calls, and nobody's trouble is another's."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from trouper.actors.batcher import Batching, Embed, EmbeddingBatcher, EmbedEach, GetEmbeddingStatistics
from trouper.actors.vectors import fault_of
from trouper.adapters.cache_memory import InMemoryEmbeddingCache
from trouper.adapters.embed_hash import HashEmbedder, hash_vector
from trouper.runtime import (
    AskTimeout,
    BadRequest,
    BadResponse,
    Mailbox,
    ModelUnavailable,
    RateLimited,
    open_system,
)


class Slow:
    """An embedder that takes a second a call, keeps count, and fails where it is told to."""

    name = "slow"
    dim = 16

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.calls: list[list[str]] = []
        self.ended = 0
        self.now = self.most = 0
        self.error: Exception | None = None

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        self.calls.append(list(texts))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(self.seconds)
        finally:
            self.now -= 1
        self.ended += 1
        if self.error is not None:
            raise self.error
        if any(t.startswith("bad") for t in texts):
            raise BadRequest("one of them is bad")
        return tuple(hash_vector(t, 16) for t in texts)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    @property
    def sent(self) -> list[str]:
        return [text for call in self.calls for text in call]


async def spawn(system, embedder, *, cache=None, **batching):
    return await system.spawn(
        lambda: EmbeddingBatcher(embedder, cache=cache, batching=Batching(**batching)),
        name="batcher",
        mailbox=Mailbox(capacity=1000),
    )


async def ask_all(ref, asks: Sequence[Sequence[str]]) -> list[object]:
    """Ask all at the same time; answers, or errors, in order."""
    results: list[object] = [None] * len(asks)

    async def one(i: int, texts: Sequence[str]) -> None:
        try:
            results[i] = await ref.ask(Embed(tuple(texts)))
        except Exception as error:  # noqa: BLE001 - the errors are what is looked at
            results[i] = error

    async with trio.open_nursery() as nursery:
        for i, texts in enumerate(asks):
            nursery.start_soon(one, i, texts)
    return results


def right(texts: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(hash_vector(t, 16) for t in texts)


async def test_one_ask_alone_does_not_wait(autojump_clock) -> None:
    slow = Slow()
    async with open_system() as system:
        ref = await spawn(system, slow)
        began = trio.current_time()

        assert await ref.ask(Embed(("a", "b"))) == right(["a", "b"])
        assert trio.current_time() - began == 1.0
        assert slow.calls == [["a", "b"]]
        assert await ref.ask(Embed(())) == ()


async def test_concurrent_asks_share_batches(autojump_clock) -> None:
    """200 callers of one text each: two batches of 100 at the same time, and everybody gets their own vector."""
    slow = Slow()
    asks = [[f"text {n}"] for n in range(200)]
    async with open_system() as system:
        ref = await spawn(system, slow)
        began = trio.current_time()
        results = await ask_all(ref, asks)

    assert results == [right(texts) for texts in asks]
    assert [len(call) for call in slow.calls] == [100, 100]
    assert slow.most == 2
    assert trio.current_time() - began < 1.1


async def test_batches_keep_their_size_and_number(autojump_clock) -> None:
    slow = Slow()
    async with open_system() as system:
        ref = await spawn(system, slow, batch_size=7, max_concurrent_batches=3)
        texts = [f"text {n}" for n in range(50)]

        assert await ref.ask(Embed(tuple(texts))) == right(texts)
    assert [len(call) for call in slow.calls] == [7] * 7 + [1]
    assert slow.most == 3


async def test_what_comes_while_others_fly_is_collected(autojump_clock) -> None:
    slow = Slow()
    async with open_system() as system:
        ref = await spawn(system, slow, max_concurrent_batches=1)
        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(ref.ask, Embed((f"text {n}",)))
                await trio.sleep(0.01)
    assert len(slow.calls) == 2
    assert sorted(slow.sent) == sorted(f"text {n}" for n in range(20))


async def test_a_text_that_many_want_is_sent_once(autojump_clock) -> None:
    slow = Slow()
    async with open_system() as system:
        ref = await spawn(system, slow)
        results = await ask_all(ref, [["same", "same"], *([["same"]] * 49)])
        statistics = await ref.ask(GetEmbeddingStatistics())

    assert slow.calls == [["same"]]
    assert results == [right(["same", "same"]), *([right(["same"])] * 49)]
    assert (statistics.asks, statistics.texts, statistics.shared) == (50, 51, 50)
    assert (statistics.calls, statistics.items, statistics.failed) == (1, 1, 0)


async def test_disabled_is_one_text_a_call_and_one_call_at_a_time(autojump_clock) -> None:
    """Deleting the reader of `enabled` makes this fail: batching and sharing would go on."""
    slow = Slow()
    async with open_system() as system:
        ref = await spawn(system, slow, enabled=False)
        results = await ask_all(ref, [["a", "b"], ["a"]])

    assert results == [right(["a", "b"]), right(["a"])]
    assert sorted(slow.calls) == [["a"], ["a"], ["b"]]
    assert slow.most == 1


async def test_one_bad_text_fails_its_asker_only_and_costs_few_calls(autojump_clock) -> None:
    slow = Slow()
    asks = [[f"text {n}"] for n in range(15)] + [["fine", "bad one"]]
    async with open_system() as system:
        ref = await spawn(system, slow, max_concurrent_batches=1)
        results = await ask_all(ref, asks)

    assert results[:15] == [right(texts) for texts in asks[:15]]
    assert isinstance(results[15], BadRequest)
    sent = slow.sent
    assert sent.count("bad one") <= 6
    assert len(slow.calls) <= 1 + 2 * 5


@pytest.mark.parametrize(
    "error", [RateLimited("429"), ModelUnavailable("503"), BadResponse("html"), BadRequest("no such model", status=404)]
)
async def test_failures_that_are_not_due_to_a_text_are_not_bisected(autojump_clock, error: Exception) -> None:
    slow = Slow()
    slow.error = error
    async with open_system() as system:
        ref = await spawn(system, slow, max_retries=0)
        results = await ask_all(ref, [["a"], ["b", "c"]])

        assert [type(r) for r in results] == [type(error)] * 2
        assert len(slow.calls) == 1
        assert ref.incarnation == 1
        slow.error = None
        assert await ref.ask(Embed(("a",))) == right(["a"])


class Wrong(Slow):
    def __init__(self, make) -> None:
        super().__init__(0.0)
        self.make = make

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        return self.make(await super().embed(texts))


@pytest.mark.parametrize(
    "make",
    [
        lambda vectors: vectors[:-1],
        lambda vectors: (*vectors, vectors[0]),
        lambda vectors: tuple(b"\0" * len(v) for v in vectors),
        lambda vectors: tuple(b"\0\0\xc0\x7f" * 16 for _ in vectors),
        lambda vectors: tuple(v + v for v in vectors),
        lambda vectors: tuple(v[:-1] for v in vectors),
        lambda vectors: tuple(b"" for _ in vectors),
    ],
)
async def test_vectors_that_cannot_be_used_are_an_error(autojump_clock, make) -> None:
    """Too few, too many, zero, NaN, too long, odd, empty: none of them is ever handed on."""
    async with open_system() as system:
        ref = await spawn(system, Wrong(make))
        results = await ask_all(ref, [["a"], ["b"]])

    assert [type(r) for r in results] == [BadResponse] * 2


async def test_one_bad_vector_fails_its_own_text_only(autojump_clock) -> None:
    async with open_system() as system:
        ref = await spawn(
            system, Wrong(lambda vectors: tuple(b"\0" * 64 if v == hash_vector("a", 16) else v for v in vectors))
        )
        results = await ask_all(ref, [["a"], ["b"]])

    assert isinstance(results[0], BadResponse)
    assert results[1] == right(["b"])


# ------------------------------------------------------------------ cancellation and crashes


async def test_who_leaves_before_the_flight_takes_their_text_along(autojump_clock) -> None:
    slow = Slow()
    async with open_system() as system:
        ref = await spawn(system, slow, max_concurrent_batches=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Embed(("first",)))
            await trio.sleep(0.1)
            with trio.move_on_after(0.1):
                await ref.ask(Embed(("left",)))
            nursery.start_soon(ref.ask, Embed(("stays",)))

    assert slow.calls == [["first"], ["stays"]]


async def test_who_leaves_in_flight_does_not_take_the_others_answer_along(autojump_clock) -> None:
    """The flight runs in the first asker's handler, and the first asker is the one who goes."""
    slow = Slow()
    results: list[object] = []

    async def stay(ref) -> None:
        results.append(await ref.ask(Embed(("b", "shared"))))

    async with open_system() as system:
        ref = await spawn(system, slow)
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.5):
                async with trio.open_nursery() as leaving:
                    leaving.start_soon(ref.ask, Embed(("a", "shared")))
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    nursery.start_soon(stay, ref)
                    await trio.sleep_forever()
    assert results == [right(["b", "shared"])]
    assert slow.sent.count("shared") == 1


async def test_a_flight_that_nobody_waits_for_is_called_off(autojump_clock) -> None:
    slow = Slow(100.0)
    async with open_system() as system:
        ref = await spawn(system, slow)
        with trio.move_on_after(0.5):
            await ask_all(ref, [["a"], ["b"]])
        await trio.testing.wait_all_tasks_blocked(0.01)

        assert slow.now == 0
        slow.seconds = 0.1
        assert await ref.ask(Embed(("a",))) == right(["a"])
    assert slow.ended == 1


async def test_who_asks_again_at_once_does_not_wait_for_what_was_called_off(autojump_clock) -> None:
    """Also while the call that was called off still closes its connection."""

    class Closing(Slow):
        async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
            try:
                return await super().embed(texts)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(5)

    slow = Closing(100.0)
    async with open_system() as system:
        ref = await spawn(system, slow)
        with trio.move_on_after(0.5):
            await ref.ask(Embed(("a",)))
        slow.seconds = 1.0
        await trio.sleep(0.1)

        assert await ref.ask(Embed(("a",))) == right(["a"])
        assert trio.current_time() < 8


async def test_a_deadline_is_kept(autojump_clock) -> None:
    slow = Slow(100.0)
    async with open_system() as system:
        ref = await spawn(system, slow)
        with pytest.raises(AskTimeout):
            await ref.ask(Embed(("a",)), timeout=2)


async def test_stopping_ends_what_is_in_flight(autojump_clock) -> None:
    slow = Slow(1000.0)
    async with trio.open_nursery() as nursery:
        async with open_system() as system:
            ref = await spawn(system, slow)
            nursery.start_soon(ask_all, ref, [["a"], ["b"]])
            await trio.sleep(1)
            began = trio.current_time()
        assert trio.current_time() - began < 10
    assert slow.now == 0


async def test_a_bug_in_the_embedder_is_an_error_of_the_texts_and_no_crash(autojump_clock) -> None:
    slow = Slow()
    slow.error = ZeroDivisionError("a bug")
    async with open_system() as system:
        ref = await spawn(system, slow)
        results = await ask_all(ref, [["a"], ["b"]])
        slow.error = None

        assert [type(r) for r in results] == [BadRequest] * 2
        assert isinstance(results[0].__cause__, ZeroDivisionError)
        assert "ZeroDivisionError: a bug" in str(results[0])
        assert await ref.ask(Embed(("a",))) == right(["a"])
        assert ref.incarnation == 1


async def test_a_text_that_an_embedder_stumbles_over_costs_the_others_nothing(autojump_clock) -> None:
    class Stumbling(Slow):
        async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
            vectors = await super().embed(texts)
            if "odd" in texts:
                raise KeyError("odd")
            return vectors

    async with open_system() as system:
        ref = await spawn(system, Stumbling())
        others = [f"t{n}" for n in range(7)]
        outcomes = await ref.ask(EmbedEach((*others, "odd")))

        assert outcomes[:7] == right(others)
        assert isinstance(outcomes[7], BadRequest)
        assert ref.incarnation == 1


@pytest.mark.parametrize("seed", range(15))
async def test_no_result_is_lost_doubled_or_swapped(autojump_clock, seed: int) -> None:
    """Random askers, sizes, bad texts, failures and departures: whoever stays has an answer, and the right one."""
    rng = random.Random(seed)
    slow = Slow(0.05)
    answered = 0

    async def one(ref) -> None:
        nonlocal answered
        texts = tuple(rng.choice(["bad", "text"]) * (rng.random() < 0.05) + f"t{rng.randrange(40)}" for _ in range(3))
        await trio.sleep(rng.random())
        with trio.move_on_after(rng.choice([0.01, 0.07, 60])) as scope:
            try:
                assert await ref.ask(Embed(texts)) == right(texts)
                assert not any(t.startswith("bad") for t in texts)
            except BadRequest:
                assert any(t.startswith("bad") for t in texts)
            answered += 1
        assert scope.cancel_called or not scope.cancelled_caught

    async with open_system() as system:
        ref = await spawn(system, slow, batch_size=5, max_concurrent_batches=2, linger=rng.choice([0, 0.005]))
        async with trio.open_nursery() as nursery:
            for _ in range(80):
                nursery.start_soon(one, ref)
        with trio.fail_after(1):
            await ref.ask(Embed(("end",)))
    assert slow.now == 0
    assert slow.most <= 2
    assert max(map(len, slow.calls)) <= 5
    assert answered > 20


# ------------------------------------------------------------------ the cache


async def test_known_texts_are_not_sent_again(autojump_clock) -> None:
    """Deleting the reader of `caching.embeddings` makes this fail: the second batcher would call again."""
    slow, cache = Slow(), InMemoryEmbeddingCache()
    async with open_system() as system:
        ref = await spawn(system, slow, cache=cache)
        await ref.ask(Embed(("a", "b")))
        assert await ref.ask(Embed(("b", "c", "a"))) == right(["b", "c", "a"])
        statistics = await ref.ask(GetEmbeddingStatistics())
    assert slow.calls == [["a", "b"], ["c"]]
    assert (statistics.cached, statistics.items) == (2, 3)

    async with open_system() as system:
        ref = await spawn(system, slow, cache=cache)
        await ref.ask(Embed(("a", "b", "c")))
    assert len(slow.calls) == 2


async def test_a_cached_vector_of_another_space_or_a_broken_one_is_not_used(autojump_clock) -> None:
    slow, cache = Slow(), InMemoryEmbeddingCache()
    async with open_system() as system:
        ref = await spawn(system, HashEmbedder(16), cache=cache)
        await ref.ask(Embed(("a",)))
        other = await system.spawn(EmbeddingBatcher, slow, name="other")
        await other.ask(Embed(("a",)))
        assert slow.calls == [["a"]]
    cache._vectors = OrderedDict.fromkeys(cache._vectors, b"\0" * 64)
    async with open_system() as system:
        ref = await spawn(system, HashEmbedder(16), cache=cache)
        (vector,) = await ref.ask(Embed(("a",)))
    assert fault_of(vector, 16) is None


async def test_failures_are_not_cached(autojump_clock) -> None:
    slow, cache = Slow(), InMemoryEmbeddingCache()
    slow.error = RateLimited("429")
    async with open_system() as system:
        ref = await spawn(system, slow, cache=cache)
        with pytest.raises(RateLimited):
            await ref.ask(Embed(("a",)))
        slow.error = None
        assert await ref.ask(Embed(("a",))) == right(["a"])


async def test_a_slow_cache_does_not_keep_the_askers_waiting_twice(autojump_clock) -> None:
    """Filling the cache goes on behind the answer of those whose text it is not; asked meanwhile, a text is shared."""

    class SlowCache(InMemoryEmbeddingCache):
        async def put_many(self, items) -> None:
            await trio.sleep(5)
            await super().put_many(items)

    slow = Slow()
    async with open_system() as system:
        ref = await spawn(system, slow, cache=SlowCache())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Embed(("a", "b")))
            await trio.sleep(2)
            assert await ref.ask(Embed(("a",))) == right(["a"])
            assert trio.current_time() < 6
    assert slow.calls == [["a", "b"]]
