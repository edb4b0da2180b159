"""The model server over a real socket: TLS, round trips, a model that takes its time, and a law that refuses."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio

from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server_script import RuleScript, rules_from_json, rules_to_json
from trouper.runtime import RateLimited
from trouper.testing import ModelServer, ModelTime, Network, RateLaw, ServerReply, ServerRule, model_server

pytestmark = pytest.mark.io

HI = {"model": "m", "messages": [{"role": "user", "content": "hi there"}]}
REQUEST = ChatRequest(messages=(ChatMessage("user", "hi there"),), max_tokens=40)


@asynccontextmanager
async def client_of(server: ModelServer) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that trusts the server's authority and nobody else."""
    trusted = ssl.create_default_context(cafile=str(server.ca_file)) if server.ca_file else ssl.create_default_context()
    async with httpx2.AsyncClient(verify=trusted, base_url=server.base_url, timeout=60) as client:
        yield client


async def test_over_tls_it_is_trusted_by_its_own_authority_alone() -> None:
    async with ModelServer(["hello"], network=Network(tls=True)) as server:
        async with client_of(server) as client:
            answer = await client.post("/chat/completions", json=HI)
        with pytest.raises(httpx2.ConnectError):
            async with httpx2.AsyncClient(verify=ssl.create_default_context()) as stranger:
                await stranger.post(f"{server.base_url}/chat/completions", json=HI)

    assert answer.json()["choices"][0]["message"]["content"] == "hello"
    assert server.statistics.chats == 1


async def test_its_certificate_holds_under_the_strict_rules_of_x509() -> None:
    async with ModelServer(network=Network(tls=True)) as server:
        strict = ssl.create_default_context(cafile=str(server.ca_file))
        strict.verify_flags |= ssl.VERIFY_X509_STRICT
        host, port = server.base_url.removeprefix("https://").removesuffix("/v1").split(":")
        async with await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=strict) as stream:
            await stream.do_handshake()
            names = stream.getpeercert()["subjectAltName"]

    assert names == (("DNS", "localhost"), ("IP Address", "127.0.0.1"))


async def test_every_server_has_an_authority_of_its_own_and_takes_it_along() -> None:
    async with ModelServer(network=Network(tls=True)) as one, ModelServer(network=Network(tls=True)) as other:
        assert one.ca_file is not None
        assert other.ca_file is not None
        assert one.ca_file.read_text() != other.ca_file.read_text()
        assert "PRIVATE KEY" not in one.ca_file.read_text()
        assert [file.stat().st_mode & 0o077 for file in one.ca_file.parent.iterdir()] == [0, 0]

    assert not one.ca_file.exists()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_client_that_hangs_up_is_noticed_and_not_served(tls: bool) -> None:
    """Over TLS too, where its farewell is a few bytes that are no request."""
    async with ModelServer(lambda _: ServerReply(delay=1000), network=Network(tls=tls)) as server:
        with trio.fail_after(60):
            async with client_of(server) as client, trio.open_nursery() as nursery:
                nursery.start_soon(client_post, client)
                await server.wait_requests(1)
                nursery.cancel_scope.cancel()
            await server.wait_idle()

    assert (server.statistics.aborted, server.statistics.chats) == (1, 0)
    assert not server.served


async def test_a_farewell_over_tls_is_no_request() -> None:
    """A client that says goodbye by the book is gone, though bytes of it are there to be read."""
    async with ModelServer(lambda _: ServerReply(delay=1000), network=Network(tls=True)) as server:
        trusted = ssl.create_default_context(cafile=str(server.ca_file))
        host, port = server.base_url.removeprefix("https://").removesuffix("/v1").split(":")
        with trio.fail_after(60):
            async with await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=trusted) as stream:
                body = b'{"messages": []}'
                head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
                await stream.send_all(head.encode() + body)
                await server.wait_requests(1)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(goodbye, stream)
                    await server.wait_idle()
                    nursery.cancel_scope.cancel()

    assert (server.statistics.aborted, server.statistics.chats) == (1, 0)


async def goodbye(stream: trio.SSLStream[trio.SocketStream]) -> None:
    """Say it, and wait for the same; the server has no more to say to nobody."""
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.unwrap()


async def client_post(client: httpx2.AsyncClient) -> None:
    await client.post("/chat/completions", json=HI)


async def test_a_connection_a_handshake_and_each_request_cost_a_round_trip() -> None:
    """Never less: how much more is the machine's business."""
    async with ModelServer(network=Network(round_trip=0.05, tls=True)) as server, client_of(server) as client:
        began = trio.current_time()
        await client.post("/chat/completions", json=HI)
        first = trio.current_time()
        await client.post("/chat/completions", json=HI)

        assert first - began >= 0.15
        assert trio.current_time() - first >= 0.05
    assert server.statistics.connections == 1


async def test_a_stream_comes_at_the_pace_of_its_tokens_and_a_whole_answer_after_all_of_them() -> None:
    time = ModelTime(first=0.04, per_completion_token=0.01)
    async with ModelServer(lambda _: "a" * 40, model_time=time) as server, client_of(server) as client:
        began = trio.current_time()
        await client.post("/chat/completions", json=HI)
        assert trio.current_time() - began >= 0.14

        began = trio.current_time()
        async with client.stream("POST", "/chat/completions", json={**HI, "stream": True}) as answer:
            at = [trio.current_time() - began async for _ in answer.aiter_lines()]
    assert at[0] >= 0.04
    assert at[-1] >= 0.04 + 0.1 * 6 / 8  # eight pieces; the last two tell the end
    assert [(s.completion_tokens, s.before, s.writing) for s in server.served] == [(10, 0.04, pytest.approx(0.1))] * 2


async def test_what_the_law_refuses_takes_nothing_from_the_script_and_says_when_to_come_back(idle_clock) -> None:
    law = RateLaw(rpm=2, tpm=1000, kind="sliding")
    async with ModelServer(["one", "two", "three"], law=law) as server, client_of(server) as client:
        answers = [await client.post("/chat/completions", json=HI) for _ in range(3)]
        server.reset()
        again = await client.post("/chat/completions", json=HI)

    assert [a.status_code for a in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
    headers = answers[2].headers
    assert headers["retry-after"] == "60"
    assert 59_000 < int(headers["retry-after-ms"]) <= 60_000
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["1", "0", "0"]
    assert again.json()["choices"][0]["message"]["content"] == "three"
    assert (server.statistics.requests, server.statistics.rate_limited) == (1, 0)


async def test_each_model_has_a_budget_of_its_own(idle_clock) -> None:
    async with ModelServer(law=RateLaw(rpm=1, kind="sliding")) as server, client_of(server) as client:
        answers = [await client.post("/chat/completions", json={**HI, "model": model}) for model in ("a", "b", "a")]

    assert [a.status_code for a in answers] == [200, 200, 429]


async def test_the_real_adapter_reads_the_law_as_a_rate_limit(idle_clock) -> None:
    async with ModelServer(["one"], law=RateLaw(rpm=1, kind="sliding")) as server:
        model = OpenAIModel(model="m", base_url=server.base_url, api_key="k")
        assert (await model.complete(REQUEST)).text == "one"
        with pytest.raises(RateLimited) as refused:
            await model.complete(REQUEST)
        await model.aclose()

    assert refused.value.retry_after == pytest.approx(60, abs=5)


async def test_usage_is_told_and_counted_alike() -> None:
    known = ModelTime(prefix_cache=True)
    async with ModelServer(lambda _: "four word answer now", model_time=known) as server:
        model = OpenAIModel(model="m", base_url=server.base_url, api_key="k")
        replies = [await model.complete(REQUEST) for _ in range(2)]
        await model.aclose()

    told = [(r.usage.prompt_tokens, r.usage.completion_tokens, r.usage.cached_tokens) for r in replies]
    assert told == [(6, 5, 0), (6, 5, 6)]
    counted = server.statistics
    assert (counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens) == (12, 10, 6)


async def test_embeddings_count_their_texts_and_fall_under_the_law(idle_clock) -> None:
    law = RateLaw(tpm=10, kind="sliding")
    async with ModelServer(law=law, dim=4) as server, client_of(server) as client:
        good = await client.post("/embeddings", json={"model": "m", "input": ["aaaa", "bbbb"]})
        bad = await client.post("/embeddings", json={"model": "m", "input": "c" * 80})

    assert [len(item["embedding"]) for item in good.json()["data"]] == [4, 4]
    assert good.headers["x-ratelimit-remaining-tokens"] == "8"
    assert (bad.status_code, "larger than the limit" in bad.text, bad.headers.get("retry-after")) == (429, True, None)
    assert server.statistics.embedded_texts == 2


async def test_what_the_block_raises_comes_out_as_itself() -> None:
    for server in (ModelServer(), model_server()):
        with pytest.raises(KeyError, match="mine"):
            async with server:
                raise KeyError("mine")


# ------------------------------------------------------------------ rules
async def test_the_first_rule_that_fits_answers_as_often_as_it_may() -> None:
    rules = [
        ServerRule(when="hi", status=503, times=1),
        ServerRule(when="hi", path="/v1/embeddings", status=400),
        ServerRule(when="there", text="found", headers={"x-mine": "1"}),
    ]
    async with ModelServer(RuleScript(rules)) as server, client_of(server) as client:
        answers = [await client.post("/chat/completions", json=HI) for _ in range(2)]
        vectors = await client.post("/embeddings", json={"input": "hi"})
        other = await client.post("/chat/completions", json={"messages": [{"role": "user", "content": "else"}]})

    assert [a.status_code for a in (*answers, vectors, other)] == [503, 200, 400, 200]
    assert answers[1].json()["choices"][0]["message"]["content"] == "found"
    assert answers[1].headers["x-mine"] == "1"
    assert other.json()["choices"][0]["message"]["content"] == "echo: else"


async def test_a_request_that_cannot_be_read_ends_no_server() -> None:
    async with ModelServer() as server, client_of(server) as client:
        await client.post("/chat/completions", content=b"[" * 60_000)
        vectors = await client.post("/embeddings", json={"input": "hi", "dimensions": 10**9})
        answer = await client.post("/chat/completions", json=HI)

    assert len(vectors.json()["data"][0]["embedding"]) == 100_000
    assert answer.json()["choices"][0]["message"]["content"] == "echo: hi there"


def test_rules_survive_being_written_down() -> None:
    rules = [ServerRule(when="a", times=2, status=429, headers={"retry-after": "1"}), ServerRule(end="reset")]

    assert rules_from_json(rules_to_json(rules)) == rules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "a script is a list of rules"),
        ('["hello"]', "rule 0 of the script: it is no object"),
        ('[{}, {"wenn": "a"}]', "rule 1 of the script: it has wenn; a rule has .*when"),
    ],
)
def test_rules_that_are_none_say_which_and_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rules_from_json(text)
