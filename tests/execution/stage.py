"""Fake tools for a whole plan, and a troupe to run it in: no thread, no disk, nothing but the virtual clock."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

import trouper
from trouper import ChatModel, Checked, Effect, Embedder, Outcome, Tool, ToolContext, ToolError, Troupe, tool
from trouper.adapters import store_sqlite
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.adapters.store_memory import InMemoryStore
from trouper.runtime import Event, Journal, MemoryJournal

PLANS = Path(__file__).parent.parent / "data" / "plans"

FOREVER = 10**9


@attrs.frozen
class Call:
    """One call that a fake tool was given."""

    step: int
    action: str
    parameters: dict[str, object]
    began: float
    attempt: int
    key: str


class Stage:
    """What each step gives, how long it takes, how often it fails: keyed by the step's id. And what happened."""

    def __init__(self, results: Mapping[str, object] | None = None) -> None:
        self.results: Mapping[str, object] = results or {}
        self.seconds: defaultdict[int, float] = defaultdict(float)
        self.fail_times: Counter[int] = Counter()
        self.how: dict[int, Callable[[], BaseException]] = {}
        self.calls: list[Call] = []
        self.ended: list[tuple[int, float]] = []
        self.cancelled: list[int] = []
        self.running: Counter[int] = Counter()
        self.most = 0

    def tool(self, name: str, effect: Effect = Effect.PURE, *, lies: bool = False, **options) -> Tool:
        """A tool that takes anything. `lies`: whoever verifies what it gave finds that it is not so."""

        async def verify(parameters: Mapping[str, object], result: object, evidence: object) -> Checked:
            return Checked(("it is not so",) if lies else (), ("looked again",))

        @tool(name=name, effect=effect, verify=verify if lies else None, **options)
        async def fake(ctx: ToolContext, **parameters: object) -> object:
            """A fake."""
            return await self.work(name, ctx, parameters)

        return fake

    async def work(self, name: str, ctx: ToolContext, parameters: dict[str, object]) -> object:
        step = ctx.step_id
        self.calls.append(Call(step, name, parameters, trio.current_time(), ctx.attempt, ctx.idempotency_key))
        self.running[step] += 1
        self.most = max(self.most, self.running.total())
        try:
            if self.seconds[step]:
                await trio.sleep(self.seconds[step])
        except trio.Cancelled:
            self.cancelled.append(step)
            raise
        finally:
            self.running[step] -= 1
            self.ended.append((step, trio.current_time()))
        if self.fail_times[step] > 0:
            self.fail_times[step] -= 1
            error = self.how.get(step)
            raise ToolError(f"step {step} fails") if error is None else error()
        return self.results.get(str(step), {"step": step})

    def tools(self, plan: object, *, lies: Iterable[str] = (), effects: Mapping[str, Effect] | None = None, **options):
        """A tool for each action that a plan names anywhere."""
        return [
            self.tool(name, (effects or {}).get(name, Effect.PURE), lies=name in set(lies), **options)
            for name in sorted(actions(plan))
        ]

    @property
    def received(self) -> dict[int, dict[str, object]]:
        """The parameters of each step's last call."""
        return {call.step: call.parameters for call in self.calls}

    @property
    def began(self) -> dict[int, float]:
        """When each step was first called."""
        found: dict[int, float] = {}
        for call in self.calls:
            found.setdefault(call.step, call.began)
        return found

    @property
    def order(self) -> list[int]:
        """The steps in the order in which they were called."""
        return [call.step for call in self.calls]


def actions(plan: object) -> set[str]:
    """Every action that stands anywhere in a plan, spelt in either dialect."""
    found: set[str] = set()
    todo = [plan]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            found.update(str(value[key]) for key in ("action", "tool") if isinstance(value.get(key), str))
            todo.extend(inner for key, inner in value.items() if key not in {"parameters", "inputs"})
        elif isinstance(value, list):
            todo.extend(value)
    return found


def sample(name: str) -> tuple[object, dict[str, object]]:
    """A sample plan, decoded, and what is expected of it."""
    source = json.loads((PLANS / f"{name}.json").read_text("utf-8"))
    if isinstance(source, dict) and "chunks" in source:
        source = json.loads("".join(source["chunks"]))
    return source, json.loads((PLANS / f"{name}.expect.json").read_text("utf-8"))


@asynccontextmanager
async def opened(
    chest: Iterable[Tool] = (),
    /,
    *,
    llm: ChatModel | None = None,
    embedder: Embedder | None = None,
    journal: Journal | None = None,
    **sections: object,
) -> AsyncIterator[Troupe]:
    """A troupe whose memory is a dict: with files there are threads, and those know nothing of the virtual clock.

    `sections` are those of the configuration. Without a model of its own it has one that makes no plans.
    """
    config = {"memory": {"path": "/nonexistent/memory.sqlite"}, "observability": {"log_level": "error"}, **sections}
    performance = dict(config.get("performance", {}))
    performance["caching"] = {"embeddings": False, "responses": "off", **performance.get("caching", {})}
    config["performance"] = performance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_sqlite, "SqliteMemoryStore", lambda _: InMemoryStore())
        async with trouper.open_troupe(
            config,
            tools=list(chest),
            llm=llm if llm is not None else ScriptedModel(lambda request: "[]"),
            embedder=embedder if embedder is not None else HashEmbedder(),
            workdir=".",
            journal=journal if journal is not None else MemoryJournal(),
        ) as troupe:
            yield troupe


async def run(plan: object, chest: Iterable[Tool], /, *, timeout: float | None = None, **sections: object) -> Outcome:
    """One plan in a troupe of its own."""
    async with opened(chest, **sections) as troupe:
        return await troupe.run_plan(plan, timeout=timeout)


@asynccontextmanager
async def heard(troupe: Troupe) -> AsyncIterator[list[Event]]:
    """Everything that is told while the block runs; the list is complete when it has ended."""
    told: list[Event] = []
    async with trio.open_nursery() as nursery:
        with troupe.events(capacity=100_000) as events:

            async def listen() -> None:
                async for event in events:
                    told.append(event)  # noqa: PERF401 - one by one, as they come

            nursery.start_soon(listen)
            yield told
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            await trio.testing.wait_all_tasks_blocked()


def parallel(**keys: object) -> dict[str, object]:
    """The section of the configuration that has the slots."""
    return {"performance": {"parallel_execution": keys}}


def statuses(outcome: Outcome) -> dict[int, str]:
    """The state of each step."""
    return {step: one.status.value for step, one in outcome.steps.items()}
