"""The door to models: leases, retries, deadlines, places, usage, streams."""

from __future__ import annotations

import functools
import itertools
from typing import Self

import attrs
import pytest
import trio
import trio.testing

from trouper.actors.limiter import GetLimiterStatistics, Limiter
from trouper.actors.llm import Chat, GetLLMStatistics, GetUsage, GetWaits, LLMDoor, ModelCalled, ModelText
from trouper.actors.model_counts import KEPT_TRACES, ModelCounts
from trouper.actors.model_spending import Prices
from trouper.actors.protocols import ChatMessage, ChatReply, ChatRequest, Usage
from trouper.actors.tokens import DEFAULT_ANSWER, estimate_request, estimate_tokens
from trouper.adapters.llm_scripted import BreakOff, Delay, ScriptedModel
from trouper.runtime import (
    ActorCrashed,
    AskTimeout,
    AuthFailed,
    Backoff,
    BadRequest,
    Budget,
    BudgetExceeded,
    Ledger,
    Limits,
    ModelUnavailable,
    RateLimited,
    StreamTruncated,
    TokenBucket,
    carry,
    open_system,
)
from trouper.runtime.testing import When, crash

ASK = Chat(request=ChatRequest(messages=(ChatMessage("user", "a question"),)))
STREAM = attrs.evolve(ASK, stream=True)
BUSY = functools.partial(RateLimited, "busy", status=429)
DOWN = functools.partial(ModelUnavailable, "down", status=503)


class Set:
    """A system with a door, its limiter, and the scripted model behind it."""

    def __init__(self, script: object, *, bucket: TokenBucket | None = None, chunk: int = 4, **options: object) -> None:
        self.model = ScriptedModel(script, chunk=chunk)
        self._bucket = bucket
        self._options = options

    async def __aenter__(self) -> Self:
        self._system = open_system()
        self.system = await self._system.__aenter__()
        self.limiter = await self.system.spawn(functools.partial(Limiter, self._bucket), name="limiter")
        self.door = await self.system.spawn(functools.partial(LLMDoor, self.model, **self._options), name="llm")
        self.began = trio.current_time()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._system.__aexit__(*exception)

    @property
    def elapsed(self) -> float:
        return trio.current_time() - self.began


async def test_an_answer_comes_through_and_is_counted(autojump_clock) -> None:
    async with Set(["an answer", "another"]) as cast:
        reply = await cast.door.ask(ASK)
        await cast.door.ask(ASK)

        usage = await cast.door.ask(GetUsage())
        assert reply.text == "an answer"
        assert usage == reply.usage + Usage(prompt_tokens=3, completion_tokens=2, calls=1)
        assert await cast.door.ask(GetUsage(trace="another")) == Usage()


async def test_a_retryable_failure_is_tried_again_after_a_backoff(autojump_clock) -> None:
    backoff = Backoff(min=1.0, max=8.0, jitter=0.0)
    async with Set([DOWN(), DOWN(), "at last"], max_retries=2, backoff=backoff) as cast:
        assert (await cast.door.ask(ASK)).text == "at last"
        assert cast.elapsed == 3.0
        statistics = await cast.door.ask(GetLLMStatistics())
        assert (statistics.attempts, statistics.retries, statistics.failures) == (3, 2, 0)


async def test_the_backoff_is_jittered_and_repeatable(autojump_clock) -> None:
    async def waited(seed: int) -> float:
        async with Set([DOWN(), "at last"], seed=seed) as cast:
            await cast.door.ask(ASK)
            return cast.elapsed

    assert await waited(1) == await waited(1) != await waited(2)


async def test_after_the_last_retry_the_error_says_how_often_it_was_tried(autojump_clock) -> None:
    async with Set(lambda _: DOWN(), max_retries=3) as cast:
        with pytest.raises(ModelUnavailable) as caught:
            await cast.door.ask(ASK)
        assert len(cast.model.requests) == 4
        assert caught.value.__notes__ == ["This was attempt 4."]
        assert cast.door.incarnation == 1


@pytest.mark.parametrize("error", [AuthFailed("key", status=401), BadRequest("no", status=400)])
async def test_what_no_retry_can_mend_is_not_retried(autojump_clock, error) -> None:
    async with Set([error, "never"]) as cast:
        with pytest.raises(type(error)):
            await cast.door.ask(ASK)
        assert (len(cast.model.requests), cast.elapsed) == (1, 0.0)


async def test_the_servers_wish_is_kept_by_everybody(autojump_clock) -> None:
    """One 429 with Retry-After: the call waits, and so does the next one that had nothing to do with it."""
    bucket = TokenBucket(Limits(rpm=600, tpm=10**6))
    async with Set([BUSY(retry_after=20.0), "one", "two"], bucket=bucket) as cast:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cast.door.ask, ASK)
            await trio.testing.wait_all_tasks_blocked()
            await cast.door.ask(ASK)
            assert cast.elapsed == pytest.approx(20.0, abs=0.01)
        assert cast.elapsed == pytest.approx(20.0, abs=0.2)
        assert (await cast.door.ask(GetLLMStatistics())).rate_limited == 1


async def test_a_wait_that_ends_after_the_deadline_is_not_begun(autojump_clock) -> None:
    async with Set([BUSY(retry_after=20.0), "never"]) as cast:
        with pytest.raises(RateLimited):
            await cast.door.ask(ASK, timeout=10.0)
        assert cast.elapsed == 0.0


async def test_a_deadline_ends_a_call_in_progress(autojump_clock) -> None:
    async with Set([Delay(100.0, "late"), "in time"]) as cast:
        with pytest.raises(AskTimeout):
            await cast.door.ask(ASK, timeout=10.0)
        assert cast.elapsed == 10.0
        await trio.testing.wait_all_tasks_blocked()
        assert cast.model.calls_open == 0
        assert (await cast.door.ask(ASK)).text == "in time"


async def test_no_more_calls_run_at_once_than_allowed(autojump_clock) -> None:
    most = 0

    async def answer(_: ChatRequest) -> str:
        nonlocal most
        most = max(most, cast.model.calls_open)
        await trio.sleep(1)
        return "done"

    async with Set(answer, max_parallel=3) as cast:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(cast.door.ask, ASK)
        assert (most, cast.elapsed) == (3, 4.0)


async def test_every_attempt_is_a_lease_and_settled_with_what_was_used(autojump_clock) -> None:
    bucket = TokenBucket(Limits(rpm=600, tpm=10**6, charge="actual"))
    async with Set([DOWN(), "an answer"], bucket=bucket) as cast:
        reply = await cast.door.ask(ASK)
        state = (await cast.limiter.ask(GetLimiterStatistics())).bucket

        assert state.requests == 2
        assert state.tokens == reply.usage.total_tokens + estimate_request(ASK.request)  # the failed one stays charged
        assert state.unsettled == 0


async def test_a_call_cancelled_while_it_waits_for_its_turn_gives_its_lease_back(autojump_clock) -> None:
    bucket = TokenBucket(Limits(rpm=1, tpm=10**6, safety_margin=1.0))
    async with Set(lambda _: "an answer", bucket=bucket) as cast:
        await cast.door.ask(ASK)
        with trio.move_on_after(5.0):
            await cast.door.ask(ASK, timeout=100)
        assert cast.elapsed == 5.0
        await trio.testing.wait_all_tasks_blocked()
        state = (await cast.limiter.ask(GetLimiterStatistics())).bucket

        assert (state.requests, state.waiting) == (1, 0)
        await cast.door.ask(ASK, timeout=100)
        assert 60.0 <= cast.elapsed <= 60.5  # the limiter leaves the server's clock a little room


async def test_a_request_that_the_limits_can_never_admit_fails_at_once(autojump_clock) -> None:
    async with Set(["never"], bucket=TokenBucket(Limits(rpm=60, tpm=100))) as cast:
        with pytest.raises(BadRequest, match="tpm_limit 100"):
            await cast.door.ask(ASK)
        assert cast.model.requests == []


async def test_the_configured_answer_length_is_for_requests_that_set_none(autojump_clock) -> None:
    async with Set(["a", "b"], max_tokens=77) as cast:
        await cast.door.ask(ASK)
        await cast.door.ask(Chat(request=attrs.evolve(ASK.request, max_tokens=5)))

        assert [request.max_tokens for request in cast.model.requests] == [77, 5]


async def test_a_stream_is_told_as_it_comes_and_answered_whole(autojump_clock) -> None:
    async with Set(["a streamed answer"]) as cast:
        send, receive = trio.open_memory_channel[str](100)
        with cast.system.events() as events:
            reply = await cast.door.ask(attrs.evolve(STREAM, sink=send))
            send.close()
            pieces = [piece async for piece in receive]
            told = [event for event in await drained(events) if isinstance(event, ModelText | ModelCalled)]

        assert "".join(pieces) == reply.text == "a streamed answer"
        assert len(pieces) > 1
        assert [event.text for event in told[:-1]] == pieces
        assert (told[-1].usage, told[-1].error, told[-1].role) == (reply.usage, None, "planner")


async def test_a_stream_that_fails_before_its_first_text_is_tried_again(autojump_clock) -> None:
    send, receive = trio.open_memory_channel[str](100)
    async with Set([DOWN(), "text"]) as cast, send, receive:
        assert (await cast.door.ask(attrs.evolve(STREAM, sink=send))).text == "text"


async def test_text_that_somebody_has_read_is_not_said_twice(autojump_clock) -> None:
    send, receive = trio.open_memory_channel[str](100)
    async with Set([BreakOff("half an ans"), "never"]) as cast, send, receive:
        with pytest.raises(StreamTruncated):
            await cast.door.ask(attrs.evolve(STREAM, sink=send))
        assert len(cast.model.requests) == 1


async def test_a_broken_stream_that_nobody_read_is_tried_again(autojump_clock) -> None:
    async with Set([BreakOff("half an ans"), "a whole answer"]) as cast:
        assert (await cast.door.ask(STREAM)).text == "a whole answer"


async def test_a_reader_that_goes_does_not_cost_the_answer(autojump_clock) -> None:
    send, receive = trio.open_memory_channel[str](0)
    async with Set(["a streamed answer"]) as cast, send:
        receive.close()
        assert (await cast.door.ask(attrs.evolve(STREAM, sink=send))).text == "a streamed answer"


async def test_a_model_that_breaks_its_promise_crashes_the_door_which_comes_back(autojump_clock) -> None:
    async with Set([KeyError("a bug"), "fine again"]) as cast:
        with pytest.raises(ActorCrashed, match="KeyError"):
            await cast.door.ask(ASK)
        assert (await cast.door.ask(ASK)).text == "fine again"
        assert cast.door.incarnation == 2


async def test_counters_outlive_a_crash(autojump_clock) -> None:
    async with Set(["one", "two"]) as cast:
        first = await cast.door.ask(ASK)
        crash(cast.door, When.QUEUED)
        second = await cast.door.ask(ASK)

        assert cast.door.incarnation == 2
        assert await cast.door.ask(GetUsage()) == first.usage + second.usage


async def test_a_crash_of_the_limiter_costs_no_call(autojump_clock) -> None:
    async with Set(["one"], bucket=TokenBucket(Limits(rpm=60, tpm=10**6))) as cast:
        crash(cast.limiter, When.IN_FLIGHT)

        assert (await cast.door.ask(ASK)).text == "one"
        assert cast.limiter.incarnation == 2


async def test_nothing_said_stands_in_events(autojump_clock) -> None:
    """Prompts and keys are nobody's business: a plain call tells tokens and times only."""
    async with Set(["the secret answer"]) as cast:
        with cast.system.events() as events:
            await cast.door.ask(Chat(request=ChatRequest(messages=(ChatMessage("user", "the secret question"),))))
            told = await drained(events)

    assert any(isinstance(event, ModelCalled) for event in told)
    assert "secret" not in repr(told)


async def test_a_storm_of_cancellations_leaves_every_place_free(autojump_clock) -> None:
    delays = itertools.cycle([0.1, 3.0, 0.7, 11.0])
    bucket = TokenBucket(Limits(rpm=600, tpm=10**6, burst=5))
    async with Set(lambda _: Delay(next(delays), "done"), bucket=bucket) as cast:

        async def one(patience: float) -> None:
            with trio.move_on_after(patience):
                await cast.door.ask(STREAM if patience > 1 else ASK)

        async with trio.open_nursery() as nursery:
            for i in range(100):
                nursery.start_soon(one, i * 0.07)
        await trio.testing.wait_all_tasks_blocked()

        assert cast.model.calls_open == 0
        state = (await cast.limiter.ask(GetLimiterStatistics())).bucket
        assert state.waiting == 0
        before = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(cast.door.ask, ASK)
        assert trio.current_time() - before < 30.0


def test_estimates_count_bytes_and_the_answer() -> None:
    request = ChatRequest(messages=(ChatMessage("user", "x" * 400),))

    assert [estimate_tokens(text) for text in ("", "abc", "abcde", "漢字")] == [0, 1, 2, 2]
    assert estimate_request(request) == 100 + 4 + DEFAULT_ANSWER
    assert estimate_request(attrs.evolve(request, max_tokens=10)) == 114


async def test_a_reply_without_usage_leaves_the_estimate_standing(autojump_clock) -> None:
    bucket = TokenBucket(Limits(rpm=60, tpm=10**6, charge="actual"))
    async with Set([ChatReply(text="hm")], bucket=bucket) as cast:
        await cast.door.ask(ASK)
        state = (await cast.limiter.ask(GetLimiterStatistics())).bucket

        assert state.tokens == estimate_request(ASK.request)


async def drained(events) -> list[object]:
    """What a subscription holds now."""
    await trio.testing.wait_all_tasks_blocked()
    got: list[object] = []
    with trio.move_on_after(0.001):
        while True:
            got.append(await anext(events))
    return got


# ------------------------------------------------------------------ what a run may spend
ESTIMATE = estimate_request(ASK.request)


async def test_a_call_beyond_the_budget_is_refused_as_itself_and_never_sent(autojump_clock) -> None:
    ledger = Ledger(Budget(model_calls=1))
    async with Set(["one", "never"]) as cast:
        with carry(budget=ledger):
            await cast.door.ask(ASK)
            with pytest.raises(BudgetExceeded, match="1 more model call: 1 used, limit 1"):
                await cast.door.ask(ASK)
        await cast.door.ask(ASK)  # somebody else's budget is not concerned

        assert (len(cast.model.requests), cast.door.incarnation, cast.elapsed) == (2, 1, 0.0)


async def test_calls_side_by_side_cannot_pass_a_limit_together(autojump_clock) -> None:
    ledger = Ledger(Budget(tokens=3 * ESTIMATE + 10))
    outcomes: list[str] = []

    async def ask() -> None:
        try:
            outcomes.append((await cast.door.ask(ASK)).text)
        except BudgetExceeded:
            outcomes.append("refused")

    async with Set(lambda _: Delay(1.0, "yes"), max_parallel=10) as cast:
        with carry(budget=ledger):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(ask)

    assert sorted(outcomes) == ["refused"] * 7 + ["yes"] * 3
    assert (ledger.reserved("tokens"), ledger.reserved("model_calls"), ledger.used("model_calls")) == (0, 0, 3)


async def test_what_a_call_came_to_is_settled_and_the_rest_is_free_again(autojump_clock) -> None:
    ledger = Ledger(Budget(tokens=ESTIMATE + 20))
    async with Set(lambda _: "an answer") as cast:
        with carry(budget=ledger):
            replies = [await cast.door.ask(ASK) for _ in range(3)]

    assert ledger.used("tokens") == sum(reply.usage.total_tokens for reply in replies)
    assert (ledger.reserved("tokens"), ledger.used("model_calls")) == (0, 3)


async def test_money_is_reserved_and_settled_by_the_prices(autojump_clock) -> None:
    ledger = Ledger(Budget(cost=1.0))
    prices = Prices(prompt=1000.0, completion=2_000_000.0)
    answer = ChatReply(text="hm", usage=Usage(prompt_tokens=1000, completion_tokens=0, calls=1))
    short = Chat(request=attrs.evolve(ASK.request, max_tokens=0))
    async with Set([answer, answer, "never"], prices=prices) as cast:
        with cast.system.events() as events, carry(budget=ledger):
            reply = await cast.door.ask(short)
            with pytest.raises(BudgetExceeded, match="more cost: 1 used, limit 1"):
                await cast.door.ask(ASK)  # 1,024 tokens of answer would cost 2,048
            [called] = [event for event in await drained(events) if isinstance(event, ModelCalled)]

        total = await cast.door.ask(GetUsage())
        assert reply.usage.cost == called.usage.cost == total.cost == ledger.used("cost") == 1.0


def test_the_price_is_of_a_million_tokens_of_each_kind() -> None:
    prices = Prices(prompt=2.0, completion=8.0)

    assert prices.cost(Usage(prompt_tokens=500_000, completion_tokens=250_000, cached_tokens=1000)) == 3.0
    assert Prices().cost(Usage(prompt_tokens=10**9)) == 0.0


async def test_a_refused_call_counts_as_a_call_and_costs_no_tokens(autojump_clock) -> None:
    ledger = Ledger(Budget(model_calls=10))
    async with Set([DOWN(), BUSY(retry_after=1.0), "an answer"]) as cast:
        with carry(budget=ledger):
            reply = await cast.door.ask(ASK)

        assert (await cast.door.ask(GetUsage())).rate_limited == 1

    assert ledger.used("model_calls") == 3
    assert ledger.used("tokens") == reply.usage.total_tokens


async def test_a_retry_that_the_budget_does_not_allow_tells_what_had_failed_before(autojump_clock) -> None:
    ledger = Ledger(Budget(model_calls=1))
    async with Set([DOWN(), "never"]) as cast:
        with carry(budget=ledger), pytest.raises(BudgetExceeded) as caught:
            await cast.door.ask(ASK)

        assert isinstance(caught.value.__cause__, ModelUnavailable)
        assert len(cast.model.requests) == 1


async def test_a_call_that_never_left_costs_nothing(autojump_clock) -> None:
    bucket = TokenBucket(Limits(rpm=1, tpm=10**6, safety_margin=1.0))
    ledger = Ledger(Budget(model_calls=5))
    async with Set(lambda _: "an answer", bucket=bucket) as cast:
        await cast.door.ask(ASK)
        with carry(budget=ledger), trio.move_on_after(5.0):
            await cast.door.ask(ASK, timeout=100)
        await trio.testing.wait_all_tasks_blocked()

    assert [(ledger.used(what), ledger.reserved(what)) for what in ("model_calls", "tokens")] == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    "answer",
    [Delay(100.0, "late"), StreamTruncated("cut"), RuntimeError("against the contract")],
    ids=["cancelled", "truncated", "crashed"],
)
async def test_a_call_broken_off_counts_as_estimated(autojump_clock, answer) -> None:
    """Nobody knows how far the model had come, so the budget is never told less than it may have cost."""
    ledger = Ledger(Budget())
    async with Set([answer], max_retries=0) as cast:
        with carry(budget=ledger), pytest.raises((AskTimeout, StreamTruncated, ActorCrashed)):
            await cast.door.ask(ASK, timeout=10.0)
        await trio.testing.wait_all_tasks_blocked()

    assert (ledger.used("model_calls"), ledger.used("tokens")) == (1, ESTIMATE)
    assert (ledger.reserved("model_calls"), ledger.reserved("tokens")) == (0, 0)


async def test_an_answer_that_nobody_counted_is_counted_by_its_text(autojump_clock) -> None:
    ledger = Ledger(Budget(tokens=2000))
    async with Set([ChatReply(text="x" * 40)]) as cast:
        with carry(budget=ledger):
            await cast.door.ask(ASK)

    assert ledger.used("tokens") == ESTIMATE - DEFAULT_ANSWER + 10


async def test_a_trace_knows_what_its_calls_have_waited_for(autojump_clock) -> None:
    """One place: the second call takes it while the first backs off; the third comes when the minute is full."""
    bucket = TokenBucket(Limits(rpm=3, tpm=10**6, burst=3, safety_margin=1.0))
    script = [DOWN(), Delay(2.0, "one"), Delay(2.0, "two"), "three"]
    async with Set(script, bucket=bucket, max_parallel=1, backoff=Backoff(min=1.0, max=1.0, jitter=0.0)) as cast:
        with cast.system.events() as events, carry():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cast.door.ask, ASK)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(cast.door.ask, ASK)
            await cast.door.ask(ASK, timeout=100)
            traces = {event.trace for event in await drained(events) if isinstance(event, ModelCalled)}

        [trace] = traces
        assert await cast.door.ask(GetUsage(trace)) == await cast.door.ask(GetUsage()) != Usage()
        waits = await cast.door.ask(GetWaits(trace))
        assert waits == pytest.approx({"limiter": 56.0, "model": 4.0, "places": 1.0, "backoff": 1.0}, abs=0.5)
        assert set((await cast.door.ask(GetWaits("another"))).values()) == {0.0}


def test_the_traces_that_are_remembered_are_bounded_and_the_oldest_is_forgotten() -> None:
    counts = ModelCounts()
    for n in range(KEPT_TRACES + 1):
        counts.count(f"t{n}", Usage(calls=1))

    assert len(counts.kept()) == KEPT_TRACES
    assert [counts.of(trace).usage.calls for trace in ("t0", "t1", f"t{KEPT_TRACES}")] == [0, 1, 1]
