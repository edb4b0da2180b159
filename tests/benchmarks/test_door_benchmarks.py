"""The bench of the door: every way gets the same answer, and every demanded figure is measured. No time is judged."""

from __future__ import annotations

import pytest
import trio

from tests.benchmarks import door, door_server

pytestmark = pytest.mark.io


# The SDK leaves the generators of every stream to the garbage collector, also of one that was read to its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_every_way_to_ask_gets_the_same_answer() -> None:
    with trio.fail_after(60):
        async with door.subjects() as ways:
            got = {name: await call() for name, call in ways.items()}

    texts = {
        got["adapter"].text,
        got["adapter over SDK"].text,
        got["SDK"].choices[0].message.content,
        got["httpx2"]["choices"][0]["message"]["content"],
        got["adapter stream"][-1].reply.text,
        "".join(chunk.choices[0].delta.content or "" for chunk in got["SDK stream"] if chunk.choices),
    }
    assert texts == {door_server.TEXT}
    assert got["adapter"].usage == got["adapter stream"][-1].reply.usage
    assert got["adapter"].limits.remaining_tokens == 1_999_500


def test_what_is_demanded_is_measured() -> None:
    ways = ("adapter", "SDK", "adapter over SDK", "httpx2", "adapter stream", "SDK stream")
    names = {figure.name for figure in door.figures(16, {way: [1.0] for way in ways}, needed=1)}

    assert set(door.DEMANDED) <= names
