"""From a configuration to a running troupe: the only file that knows everyone.

Each key of the configuration is handed to its one reader here; what reads nothing from it is built without it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs
import trio

from trouper.actors.batcher import Batching
from trouper.actors.chunking import Chunking
from trouper.actors.dispatch import EffectLimits
from trouper.actors.goal_run import RunSettings
from trouper.actors.memory import MemoryDefaults
from trouper.actors.orchestrator import MemoryUpdates
from trouper.actors.outcome import Outcome
from trouper.actors.permissions import Asker, PermissionPolicy
from trouper.actors.protocols import ChatModel, Embedder, SpendLog
from trouper.actors.run_place import ParallelExecution, Verification
from trouper.actors.tool import Tool
from trouper.actors.tool_place import ToolPlace
from trouper.actors.troupe import Ports, Settings, cast
from trouper.actors.troupe_ref import Troupe
from trouper.runtime import (
    Backoff,
    BreakerRules,
    Budget,
    Journal,
    MemoryJournal,
    Plan,
    PlanSource,
    System,
    open_system,
)

from .config_model import Config
from .config_yaml import load_config
from .embed_choice import choose_embedder, offline_embedder
from .first_imports import import_in_turns
from .index_choice import index_maker
from .memory_files import MemoryFiles
from .tool_process import ToolProcesses
from .tools_builtin import Doors, build_tools
from .wiring_models import (
    Models,
    PlannerChoice,
    build_books,
    build_embedder,
    build_estimates,
    build_models,
    build_pool,
    choose_planner,
    secrets_of,
)
from .workspace import Workspace

if TYPE_CHECKING:
    from .cache_layered import LayeredEmbeddingCache
    from .cache_responses import SqliteResponseStore
    from .http_seam import HttpPool

ConfigSource = str | Path | Mapping[str, object] | Config | None
T = TypeVar("T")


class _Closed(Protocol):
    async def aclose(self) -> None: ...


T_Closed = TypeVar("T_Closed", bound=_Closed)

SUMMARY = 8
"""Sentences of a summary of a conversation, where no model makes it."""

CLOSING = 10.0
"""Seconds that closing connections and files may take in all."""


# ------------------------------------------------------------------ building
def build_settings(
    config: Config, choice: PlannerChoice, models: Models, workspace: Workspace, policy: PermissionPolicy
) -> Settings:
    """Each key of the configuration, handed to its one reader."""
    fast, supervision = config.performance, config.supervision
    steps, batches = fast.parallel_execution, fast.batch_embeddings
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
        approval_wait=config.run.approval_wait,
        tool_place=ToolPlace(
            processes=ToolProcesses(config.tools.process),
            block_limit=config.tools.block_warning,
            max_abandoned=config.tools.max_abandoned_threads,
        ),
        secrets=secrets_of(config),
        memory_updates=MemoryUpdates(background=fast.background_tasks.memory_updates),
        books=build_books(config, models),
        # Parallel execution off means one model call at a time too.
        max_parallel_llm_calls=steps.max_parallel_llm_calls if steps.enabled else 1,
        max_llm_retries=config.llm.max_retries,
        roles=models.roles,
        responses=fast.caching.responses,
        responses_ttl=fast.caching.responses_ttl,
        breaker=BreakerRules(failures=config.llm.breaker.failures, cooldown=config.llm.breaker.cooldown),
        model_verdicts=config.verifier.model,
        model_summaries=models.any,
        batching=Batching(
            enabled=batches.enabled,
            batch_size=batches.batch_size,
            max_concurrent_batches=batches.max_concurrent_batches,
            max_tokens=batches.max_tokens,
            linger=batches.linger,
            max_retries=config.llm.max_retries,
        ),
        memory=MemoryDefaults(
            k=config.memory.k,
            min_score=config.memory.min_score,
            namespace=config.memory.namespace,
            ttl=config.memory.ttl,
            hybrid=config.memory.hybrid,
            near_duplicates=config.memory.near_duplicates,
            near_threshold=config.memory.near_threshold,
            background=fast.background_tasks.memory_updates,
        ),
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


def build_cache(config: Config, file: Path) -> LayeredEmbeddingCache | None:
    """The cache of embeddings beside the memory's file, behind one in this process; None when it is off."""
    caching = config.performance.caching
    if not caching.embeddings:
        return None
    from .cache_layered import LayeredEmbeddingCache
    from .cache_sqlite import SqliteEmbeddingCache

    behind = SqliteEmbeddingCache(MemoryFiles(file).embeddings, half=caching.embeddings_half)
    return LayeredEmbeddingCache(behind)


def build_response_store(config: Config, file: Path) -> SqliteResponseStore | None:
    """Where answers of models are kept beside the memory's file; None when they are not."""
    caching = config.performance.caching
    if caching.responses == "off" or not caching.responses_on_disk:
        return None
    from .cache_responses import SqliteResponseStore

    return SqliteResponseStore(MemoryFiles(file).responses)


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
    await import_in_turns()
    workspace = Workspace(workdir if workdir is not None else settings.tools.workdir)
    policy = build_policy(settings, asker)
    async with AsyncExitStack() as stack:
        pool = build_pool(settings)
        stack.push_async_callback(_bounded, pool.aclose)
        models = build_models(settings, pool, llm)
        for one in models.mine:
            stack.push_async_callback(_bounded, one.aclose)
        ports = await _open_ports(stack, settings, workspace, pool, models, embedder, journal)
        doors = Doors()
        chest = build_tools(tools, workspace, policy, doors, ports.store, model=models.any)
        where = system
        if where is None:
            where = await stack.enter_async_context(open_system("trouper"))
        pool.on_rebuilt = where.event_bus.emit
        tree = cast(chest, ports, build_settings(settings, choice, models, workspace, policy))
        supervisor = await where.start_supervisor(tree, name=where.free_name("troupe"))
        stack.push_async_callback(_bounded, supervisor.stop)
        doors.memory, doors.llm = supervisor.child("memory"), supervisor.child("llm")
        doors.documents = supervisor.child("documents")
        if models.addressed and settings.llm.warm_up:
            await models.warm_up(settings.llm.warm_up)
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
    pool: HttpPool,
    models: Models,
    embedder: Embedder | None,
    journal: Journal | None,
) -> Ports:
    """The ports of a configuration, each closed again in reverse order."""
    from .document_files import DocumentFiles
    from .store_documents import SqliteDocumentStore
    from .store_sqlite import SqliteMemoryStore

    def closing(port: T_Closed) -> T_Closed:
        stack.push_async_callback(_bounded, port.aclose)
        return port

    file = config.memory.file()
    indexed = config.documents.file(file)
    cache, responses = build_cache(config, file), build_response_store(config, file)
    return Ports(
        models=models.entries,
        servers=models.children,
        embedder=embedder if embedder is not None else closing(build_embedder(config, pool)),
        store=closing(SqliteMemoryStore(file)),
        remembered=file.exists(),
        new_index=index_maker(config.memory.index),
        former=offline_embedder,
        summarise=_summary,
        snapshot=str(MemoryFiles(file).snapshot),
        cache=closing(cache) if cache is not None else None,
        responses=closing(responses) if responses is not None else None,
        spend=_spend_log(stack, config, models, file),
        estimates=build_estimates(config),
        documents=closing(SqliteDocumentStore(indexed)),
        files=DocumentFiles(
            max_bytes=int(config.documents.max_file_mb * 1e6), apart=(*MemoryFiles(file).every(), indexed)
        ),
        evidence=workspace,
        journal=journal if journal is not None else MemoryJournal(),
    )


def _summary(text: str) -> str:
    """What a conversation came to, in its own words."""
    from .text_summary import extract

    return extract(text, SUMMARY).summary


def _spend_log(stack: AsyncExitStack, config: Config, models: Models, file: Path) -> SpendLog | None:
    """Where what was spent of rate limits is written down, beside the memory's file: no restart spends it twice.

    None where nothing behind an address is limited.
    """
    addressed = bool(models.addressed) or choose_embedder(config).provider == "openai"
    if not config.performance.rate_limiting.enabled or not addressed:
        return None
    from .spend_file import FileSpendLog

    log = FileSpendLog(MemoryFiles(file).rates)
    stack.callback(log.close)
    return log


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
    asyncio = sys.modules.get("asyncio")  # whoever runs its loop has imported it; we need not, and it takes a while
    with contextlib.suppress(RuntimeError):
        if asyncio is not None:
            asyncio.get_running_loop()
            return "asyncio"
    return None
