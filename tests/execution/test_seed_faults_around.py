"""What the system that this one replaces promised around execution and did not do: one named test a fault."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

import trouper
from tests.execution.stage import Stage, opened, run
from trouper import ChatMessage, ChatReply, ChatRequest, Effect, RunStatus, Usage
from trouper.actors.limiter import Acquire, GetLimiterStatistics, Settle
from trouper.actors.llm import Chat
from trouper.actors.messages import AnalyzeIntent, MakePlan
from trouper.adapters.config_yaml import load_config
from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.wiring_models import build_pool
from trouper.runtime import BudgetExceeded, LLMError, ModelUnavailable
from trouper.testing import Delay, ScriptedModel

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted(
    f"trouper.{'.'.join(file.relative_to(ROOT).with_suffix('').parts)}"
    for ring in ("runtime", "actors", "adapters")
    for file in (ROOT / ring).rglob("*.py")
    if file.name != "__init__.py"
)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported(module) -> None:
    """Was: the main orchestrator had an IndentationError from the commit that brought the optimisations on."""
    assert importlib.import_module(module).__doc__


# ------------------------------------------------------------------ connection pooling
def test_the_connections_have_the_limits_of_the_configuration() -> None:
    """Was: hard-coded 50/20 instead of the configured 100/50, and given to nobody."""
    pooling = {"max_connections": 7, "max_keepalive": 3, "keepalive_expiry": 11.0}
    pool = build_pool(load_config({"performance": {"connection_pooling": pooling}}))
    watched = pool.transport("http://127.0.0.1:1/v1")
    connections = watched._way.transport._pool

    assert (connections._max_connections, connections._max_keepalive_connections) == (7, 3)
    assert connections._keepalive_expiry == 11.0
    assert pool.transport("http://127.0.0.1:1/v1/") is watched  # one for all who ask that server


# ------------------------------------------------------------------ rate limiting
async def leases(troupe, count: int, tokens: int = 1) -> list[float]:
    limiter = troupe.system.find("troupe/limiter")
    began = trio.current_time()
    return [(await limiter.ask(Acquire(lease_id=f"l{n}", tokens=tokens))).at - began for n in range(count)]


def limited(**keys: object) -> dict[str, object]:
    return {"performance": {"rate_limiting": {"safety_margin": 1.0, **keys}}}


async def test_the_burst_size_bounds_what_goes_at_once(autojump_clock) -> None:
    """Was: never used; 900 requests went in 0.05 s with a burst of 5."""
    async with opened(**limited(rpm_limit=900, burst_size=5)) as troupe:
        times = await leases(troupe, 900)

    assert sum(at < 0.05 for at in times) == 5
    assert all(sum(t <= at < t + 60 for at in times) <= 900 for t in times[::100])


async def test_a_call_larger_than_the_budget_is_refused(autojump_clock) -> None:
    """Was: 50,000 tokens against 9,000 were admitted at once."""
    async with opened(**limited(tpm_limit=9_000)) as troupe:
        with pytest.raises(BudgetExceeded, match=r"9,?000"):
            await leases(troupe, 1, tokens=50_000)


async def test_each_call_settles_its_own_estimate(autojump_clock) -> None:
    """Was: the usage of a call corrected the *last* entry, so that calls side by side overwrote each other."""
    async with opened(**limited(tpm_limit=5_000)) as troupe:
        limiter = troupe.system.find("troupe/limiter")
        for name in ("first", "second"):
            await limiter.ask(Acquire(lease_id=name, tokens=400))
        await limiter.tell(Settle("first", 1_000))
        await limiter.tell(Settle("second", 700))
        seen = await limiter.ask(GetLimiterStatistics())

    assert seen.settled == 2
    assert seen.bucket.tokens == 1_700  # both entries; never less than was reserved


async def test_who_waits_for_the_limiter_holds_nobody_up(autojump_clock) -> None:
    """Was: a lock was held while one caller slept."""
    async with opened(**limited(rpm_limit=60, burst_size=1)) as troupe:
        times = await leases(troupe, 30)
        asked = trio.current_time()

    assert asked == 0.0  # every caller knows its instant at once; each sleeps by itself
    assert times == sorted(times)
    assert times[-1] == pytest.approx(29.0, rel=1e-3)


async def test_every_call_to_a_model_goes_through_the_limiter(autojump_clock) -> None:
    """Was: the planner's call only, with a constant estimate of 1,000 tokens."""
    plan = json.dumps([{"id": 1, "action": "summarize", "parameters": {"content": "a b c. " * 50, "question": "why?"}}])
    model = ScriptedModel(lambda request: plan if request.role == "planner" else "a summary")
    async with opened(llm=model, **limited(rpm_limit=60, burst_size=1)) as troupe:
        outcome = await troupe.execute("Summarize the words")
        seen = await troupe.system.find("troupe/limiter").ask(GetLimiterStatistics())

    assert outcome.status is RunStatus.SUCCESS
    assert seen.acquired == seen.settled == len(model.requests) == outcome.usage.calls
    assert seen.bucket.tokens >= outcome.usage.prompt_tokens + outcome.usage.completion_tokens


@pytest.mark.parametrize("most", [1, 4])
async def test_max_parallel_llm_calls_is_enforced(most, autojump_clock) -> None:
    """Was: read and unused."""
    open_calls: list[int] = []

    async def answer(request: ChatRequest) -> str:
        open_calls.append(model.calls_open)
        await trio.sleep(1)
        return "yes"

    model = ScriptedModel(answer)
    section = {"performance": {"parallel_execution": {"max_parallel_llm_calls": most}}}
    async with opened(llm=model, **section) as troupe, trio.open_nursery() as nursery:
        door = troupe.system.find("troupe/llm")
        for _ in range(12):
            nursery.start_soon(door.ask, Chat(request=ChatRequest(messages=(ChatMessage("user", "?"),))))

    assert max(open_calls) == most


# ------------------------------------------------------------------ planning
async def test_intent_and_route_are_asked_side_by_side(autojump_clock) -> None:
    """Was: strictly one after the other; the parallel analyser had no caller."""
    together: list[bool] = []
    async with opened() as troupe:
        intent, router = (troupe.system.find(f"troupe/{name}") for name in ("intent", "router"))
        real = type(intent).ask

        async def watching(ref, message, **options):
            if ref.name == intent.name and isinstance(message, AnalyzeIntent):
                await trio.sleep(5)  # a slow analysis: the route must not wait for it
                together.append(router.statistics().handled == 1)
            return await real(ref, message, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(intent), "ask", watching)
            with pytest.raises(trouper.PlanUnusable):
                await troupe.system.find("troupe/planner").ask(MakePlan(goal="do the work"), timeout=100)

    assert together == [True]


async def test_the_calls_of_runs_side_by_side_are_counted_apart(autojump_clock) -> None:
    """Was: runs side by side wrote over each other's usage."""
    plan = json.dumps([{"id": 1, "action": "work"}])
    usage = Usage(prompt_tokens=100, completion_tokens=10, calls=1)
    model = ScriptedModel(lambda request: Delay(1.0, ChatReply(text=plan, usage=usage)))
    outcomes: list[trouper.Outcome] = []
    async with opened([Stage().tool("work")], llm=model) as troupe:

        async def go() -> None:
            outcomes.append(await troupe.execute("do the work"))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(go)

    assert [(o.usage.calls, o.usage.prompt_tokens, o.usage.completion_tokens) for o in outcomes] == [(1, 100, 10)] * 3


# ------------------------------------------------------------------ embeddings
class Embeddings(HashEmbedder):
    """Counts its calls; one of its texts cannot be embedded."""

    def __init__(self, bad: str | None = None) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.bad = bad

    async def embed(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        self.sizes.append(len(texts))
        if self.bad in texts:
            raise ModelUnavailable("not this one")
        return await super().embed(texts)


async def test_many_memories_are_embedded_in_batches(autojump_clock) -> None:
    """Was: the batch had no caller; each memory was a call of its own."""
    embedder = Embeddings()
    async with opened(embedder=embedder) as troupe:
        await troupe.remember([f"fact number {n}" for n in range(150)])

    assert sorted(embedder.sizes) == [50, 100]


async def test_a_text_that_cannot_be_embedded_is_an_error_and_not_a_vector_of_zeros(autojump_clock) -> None:
    """Was: a failed item became a zero vector in the index."""
    async with opened(embedder=Embeddings(bad="broken")) as troupe:
        with pytest.raises(LLMError):
            await troupe.remember(["fine", "broken"])
        found = await troupe.recall("fine")

    assert found == ()


@pytest.mark.parametrize("path", ["memory_updates", "verification"])
def test_flags_that_were_read_by_nobody_are_read_or_refused(path) -> None:
    """Was: `embeddings`, `memory_updates`, `prompt_templates`, `max_concurrent_batches` changed nothing.

    What each changes is tested where the flags are; here: a key that nobody knows is an error that names the nearest.
    """
    with pytest.raises(trouper.ConfigError, match=path):
        load_config({"performance": {"background_tasks": {f"{path}x": True}}})


# ------------------------------------------------------------------ figures
def test_every_figure_of_speed_has_its_command() -> None:
    """Was: "70 %", without a benchmark in the repository."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    commands = {name for page in pages for name in re.findall(r"python -m (tests\.benchmarks\.\w+)", page.read_text())}

    assert commands
    assert {name for name in commands if not (ROOT / f"{name.replace('.', '/')}.py").exists()} == set()


async def test_a_sync_call_inside_a_running_loop_says_what_to_write(autojump_clock) -> None:
    """Was: a crash inside `asyncio.run`."""
    with pytest.raises(RuntimeError, match=r"await troupe\.run_plan"):
        trouper.run_plan([{"id": 1, "action": "work"}])


def test_a_plan_runs_from_plain_code(monkeypatch, tmp_path) -> None:
    """The sync twin, where no loop runs."""
    calls: list[int] = []

    @trouper.tool(name="work", effect=Effect.PURE)
    async def work(n: int) -> int:
        calls.append(n)
        return n

    outcome = trouper.run_plan(
        [{"id": 1, "action": "work", "parameters": {"n": 7}}],
        {"memory": {"path": str(tmp_path / "m.sqlite")}, "embeddings": {"provider": "hash"}},
        tools=[work],
    )

    assert outcome.status is RunStatus.SUCCESS
    assert calls == [7]


async def test_the_whole_plan_is_checked_against_the_tools_before_it_runs(autojump_clock) -> None:
    """Was: a tool that does not exist was found when its turn came."""
    stage = Stage()
    plan = [{"id": 1, "action": "work"}, {"id": 2, "action": "wrok", "dependencies": [1]}]
    with pytest.raises(trouper.PlanError, match="did you mean 'work'"):
        await run(plan, [stage.tool("work")])

    assert stage.calls == []
