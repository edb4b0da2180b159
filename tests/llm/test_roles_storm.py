"""Everything at once, with callers that go at any moment: what was taken is given back, and counted once."""

from __future__ import annotations

import contextlib
import functools
from random import Random

import attrs
import pytest
import trio
import trio.testing

from trouper.actors.limiter import GetLimiterStatistics, Limiter
from trouper.actors.llm import Chat, GetLLMStatistics, LLMDoor, ModelEntry
from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.actors.response_cache import ResponseCache
from trouper.adapters.llm_scripted import BreakOff, Delay, ScriptedModel
from trouper.runtime import (
    AuthFailed,
    Backoff,
    BadRequest,
    BreakerRules,
    Budget,
    BudgetExceeded,
    Ledger,
    Limits,
    LLMError,
    ModelUnavailable,
    RateBooks,
    RateLimited,
    carry,
    open_system,
)


def moody(chance: Random):
    """A model that does anything."""

    def answer(request: ChatRequest) -> object:
        said = chance.choice(
            [
                "yes",
                "a longer answer, in several pieces",
                ModelUnavailable("down", status=503),
                RateLimited("busy", status=429, retry_after=chance.choice([None, 0.5])),
                AuthFailed("key", status=401),
                BadRequest("no", status=400, said="context_length_exceeded"),
                BreakOff("half an ans"),
            ]
        )
        return Delay(chance.choice([0.0, 0.1, 3.0]), said)

    return answer


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_becomes_of_calls_nothing_of_them_is_left(seed, autojump_clock) -> None:
    chance = Random(seed)
    models = {name: ScriptedModel(moody(chance), name=name, chunk=3, pace=0.01) for name in ("a", "b", "c")}
    books = RateBooks(Limits(rpm=3000, tpm=10**7, burst=20, charge="actual"))
    ledger = Ledger(Budget(tokens=10**8, cost=10.0**6))
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_system() as system:
        limiter = await system.spawn(functools.partial(Limiter, books), name="limiter")
        make = functools.partial(
            LLMDoor,
            {name: ModelEntry(model=model) for name, model in models.items()},
            roles={"planner": ("a", "b"), "verifier": ("c", "b", "a")},
            max_parallel=4,
            backoff=Backoff(min=0.2, max=1.0),
            seed=seed,
            breaker=BreakerRules(failures=4, cooldown=2.0),
            responses=ResponseCache(mode="deterministic"),
            sink_patience=1.0,
        )
        door = await system.spawn(make, name="llm")

        async def one() -> None:
            await trio.sleep(chance.random() * 20)
            request = ChatRequest(
                messages=(ChatMessage("user", f"question {chance.randrange(60)}"),),
                temperature=chance.choice([0.0, 1.0]),
                role=chance.choice(["planner", "verifier"]),
                priority=chance.choice(["interactive", "background"]),
                max_tokens=chance.choice([None, 10]),
            )
            send, receive = trio.open_memory_channel[str](2)
            stream = chance.random() < 0.4
            chat = Chat(request=request, stream=stream, sink=send if stream and chance.random() < 0.5 else None)
            gone = trio.move_on_after(chance.choice([0.0, 0.05, chance.random() * 5, 1000.0]))
            failed = contextlib.suppress(LLMError, BudgetExceeded, trio.TooSlowError)
            with gone, failed, carry(budget=ledger):
                await door.ask(chat, timeout=chance.choice([0.5, 5.0, 500.0]))
            send.close()
            receive.close()

        async with trio.open_nursery() as nursery:
            for _ in range(250):
                nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()

        rates = await limiter.ask(GetLimiterStatistics())
        statistics = await door.ask(GetLLMStatistics())
        sent = {name: len(model.requests) for name, model in models.items()}
        assert [model.calls_open for model in models.values()] == [0, 0, 0]
        assert {name: of.attempts for name, of in statistics.models.items()} == sent
        assert statistics.attempts == sum(sent.values()) > 50
        assert (rates.bucket.waiting, rates.bucket.unsettled) == (0, 0)
        assert rates.acquired == rates.settled + rates.failed + rates.given_back
        assert rates.settled + rates.failed == statistics.attempts
        assert (ledger.reserved("tokens"), ledger.reserved("model_calls"), ledger.reserved("cost")) == (0, 0, 0)
        assert ledger.used("model_calls") == statistics.attempts

        free: list[float] = []
        for _ in range(4):  # every place is free again
            begun = trio.current_time()
            with trio.move_on_after(0):
                await door.ask(attrs.evolve(Chat(request=ChatRequest(messages=(), role="planner"))))
            free.append(trio.current_time() - begun)
        assert free == [0.0] * 4
    assert trio.lowlevel.current_statistics().tasks_living == before
