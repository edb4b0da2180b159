"""Sockets under the HTTP client: one write a request, an early answer is read, deadlines are kept, all are counted."""

from __future__ import annotations

import ssl

import httpcore2
import pytest
import trio
import trio.testing

from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.http_network import HELD, Network, Wire
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.model_server import ModelServer
from trouper.adapters.model_server import Network as ServerNetwork


class Counted(trio.abc.Stream):
    """A stream in memory that keeps each write apart."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.writes: list[bytes] = []
        self.broken = False

    async def send_all(self, data: bytes) -> None:
        self.writes.append(data)
        if self.broken:
            raise trio.BrokenResourceError("the other side has had enough")
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self.stream.aclose()


def pair() -> tuple[Wire, Counted, trio.abc.Stream, Network]:
    near, far = trio.testing.memory_stream_pair()
    network = Network()
    counted = Counted(near)
    network.open = network.opened = 1
    return Wire(counted, network), counted, far, network


async def test_the_head_and_the_body_of_a_request_leave_in_one_write_when_the_answer_is_waited_for() -> None:
    wire, sent, far, _ = pair()
    await wire.write(b"head")
    await wire.write(b"body")
    await wire.write(b"")
    assert sent.writes == []
    await far.send_all(b"answer")

    assert await wire.read(100) == b"answer"
    assert sent.writes == [b"headbody"]


async def test_a_large_body_does_not_pile_up() -> None:
    wire, sent, far, _ = pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(far.receive_some, HELD + 1)
        await wire.write(b"head")
        await wire.write(b"x" * HELD)
        await wire.write(b"end")

    assert [len(write) for write in sent.writes] == [HELD + 4]


async def test_a_server_that_answers_without_reading_all_is_heard() -> None:
    """It says 413 and closes: what it said is worth more than that the rest could not be sent."""
    wire, sent, far, _ = pair()
    sent.broken = True
    await far.send_all(b"413")
    await wire.write(b"head")

    assert await wire.read(100) == b"413"


async def test_every_wait_keeps_its_deadline(autojump_clock) -> None:
    wire, _, _, _ = pair()
    with pytest.raises(httpcore2.ReadTimeout):
        await wire.read(100, timeout=3.0)
    assert trio.current_time() == 3.0

    class Stuck(Counted):
        async def send_all(self, data: bytes) -> None:
            await trio.sleep_forever()

    stuck = Wire(Stuck(trio.testing.memory_stream_pair()[0]), Network())
    await stuck.write(b"head", timeout=2.0)
    with pytest.raises(httpcore2.WriteTimeout):
        await stuck.read(100)
    assert trio.current_time() == 5.0
    with pytest.raises(httpcore2.ConnectTimeout):
        await wire.start_tls(ssl.create_default_context(), "h", timeout=1.0)
    assert trio.current_time() == 6.0


async def test_a_closed_connection_is_counted_once_and_reading_it_is_an_error() -> None:
    wire, _, _, network = pair()
    await wire.aclose()
    await wire.aclose()
    await wire.drop()

    assert network.open == 0
    with pytest.raises(httpcore2.ReadError):
        await wire.read(100)
    await wire.write(b"x" * 3)
    with pytest.raises(httpcore2.ReadError):
        await wire.read(100)


@pytest.mark.io
@pytest.mark.parametrize("step", ["tcp", "tls", "warm tcp", "warm tls"])
async def test_a_call_that_is_cancelled_in_the_moment_its_connection_succeeds_leaves_none(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """httpcore2 keeps such a connection and never uses it again; a pool of these is dead."""
    scope = trio.CancelScope()
    connect, shake, take = trio.open_tcp_stream, trio.SSLStream.do_handshake, Network._take

    async def cancelled_tcp(*arguments: object, **options: object) -> trio.SocketStream:
        stream = await connect(*arguments, **options)
        scope.cancel()
        return stream

    async def cancelled_tls(stream: trio.SSLStream) -> None:
        await shake(stream)
        scope.cancel()

    async def cancelled_take(network: Network, *where: object) -> Wire | None:
        wire = await take(network, *where)
        scope.cancel()
        return wire

    ask = ChatRequest(messages=(ChatMessage("user", "a question"),))
    async with ModelServer(network=ServerNetwork(tls="tls" in step)) as server:
        pool = HttpPool(ca_file=server.ca_file)
        model = OpenAIModel(model="test", base_url=server.base_url, pool=pool)
        if "warm" in step:
            assert await pool.warm_up(server.base_url, 1) == 1
            monkeypatch.setattr(Network, "_take", cancelled_take)
        elif step == "tcp":
            monkeypatch.setattr(trio, "open_tcp_stream", cancelled_tcp)
        else:
            monkeypatch.setattr(trio.SSLStream, "do_handshake", cancelled_tls)
        with trio.fail_after(60), scope:
            await model.complete(ask)
        assert scope.cancelled_caught
        monkeypatch.undo()

        assert (pool.statistics().total("open"), pool.statistics().total("in_progress")) == (0, 0)
        assert (await model.complete(ask)).text == "echo: a question"
        assert len(pool.transport(server.base_url)._way.transport._pool.connections) == 1
        await pool.aclose()


async def test_the_end_of_the_other_side_is_the_end() -> None:
    wire, _, far, _ = pair()
    await far.aclose()

    assert await wire.read(100) == b""


async def test_a_frame_on_a_shared_connection_is_sent_whole_before_a_cancellation_goes_on(autojump_clock) -> None:
    class Slow(Counted):
        async def send_all(self, data: bytes) -> None:
            await trio.sleep(1)
            await super().send_all(data)

    near, far = trio.testing.memory_stream_pair()
    sent = Slow(near)
    wire = Wire(sent, Network())
    wire._hold = False  # as after a handshake that chose HTTP/2
    with trio.move_on_after(0.5) as scope:
        await wire.write(b"frame", timeout=30.0)
        await trio.lowlevel.checkpoint()

    assert scope.cancelled_caught
    with trio.fail_after(10):
        assert (await far.receive_some(100), trio.current_time()) == (b"frame", 1.0)


async def test_a_shared_connection_that_takes_no_frame_holds_a_cancellation_up_for_seconds_only(autojump_clock) -> None:
    class Stuck(Counted):
        async def send_all(self, data: bytes) -> None:
            await trio.sleep_forever()

    wire = Wire(Stuck(trio.testing.memory_stream_pair()[0]), Network())
    wire._hold = False
    with trio.move_on_after(0.5), pytest.raises(httpcore2.WriteTimeout):
        await wire.write(b"frame", timeout=30.0)

    assert trio.current_time() == 5.0
