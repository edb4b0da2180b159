"""Threads that hang and processes that die, inside a run: real ones, on the real clock."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

import trouper
from tests.execution.stage import statuses
from trouper import Effect, RunStatus, StepStatus, tool
from trouper.adapters.embed_hash import HashEmbedder

pytestmark = pytest.mark.io


async def run(plan: object, chest: list[trouper.Tool], tmp_path: Path, /, **sections: object) -> trouper.Outcome:
    config = {"memory": {"path": str(tmp_path / "m.sqlite")}, **sections}
    async with trouper.open_troupe(config, tools=chest, embedder=HashEmbedder(), workdir=tmp_path) as troupe:
        return await troupe.run_plan(plan, timeout=1000)


# ------------------------------------------------------------------ threads
LIMIT = 30.0


def passing(clock: MockClock) -> Callable[[], None]:
    """Real time, and what a thread calls when its step's `LIMIT` shall be over: by then it has surely begun."""
    clock.rate = 1.0
    token = trio.lowlevel.current_trio_token()
    return lambda: token.run_sync_soon(clock.jump, LIMIT)


async def test_a_thread_that_hangs_is_left_behind_and_its_place_is_free(tmp_path, mock_clock) -> None:
    """Its step is late; the next call of the same tool, which takes one at a time, runs."""
    time_passes = passing(mock_clock)
    release = threading.Event()
    calls: list[int] = []

    @tool(effect=Effect.PURE, max_concurrency=1)
    def stuck(n: int) -> int:
        calls.append(n)
        if n == 1:
            time_passes()
            release.wait(60)
        return n

    plan = [
        {"id": 1, "action": "stuck", "parameters": {"n": 1}, "timeout_s": LIMIT, "critical": False},
        {"id": 2, "action": "stuck", "parameters": {"n": 2}},
    ]
    try:
        outcome = await run(plan, [stuck], tmp_path)
    finally:
        release.set()

    assert outcome.steps[1].error.kind == "timeout"
    assert outcome.steps[2].result == 2
    assert sorted(calls) == [1, 2]


async def test_too_many_threads_that_hang_are_an_error_that_says_so(tmp_path, mock_clock) -> None:
    """More than `tools.max_abandoned_threads`: refused, and no further thread is lost."""
    time_passes = passing(mock_clock)
    release = threading.Event()
    entered: list[int] = []

    @tool(effect=Effect.PURE)
    def stuck() -> None:
        entered.append(1)
        time_passes()
        release.wait(60)

    step = {"id": 1, "action": "stuck", "timeout_s": LIMIT}
    plan = [{**step, "critical": False, "max_retries": 9, "retry_backoff_s": 0}]
    try:
        outcome = await run(plan, [stuck], tmp_path, tools={"max_abandoned_threads": 3})
    finally:
        release.set()

    assert outcome.steps[1].status is StepStatus.FAILED
    assert outcome.steps[1].error.kind == "tool_error"
    assert "hang" in outcome.steps[1].error.message
    assert 3 <= len(entered) <= 4


# ------------------------------------------------------------------ processes
@tool(effect=Effect.PURE, isolation="process")
def add(a: int, b: int) -> dict[str, int]:
    """Do it in a process of its own."""
    return {"sum": a + b, "pid": os.getpid()}


@tool(effect=Effect.ONCE, isolation="process")
def die(how: str) -> None:
    """End the process."""
    if how == "signal":
        os.kill(os.getpid(), 9)
    elif how == "exit":
        os._exit(3)
    elif how == "memory":
        _ = bytearray(4_000_000_000)
    elif how == "stdout":
        os.write(1, b"not an answer\n" * 100)
        os._exit(0)
    raise ValueError(how)


@tool(effect=Effect.PURE, isolation="process")
def family(where: str, hang: bool) -> int:
    """Start a child that starts a child; then hang, or leave them behind."""
    ready, told = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            Path(where).write_text(str(os.getpid()))
        os.close(told)
        time.sleep(600)
    os.close(told)
    os.read(ready, 1)  # ends when nobody holds the other end: the grandchild has written
    if hang:
        time.sleep(600)
    return 1


@tool(effect=Effect.PURE, isolation="process", timeout=0.2)
def late() -> None:
    """Hang."""
    time.sleep(600)


@tool(effect=Effect.PURE, isolation="process")
def shout(megabytes: int) -> str:
    """Give far too much back."""
    return "x" * (megabytes * 1_000_000)


async def test_a_tool_in_a_process_of_its_own_gives_its_result(tmp_path) -> None:
    plan = [
        {"id": 1, "action": "add", "parameters": {"a": 1, "b": 2}},
        {"id": 2, "action": "add", "parameters": {"a": "$step1.sum", "b": 10}},
    ]
    outcome = await run(plan, [add], tmp_path)

    assert outcome.status is RunStatus.SUCCESS, json.dumps(outcome.as_json(), default=str)
    assert outcome.steps[2].result["sum"] == 13
    assert os.getpid() not in {outcome.steps[1].result["pid"], outcome.steps[2].result["pid"]}


@pytest.mark.parametrize(
    ("how", "says", "limit"), [("signal", "SIGKILL", None), ("exit", "3", 60), ("stdout", "", None)]
)
async def test_a_process_that_dies_is_the_failure_of_its_step_and_in_doubt(how, says, limit, tmp_path) -> None:
    """A ONCE tool whose process died: nobody knows what it did; it is not tried again, deadline or not."""
    plan = [
        {"id": 1, "action": "die", "parameters": {"how": how}, "max_retries": 3, "timeout_s": limit},
        {"id": 2, "action": "add", "parameters": {"a": 1, "b": 2}},
        {"id": 3, "action": "add", "parameters": {"a": 1, "b": 2}, "dependencies": [1]},
    ]
    outcome = await run(plan, [die, add], tmp_path)

    assert statuses(outcome) == {1: "failed", 2: "ok", 3: "skipped"}
    assert outcome.steps[1].error.kind == "tool_died"
    assert says in outcome.steps[1].error.message
    assert (outcome.steps[1].in_doubt, outcome.steps[1].attempts) == (True, 1)


async def test_a_process_that_wants_too_much_memory_fails_its_step(tmp_path) -> None:
    plan = [{"id": 1, "action": "die", "parameters": {"how": "memory"}}]
    outcome = await run(plan, [die], tmp_path, tools={"process": {"memory_mb": 512}})

    assert outcome.steps[1].status is StepStatus.FAILED
    assert outcome.steps[1].error.kind in {"tool_died", "tool_error"}


async def test_a_late_process_fails_its_step(tmp_path) -> None:
    outcome = await run([{"id": 1, "action": "late"}], [late], tmp_path)

    assert outcome.steps[1].error.kind == "timeout"


async def test_a_process_that_ends_leaves_no_children_behind(tmp_path) -> None:
    """Its own session, killed as a group: also the grandchild is gone."""
    where = tmp_path / "grandchild"
    plan = [{"id": 1, "action": "family", "parameters": {"where": str(where), "hang": False}}]
    outcome = await run(plan, [family], tmp_path)

    assert outcome.steps[1].result == 1
    await until_dead(int(where.read_text()))


async def until_dead(pid: int) -> None:
    with trio.fail_after(60):
        while alive(pid):  # noqa: ASYNC110 - a process that is no child of ours tells nobody
            await trio.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_a_process_that_gives_too_much_back_is_refused(tmp_path) -> None:
    plan = [{"id": 1, "action": "shout", "parameters": {"megabytes": 100}}]
    outcome = await run(plan, [shout], tmp_path)

    assert outcome.steps[1].status is StepStatus.FAILED
    assert outcome.steps[1].error.kind in {"bad_result", "tool_died"}


async def test_a_cancelled_run_kills_its_processes_with_their_children(tmp_path) -> None:
    where = tmp_path / "grandchild"
    config = {"memory": {"path": str(tmp_path / "m.sqlite")}}
    plan = [{"id": 1, "action": "family", "parameters": {"where": str(where), "hang": True}}]
    async with trouper.open_troupe(config, tools=[family], embedder=HashEmbedder(), workdir=tmp_path) as troupe:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(troupe.run_plan, plan)
            with trio.fail_after(60):
                while not where.exists() or not where.read_text():  # noqa: ASYNC110 - it is a file
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        await until_dead(int(where.read_text()))
