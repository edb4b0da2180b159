"""One client for each configuration: certificates, sockets, proxies, warm connections, clients of the caller."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import attrs
import httpx2
import pytest
import trio

from trouper.actors.model_events import PoolRebuilt
from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.embed_openai import OpenAIEmbedder
from trouper.adapters.http_pooling import ConnectionPooling, key_of
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import ModelServer, Network, ServerReply, model_server
from trouper.adapters.wiring import open_troupe
from trouper.runtime import AuthFailed, BadRequest, ConfigError, ModelUnavailable

pytestmark = pytest.mark.io

ASK = ChatRequest(messages=(ChatMessage("user", "a question"),))


@asynccontextmanager
async def model_over(pool: HttpPool, base_url: str, **options: object):
    model = OpenAIModel(model="test", base_url=base_url, pool=pool, **options)
    try:
        with trio.fail_after(60):
            yield model
    finally:
        await pool.aclose()


# ---------------------------------------------------------------- which client
def test_requests_share_a_client_exactly_when_their_configuration_is_the_same() -> None:
    pooling = ConnectionPooling()
    keys = [
        key_of("https://a/v1", pooling),
        key_of("https://b/v1", pooling),
        key_of("http://a/v1", pooling),
        key_of("https://a:8443/v1", pooling),
        key_of("https://a/v1", ConnectionPooling(max_connections=7)),
        key_of("https://a/v1", pooling, http2=True),
        key_of("https://a/v1", pooling, ca_file="ca.pem"),
        key_of("https://a/v1", pooling, uds="/run/model"),
    ]

    assert len({key.name for key in keys}) == len(set(keys)) == len(keys)
    assert key_of("https://a/v2", attrs.evolve(pooling)) == keys[0]
    assert key_of("https://a/v2", pooling).name == keys[0].name
    assert key_of("http://a/v1", pooling, http2=True, ca_file="ca.pem") == keys[2]  # neither means anything there


async def test_one_pool_keeps_servers_apart_and_counts_each() -> None:
    async with model_server() as first, model_server() as second:
        pool = HttpPool()
        models = [OpenAIModel(model="test", base_url=server.base_url, pool=pool) for server in (first, first, second)]
        for model in models:
            await model.complete(ASK)
        told = pool.statistics()
        await pool.aclose()

    assert [(c.origin, c.sent, c.opened, c.open, c.in_progress, c.rebuilt) for c in told.clients] == [
        (first.base_url.removesuffix("/v1"), 2, 1, 1, 0, 0),
        (second.base_url.removesuffix("/v1"), 1, 1, 1, 0, 0),
    ]
    assert told.total("sent") == 3
    assert pool.statistics().clients == ()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "127.0.0.1:8000/v1", "http:///v1", "http://127.0.0.1:99999/v1"])
async def test_an_address_that_is_none_is_a_bad_request_that_names_the_key(url: str) -> None:
    with pytest.raises(BadRequest, match=r"llm\.base_url"):
        HttpPool().transport(url)


# ---------------------------------------------------------------- certificates
async def test_a_server_is_trusted_by_the_ca_file_and_by_no_other() -> None:
    tls = Network(tls=True)
    async with ModelServer(["hello"], network=tls) as server, ModelServer(network=tls) as other:
        async with model_over(HttpPool(ca_file=server.ca_file), server.base_url) as model:
            assert (await model.complete(ASK)).text == "hello"
        for ca_file in (None, other.ca_file):
            async with model_over(HttpPool(ca_file=ca_file), server.base_url) as model:
                with pytest.raises(ModelUnavailable, match=r"no connection to .*certificate verify failed"):
                    await model.complete(ASK)
        by_another_name = server.base_url.replace("127.0.0.1", "127.1")
        async with model_over(HttpPool(ca_file=server.ca_file), by_another_name) as model:
            with pytest.raises(ModelUnavailable, match=r"no connection to .*certificate"):
                await model.complete(ASK)


async def test_the_certificates_are_read_once_however_many_clients_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    really = ssl.create_default_context

    def counted(*arguments: object, **options: object) -> ssl.SSLContext:
        read.append(options.get("cafile"))
        return really(*arguments, **options)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    async with ModelServer(network=Network(tls=True)) as server:
        for _ in range(3):
            async with model_over(HttpPool(ca_file=server.ca_file), server.base_url) as model:
                await model.complete(ASK)

    assert read == [str(server.ca_file)]


def test_a_ca_file_that_is_not_there_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"llm\.ca_file: there is no file"):
        HttpPool(ca_file=tmp_path / "none.pem")


def test_a_ca_file_without_certificates_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"llm\.ca_file: .*empty\.pem' has no certificates"):
        HttpPool(ca_file=tmp_path / "empty.pem")


@pytest.mark.parametrize("warm_up", [0, 2])
async def test_a_troupe_does_not_start_with_a_ca_file_without_certificates(tmp_path: Path, warm_up: int) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    llm = {"base_url": "https://127.0.0.1:9/v1", "ca_file": str(tmp_path / "empty.pem"), "warm_up": warm_up}
    with pytest.raises(ConfigError, match=r"llm\.ca_file"):
        async with open_troupe({"llm": llm, "memory": {"path": str(tmp_path / "memory.sqlite")}}):
            pytest.fail("it has started")


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28"])
async def test_a_handshake_that_fails_is_unavailable_and_leaves_no_socket(says: bytes) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(1000)
            await stream.send_all(says)

    async with listening(answer) as port:
        pool = HttpPool()
        async with model_over(pool, f"https://127.0.0.1:{port}/v1") as model:
            with pytest.raises(ModelUnavailable, match="no connection"):
                await model.complete(ASK)
            assert (pool.statistics().total("opened"), pool.statistics().total("open")) == (1, 0)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_handshake_that_nobody_answers_ends_and_leaves_no_socket(cancelled: bool) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with listening(silent) as port:
        pool = HttpPool(connect_timeout=10.0 if cancelled else 0.5)
        async with model_over(pool, f"https://127.0.0.1:{port}/v1") as model:
            if cancelled:
                with trio.move_on_after(0.5) as scope:
                    await model.complete(ASK)
                assert scope.cancelled_caught
            else:
                with pytest.raises(ModelUnavailable, match=r"no connection .*(took too long|nobody answered)"):
                    await model.complete(ASK)
            assert pool.statistics().total("open") == 0


@asynccontextmanager
async def listening(handler):
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, handler, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- warm connections
@pytest.mark.parametrize("tls", [False, True])
async def test_warm_connections_are_there_before_the_first_call_and_no_request_was_sent(tls: bool) -> None:
    async with ModelServer(network=Network(tls=tls)) as server:
        pool = HttpPool(ca_file=server.ca_file)
        async with model_over(pool, server.base_url) as model:
            assert await pool.warm_up(server.base_url, 3) == 3
            assert pool.statistics().total("warm") == 3
            assert server.statistics.requests == 0
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(model.complete, ASK)
            assert server.statistics.connections == 3
            assert (pool.statistics().total("opened"), pool.statistics().total("warm")) == (3, 0)


async def test_a_warm_connection_that_the_server_has_closed_is_not_used() -> None:
    accepted: list[trio.SocketStream] = []

    async def first_is_closed(stream: trio.SocketStream) -> None:
        accepted.append(stream)
        if len(accepted) == 1:
            await stream.aclose()
            return
        await stream.receive_some(10_000)
        body = b'{"choices": [{"message": {"content": "second"}, "finish_reason": "stop"}]}'
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await trio.sleep_forever()

    async with listening(first_is_closed) as port:
        pool = HttpPool()
        url = f"http://127.0.0.1:{port}/v1"
        async with model_over(pool, url) as model:
            await pool.warm_up(url, 1)
            ((_, _, warm),) = pool._client(url).network._warm
            with trio.fail_after(60):
                while not warm.left:  # noqa: ASYNC110 - that the other side has closed a socket is told to nobody
                    await trio.sleep(0.001)
            assert (await model.complete(ASK)).text == "second"
            assert pool.statistics().total("open") == 1


async def test_a_server_that_is_not_there_does_not_stop_a_start() -> None:
    pool = HttpPool()
    assert await pool.warm_up("http://127.0.0.1:9/v1", 2) == 0
    await pool.aclose()


async def test_unused_warm_connections_are_closed_with_the_pool() -> None:
    async with model_server() as server:
        pool = HttpPool()
        await pool.warm_up(server.base_url, 4)
        await pool.aclose()
        with trio.fail_after(60):
            await server.wait_disconnected()


# ---------------------------------------------------------------- other ways
async def test_a_socket_of_the_file_system_is_a_way(tmp_path: Path) -> None:
    path = str(tmp_path / "model.sock")
    async with model_server(["over a socket"]) as server, trio.open_nursery() as nursery:
        host, port = "127.0.0.1", int(server.base_url.rpartition(":")[2].partition("/")[0])
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        await listener.bind(path)
        listener.listen(5)

        async def pass_on(source: trio.abc.ReceiveStream, target: trio.abc.SendStream) -> None:
            async for piece in source:
                await target.send_all(piece)

        async def serve(stream: trio.SocketStream) -> None:
            behind = await trio.open_tcp_stream(host, port)
            async with stream, behind, trio.open_nursery() as both:
                both.start_soon(pass_on, stream, behind)
                await pass_on(behind, stream)
                both.cancel_scope.cancel()

        nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listener)])
        pool = HttpPool(uds=path)
        async with model_over(pool, "http://model/v1") as model:
            assert (await model.complete(ASK)).text == "over a socket"
            assert server.requests[0].headers["host"] == "model"
            assert await pool.warm_up("http://model/v1", 1) == 0
        nursery.cancel_scope.cancel()


async def test_a_socket_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    async with model_over(HttpPool(uds=tmp_path / "none"), "http://model/v1") as model:
        with pytest.raises(ModelUnavailable, match="No such file"):
            await model.complete(ASK)


async def test_the_proxy_of_the_environment_is_used_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    async def proxy(stream: trio.SocketStream) -> None:
        seen.append(await stream.receive_some(10_000))
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")

    async with listening(proxy) as port, model_server(["direct"]) as server:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://who:secret@127.0.0.1:{port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "spared.example")
        async with model_over(HttpPool(), "http://model.example/v1") as model:
            with pytest.raises(AuthFailed):
                await model.complete(ASK)
        async with model_over(HttpPool(), "https://model.example/v1") as model:
            with pytest.raises(ModelUnavailable, match="403") as caught:
                await model.complete(ASK)
            assert "secret" not in str(caught.value)
        async with model_over(HttpPool(), server.base_url) as model:
            assert (await model.complete(ASK)).text == "direct"

    assert [head.partition(b"\r\n")[0] for head in seen] == [
        b"POST http://model.example/v1/chat/completions HTTP/1.1",
        b"CONNECT model.example:443 HTTP/1.1",
    ]
    assert key_of("https://spared.example/v1", ConnectionPooling()).proxy is None


async def test_a_proxy_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "gopher://127.0.0.1:1")
    async with model_over(HttpPool(), "https://model.example/v1") as model:
        with pytest.raises(ModelUnavailable, match=r"the proxy that the environment names .* HTTPS_PROXY"):
            await model.complete(ASK)


@pytest.mark.skipif(find_spec("socksio") is not None, reason="it says what is missing")
async def test_a_socks_proxy_without_its_package_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://who:secret@127.0.0.1:9")
    async with model_over(HttpPool(), "http://model.example/v1") as model:
        with pytest.raises(ModelUnavailable, match="socksio") as caught:
            await model.complete(ASK)
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(find_spec("socksio") is None, reason="needs the package socksio")
async def test_a_second_answer_through_a_socks_proxy_is_not_taken_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Greeting, leave, and then the proxy is the server itself."""
    wrong = b'{"choices":[{"message":{"content":"wrong"},"finish_reason":"stop"}]}'
    right = wrong.replace(b"wrong", b"right")

    def http(body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    async def socks(stream: trio.SocketStream) -> None:
        for said in (b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6), http(right) + http(wrong), http(right)):
            if not await stream.receive_some(10_000):
                return
            await stream.send_all(said)

    async with listening(socks) as port:
        monkeypatch.setenv("http_proxy", f"socks5://127.0.0.1:{port}")
        async with model_over(HttpPool(), "http://model.example/v1") as model:
            assert [(await model.complete(ASK)).text for _ in range(3)] == ["right"] * 3


# ---------------------------------------------------------------- clients of the caller
async def test_a_client_of_the_callers_own_is_used_and_warned_about() -> None:
    async with model_server(["one"]) as server, httpx2.AsyncClient(headers={"x-mine": "yes"}) as own:
        with pytest.warns(UserWarning, match="cannot be replaced"):
            pool = HttpPool(client=own)
        async with model_over(pool, server.base_url, api_key="sk") as model:
            assert (await model.complete(ASK)).text == "one"
        assert not own.is_closed

    assert (server.requests[0].headers["x-mine"], server.requests[0].headers["authorization"]) == ("yes", "Bearer sk")


async def test_clients_that_a_function_makes_are_closed_with_the_pool() -> None:
    made: list[httpx2.AsyncClient] = []

    def make() -> httpx2.AsyncClient:
        made.append(httpx2.AsyncClient())
        return made[-1]

    async with model_server(["one", "two"]) as server:
        with pytest.warns(UserWarning, match="behind a watchdog"):
            pool = HttpPool(client=make)
        async with model_over(pool, server.base_url) as model:
            await model.complete(ASK)
            await model.complete(ASK)

    assert [client.is_closed for client in made] == [True]


async def test_the_openai_sdk_asks_over_our_connections_with_its_own_credentials_and_address() -> None:
    import openai

    async with model_server(["one", ServerReply(status=500), ServerReply()], api_key="sk-of-the-sdk") as server:
        sdk = openai.AsyncOpenAI(api_key="sk-of-the-sdk", base_url=server.base_url, organization="org-mine")
        pool = HttpPool()
        embedder = OpenAIEmbedder(model="test-embed", sdk=sdk, pool=pool)
        async with model_over(pool, "http://unused", sdk=sdk) as model:
            assert (await model.complete(ASK)).text == "one"
            with pytest.raises(ModelUnavailable):
                await model.complete(ASK)
            assert len(await embedder.embed(["a"])) == 1
            assert await model.models() == ("test", "test-embed")
            assert (server.statistics.requests, server.statistics.connections) == (4, 1)
        await sdk.close()

    assert server.requests[0].headers["openai-organization"] == "org-mine"
    assert server.requests[0].headers["accept-encoding"] == "identity"


async def test_azures_client_finds_its_address() -> None:
    import openai

    seen: list[str] = []

    async def azure(stream: trio.SocketStream) -> None:
        seen.append((await stream.receive_some(10_000)).partition(b"\r\n")[0].decode())
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}")

    async with listening(azure) as port:
        sdk = openai.AsyncAzureOpenAI(api_key="k", azure_endpoint=f"http://127.0.0.1:{port}", api_version="2024-10-21")
        async with model_over(HttpPool(), "http://unused", sdk=sdk) as model:
            with pytest.raises(BadRequest):
                await model.complete(ASK)
        await sdk.close()

    assert seen == ["POST /openai/deployments/test/chat/completions?api-version=2024-10-21 HTTP/1.1"]


async def test_a_user_in_the_address_becomes_basic_authentication() -> None:
    async with model_server(["fine"]) as server:
        url = server.base_url.replace("http://", "http://who:se%20cret@")
        async with model_over(HttpPool(), url) as model:
            await model.complete(ASK)

    assert server.requests[0].headers["authorization"] == "Basic d2hvOnNlIGNyZXQ="
    assert "who" not in server.requests[0].headers["host"]


# ---------------------------------------------------------------- plain httpx
async def test_a_pool_of_plain_httpx_that_a_storm_has_killed_is_replaced(idle_clock) -> None:
    """The bug that is the reason for httpx2 and for the watchdog, in the real library, brought about by hand."""
    httpx = pytest.importorskip("httpx", reason="plain httpx is not installed")
    rebuilt: list[PoolRebuilt] = []
    limits = httpx.Limits(max_connections=4)
    with pytest.warns(UserWarning, match="behind a watchdog"):
        pool = HttpPool(
            ConnectionPooling(max_connections=4),
            client=lambda: httpx.AsyncClient(limits=limits, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
            patience=1.0,
            on_rebuilt=rebuilt.append,
        )
    async with model_server() as server, model_over(pool, server.base_url) as model:
        await model.complete(ASK)
        # What a storm of cancellations leaves behind (encode/httpcore #1093): every slot says CONNECTING, and nobody
        # is connecting.
        inner = pool.transport(server.base_url)._way.transport._client._transport._pool
        origin = inner.connections[0]._origin
        await inner.aclose()
        inner._connections[:] = [inner.create_connection(origin) for _ in range(4)]
        assert [c.info() for c in inner.connections] == ["CONNECTING"] * 4
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(model.complete, ASK)

        assert [(told.waiting, told.in_progress) for told in rebuilt] == [(4, 0)]
        assert server.statistics.requests == 5


def test_plain_httpx_is_warned_about_by_name() -> None:
    httpx = pytest.importorskip("httpx", reason="plain httpx is not installed")
    with pytest.warns(UserWarning, match="plain httpx loses its pool"):
        HttpPool(client=httpx.AsyncClient())


# ---------------------------------------------------------------- HTTP/2
def test_http2_without_its_package_is_a_mistake_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"llm\.http2: .* h2"):
        HttpPool(http2=True)
