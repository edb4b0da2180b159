"""What a call to a model costs in CPU, through our door and through the SDK: `python -m tests.benchmarks.door`.

The same request (a prompt of 1,100 characters, an answer of 500) to the cheapest server there is, which runs in a
process of its own, over kept connections. Measured is the CPU of this process, everything together: building the
request, HTTP, reading, checking. Ratios are of slices that alternate, each figure the median with its 95 % interval;
a bound holds when the worse end of the interval does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from tests.benchmarks.interval import Bound, Figure, at_most
from tests.benchmarks.slices import alternate, per_operation
from trouper.actors.protocols import ChatMessage, ChatRequest
from trouper.adapters.http_pooling import ConnectionPooling
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.llm_openai import OpenAIModel

PAIRS = 60
REQUESTS = 160
MESSAGES = (
    ChatMessage("system", "You plan. Answer with JSON and nothing else. " * 20),
    ChatMessage("user", "Count the TODO comments under ./src and write todo.md. " * 4),
)
ASK = ChatRequest(messages=MESSAGES, max_tokens=500, seed=1)
SAMPLING = {"max_tokens": 500, "temperature": 0.0, "seed": 1}
TOLD = [{"role": message.role, "content": message.content} for message in MESSAGES]

DEMANDED: Mapping[str, Bound] = {
    "adapter, 16 at once": at_most(1.2, "ms"),
    "adapter / SDK, 16 at once": at_most(0.5),
}

Call = Callable[[], Awaitable[object]]


@asynccontextmanager
async def subjects() -> AsyncGenerator[dict[str, Call], None]:
    """Every way to ask, ready to be called."""
    import httpx2
    import openai

    server = Path(__file__).with_name("door_server.py")
    command = [sys.executable, str(server)]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.receive_some(100))
        url = f"http://127.0.0.1:{port}/v1"
        limits = httpx2.Limits(max_connections=256, max_keepalive_connections=256)
        pool = HttpPool(ConnectionPooling(max_connections=256, max_keepalive=256))
        plain_client = httpx2.AsyncClient(limits=limits)
        sdk_client = httpx2.AsyncClient(limits=limits)
        sdk = openai.AsyncOpenAI(api_key="sk-none", base_url=url, max_retries=0, http_client=sdk_client)
        model = OpenAIModel(model="test", base_url=url, api_key="sk-none", pool=pool)
        through = OpenAIModel(model="test", pool=pool, sdk=sdk)
        body = json.dumps(
            {"model": "test", "messages": TOLD, "max_tokens": 500, "temperature": 0.0, "seed": 1}
        ).encode()

        async def adapter() -> object:
            return await model.complete(ASK)

        async def adapter_over_sdk() -> object:
            return await through.complete(ASK)

        async def adapter_stream() -> object:
            async with model.stream(ASK) as chunks:
                return [chunk async for chunk in chunks]

        async def plain_sdk() -> object:
            return await sdk.chat.completions.create(
                model="test",
                messages=TOLD,
                max_tokens=500,
                temperature=0.0,
                seed=1,  # type: ignore[arg-type]
            )

        async def sdk_stream() -> object:
            told = {"stream": True, "stream_options": {"include_usage": True}}
            chunks = await sdk.chat.completions.create(model="test", messages=TOLD, **SAMPLING, **told)
            return [chunk async for chunk in chunks]

        async def bare_httpx2() -> object:
            headers = {"content-type": "application/json", "authorization": "Bearer sk-none"}
            return (await plain_client.post(f"{url}/chat/completions", content=body, headers=headers)).json()

        yield {
            "adapter": adapter,
            "SDK": plain_sdk,
            "adapter over SDK": adapter_over_sdk,
            "httpx2": bare_httpx2,
            "adapter stream": adapter_stream,
            "SDK stream": sdk_stream,
        }
        await pool.aclose()
        await plain_client.aclose()
        await sdk_client.aclose()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdin.aclose()
            await process.stdout.aclose()


async def calls(call: Call, at_once: int, number: int) -> None:
    """Call `number` times, so many at once."""
    left = number

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(caller)


async def measured(at_once: int, pairs: int, requests: int) -> dict[str, list[float]]:
    """Milliseconds of CPU a call, of every way, in slices that alternate."""
    async with subjects() as ways:
        slices = [per_operation(partial(calls, call, at_once), requests) for call in ways.values()]
        rows = await alternate(*slices, rounds=pairs)
        return {name: [row[i] * 1000 for row in rows] for i, name in enumerate(ways)}


def figures(at_once: int, taken: Mapping[str, list[float]], needed: int) -> list[Figure]:
    """Each way in milliseconds, and the ratios."""
    where = f"{at_once} at once"
    rows = {f"{name}, {where}": values for name, values in taken.items()}
    for ours, theirs in (("adapter", "SDK"), ("adapter over SDK", "SDK"), ("adapter stream", "SDK stream")):
        pairs = zip(taken[ours], taken[theirs], strict=True)
        rows[f"{ours} / {theirs}, {where}"] = [a / b for a, b in pairs]
    nothing = at_most(float("inf"), "")
    return [
        Figure(name=name, bound=DEMANDED.get(name, nothing), values=tuple(values), needed=needed)
        for name, values in rows.items()
    ]


def line(figure: Figure) -> str:
    """One figure for the table."""
    where = figure.interval
    judged = figure.name in DEMANDED
    unit = "x" if "/" in figure.name else "ms"
    said = f"{figure.bound!s:10} {figure.verdict}" if judged else ""
    return f"{figure.name:36} {where.median:7.3f} {unit:2} [{where.low:.3f}, {where.high:.3f}]  {said}".rstrip()


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 if every figure holds (or none was judged)."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.door", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="alternating rounds a figure (default %(default)s)")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 16, 128])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a try-out in seconds: nothing is judged")
    chosen = parser.parse_args(arguments)
    pairs, requests = (3, 16) if chosen.quick else (chosen.pairs, REQUESTS)
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, trio {trio.__version__}, load {load:.1f}, {pairs} rounds of {requests}")
    found: list[Figure] = []
    for at_once in chosen.at_once:
        found += figures(at_once, trio.run(measured, at_once, pairs, max(requests, at_once)), needed=PAIRS)
        print(*map(line, found[-9:]), sep="\n", flush=True)
    if chosen.json is not None:
        told = [{"name": f.name, **attrs.asdict(f.interval), "mean": statistics.fmean(f.values)} for f in found]
        chosen.json.write_text(json.dumps(told, indent=1))
    return 1 if any(f.verdict == "DOES NOT HOLD" for f in found) else 0


if __name__ == "__main__":
    sys.exit(main())
