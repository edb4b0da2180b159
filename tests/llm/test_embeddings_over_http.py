"""Vectors from a server: in order, of one length, finite, normalised; or an error."""

from __future__ import annotations

import base64
import json
import struct

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trouper.actors.protocols import Embedder
from trouper.adapters.embed_openai import OpenAIEmbedder, _at_once, _one_by_one
from trouper.adapters.model_server import ServerReply, model_server
from trouper.adapters.model_server_replies import text_vector
from trouper.adapters.wire_errors import Asked
from trouper.runtime import BadRequest, BadResponse, ModelTimeout, RateLimited

pytestmark = pytest.mark.io

ASKED = Asked("http://127.0.0.1/v1/embeddings", "test-embed")


def numbers(vector: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))


def entry(index: object, embedding: object) -> dict[str, object]:
    return {"index": index, "embedding": embedding}


def answer(*entries: object) -> ServerReply:
    return ServerReply(body=json.dumps({"data": entries}).encode())


async def embedded(reply: ServerReply, *texts: str, **options: object) -> tuple[bytes, ...]:
    async with model_server([reply]) as server:
        embedder = OpenAIEmbedder(model="test-embed", base_url=server.base_url, **options)
        try:
            return await embedder.embed(texts)
        finally:
            await embedder.aclose()


async def test_vectors_come_in_order_normalised_and_of_the_length_learned() -> None:
    async with model_server(dim=12) as server:
        embedder = OpenAIEmbedder(model="test-embed", base_url=server.base_url)
        assert isinstance(embedder, Embedder)
        assert embedder.dim == 0
        vectors = await embedder.embed(["a", "b", "a"])
        await embedder.aclose()

    assert (embedder.dim, embedder.name) == (12, "test-embed")
    assert [numbers(v) for v in vectors] == [pytest.approx(text_vector(t, 12), abs=1e-6) for t in "aba"]
    assert vectors[0] == vectors[2] != vectors[1]


async def test_no_texts_are_no_request() -> None:
    async with model_server() as server:
        embedder = OpenAIEmbedder(model="test-embed", base_url=server.base_url)
        assert await embedder.embed([]) == ()
        assert server.statistics.requests == 0
        await embedder.aclose()


async def test_shorter_vectors_are_asked_for_and_name_another_space() -> None:
    async with model_server(dim=32) as server:
        embedder = OpenAIEmbedder(model="test-embed", base_url=server.base_url, dimensions=8)
        (vector,) = await embedder.embed(["a"])
        await embedder.aclose()

    assert (embedder.name, embedder.dim, len(vector)) == ("test-embed@8", 8, 32)


async def test_an_answer_out_of_order_is_put_in_order() -> None:
    first, second = await embedded(answer(entry(1, [0, 2]), entry(0, [3.0, 0])), "a", "b")

    assert (numbers(first), numbers(second)) == ([1.0, 0.0], [0.0, 1.0])


async def test_large_and_small_numbers_are_normalised_without_overflow() -> None:
    huge = base64.b64encode(struct.pack("<2f", 3e38, 3e38)).decode()
    first, second = await embedded(answer(entry(0, huge), entry(1, [1e-30, 0.0])), "a", "b")

    assert numbers(first) == pytest.approx([0.70710677] * 2)
    assert numbers(second) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (answer(entry(0, [1.0])), "1 vectors for 2 texts"),
        (answer(*[entry(i, [1.0]) for i in range(3)]), "3 vectors for 2 texts"),
        (ServerReply(body=b"{}"), "no `data`"),
        (answer(entry(0, [1.0]), entry(0, [1.0])), "not numbered 0 to 1"),
        (answer(entry(0, [1.0]), entry(2, [1.0])), "not numbered 0 to 1"),
        (answer(entry(0, [1.0]), entry(1.0, [1.0])), "not numbered 0 to 1"),
        (answer(entry(0, [1.0]), entry(None, [1.0])), "not numbered 0 to 1"),
        (answer(entry(0, [1.0]), 7), "not numbered 0 to 1"),
        (answer(entry(0, [1.0, 0.0]), entry(1, [1.0])), "vector 1 has 1 dimensions, not 2"),
        (answer(entry(0, [1.0]), entry(1, [])), "vector 1 is not a list of numbers"),
        (answer(entry(0, [1.0]), entry(1, ["1"])), "vector 1 is not a list of numbers"),
        (answer(entry(0, [1.0]), entry(1, None)), "vector 1 is not a list of numbers"),
        (answer(entry(0, [1.0]), entry(1, "###")), "vector 1 is not a list of numbers"),
        (answer(entry(0, [1.0]), entry(1, "AAA=")), "vector 1 is not a list of numbers"),
        (answer(entry(0, [1.0]), entry(1, [10**400])), "vector 1 is not a list of numbers"),
        (answer(entry(0, [1.0]), entry(1, [0.0])), "cannot be normalised"),
        (answer(entry(0, [1.0, 0.0]), entry(1, [1e308, 1e308])), "cannot be normalised"),
        (answer(entry(0, [1.0]), entry(1, base64.b64encode(struct.pack("<f", float("nan"))).decode())), "not finite"),
        (ServerReply(body=b'{"data": [{"index": 0, "embedding": [NaN]}]}'), "NaN is not JSON"),
        (ServerReply(body=b"<html>", headers={"content-type": "text/html"}), "content type"),
    ],
)
async def test_vectors_that_would_poison_an_index_are_refused(reply: ServerReply, what: str) -> None:
    with trio.fail_after(60), pytest.raises(BadResponse, match=what):
        await embedded(reply, "a", "b")


async def test_a_server_that_changes_its_length_is_refused() -> None:
    async with model_server([answer(entry(0, [1.0, 0.0])), answer(entry(0, [1.0]))]) as server:
        embedder = OpenAIEmbedder(model="test-embed", base_url=server.base_url)
        await embedder.embed(["a"])
        with pytest.raises(BadResponse, match="1 dimensions, not 2"):
            await embedder.embed(["a"])
        assert embedder.dim == 2
        await embedder.aclose()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (ServerReply(status=429, headers={"retry-after": "3"}), RateLimited),
        (ServerReply(status=400), BadRequest),
        (ServerReply(delay=60.0), ModelTimeout),
    ],
)
async def test_other_faults_are_the_same_errors_as_for_chat(reply, expected, idle_clock) -> None:
    with trio.fail_after(60), pytest.raises(expected, match="/embeddings"):
        await embedded(reply, "a", timeout=0.2)


@given(
    vectors=st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    ),
    odd=st.sampled_from(["nothing", "a list", "a zero", "too long"]),
)
def test_all_vectors_at_once_are_the_same_as_one_by_one(vectors: list[list[float]], odd: str) -> None:
    """The quick way and the careful one agree; whatever is odd is left to the careful one."""
    told: list[object] = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in vectors]
    if odd != "nothing":
        told[-1] = {"a list": [1.0, 2.0, 3.0], "a zero": [0.0] * 3, "too long": [1.0] * 4}[odd]
    quick = _at_once(told, 0)
    try:
        careful = _one_by_one(ASKED, told, 0)
    except BadResponse:
        assert quick is None
        return

    assert (quick is None) == (odd != "nothing")
    if quick is not None:
        assert quick[1] == careful[1]
        for one, other in zip(quick[0], careful[0], strict=True):
            assert numbers(one) == pytest.approx(numbers(other), abs=1e-6)
