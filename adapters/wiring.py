"""From a configuration to a running troupe: the only file that knows everyone.

Each key of the configuration is handed to its one reader here; what reads nothing from it is built without it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from trouper.actors.batcher import Batching
from trouper.actors.chunking import Chunking
from trouper.actors.dispatch import EffectLimits
from trouper.actors.goal_run import RunSettings
from trouper.actors.memory import MemoryDefaults
from trouper.actors.model_spending import Prices
from trouper.actors.orchestrator import MemoryUpdates
from trouper.actors.outcome import Outcome
from trouper.actors.permissions import Asker, PermissionPolicy
from trouper.actors.planner import PlannerMode
from trouper.actors.protocols import ChatModel, Embedder, VectorIndex
from trouper.actors.run_place import ParallelExecution, Verification
from trouper.actors.tool import Tool
from trouper.actors.tool_place import ToolPlace
from trouper.actors.troupe import Ports, Settings, cast
from trouper.actors.troupe_ref import Troupe
from trouper.runtime import (
    Backoff,
    Budget,
    ConfigError,
    ConfigProblem,
    Journal,
    Limits,
    MemoryJournal,
    Plan,
    PlanSource,
    System,
    TokenBucket,
    open_system,
)

from .config_model import Config
from .config_yaml import load_config
from .embed_choice import choose_embedder
from .http_seam import ConnectionPooling, HttpPool
from .openai_endpoint import OPENAI_URL
from .tool_process import ToolProcesses
from .tools_builtin import Doors, build_tools
from .workspace import Workspace

if TYPE_CHECKING:
    from .cache_sqlite import SqliteEmbeddingCache

ConfigSource = str | Path | Mapping[str, object] | Config | None
T = TypeVar("T")

CLOSING = 10.0
"""Seconds that closing connections and files may take in all."""


# ------------------------------------------------------------------ which planner
@attrs.frozen
class PlannerChoice:
    """Which planner is at work, and in one sentence why."""

    mode: PlannerMode
    why: str


def choose_planner(config: Config, *, own_model: bool = False) -> PlannerChoice:
    """`planner.mode` as given; `auto` is a model if there is one, else the rules.

    Raises:
        ConfigError: `llm` is wanted and no model is configured.
    """
    mode, configured = config.planner.mode, config.llm.configured or own_model
    if mode == "rules":
        return PlannerChoice("rules", "planner.mode is rules")
    if mode == "llm" and not configured:
        problem = ConfigProblem(
            path="planner.mode",
            message="llm needs a model: set OPENAI_API_KEY or llm.base_url, or write `auto` or `rules`",
        )
        raise ConfigError([problem])
    if configured:
        what = "a model was handed in" if own_model else f"the model {config.llm.model} is configured"
        return PlannerChoice("llm", what if mode == "auto" else f"planner.mode is llm; {what}")
    return PlannerChoice("rules", "no model is configured (no OPENAI_API_KEY, no llm.base_url)")


# ------------------------------------------------------------------ building
def build_settings(config: Config, choice: PlannerChoice, workspace: Workspace, policy: PermissionPolicy) -> Settings:
    """Each key of the configuration, handed to its one reader."""
    fast, supervision = config.performance, config.supervision
    rate, steps, batches = fast.rate_limiting, fast.parallel_execution, fast.batch_embeddings
    limits = Limits(rpm=rate.rpm_limit, tpm=rate.tpm_limit, burst=rate.burst_size, safety_margin=rate.safety_margin)
    return Settings(
        planner=choice.mode,
        max_repairs=config.planner.max_repairs,
        cache_catalogue=fast.caching.tool_catalog,
        keep_templates=fast.caching.prompt_templates,
        parallel=ParallelExecution(
            enabled=steps.enabled,
            max_parallel_steps=steps.max_parallel_steps,
            dependency_analysis=steps.dependency_analysis,
            level_barrier=steps.level_barrier,
            effects=EffectLimits(**attrs.asdict(steps.max_per_effect)),
        ),
        verification=Verification(
            enabled=config.verifier.enabled,
            background=fast.background_tasks.verification,
            timeout=config.verifier.timeout,
            threshold=config.verifier.threshold,
            below_threshold=config.verifier.below_threshold,
        ),
        runs=RunSettings(
            max_replans=config.planner.max_replans if choice.mode == "llm" else 0,
            stream_plan=steps.stream_plan and choice.mode == "llm",
            compensation_timeout=config.run.compensation_timeout,
            threshold=config.verifier.threshold,
        ),
        budget=_budget(config),
        warn_at=config.budget.warn_at,
        prices=Prices(prompt=config.llm.prices.prompt, completion=config.llm.prices.completion),
        approval_wait=config.run.approval_wait,
        tool_place=ToolPlace(
            processes=ToolProcesses(config.tools.process),
            block_limit=config.tools.block_warning,
            max_abandoned=config.tools.max_abandoned_threads,
        ),
        secrets=tuple(filter(None, (_key(config),))),
        memory_updates=MemoryUpdates(background=fast.background_tasks.memory_updates),
        bucket=TokenBucket(limits) if rate.enabled else None,
        # Parallel execution off means one model call at a time too.
        max_parallel_llm_calls=steps.max_parallel_llm_calls if steps.enabled else 1,
        max_llm_retries=config.llm.max_retries,
        max_tokens=config.llm.max_tokens,
        batching=Batching(
            enabled=batches.enabled,
            batch_size=batches.batch_size,
            max_concurrent_batches=batches.max_concurrent_batches,
        ),
        memory=MemoryDefaults(k=config.memory.k, min_score=config.memory.min_score),
        chunking=Chunking(max_chars=config.documents.chunk_chars, overlap_chars=config.documents.overlap_chars),
        document_batch=config.documents.batch_size,
        workspace=str(workspace.root),
        policy=policy,
        intensity=supervision.intensity,
        period=supervision.period,
        backoff=Backoff(min=supervision.backoff.min, max=supervision.backoff.max, jitter=supervision.backoff.jitter),
    )


def _budget(config: Config) -> Budget:
    limits = attrs.asdict(config.budget)
    del limits["warn_at"]
    return Budget(**limits)


def build_policy(config: Config, asker: Asker | None) -> PermissionPolicy:
    """The permissions of the configuration, with whoever can be asked."""
    return PermissionPolicy(**attrs.asdict(config.permissions), asker=asker)


def build_model(config: Config, pool: HttpPool) -> ChatModel:
    """The configured model, or the one that says that there is none."""
    if not config.llm.configured:
        from .llm_none import NoModel

        return NoModel()
    from .llm_openai import OpenAIModel

    return OpenAIModel(
        model=config.llm.model,
        base_url=config.llm.base_url or OPENAI_URL,
        api_key=_key(config),
        pool=pool,
        timeout=config.llm.timeout,
    )


def build_embedder(config: Config, pool: HttpPool) -> Embedder:
    """The embedder that the configuration means."""
    provider = choose_embedder(config).provider
    if provider == "wordllama":
        from .embed_wordllama import WordLlamaEmbedder

        return WordLlamaEmbedder()
    if provider == "hash":
        from .embed_hash import HashEmbedder

        return HashEmbedder()
    from .embed_openai import OpenAIEmbedder

    return OpenAIEmbedder(
        model=config.embeddings.model or "text-embedding-3-small",
        base_url=config.llm.base_url or OPENAI_URL,
        api_key=_key(config),
        pool=pool,
        timeout=config.llm.timeout,
    )


def build_cache(config: Config, file: Path) -> SqliteEmbeddingCache | None:
    """The cache of embeddings beside the memory's file; None when it is off."""
    if not config.performance.caching.embeddings:
        return None
    from .cache_sqlite import SqliteEmbeddingCache

    return SqliteEmbeddingCache(file.with_name(f"{file.stem}-embeddings.sqlite"))


def build_pool(config: Config) -> HttpPool:
    """The connections to the model's server."""
    pooling = config.performance.connection_pooling
    return HttpPool(
        ConnectionPooling(
            enabled=pooling.enabled,
            max_connections=pooling.max_connections,
            max_keepalive=pooling.max_keepalive,
            keepalive_expiry=pooling.keepalive_expiry,
        )
    )


def _key(config: Config) -> str | None:
    return config.llm.api_key.reveal() if config.llm.api_key is not None else None


def _new_index(dim: int) -> VectorIndex:
    from .index_faiss import FaissIndex

    return FaissIndex(dim)


# ------------------------------------------------------------------ opening
@asynccontextmanager
async def open_troupe(
    config: ConfigSource = None,
    *,
    tools: Sequence[Tool] = (),
    llm: ChatModel | None = None,
    embedder: Embedder | None = None,
    journal: Journal | None = None,
    system: System | None = None,
    workdir: str | Path | None = None,
    overrides: Sequence[str] = (),
    asker: Asker | None = None,
) -> AsyncGenerator[Troupe, None]:
    """A running troupe for the length of an `async with` block.

    Args:
        config: The path of a YAML file, a mapping, a `Config`, or None for the defaults.
        tools: Your own tools; one with the name of a built-in takes its place.
        llm: A model of your own instead of the configured one. You close it.
        embedder: An embedder of your own. You close it.
        journal: Where the records of runs are kept; in memory if None. You close it.
        system: Live under this system instead of an own one; its other actors are not touched.
        workdir: Where tools find and write files; `tools.workdir` of the configuration if None.
        overrides: Changes to the configuration, as `a.b.c=value`.
        asker: Whom a permission `ask` asks; without one it is refused.

    However the block ends, every actor is stopped in order and every file and connection closed before it does;
    `Cancelled` passes through.

    Raises:
        ConfigError: every mistake of the configuration at once.
        StartFailed: an actor of the cast did not start.
        RestartIntensityExceeded: an actor crashed more often than `supervision` allows; the block was cancelled.
    """
    settings = load_config(config, overrides=overrides)
    choice = choose_planner(settings, own_model=llm is not None)
    workspace = Workspace(workdir if workdir is not None else settings.tools.workdir)
    policy = build_policy(settings, asker)
    async with AsyncExitStack() as stack:
        ports = await _open_ports(stack, settings, workspace, llm, embedder, journal)
        doors = Doors()
        model = llm is not None or settings.llm.configured
        chest = build_tools(tools, workspace, policy, doors, ports.store, model=model)
        where = system
        if where is None:
            where = await stack.enter_async_context(open_system("trouper"))
        tree = cast(chest, ports, build_settings(settings, choice, workspace, policy))
        supervisor = await where.start_supervisor(tree, name=where.free_name("troupe"))
        stack.push_async_callback(_bounded, supervisor.stop)
        doors.memory, doors.llm = supervisor.child("memory"), supervisor.child("llm")
        doors.documents = supervisor.child("documents")
        troupe = Troupe(
            where,
            supervisor,
            chest,
            planner=choice.mode,
            why=choice.why,
            timeout=settings.run.timeout,
            undoing=settings.run.compensation_timeout,
        )
        yield troupe
        await troupe.settle()


async def _open_ports(
    stack: AsyncExitStack,
    config: Config,
    workspace: Workspace,
    llm: ChatModel | None,
    embedder: Embedder | None,
    journal: Journal | None,
) -> Ports:
    """The ports of a configuration, each closed again in reverse order."""
    from .document_files import DocumentFiles
    from .store_documents import SqliteDocumentStore
    from .store_sqlite import SqliteMemoryStore

    file = config.memory.file()
    pool = build_pool(config)
    stack.push_async_callback(_bounded, pool.aclose)
    model = llm
    if model is None:
        model = build_model(config, pool)
        stack.push_async_callback(_bounded, model.aclose)
    vectors = embedder
    if vectors is None:
        vectors = build_embedder(config, pool)
        stack.push_async_callback(_bounded, vectors.aclose)
    store = SqliteMemoryStore(file)
    stack.push_async_callback(_bounded, store.aclose)
    documents, indexed = config.documents, config.documents.file(file)
    passages = SqliteDocumentStore(indexed)
    stack.push_async_callback(_bounded, passages.aclose)
    cache = build_cache(config, file)
    if cache is not None:
        stack.push_async_callback(_bounded, cache.aclose)
    return Ports(
        model=model,
        embedder=vectors,
        store=store,
        new_index=_new_index,
        snapshot=str(file.with_suffix(".faiss")),
        cache=cache,
        documents=passages,
        files=DocumentFiles(max_bytes=int(documents.max_file_mb * 1e6), apart=(file, indexed)),
        evidence=workspace,
        journal=journal if journal is not None else MemoryJournal(),
    )


async def _bounded(close: Callable[[], Awaitable[None]]) -> None:
    """Close something also while being cancelled, but not for ever."""
    with trio.move_on_after(CLOSING, shield=True):
        await close()


# ------------------------------------------------------------------ for plain code
def execute(
    goal: str,
    config: ConfigSource = None,
    *,
    timeout: float | None = None,
    budget: Budget | None = None,
    **options: object,
) -> Outcome:
    """Execute one goal from plain code: opens a troupe, runs the goal, closes it again.

    `options` are those of `open_troupe`.

    Raises:
        RuntimeError: an event loop is running here; the message shows the right line.
        GoalRefused: see `Troupe.execute`.
    """

    async def work(troupe: Troupe) -> Outcome:
        return await troupe.execute(goal, timeout=timeout, budget=budget)

    return _from_plain_code("execute(goal)", work, config, options)


def run_plan(
    plan: Plan | PlanSource,
    config: ConfigSource = None,
    *,
    timeout: float | None = None,
    budget: Budget | None = None,
    **options: object,
) -> Outcome:
    """Run one plan from plain code: opens a troupe, runs the plan, closes it again.

    `options` are those of `open_troupe`.

    Raises:
        RuntimeError: an event loop is running here; the message shows the right line.
        PlanError: see `Troupe.run_plan`.
    """

    async def work(troupe: Troupe) -> Outcome:
        return await troupe.run_plan(plan, timeout=timeout, budget=budget)

    return _from_plain_code("run_plan(plan)", work, config, options)


def _from_plain_code(
    call: str, work: Callable[[Troupe], Awaitable[T]], config: ConfigSource, options: Mapping[str, object]
) -> T:
    loop = _running_loop()
    if loop is not None:
        raise RuntimeError(
            f"trouper.{call} is for plain code, and {loop} is running here. Write "
            f"`async with trouper.open_troupe(...) as troupe: await troupe.{call}`"
            + ("" if loop == "trio" else ", in a trio program or in a thread with `trio.run` of its own")
        )

    async def main() -> T:
        async with open_troupe(config, **options) as troupe:  # type: ignore[arg-type]  # checked by open_troupe
            return await work(troupe)

    return trio.run(main)


def _running_loop() -> str | None:
    with contextlib.suppress(RuntimeError):
        trio.lowlevel.current_trio_token()
        return "trio"
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        return "asyncio"
    return None
