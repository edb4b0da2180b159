"""Native tool calls: what is offered, what a model asks for, and that a stream of pieces is the same as the whole."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trouper.actors.protocols import ChatMessage, ChatReply, ChatRequest, ToolCall, ToolSpec
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import ServerReply, model_server
from trouper.adapters.model_server_replies import sse
from trouper.adapters.wire_errors import Asked
from trouper.adapters.wire_openai import reply_from
from trouper.adapters.wire_sse import SseEvent
from trouper.adapters.wire_stream import ChatAssembler
from trouper.runtime import BadResponse, LengthCut

ASKED = Asked("http://127.0.0.1/v1/chat/completions", "test")
WEATHER = ToolSpec(
    name="weather",
    description="The weather of a place.",
    schema={"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
)
CLOCK = ToolSpec(name="clock")
NAMES = frozenset({"weather", "clock"})
ASK = ChatRequest(messages=(ChatMessage("user", "How is it there?"),), tools=(WEATHER, CLOCK))


def call(name: str = "weather", arguments: object = '{"place": "Rome"}', **more: object) -> dict[str, object]:
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def plain(*calls: object, finish: str = "tool_calls", content: str | None = None) -> ChatReply:
    message = {"role": "assistant", "content": content, "tool_calls": list(calls)}
    return reply_from(ASKED, {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}, NAMES)


def streamed(*deltas: object, finish: str | None = "tool_calls") -> ChatReply:
    assembler = ChatAssembler(ASKED, NAMES)
    for delta in deltas:
        assembler.feed(SseEvent(json.dumps({"choices": [{"index": 0, "delta": delta}]})))
    assembler.feed(SseEvent(json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})))
    return assembler.finish()


def pieces(*entries: object) -> list[dict[str, object]]:
    return [{"tool_calls": [entry]} for entry in entries]


@asynccontextmanager
async def model_of(*script: ServerReply):
    with trio.fail_after(60):
        async with model_server(script) as server:
            model = OpenAIModel(model="test", base_url=server.base_url)
            try:
                yield model, server
            finally:
                await model.aclose()


# ---------------------------------------------------------------- over the wire
@pytest.mark.io
async def test_a_conversation_with_a_tool_goes_there_and_back() -> None:
    """The tools are offered, the model asks for one, and the next request repeats the call and brings its result."""
    asks = {"role": "assistant", "content": None, "tool_calls": [call()]}
    body = json.dumps({"choices": [{"index": 0, "message": asks, "finish_reason": "tool_calls"}]}).encode()
    async with model_of(ServerReply(body=body), ServerReply(text="Sunny.")) as (model, server):
        reply = await model.complete(ASK)
        answered = (
            *ASK.messages,
            ChatMessage("assistant", reply.text, tool_calls=reply.tool_calls),
            ChatMessage("tool", "sunny", tool_call_id=reply.tool_calls[0].id),
        )
        last = await model.complete(ChatRequest(messages=answered, tools=ASK.tools, tool_choice="auto"))
        first, second = (request.json for request in server.requests)

    assert reply.tool_calls == (ToolCall(id="c1", name="weather", arguments='{"place": "Rome"}'),)
    assert (reply.finish_reason, reply.text, last.text, last.tool_calls) == ("tool_calls", "", "Sunny.", ())
    assert first["tools"][0] == {
        "type": "function",
        "function": {"name": "weather", "description": WEATHER.description, "parameters": WEATHER.schema},
    }
    assert first["tools"][1]["function"] == {"name": "clock", "parameters": {"type": "object", "properties": {}}}
    assert "tool_choice" not in first
    assert second["tool_choice"] == "auto"
    assert second["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call()]},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
    ]


@pytest.mark.io
async def test_a_streamed_call_comes_with_the_reply() -> None:
    stream = [
        sse({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        for delta, finish in [
            ({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}]}, None),
            ({"tool_calls": [{"index": 0, "function": {"arguments": '{"place":'}}]}, None),
            ({"tool_calls": [{"index": 0, "function": {"arguments": ' "Rome"}'}}]}, None),
            ({}, "tool_calls"),
        ]
    ]
    async with model_of(ServerReply(pieces=[*stream, b"data: [DONE]\n\n"])) as (model, _), model.stream(ASK) as chunks:
        (chunk,) = [chunk async for chunk in chunks]

    assert chunk.reply.tool_calls == (ToolCall(id="c1", name="weather", arguments='{"place": "Rome"}'),)


@pytest.mark.io
@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("none", "none"),
        ("required", "required"),
        ("weather", {"type": "function", "function": {"name": "weather"}}),
    ],
)
async def test_the_choice_of_a_tool_is_a_word_or_a_name(choice: str, sent: object) -> None:
    async with model_of(ServerReply(text="fine")) as (model, server):
        await model.complete(ChatRequest(messages=ASK.messages, tools=ASK.tools, tool_choice=choice))
        assert server.requests[0].json["tool_choice"] == sent


# ---------------------------------------------------------------- what servers make of it
def test_a_call_that_was_demanded_by_name_ends_with_stop() -> None:
    assert plain(call(), finish="stop").finish_reason == "tool_calls"
    assert streamed(*pieces(call(index=0)), finish="stop").tool_calls == plain(call()).tool_calls


def test_text_beside_a_call_is_kept() -> None:
    assert plain(call(), content="Let me look.").text == "Let me look."
    assert streamed({"content": "Let me look."}, *pieces(call(index=0))).text == "Let me look."


@pytest.mark.parametrize(
    ("told", "arguments"),
    [({"place": "Rome"}, '{"place": "Rome"}'), (None, "{}"), ("", "{}"), ("not JSON", "not JSON")],
)
def test_arguments_are_the_models_own_text(told: object, arguments: str) -> None:
    """An object is not the protocol, and its meaning is plain; text that is no JSON is for whoever knows the tool."""
    assert plain(call(arguments=told)).tool_calls[0].arguments == arguments


def test_a_call_without_an_id_gets_one() -> None:
    entries = [{"function": {"name": name, "arguments": "{}"}} for name in ("clock", "weather")]

    assert [c.id for c in plain(*entries).tool_calls] == ["call_0", "call_1"]


def test_an_id_that_is_made_up_is_not_that_of_another_call() -> None:
    reply = plain(call(id="call_1"), call(id=None), call(id=""))

    assert len({made.id for made in reply.tool_calls}) == 3


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([call(index=0), call("clock", "{}", index=1, id="c2")], id="by place"),
        pytest.param([call(index=0), call("clock", "{}", index=0, id="c2")], id="all at place 0"),
        pytest.param([call(), call("clock", "{}", id="c2")], id="without a place"),
    ],
)
def test_two_streamed_calls_are_told_apart(entries: list[object]) -> None:
    reply = streamed(*pieces(*entries))

    assert [(c.id, c.name) for c in reply.tool_calls] == [("c1", "weather"), ("c2", "clock")]


def test_a_name_that_comes_with_every_piece_is_said_once() -> None:
    reply = streamed(*pieces(call(arguments='{"pl', index=0), call(arguments='ace": 1}', index=0)))

    assert reply.tool_calls == (ToolCall(id="c1", name="weather", arguments='{"place": 1}'),)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (7, "no call of a function"),
        ({"id": "c1"}, "no call of a function"),
        ({"function": {"name": 7}}, "the name of a call is no text"),
        ({"id": 7, "function": {"name": "clock"}}, "the id of a call is no text"),
        ({"type": "browser", "function": {"name": "clock"}}, "not for a function"),
        ({"type": ["function"], "function": {"name": "clock"}}, "not for a function"),
        ({"function": {"name": "clock", "arguments": '"\ud83d"'}}, "not Unicode"),
        ({"id": "\ude00", "function": {"name": "clock"}}, "not Unicode"),
        ({"function": {"name": "clock", "arguments": [1]}}, "arguments of a call are no text"),
        ({"function": {"arguments": "{}"}}, "has no name"),
        ({"function": {"name": "rm", "arguments": "{}"}}, "offered were clock, weather"),
    ],
)
def test_what_is_no_call_is_a_bad_response(entry: object, what: str) -> None:
    with pytest.raises(BadResponse, match=what):
        plain(entry)
    with pytest.raises(BadResponse, match=what):
        streamed(*pieces(entry))


def test_a_character_of_an_argument_that_comes_in_two_halves_is_one() -> None:
    halves = [call(arguments='{"place": "\ud83d', index=0), {"index": 0, "function": {"arguments": '\ude00"}'}}]

    assert streamed(*pieces(*halves)).tool_calls[0].arguments == '{"place": "\U0001f600"}'


def test_two_calls_of_one_id_are_a_bad_response() -> None:
    with pytest.raises(BadResponse, match="same id"):
        plain(call(), call("clock", "{}"))


def test_calls_without_end_are_a_bad_response() -> None:
    with pytest.raises(BadResponse, match="place 128"):
        streamed(*pieces(*[call(index=i, id=str(i)) for i in range(129)]))
    with pytest.raises(BadResponse, match="more than 128"):
        streamed(*pieces(*[call(index=0, id=str(i)) for i in range(129)]))


def test_a_call_after_the_finish_reason_is_a_bad_response() -> None:
    assembler = ChatAssembler(ASKED, NAMES)
    assembler.feed(SseEvent(json.dumps({"choices": [{"delta": {"content": "Done."}, "finish_reason": "stop"}]})))

    with pytest.raises(BadResponse, match="goes on after the finish reason"):
        assembler.feed(SseEvent(json.dumps({"choices": [{"delta": {"tool_calls": [call()]}}]})))


def test_a_call_that_was_cut_is_a_cut_not_a_call() -> None:
    with pytest.raises(LengthCut):
        plain(call(arguments='{"pla'), finish="length")
    with pytest.raises(LengthCut):
        streamed(*pieces({"index": 0, "function": {"arguments": "{"}}), finish="length")


def cut(text: str, places: list[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(bounds)] or [""]


@given(
    calls=st.lists(st.tuples(st.sampled_from(sorted(NAMES)), st.text(max_size=20)), min_size=1, max_size=4),
    places=st.lists(st.integers(0, 100), max_size=6),
)
def test_any_cut_of_a_stream_gives_the_calls_of_the_whole(calls, places) -> None:
    calls = [(name, text.encode("utf-8", "ignore").decode() or "{}") for name, text in calls]
    whole = [call(name, text, id=f"c{i}") for i, (name, text) in enumerate(calls)]
    deltas: list[dict[str, object]] = []
    for i, (name, text) in enumerate(calls):
        deltas.append({"index": i, "id": f"c{i}", "function": {"name": name, "arguments": ""}})
        deltas += [{"index": i, "function": {"arguments": piece}} for piece in cut(text, places)]

    assert streamed(*pieces(*deltas)).tool_calls == plain(*whole).tool_calls


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=12), st.lists(st.integers(0, 100)))
def test_characters_that_json_spells_in_halves_survive_any_cut(text: str, places: list[int]) -> None:
    """JSON may spell a character in two halves, and a server may send each half in an event of its own."""
    halves = text.encode("utf-16-be", "surrogatepass")
    spelled = "".join(chr(int.from_bytes(halves[i : i + 2], "big")) for i in range(0, len(halves), 2))
    reply = streamed(*[{"content": piece} for piece in cut(spelled, places)], finish="stop")

    assert reply.text == text


def test_the_name_of_the_model_can_be_written_down() -> None:
    message = {"role": "assistant", "content": "x"}
    told = {"model": "m\ud83d", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    assert reply_from(ASKED, told).model == "m?"
