"""The model server in a process of its own, as the test that started it sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from trouper.runtime import Seconds, TrouperError

from .model_server import Served, ServerStatistics
from .model_server_law import RateLaw
from .model_server_script import ServerRule, rules_to_json
from .model_server_times import ModelTime, Network

STARTING: Seconds = 60.0
"""Half a second alone; a machine that has much else to do was seen to take twenty."""
ANSWERING: Seconds = 10.0
ENDING: Seconds = 3.0
"""How long the process may take to end by itself, before it is killed."""

_LONGEST = 256 << 20


class ServerProcessFailed(TrouperError):
    """The server's process did not start, or ended, or does not answer."""

    kind = "server_process"


class ModelServerProcess:
    """A `ModelServer` in a process of its own, for the length of an `async with` block.

    The arguments are those of `ModelServer`, except that what it answers are rules, the first of which that fits
    answers: no function can be given to another process. It ends with the block, and with this process however that
    ends.
    """

    def __init__(
        self,
        rules: Iterable[ServerRule] = (),
        *,
        api_key: str | None = None,
        dim: int = 32,
        port: int = 0,
        network: Network | None = None,
        model_time: ModelTime | None = None,
        law: RateLaw | None = None,
        seed: int = 0,
    ) -> None:
        self.base_url: str = ""
        self.ca_file: Path | None = None
        self.network: Network = network if network is not None else Network()
        self._rules = tuple(rules)
        law = law if law is not None else RateLaw()
        self._options: dict[str, object] = {
            "api_key": api_key,
            "dim": dim,
            "port": port,
            "seed": seed,
            **attrs.asdict(self.network),
            **attrs.asdict(model_time if model_time is not None else ModelTime()),
            **{"law" if name == "kind" else name: value for name, value in attrs.asdict(law).items()},
        }
        self._open = AsyncExitStack()
        self._process: trio.Process | None = None
        self._line = bytearray()

    async def __aenter__(self) -> Self:
        """Start the process. Returns when connections are accepted.

        Raises:
            ServerProcessFailed: it did not start; its standard error says why.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._running())
            ready = await self._read(STARTING)
            self.base_url = str(ready["base_url"])
            self.ca_file = Path(ready["ca_file"]) if ready["ca_file"] else None
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """End the process. Cancelled: it is ended all the same."""
        return await self._open.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None, None]:
        with tempfile.TemporaryDirectory(prefix="trouper-rules-") as folder:
            if self._rules:
                file = Path(folder) / "rules.json"
                file.write_text(rules_to_json(self._rules), encoding="utf-8")
                self._options["script"] = file
            command = [sys.executable, "-m", "trouper.adapters.model_server_process", "--lifeline"]
            process = await trio.lowlevel.open_process(
                [*command, *_arguments(self._options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._process = process
            try:
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await _end(process)

    # ------------------------------------------------------------ asking it
    async def statistics(self) -> ServerStatistics:
        """Its counters."""
        return ServerStatistics(**await self._ask("statistics"))

    async def served(self) -> list[Served]:
        """What it has answered, in order; at most the latest 10,000."""
        return [Served(**one) for one in await self._ask("served")]

    async def reset(self) -> None:
        """Forget what was counted, under the law too, and what the model knows; connections and rules stay."""
        await self._ask("reset")

    async def _ask(self, order: str) -> Any:
        process = self._process
        assert process is not None  # noqa: S101 - asked inside the block only
        assert process.stdin is not None  # noqa: S101 - it was asked for
        try:
            await process.stdin.send_all(f"{order}\n".encode())
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise await _gone(process) from error
        return await self._read(ANSWERING)

    async def _read(self, seconds: Seconds) -> Any:
        """The next line of its standard output."""
        process = self._process
        assert process is not None  # noqa: S101 - read inside the block only
        assert process.stdout is not None  # noqa: S101 - it was asked for
        with trio.move_on_after(seconds):
            while (end := self._line.find(b"\n")) < 0 and len(self._line) < _LONGEST:
                piece = await process.stdout.receive_some(1 << 20)
                if not piece:
                    raise await _gone(process)
                self._line += piece
            line = bytes(self._line[:end])
            del self._line[: end + 1]
            return json.loads(line)
        raise ServerProcessFailed(f"the model server's process {process.pid} did not answer within {seconds:g} s")


async def _gone(process: trio.Process) -> ServerProcessFailed:
    with trio.move_on_after(1.0):  # it closes its output some instants before it ends
        await process.wait()
    code = process.returncode
    how = "closed its output" if code is None else f"ended with exit code {code}"
    return ServerProcessFailed(f"the model server's process {how}; its standard error says why")


async def _end(process: trio.Process) -> None:
    """Close its lifeline, wait for its end, kill it if that does not come."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await trio.aclose_forcefully(stream)
    with trio.move_on_after(ENDING):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


def _arguments(options: Mapping[str, object]) -> Iterator[str]:
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            yield flag
        elif value is not None and value is not False:
            yield f"{flag}={value}"
