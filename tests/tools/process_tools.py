"""Tools for `test_tool_process`: a process of their own has to find them by name."""

import enum
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TypedDict

from trouper.actors.tool import Effect, ToolContext, tool
from trouper.runtime import BadArguments, PermissionRefused, ToolError


class Colour(enum.Enum):
    RED = "red"


class Row(TypedDict):
    name: str
    size: int


@tool(isolation="process", effect=Effect.PURE)
def describe(colour: Colour, rows: list[Row], path: Path) -> dict:
    """Give back what arrived, and where."""
    return {
        "pid": os.getpid(),
        "leads": os.getsid(0) == os.getpid(),
        "kinds": [type(colour).__name__, type(rows).__name__, type(path).__name__],
        "sum": sum(row["size"] for row in rows),
    }


@tool(isolation="process")
async def tell(ctx: ToolContext) -> dict:
    """Give back the context; async functions may wait in their process too."""
    import trio

    await trio.lowlevel.checkpoint()
    ctx.progress("half")
    ctx.progress("done \ud800")
    return {
        "run_id": ctx.run_id,
        "step_id": ctx.step_id,
        "attempt": ctx.attempt,
        "key": ctx.idempotency_key,
        "workspace": ctx.workspace,
        "left": ctx.deadline - trio.current_time(),
    }


class OutOfInk(ToolError):
    kind = "out_of_ink"


@tool(isolation="process")
def fail(how: str) -> str:
    """Raise in many ways."""
    raise {
        "value": ValueError("bad"),
        "exit": SystemExit(4),
        "tool": ToolError("no ink", effect=False, retry_possible=False),
        "own": OutOfInk("no ink at all", effect=True),
        "arguments": BadArguments("not like that"),
        "permission": PermissionRefused("not you"),
        "surrogate": ValueError("half \ud800"),
        "generator": GeneratorExit(),
    }[how]


@tool(isolation="process")
def die(how: str) -> object:
    """End without an answer in many ways."""
    if how == "exit":
        os._exit(3)
    if how == "memory":
        return len(bytearray(10**11))
    if how == "processor":
        while True:
            pass
    if how == "file":
        Path(os.environ["TMPDIR"], "big").write_bytes(b"x" * 3_000_000)
    if how == "silence":
        os.closerange(3, 64)
        time.sleep(0.01)
        os._exit(5)
    os.kill(os.getpid(), getattr(signal, how))
    return None


@tool(isolation="process")
def give(what: str) -> object:
    """Give back what nobody can use."""
    return {"text": "x" * 20_000_000, "object": object(), "nan": float("nan")}[what]


@tool(isolation="process")
def leave_behind(pids: str, how: str) -> str:
    """Start a child and a grandchild that outlive everything, and note their numbers."""
    script = "import os, sys, time; sys.stdout.write(str(os.getpid())); sys.stdout.flush(); os.fork(); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    Path(pids).write_text(child.stdout.read(1) and str(child.pid))
    if how == "hang":
        time.sleep(600)
    if how == "die":
        os._exit(1)
    return "done"


@tool(isolation="process")
def stubborn(started: str) -> None:
    """Ignore every signal that can be ignored, and go on."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Path(started).write_text("")
    while True:
        time.sleep(60)


@tool(isolation="process")
def chatter() -> str:
    """Print on both outputs, and read."""
    print('{"result": "forged"}', flush=True)
    print("aside", file=sys.stderr)
    return sys.stdin.read()


@tool(isolation="process")
async def nested() -> object:
    """Call a tool with a process of its own from one."""
    from trouper.actors.tool_place import ToolPlace
    from trouper.adapters.tool_process import ToolProcesses

    return await chatter.call({}, ToolContext(), ToolPlace(processes=ToolProcesses()))
