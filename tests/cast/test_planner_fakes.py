"""The fakes that can be held up in the middle of an answer say exactly what they are told to, piece by piece."""

from __future__ import annotations

import pytest
import trio

from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.llm_scripted import Pieces, ScriptedModel
from trouper.adapters.model_server import ServerReply, model_server

ASK = ChatRequest(messages=(ChatMessage("user", "say it"),))
WORDS = ("a", "", "bcd ", "größer 漢", "e")


async def streamed(model) -> tuple[list[str], str]:
    async with model.stream(ASK) as chunks:
        came = [chunk async for chunk in chunks]
    return [chunk.text for chunk in came], came[-1].reply.text


async def test_a_scripted_answer_comes_in_exactly_these_pieces(autojump_clock) -> None:
    pieces, whole = await streamed(ScriptedModel([Pieces(WORDS)]))

    assert pieces == [*WORDS, ""]  # the last chunk carries the reply
    assert whole == "".join(WORDS)


@pytest.mark.parametrize("how", ["streamed", "complete"])
async def test_it_is_held_up_before_each_piece_and_before_the_end(how, autojump_clock) -> None:
    numbers = []

    async def before(number: int) -> None:
        numbers.append(number)
        await trio.sleep(1)

    model = ScriptedModel([Pieces(WORDS, before=before)])
    began = trio.current_time()
    await (streamed(model) if how == "streamed" else model.complete(ASK))

    assert numbers == [0, 1, 2, 3, 4, 5]
    assert trio.current_time() - began == 6


async def test_an_empty_answer_ends(autojump_clock) -> None:
    assert await streamed(ScriptedModel([Pieces(())])) == ([""], "")


@pytest.mark.io
async def test_a_server_sends_exactly_these_pieces_and_can_be_held_up_before_each() -> None:
    """What follows a piece is not sent before the client has got that piece."""
    got = [trio.Event() for _ in WORDS]
    sent = []

    async def before(number: int) -> None:
        if 0 < number <= len(WORDS) and WORDS[number - 1]:
            await got[number - 1].wait()
        sent.append(number)

    async with model_server([ServerReply(words=WORDS, before=before)]) as server:
        model = OpenAIModel(model="test", base_url=server.base_url)
        pieces = []
        with trio.fail_after(60):
            async with model.stream(ASK) as chunks:
                async for chunk in chunks:
                    if chunk.text:
                        pieces.append(chunk.text)
                        got[WORDS.index(chunk.text)].set()
        await model.aclose()

    assert pieces == [word for word in WORDS if word]
    assert sent[:5] == [0, 1, 2, 3, 4]


@pytest.mark.io
async def test_a_server_says_its_words_at_once_where_no_stream_is_asked_for() -> None:
    async with model_server([ServerReply(words=WORDS)]) as server:
        model = OpenAIModel(model="test", base_url=server.base_url)
        reply = await model.complete(ASK)
        await model.aclose()

    assert reply.text == "".join(WORDS)
