"""One row of `trouper bench` in a process of its own: a troupe, a server, the suite, and what it took.

`python -m trouper.adapters.bench_row` reads `{"setting", "rows"}` from the first line of standard input and writes a
line of JSON for each row; it ends with its standard input at the latest. The server is another process again, so that
the CPU counted here is what a user of the troupe pays.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from trouper.actors.outcome import Outcome
from trouper.actors.protocols import Evidence, Json
from trouper.actors.records import PlanReady, RunEnded, RunStarted
from trouper.actors.tool import Checked, Effect, Tool, tool
from trouper.actors.troupe_ref import Troupe
from trouper.runtime import MemoryJournal, Seconds

from .bench_setting import Row, Setting, config_for, setting_from_json
from .bench_suite import BenchGoal, rules_for
from .model_server_apart import ModelServerProcess
from .wiring import open_troupe

LONGEST: Seconds = 300.0
"""After which a row is given up."""
WARM_UP = ("pipeline", "remember")


@attrs.frozen(kw_only=True)
class Measured:
    """What a row took: `latencies` in the order of the goals' numbers; `total_s` ends with the last answer."""

    name: str
    total_s: Seconds
    latencies: tuple[Seconds, ...]
    cpu_s: Seconds
    failed: int = 0
    calls: int = 0
    chats: int = 0
    embeddings: int = 0
    embedded_texts: int = 0
    rate_limited: int = 0
    connections: int = 0
    most_at_once: int = 0
    model_s: Seconds = 0.0
    catalogues_built: int = 0
    prompts_rendered: int = 0
    steps_before_the_plan: int = 0
    """Steps that began before the model had written the last of their plan."""
    waited_for_verdicts_s: Seconds = 0.0
    waited_for_memory_s: Seconds = 0.0
    """From the end of the runs to their answers: what was remembered first."""
    settled_s: Seconds = 0.0
    """What went on behind the last answer."""


class _Lines(logging.Handler):
    """Counts what the troupe says it has made anew."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.catalogues = self.prompts = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line."""
        if record.msg.startswith("[TOOL CATALOG] Built"):
            self.catalogues += 1
        elif record.msg.startswith("[PLANNER] Rendered"):
            self.prompts += 1


def look_up_tool(service: Seconds) -> Tool:
    """A tool that asks a service of the user's own, which takes `service` seconds."""

    async def look_up(topic: str) -> dict[str, Json]:
        """Look a topic up.

        Args:
            topic: what about.
        """
        await trio.sleep(service)
        text = f"All that is known of {topic}. " * 6
        return {"topic": topic, "text": text, "method": "looked up", "parts": _parts(topic), "count": len(topic) % 7}

    async def verify(parameters: Mapping[str, object], result: Json, evidence: Evidence) -> Checked:  # noqa: ARG001 - the port's shape
        """See that what came is about the topic."""
        text = result.get("text") if isinstance(result, dict) else None
        about = str(parameters.get("topic")) in str(text)
        return Checked(() if about else ("it is about something else",), ("the topic in the text",))

    return tool(effect=Effect.PURE, verify=verify)(look_up)


def _parts(topic: str) -> list[Json]:
    return [f"{topic}, part {n}" for n in range(6)]


async def warm_up(setting: Setting, server: ModelServerProcess) -> None:
    """Pay for imports, the first certificate store and the like before a clock starts, by a troupe of its own."""
    await _run(Row(name="warm-up"), setting, server, [g for g in setting.goals() if g.kind in WARM_UP][:2], 1)


async def measure(row: Row, setting: Setting, server: ModelServerProcess) -> Measured:
    """Run the suite once and say what it took."""
    await server.reset()
    gc.collect()
    return await _run(row, setting, server, setting.goals(), setting.clients)


@attrs.frozen(kw_only=True)
class _Goal:
    """What became of one goal."""

    took: Seconds
    ok: bool
    early: int
    for_verdicts: Seconds
    for_memory: Seconds


async def _run(
    row: Row, setting: Setting, server: ModelServerProcess, goals: Sequence[BenchGoal], clients: int
) -> Measured:
    lines = _Lines()
    log = logging.getLogger("trouper")
    log.addHandler(lines)
    journal = MemoryJournal()
    try:
        with tempfile.TemporaryDirectory(prefix="trouper-bench-") as folder:
            config = config_for(row, setting, server.base_url, server.ca_file, Path(folder))
            tools = [look_up_tool(setting.service)]
            async with open_troupe(config, tools=tools, journal=journal) as troupe:
                cpu, began = time.process_time(), trio.current_time()
                answered = await _goals(troupe, goals, clients)
                ended = trio.current_time()
                cpu = time.process_time() - cpu
                await troupe.settle()
                settled = trio.current_time() - ended
    finally:
        log.removeHandler(lines)
    found = [await _goal(journal, *answered[goal.number]) for goal in goals]
    counted = await server.statistics()
    return Measured(
        name=row.name,
        total_s=ended - began,
        latencies=tuple(goal.took for goal in found),
        cpu_s=cpu,
        failed=sum(not goal.ok for goal in found),
        calls=counted.requests,
        chats=counted.chats,
        embeddings=counted.embeddings,
        embedded_texts=counted.embedded_texts,
        rate_limited=counted.rate_limited,
        connections=counted.connections,
        most_at_once=counted.most_running,
        model_s=counted.model_seconds,
        catalogues_built=lines.catalogues,
        prompts_rendered=lines.prompts,
        steps_before_the_plan=sum(goal.early for goal in found),
        waited_for_verdicts_s=sum(goal.for_verdicts for goal in found),
        waited_for_memory_s=sum(goal.for_memory for goal in found),
        settled_s=settled,
    )


_Answered = tuple[Seconds, Seconds, Outcome]
"""When a goal was asked, when it was answered, and with what."""


async def _goals(troupe: Troupe, goals: Sequence[BenchGoal], clients: int) -> dict[int, _Answered]:
    """Run the goals: client `c` of `n` takes the goals `c`, `c + n`, ... one after another."""
    answered: dict[int, _Answered] = {}

    async def client(number: int) -> None:
        for goal in goals[number::clients]:
            began = trio.current_time()
            outcome = await troupe.execute(goal.text)
            answered[goal.number] = (began, trio.current_time(), outcome)
            if not outcome.ok:
                why = outcome.error or next((s.error for s in outcome.steps.values() if s.error), None)
                sys.stderr.write(f"bench: goal {goal.number} ({goal.kind}) has failed: {why}\n")

    with trio.fail_after(LONGEST):
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(client, number)
    return answered


async def _goal(journal: MemoryJournal, began: Seconds, ended: Seconds, outcome: Outcome) -> _Goal:
    """What the outcome and the journal say of a goal."""
    at = {type(record): record.at for record in await journal.read(outcome.run_id)}
    run_began, planned = at.get(RunStarted, began), at.get(PlanReady, began)
    return _Goal(
        took=ended - began,
        ok=outcome.ok,
        early=sum(s.started is not None and run_began + s.started < planned for s in outcome.steps.values()),
        for_verdicts=sum(step.waits.get("verifier", 0.0) for step in outcome.steps.values()),
        for_memory=ended - at.get(RunEnded, ended),
    )


def server_for(setting: Setting) -> ModelServerProcess:
    """The server that plays the model."""
    return ModelServerProcess(
        rules_for(setting.goals()),
        network=setting.network,
        model_time=setting.model_time,
        law=setting.law,
        seed=setting.seed,
    )


async def _rows(order: Mapping[str, Any]) -> None:
    setting = setting_from_json(order["setting"])
    logging.getLogger("trouper").setLevel(logging.INFO)
    logging.getLogger("trouper").propagate = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_while_wanted, nursery.cancel_scope)
        async with server_for(setting) as server:
            await warm_up(setting, server)
            for given in order["rows"]:
                row = Row(**{**given, "off": tuple(given["off"])})
                sys.stdout.write(json.dumps(attrs.asdict(await measure(row, setting, server))) + "\n")
                sys.stdout.flush()
        nursery.cancel_scope.cancel()


async def _while_wanted(life: trio.CancelScope) -> None:
    """End with standard input: whoever gave the order is there no more."""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        async for _ in stream:
            pass
    life.cancel()


if __name__ == "__main__":
    trio.run(_rows, json.loads(sys.stdin.readline()))
