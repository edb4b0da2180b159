"""One process that serves a local model: started, waited for until it can answer, and ended with its block.

In a process of its own because in ours loading a model stops everything for seconds, a cancelled call goes on to its
end, and an engine built for another processor, or out of memory, ends whoever has loaded it. As a child it is an exit
status. It leads a session of its own, is ended by the end of its stdin, by whatever death of ours, and listens on a
socket in a directory that nobody else can enter, with a key made anew for each life.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

from trouper.actors.tool_children import open_session, wait_ended
from trouper.runtime import ModelUnavailable, Seconds

from .local_child import KEY
from .local_settings import LocalSettings

log: logging.Logger = logging.getLogger("trouper.local")

FAREWELL: Seconds = 3.0
"""What a polite end may take; then the session is killed."""

LONGEST_PATH = 100
"""Bytes of a socket's path: systems end at 104 or 108."""

_CHILD = Path(__file__).with_name("local_child.py")
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT")
"""Of our environment: a model needs no keys of other models."""
_PLACE = "trouper-local-"
_SOCKET = "s.sock"
"""The engine knows a socket by this ending."""
_LINES = 12
_PIECE = 65_536


class LocalRefused(Exception):
    """This model will not be served here, however often it is tried: `args[0]` says why and what to do."""


@attrs.frozen
class _Said:
    """The last lines of what the engine said, and whether that was all."""

    lines: deque[str] = attrs.field(factory=lambda: deque(maxlen=_LINES))
    whole: trio.Event = attrs.field(factory=trio.Event)


@attrs.frozen(kw_only=True)
class ServerProcess:
    """A server that answers. `model` is the digest of the file it serves."""

    process: trio.Process
    base_url: str
    uds: str | None
    key: str = attrs.field(repr=False)
    model: str
    engine: str
    started_in: Seconds
    _said: _Said = attrs.field(repr=False)

    async def wait_ended(self) -> str:
        """Wait until the process has ended by itself, and say how it died."""
        await wait_ended(self.process)
        return await _death(self.process, self._said)


@asynccontextmanager
async def open_server(settings: LocalSettings, nursery: trio.Nursery) -> AsyncGenerator[ServerProcess, None]:
    """Serve the model for the length of the block; `nursery` gets the task that reads what the engine says.

    However the block ends, the process has ended after it: politely within `FAREWELL` seconds, else killed with
    everything it has started.

    Raises:
        LocalRefused: trying again would end the same way: no engine, no such file, not the pinned one, not a model,
            or a processor that the engine was not built for.
        ModelUnavailable: it ended, or was not ready in time; next time may be better.
    """
    key, began = secrets.token_hex(32), trio.current_time()
    pipe = subprocess.PIPE
    command: list[str | Path] = [sys.executable, "-P", _CHILD]
    said = _Said()
    with _Place(settings) as place:
        host = str(place / _SOCKET) if place is not None else "127.0.0.1"
        request = json.dumps(_request(settings, host)).encode() + b"\n"
        env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        env |= {**settings.environment, KEY: key}
        async with open_session(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
            nursery.start_soon(_listen, process, said)
            try:
                ready = await _first_answer(process, request, settings, said)
                yield ServerProcess(
                    process=process,
                    base_url="http://local" if place is not None else str(ready["address"]),
                    uds=host if place is not None else None,
                    key=key,
                    model=str(ready["sha256"]),
                    engine=str(ready["engine"]),
                    started_in=trio.current_time() - began,
                    said=said,
                )
            finally:
                await _end(process)


def _request(settings: LocalSettings, host: str) -> dict[str, object]:
    return {
        "gguf": str(settings.gguf.expanduser().resolve()),
        "sha256": settings.sha256,
        "host": host,
        "threads": settings.threads,
        "slots": settings.slots,
        "context": settings.context,
        "cache_ram_mb": settings.cache_ram_mb,
        "prefixes": None if settings.prefixes is None else str(settings.prefixes),
    }


# ------------------------------------------------------------------ beginning
async def _first_answer(
    process: trio.Process, request: bytes, settings: LocalSettings, said: _Said
) -> Mapping[str, object]:
    assert process.stdin is not None  # noqa: S101 - it was asked for
    answer: dict[str, dict[str, object]] | None = None
    with trio.move_on_after(settings.start_timeout) as patience:
        with suppress(trio.BrokenResourceError):  # it died before it had read that; how is found out below
            await process.stdin.send_all(request)
        answer = _read(await _line(process))
        if answer is None:
            await wait_ended(process)
    if patience.cancelled_caught:
        raise ModelUnavailable(
            f"the local model {settings.gguf.name} was not ready within {settings.start_timeout:g} s. "
            "Raise local_llm.start_timeout, or use a smaller model."
        )
    if answer is None:
        how = await _death(process, said)
        if process.returncode == -signal.SIGILL:
            raise LocalRefused(illegal(how))
        raise ModelUnavailable(f"the local model's server {how} before it was ready.")
    if "refused" in answer:
        await wait_ended(process)  # it ends at once; its last words are to be read
        with trio.move_on_after(1.0):
            await said.whole.wait()
        refused = answer["refused"]
        words = f" ({'; '.join(tuple(said.lines)[-3:])})" if refused["kind"] == "model" and said.lines else ""
        raise LocalRefused(f"{refused['message']}{words}")
    return answer["ready"]


def illegal(how: str) -> str:
    """What to say when the engine met an instruction that this processor lacks."""
    return (
        f"the local model's server {how}: its engine needs a processor of 2013 or later (AVX2, FMA, F16C). "
        "Serve the model with another program that speaks the OpenAI protocol, and set llm.base_url."
    )


async def _line(process: trio.Process) -> bytes:
    """The first line, or what there was of it when the pipe was closed."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    line = bytearray()
    while b"\n" not in line and (piece := await process.stdout.receive_some(_PIECE)):
        line += piece
    return bytes(line)


def _read(line: bytes) -> dict[str, dict[str, object]] | None:
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    known = isinstance(answer, dict) and ("ready" in answer or "refused" in answer)
    return answer if known else None


async def _listen(process: trio.Process, said: _Said) -> None:
    """What the engine says goes to the log; its last lines are kept for the one who asks why it died."""
    assert process.stderr is not None  # noqa: S101 - it was asked for
    rest = b""
    with suppress(trio.ClosedResourceError):  # whoever ended the process has closed it
        while piece := await process.stderr.receive_some(_PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-_PIECE:]
            for line in lines:
                text = line.decode("utf-8", "replace").strip()[:500]
                if text:
                    said.lines.append(text)
                    log.debug("[LOCAL] %s", text)
    said.whole.set()


# ------------------------------------------------------------------ end
async def _end(process: trio.Process) -> None:
    """Close the life line and give the process a moment. What is left then is killed by whoever started it."""
    assert process.stdin is not None  # noqa: S101 - it was asked for
    with trio.move_on_after(FAREWELL, shield=True):
        await process.stdin.aclose()
        if process.returncode is None:
            await wait_ended(process)


async def _death(process: trio.Process, said: _Said) -> str:
    """How it ended, after it has; with the last thing it said."""
    with trio.move_on_after(FAREWELL):
        await process.wait()
    code = process.returncode
    if code is None:
        how = "closed its answers without ending"
    elif code >= 0:
        how = f"ended with exit code {code}"
    else:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        who = " (by somebody, or by the system because memory ran out)" if name == "SIGKILL" else ""
        how = f"was killed by {name}{who}"
    return f"{how}; it said last: {said.lines[-1]}" if said.lines else how


# ------------------------------------------------------------------ place
class _Place:
    """A directory for the socket that only we can enter; None where a socket cannot be."""

    def __init__(self, settings: LocalSettings) -> None:
        self._wanted = settings.socket and sys.platform != "win32"
        self._made: Path | None = None

    def __enter__(self) -> Path | None:
        if self._wanted:
            _sweep()
            self._made = Path(tempfile.mkdtemp(prefix=f"{_PLACE}{os.getpid()}-"))
            if len(os.fsencode(self._made / _SOCKET)) > LONGEST_PATH:
                self.__exit__()
                return None
        return self._made

    def __exit__(self, *_: object) -> None:
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)


def _sweep() -> None:
    """Remove the directories of processes that were killed before they could do so themselves."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PLACE}*-*"):
        owner = left.name.removeprefix(_PLACE).split("-")[0]
        try:
            if owner.isdecimal() and left.stat().st_uid == os.getuid():
                os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue  # somebody else's, or gone meanwhile
