"""The cheapest server that speaks enough of the protocol, in a process of its own: only the client is measured.

It answers every chat with the same completion of 100 words, at once, with the headers that a provider sends; streamed
in 25 pieces if that is asked for. Prints its port, and ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys

TEXT = "word " * 100
USAGE = {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400}
LIMITS = {
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-tokens": "1999500",
    "x-ratelimit-reset-tokens": "15ms",
    "openai-processing-ms": "312",
    "x-request-id": "req_5f3c1b",
}


def whole() -> bytes:
    """A plain answer."""
    message = {"role": "assistant", "content": TEXT, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "test", "choices": [choice]}
    return json.dumps({**body, "usage": USAGE}).encode()


def events() -> bytes:
    """A streamed one."""
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "test"}
    step = len(TEXT) // 25
    deltas = [{"content": TEXT[i : i + step]} for i in range(0, len(TEXT), step)]
    told = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    told.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    told.append({**chunk, "choices": [], "usage": USAGE})
    return b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in told) + b"data: [DONE]\n\n"


def answer(kind: str, body: bytes) -> bytes:
    """Head and body."""
    headers = {"content-type": kind, "content-length": str(len(body)), **LIMITS}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body


PLAIN = answer("application/json", whole())
STREAM = answer("text/event-stream", events())


class Connection(asyncio.Protocol):
    """Reads requests by their length and answers each at once."""

    def __init__(self) -> None:
        self.unread = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self.unread += data
        while (end := self.unread.find(b"\r\n\r\n")) >= 0:
            head = self.unread[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self.unread) < end + 4 + length:
                return
            body, self.unread = self.unread[end + 4 : end + 4 + length], self.unread[end + 4 + length :]
            streamed = b'"stream": true' in body or b'"stream":true' in body
            assert self.transport is not None
            self.transport.write(STREAM if streamed else PLAIN)


async def main() -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
