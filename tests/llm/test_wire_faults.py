"""Every fault of the wire, over real sockets, ends in the closed set of errors; and the next call works."""

from __future__ import annotations

import gzip
import math
import socket
import time
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters import llm_openai
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import End, ServerReply, model_server
from trouper.adapters.model_server_replies import chunk, sse
from trouper.adapters.openai_endpoint import OpenAIEndpoint
from trouper.runtime import (
    AuthFailed,
    BadRequest,
    BadResponse,
    LengthCut,
    LLMError,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    Refused,
    StreamTruncated,
)

pytestmark = pytest.mark.io

KEY = "sk-not-for-anybody"
ASK = ChatRequest(messages=(ChatMessage("user", "a question"),))
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


@asynccontextmanager
async def client_of(*script: ServerReply, **options: object):
    with trio.fail_after(20):
        async with model_server([*script, "and on we go"]) as server:
            model = OpenAIModel(model="test", base_url=server.base_url, api_key=KEY, **options)
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


def completion(message: str, finish: str = '"stop"') -> bytes:
    return f'{{"choices":[{{"index":0,"message":{message},"finish_reason":{finish}}}]}}'.encode()


def events(*pieces: bytes) -> ServerReply:
    return ServerReply(pieces=pieces)


TEXT = sse(chunk("test", {"content": "some text"}))
STOP = sse(chunk("test", {}, "stop"))
DONE = b"data: [DONE]\n\n"
FAST = {"timeout": 0.3, "idle_timeout": 0.2}

ANY = {  # faults that hit a plain call and a stream alike
    "429 with retry-after": (ServerReply(status=429, headers={"retry-after": "7"}), RateLimited, {}),
    "429 with retry-after-ms": (ServerReply(status=429, headers={"retry-after-ms": "70"}), RateLimited, {}),
    "429 with nonsense": (ServerReply(status=429, headers={"retry-after": "soon"}), RateLimited, {}),
    "429 without": (ServerReply(status=429), RateLimited, {}),
    "401": (ServerReply(status=401), AuthFailed, {}),
    "403": (ServerReply(status=403), AuthFailed, {}),
    "400": (ServerReply(status=400), BadRequest, {}),
    "404": (ServerReply(status=404), BadRequest, {}),
    "405": (ServerReply(status=405), BadRequest, {}),
    "413": (ServerReply(status=413), BadRequest, {}),
    "422": (ServerReply(status=422), BadRequest, {}),
    "408": (ServerReply(status=408), ModelTimeout, {}),
    "409": (ServerReply(status=409), ModelUnavailable, {}),
    "500": (ServerReply(status=500), ModelUnavailable, {}),
    "502 without a body": (ServerReply(status=502, body=b""), ModelUnavailable, {}),
    "503 in HTML": (
        ServerReply(status=503, body=b"<html>busy</html>", headers={"content-type": "text/html"}),
        ModelUnavailable,
        {},
    ),
    "529": (ServerReply(status=529), ModelUnavailable, {}),
    "500 that breaks off": (ServerReply(status=500, body=b"x" * 1000, cut=10), ModelUnavailable, {}),
    "500 without end": (
        ServerReply(status=500, body=b"x" * 300_000, cut=200_000, end=End.HANG),
        ModelUnavailable,
        FAST,
    ),
    "redirect": (ServerReply(status=308, headers={"location": "https://elsewhere.example/v1"}), BadRequest, {}),
    "204": (ServerReply(status=204, body=b""), BadResponse, {}),
    "hang before the headers": (ServerReply(delay=math.inf), ModelTimeout, FAST),
    "reset before the headers": (ServerReply(raw=b"", end=End.RESET), ModelUnavailable, {}),
    "close before the headers": (ServerReply(raw=b"", end=End.CLOSE), ModelUnavailable, {}),
    "half of the headers": (ServerReply(raw=b"HTTP/1.1 200 OK\r\ncontent-ty", end=End.CLOSE), ModelUnavailable, {}),
    "not HTTP": (ServerReply(raw=b"-ERR unknown command\r\n"), ModelUnavailable, {}),
    "two lengths": (
        ServerReply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
        ModelUnavailable,
        {},
    ),
    "endless header": (ServerReply(raw=b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000), ModelUnavailable, {}),
    "HTML with 200": (ServerReply(body=b"<html>hello</html>", headers={"content-type": "text/html"}), BadResponse, {}),
    "error with 200": (ServerReply(body=b'{"error": {"message": "oh"}}', headers=JSON), BadResponse, {}),
    "error with 200 that is a limit": (ServerReply(body=b'{"error": {"code": 429}}', headers=JSON), RateLimited, {}),
    "error with 200 that is overload": (
        ServerReply(body=b'{"error": {"type": "overloaded_error"}}', headers=JSON),
        ModelUnavailable,
        {},
    ),
    "malformed JSON": (ServerReply(body=b'{"choices": [', headers=JSON), BadResponse, {}),
    "empty 200": (ServerReply(body=b"", headers=JSON), BadResponse, {}),
    "invalid UTF-8": (ServerReply(body=b'{"choices": "\xff\xfe"}', headers=JSON), BadResponse, {}),
    "a list": (ServerReply(body=b"[1]", headers=JSON), BadResponse, {}),
    "NaN": (ServerReply(body=b'{"choices": NaN}', headers=JSON), BadResponse, {}),
    "deep nesting": (ServerReply(body=b"[" * 200_000, headers=JSON), BadResponse, {}),
    "choices null": (ServerReply(body=b'{"choices": null}', headers=JSON), BadResponse, {}),
    "no choices": (ServerReply(body=b'{"choices": []}', headers=JSON), BadResponse, {}),
    "a choice that is none": (ServerReply(body=b'{"choices": [7]}', headers=JSON), BadResponse, {}),
    "no message": (ServerReply(body=b'{"choices": [{"finish_reason": "stop"}]}', headers=JSON), BadResponse, {}),
    "no content": (ServerReply(body=completion('{"content": null}'), headers=JSON), BadResponse, {}),
    "content that is no text": (ServerReply(body=completion('{"content": {"a": 1}}'), headers=JSON), BadResponse, {}),
    "no finish reason": (ServerReply(body=completion('{"content": "x"}', "null"), headers=JSON), BadResponse, {}),
    "unknown finish reason": (
        ServerReply(body=completion('{"content": "x"}', '"tool_calls"'), headers=JSON),
        BadResponse,
        {},
    ),
    "length": (ServerReply(body=completion('{"content": "x"}', '"length"'), headers=JSON), LengthCut, {}),
    "refusal": (ServerReply(body=completion('{"content": null, "refusal": "no"}'), headers=JSON), Refused, {}),
    "content filter": (
        ServerReply(body=completion('{"content": ""}', '"content_filter"'), headers=JSON),
        Refused,
        {},
    ),
    "broken gzip": (ServerReply(body=b"not gzip", headers={**JSON, "content-encoding": "gzip"}), BadResponse, {}),
    "gzip bomb": (
        ServerReply(body=gzip.compress(b" " * (40 << 20)), headers={**JSON, "content-encoding": "gzip"}),
        BadResponse,
        {},
    ),
}

PLAIN = {
    "hang in the body": (ServerReply(cut=5, end=End.HANG), ModelTimeout, FAST),
    "reset in the body": (ServerReply(cut=5, end=End.RESET), ModelUnavailable, {}),
    "end in the body": (ServerReply(cut=5, end=End.CLOSE), ModelUnavailable, {}),
    "slow drip": (ServerReply(drip=True, pace=0.02), ModelTimeout, FAST),
}

STREAM = {
    "reset in the stream": (ServerReply(text="x" * 50, cut=300, end=End.RESET), StreamTruncated, {}),
    "end in the stream": (ServerReply(text="x" * 50, cut=300, end=End.CLOSE), StreamTruncated, {}),
    "stall in the stream": (ServerReply(text="x" * 50, cut=300, end=End.HANG), ModelTimeout, FAST),
    "hang before the first event": (ServerReply(text="x", cut=0, end=End.HANG), ModelTimeout, FAST),
    "slow drip": (ServerReply(text="x" * 200, drip=True, pace=0.02), ModelTimeout, FAST),
    "an event for ever and a comment": (events(*[b": still here\n\n"] * 3), StreamTruncated, {}),
    "neither finish reason nor [DONE]": (ServerReply(finish_reason=None, done=False), StreamTruncated, {}),
    "nothing at all": (events(), StreamTruncated, {}),
    "an unfinished last event": (events(TEXT, b'data: {"choices":[]}'), StreamTruncated, {}),
    "error event": (events(TEXT, b'event: error\ndata: {"message": "oh"}\n\n'), BadResponse, {}),
    "error in an event": (events(TEXT, b'data: {"error": {"type": "server_error"}}\n\n'), ModelUnavailable, {}),
    "limit in an event": (events(TEXT, b'data: {"error": {"code": "rate_limit_exceeded"}}\n\n'), RateLimited, {}),
    "bad JSON line": (events(TEXT, b"data: {oops\n\n", STOP, DONE), BadResponse, {}),
    "not UTF-8": (events(TEXT, b"data: \xff\n\n", STOP, DONE), BadResponse, {}),
    "an event that is no object": (events(TEXT, b"data: 12\n\n", STOP), BadResponse, {}),
    "an event without choices": (events(TEXT, b"data: {}\n\n", STOP), BadResponse, {}),
    "a delta that is none": (events(b'data: {"choices":[{"delta":[1]}]}\n\n', STOP), BadResponse, {}),
    "text after the finish reason": (events(TEXT, STOP, TEXT, DONE), BadResponse, {}),
    "an endless line": (events(b"data: " + b"a" * 1_100_000), BadResponse, {}),
    "length": (ServerReply(text="abc", finish_reason="length"), LengthCut, {}),
    "an unknown finish reason": (ServerReply(text="abc", finish_reason="tool_calls"), BadResponse, {}),
    "a refusal in pieces": (ServerReply(refusal="I would rather not do that"), Refused, {}),
    "HTML as events": (events(b"<html>\n<body>oops</body>\n\n"), StreamTruncated, {}),
}

TABLE = [
    *[pytest.param(plain, *row, id=f"plain: {name}") for name, row in {**ANY, **PLAIN}.items()],
    *[pytest.param(streamed, *row, id=f"stream: {name}") for name, row in {**ANY, **STREAM}.items()],
]


@pytest.mark.parametrize(("call", "reply", "expected", "options"), TABLE)
async def test_each_fault_is_one_documented_error_and_the_next_call_works(call, reply, expected, options) -> None:
    async with client_of(ServerReply(text="a first connection"), reply) as (model, server):
        await call(model)
        model._timeout, model._idle_timeout = options.get("timeout", 10.0), options.get("idle_timeout", 10.0)
        with pytest.raises(LLMError) as caught:
            await call(model)
        model._timeout = model._idle_timeout = 10.0

        assert type(caught.value) is expected
        assert server.base_url in str(caught.value)
        assert KEY not in str(caught.value)
        assert await call(model) == "and on we go"
        assert server.statistics.requests == 3  # nothing was retried behind our back


async def test_the_time_of_a_call_does_not_pay_for_loading_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = OpenAIEndpoint._connected

    def connected(self: OpenAIEndpoint) -> object:
        if self._sdk is None:
            time.sleep(0.3)  # what importing the SDK does to the loop, once
        return slow(self)

    monkeypatch.setattr(OpenAIEndpoint, "_connected", connected)
    async with client_of(timeout=0.25) as (model, _):
        assert await plain(model) == "and on we go"


@pytest.mark.parametrize("call", [plain, streamed])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
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

        with trio.fail_after(10), pytest.raises(ModelUnavailable, match="ConnectTimeout"):
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
        with trio.fail_after(10), pytest.raises(ModelUnavailable, match=r"no connection to .* ConnectError: .*SSL"):
            await plain(model)
        await model.aclose()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "http://[broken/v1", "not a url", "http://127.0.0.1:99999/v1"])
async def test_an_address_that_is_none_is_a_bad_request(url: str) -> None:
    model = OpenAIModel(model="test", base_url=url)

    with pytest.raises((BadRequest, ModelUnavailable), match="base_url"):
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
