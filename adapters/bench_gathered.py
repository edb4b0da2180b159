"""The same calls in plain asyncio, as one would write them by hand: the bench's honest rival.

Each client takes its goals one after another; of a goal it makes the calls of one stage at the same time with
`asyncio.gather`, stage after stage: the memory, the plan, the levels of the plan, the verdicts, what is to be
remembered. The openai SDK pools its connections and tries again as it does by default. There is no limiter, no cache,
no supervision, no deadline, no journal.

`python -m trouper.adapters.bench_gathered` reads its order as JSON from standard input and writes one line of JSON. It
is a process of its own because it needs another event loop, and so that its CPU time is its own.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .bench_record import Call, RecordedGoal
from .model_server import CHAT

Stage = list[dict[str, object]]
"""What is done at the same time: `{"path", "body"}` for a call, `{"sleep"}` for the tool that asks no model."""


def stages(one: RecordedGoal, service: float) -> Iterator[Stage]:
    """The stages of a goal, in order."""
    yield [_order(one.recalled)]
    yield [_order(one.planned)]
    for level in one.plan.levels:
        stage: Stage = [_order(call) for step in level for call in one.steps.get(step, ())]
        stage += [{"sleep": service} for step in level if one.plan.step(step).action == "look_up"]
        if stage:
            yield stage
    if one.verdicts:
        yield [_order(call) for calls in one.verdicts.values() for call in calls]
    if one.remembered is not None:
        yield [_order(one.remembered)]


def _order(call: Call) -> dict[str, object]:
    body = {name: value for name, value in call.body.items() if name not in {"stream", "stream_options"}}
    return {"path": call.path, "body": body}


# ------------------------------------------------------------------ the program
async def _make(client: Any, order: Mapping[str, Any]) -> None:
    if "sleep" in order:
        await asyncio.sleep(order["sleep"])
    elif order["path"] == CHAT:
        await client.chat.completions.create(**order["body"])
    else:
        await client.embeddings.create(**order["body"])


async def _goal(client: Any, its_stages: Sequence[Stage]) -> tuple[float, bool]:
    import openai

    began = time.monotonic()
    try:
        for stage in its_stages:
            await asyncio.gather(*(_make(client, order) for order in stage))
    except openai.OpenAIError as error:
        sys.stderr.write(f"bench: a goal of the plain program has failed: {error}\n")
        return time.monotonic() - began, False
    return time.monotonic() - began, True


async def _main(order: Mapping[str, Any]) -> dict[str, object]:
    import openai

    trusted = ssl.create_default_context(cafile=order["ca_file"])
    goals, clients = order["goals"], order["clients"]
    found: dict[int, tuple[float, bool]] = {}
    http = openai.DefaultAsyncHttpxClient(verify=trusted)
    async with openai.AsyncOpenAI(base_url=order["base_url"], api_key="bench", http_client=http) as client:
        client.chat.completions, client.embeddings  # noqa: B018 - their modules are imported before the clock starts

        async def ask(number: int) -> None:
            for n in range(number, len(goals), clients):
                found[n] = await _goal(client, goals[n])

        cpu, began = time.process_time(), time.monotonic()
        await asyncio.gather(*(ask(number) for number in range(clients)))
        total, cpu = time.monotonic() - began, time.process_time() - cpu
    return {
        "total_s": total,
        "cpu_s": cpu,
        "latencies": [found[n][0] for n in sorted(found)],
        "failed": sum(not ok for _, ok in found.values()),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_main(json.loads(sys.stdin.readline())))))  # noqa: T201 - its answer
