"""A system with a local model in it, and requests to try it with: what the tests of the local model share."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

import trouper
from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.llm_local import LocalModel
from trouper.adapters.llm_openai import OpenAIModel
from trouper.adapters.local_server import GetLocalStatistics, LocalStatistics, UseServer
from trouper.adapters.local_settings import LocalSettings
from trouper.runtime import (
    Backoff,
    ModelUnavailable,
    Strategy,
    SupervisorSpec,
)

SOON = 180.0
"""Seconds that everything here may take; a bound and no measure."""

PREFIX = "You plan how to reach a goal with tools, and answer with one object of JSON. " * 6

OBJECT = {
    "type": "object",
    "properties": {"kind": {"enum": ["read", "search"]}, "save": {"type": "boolean"}},
    "required": ["kind", "save"],
    "additionalProperties": False,
}


def request(text: str = "Say hello.", *, role: str = "planner", max_tokens: int = 64, **more: object) -> ChatRequest:
    messages = (ChatMessage("system", PREFIX), ChatMessage("user", text))
    return ChatRequest(messages=messages, role=role, max_tokens=max_tokens, **more)


def form(text: str = "Read notes.md", **more: object) -> ChatRequest:
    """A request whose answer comes to an end by itself."""
    return request(text, schema=OBJECT, **more)


ENDLESS = "Count from one to ten thousand, one number a line, an endless list. Begin."


@attrs.frozen
class Stage:
    """A system with a local model in it."""

    model: LocalModel

    async def look(self) -> LocalStatistics:
        """At the server's actor."""
        assert self.model._server is not None
        with trio.fail_after(SOON):
            return await self.model._server.ask(GetLocalStatistics())

    async def until(self, true: Callable[[LocalStatistics], bool]) -> LocalStatistics:
        """Look until it is so."""
        with trio.fail_after(SOON):
            while True:
                try:
                    if true(seen := await self.look()):
                        return seen
                except trouper.ActorCrashed:
                    pass
                await trio.sleep(0.01)

    async def until_slots(self, *, busy: bool) -> None:
        """Look until some slot is at work, or until none is."""
        with trio.fail_after(SOON):
            while any(await self.slots()) != busy:  # noqa: ASYNC110 - another process: there is nothing to wait for
                await trio.sleep(0.01)

    async def slots(self) -> list[bool]:
        """Of each slot, whether it is at work."""
        async with self.server() as server:
            answer = await server._endpoint.get("/../slots", server._endpoint.asked("/slots"))
            found = json.loads(await answer.read())
            await answer.aclose()
        return [slot["is_processing"] for slot in found]

    @asynccontextmanager
    async def server(self, *, key: str | None = None) -> AsyncGenerator[OpenAIModel, None]:
        """The plain adapter for the same server."""
        assert self.model._server is not None
        async with self.model._server.stream(UseServer(), timeout=SOON) as places:
            place = await anext(places)
            api_key = place.key if key is None else key
            yield OpenAIModel(model="local", base_url=place.base_url, api_key=api_key, pool=place.pool)


@asynccontextmanager
async def staged(settings: LocalSettings, *, backoff: Backoff | None = None) -> AsyncGenerator[Stage, None]:
    """A system with that model, for the length of the block."""
    model = LocalModel(settings)
    with trio.fail_after(3 * SOON):
        async with trouper.open_system() as system:
            await system.start_supervisor(
                SupervisorSpec(strategy=Strategy.ONE_FOR_ONE, children=[model.child(backoff=backoff)])
            )
            yield Stage(model)


async def dies_with_its_starter(settings: LocalSettings, tmp_path: Path, moment: str) -> None:
    """Start a server from another process, kill that one, and wait until the server has gone."""
    script = tmp_path / "starts_and_waits.py"
    script.write_text(_STARTER.format(settings=_plain(settings)))
    process = subprocess.Popen(  # noqa: ASYNC220 - the reading below waits in a thread
        [sys.executable, str(script), moment], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        pid = int(await trio.to_thread.run_sync(process.stdout.readline))
        if moment == "loading":
            await trio.sleep(0.3)  # whether it has begun by then cannot be seen from outside
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with trio.fail_after(SOON):
        while alive(pid):  # noqa: ASYNC110 - no child of ours: there is nothing to wait for
            await trio.sleep(0.01)


_STARTER = """
import sys
import tempfile
from pathlib import Path
import trio, trouper
from trouper.adapters.llm_local import LocalModel
from trouper.adapters.local_process import open_server
from trouper.adapters.local_settings import LocalSettings

async def main():
    settings = LocalSettings(**{settings})
    async with trio.open_nursery() as nursery:
        if sys.argv[1] == "running":
            async with open_server(settings, nursery) as server:
                print(server.process.pid, flush=True)
                await trio.sleep_forever()
        opened = trio.lowlevel.open_process
        async def open_and_tell(*args, **options):
            process = await opened(*args, **options)
            print(process.pid, flush=True)
            return process
        trio.lowlevel.open_process = open_and_tell
        async with open_server(settings, nursery):
            await trio.sleep_forever()

trio.run(main)
"""


def _plain(settings: LocalSettings) -> dict[str, object]:
    told = attrs.asdict(settings)
    return {**told, "gguf": str(settings.gguf), "environment": dict(settings.environment)}


def short_path(tmp_path: Path) -> Path:
    """A directory whose path leaves room for a socket's name."""
    made = Path(tempfile.mkdtemp(dir="/tmp"))
    (tmp_path / "short").symlink_to(made)
    return made


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def ask_endlessly(model: LocalModel, *, stream: bool) -> None:
    asked = request(ENDLESS, max_tokens=1500)
    if not stream:
        await model.complete(asked)
        return
    async with model.stream(asked) as chunks:
        async for _ in chunks:
            pass


async def patiently(model: LocalModel) -> object:
    """As the door does: again, until the supervisor has started another one."""
    with trio.fail_after(SOON):
        while True:
            try:
                return await model.complete(form())
            except ModelUnavailable as error:
                if not error.retryable:
                    raise
                await trio.sleep(0.05)
