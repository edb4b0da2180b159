"""A server that answers one question twice: the second answer is never taken for that to the next question."""

from __future__ import annotations

import httpx
import httpx2
import openai
import pytest
import trio

from tests.llm.wire_table import DONE, JSON, STOP, TEXT, completion
from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import ModelServer, Network, ServerReply
from trouper.runtime import BadResponse

pytestmark = pytest.mark.io

ASK = ChatRequest(messages=(ChatMessage("user", "a question"),))
RECORD = 16384
"""Bytes of one TLS record."""


def answer(body: bytes, kind: str = JSON["content-type"], *, fill: int = 0) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n".encode()
    padding = fill - len(head) - len(body) - len(b"x: \r\n\r\n")
    return head + (b"x: " + b"-" * padding + b"\r\n" if fill else b"") + b"\r\n" + body


FIRST = completion('{"content": "the first"}')
WRONG = answer(completion('{"content": "an answer to nothing"}'))
TWICE = answer(FIRST) + WRONG


async def text_of(model: OpenAIModel) -> str:
    return (await model.complete(ASK)).text


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(TWICE, id="two answers"),
        pytest.param(answer(FIRST) + WRONG[:40], id="the beginning of another answer"),
        pytest.param(answer(FIRST) + b"rubbish\r\n\r\n", id="rubbish"),
    ],
)
async def test_what_comes_after_an_answer_answers_no_other_question(sent: bytes) -> None:
    with trio.fail_after(60):
        async with ModelServer([ServerReply(raw=sent), "the second"]) as server:
            model = OpenAIModel(model="test", base_url=server.base_url)

            assert await text_of(model) == "the first"
            assert await text_of(model) == "the second"
            await model.aclose()
            assert server.statistics.requests == 2


async def test_a_stream_with_another_answer_behind_it_is_whole_and_the_next_is_right() -> None:
    with trio.fail_after(60):
        events = answer(TEXT + STOP + DONE, "text/event-stream")
        async with ModelServer([ServerReply(raw=events + WRONG), "the second"]) as server:
            model = OpenAIModel(model="test", base_url=server.base_url)
            async with model.stream(ASK) as chunks:
                pieces = [chunk.text async for chunk in chunks]

            assert "".join(pieces) == "some text"
            assert await text_of(model) == "the second"
            await model.aclose()


async def test_a_refusal_with_another_answer_behind_it_spoils_nothing() -> None:
    with trio.fail_after(60):
        async with ModelServer([ServerReply(raw=answer(b"[]") + WRONG), "the second"]) as server:
            model = OpenAIModel(model="test", base_url=server.base_url)
            with pytest.raises(BadResponse):
                await text_of(model)

            assert await text_of(model) == "the second"
            await model.aclose()


async def test_what_tls_holds_back_answers_no_other_question() -> None:
    """The answer fills one TLS record exactly: the next record was taken from the socket and not looked into."""
    with trio.fail_after(60):
        sent = answer(FIRST, fill=RECORD) + WRONG
        async with ModelServer([ServerReply(raw=sent), "the second"], network=Network(tls=True)) as server:
            pool = HttpPool(ca_file=server.ca_file)
            model = OpenAIModel(model="test", base_url=server.base_url, pool=pool)

            assert await text_of(model) == "the first"
            assert await text_of(model) == "the second"
            assert pool.statistics().total("opened") == 2
            await pool.aclose()


async def test_the_same_through_the_sdk() -> None:
    with trio.fail_after(60):
        async with ModelServer([ServerReply(raw=TWICE), "the second"]) as server:
            model = OpenAIModel(model="test", sdk=openai.AsyncOpenAI(base_url=server.base_url, api_key="sk"))

            assert await text_of(model) == "the first"
            assert await text_of(model) == "the second"
            await model.aclose()


@pytest.mark.filterwarnings("ignore:HTTP clients of your own")
@pytest.mark.parametrize("make", [httpx2.AsyncClient, httpx.AsyncClient])
async def test_the_same_through_a_client_of_the_callers_own(make) -> None:
    with trio.fail_after(60):
        async with ModelServer([ServerReply(raw=TWICE), "the second"]) as server:
            pool = HttpPool(client=make)
            model = OpenAIModel(model="test", base_url=server.base_url, pool=pool)

            assert await text_of(model) == "the first"
            assert await text_of(model) == "the second"
            await pool.aclose()


async def test_a_connection_that_brings_nothing_more_is_used_again() -> None:
    with trio.fail_after(60):
        async with ModelServer(["one", "two"], network=Network(tls=True)) as server:
            pool = HttpPool(ca_file=server.ca_file)
            model = OpenAIModel(model="test", base_url=server.base_url, pool=pool)

            assert [await text_of(model), await text_of(model)] == ["one", "two"]
            assert pool.statistics().total("opened") == 1
            await pool.aclose()
