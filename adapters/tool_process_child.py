"""The inside of a tool's process: one request, one call, one answer.

Run by path by `tool_process`, so that it can limit itself before it imports anything big. The first line of stdin is
the request; stdin then stays open as long as whoever asked lives, and its end is ours. Answers are lines of JSON on
what was stdout; the tool itself finds stderr there, so that whatever it prints is no answer.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import resource
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

_MB = 1024 * 1024
_PROGRESS = 4000
_TRACEBACK = 8000


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.buffer.readline())
    # A new number, closed when another program is started: no grandchild can hold on to it or write to it.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    waiting = os.fdopen(os.dup(0), "rb", buffering=0)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - its number is wanted, not its path
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_end_with_parent, args=(waiting,), daemon=True).start()
    _limit(request["limits"])
    lock = threading.Lock()

    def send(answer: dict[str, object]) -> None:
        with lock, contextlib.suppress(BrokenPipeError):
            _write_all(answers, _line(answer))

    try:
        answer: dict[str, object] = {"result": _call(request, lambda text: send({"progress": str(text)[:_PROGRESS]}))}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
        answer = {"error": _described(error, request["tool"])}
    send(answer)
    with contextlib.suppress(Exception):  # what it has printed may not be writable any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)  # without waiting for threads that the tool has left


def _line(answer: dict[str, object]) -> bytes:
    return json.dumps(answer, ensure_ascii=False, allow_nan=False).encode(errors="replace") + b"\n"


def _write_all(to: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[to.write(view) :]


def _end_with_parent(waiting: IO[bytes]) -> None:
    """When nobody is left who could kill us, with what we have started, we do it ourselves."""
    while waiting.read(1):
        pass
    os.killpg(0, signal.SIGKILL)


def _limit(limits: dict[str, int]) -> None:
    for kind, wanted in (
        (resource.RLIMIT_AS, limits["memory_mb"] * _MB),
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, limits["file_mb"] * _MB),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # a system that does not know this limit
            # Processor time: a second between the signal that says why and the one that cannot be caught.
            resource.setrlimit(kind, (most, most + 1 if kind == resource.RLIMIT_CPU else most))


def _call(request: dict[str, Any], progress: Callable[[str], None]) -> object:
    sys.path[:] = request["path"]
    import attrs
    import trio

    from trouper.actors.tool import Tool, ToolContext, tool
    from trouper.actors.tool_place import ToolPlace
    from trouper.runtime import ToolError

    try:
        found = _find(request["module"], request["main"], request["qualname"])
        made = found if isinstance(found, Tool) else tool(name=request["tool"], isolation="task")(found)
    except (Exception, SystemExit) as error:
        # SystemExit too: a script that was meant to be run ends itself when it is imported.
        why = f"{request['tool']} cannot be found in its process: {type(error).__name__}: {error}"
        raise ToolError(why, effect=False, retry_possible=False) from error
    here = attrs.evolve(made, name=request["tool"], isolation="task", max_concurrency=None)

    async def run() -> object:
        given = request["context"] or {}
        left = given.pop("left", None)
        deadline = float("inf") if left is None else trio.current_time() + left
        ctx = ToolContext(**given, deadline=deadline, progress=progress)
        return await here.call(request["parameters"], ctx, ToolPlace(block_limit=float("inf")))

    return trio.run(run)


def _find(module: str, main: str | None, qualname: str) -> Any:
    """The tool or its function, by the name under which it was defined."""
    if main is not None:
        # A script: run once more under another name, as multiprocessing does, so that its `__main__` part is not.
        found: Any = runpy.run_path(main, run_name="__mp_main__")[qualname.split(".")[0]]
        names = qualname.split(".")[1:]
    else:
        found = importlib.import_module(module)
        names = qualname.split(".")
    for name in names:
        found = getattr(found, name)
    return found


def _described(error: BaseException, tool: str) -> dict[str, object]:
    """An error as data."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    over = ""
    if any(isinstance(e, MemoryError) for e in causes):
        over = "memory_mb"
    elif any(isinstance(e, OSError) and e.errno == errno.EFBIG for e in causes):
        over = "file_mb"
    return {
        "kind": getattr(error, "kind", "tool_error"),
        "message": str(error) if hasattr(error, "kind") else f"{tool} raised {type(error).__name__}: {error}",
        "effect": getattr(error, "effect", None),
        "retry_possible": getattr(error, "retry_possible", True),
        "over": over,
        "traceback": "".join(traceback.format_exception(error))[-_TRACEBACK:],
    }


if __name__ == "__main__":
    main()
