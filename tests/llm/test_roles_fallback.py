"""Several models behind the door: who is asked, who is asked next, and who is left alone."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from trouper.actors.limiter import Limiter
from trouper.actors.llm import (
    BreakerChanged,
    Chat,
    CountUsage,
    GetLLMStatistics,
    GetUsage,
    LLMDoor,
    LLMStatistics,
    ModelCalled,
    ModelEntry,
    ModelFellBack,
    ModelText,
)
from trouper.actors.model_spending import Prices
from trouper.actors.protocols import ChatMessage, ChatReply, ChatRequest, Usage
from trouper.adapters.llm_scripted import BreakOff, Delay, ScriptedModel
from trouper.runtime import (
    ActorCrashed,
    AskTimeout,
    AuthFailed,
    Backoff,
    BadRequest,
    BadResponse,
    BreakerRules,
    BreakerState,
    Budget,
    BudgetExceeded,
    Event,
    Ledger,
    LengthCut,
    Limits,
    ModelTimeout,
    ModelUnavailable,
    RateBooks,
    RateLimited,
    Ref,
    Refused,
    StreamTruncated,
    System,
    carry,
    open_system,
)

ASK = Chat(request=ChatRequest(messages=(ChatMessage("user", "a question"),), role="planner"))
DOWN = functools.partial(ModelUnavailable, "down", status=503)
BREAKER = BreakerRules(failures=3, cooldown=10.0)
CHAIN = {"planner": ("first", "second")}


def asked(role: str) -> Chat:
    return Chat(request=attrs.evolve(ASK.request, role=role))


@attrs.frozen(kw_only=True)
class Set:
    """A door with several models behind it."""

    system: System
    door: Ref[LLMDoor]
    models: Mapping[str, ScriptedModel]
    began: float

    @property
    def sent(self) -> dict[str, int]:
        """How many requests each model got."""
        return {name: len(model.requests) for name, model in self.models.items() if model.requests}

    @property
    def elapsed(self) -> float:
        return trio.current_time() - self.began

    async def statistics(self) -> LLMStatistics:
        return await self.door.ask(GetLLMStatistics())


@asynccontextmanager
async def models(
    scripts: Mapping[str, object],
    *,
    roles: Mapping[str, tuple[str, ...]] | None = None,
    entries: Mapping[str, Mapping[str, object]] | None = None,
    books: RateBooks | None = None,
    **options: object,
) -> AsyncIterator[Set]:
    """A door to models of these names; `entries` has more of some of them."""
    ports = {name: ScriptedModel(script, name=f"the {name} model", chunk=4) for name, script in scripts.items()}
    table = {name: ModelEntry(model=port, **(entries or {}).get(name, {})) for name, port in ports.items()}
    options = {"max_retries": 1, "backoff": Backoff(min=1.0, max=1.0, jitter=0.0), **options}
    async with open_system() as system:
        await system.spawn(functools.partial(Limiter, books), name="limiter")
        make = functools.partial(LLMDoor, table, roles=roles if roles is not None else CHAIN, **options)
        door = await system.spawn(make, name="llm")
        yield Set(system=system, door=door, models=ports, began=trio.current_time())


# ------------------------------------------------------------------ whom to ask
async def test_each_role_asks_the_first_model_of_its_own_and_the_others_the_default(autojump_clock) -> None:
    scripts = {name: lambda _: "yes" for name in ("default", "large", "small")}
    roles = {"planner": ("large", "small"), "verifier": ("small",)}
    async with models(scripts, roles=roles) as cast:
        for role in ("planner", "verifier", "verifier", "tool"):
            await cast.door.ask(asked(role))

        assert cast.sent == {"large": 1, "small": 2, "default": 1}


async def test_without_a_default_the_first_model_is_it(autojump_clock) -> None:
    async with models({"one": ["yes"], "two": []}, roles={}) as cast:
        await cast.door.ask(asked("tool"))

        assert cast.sent == {"one": 1}


async def test_a_request_may_name_its_model_and_what_names_none_of_ours_is_for_the_server(autojump_clock) -> None:
    async with models({"first": ["a"], "second": ["b"]}) as cast:
        replies = [
            await cast.door.ask(Chat(request=attrs.evolve(ASK.request, model=name))) for name in ("second", "gpt-x")
        ]

        assert [reply.text for reply in replies] == ["b", "a"]
        assert [cast.models[name].requests[0].model for name in ("second", "first")] == ["", "gpt-x"]


def test_a_role_that_names_a_model_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="'planner' names a model 'secnod' that is not there; known are first"):
        LLMDoor({"first": ModelEntry(model=ScriptedModel())}, roles={"planner": ("first", "secnod")})
    with pytest.raises(ValueError, match="at least one"):
        LLMDoor({})


async def test_the_length_of_an_answer_is_the_models_where_the_request_sets_none(autojump_clock) -> None:
    entries = {"first": {"max_tokens": 77}}
    async with models({"first": [DOWN(), DOWN()], "second": ["yes"]}, entries=entries) as cast:
        await cast.door.ask(ASK)

        assert [m.requests[0].max_tokens for m in cast.models.values()] == [77, None]


# ------------------------------------------------------------------ and who is next
FELL = {
    "down": (lambda: ModelUnavailable("down", status=503), 2),
    "late": (lambda: ModelTimeout("late"), 2),
    "limited": (lambda: RateLimited("busy", status=429, retry_after=1.0), 2),
    "no quota": (lambda: settled(RateLimited("insufficient_quota", status=429)), 1),
    "wrong key": (lambda: AuthFailed("key", status=401), 1),
    "no completion": (lambda: BadResponse("<html>", status=200), 2),
    "cut off": (lambda: StreamTruncated("cut"), 2),
    "too long": (lambda: BadRequest("no", status=400, said='{"code": "context_length_exceeded"}'), 1),
    "no such model": (lambda: BadRequest("model_not_found", status=404), 1),
    "moved": (lambda: BadRequest("moved", status=308), 1),
    "no money": (lambda: BadRequest("Insufficient Balance", status=402), 1),
    "too long for llama.cpp": (lambda: BadRequest("no", status=400, said='{"type":"exceed_context_size_error"}'), 1),
    "too large": (lambda: BadRequest("no", status=413), 1),
}
STAYED = {
    "refused": lambda: Refused("I will not"),
    "cut": lambda: LengthCut("too l"),
    "wrong": lambda: BadRequest("no such field", status=400),
}


def settled(error: RateLimited) -> RateLimited:
    error.retryable = False
    return error


@pytest.mark.parametrize("what", FELL)
async def test_the_next_model_is_asked_after_what_says_nothing_of_the_request(what, autojump_clock) -> None:
    """After the retries that the first one is worth: none where a retry cannot mend it."""
    error, attempts = FELL[what]
    async with models({"first": lambda _: error(), "second": ["yes"]}) as cast:
        reply = await cast.door.ask(ASK)

        assert (reply.text, reply.model) == ("yes", "the second model")
        assert cast.sent == {"first": attempts, "second": 1}
        statistics = await cast.statistics()
        assert (statistics.fell_back, statistics.failures) == (1, 0)
        assert (statistics.models["first"].fell_back, statistics.models["second"].fell_back) == (1, 0)


@pytest.mark.parametrize("what", STAYED)
async def test_what_would_be_the_same_anywhere_is_not_asked_elsewhere(what, autojump_clock) -> None:
    async with models({"first": lambda _: STAYED[what](), "second": ["never"]}) as cast:
        with pytest.raises(type(STAYED[what]())):
            await cast.door.ask(ASK)

        assert cast.sent == {"first": 1}


async def test_when_none_can_answer_the_last_error_says_how_often_it_was_tried(autojump_clock) -> None:
    async with models({"first": lambda _: DOWN(), "second": lambda _: AuthFailed("key", status=401)}) as cast:
        with pytest.raises(AuthFailed) as caught:
            await cast.door.ask(ASK)

        assert caught.value.__notes__ == ["This was attempt 3."]
        assert (await cast.statistics()).failures == 1


async def test_a_model_that_hangs_leaves_half_of_the_time_for_the_next(autojump_clock) -> None:
    async with models({"first": [Delay(1000.0, "late")], "second": [Delay(5.0, "yes")]}) as cast:
        reply = await cast.door.ask(ASK, timeout=40.0)

        assert (reply.text, cast.elapsed) == ("yes", 25.0)
        assert cast.models["first"].calls_open == 0


@pytest.mark.parametrize(("patience", "state"), [(30.0, BreakerState.OPEN), (15.0, BreakerState.CLOSED)])
async def test_a_model_that_hangs_has_failed_but_one_that_had_no_time_has_not(patience, state, autojump_clock) -> None:
    """Half of the patience is what it gets; that callers are in a hurry says nothing of it."""
    scripts = {"first": lambda _: Delay(1000.0, "late"), "second": lambda _: "yes"}
    async with models(scripts, breaker=BREAKER) as cast:
        for _ in range(3):
            assert (await cast.door.ask(ASK, timeout=patience)).text == "yes"

        assert (await cast.statistics()).models["first"].breaker is state


@pytest.mark.parametrize(("wait", "text", "elapsed"), [(14.0, "first", 14.0), (16.0, "second", 0.0)])
async def test_a_long_wait_for_the_limits_of_a_model_is_not_waited_where_another_follows(
    wait, text, elapsed, autojump_clock
) -> None:
    script = iter([RateLimited("busy", status=429, retry_after=wait), "first"])
    async with models({"first": lambda _: next(script), "second": ["second"]}) as cast:
        assert (await cast.door.ask(ASK, timeout=100.0)).text == text
        assert cast.elapsed == elapsed


async def test_calls_that_would_wait_long_for_their_turn_go_to_the_model_that_follows(autojump_clock) -> None:
    """Each model has a minute of its own: what is too much for the first is not waited for."""
    books = RateBooks(None, {"small": Limits(rpm=2, tpm=10**6, burst=2, safety_margin=1.0)})
    entries = {"first": {"scope": "small"}}
    scripts = {"first": lambda _: "first", "second": lambda _: "second"}
    async with models(scripts, entries=entries, books=books) as cast:
        texts = [(await cast.door.ask(ASK, timeout=200.0)).text for _ in range(4)]

        assert texts == ["first", "first", "second", "second"]
        assert cast.elapsed < 31.0


async def test_the_last_model_may_take_all_the_time_there_is(autojump_clock) -> None:
    async with models({"first": [Delay(30.0, "yes")]}, roles={}) as cast:
        assert (await cast.door.ask(ASK, timeout=31.0)).text == "yes"


async def test_text_that_somebody_has_read_is_not_said_again_by_the_next_model(autojump_clock) -> None:
    send, receive = trio.open_memory_channel[str](100)
    async with models({"first": [BreakOff("half an ans")], "second": ["never"]}) as cast, send, receive:
        with pytest.raises(StreamTruncated):
            await cast.door.ask(attrs.evolve(ASK, stream=True, sink=send))

        assert cast.sent == {"first": 1}


async def test_who_asks_again_after_a_break_is_answered_by_the_next_model(autojump_clock) -> None:
    send, receive = trio.open_memory_channel[str](100)
    scripts = {"first": lambda _: BreakOff("half an ans"), "second": lambda _: "whole"}
    async with models(scripts) as cast, send, receive:
        again = attrs.evolve(ASK, stream=True, sink=send)
        with cast.system.events() as events:
            with carry(trace="one run"):
                with pytest.raises(StreamTruncated):
                    await cast.door.ask(again)
                assert (await cast.door.ask(again)).text == "whole"
                assert cast.sent == {"first": 1, "second": 1}
            told = await drained(events)
        with carry(trace="another run"), pytest.raises(StreamTruncated):
            await cast.door.ask(again)

    [fell] = [event for event in told if isinstance(event, ModelFellBack)]
    assert (fell.model, fell.following, fell.error) == ("first", "second", "stream_truncated")


async def test_the_last_model_is_asked_again_whatever_it_did(autojump_clock) -> None:
    send, receive = trio.open_memory_channel[str](100)
    scripts = {name: lambda _: BreakOff("half an ans") for name in ("first", "second")}
    async with models(scripts) as cast, send, receive:
        with carry(trace="one run"):
            for _ in range(4):
                with pytest.raises(StreamTruncated):
                    await cast.door.ask(attrs.evolve(ASK, stream=True, sink=send))

        assert cast.sent == {"first": 1, "second": 3}


async def test_falling_back_is_told_with_the_kind_of_the_error(autojump_clock) -> None:
    async with models({"first": lambda _: DOWN(), "second": ["yes"]}) as cast:
        with cast.system.events() as events:
            await cast.door.ask(ASK)
            told = await drained(events)

    [fell] = [event for event in told if isinstance(event, ModelFellBack)]
    assert (fell.model, fell.following, fell.error, fell.role) == ("first", "second", "model_unavailable", "planner")
    calls = [(event.endpoint, event.attempt) for event in told if isinstance(event, ModelCalled)]
    assert calls == [("first", 1), ("first", 2), ("second", 3)]


async def test_a_budget_that_is_spent_is_not_asked_of_another_model(autojump_clock) -> None:
    ledger = Ledger(Budget(model_calls=1))
    async with models({"first": lambda _: AuthFailed("key"), "second": ["never"]}) as cast:
        with carry(budget=ledger), pytest.raises(BudgetExceeded) as caught:
            await cast.door.ask(ASK)

        assert isinstance(caught.value.__cause__, AuthFailed)
        assert cast.sent == {"first": 1}


async def test_each_model_costs_its_own_price_and_is_counted_by_itself(autojump_clock) -> None:
    answer = ChatReply(text="yes", usage=Usage(prompt_tokens=1000, completion_tokens=10, cached_tokens=800, calls=1))
    entries = {
        "first": {"prices": Prices(prompt=1000.0, completion=1.0)},
        "second": {"prices": Prices(prompt=1000.0, completion=10_000.0, cached=100.0)},
    }
    ledger = Ledger(Budget(cost=100.0))
    async with models(
        {"first": [answer], "second": [answer]}, entries=entries, roles={"verifier": ("second",)}
    ) as cast:
        with carry(budget=ledger):
            dear = await cast.door.ask(asked("planner"))
            cheap = await cast.door.ask(asked("verifier"))

        statistics = await cast.statistics()
        assert (dear.usage.cost, cheap.usage.cost) == pytest.approx((1.00001, 0.2 + 0.08 + 0.1))
        assert [m.usage.cost for m in statistics.models.values()] == [dear.usage.cost, cheap.usage.cost]
        assert ledger.used("cost") == pytest.approx(dear.usage.cost + cheap.usage.cost)
        assert statistics.usage.calls == 2


async def test_what_others_ask_of_a_model_is_counted_with_their_trace_and_its_price(autojump_clock) -> None:
    entries = {"first": {"prices": Prices(prompt=1_000_000.0)}}
    async with models({"first": []}, roles={}, entries=entries) as cast:
        await cast.door.tell(CountUsage("a trace", Usage(prompt_tokens=3, calls=1), model="first"))
        await cast.door.tell(CountUsage("a trace", Usage(prompt_tokens=4, calls=1)))
        await trio.testing.wait_all_tasks_blocked()

        assert await cast.door.ask(GetUsage("a trace")) == Usage(prompt_tokens=7, calls=2, cost=3.0)
        assert await cast.door.ask(GetUsage()) == Usage(prompt_tokens=7, calls=2, cost=3.0)
        assert (await cast.statistics()).models["first"].usage.prompt_tokens == 3


async def test_what_a_model_counts_is_learned_for_what_is_reserved_next(autojump_clock) -> None:
    """It counts three times as much as we do: soon nobody may ask who has not so much left."""
    question = Chat(request=ChatRequest(messages=(ChatMessage("user", "a long question " * 40),), max_tokens=1))
    answer = ChatReply(text="yes", usage=Usage(prompt_tokens=500, completion_tokens=1, calls=1))
    async with models({"first": lambda _: answer}, roles={}) as cast:
        with carry(budget=Ledger(Budget(tokens=400))):
            await cast.door.ask(question)
        with carry(budget=Ledger(Budget(tokens=400))), pytest.raises(BudgetExceeded):
            await cast.door.ask(question)


# ------------------------------------------------------------------ the breaker
async def test_a_model_that_keeps_failing_is_left_alone_and_the_next_one_asked_at_once(autojump_clock) -> None:
    async with models({"first": lambda _: DOWN(), "second": lambda _: "yes"}, breaker=BREAKER, max_retries=0) as cast:
        for _ in range(5):
            assert (await cast.door.ask(ASK)).text == "yes"

        assert cast.sent == {"first": 3, "second": 5}
        of_first = (await cast.statistics()).models["first"]
        assert (of_first.breaker, of_first.opened, of_first.attempts) == (BreakerState.OPEN, 1, 3)


async def test_with_nobody_else_to_ask_a_model_that_is_left_alone_is_an_error_at_once_that_says_why(
    autojump_clock,
) -> None:
    async with models({"first": lambda _: DOWN()}, roles={}, breaker=BREAKER, max_retries=2) as cast:
        with pytest.raises(ModelUnavailable, match="down"):
            await cast.door.ask(ASK)
        before = trio.current_time()
        with pytest.raises(ModelUnavailable, match=r"'first' is left alone for another 10 s: .*The last failure: down"):
            await cast.door.ask(ASK)

        assert trio.current_time() == before
        assert cast.sent == {"first": 3}


async def test_a_call_whose_own_failures_open_the_breaker_ends_with_what_it_was_told(autojump_clock) -> None:
    """Not after another pause, and not with the breaker's own words."""
    async with models({"first": lambda _: DOWN()}, roles={}, breaker=BREAKER, max_retries=9) as cast:
        with pytest.raises(ModelUnavailable) as caught:
            await cast.door.ask(ASK)

        assert (str(caught.value), cast.sent, cast.elapsed) == ("down", {"first": 3}, 2.0)


async def test_who_would_be_turned_away_by_the_breaker_does_not_wait_for_a_place(autojump_clock) -> None:
    roles = {"planner": ("first",), "tool": ("second",)}
    scripts = {"first": lambda _: DOWN(), "second": lambda _: Delay(100.0, "late")}
    async with models(scripts, roles=roles, breaker=BREAKER, max_retries=0, max_parallel=1) as cast:
        for _ in range(3):
            with pytest.raises(ModelUnavailable):
                await cast.door.ask(ASK)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cast.door.ask, asked("tool"))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ModelUnavailable, match="left alone"):
                await cast.door.ask(ASK)
            assert cast.elapsed == 0.0
            nursery.cancel_scope.cancel()


async def test_what_somebody_waits_for_goes_before_background_work_under_the_limits_too(autojump_clock) -> None:
    books = RateBooks(Limits(rpm=60, tpm=10**6, burst=1, safety_margin=1.0))
    order: list[str] = []
    async with models({"first": lambda _: "yes"}, roles={}, books=books, max_parallel=10) as cast:

        async def ask(priority: str) -> None:
            await cast.door.ask(Chat(request=attrs.evolve(ASK.request, priority=priority)), timeout=1000.0)
            order.append(priority)

        await cast.door.ask(ASK)
        async with trio.open_nursery() as nursery:
            for priority in ("background", "background", "background", "interactive", "interactive", "interactive"):
                nursery.start_soon(ask, priority)
                await trio.testing.wait_all_tasks_blocked()

    assert order[-2:] == ["background", "background"]


async def test_after_the_cooldown_one_call_looks_and_the_others_go_elsewhere(autojump_clock) -> None:
    script = iter([DOWN(), DOWN(), DOWN(), Delay(5.0, "well again"), "yes", "yes"])
    async with models(
        {"first": lambda _: next(script), "second": lambda _: "no"}, breaker=BREAKER, max_retries=0
    ) as cast:
        for _ in range(3):
            await cast.door.ask(ASK)
        await trio.sleep(10.0)
        got: list[str] = []

        async def ask() -> None:
            got.append((await cast.door.ask(ASK)).text)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert got == ["no", "no", "well again"]

        assert (await cast.door.ask(ASK)).text == "yes"


async def test_a_look_that_was_cancelled_leaves_the_next_call_to_look(autojump_clock) -> None:
    script = iter([DOWN(), DOWN(), DOWN(), Delay(1000.0, "late"), "yes"])
    async with models({"first": lambda _: next(script)}, roles={}, breaker=BREAKER, max_retries=0) as cast:
        for _ in range(3):
            with pytest.raises(ModelUnavailable):
                await cast.door.ask(ASK)
        await trio.sleep(10.0)
        with pytest.raises(AskTimeout):
            await cast.door.ask(ASK, timeout=1.0)
        await trio.testing.wait_all_tasks_blocked()

        assert (await cast.door.ask(ASK)).text == "yes"


async def test_what_the_breaker_does_is_told(autojump_clock) -> None:
    script = iter([DOWN(), DOWN(), DOWN(), "yes"])
    async with models({"first": lambda _: next(script)}, roles={}, breaker=BREAKER, max_retries=0) as cast:
        with cast.system.events() as events:
            for _ in range(3):
                with pytest.raises(ModelUnavailable):
                    await cast.door.ask(ASK)
            await trio.sleep(10.0)
            await cast.door.ask(ASK)
            told = [event for event in await drained(events) if isinstance(event, BreakerChanged)]

    assert [(event.state, event.cooldown) for event in told] == [
        (BreakerState.OPEN, 10.0),
        (BreakerState.HALF_OPEN, 0.0),
        (BreakerState.CLOSED, 0.0),
    ]


@pytest.mark.parametrize(
    "error",
    [
        AuthFailed("key", status=401),
        BadRequest("no", status=400),
        RateLimited("busy", status=429, retry_after=0.0),
        Refused("no"),
    ],
    ids=lambda error: error.kind,
)
async def test_a_server_that_answers_no_is_not_broken(error, autojump_clock) -> None:
    async with models({"first": lambda _: error}, roles={}, breaker=BREAKER, max_retries=0) as cast:
        for _ in range(5):
            with pytest.raises(type(error)):
                await cast.door.ask(ASK)

        assert (await cast.statistics()).models["first"].breaker is BreakerState.CLOSED


async def test_a_model_that_is_not_configured_says_so_each_time(autojump_clock) -> None:
    """What no pause can mend is no reason to leave a model alone, and its own words are better than the breaker's."""
    error = ModelUnavailable("none is configured")
    error.retryable = False
    async with models({"first": lambda _: error}, roles={}, breaker=BREAKER) as cast:
        for _ in range(5):
            with pytest.raises(ModelUnavailable, match="none is configured"):
                await cast.door.ask(ASK)

        assert cast.sent == {"first": 5}


async def test_readers_that_do_not_read_are_not_held_against_the_model(autojump_clock) -> None:
    async with models({"first": lambda _: "some text in pieces"}, roles={}, breaker=BREAKER, sink_patience=1.0) as cast:
        for _ in range(4):
            send, receive = trio.open_memory_channel[str](0)
            with send, receive, pytest.raises(StreamTruncated, match="nobody took"):
                await cast.door.ask(attrs.evolve(ASK, stream=True, sink=send))

        assert (await cast.statistics()).models["first"].breaker is BreakerState.CLOSED


async def test_a_breaker_outlives_a_crash_of_the_door(autojump_clock) -> None:
    script = iter([DOWN(), DOWN(), DOWN(), "never"])
    bugs = {"first": lambda _: next(script), "second": iter([KeyError("a bug"), "yes"])}
    roles = {"planner": ("first",), "tool": ("second",)}
    async with models(bugs, roles=roles, breaker=BREAKER, max_retries=0) as cast:
        for _ in range(3):
            with pytest.raises(ModelUnavailable):
                await cast.door.ask(ASK)
        await cast.statistics()  # a handler that ends well: its snapshot is what the next life begins with
        with pytest.raises(ActorCrashed):
            await cast.door.ask(asked("tool"))
        with pytest.raises(ModelUnavailable, match="left alone"):
            await cast.door.ask(ASK)

        assert cast.sent["first"] == 3
        assert (await cast.statistics()).models["first"].attempts == 3


async def test_retries_have_a_budget_so_that_an_outage_is_not_made_worse(autojump_clock) -> None:
    """100 calls that all fail: without a budget they would be sent 300 times."""
    async with models({"first": lambda _: DOWN()}, roles={}, max_retries=2, max_parallel=100) as cast:

        async def ask() -> None:
            with pytest.raises(ModelUnavailable):
                await cast.door.ask(ASK)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)

        assert 100 < cast.sent["first"] < 125


# ------------------------------------------------------------------ streams
async def test_a_reader_that_does_not_read_does_not_keep_the_place(autojump_clock) -> None:
    send, receive = trio.open_memory_channel[str](1)
    options = {"roles": {}, "max_parallel": 1, "sink_patience": 5.0}
    async with models({"first": ["a long answer in pieces", "yes"]}, **options) as cast, send, receive:
        with pytest.raises(StreamTruncated, match="nobody took a piece"):
            await cast.door.ask(attrs.evolve(ASK, stream=True, sink=send), timeout=1000.0)

        assert cast.elapsed == 5.0
        assert cast.models["first"].calls_open == 0
        assert (await cast.door.ask(ASK)).text == "yes"
        assert cast.sent == {"first": 2}


async def test_a_reader_that_is_slow_gets_everything(autojump_clock) -> None:
    send, receive = trio.open_memory_channel[str](0)
    got: list[str] = []

    async def read() -> None:
        async for piece in receive:
            await trio.sleep(4.0)
            got.append(piece)

    script = {"first": ["a long answer in pieces"]}
    async with models(script, roles={}, sink_patience=5.0) as cast, trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with send:
            reply = await cast.door.ask(attrs.evolve(ASK, stream=True, sink=send))

    assert "".join(got) == reply.text == "a long answer in pieces"


async def test_a_fallback_of_a_stream_that_nobody_read_is_told_from_the_beginning(autojump_clock) -> None:
    async with models({"first": [BreakOff("half"), BreakOff("half")], "second": ["whole"]}) as cast:
        with cast.system.events() as events:
            await cast.door.ask(attrs.evolve(ASK, stream=True))
            told = [event for event in await drained(events) if isinstance(event, ModelText)]

    assert [(event.attempt, event.text) for event in told] == [(1, "half"), (2, "half"), (3, "whol"), (3, "e")]


async def drained(events: AsyncIterator[Event]) -> list[Event]:
    """What a subscription holds now."""
    await trio.testing.wait_all_tasks_blocked()
    got: list[Event] = []
    with trio.move_on_after(0.001):
        while True:
            got.append(await anext(events))
    return got


# ------------------------------------------------------------------ whose time it is
async def test_what_is_left_is_the_time_of_the_run_and_not_that_of_the_ask(autojump_clock) -> None:
    """A run of 20 s whose asks may take a minute longer: the first model has ten seconds, and the second the rest."""
    scripts = {"first": [Delay(3600)], "second": ["an answer"]}
    async with models(scripts) as stage:
        with carry(until=trio.current_time() + 20.0):
            reply = await stage.door.ask(ASK, timeout=80)

        assert reply.text == "an answer"
        assert stage.elapsed == pytest.approx(10.0)


async def test_nothing_is_tried_again_after_the_end_of_the_run(autojump_clock) -> None:
    async with models({"first": [DOWN(retry_after=30.0), "too late"]}, roles={}) as stage:
        with carry(until=trio.current_time() + 20.0), pytest.raises(ModelUnavailable):
            await stage.door.ask(ASK, timeout=80)

        assert stage.elapsed < 1.0
