"""Ctrl-C in the middle: everything gone, the right exit code, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.io

TOOLS = """\
import time
from pathlib import Path
import trio
import trouper

@trouper.tool
async def with_a_child() -> str:
    "Wait for a child that would take five minutes."
    await trio.run_process(["sh", "-c", "echo $$ > child.pid; exec sleep 300"])
    return "done"

@trouper.tool
def in_a_thread() -> str:
    "Block for a minute."
    Path("thread.started").touch()
    time.sleep(60)
    return "done"

tools = [with_a_child, in_a_thread]
"""
PLAN = [
    {"id": 1, "action": "with_a_child"},
    {"id": 2, "action": "in_a_thread"},
    {"id": 3, "action": "write_file", "parameters": {"path": "result.md", "content": "$step1"}},
]
PATIENCE = 120.0


def wait_for(*files) -> None:
    end = time.monotonic() + PATIENCE
    while not all(f.exists() and (f.stat().st_size or f.suffix == ".started") for f in files):
        assert time.monotonic() < end, "the tools were never started"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


@pytest.fixture
def running(user):
    """A run in the middle of its first level, and the pid of its tool's child."""
    (user.cwd / "my_tools.py").write_text(TOOLS)
    (user.cwd / "plan.json").write_text(json.dumps(PLAN))
    process = user.start("exec", "plan.json", "--tools", "my_tools:tools", "--json", ctrl_c="SIG_DFL")
    try:
        wait_for(user.cwd / "child.pid", user.cwd / "thread.started")
        yield process, int((user.cwd / "child.pid").read_text())
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_everything_and_is_the_exit_code(user, running, number, code):
    process, child = running

    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == code
    assert out == b""
    assert number.name.encode() in err
    assert b"Traceback" not in err
    assert not is_alive(child)
    assert not (user.cwd / "result.md").exists()
    assert sorted(p.name for p in user.cwd.iterdir() if p.name != "__pycache__") == [
        "child.pid", "my_tools.py", "plan.json", "thread.started",
    ]  # fmt: skip


def test_an_impatient_second_ctrl_c_makes_no_traceback(running):
    process, child = running

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert b"Traceback" not in err
    assert not is_alive(child)


def test_ctrl_c_is_left_alone_where_whoever_started_us_ignores_it(user):
    """As in a shell's background job: the run goes on to its end."""
    (user.cwd / "short.py").write_text(
        "import os, signal, trio, trouper\n"
        "@trouper.tool\n"
        "async def interrupt() -> str:\n"
        "    'Press Ctrl-C.'\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    await trio.sleep(0.1)\n"
        "    return 'still here'\n"
    )
    (user.cwd / "plan.json").write_text('[{"id": 1, "action": "interrupt"}]')

    process = user.start("exec", "plan.json", "--tools", "short:interrupt", "--quiet", ctrl_c="SIG_IGN")
    out, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert b"still here" in out


@pytest.mark.skipif(not Path("/proc/self/syscall").exists(), reason="shows when a process waits for input")
def test_ctrl_c_while_goals_are_read_is_130(user):
    process = user.start("run", "-", stdin=subprocess.PIPE, ctrl_c="SIG_DFL")
    process.stdin.write(b"What is 2+3?\n")
    process.stdin.flush()
    wait_until_reading(process.pid)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


def wait_until_reading(pid: int) -> None:
    """Until the process sleeps in the read of its standard input."""
    end = time.monotonic() + PATIENCE
    while True:
        assert time.monotonic() < end, "it never read its standard input"
        with open(f"/proc/{pid}/syscall") as file:  # noqa: PTH123 - read at once
            words = file.read().split()
        if words[:2] == ["0", "0x0"]:
            return
        time.sleep(0.02)
