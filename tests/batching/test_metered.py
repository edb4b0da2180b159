"""Embeddings that cost something: one lease a call, its usage shared out, told and counted in budgets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import asynccontextmanager

import pytest
import trio

from trouper.actors.batch_items import Asker
from trouper.actors.batcher import Batching, Embed, EmbeddingBatcher, EmbedEach, GetEmbeddingStatistics, shared_out
from trouper.actors.leasing import Acquire
from trouper.actors.limiter import GetLimiterStatistics, Limiter
from trouper.actors.model_messages import CountUsage
from trouper.actors.protocols import EmbedReply, Usage
from trouper.actors.tokens import TokenEstimates, estimate_tokens
from trouper.adapters.cache_memory import InMemoryEmbeddingCache
from trouper.adapters.embed_hash import hash_vector
from trouper.runtime import (
    Actor,
    BadRequest,
    BadResponse,
    Budget,
    BudgetExceeded,
    Ledger,
    Limits,
    LLMError,
    RateBooks,
    RateLimited,
    Turn,
    carry,
    handler,
    open_system,
)


class Endpoint:
    """A second a call; counts a token a character, and fails as it is told to."""

    name = "embedder-3"
    dim = 16

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.began: list[float] = []
        self.errors: list[LLMError | None] = []
        self.zero: set[str] = set()

    async def embed_metered(self, texts: Sequence[str]) -> EmbedReply:
        self.calls.append(list(texts))
        self.began.append(trio.current_time())
        await trio.sleep(1.0)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        if any(text.startswith("bad") for text in texts):
            raise BadRequest("not that text", status=400)
        vectors = tuple(b"\0" * 64 if text in self.zero else hash_vector(text, 16) for text in texts)
        return EmbedReply(vectors=vectors, usage=Usage(prompt_tokens=sum(map(len, texts))))

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        return (await self.embed_metered(texts)).vectors

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Door(Actor):
    """Takes down what it is told."""

    told: list[CountUsage]

    def __init__(self, told: list[CountUsage]) -> None:
        self.told = told

    @handler
    async def count(self, message: CountUsage) -> None:
        self.told.append(message)


@asynccontextmanager
async def opened(endpoint: Endpoint, *, tpm: int = 10**9, rpm: int = 10**6, cache=None, **batching):
    told: list[CountUsage] = []
    async with open_system() as system:
        books = RateBooks(Limits(rpm=rpm, tpm=tpm, safety_margin=1.0))
        limiter = await system.spawn(Limiter, books, name="limiter")
        await system.spawn(Door, told, name="llm")

        def make() -> EmbeddingBatcher:
            return EmbeddingBatcher(endpoint, cache=cache, batching=Batching(**batching), limiter="limiter", door="llm")

        ref = await system.spawn(make, name="batcher")
        yield ref, limiter, told


async def test_a_call_takes_one_lease_for_all_its_texts(autojump_clock) -> None:
    endpoint = Endpoint()
    async with opened(endpoint) as (ref, limiter, _), trio.open_nursery() as nursery:
        for n in range(50):
            nursery.start_soon(ref.ask, Embed((f"text {n}", f"other {n}")))
    async with opened(endpoint) as (ref, limiter, _):
        await ref.ask(Embed(("one", "two", "three")))
        statistics = await limiter.ask(GetLimiterStatistics())

    assert len(endpoint.calls) == 2
    assert (statistics.acquired, statistics.settled) == (1, 1)
    assert list(statistics.scopes) == ["embedder-3"]
    assert statistics.scopes["embedder-3"].requests == 1
    assert statistics.scopes["embedder-3"].tokens <= len("onetwothree")


async def test_a_lease_is_settled_with_what_the_server_counted(autojump_clock) -> None:
    """A token a character, where the estimate says a quarter."""
    endpoint = Endpoint()
    async with opened(endpoint) as (ref, limiter, _):
        await ref.ask(Embed(("x" * 300, "y" * 100)))
        statistics = await limiter.ask(GetLimiterStatistics())

    assert statistics.scopes["embedder-3"].tokens == 400


async def test_a_call_is_as_urgent_as_the_most_urgent_of_its_texts(autojump_clock) -> None:
    urgent: list[str] = []

    class Noting(Limiter):
        @handler(inline=True, raises=(BudgetExceeded,))
        def acquire(self, message: Acquire) -> Turn:
            urgent.append(message.priority)
            return super().acquire(message)

    endpoint = Endpoint()
    async with open_system() as system:
        limiter = await system.spawn(Noting, None, name="limiter")
        ref = await system.spawn(lambda: EmbeddingBatcher(endpoint, limiter=limiter), name="batcher")
        await ref.ask(Embed(("a",), priority="background"))
        await ref.ask(Embed(("b",)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Embed(("c", "d"), priority="background"))
            nursery.start_soon(ref.ask, Embed(("e",)))

    assert urgent == ["background", "interactive", "interactive"]
    assert len(endpoint.calls) == 3


async def test_each_asker_has_an_exception_of_its_own(autojump_clock) -> None:
    """What one adds to it is not seen by the others."""
    endpoint = Endpoint()
    endpoint.errors = [RateLimited("429", status=429, retry_after=3.0)]
    errors: list[LLMError] = []

    async def one() -> None:
        with pytest.raises(RateLimited) as caught:
            await ref.ask(Embed(("same",)))
        errors.append(caught.value)

    async with opened(endpoint, max_retries=0) as (ref, _, _), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)

    assert len({id(error) for error in errors}) == 3
    assert {(error.status, error.retry_after) for error in errors} == {(429, 3.0)}


async def test_calls_keep_to_the_limits(autojump_clock) -> None:
    """Two requests a minute: the third waits for its turn, and everybody gets their vectors."""
    endpoint = Endpoint()
    async with opened(endpoint, rpm=2, batch_size=1, max_concurrent_batches=4) as (ref, _, _):
        vectors = await ref.ask(Embed(("a", "b", "c")), timeout=500)

    assert vectors == tuple(hash_vector(text, 16) for text in "abc")
    assert endpoint.began[2] - endpoint.began[0] >= 60.0


async def test_a_batch_that_is_larger_than_a_minute_goes_in_parts(autojump_clock) -> None:
    """And a text that is larger than that by itself is its asker's trouble alone."""
    endpoint = Endpoint()
    async with opened(endpoint, tpm=100) as (ref, _, _):
        texts = (*(f"{n} " + "x" * 150 for n in range(6)), "y" * 800)
        found = await ref.ask(EmbedEach(texts), timeout=5000)

    assert [isinstance(vector, bytes) for vector in found] == [True] * 6 + [False]
    assert "100" in str(found[-1])
    assert all(sum(map(estimate_tokens, call)) <= 100 for call in endpoint.calls)


async def test_what_the_server_declined_is_reported_and_sent_again(autojump_clock) -> None:
    endpoint = Endpoint()
    endpoint.errors = [RateLimited("429", status=429, retry_after=5.0)]
    async with opened(endpoint) as (ref, limiter, _):
        assert await ref.ask(Embed(("a",))) == (hash_vector("a", 16),)
        statistics = await limiter.ask(GetLimiterStatistics())

    assert endpoint.began[1] - endpoint.began[0] >= 6.0
    assert (statistics.acquired, statistics.failed + statistics.push_backs >= 1) == (2, True)


async def test_a_batch_that_cannot_go_in_time_fails_its_askers(autojump_clock) -> None:
    endpoint = Endpoint()
    async with opened(endpoint, rpm=1) as (ref, _, _):
        await ref.ask(Embed(("a",)))
        with pytest.raises(RateLimited, match="let this call go"):
            await ref.ask(Embed(("b",)), timeout=10)

    assert len(endpoint.calls) == 1


async def test_usage_is_told_to_the_door_by_the_run_it_belongs_to(autojump_clock) -> None:
    endpoint = Endpoint()
    async with opened(endpoint) as (ref, _, told):
        await ref.ask(Embed(("four", "seven77")))
        await trio.testing.wait_all_tasks_blocked()
        statistics = await ref.ask(GetEmbeddingStatistics())

    assert [(m.usage.prompt_tokens, m.usage.calls, m.model) for m in told] == [(11, 1, "embedder-3")]
    assert told[0].trace
    assert statistics.usage == Usage(prompt_tokens=11, calls=1)


async def test_each_run_pays_for_its_own_texts(autojump_clock) -> None:
    """In one call of both; a text that both want is paid by who wanted it first. Together it is what was counted."""
    endpoint = Endpoint()
    ledgers = {name: Ledger(Budget(tokens=10**6)) for name in ("a", "b")}

    async def one(name: str, texts: tuple[str, ...]) -> None:
        with carry(budget=ledgers[name]):
            await ref.ask(Embed(texts))

    async with opened(endpoint, max_concurrent_batches=1) as (ref, _, told):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Embed(("somebody else's",)))  # so that both wait for the next call
            await trio.sleep(0.1)
            nursery.start_soon(one, "a", ("x" * 300, "shared" * 20))
            await trio.sleep(0.1)
            nursery.start_soon(one, "b", ("shared" * 20, "y" * 100))
        await trio.testing.wait_all_tasks_blocked()

    assert [len(call) for call in endpoint.calls] == [1, 3]
    del endpoint.calls[0], told[0]
    used = {name: ledger.used("tokens") for name, ledger in ledgers.items()}
    assert sum(used.values()) == sum(len(text) for call in endpoint.calls for text in call)
    assert used["a"] == pytest.approx(420, rel=0.05)
    assert used["b"] == pytest.approx(100, rel=0.1)
    assert sum(ledger.used("model_calls") for ledger in ledgers.values()) == len(endpoint.calls)
    assert sum(message.usage.prompt_tokens for message in told) == sum(used.values())


async def test_a_spent_budget_refuses_no_embedding(autojump_clock) -> None:
    endpoint = Endpoint()
    ledger = Ledger(Budget(tokens=1))
    async with opened(endpoint) as (ref, _, _):
        with carry(budget=ledger):
            await ref.ask(Embed(("more than one token",)))

    assert ledger.used("tokens") == len("more than one token")


async def test_what_is_cached_costs_nothing_and_takes_no_lease(autojump_clock) -> None:
    endpoint, cache = Endpoint(), InMemoryEmbeddingCache()
    async with opened(endpoint, cache=cache) as (ref, limiter, told):
        await ref.ask(Embed(("a", "b")))
        await ref.ask(Embed(("b", "a", "b")))
        statistics = await limiter.ask(GetLimiterStatistics())

    assert len(endpoint.calls) == len(told) == statistics.acquired == 1


async def test_the_estimate_is_learned_from_what_the_server_counts(autojump_clock) -> None:
    """It counts a token a character; our rule says four characters."""
    endpoint, estimates = Endpoint(), TokenEstimates()
    async with open_system() as system:
        ref = await system.spawn(lambda: EmbeddingBatcher(endpoint, estimates=estimates), name="b")
        for n in range(20):
            await ref.ask(Embed((f"{n} " + "words and words " * 20,)))

    text = "some other words " * 20
    assert estimates.text(text, "embedder-3") == pytest.approx(len(text), rel=0.1)


async def test_each_text_for_itself(autojump_clock) -> None:
    """A bad text and a bad vector are answered in their places; what befalls the whole call fails the ask."""
    endpoint = Endpoint()
    endpoint.zero = {"zero"}
    async with opened(endpoint, max_retries=0) as (ref, _, _):
        good, bad, zero, again = await ref.ask(EmbedEach(("good", "bad", "zero", "good")))
        assert (good, type(bad), type(zero), again) == (hash_vector("good", 16), BadRequest, BadResponse, good)
        endpoint.errors = [RateLimited("429", status=429)]
        with pytest.raises(RateLimited):
            await ref.ask(EmbedEach(("a", "b")))


async def test_background_work_waits_for_what_is_urgent(autojump_clock) -> None:
    endpoint = Endpoint()
    texts = tuple(f"background {n}" for n in range(8))
    one_at_a_time = opened(endpoint, batch_size=2, max_concurrent_batches=1)
    async with one_at_a_time as (ref, _, _), trio.open_nursery() as nursery:
        nursery.start_soon(ref.ask, Embed(texts, priority="background"))
        await trio.sleep(0.5)
        nursery.start_soon(ref.ask, Embed(("urgent",)))

    assert endpoint.calls[1] == ["urgent", "background 2"]


@pytest.mark.parametrize("seed", range(20))
def test_shares_add_up_to_the_whole(seed: int) -> None:
    rng = random.Random(seed)
    askers = [Asker(trace=str(n)) for n in range(rng.randrange(1, 6))]
    parts = [(rng.choice(askers), rng.randrange(50)) for _ in range(rng.randrange(1, 30))]
    usage = Usage(prompt_tokens=rng.randrange(1000), cached_tokens=rng.randrange(9), calls=1)
    shares = shared_out(usage, parts)

    total = Usage()
    for _, share in shares:
        total += share
        assert share.prompt_tokens >= 0
    assert total == usage
    assert len(shares) == len({asker.trace for asker, _ in parts})
    assert shares[0][1].calls == 1
