"""Child processes for tools: in a session of their own, ended as a group.

`trio.run_process` kills the process that it has started when it is cancelled, and leaves that one's own children
running. Here the child leads a new session, and at the end of the block, however it comes, the whole group is killed:
children, their children, and what they left in the background. Only what has made itself yet another session escapes.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

from trouper.runtime import BadResult

_REAPING = 5.0
_DRAINING = 1.0
_PIECE = 65_536


@asynccontextmanager
async def open_session(
    command: Sequence[str | Path],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
    stderr: int | None = None,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[trio.Process]:
    """Start `command` in a session of its own; it ends with the block, and so do all its descendants.

    Cancelled, or when the block ends or raises: the group is killed at once and its leader is waited for, five seconds
    at the most (a process inside a system call of a dead disk cannot even be killed).

    Raises:
        OSError: it cannot be started.
    """
    process = await trio.lowlevel.open_process(
        list(command), stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env, start_new_session=True
    )
    try:
        yield process
    finally:
        kill_session(process)
        with trio.move_on_after(_REAPING, shield=True):
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    await trio.aclose_forcefully(stream)
            await process.wait()


def kill_session(process: trio.Process) -> None:
    """Kill the process and every process of its session that has made none of its own. Idempotent."""
    # Before the leader is reaped: until then its number belongs to nobody else.
    if process._proc.returncode is None:
        with suppress(ProcessLookupError, PermissionError):  # the latter: macOS, of a group that has ended
            os.killpg(process.pid, signal.SIGKILL)


async def wait_ended(process: trio.Process) -> None:
    """Wait until the process has ended, without reaping it: the number of its group stays its own."""
    if not hasattr(os, "pidfd_open"):
        await process.wait()
        return
    handle = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(handle)
    finally:
        trio.lowlevel.notify_closing(handle)
        os.close(handle)


@attrs.frozen(kw_only=True)
class Finished:
    """What became of a command."""

    returncode: int
    """The exit code; negative: the signal that ended it."""
    stdout: bytes
    stderr: bytes


async def run_in_session(
    command: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    max_output: int = 10_000_000,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run `command` to its end and give what it printed. When it ends, what it left running is killed.

    Cancelled: it is killed with all its descendants before this returns.

    Raises:
        OSError: it cannot be started.
        BadResult: it printed more than `max_output` bytes on one of its outputs; it was killed.
    """
    out, err = bytearray(), bytearray()
    pipe = subprocess.PIPE
    async with open_session(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd, env=env) as process:
        with trio.CancelScope() as reading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_feed, process, stdin)
                nursery.start_soon(_read, process.stdout, out, max_output, reading)
                nursery.start_soon(_read, process.stderr, err, max_output, reading)
                await wait_ended(process)
                kill_session(process)
                reading.deadline = trio.current_time() + _DRAINING  # an escaped descendant may hold the pipes
        if max(len(out), len(err)) > max_output:
            raise BadResult(f"{command[0]} printed more than {max_output:,} bytes and was stopped")
    return Finished(returncode=process.returncode or 0, stdout=bytes(out), stderr=bytes(err))


async def _feed(process: trio.Process, data: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - it was asked for
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it did not want all of it
        async with process.stdin:
            await process.stdin.send_all(data)


async def _read(stream: trio.abc.ReceiveStream | None, into: bytearray, most: int, scope: trio.CancelScope) -> None:
    assert stream is not None  # noqa: S101 - the same
    while piece := await stream.receive_some(_PIECE):
        into += piece
        if len(into) > most:
            scope.cancel()
            return
