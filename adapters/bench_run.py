"""How a bench is run: record the calls, run the rows in processes of their own, work out the bound.

Rows that wait nearly all of their time (one call after another) are run side by side, or the bench would take the sum
of what it shows to be slow; the rows that are quick are run one at a time, alone on the machine.
"""

from __future__ import annotations

import contextlib
import functools
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from trouper.runtime import TrouperError

from .bench_gathered import stages
from .bench_ideal import critical_path
from .bench_record import RecordedGoal, near, record, sort_out
from .bench_report import Line, Report
from .bench_row import Measured, server_for
from .bench_setting import ALL_OFF, QUICK, Row, Setting, headline_rows, rows_with_only, rows_without
from .cli_signals import run_until_signalled

Tell = Callable[[str], None]

TIMES = 3
"""How often the row that the figures are about is run."""


class BenchFailed(TrouperError):
    """A row's process ended without its figures; its standard error says why."""

    kind = "bench"


def run_bench(tell: Tell, *, quick: bool) -> Report:
    """Run all of it and report; `tell` hears a line whenever something is done.

    Interrupted by a signal: everything that it had started is ended.

    Raises:
        BenchFailed: a row could not be measured.
        Interrupted: SIGINT or SIGTERM came.
        ServerProcessFailed: a server did not start.
    """
    setting = QUICK if quick else Setting()
    rows = [*headline_rows(1 if quick else TIMES), *rows_without()]
    if not quick:
        rows += rows_with_only()
    try:
        recorded, lines = run_until_signalled(functools.partial(_measure, setting, rows, tell, quick=quick))
    except BaseExceptionGroup as group:
        raise first_of(group) from group
    return Report(
        setting=setting,
        lines=tuple(lines[row.name] for row in rows),
        unlimited=critical_path(recorded, setting, limited=False),
        limited=critical_path(recorded, setting, limited=True),
        kinds=setting.kinds,
        quick=quick,
    )


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Several rows side by side may fail of the same cause: one of them says it; `group` if there is anything else."""
    failures, others = group.split(TrouperError)
    error: BaseException | None = failures if others is None else None
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return group if error is None else error


async def _measure(
    setting: Setting,
    rows: Sequence[Row],
    tell: Tell,
    *,
    quick: bool,
) -> tuple[list[RecordedGoal], dict[str, Line]]:
    recorded: list[RecordedGoal] = []
    lines: dict[str, Line] = {}

    async def recording() -> None:
        async with near(setting) as server:
            recorded.extend(sort_out(setting, await record(setting, server)))
        tell(f"recorded the calls of {len(recorded)} goals")

    async def troupes(some: Sequence[Row], beside: int) -> None:
        measured = await _troupes(setting, [row for row in some for _ in range(row.times)])
        for row in some:
            its = sorted((m for m in measured if m.name == row.name), key=lambda m: m.total_s)
            totals = tuple(m.total_s for m in measured if m.name == row.name)
            lines[row.name] = Line(row=row, measured=its[len(its) // 2], totals=totals, beside=beside)
            tell(f"{row.name}: {statistics.median(totals):.2f} s")

    troupe_rows = [row for row in rows if row.program == "troupe"]
    slow = [row for row in troupe_rows if row.waits or row.name == ALL_OFF]
    alone = [row for row in troupe_rows if row not in slow]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recording)
        if quick:  # what changes is to be seen, not by how much: everything at the same time
            nursery.start_soon(troupes, slow, 2)
            nursery.start_soon(troupes, alone, 2)
        else:
            for row in slow:
                nursery.start_soon(troupes, [row], len(slow) - 1)
    if not quick:
        await troupes(alone, 0)
    for row in rows:
        if row.program == "gathered":
            one = await _gathered(row, setting, recorded)
            lines[row.name] = Line(row=row, measured=one, totals=(one.total_s,))
            tell(f"{row.name}: {one.total_s:.2f} s")
    return recorded, lines


async def _troupes(setting: Setting, rows: Sequence[Row]) -> list[Measured]:
    """Rows one after another, in one process."""
    order = {"setting": setting.as_json(), "rows": [attrs.asdict(row) for row in rows]}
    found = await _program("trouper.adapters.bench_row", order)
    if len(found) != len(rows):
        raise BenchFailed(f"of {len(rows)} rows {len(found)} were measured; standard error says why")
    return [Measured(**{**one, "latencies": tuple(one["latencies"])}) for one in found]


async def _gathered(row: Row, setting: Setting, recorded: Sequence[RecordedGoal]) -> Measured:
    """The plain program, against the same server."""
    async with server_for(setting) as server:
        order = {
            "base_url": server.base_url,
            "ca_file": None if server.ca_file is None else str(server.ca_file),
            "clients": setting.clients,
            "goals": [list(stages(one, setting.service)) for one in recorded],
        }
        (found,) = await _program("trouper.adapters.bench_gathered", order)
        counted = await server.statistics()
    return Measured(
        name=row.name,
        total_s=found["total_s"],
        latencies=tuple(found["latencies"]),
        cpu_s=found["cpu_s"],
        failed=found["failed"],
        calls=counted.requests,
        chats=counted.chats,
        embeddings=counted.embeddings,
        embedded_texts=counted.embedded_texts,
        rate_limited=counted.rate_limited,
        connections=counted.connections,
        most_at_once=counted.most_running,
        model_s=counted.model_seconds,
    )


async def _program(module: str, order: Mapping[str, object]) -> list[dict[str, Any]]:
    """Run one of our programs; gives the objects that it writes, a line each.

    Its standard input stays open as long as we live: a program whose order can no longer be answered ends. Cancelled:
    it is killed.
    """
    pipe = subprocess.PIPE
    process = await trio.lowlevel.open_process([sys.executable, "-m", module], stdin=pipe, stdout=pipe)
    assert process.stdin is not None  # noqa: S101 - it was asked for
    assert process.stdout is not None  # noqa: S101 - the same
    written = bytearray()
    try:
        async with process.stdin, process.stdout:
            with contextlib.suppress(trio.BrokenResourceError):  # it has ended; its exit code says why
                await process.stdin.send_all(json.dumps(order).encode() + b"\n")
            async for piece in process.stdout:
                written += piece
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    if process.returncode:
        raise BenchFailed(f"{module} ended with exit code {process.returncode}; standard error says why")
    return [json.loads(line) for line in written.splitlines()]
