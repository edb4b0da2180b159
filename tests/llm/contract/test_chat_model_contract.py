"""What every `ChatModel` keeps: the same tests against the scripted fake and the real client over a real server."""

from __future__ import annotations

import json
import math
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trouper.actors.protocols import ChatMessage, ChatModel, ChatReply, ChatRequest, ToolCall, ToolSpec
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.llm_scripted import BreakOff, Delay, ScriptedModel
from trouper.adapters.model_server import End, ServerReply, ServerRequest, model_server
from trouper.runtime import AuthFailed, BadRequest, LengthCut, RateLimited, Refused, StreamTruncated

pytestmark = pytest.mark.filterwarnings("error")


def request(text: str = "hello there", **fields: object) -> ChatRequest:
    return ChatRequest(messages=(ChatMessage("user", text),), **fields)


class Scripted:
    """The fake, told what to do in its own words."""

    def __init__(self) -> None:
        self.script: list[object] = []
        self.model = ScriptedModel(self._next, chunk=5)

    def _next(self, asked: ChatRequest) -> object:
        return self.script.pop(0) if self.script else "fine"

    def says(self, text: str) -> None:
        self.script.append(text)

    def refuses(self, words: str) -> None:
        self.script.append(Refused(words, said=words))

    def cuts(self, text: str) -> None:
        self.script.append(ChatReply(text=text, finish_reason="length"))

    def filters(self, text: str) -> None:
        self.script.append(ChatReply(text=text, finish_reason="content_filter"))

    def asks_for(self, call: ToolCall) -> None:
        self.script.append(ChatReply(text="", finish_reason="tool_calls", tool_calls=(call,)))

    def limits(self, seconds: float) -> None:
        self.script.append(RateLimited("busy", status=429, retry_after=seconds))

    def rejects_the_key(self) -> None:
        self.script.append(AuthFailed("no such key", status=401))

    def hangs(self) -> None:
        self.script.append(Delay(math.inf, "never"))

    def hangs_in_the_middle(self, text: str) -> None:
        self.script.append(text)
        self.model.pace = 3600.0

    def breaks_off(self, text: str) -> None:
        self.script.append(BreakOff(text))

    async def wait_asked(self, number: int) -> None:
        while len(self.model.requests) < number:
            await trio.testing.wait_all_tasks_blocked()

    async def wait_idle(self) -> None:
        assert self.model.calls_open == 0
        self.model.pace = 0.0


class OverHttp:
    """The real client, with a server that is told what to do."""

    ASKS = ServerReply()

    def __init__(self, model: OpenAIModel, server: object, script: list[ServerReply]) -> None:
        self.model, self.server, self.script = model, server, script

    def says(self, text: str) -> None:
        self.script.append(ServerReply(text=text))

    def refuses(self, words: str) -> None:
        self.script.append(ServerReply(refusal=words))

    def cuts(self, text: str) -> None:
        self.script.append(ServerReply(text=text, finish_reason="length"))

    def filters(self, text: str) -> None:
        self.script.append(ServerReply(text=text, finish_reason="content_filter"))

    def asks_for(self, call: ToolCall) -> None:
        told = {"index": 0, "id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
        message = {"content": None, "tool_calls": [told]}
        choice = {"index": 0, "message": message, "delta": message, "finish_reason": "tool_calls"}
        self.tool_call = json.dumps({"choices": [choice]}).encode()
        self.script.append(self.ASKS)

    def limits(self, seconds: float) -> None:
        self.script.append(ServerReply(status=429, headers={"retry-after": str(seconds)}))

    def rejects_the_key(self) -> None:
        self.script.append(ServerReply(status=401))

    def hangs(self) -> None:
        self.script.append(ServerReply(delay=math.inf))

    def hangs_in_the_middle(self, text: str) -> None:
        self.script.append(ServerReply(text=text, cut=400, end=End.HANG))

    def breaks_off(self, text: str) -> None:
        self.script.append(ServerReply(text=text, finish_reason=None, done=False))

    async def wait_asked(self, number: int) -> None:
        await self.server.wait_requests(number)

    async def wait_idle(self) -> None:
        await self.server.wait_idle()


@asynccontextmanager
async def over_http(sdk: type | None = None):
    script: list[ServerReply] = []
    harness: OverHttp | None = None

    def reply(request: ServerRequest) -> ServerReply | str:
        said = script.pop(0) if script else "fine"
        if said is not OverHttp.ASKS:
            return said
        if request.json.get("stream"):
            return ServerReply(pieces=[b"data: " + harness.tool_call + b"\n\n", b"data: [DONE]\n\n"])
        return ServerReply(body=harness.tool_call)

    async with model_server(reply) as server:
        where = {"base_url": server.base_url}
        model = OpenAIModel(model="test", **(where if sdk is None else {"sdk": sdk(api_key="k", **where)}))
        harness = OverHttp(model, server, script)
        try:
            yield harness
        finally:
            await model.aclose()


@asynccontextmanager
async def over_the_sdk():
    import openai

    async with over_http(openai.AsyncOpenAI) as harness:
        yield harness


@asynccontextmanager
async def scripted():
    yield Scripted()


IO = pytest.mark.io
WAYS = [scripted, pytest.param(over_http, marks=IO), pytest.param(over_the_sdk, marks=IO)]


@pytest.fixture(params=WAYS, ids=["scripted", "openai", "openai-sdk"])
async def told(request):
    with trio.fail_after(60):
        async with request.param() as harness:
            yield harness


async def test_it_is_a_chat_model(told) -> None:
    assert isinstance(told.model, ChatModel)


async def test_a_whole_answer_comes_with_its_usage(told) -> None:
    told.says("four words of text")

    reply = await told.model.complete(request())

    assert (reply.text, reply.finish_reason) == ("four words of text", "stop")
    assert reply.usage.calls == 1
    assert reply.usage.completion_tokens == 5
    assert reply.usage.prompt_tokens > 0


async def test_a_stream_is_the_answer_in_pieces_and_ends_with_the_reply(told) -> None:
    text = "a streamed answer, größer als ein Stück: 漢字かな交じり文"
    told.says(text)

    async with told.model.stream(request()) as chunks:
        got = [chunk async for chunk in chunks]

    assert "".join(chunk.text for chunk in got) == text
    assert len(got) > 3
    assert [chunk.reply is not None for chunk in got] == [False] * (len(got) - 1) + [True]
    assert got[-1].reply.text == text
    assert got[-1].reply.usage.completion_tokens > 0


async def test_a_model_may_ask_for_a_tool_instead(told) -> None:
    call = ToolCall(id="c1", name="weather", arguments='{"place": "Rome"}')
    told.asks_for(call)
    told.asks_for(call)
    asking = request(tools=(ToolSpec(name="weather"),))

    plain = await told.model.complete(asking)
    async with told.model.stream(asking) as chunks:
        streamed = [chunk.reply async for chunk in chunks][-1]

    assert (plain.tool_calls, plain.finish_reason, plain.text) == ((call,), "tool_calls", "")
    assert (streamed.tool_calls, streamed.finish_reason, streamed.text) == ((call,), "tool_calls", "")


async def test_an_empty_answer_is_an_answer(told) -> None:
    told.says("")
    told.says("")

    assert (await told.model.complete(request())).text == ""
    async with told.model.stream(request()) as chunks:
        assert [chunk.reply.text async for chunk in chunks if chunk.reply] == [""]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("telling", "expected", "said"),
    [
        (lambda told: told.refuses("I would rather not"), Refused, "I would rather not"),
        (lambda told: told.filters("so far"), Refused, "so far"),
        (lambda told: told.cuts("cut in the mid"), LengthCut, "cut in the mid"),
    ],
    ids=["refusal", "filter", "length"],
)
async def test_an_answer_that_the_model_did_not_finish_is_an_error(told, telling, expected, said, streamed) -> None:
    telling(told)

    with pytest.raises(expected) as caught:
        await ask(told.model, streamed=streamed)
    assert caught.value.said == said
    assert not caught.value.retryable


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
async def test_a_declined_call_says_why_and_when_to_come_back(told, streamed) -> None:
    told.limits(2.5)
    told.rejects_the_key()

    with pytest.raises(RateLimited) as limited:
        await ask(told.model, streamed=streamed)
    with pytest.raises(AuthFailed):
        await ask(told.model, streamed=streamed)
    assert (limited.value.retry_after, limited.value.status) == (2.5, 429)


async def test_a_stream_that_breaks_off_gives_its_text_and_then_the_error(told) -> None:
    told.breaks_off("all but the end")
    got = ""

    with pytest.raises(StreamTruncated) as caught:
        async with told.model.stream(request()) as chunks:
            async for chunk in chunks:
                got += chunk.text
    assert got == "all but the end"
    assert caught.value.said == "all but the end"


async def test_an_error_in_a_stream_is_not_followed_by_a_normal_end(told) -> None:
    told.breaks_off("text")

    async with told.model.stream(request()) as chunks:
        with pytest.raises(StreamTruncated):
            [chunk async for chunk in chunks]
        with pytest.raises(StreamTruncated):
            [chunk async for chunk in chunks]


async def test_after_the_end_a_stream_stays_ended(told) -> None:
    async with told.model.stream(request()) as chunks:
        assert [chunk async for chunk in chunks][-1].reply is not None
        assert [chunk async for chunk in chunks] == []


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
async def test_a_cancelled_call_leaves_the_model_usable(told, streamed) -> None:
    told.hangs()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: ask(told.model, streamed=streamed))
        await told.wait_asked(1)
        nursery.cancel_scope.cancel()
    await told.wait_idle()
    told.says("still here")

    assert (await told.model.complete(request())).text == "still here"


async def test_a_stream_cancelled_in_the_middle_cannot_be_taken_up_and_leaves_the_model_usable(told) -> None:
    told.hangs_in_the_middle("long enough to be cut somewhere in the middle of it")
    async with told.model.stream(request()) as chunks:
        with trio.move_on_after(0.2) as scope:
            async for _ in chunks:
                pass
        with pytest.raises(StreamTruncated):
            await anext(chunks)
    await told.wait_idle()

    assert scope.cancelled_caught
    assert (await told.model.complete(request())).text == "fine"


async def test_a_stream_left_early_leaves_the_model_usable(told) -> None:
    told.says("one two three four five")
    async with told.model.stream(request()) as chunks:
        first = await anext(chunks)
    told.says("next")

    assert first.reply is None
    assert (await told.model.complete(request())).text == "next"


async def test_calls_run_beside_each_other_and_are_not_mixed_up(told) -> None:
    answers: dict[int, str] = {}
    told.script.extend(["same"] * 24)

    async def one(i: int) -> None:
        answers[i] = await ask(told.model, streamed=bool(i % 2))

    async with trio.open_nursery() as nursery:
        for i in range(24):
            nursery.start_soon(one, i)

    assert answers == dict.fromkeys(range(24), "same")


async def test_closing_twice_is_allowed(told) -> None:
    await told.model.aclose()
    await told.model.aclose()


async def test_a_script_that_is_over_names_the_request(autojump_clock) -> None:
    model = ScriptedModel(["one"])
    await model.complete(request())

    with pytest.raises(BadRequest, match=r"no reply for request 2 \(role 'verifier', last message 'is it so\?'\)"):
        await model.complete(request("is it so?", role="verifier"))


async def test_a_script_keeps_virtual_time(autojump_clock) -> None:
    model = ScriptedModel([Delay(30.0, Delay(15.0, "late"))], chunk=1, pace=2.0)

    async with model.stream(request()) as chunks:
        assert trio.current_time() == 45.0
        text = "".join([chunk.text async for chunk in chunks])

    assert (text, trio.current_time()) == ("late", 45.0 + 2.0 * 5)


async def test_a_script_can_be_a_function_of_the_request(autojump_clock) -> None:
    async def answer(asked: ChatRequest) -> str:
        await trio.sleep(1)
        return asked.messages[-1].content.upper()

    assert (await ScriptedModel(answer).complete(request("loud"))).text == "LOUD"


async def ask(model: ChatModel, *, streamed: bool) -> str:
    if not streamed:
        return (await model.complete(request())).text
    async with model.stream(request()) as chunks:
        return "".join([chunk.text async for chunk in chunks])
