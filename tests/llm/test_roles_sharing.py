"""Identical requests: sent once while one is under way, and answered from the cache afterwards."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from trouper.actors.limiter import GetLimiterStatistics, Limiter
from trouper.actors.llm import Chat, DropAnswer, GetLLMStatistics, GetUsage, LLMDoor, LLMStatistics, ModelEntry
from trouper.actors.protocols import ChatMessage, ChatReply, ChatRequest, Usage
from trouper.actors.response_cache import ResponseCache
from trouper.adapters.llm_scripted import Delay, ScriptedModel
from trouper.runtime import (
    Actor,
    Backoff,
    Budget,
    BudgetExceeded,
    Ledger,
    ModelUnavailable,
    Ref,
    carry,
    open_system,
)

ASK = Chat(request=ChatRequest(messages=(ChatMessage("user", "a question"),)))
DOWN = functools.partial(ModelUnavailable, "down", status=503)


@attrs.frozen(kw_only=True)
class Set:
    door: Ref[LLMDoor]
    limiter: Ref[Actor]
    model: ScriptedModel
    other: ScriptedModel

    @property
    def sent(self) -> int:
        return len(self.model.requests)

    async def statistics(self) -> LLMStatistics:
        return await self.door.ask(GetLLMStatistics())

    async def together(self, *chats: Chat) -> list[ChatReply | Exception]:
        """Ask all of these side by side; what each got, in order."""
        got: list[ChatReply | Exception | None] = [None] * len(chats)

        async def one(n: int, chat: Chat) -> None:
            try:
                got[n] = await self.door.ask(chat)
            except Exception as error:  # noqa: BLE001 - compared by the test
                got[n] = error

        async with trio.open_nursery() as nursery:
            for n, chat in enumerate(chats):
                nursery.start_soon(one, n, chat)
                await trio.testing.wait_all_tasks_blocked()
        return got


@asynccontextmanager
async def sharing(
    script: object,
    *,
    other: object = (),
    name: str = "other",
    mode: str | None = "deterministic",
    **options: object,
) -> AsyncIterator[Set]:
    responses = ResponseCache(mode=mode) if mode is not None else None
    model, second = ScriptedModel(script), ScriptedModel(other, name=name)
    options = {"max_retries": 1, "backoff": Backoff(min=1.0, max=1.0, jitter=0.0), **options}
    table = {"default": ModelEntry(model=model), "other": ModelEntry(model=second)}
    async with open_system() as system:
        limiter = await system.spawn(functools.partial(Limiter, None), name="limiter")
        make = functools.partial(LLMDoor, table, responses=responses, **options)
        door = await system.spawn(make, name="llm")
        yield Set(door=door, limiter=limiter, model=model, other=second)


# ------------------------------------------------------------------ at the same time
async def test_identical_requests_at_the_same_time_are_sent_once_and_paid_by_the_first(autojump_clock) -> None:
    first, others = Ledger(Budget(model_calls=1)), Ledger(Budget(model_calls=1))
    async with sharing(lambda _: Delay(1.0, "yes")) as cast:
        replies: list[ChatReply] = []

        async def ask(ledger: Ledger) -> None:
            with carry(budget=ledger):
                replies.append(await cast.door.ask(ASK))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, first)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(4):
                nursery.start_soon(ask, others)

        assert cast.sent == 1
        assert [reply.text for reply in replies] == ["yes"] * 5
        assert sorted((reply.cached, reply.usage.calls) for reply in replies) == [(False, 1)] + [(True, 0)] * 4
        assert (first.used("model_calls"), others.used("model_calls")) == (1, 0)
        assert (await cast.statistics()).shared == 4
        assert (await cast.door.ask(GetUsage())).calls == 1
        assert (await cast.limiter.ask(GetLimiterStatistics())).acquired == 1


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (ChatMessage("user", "another question"),)},
        {"seed": 7},
        {"max_tokens": 5},
        {"schema": {"type": "object"}},
        {"priority": "background"},
        {"model": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_requests_that_differ_in_anything_are_sent_each(change, autojump_clock) -> None:
    different = Chat(request=attrs.evolve(ASK.request, **change))
    async with sharing(lambda _: Delay(1.0, "yes"), other=lambda _: Delay(1.0, "yes")) as cast:
        replies = await cast.together(ASK, different)

        assert cast.sent + len(cast.other.requests) == 2
        assert not any(reply.cached for reply in replies)


@pytest.mark.parametrize(
    ("mode", "change", "stream"),
    [
        (None, {}, False),
        ("off", {}, False),
        ("deterministic", {"temperature": 0.7}, False),
        ("deterministic", {"temperature": None}, False),
        ("deterministic", {}, True),
    ],
)
async def test_what_may_have_several_answers_is_not_shared_and_neither_is_anything_where_it_is_off(
    mode, change, stream, autojump_clock
) -> None:
    chat = Chat(request=attrs.evolve(ASK.request, **change), stream=stream)
    async with sharing(lambda _: Delay(1.0, "yes"), mode=mode) as cast:
        await cast.together(chat, chat)

        assert cast.sent == 2


async def test_the_first_may_go_and_the_others_still_get_the_answer(autojump_clock) -> None:
    async with sharing(lambda _: Delay(3.0, "yes")) as cast:
        got: list[str] = []

        async def impatient() -> None:
            with trio.move_on_after(1.0):
                await cast.door.ask(ASK)

        async def patient() -> None:
            got.append((await cast.door.ask(ASK)).text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(impatient)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(patient)

        assert (got, cast.sent, trio.current_time() > 2.9) == (["yes"], 1, True)


async def test_when_all_have_gone_the_call_is_ended(autojump_clock) -> None:
    async with sharing(lambda _: Delay(1000.0, "late")) as cast:
        with trio.move_on_after(1.0):
            await cast.together(ASK, ASK)
        await trio.testing.wait_all_tasks_blocked()

        assert (cast.sent, cast.model.calls_open) == (1, 0)


async def test_a_failure_is_everybodys_and_the_retries_were_made_once(autojump_clock) -> None:
    async with sharing(lambda _: DOWN()) as cast:
        got = await cast.together(ASK, ASK, ASK)

        assert [type(error) for error in got] == [ModelUnavailable] * 3
        assert len({id(error) for error in got}) == 3
        assert cast.sent == 2


async def test_the_budget_of_the_first_is_nobody_elses(autojump_clock) -> None:
    """The second joins while the first waits for a place; then the first may not, and the second asks itself."""
    spent = Ledger(Budget(model_calls=1))
    spent.spend("model_calls")
    other = Chat(request=attrs.evolve(ASK.request, seed=1))
    async with sharing(lambda _: Delay(1.0, "yes"), max_parallel=1) as cast:
        got: list[object] = []

        async def ask(chat: Chat, ledger: Ledger | None) -> None:
            try:
                with carry(**({} if ledger is None else {"budget": ledger})):
                    got.append((await cast.door.ask(chat)).text)
            except BudgetExceeded:
                got.append("budget")

        async with trio.open_nursery() as nursery:
            for chat, ledger in ((other, None), (ASK, spent), (ASK, None)):
                nursery.start_soon(ask, chat, ledger)
                await trio.testing.wait_all_tasks_blocked()

        assert got == ["yes", "budget", "yes"]


# ------------------------------------------------------------------ and afterwards
async def test_the_same_question_again_is_answered_from_the_cache_and_costs_nothing(autojump_clock) -> None:
    ledger = Ledger(Budget(model_calls=1))
    async with sharing(["yes", "no"]) as cast:
        with carry(budget=ledger):
            first = await cast.door.ask(ASK)
            again = await cast.door.ask(ASK)

        assert (first.text, first.cached, again.text, again.cached, again.usage) == ("yes", False, "yes", True, Usage())
        statistics = await cast.statistics()
        assert (statistics.cached, statistics.models["default"].cached, statistics.attempts) == (1, 1, 1)
        assert (await cast.limiter.ask(GetLimiterStatistics())).acquired == 1


async def test_an_earlier_answer_is_streamed_like_a_new_one(autojump_clock) -> None:
    send, receive = trio.open_memory_channel[str](100)
    async with sharing(["yes, indeed", "no"]) as cast:
        await cast.door.ask(ASK)
        with send:
            reply = await cast.door.ask(attrs.evolve(ASK, stream=True, sink=send))

        assert "".join([piece async for piece in receive]) == reply.text == "yes, indeed"
        assert (reply.cached, cast.sent) == (True, 1)


async def test_an_earlier_answer_of_one_model_is_not_given_for_another(autojump_clock) -> None:
    async with sharing(["of the first"], other=["of the other"], name="scripted") as cast:
        await cast.door.ask(ASK)
        reply = await cast.door.ask(Chat(request=attrs.evolve(ASK.request, model="other")))

        assert (reply.text, reply.cached) == ("of the other", False)


async def test_an_earlier_answer_is_good_while_its_model_is_down_and_the_next_models_answer_is_not_taken_for_it(
    autojump_clock,
) -> None:
    roles = {"planner": ("default", "other")}
    script = iter(["yes", DOWN(), DOWN(), "later"])
    unknown = Chat(request=attrs.evolve(ASK.request, seed=1))
    async with sharing(lambda _: next(script), other=["of the other"], roles=roles) as cast:
        await cast.door.ask(ASK)
        fallen = await cast.door.ask(unknown)
        again = await cast.door.ask(ASK)
        later = await cast.door.ask(unknown)

        assert (fallen.text, again.text, again.cached) == ("of the other", "yes", True)
        assert (later.text, later.cached) == ("later", False)


async def test_an_answer_that_could_not_be_used_is_asked_for_again(autojump_clock) -> None:
    async with sharing(["rubbish", "sense"]) as cast:
        await cast.door.ask(ASK)
        await cast.door.tell(DropAnswer(ASK.request))
        await trio.testing.wait_all_tasks_blocked()

        assert (await cast.door.ask(ASK)).text == "sense"


async def test_an_error_is_not_kept(autojump_clock) -> None:
    script = iter([DOWN(), DOWN(), "yes"])
    async with sharing(lambda _: next(script)) as cast:
        with pytest.raises(ModelUnavailable):
            await cast.door.ask(ASK)

        assert (await cast.door.ask(ASK)).text == "yes"
