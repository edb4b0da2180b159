"""Every key under `performance` does what it says, seen from outside through an open troupe.

Each test fails when the one place that reads its key is deleted; off is the plain way, and it stays correct.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import trouper
from tests.holding import PATIENCE, Hold
from trouper import ChatMessage, ChatReply, ChatRequest, Effect, Troupe, tool
from trouper.actors import prompts
from trouper.actors.batcher import Embed
from trouper.actors.limiter import Acquire
from trouper.actors.llm import Chat
from trouper.adapters.config_yaml import load_config
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.adapters.model_server import ServerReply, model_server
from trouper.runtime import BudgetExceeded, ModelUnavailable

SEED_KEYS = {
    "connection_pooling": {"enabled", "max_connections", "max_keepalive", "keepalive_expiry"},
    "rate_limiting": {"enabled", "rpm_limit", "tpm_limit", "burst_size", "safety_margin", "adaptive_concurrency"},
    "parallel_execution": {
        "enabled",
        "max_parallel_steps",
        "max_parallel_llm_calls",
        "dependency_analysis",
        "level_barrier",
        "stream_plan",
        "max_per_effect",
    },
    "batch_embeddings": {"enabled", "batch_size", "max_concurrent_batches", "max_tokens", "linger"},
    "caching": {
        "tool_catalog",
        "prompt_templates",
        "embeddings",
        "embeddings_half",
        "responses",
        "responses_on_disk",
        "responses_ttl",
    },
    "background_tasks": {"verification", "memory_updates"},
}


class Embeddings(HashEmbedder):
    """Counts the calls, and can hold them up, for a time or by `hold`."""

    def __init__(self, hold: Hold | None = None) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.hold = Hold() if hold is None else hold
        self.pause = 0.0

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        self.sizes.append(len(texts))
        await self.hold.pass_through()
        await trio.sleep(self.pause)
        return await super().embed(texts)


@asynccontextmanager
async def opened(tmp_path: Path, section: str, values: dict[str, object], **options: Any) -> AsyncIterator[Troupe]:
    config = {"memory": {"path": str(tmp_path / "m.sqlite")}, "performance": {section: values}}
    config.update(options.pop("config", {}))
    options.setdefault("embedder", HashEmbedder())
    async with trouper.open_troupe(config, workdir=tmp_path, **options) as troupe:
        yield troupe


def test_the_keys_are_the_users_and_ours_and_no_others() -> None:
    performance = attrs.asdict(load_config(None).performance)
    assert {name: set(keys) for name, keys in performance.items()} == SEED_KEYS


# ------------------------------------------------------------------ parallel_execution
class Steps:
    """Steps that count how many of them run at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.order: list[int] = []
        self.began: dict[int, float] = {}
        self.ended: dict[int, float] = {}

    def tool(self) -> trouper.Tool:
        @tool(name="work", effect=Effect.PURE)
        async def work(ctx: trouper.ToolContext, seconds: float = 0.02) -> None:
            self.order.append(ctx.step_id)
            self.began[ctx.step_id] = trio.current_time()
            self.now += 1
            self.most = max(self.most, self.now)
            await trio.sleep(seconds)
            self.now -= 1
            self.ended[ctx.step_id] = trio.current_time()

        return work


WIDE = [{"id": n, "action": "work"} for n in range(12)]
SHAPED = [
    {"id": 1, "action": "work"},
    {"id": 2, "action": "work"},
    {"id": 3, "action": "work", "dependencies": [2]},
    {"id": 4, "action": "work", "dependencies": [3]},
]


@pytest.mark.parametrize(
    ("values", "most"),
    [
        ({}, 5),
        ({"max_parallel_steps": 3}, 3),
        ({"max_parallel_steps": 9}, 9),
        ({"enabled": False}, 1),
        ({"dependency_analysis": False}, 1),
    ],
)
async def test_parallel_execution_bounds_the_steps(values, most, tmp_path, autojump_clock) -> None:
    steps = Steps()
    async with opened(tmp_path, "parallel_execution", values, tools=[steps.tool()]) as troupe:
        outcome = await troupe.run_plan(WIDE)

    assert outcome.ok
    assert steps.most == most


async def test_dependency_analysis_off_is_the_plans_topological_order(tmp_path, autojump_clock) -> None:
    """Off: as listed, as far as the dependencies allow. On: the longest chain first, even with one slot."""
    orders = []
    for values in ({"dependency_analysis": False}, {"max_parallel_steps": 1}):
        steps = Steps()
        async with opened(tmp_path, "parallel_execution", values, tools=[steps.tool()]) as troupe:
            assert (await troupe.run_plan(SHAPED)).ok
        orders.append(steps.order)

    assert orders == [[1, 2, 3, 4], [2, 3, 1, 4]]


@pytest.mark.parametrize("barrier", [True, False])
async def test_level_barrier_holds_a_level_back_until_the_one_before_has_ended(
    barrier, tmp_path, autojump_clock
) -> None:
    steps = Steps()
    plan = [
        {"id": 1, "action": "work", "parameters": {"seconds": 0.2}},
        {"id": 2, "action": "work"},
        {"id": 3, "action": "work", "dependencies": [2]},
    ]
    async with opened(tmp_path, "parallel_execution", {"level_barrier": barrier}, tools=[steps.tool()]) as troupe:
        assert (await troupe.run_plan(plan)).ok

    assert (steps.began[3] >= steps.ended[1]) is barrier


class Crowd(ScriptedModel):
    """Knows how many calls were open at once."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.most = 0

    async def _answer(self, request: ChatRequest) -> str:
        self.most = max(self.most, self.calls_open)
        await trio.sleep(0.02)
        return "yes"


@pytest.mark.parametrize(("values", "most"), [({}, 3), ({"max_parallel_llm_calls": 6}, 6), ({"enabled": False}, 1)])
async def test_max_parallel_llm_calls_bounds_the_calls(values, most, tmp_path, autojump_clock) -> None:
    model = Crowd()
    async with opened(tmp_path, "parallel_execution", values, llm=model) as troupe:
        door = troupe.system.find("troupe/llm")
        async with trio.open_nursery() as nursery:
            for n in range(12):  # each another question: the same one would be asked once
                nursery.start_soon(door.ask, Chat(request=ChatRequest(messages=(ChatMessage("user", f"{n}?"),))))

    assert model.most == most


# ------------------------------------------------------------------ rate_limiting
async def leases(troupe: Troupe, count: int, tokens: int = 1) -> list[float]:
    limiter = troupe.system.find("troupe/limiter")
    began = trio.current_time()
    return [(await limiter.ask(Acquire(lease_id=f"l{n}", tokens=tokens))).at - began for n in range(count)]


@pytest.mark.parametrize(
    ("values", "at_once", "within_a_minute"),
    [
        ({"rpm_limit": 10, "safety_margin": 1.0}, 10, 10),
        ({"rpm_limit": 10, "safety_margin": 0.5}, 5, 5),
        ({"rpm_limit": 60, "safety_margin": 1.0, "burst_size": 4}, 4, 60),
        ({"tpm_limit": 70, "safety_margin": 1.0}, 7, 7),
        ({"enabled": False, "rpm_limit": 1, "tpm_limit": 1}, 80, 80),
    ],
)
async def test_rate_limiting_lets_so_many_go(values, at_once, within_a_minute, tmp_path, autojump_clock) -> None:
    async with opened(tmp_path, "rate_limiting", values) as troupe:
        times = await leases(troupe, 80, tokens=10)

    assert sum(t < 0.2 for t in times) == at_once
    assert sum(t < 59 for t in times) <= within_a_minute


async def test_a_request_larger_than_the_budget_is_an_error_that_names_the_limit(tmp_path) -> None:
    """50,000 tokens against a budget of 9,000: admitted at once by what we replace."""
    async with opened(tmp_path, "rate_limiting", {"tpm_limit": 10_000}) as troupe:
        with pytest.raises(BudgetExceeded, match=r"9,?000"):
            await leases(troupe, 1, tokens=50_000)


@pytest.mark.parametrize(("adaptive", "most"), [(True, 5), (False, 8)])
async def test_adaptive_concurrency_sends_fewer_at_once_after_an_overload(
    adaptive, most, tmp_path, autojump_clock
) -> None:
    """Eight calls side by side are too much for the server; of the next eight only as many go as it could bear."""
    now, seen, calm = 0, [0, 0], False

    async def answer(request: ChatRequest) -> str:
        nonlocal now
        now += 1
        seen[calm] = max(seen[calm], now)
        await trio.sleep(0.02)
        now -= 1
        if not calm:
            raise ModelUnavailable("too much", status=503)
        return "yes"

    config = {
        "llm": {"max_retries": 0, "breaker": {"failures": 1000}},
        "performance": {
            "rate_limiting": {"adaptive_concurrency": adaptive},
            "parallel_execution": {"max_parallel_llm_calls": 8},
            "caching": {"responses": "off"},
        },
    }
    async with opened(tmp_path, "rate_limiting", {}, llm=ScriptedModel(answer), config=config) as troupe:
        door = troupe.system.find("troupe/llm")

        async def ask() -> None:
            with contextlib.suppress(ModelUnavailable):
                await door.ask(question(0.0))

        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(ask)
            calm = True

    assert seen[False] == 8
    assert seen[True] == most


# ------------------------------------------------------------------ batch_embeddings
@pytest.mark.parametrize(
    ("values", "sizes", "most"),
    [
        ({}, [20], 1),
        ({"batch_size": 8}, [4, 8, 8], 2),
        ({"batch_size": 4, "max_concurrent_batches": 5}, [4] * 5, 5),
        ({"batch_size": 4, "max_concurrent_batches": 1}, [4] * 5, 1),
        ({"enabled": False}, [1] * 20, 1),
    ],
)
async def test_batch_embeddings_decides_how_texts_share_calls(values, sizes, most, tmp_path) -> None:
    embedder = Embeddings(Hold(most))
    async with opened(tmp_path, "batch_embeddings", values, embedder=embedder) as troupe:
        ids = await troupe.remember([f"fact number {n}" for n in range(20)])

    assert len(set(ids)) == 20
    assert sorted(embedder.sizes) == sizes
    assert embedder.hold.most == most


@pytest.mark.parametrize(("values", "most_tokens"), [({"max_tokens": 12}, 12), ({}, 200)])
async def test_max_tokens_bounds_a_call_by_what_its_texts_are_estimated_at(values, most_tokens, tmp_path) -> None:
    embedder = Embeddings()
    async with opened(tmp_path, "batch_embeddings", values, embedder=embedder) as troupe:
        await troupe.remember([f"fact number {n:02}" for n in range(20)])  # 4 tokens each, by estimate

    assert max(embedder.sizes) * 4 <= most_tokens
    assert sum(embedder.sizes) == 20


@pytest.mark.parametrize(("linger", "calls"), [(0.2, 2), (0.0, 3)])
async def test_linger_lets_others_in_while_a_call_is_under_way(linger, calls, tmp_path, autojump_clock) -> None:
    """One call is under way; two texts come a moment apart: they share a call only if the first waits for the other."""
    embedder = Embeddings()
    embedder.pause = 1.0
    values = {"linger": linger, "max_concurrent_batches": 4}
    config = {"performance": {"batch_embeddings": values, "caching": {"embeddings": False}}}
    async with opened(tmp_path, "batch_embeddings", {}, embedder=embedder, config=config) as troupe:
        batcher = troupe.system.find("troupe/batcher")
        async with trio.open_nursery() as nursery:
            for text in ("one", "two", "three"):
                nursery.start_soon(batcher.ask, Embed((text,)))
                await trio.sleep(0.1)

    assert len(embedder.sizes) == calls


# ------------------------------------------------------------------ caching
def question(temperature: float) -> Chat:
    return Chat(request=ChatRequest(messages=(ChatMessage("user", "?"),), temperature=temperature))


@pytest.mark.parametrize(("mode", "sampled", "certain"), [("off", 2, 2), ("deterministic", 2, 1), ("all", 1, 1)])
async def test_responses_are_kept_for_the_very_same_request(mode, sampled, certain, tmp_path) -> None:
    calls: list[float | None] = []

    def answer(request: ChatRequest) -> str:
        calls.append(request.temperature)
        return "yes"

    async with opened(tmp_path, "caching", {"responses": mode}, llm=ScriptedModel(answer)) as troupe:
        door = troupe.system.find("troupe/llm")
        replies = [await door.ask(question(temperature)) for temperature in (0.7, 0.7, 0.0, 0.0)]

    assert [reply.text for reply in replies] == ["yes"] * 4
    assert (calls.count(0.7), calls.count(0.0)) == (sampled, certain)
    assert replies[3].cached is (certain == 1)
    assert replies[3].usage.total_tokens == (0 if certain == 1 else replies[2].usage.total_tokens)


@pytest.mark.parametrize(("values", "calls"), [({}, 2), ({"responses_on_disk": True}, 1), ({"responses": "off"}, 2)])
async def test_responses_outlive_the_troupe_only_on_disk(values, calls, tmp_path) -> None:
    asked: list[str] = []

    def answer(request: ChatRequest) -> str:
        asked.append(request.model)
        return "yes"

    for _ in range(2):
        async with opened(tmp_path, "caching", values, llm=ScriptedModel(answer)) as troupe:
            await troupe.system.find("troupe/llm").ask(question(0.0))

    assert len(asked) == calls


@pytest.mark.parametrize(("ttl", "calls"), [(86_400.0, 1), (1e-9, 2)])
async def test_responses_are_used_for_their_time_only(ttl, calls, tmp_path) -> None:
    asked: list[str] = []

    def answer(request: ChatRequest) -> str:
        asked.append(request.model)
        return "yes"

    async with opened(tmp_path, "caching", {"responses_ttl": ttl}, llm=ScriptedModel(answer)) as troupe:
        for _ in range(2):
            await troupe.system.find("troupe/llm").ask(question(0.0))

    assert len(asked) == calls


@pytest.mark.parametrize(("half", "size"), [(False, 4), (True, 2)])
async def test_embeddings_half_takes_half_the_room(half, size, tmp_path) -> None:
    values = {"embeddings_half": half}
    async with opened(tmp_path, "caching", values, embedder=Embeddings()) as troupe:
        ids = await troupe.remember(["a fact"])
        await troupe.forget(ids)
    again = Embeddings()
    async with opened(tmp_path, "caching", values, embedder=again) as troupe:
        await troupe.remember(["a fact"])
        found = await troupe.recall("a fact")
    with sqlite3.connect(tmp_path / "m-embeddings.sqlite") as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        lengths = {
            len(value)
            for table in tables
            for row in file.execute(f"SELECT * FROM {table}")
            for value in row
            if isinstance(value, bytes)
        }
    file.close()

    assert again.dim * size in lengths
    assert found[0].content == "a fact"
    assert sum(again.sizes) <= 1  # the question; the fact was kept


@pytest.mark.parametrize("cached", [True, False])
async def test_tool_catalog_is_built_once_or_each_time(cached, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO, logger="trouper")
    async with opened(tmp_path, "caching", {"tool_catalog": cached}) as troupe:
        for _ in range(3):
            await troupe.execute("What is 6 times 7?")
    said = [record.message for record in caplog.records if "[TOOL CATALOG]" in record.message]

    assert ["Using cached catalog" in line for line in said] == [False, cached, cached]


@pytest.mark.parametrize(("kept", "renders"), [(True, 1), (False, 3)])
async def test_prompt_templates_keep_the_prefix_by_catalogue(kept, renders, tmp_path, monkeypatch) -> None:
    rendered: list[str] = []
    real = prompts.render_prefix

    def counting(*args: Any) -> str:
        rendered.append("one")
        return real(*args)

    monkeypatch.setattr(prompts, "render_prefix", counting)
    plan = json.dumps([{"id": 1, "action": "calculate", "parameters": {"expression": "6*7"}}])
    model = ScriptedModel(lambda request: plan)
    async with opened(tmp_path, "caching", {"prompt_templates": kept}, llm=model) as troupe:
        for goal in ("What is 6 times 7?", "What is 7 times 6?", "Work out 6 * 7"):
            assert (await troupe.execute(goal)).ok

    assert len(rendered) == renders
    assert len({request.messages[0].content for request in model.requests}) == 1


async def test_two_routes_give_two_catalogues_and_the_prompt_shows_only_the_route(tmp_path) -> None:
    plan = json.dumps([{"id": 1, "action": "remember", "parameters": {"fact": "x"}}])
    model = ScriptedModel(lambda request: plan)
    async with opened(tmp_path, "caching", {}, llm=model) as troupe:
        await troupe.execute("Remember that tea is at four")
        await troupe.execute("Find every TODO in ./src")
        memory, files = (request.messages[0].content for request in model.requests if request.role == "planner")

    assert '"name":"recall"' in memory
    assert '"name":"search_files"' not in memory
    assert '"name":"search_files"' in files
    assert '"name":"fetch_url"' not in memory + files


@pytest.mark.parametrize(("cached", "calls"), [(True, 0), (False, 1)])
async def test_embeddings_are_kept_between_troupes(cached, calls, tmp_path) -> None:
    first, second = Embeddings(), Embeddings()
    texts = [f"fact {n}" for n in range(5)]
    async with opened(tmp_path, "caching", {"embeddings": cached}, embedder=first) as troupe:
        await troupe.remember(texts)
    async with opened(tmp_path, "caching", {"embeddings": cached}, embedder=second) as troupe:
        await troupe.remember(texts, namespace="somebody else")  # new memories, known texts

    assert len(first.sizes) == 1
    assert len(second.sizes) == calls


# ------------------------------------------------------------------ background_tasks
@pytest.mark.parametrize("background", [True, False])
async def test_verification_is_beside_the_run_or_awaited_and_never_skipped(
    background, tmp_path, autojump_clock
) -> None:
    story: list[str] = []

    async def look(parameters: object, result: object, evidence: object) -> trouper.Checked:
        await trio.sleep(0.1)
        story.append("verified")
        return trouper.Checked((), ("looked",))

    @tool(effect=Effect.PURE, verify=look)
    async def first() -> int:
        return 1

    @tool(effect=Effect.PURE)
    async def second() -> int:
        story.append("second")
        return 2

    plan = [{"id": 1, "action": "first"}, {"id": 2, "action": "second", "dependencies": [1]}]
    values = {"verification": background}
    async with opened(tmp_path, "background_tasks", values, tools=[first, second]) as troupe:
        outcome = await troupe.run_plan(plan)

    assert story == (["second", "verified"] if background else ["verified", "second"])
    assert outcome.verdicts[1].verdict.value == "ok"


@pytest.mark.parametrize("background", [True, False])
async def test_memory_updates_come_behind_the_answer_or_before_it(background, tmp_path) -> None:
    remembering, go_on, answered = trio.Event(), trio.Event(), trio.Event()

    class Slow(Embeddings):
        async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
            remembering.set()
            await go_on.wait()
            return await super().embed(texts)

    embedder, values = Slow(), {"memory_updates": background}
    with trio.fail_after(PATIENCE):
        async with opened(tmp_path, "background_tasks", values, embedder=embedder) as troupe:

            async def ask() -> None:
                await troupe.execute("Work out 6 * 7")
                answered.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await remembering.wait()
                if background:
                    await answered.wait()
                else:
                    await trio.testing.wait_all_tasks_blocked(0.02)
                    assert not answered.is_set()
                go_on.set()
            await troupe.settle()
            assert embedder.sizes == [1]


# ------------------------------------------------------------------ connection_pooling
@pytest.mark.io
@pytest.mark.parametrize(
    ("values", "connections", "most"),
    [
        ({}, 4, 4),
        ({"enabled": False}, 8, 4),
        ({"max_connections": 1}, 1, 1),
        ({"max_keepalive": 1}, 7, 4),
        ({"keepalive_expiry": 0.0}, 8, 4),
    ],
)
async def test_connection_pooling_decides_how_connections_are_shared(values, connections, most, tmp_path) -> None:
    """Two rounds of four calls side by side: as many connections as the pool says, and never more at once."""
    hold = Hold()
    async with model_server(lambda request: ServerReply(text="yes", before=hold.pass_through)) as server:
        settings = {
            "llm": {"base_url": server.base_url, "api_key": None},
            "performance": {"connection_pooling": values, "parallel_execution": {"max_parallel_llm_calls": 4}},
        }
        settings["performance"]["caching"] = {"responses": "off"}  # the same question is asked eight times
        async with opened(tmp_path, "caching", {}, config=settings) as troupe:
            door = troupe.system.find("troupe/llm")
            replies: list[ChatReply] = []

            async def call() -> None:
                replies.append(await door.ask(Chat(request=ChatRequest(messages=(ChatMessage("user", "?"),)))))

            for _ in range(2):
                hold = Hold(most)
                async with trio.open_nursery() as nursery:
                    for _ in range(4):
                        nursery.start_soon(call)

    assert [reply.text for reply in replies] == ["yes"] * 8
    assert server.statistics.connections == connections
    assert server.statistics.most_running == most
