"""What is sent: the schema of an answer, sampling, what one server wants besides; and nothing else."""

from __future__ import annotations

import json
import math
from types import MappingProxyType

import attrs
import pytest
import trio

from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import model_server
from trouper.runtime import BadRequest

pytestmark = pytest.mark.io

ASK = ChatRequest(messages=(ChatMessage("user", "a question"),))
STRICT = {
    "type": "object",
    "properties": {"steps": {"type": "array", "items": {"type": "integer"}}},
    "required": ["steps"],
    "additionalProperties": False,
}


async def sent(request: ChatRequest, **options: object) -> dict[str, object]:
    """The body of the request, as the server read it."""
    async with model_server(["fine"]) as server:
        model = OpenAIModel(model="test", base_url=server.base_url, **options)
        with trio.fail_after(60):
            await model.complete(request)
        await model.aclose()
        return dict(server.requests[0].json)


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (STRICT, True),
        ({**STRICT, "required": []}, False),
        ({**STRICT, "additionalProperties": True}, False),
        ({"type": "object"}, False),
        ({**STRICT, "properties": {"steps": {"type": "array", "items": {"type": "object"}}}}, False),
        (MappingProxyType(STRICT), True),
    ],
    ids=["strict", "optional", "open", "anything", "open inside", "frozen"],
)
async def test_a_schema_is_sent_and_strict_only_where_a_server_may_hold_the_model_to_it(schema, strict) -> None:
    body = await sent(attrs.evolve(ASK, schema=schema, schema_name="plan"))

    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "plan", "schema": dict(schema), "strict": strict},
    }


async def test_sampling_and_stop_words_are_sent() -> None:
    body = await sent(attrs.evolve(ASK, top_p=0.5, stop=("END", "\n\n"), temperature=0.2, seed=7, max_tokens=9))

    assert {name: body[name] for name in ("top_p", "stop", "temperature", "seed", "max_tokens")} == {
        "top_p": 0.5,
        "stop": ["END", "\n\n"],
        "temperature": 0.2,
        "seed": 7,
        "max_tokens": 9,
    }


async def test_nothing_is_sent_that_was_not_asked_for() -> None:
    assert set(await sent(attrs.evolve(ASK, temperature=None))) == {"model", "messages"}


async def test_fields_of_one_server_are_put_over_those_of_the_protocol() -> None:
    body = await sent(ASK, extra_body={"id_slot": 1, "temperature": 0.7})

    assert (body["id_slot"], body["temperature"]) == (1, 0.7)


@pytest.mark.parametrize("extra", [{"x": math.nan}, {"x": {1, 2}}, {"x": object()}])
async def test_a_request_that_is_no_json_is_our_own_mistake_and_is_not_sent(extra: dict[str, object]) -> None:
    async with model_server(["fine"]) as server:
        model = OpenAIModel(model="test", base_url=server.base_url, extra_body=extra)
        with pytest.raises(BadRequest, match="is no JSON"):
            await model.complete(ASK)
        await model.aclose()

        assert server.statistics.requests == 0


async def test_a_text_of_any_characters_arrives_as_it_is() -> None:
    text = 'größer "漢字" \U0001f600 \x00 \u2028 ' + json.dumps({"a": 1})
    body = await sent(ChatRequest(messages=(ChatMessage("user", text),)))

    assert body["messages"] == [{"role": "user", "content": text}]
