"""Answers in which anything may stand anywhere: each is a reply that can be written down, or an error of the set."""

from __future__ import annotations

import copy
import json
import random

import pytest

from trouper.actors.protocols import ChatReply
from trouper.adapters.wire_errors import Asked, status_error
from trouper.adapters.wire_limits import server_limits
from trouper.adapters.wire_openai import MOST_TOKENS, parse_object, reply_from
from trouper.adapters.wire_request import Dialect
from trouper.adapters.wire_sse import SseDecoder, SseError
from trouper.adapters.wire_stream import ChatAssembler
from trouper.runtime import BadRequest, LLMError

KEY = "sk-not-for-anybody"
ASKED = Asked("http://127.0.0.1/v1", "test", (KEY,))
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "t", "arguments": "{}"}}
PLAIN = [
    {
        "model": "test",
        "choices": [{"index": 0, "message": {"content": "hi", "refusal": None}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
    },
    {"choices": [{"index": 0, "message": {"content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}]},
    {"error": {"message": "m", "type": "t", "code": "c", "param": "p"}},
]
STREAMS = [
    [{"content": ""}, {"content": "a"}, {"content": "b"}, "stop"],
    [{"tool_calls": [CALL]}, {"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}, "tool_calls"],
    [{"refusal": "no"}, "stop"],
]
ANYTHING = [
    *(None, True, False, 0, -1, 2**63, 10**30, 0.5, 1e308, "", "stop", "length", "0", "\ud83d", "\0", KEY, "429", 429),
    *([], {}, [None], [[]], {"a": None}, {"content": "x"}, "content_filter", "rate_limit", "é", "function_call"),
]
HEADERS = ["1", "-1", "1e400", "nan", "6m0s", "9" * 320 + "d", "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59Z"]
NAMES = ["retry-after", "retry-after-ms", "x-ratelimit-limit-tokens", "x-ratelimit-reset-requests", "location"]


def places(value: object, so_far: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [so_far] * bool(so_far) + [place for key, part in inside for place in places(part, (*so_far, key))]


def spoilt(value: object, chance: random.Random) -> object:
    """The same with something else in one to three of its places."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 2, 3))):
        *way, last = chance.choice(places(value) or [(None,)])
        around = value
        for key in way:
            around = around[key]
        if isinstance(around, dict | list) and around:
            around[last] = copy.deepcopy(chance.choice(ANYTHING))
    return value


def event(delta: object) -> dict[str, object]:
    if isinstance(delta, str):
        return {"choices": [{"index": 0, "delta": {}, "finish_reason": delta}]}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def streamed(chance: random.Random) -> ChatReply:
    events = [event(delta) for delta in chance.choice(STREAMS)]
    at = chance.randrange(len(events))
    events[at] = spoilt(events[at], chance)
    raw = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in events) + b"data: [DONE]\n\n"
    assembler = ChatAssembler(ASKED, {"t"})
    for one in SseDecoder().feed(raw):
        assembler.feed(one)
    return assembler.finish()


def plain(chance: random.Random) -> ChatReply:
    body = bytearray(json.dumps(spoilt(chance.choice(PLAIN), chance)).encode())
    if chance.random() < 0.1:
        body[chance.randrange(len(body))] = chance.randrange(256)
    return reply_from(ASKED, parse_object(ASKED, bytes(body), "application/json"), {"t"})


def refused(chance: random.Random) -> ChatReply:
    headers = {chance.choice(NAMES): chance.choice(HEADERS) for _ in range(2)}
    server_limits(headers)
    status = chance.choice((201, 308, 400, 401, 404, 408, 422, 429, 500, 529))
    error = status_error(ASKED, status, headers, json.dumps(spoilt(PLAIN[2], chance)).encode())
    if isinstance(error, BadRequest):
        Dialect().without(error, {"response_format": 1, "max_tokens": 1, "seed": 1})
    raise error


@pytest.mark.parametrize("answer", [plain, streamed, refused])
def test_whatever_stands_in_an_answer_it_is_a_reply_or_one_of_the_errors(answer) -> None:
    """2,000 answers each; `pytest.raises` would hide which seed: it is in the traceback of whatever else comes."""
    replies = errors = 0
    for seed in range(2000):
        try:
            reply = answer(random.Random(seed))
        except (LLMError, SseError) as error:
            errors += 1
            told = f"{error} {getattr(error, 'said', '')}"
            assert KEY not in told
            told.encode()
        else:
            replies += 1
            told = (reply.text, reply.model, *(part for c in reply.tool_calls for part in (c.id, c.name, c.arguments)))
            "".join(told).encode()
            assert 0 <= reply.usage.total_tokens <= 2 * MOST_TOKENS
    assert errors > 500
    assert replies > 50 or answer is refused
