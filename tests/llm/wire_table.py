"""What a model server can do wrong, each with the error that it must end in. The tests walk it, the docs show it.

A row is the reply of a real server, the kind of the error, and the options of the model that meets it.
"""

from __future__ import annotations

import gzip
import math

from trouper.adapters.model_server import End, ServerReply
from trouper.adapters.model_server_replies import chunk, sse
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

Row = tuple[ServerReply, type[LLMError], dict[str, float]]

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


def completion(message: str, finish: str = '"stop"') -> bytes:
    return f'{{"choices":[{{"index":0,"message":{message},"finish_reason":{finish}}}]}}'.encode()


def calls(*entries: str) -> str:
    return f'{{"content": null, "tool_calls": [{", ".join(entries)}]}}'


def call_piece(entry: str) -> bytes:
    return f'data: {{"choices":[{{"index":0,"delta":{{"tool_calls":[{entry}]}}}}]}}\n\n'.encode()


def events(*pieces: bytes) -> ServerReply:
    return ServerReply(pieces=pieces)


TEXT = sse(chunk("test", {"content": "some text"}))
STOP = sse(chunk("test", {}, "stop"))
CALLS = sse(chunk("test", {}, "tool_calls"))
DONE = b"data: [DONE]\n\n"
FAST = {"timeout": 0.2, "idle_timeout": 0.1}

ANY: dict[str, Row] = {  # faults that hit a plain call and a stream alike
    "429 with retry-after": (ServerReply(status=429, headers={"retry-after": "7"}), RateLimited, {}),
    "429 with retry-after-ms": (ServerReply(status=429, headers={"retry-after-ms": "70"}), RateLimited, {}),
    "429 with a retry-after that is no time": (
        ServerReply(status=429, headers={"retry-after": "soon"}),
        RateLimited,
        {},
    ),
    "429 without retry-after": (ServerReply(status=429), RateLimited, {}),
    "401": (ServerReply(status=401), AuthFailed, {}),
    "403": (ServerReply(status=403), AuthFailed, {}),
    "400": (ServerReply(status=400), BadRequest, {}),
    "402": (ServerReply(status=402), BadRequest, {}),
    "404": (ServerReply(status=404), BadRequest, {}),
    "405": (ServerReply(status=405), BadRequest, {}),
    "413": (ServerReply(status=413), BadRequest, {}),
    "422": (ServerReply(status=422), BadRequest, {}),
    "407 of a gateway": (ServerReply(status=407), BadRequest, {}),
    "425": (ServerReply(status=425), ModelUnavailable, {}),
    "451 for legal reasons": (ServerReply(status=451), BadRequest, {}),
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
    "an interim answer and no other": (ServerReply(raw=b"HTTP/1.1 100 Continue\r\n\r\n"), ModelUnavailable, {}),
    "an upgrade to another protocol": (
        ServerReply(raw=b"HTTP/1.1 101 Switching Protocols\r\nupgrade: ws\r\nconnection: upgrade\r\n\r\n"),
        ModelUnavailable,
        {},
    ),
    "a status of five digits": (ServerReply(raw=b"HTTP/1.1 99999 Yes\r\n\r\n"), ModelUnavailable, {}),
    "a header that is none": (ServerReply(raw=b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}"), ModelUnavailable, {}),
    "headers and silence": (
        ServerReply(raw=b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n", end=End.HANG),
        ModelTimeout,
        FAST,
    ),
    "HTTP/1.0 that says no length and stops half way": (
        ServerReply(raw=b'HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{"choices": ['),
        BadResponse,
        {},
    ),
    "an encoding of the transfer that nobody knows": (
        ServerReply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: snappy\r\n\r\n{}"),
        ModelUnavailable,
        {},
    ),
    "TLS where none was agreed on": (ServerReply(raw=b"\x15\x03\x01\x00\x02\x02\x28"), ModelUnavailable, {}),
    "plain text with 200": (ServerReply(body=b"busy", headers={"content-type": "text/plain"}), BadResponse, {}),
    "UTF-16": (ServerReply(body='{"choices": []}'.encode("utf-16"), headers=JSON), BadResponse, {}),
    "a number of 5,000 digits": (ServerReply(body=b'{"choices": ' + b"9" * 5000 + b"}", headers=JSON), BadResponse, {}),
    "half a character": (ServerReply(body=completion('{"content": "\\ud83d!"}'), headers=JSON), BadResponse, {}),
    "calls of tools that nobody offered": (
        ServerReply(
            body=completion(calls('{"id": "1", "function": {"name": "rm", "arguments": "{}"}}'), '"tool_calls"')
        ),
        BadResponse,
        {},
    ),
    "an answer to another question": (
        ServerReply(body=b'{"object": "list", "data": [{"embedding": [1.0]}]}', headers=JSON),
        BadResponse,
        {},
    ),
    "HTML with 200": (ServerReply(body=b"<html>hello</html>", headers={"content-type": "text/html"}), BadResponse, {}),
    "an error with status 200": (ServerReply(body=b'{"error": {"message": "oh"}}', headers=JSON), BadResponse, {}),
    "an error with status 200 that speaks of a limit": (
        ServerReply(body=b'{"error": {"code": 429}}', headers=JSON),
        RateLimited,
        {},
    ),
    "an error with status 200 that speaks of overload": (
        ServerReply(body=b'{"error": {"type": "overloaded_error"}}', headers=JSON),
        ModelUnavailable,
        {},
    ),
    "malformed JSON": (ServerReply(body=b'{"choices": [', headers=JSON), BadResponse, {}),
    "empty 200": (ServerReply(body=b"", headers=JSON), BadResponse, {}),
    "invalid UTF-8": (ServerReply(body=b'{"choices": "\xff\xfe"}', headers=JSON), BadResponse, {}),
    "a JSON list": (ServerReply(body=b"[1]", headers=JSON), BadResponse, {}),
    "NaN": (ServerReply(body=b'{"choices": NaN}', headers=JSON), BadResponse, {}),
    "deep nesting": (ServerReply(body=b"[" * 200_000, headers=JSON), BadResponse, {}),
    "choices null": (ServerReply(body=b'{"choices": null}', headers=JSON), BadResponse, {}),
    "no choices": (ServerReply(body=b'{"choices": []}', headers=JSON), BadResponse, {}),
    "a choice that is none": (ServerReply(body=b'{"choices": [7]}', headers=JSON), BadResponse, {}),
    "no message": (ServerReply(body=b'{"choices": [{"finish_reason": "stop"}]}', headers=JSON), BadResponse, {}),
    "no content": (ServerReply(body=completion('{"content": null}'), headers=JSON), BadResponse, {}),
    "content that is no text": (ServerReply(body=completion('{"content": {"a": 1}}'), headers=JSON), BadResponse, {}),
    "no finish reason at all": (
        ServerReply(body=completion('{"content": "x"}', "null"), headers=JSON),
        BadResponse,
        {},
    ),
    "unknown finish reason": (
        ServerReply(body=completion('{"content": "x"}', '"tool_calls"'), headers=JSON),
        BadResponse,
        {},
    ),
    "a finish reason that is no word": (
        ServerReply(body=completion('{"content": "x"}', '["stop"]'), headers=JSON),
        BadResponse,
        {},
    ),
    "a refusal that is no text": (
        ServerReply(body=completion('{"content": "x", "refusal": ["no"]}'), headers=JSON),
        BadResponse,
        {},
    ),
    "a choice whose number is text": (
        ServerReply(body=completion('{"content": "x"}').replace(b'"index":0', b'"index":"0"'), headers=JSON),
        BadResponse,
        {},
    ),
    "a call whose type is a list": (
        ServerReply(
            body=completion(calls('{"id": "1", "type": [], "function": {"name": "a"}}'), '"tool_calls"'), headers=JSON
        ),
        BadResponse,
        {},
    ),
    "400 that nests without end": (ServerReply(status=400, body=b"[" * 60_000), BadRequest, {}),
    "cut at the token limit": (
        ServerReply(body=completion('{"content": "x"}', '"length"'), headers=JSON),
        LengthCut,
        {},
    ),
    "a refusal": (ServerReply(body=completion('{"content": null, "refusal": "no"}'), headers=JSON), Refused, {}),
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

PLAIN: dict[str, Row] = {
    "hang in the body": (ServerReply(cut=5, end=End.HANG), ModelTimeout, FAST),
    "reset in the body": (ServerReply(cut=5, end=End.RESET), ModelUnavailable, {}),
    "less than its length": (
        ServerReply(
            raw=b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{}", end=End.CLOSE
        ),
        ModelUnavailable,
        {},
    ),
    "a chunk of no size": (
        ServerReply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nsoon\r\n{}\r\n0\r\n\r\n"),
        ModelUnavailable,
        {},
    ),
    "chunks without end": (
        ServerReply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", end=End.HANG),
        ModelTimeout,
        FAST,
    ),
    "end in the body": (ServerReply(cut=5, end=End.CLOSE), ModelUnavailable, {}),
    "slow drip": (ServerReply(drip=True, pace=0.02), ModelTimeout, FAST),
}

STREAM: dict[str, Row] = {
    "reset in the stream": (ServerReply(text="x" * 50, cut=300, end=End.RESET), StreamTruncated, {}),
    "end in the stream": (ServerReply(text="x" * 50, cut=300, end=End.CLOSE), StreamTruncated, {}),
    "stall in the stream": (ServerReply(text="x" * 50, cut=300, end=End.HANG), ModelTimeout, FAST),
    "hang before the first event": (ServerReply(text="x", cut=0, end=End.HANG), ModelTimeout, FAST),
    "slow drip": (ServerReply(text="x" * 200, drip=True, pace=0.02), ModelTimeout, FAST),
    "comments and no event": (events(*[b": still here\n\n"] * 3), StreamTruncated, {}),
    "neither finish reason nor [DONE]": (ServerReply(finish_reason=None, done=False), StreamTruncated, {}),
    "nothing at all": (events(), StreamTruncated, {}),
    "[DONE] and nothing before it": (events(DONE), StreamTruncated, {}),
    "usage and [DONE], and no answer": (events(b'data: {"choices":[],"usage":{}}\n\n', DONE), StreamTruncated, {}),
    "only another choice": (
        events(sse(chunk("t", {"content": "x"})).replace(b'"index": 0', b'"index": 1')),
        StreamTruncated,
        {},
    ),
    "half a character": (
        events(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n', STOP, DONE),
        BadResponse,
        {},
    ),
    "a call without a name": (
        events(call_piece('{"index": 0, "function": {"arguments": "{}"}}'), CALLS),
        BadResponse,
        {},
    ),
    "a call at no place": (events(call_piece('{"index": -1, "function": {"name": "a"}}'), CALLS), BadResponse, {}),
    "a call at the place a million": (events(call_piece('{"index": 1000000, "function": {}}'), CALLS), BadResponse, {}),
    "calls announced and none made": (events(TEXT, CALLS, DONE), BadResponse, {}),
    "calls that break off": (events(call_piece('{"index": 0, "function": {"name": "a"}}')), StreamTruncated, {}),
    "a call after the finish reason": (events(TEXT, STOP, call_piece('{"index": 0, "function": {}}')), BadResponse, {}),
    "an error event of words": (events(TEXT, b"event: error\ndata: overloaded\n\n"), BadResponse, {}),
    "an unfinished last event": (events(TEXT, b'data: {"choices":[]}'), StreamTruncated, {}),
    "an event called error": (events(TEXT, b'event: error\ndata: {"message": "oh"}\n\n'), BadResponse, {}),
    "an event that speaks of a server error": (
        events(TEXT, b'data: {"error": {"type": "server_error"}}\n\n'),
        ModelUnavailable,
        {},
    ),
    "an event that speaks of a limit": (
        events(TEXT, b'data: {"error": {"code": "rate_limit_exceeded"}}\n\n'),
        RateLimited,
        {},
    ),
    "an event that blames the request": (
        events(TEXT, b'data: {"error": {"code": "context_length_exceeded"}}\n\n'),
        BadRequest,
        {},
    ),
    "an event that blames the key": (events(b'data: {"error": {"code": "invalid_api_key"}}\n\n'), AuthFailed, {}),
    "bad JSON line": (events(TEXT, b"data: {oops\n\n", STOP, DONE), BadResponse, {}),
    "not UTF-8": (events(TEXT, b"data: \xff\n\n", STOP, DONE), BadResponse, {}),
    "an event that is no object": (events(TEXT, b"data: 12\n\n", STOP), BadResponse, {}),
    "an event without choices": (events(TEXT, b"data: {}\n\n", STOP), BadResponse, {}),
    "a delta that is none": (events(b'data: {"choices":[{"delta":[1]}]}\n\n', STOP), BadResponse, {}),
    "text after the finish reason": (events(TEXT, STOP, TEXT, DONE), BadResponse, {}),
    "an endless line": (events(b"data: " + b"a" * 1_100_000), BadResponse, {}),
    "cut at the token limit": (ServerReply(text="abc", finish_reason="length"), LengthCut, {}),
    "cut at the token limit, and then finished": (
        events(TEXT, sse(chunk("test", {}, "length")), STOP, DONE),
        LengthCut,
        {},
    ),
    "a finish reason that is a number": (
        events(TEXT, b'data: {"choices":[{"delta":{},"finish_reason":1}]}\n\n', DONE),
        BadResponse,
        {},
    ),
    "whole messages instead of pieces": (
        events(b"data: " + completion('{"content": "x"}') + b"\n\n", DONE),
        BadResponse,
        {},
    ),
    "an unknown finish reason": (ServerReply(text="abc", finish_reason="tool_calls"), BadResponse, {}),
    "a refusal in pieces": (ServerReply(refusal="I would rather not do that"), Refused, {}),
    "HTML as events": (events(b"<html>\n<body>oops</body>\n\n"), StreamTruncated, {}),
}
