"""Every fault of the wire, over real sockets, ends in the closed set of errors; and the next call works."""

from __future__ import annotations

import gzip
import socket
from collections import deque
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.llm.wire_table import ANY, DONE, JSON, PLAIN, STOP, STREAM, TEXT, completion, events
from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters import http_answer, llm_openai
from trouper.adapters.http_pooling import ClientKey
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import End, ServerReply, ServerRequest, ServerScript, model_server
from trouper.adapters.model_server_replies import chunk, sse
from trouper.runtime import (
    AuthFailed,
    BadRequest,
    BadResponse,
    LLMError,
    ModelUnavailable,
    RateLimited,
)

pytestmark = pytest.mark.io

KEY = "sk-not-for-anybody"
ASK = ChatRequest(messages=(ChatMessage("user", "a question"),))
EVERY = {**ANY, **PLAIN, **{f"{name}, streamed": row for name, row in STREAM.items()}}


@asynccontextmanager
async def client_of(*replies: ServerReply, way: str = "direct", script: ServerScript | None = None, **options: object):
    with trio.fail_after(60):
        async with model_server([*replies, "and on we go"] if script is None else script) as server:
            where: dict[str, object] = {"base_url": server.base_url, "api_key": KEY}
            if way == "sdk":
                import openai

                where = {"sdk": openai.AsyncOpenAI(**where)}
            model = OpenAIModel(model="test", **where, **options)
            try:
                yield model, server
            finally:
                await model.aclose()


async def plain(model: OpenAIModel) -> str:
    return (await model.complete(ASK)).text


async def streamed(model: OpenAIModel) -> str:
    async with model.stream(ASK) as chunks:
        pieces = [piece async for piece in chunks]
    assert pieces[-1].reply is not None
    return pieces[-1].reply.text


PLAIN_ROWS = [pytest.param(plain, *row, id=f"plain: {name}") for name, row in {**ANY, **PLAIN}.items()]
STREAM_ROWS = [pytest.param(streamed, *row, id=f"stream: {name}") for name, row in STREAM.items()]
BOTH_ROWS = [pytest.param(streamed, *row, id=f"stream: {name}") for name, row in ANY.items()]


@pytest.mark.parametrize(("call", "reply", "expected", "options"), [*PLAIN_ROWS, *STREAM_ROWS, *BOTH_ROWS])
async def test_each_fault_is_one_documented_error_and_the_next_call_works(
    call, reply, expected, options, idle_clock
) -> None:
    await one_error_and_then_on(call, reply, expected, options)


@pytest.mark.parametrize("kind", sorted({row[1] for row in EVERY.values()}, key=lambda kind: kind.__name__))
async def test_each_fault_is_the_same_error_through_the_sdk(kind: type[LLMError], idle_clock: MockClock) -> None:
    """The SDK lets four kinds of failure escape untyped and four return wrong values: not through us."""
    replies: deque[ServerReply | str] = deque()
    async with client_of(way="sdk", script=lambda _: replies.popleft()) as (model, server):
        for name, (reply, expected, options) in EVERY.items():
            if expected is not kind:
                continue
            replies.extend([reply, "and on we go"])
            call = plain if name in ANY or name in PLAIN else streamed
            patience(model, **options)
            with pytest.raises(LLMError) as caught:
                await call(model)
            patience(model)
            assert (name, type(caught.value)) == (name, kind)
            assert KEY not in str(caught.value)
            assert await call(model) == "and on we go"
            assert (name, len(replies)) == (name, 0)  # nothing was retried behind our back
        assert server.statistics.requests > 0


async def one_error_and_then_on(call, reply, expected, options) -> None:
    async with client_of(ServerReply(text="a first connection"), reply) as (model, server):
        await call(model)
        patience(model, **options)
        with pytest.raises(LLMError) as caught:
            await call(model)
        patience(model)

        assert type(caught.value) is expected
        assert server.base_url in str(caught.value)
        assert KEY not in str(caught.value)
        assert await call(model) == "and on we go"
        assert server.statistics.requests == 3  # nothing was retried behind our back


def patience(model: OpenAIModel, *, timeout: float = 10.0, idle_timeout: float = 10.0) -> None:
    model._timeout, model._idle_timeout = timeout, idle_timeout


async def test_the_time_of_a_call_does_not_pay_for_loading_the_library(
    monkeypatch: pytest.MonkeyPatch, idle_clock: MockClock
) -> None:
    quick = HttpPool._make

    def slow(self: HttpPool, key: ClientKey) -> object:
        idle_clock.jump(0.3)  # what importing the HTTP library does to the loop, once
        return quick(self, key)

    monkeypatch.setattr(HttpPool, "_make", slow)
    async with client_of(timeout=0.25) as (model, _):
        assert await plain(model) == "and on we go"


@pytest.mark.parametrize("call", [plain, streamed])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "7, 7"}, 7.0),
        ({"retry-after-ms": "70", "retry-after": "7"}, 0.07),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e999"}, None),
        ({}, None),
    ],
)
async def test_the_servers_own_wish_is_told(call, headers, seconds) -> None:
    async with client_of(ServerReply(status=429, headers=headers)) as (model, _):
        with pytest.raises(RateLimited) as caught:
            await call(model)
        assert caught.value.retry_after == seconds


@pytest.mark.parametrize("way", ["direct", "sdk"])
async def test_a_status_does_not_wait_for_a_report_that_does_not_end(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 429 ended as a time-out after two minutes, of which the limiter learned nothing."""
    monkeypatch.setattr(http_answer, "REPORT", 0.1)
    half = ServerReply(status=429, headers={"retry-after": "7"}, body=b"x" * 1000, cut=10, end=End.HANG)
    async with client_of(half, way=way) as (model, _):
        with pytest.raises(RateLimited, match="the report did not end") as caught:
            await plain(model)

        assert caught.value.retry_after == 7
        assert await plain(model) == "and on we go"


async def test_an_account_without_quota_is_not_asked_again() -> None:
    body = b'{"error": {"code": "insufficient_quota", "message": "pay"}}'
    async with client_of(ServerReply(status=429, body=body)) as (model, _):
        with pytest.raises(RateLimited, match="quota") as caught:
            await plain(model)
        assert not caught.value.retryable


async def test_nobody_there_is_unavailable_and_says_what_to_check() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        model = OpenAIModel(model="test", base_url=url)

        with pytest.raises(ModelUnavailable, match=r"llm\.base_url.*trouper doctor"):
            await plain(model)
        await model.aclose()


async def test_a_connection_that_never_comes_about_is_unavailable() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # they fill the backlog; whoever comes next hears nothing
            waiting.settimeout(0.0)
            waiting.connect_ex(full.getsockname())
        pool = HttpPool(connect_timeout=0.2)
        model = OpenAIModel(model="test", base_url=f"http://127.0.0.1:{full.getsockname()[1]}/v1", pool=pool)

        with trio.fail_after(60), pytest.raises(ModelUnavailable, match="ConnectTimeout"):
            await plain(model)
        await pool.aclose()


class NoNames(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


async def test_a_name_that_nobody_knows_is_unavailable() -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    model = OpenAIModel(model="test", base_url="http://no-such-host.invalid/v1")

    with pytest.raises(ModelUnavailable, match="Name or service not known"):
        await plain(model)
    await model.aclose()


async def test_tls_to_a_server_that_speaks_none_is_unavailable() -> None:
    async with model_server() as server:
        model = OpenAIModel(model="test", base_url=server.base_url.replace("http:", "https:"))
        with trio.fail_after(60), pytest.raises(ModelUnavailable, match=r"no connection to .* ConnectError: .*SSL"):
            await plain(model)
        await model.aclose()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "http://[broken/v1", "not a url", "http://127.0.0.1:99999/v1"])
async def test_an_address_that_is_none_is_a_bad_request(url: str) -> None:
    model = OpenAIModel(model="test", base_url=url)

    with pytest.raises((BadRequest, ModelUnavailable), match="base_url"):
        await plain(model)
    await model.aclose()


async def test_a_server_that_echoes_a_password_does_not_put_it_into_the_error() -> None:
    def echo(request: ServerRequest) -> ServerReply:
        told = f"{request.headers['authorization']} is wrong, and so are pa%2Fss-word, pa/ss-word and pa\\/ss-word"
        return ServerReply(status=400, body=told.encode())

    async with model_server(echo) as server:
        url = server.base_url.replace("://", "://user:pa%2Fss-word@")
        model = OpenAIModel(model="test", base_url=url)
        with pytest.raises(BadRequest) as caught:
            await plain(model)
        await model.aclose()
    assert caught.value.said == "Basic *** is wrong, and so are ***, *** and ***"
    assert "dXNl" not in str(caught.value)


async def test_a_key_that_is_one_letter_does_not_strike_out_what_the_server_says() -> None:
    async with model_server([ServerReply(status=400, body=b"max_tokens is too large")]) as server:
        model = OpenAIModel(model="test", base_url=server.base_url, api_key="x")
        with pytest.raises(BadRequest, match="max_tokens is too large"):
            await plain(model)
        await model.aclose()


async def test_a_server_that_echoes_the_key_does_not_put_it_into_the_error() -> None:
    reply = ServerReply(status=401, body=f'{{"error": {{"message": "bad key {KEY}"}}}}'.encode())
    async with client_of(reply) as (model, _):
        with pytest.raises(AuthFailed) as caught:
            await plain(model)

    assert KEY not in str(caught.value) + caught.value.said
    assert "***" in caught.value.said


async def test_the_key_travels_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment is for one provider; a server that was given none gets none."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-custom")
    async with model_server() as server:
        with_key = OpenAIModel(model="test", base_url=server.base_url, api_key=KEY)
        without = OpenAIModel(model="test", base_url=server.base_url)
        await plain(with_key)
        await plain(without)
        await with_key.aclose()
        await without.aclose()
        first, second = server.requests

    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in second.headers
    assert "environment" not in str(second.headers)


@pytest.mark.parametrize("key", ["sk-with\nbreak", "sk-umlaut-ä", "two words"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(AuthFailed, match="position") as caught:
        OpenAIModel(model="test", api_key=key)
    assert key not in str(caught.value)


async def test_user_and_query_of_the_address_stay_out_of_messages() -> None:
    model = OpenAIModel(model="test", base_url="http://user:secret@127.0.0.1:9/v1")

    with pytest.raises(LLMError) as caught:
        await plain(model)
    await model.aclose()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "code", "key", "gone"),
    [
        ({"schema": {"type": "object"}}, "response_format", "response_format", "response_format"),
        ({"temperature": 0.0}, "temperature", "temperature", "temperature"),
        ({"seed": 7}, "seed", "seed", "seed"),
        ({"max_tokens": 9}, "max_tokens", "max_tokens", "max_tokens"),
    ],
)
async def test_what_a_server_does_not_take_is_learned_without_a_hidden_retry(fields, code, key, gone) -> None:
    """The call fails and says that the next one will be different; the next one is."""
    words = f"Unsupported parameter: '{code}'. Use 'max_completion_tokens' instead."
    body = f'{{"error": {{"message": "{words}", "param": "{code}"}}}}'.encode()
    asking = attrs.evolve(ASK, **fields)
    async with client_of(ServerReply(status=400, body=body)) as (model, server):
        with pytest.raises(BadRequest) as caught:
            await model.complete(asking)
        assert server.statistics.requests == 1
        assert (caught.value.retryable, caught.value.retry_after) == (True, 0.0)
        await model.complete(asking)
        first, second = (request.json for request in server.requests)

    assert key in first
    assert gone not in second
    if code == "max_tokens":
        assert second["max_completion_tokens"] == 9
    if code == "response_format":
        assert '{"type":"object"}' in second["messages"][-1]["content"]


async def test_a_server_without_usage_in_streams_is_learned_too() -> None:
    body = b'{"detail": "extra fields not permitted: stream_options"}'
    async with client_of(ServerReply(status=422, body=body)) as (model, server):
        with pytest.raises(BadRequest) as caught:
            await streamed(model)
        assert caught.value.retryable
        assert await streamed(model) == "and on we go"
        assert "stream_options" not in server.requests[-1].json


async def test_another_bad_request_teaches_nothing() -> None:
    reply = ServerReply(status=400, body=b'{"error": {"message": "temperature too long", "param": "messages"}}')
    async with client_of(reply) as (model, _):
        with pytest.raises(BadRequest) as caught:
            await plain(model)
        assert not caught.value.retryable


async def test_a_server_that_does_not_stream_is_understood() -> None:
    reply = ServerReply(body=completion('{"content": "all at once"}'), headers=JSON)
    async with client_of(reply) as (model, _):
        assert await streamed(model) == "all at once"


async def test_content_in_parts_and_a_byte_order_mark_are_understood() -> None:
    body = b"\xef\xbb\xbf" + completion('{"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}')
    async with client_of(ServerReply(body=body, headers=JSON)) as (model, _):
        assert await plain(model) == "ab"


async def test_after_the_finish_reason_a_broken_connection_no_longer_matters() -> None:
    async with client_of(ServerReply(pieces=(TEXT, STOP), cut=10_000, end=End.RESET)) as (model, _):
        assert await streamed(model) == "some text"


@pytest.mark.parametrize(
    "late",
    [
        b'data: {"error": {"message": "no usage today", "type": "server_error"}}\n\n',
        b'event: error\ndata: {"message": "gone"}\n\n',
        b"data: {oops\n\n",
        b'data: {"choices": null}\n\n',
    ],
)
async def test_after_the_finish_reason_no_event_takes_the_answer_back(late: bytes) -> None:
    usage = b'data: {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\n'
    async with client_of(events(TEXT, STOP, late, usage, DONE)) as (model, _), model.stream(ASK) as chunks:
        reply = [chunk async for chunk in chunks][-1].reply

    assert reply is not None
    assert reply.text == "some text"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (7, 3)


async def test_after_the_finish_reason_bytes_that_are_no_events_end_the_stream() -> None:
    async with client_of(events(TEXT, STOP, b"data: \xff\n\n")) as (model, _):
        assert await streamed(model) == "some text"


async def test_after_the_finish_reason_a_silent_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_openai, "TAIL", 0.05)
    async with client_of(ServerReply(pieces=(TEXT, STOP), cut=10_000, end=End.HANG)) as (model, _):
        assert await streamed(model) == "some text"


async def test_compression_that_nobody_asked_for_is_named() -> None:
    packed = gzip.compress(completion('{"content": "x"}'))
    reply = ServerReply(body=packed, headers={**JSON, "content-encoding": "gzip"})
    async with client_of(reply) as (model, server):
        with pytest.raises(BadResponse, match=r"compressed \(gzip\)"):
            await plain(model)
        assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_done_without_a_finish_reason_is_an_end() -> None:
    async with client_of(events(TEXT, DONE)) as (model, _):
        assert await streamed(model) == "some text"


async def test_any_cut_of_the_stream_gives_the_same_answer() -> None:
    """CRLF, comments, and reads that end inside a line and inside a UTF-8 sequence."""
    whole = b": hi\r\n\r\n" + sse(chunk("test", {"content": "größer 漢字"})).replace(b"\n", b"\r\n") + STOP + DONE
    whole = whole.replace(b"\\u00f6", "ö".encode()).replace(b"\\u6f22", "漢".encode())
    async with client_of(ServerReply(pieces=(whole,), drip=True)) as (model, _):
        assert await streamed(model) == "größer 漢字"


async def test_the_models_of_a_server_can_be_listed() -> None:
    async with model_server(api_key=KEY) as server:
        model = OpenAIModel(model="test", base_url=server.base_url, api_key=KEY)
        stranger = OpenAIModel(model="test", base_url=server.base_url, api_key="another")

        assert await model.models() == ("test", "test-embed")
        with pytest.raises(AuthFailed):
            await stranger.models()
        await model.aclose()
        await stranger.aclose()
