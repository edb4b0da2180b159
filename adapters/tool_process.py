"""Tools in processes of their own, with limits: `ToolProcesses` is the `ProcessHost` of a troupe.

Each call starts an interpreter, in a session of its own, which imports the function by its name, calls it and answers
in JSON. So a tool may leak, crash, exit, ignore every signal or leave children behind: the process is killed as a group
when its call ends, is late or is cancelled, and a death without an answer is a `ToolDied` that says how it died.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from trouper.actors.protocols import Json, ProcessCall
from trouper.actors.tool_children import open_session, wait_ended
from trouper.runtime import BadArguments, BadResult, PermissionRefused, ToolDied, ToolError

from .config_model import ProcessLimits

_CHILD = Path(__file__).with_name("tool_process_child.py")
_INSIDE = "TROUPER_TOOL_PROCESS"
_LONGEST = 64_000_000
_SHORT = 262_144
_PIECE = 65_536
_DRAINING = 1.0
_LIMITS = {"memory_mb": "memory", "cpu_seconds": "processor time", "file_mb": "file size"}


@attrs.frozen
class ToolProcesses:
    """Runs each call in a new interpreter within `limits`."""

    limits: ProcessLimits = attrs.field(factory=ProcessLimits)

    async def run(self, call: ProcessCall) -> Json:
        """Run the function of `call` in a process of its own and give its result.

        Cancelled: the process and all that it has started are killed before this returns.

        Raises:
            ToolError: what the function raised, of the same kind, with the traceback as a note.
            ToolDied: it ended without an answer, or went over its memory: killed, crashed, exited.
            BadResult: its answer is longer than 64 MB, or none that it may give.
        """
        if _INSIDE in os.environ:
            raise ToolError(
                f"{call.tool}: a tool in a process of its own cannot start another one. If a script started this by "
                "being imported, put what it runs under `if __name__ == '__main__':`",
                effect=False,
            )
        request = json.dumps(self._request(call), ensure_ascii=False).encode(errors="surrogatepass") + b"\n"
        env = {**os.environ, _INSIDE: "1"}
        pipe = subprocess.PIPE
        async with open_session([sys.executable, "-P", _CHILD], stdin=pipe, stdout=pipe, env=env) as process:
            answer = await _converse(process, call, request)
            if answer is None:
                with trio.move_on_after(_DRAINING):  # so that it has died its own death, and not the one at the end
                    await wait_ended(process)
        if answer is None:
            raise ToolDied(f"{call.tool} {self._death(process.returncode)}")
        if "result" in answer:
            result: Json = answer["result"]
            return result
        raise self._error(call.tool, answer["error"])

    def _request(self, call: ProcessCall) -> dict[str, object]:
        module, main = _module_of(call.function)
        ctx = call.context
        context: dict[str, object] | None = None
        if ctx is not None:
            left = None if ctx.deadline == math.inf else ctx.deadline - trio.current_time()
            context = {
                "run_id": ctx.run_id,
                "step_id": ctx.step_id,
                "attempt": ctx.attempt,
                "idempotency_key": ctx.idempotency_key,
                "workspace": ctx.workspace,
                "left": left,
            }
        return {
            "path": [place for place in sys.path if isinstance(place, str)],
            "module": module,
            "main": main,
            "qualname": call.function.__qualname__,
            "tool": call.tool,
            "parameters": call.parameters,
            "context": context,
            "limits": attrs.asdict(self.limits),
        }

    def _death(self, returncode: int | None) -> str:
        if returncode is None:
            return "cannot be killed: it hangs inside the operating system"
        if returncode >= 0:
            return f"ended its process with exit code {returncode} and without a result"
        if -returncode == signal.SIGXCPU:
            return f"was killed: {self._over('cpu_seconds')}"
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        who = " (by somebody, or by the system because memory ran out)" if name == "SIGKILL" else ""
        return f"was killed by {name}{who}"

    def _over(self, limit: str) -> str:
        unit = "s" if limit == "cpu_seconds" else "MB"
        return f"it went over its {_LIMITS[limit]} of {getattr(self.limits, limit)} {unit} (tools.process.{limit})"

    def _error(self, tool: str, told: Mapping[str, Any]) -> ToolError:
        message, over = str(told["message"]), str(told["over"])
        if over:
            message = f"{message or tool}: {self._over(over)}"
        error = _of_kind("tool_died" if over == "memory_mb" else str(told["kind"]), message, told)
        error.add_note(f"in the process of {tool}:\n{told['traceback']}")
        return error


def _of_kind(kind: str, message: str, told: Mapping[str, Any]) -> ToolError:
    if kind == BadArguments.kind:
        return BadArguments(message)
    if kind == PermissionRefused.kind:
        return PermissionRefused(message)
    made = {BadResult.kind: BadResult, ToolDied.kind: ToolDied}.get(kind, ToolError)
    error = made(message, effect=told["effect"], retry_possible=bool(told["retry_possible"]))
    error.kind = kind  # a kind of the author's own stays what it is
    return error


def _module_of(function: object) -> tuple[str, str | None]:
    """The module to import, or the script to run, in which `function` is found."""
    module: str = function.__module__
    if module != "__main__":
        return module, None
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name, None
    return module, str(Path(str(main.__file__)).resolve())


async def _converse(process: trio.Process, call: ProcessCall, request: bytes) -> Mapping[str, Any] | None:
    """Ask, pass progress on, and give the answer; None if the process ended without one."""
    conversation = _Conversation(process, call)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, process, nursery.cancel_scope)
        await conversation.hold(request)
        nursery.cancel_scope.cancel()
    return await conversation.answer()


async def _watch(process: trio.Process, scope: trio.CancelScope) -> None:
    """End the conversation when the process has: a descendant may hold its pipe open."""
    await wait_ended(process)
    scope.deadline = trio.current_time() + _DRAINING


class _Conversation:
    """What is said between us and one process."""

    def __init__(self, process: trio.Process, call: ProcessCall) -> None:
        self._process = process
        self._call = call
        self._line = bytearray()
        self._last: bytes | None = None
        self._too_long = False

    async def hold(self, request: bytes) -> None:
        """Send the request and read until the answer has come, or nothing can come any more."""
        to, back = self._process.stdin, self._process.stdout
        assert to is not None  # noqa: S101 - it was asked for
        assert back is not None  # noqa: S101 - the same
        with suppress(trio.BrokenResourceError):  # it died before it had read everything; that is found out below
            await to.send_all(request)
        while piece := await back.receive_some(_PIECE):
            self._line += piece
            while (end := self._line.find(b"\n")) >= 0:
                line = bytes(self._line[:end])
                del self._line[: end + 1]
                if not line.startswith(b'{"progress"'):
                    self._last = line
                    return
                if self._call.context is not None:
                    self._call.context.progress(str(json.loads(line)["progress"]))
            if len(self._line) > _LONGEST:
                self._too_long = True
                return

    async def answer(self) -> Mapping[str, Any] | None:
        """The answer as data.

        Raises:
            BadResult: it is too long, or no JSON.
        """
        if self._too_long:
            raise BadResult(f"the process of {self._call.tool} answered with more than {_LONGEST:,} bytes")
        if self._last is None:
            return None
        try:
            if len(self._last) < _SHORT:
                answer = json.loads(self._last)
            else:  # in a thread: it would hold up the loop
                answer = await trio.to_thread.run_sync(json.loads, self._last)
        except ValueError as error:
            raise BadResult(f"the process of {self._call.tool} gave an answer that is no JSON: {error}") from error
        return answer if isinstance(answer, dict) and answer.keys() & {"result", "error"} else None
