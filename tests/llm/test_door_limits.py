"""What a server says of its limits travels with every answer and with every error."""

from __future__ import annotations

from contextlib import aclosing

import pytest
import trio

from trouper.actors.protocols import ChatMessage, ChatRequest, MeteredEmbedder, Usage
from trouper.adapters.embed_openai import OpenAIEmbedder
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import ServerReply, model_server
from trouper.adapters.wire_limits import server_limits
from trouper.adapters.wire_openai import usage_of
from trouper.runtime import LLMError, ServerLimits

ASK = ChatRequest(messages=(ChatMessage("user", "a question"),))
HEADERS = {
    "x-ratelimit-limit-requests": "600",
    "x-ratelimit-remaining-requests": "599",
    "x-ratelimit-reset-requests": "100ms",
    "x-ratelimit-limit-tokens": "300000",
    "x-ratelimit-remaining-tokens": "299000",
    "x-ratelimit-reset-tokens": "6m0s",
}
LIMITS = ServerLimits(
    limit_requests=600,
    remaining_requests=599,
    reset_requests=0.1,
    limit_tokens=300_000,
    remaining_tokens=299_000,
    reset_tokens=360.0,
)


def test_the_six_headers_of_openai_are_read() -> None:
    assert server_limits(HEADERS) == LIMITS


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("7.66s", 7.66),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("2", 2.0),
        ("0.25", 0.25),
        ("1700000030", 30.0),
        ("1700000030500", 30.5),
        ("1699999999", 0.0),
        ("2023-11-14T22:14:00Z", 40.0),
        ("2023-11-14t22:14:00+00:00", 40.0),
        ("2023-11-14T22:14:00", 40.0),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("1e999", None),
        ("9" * 400 + "d", None),
        ("9" * 308 + "s" + "9" * 308 + "s", None),
        ("1e300", None),
        ("", None),
        ("3 s", None),
    ],
)
def test_a_reset_is_a_duration_or_a_moment(value: str, seconds: float | None) -> None:
    limits = server_limits({"x-ratelimit-reset-tokens": value}, wall=1_700_000_000.0)

    assert (limits.reset_tokens if limits is not None else None) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "count"),
    [("7", 7), ("7.0", 7), ("0", 0), ("-1", None), ("many", None), ("inf", None), ("1e308", None), ("9" * 5000, None)],
)
def test_a_count_is_a_whole_number_or_nothing(value: str, count: int | None) -> None:
    limits = server_limits({"x-ratelimit-remaining-requests": value})

    assert (limits.remaining_requests if limits is not None else None) == count


def test_other_families_are_read_and_headers_that_do_not_say_what_they_count_are_not() -> None:
    assert server_limits(
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-tokens-remaining": "9000",
            "anthropic-ratelimit-tokens-reset": "2023-11-14T22:13:50Z",
            "x-ratelimit-limit-tokens-minute": "60000",
        },
        wall=1_700_000_000.0,
    ) == ServerLimits(limit_requests=50, remaining_tokens=9000, reset_tokens=30.0, limit_tokens=60_000)
    assert server_limits({"x-ratelimit-limit": "5", "ratelimit-remaining": "4", "date": "today"}) is None


@pytest.mark.io
async def test_a_reply_tells_the_limits_streamed_or_not() -> None:
    async with model_server([ServerReply(headers=HEADERS)] * 2 + [ServerReply()]) as server:
        model = OpenAIModel(model="test", base_url=server.base_url)
        plain = await model.complete(ASK)
        async with model.stream(ASK) as chunks:
            streamed = [chunk.reply async for chunk in chunks][-1]
        without = await model.complete(ASK)
        await model.aclose()

    assert (plain.limits, streamed.limits, without.limits) == (LIMITS, LIMITS, None)


@pytest.mark.io
@pytest.mark.parametrize(
    "reply",
    [
        ServerReply(status=429, headers=HEADERS),
        ServerReply(status=503, headers=HEADERS),
        ServerReply(body=b"{}", headers=HEADERS),
        ServerReply(text="x", finish_reason="length", headers=HEADERS),
    ],
    ids=["429", "503", "no completion", "cut"],
)
async def test_an_error_tells_the_limits_streamed_or_not(reply: ServerReply) -> None:
    async with model_server([reply] * 2) as server:
        model = OpenAIModel(model="test", base_url=server.base_url)
        with pytest.raises(LLMError) as plain:
            await model.complete(ASK)
        with pytest.raises(LLMError) as streamed:
            async with model.stream(ASK) as chunks:
                [chunk async for chunk in chunks]
        await model.aclose()

    assert (plain.value.limits, streamed.value.limits) == (LIMITS, LIMITS)


@pytest.mark.io
async def test_embeddings_tell_what_they_used_and_the_limits() -> None:
    async with model_server([ServerReply(headers=HEADERS)] * 2 + [ServerReply(body=b"{}", headers=HEADERS)]) as server:
        embedder = OpenAIEmbedder(model="test-embed", base_url=server.base_url)
        assert isinstance(embedder, MeteredEmbedder)
        told = await embedder.embed_metered(["one text", "another"])
        vectors = await embedder.embed(["one text", "another"])
        with pytest.raises(LLMError) as caught:
            await embedder.embed(["a"])
        await embedder.aclose()

    assert told.vectors == vectors
    assert (told.usage.calls, told.usage.completion_tokens, told.limits) == (1, 0, LIMITS)
    assert told.usage.prompt_tokens > 0
    assert caught.value.limits == LIMITS


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens_details": {"cached_tokens": 80}},
        {"prompt_cache_hit_tokens": 80, "prompt_cache_miss_tokens": 20},
        {"cache_read_input_tokens": 80},
        {"cached_tokens": 80},
    ],
)
def test_cached_tokens_are_counted_however_they_are_said(told: dict[str, object]) -> None:
    assert usage_of({"prompt_tokens": 100, "completion_tokens": 7, **told}) == Usage(
        prompt_tokens=100, completion_tokens=7, cached_tokens=80, calls=1
    )


@pytest.mark.parametrize("cached", [-5, "many", None, True, 1e9, 101])
def test_nonsense_about_cached_tokens_never_exceeds_the_prompt(cached: object) -> None:
    usage = usage_of({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": cached}})

    assert usage.cached_tokens in {0, 100}


@pytest.mark.parametrize("count", [10**400, 10**10, -1, True, "7", 7.5, None])
def test_a_count_that_cannot_be_is_no_count(count: object) -> None:
    """Sums and limits work with floats: 400 digits overflowed them, and stopped the limiter of everybody."""
    usage = usage_of({"prompt_tokens": count, "completion_tokens": count, "cached_tokens": count})

    assert usage == Usage(calls=1)


@pytest.mark.io
async def test_an_answer_that_nobody_reads_still_tells_its_headers() -> None:
    """What a limiter learns must not depend on how far an answer was read."""
    async with model_server([ServerReply(headers=HEADERS)]) as server:
        model = OpenAIModel(model="test", base_url=server.base_url)
        endpoint = model._endpoint
        with trio.fail_after(60):
            async with aclosing(await endpoint.post("/chat/completions", {}, endpoint.asked("/x"))) as answer:
                assert answer.limits == LIMITS
        await model.aclose()
