"""Clients that callers bring: what is none is said at once, and what they raise is an error and never a standstill."""

from __future__ import annotations

import httpcore2
import httpx2
import openai
import pytest
import trio

from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.http_faults import fault
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import ModelServer
from trouper.adapters.wire_errors import Asked
from trouper.runtime import BadRequest, BadResponse, LLMError

ASK = ChatRequest(messages=(ChatMessage("user", "a question"),))


def failing() -> httpx2.AsyncClient:
    raise LookupError("no client today")


@pytest.mark.parametrize("client", [httpx2.Client(), object()])
def test_a_client_that_cannot_be_awaited_is_refused_at_once(client) -> None:
    """It would stop every other call until its answer has come."""
    with pytest.raises(TypeError, match=r"takes an AsyncClient of httpx2 or httpx, .* not a (Client|object)"):
        HttpPool(client=client)


def test_an_sdk_that_cannot_be_awaited_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="takes an AsyncOpenAI of the openai SDK, not a OpenAI"):
        OpenAIModel(model="test", sdk=openai.OpenAI(api_key="sk"))


@pytest.mark.filterwarnings("ignore:HTTP clients of your own")
@pytest.mark.parametrize(("make", "what"), [(lambda: 5, "not a int"), (failing, "LookupError: no client today")])
async def test_a_function_that_makes_no_client_is_an_error_that_says_so(make, what: str) -> None:
    model = OpenAIModel(model="test", base_url="http://127.0.0.1:1/v1", pool=HttpPool(client=make))

    with trio.fail_after(60), pytest.raises(BadRequest, match=what):
        await model.complete(ASK)


@pytest.mark.io
@pytest.mark.filterwarnings("ignore:an HTTP client that was handed in")
async def test_a_client_that_was_closed_is_an_error_and_no_standstill() -> None:
    """An error that was raised from itself had its causes followed in a circle, and the whole program stood still."""
    client = httpx2.AsyncClient()
    await client.aclose()
    async with ModelServer() as server:
        model = OpenAIModel(model="test", base_url=server.base_url, pool=HttpPool(client=client))

        with trio.fail_after(60), pytest.raises(BadResponse, match="the client has been closed"):
            await model.complete(ASK)


@pytest.mark.io
@pytest.mark.parametrize("raised", [RuntimeError("a surprise"), KeyError(7), httpcore2.UnsupportedProtocol("gopher")])
async def test_whatever_the_pool_raises_is_one_of_our_errors(
    raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def surprise(*_: object) -> None:
        raise raised

    monkeypatch.setattr(httpcore2.AsyncConnectionPool, "handle_async_request", surprise)
    async with ModelServer() as server:
        model = OpenAIModel(model="test", base_url=server.base_url)
        with trio.fail_after(60), pytest.raises(LLMError) as caught:
            await model.complete(ASK)
        await model.aclose()

    assert type(raised).__name__ in str(caught.value)


def test_causes_that_go_round_in_a_circle_are_followed_once() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first

    assert "ValueError" in str(fault(Asked("http://127.0.0.1/v1"), first))
