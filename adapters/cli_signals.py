"""Running a command until it ends or a signal asks it to: Ctrl-C is a cancellation like any other.

trio's own answer to Ctrl-C is a KeyboardInterrupt in the main task, wherever that is. Cancelling the command's scope
instead lets actors, tools and child processes go down in their order; the exit code says afterwards what it was. A
second Ctrl-C goes to trio's own handler, for whoever cannot wait.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from .cli_exit import ExitCode, Interrupted, only

T = TypeVar("T")

_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


def run_until_signalled(command: Callable[[], Awaitable[T]]) -> T:
    """Run `command` on trio and give what it gives; what it raises comes out as itself.

    Raises:
        Interrupted: SIGINT or SIGTERM came before it had ended; everything it had begun has been stopped.
    """
    return trio.run(_guarded, command)


async def _guarded(command: Callable[[], Awaitable[T]]) -> T:
    # Who started us with a signal ignored (`nohup`, a shell's background job) wants it ignored.
    wanted = [number for number in _CODES if signal.getsignal(number) is not signal.SIG_IGN]
    caught: list[signal.Signals] = []
    ended: list[T | Exception] = []
    group: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            if wanted:
                await nursery.start(_watch, wanted, caught, nursery.cancel_scope)
            try:
                ended.append(await command())
            except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery's group
                ended.append(error)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as mixed:  # an error on the way down, beside the cancellation; or a second Ctrl-C
        group = mixed
    if group is not None or not ended or isinstance(ended[0], Exception):
        trouble = group or (ended[0] if ended and isinstance(ended[0], Exception) else None)
        if caught:
            raise Interrupted(_CODES[caught[0]], caught[0].name) from trouble
        raise only(trouble) if trouble is not None else RuntimeError("the command was cancelled by nobody")
    return ended[0]


async def _watch(
    wanted: list[signal.Signals],
    caught: list[signal.Signals],
    scope: trio.CancelScope,
    task_status: trio.TaskStatus[None],
) -> None:
    with trio.open_signal_receiver(*wanted) as signals:
        task_status.started()
        async for number in signals:
            caught.append(signal.Signals(number))
            break
    scope.cancel(reason=f"the process was sent {caught[0].name}")
