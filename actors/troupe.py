"""The troupe: the supervision tree as data.

Everyone is a long-lived actor under one supervisor, started in this order and stopped in reverse. They know each other
by the ids that stand here and reach each other only through a `Ref`: take one away and whoever needs it does not start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import attrs

from trouper.runtime import Actor, Backoff, BreakerRules, Budget, ChildSpec, Journal, RateBooks, SupervisorSpec

from .batcher import Batching, EmbeddingBatcher
from .catalogue import Catalogue
from .chunking import Chunking
from .documents import Documents
from .executor import Executor
from .goal_run import RunSettings
from .intent import IntentAnalyst
from .limiter import Limiter
from .llm import LLMDoor
from .memory import Memory, MemoryDefaults
from .memory_conversation import shortened
from .model_routes import ModelEntry
from .orchestrator import MemoryUpdates, Orchestrator
from .permissions import PermissionPolicy
from .planner import Planner, PlannerMode
from .protocols import (
    DocumentSource,
    DocumentStore,
    Embedder,
    EmbeddingCache,
    Evidence,
    MemoryStore,
    PreparedEmbedder,
    QueryingEmbedder,
    SpendLog,
    VectorIndex,
)
from .response_cache import ResponseCache, ResponseCaching, ResponseStore
from .router import Router
from .run_place import ParallelExecution, Verification
from .tokens import TokenEstimates
from .tool import Tool
from .tool_place import BARE, ToolPlace
from .verifier import Verifier


@attrs.frozen(kw_only=True)
class Ports:
    """The outside world as the cast sees it."""

    models: Mapping[str, ModelEntry]
    """By name; the roles of `Settings` name them."""
    servers: tuple[ChildSpec, ...] = ()
    """Actors that serve models; they are started first."""
    embedder: Embedder
    store: MemoryStore
    remembered: bool = False
    """Whether there may be memories already."""
    new_index: Callable[[int], VectorIndex]
    """An empty index for vectors of that many dimensions."""
    snapshot: str | None
    """Where the index is written down."""
    cache: EmbeddingCache | None
    spend: SpendLog | None = None
    """Where what was spent of rate limits outlives the process."""
    estimates: TokenEstimates = attrs.field(factory=TokenEstimates)
    """How many tokens a text is; one for everybody, because it learns."""
    summarise: Callable[[str], str] = shortened
    """A summary of a conversation in plain code."""
    former: Callable[[str], Embedder | None] | None = None
    """An embedder by the name of its vectors, for memories that another one has made."""
    responses: ResponseStore | None = None
    """Where answers of models outlive the process."""
    documents: DocumentStore
    files: DocumentSource
    """What may be indexed."""
    evidence: Evidence
    journal: Journal
    """Where the records of runs are kept; outlives every incarnation of everyone."""


@attrs.frozen(kw_only=True)
class Settings:
    """What the configuration says to the cast, each part for one reader."""

    planner: PlannerMode
    max_repairs: int = 2
    cache_catalogue: bool = True
    keep_templates: bool = True
    parallel: ParallelExecution = attrs.field(factory=ParallelExecution)
    verification: Verification = attrs.field(factory=Verification)
    memory_updates: MemoryUpdates = attrs.field(factory=MemoryUpdates)
    runs: RunSettings = attrs.field(factory=RunSettings)
    budget: Budget = attrs.field(factory=Budget)
    warn_at: float = 0.8
    approval_wait: float = 0.0
    tool_place: ToolPlace = BARE
    secrets: tuple[str, ...] = ()
    """Texts that nobody but a tool may see."""
    books: RateBooks | None = None
    """Rate limits, and what was spent of them: the same for all incarnations of the limiter. None: no limits."""
    roles: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Whom each role asks, in order."""
    breaker: BreakerRules | None = None
    responses: ResponseCaching = "off"
    responses_ttl: float | None = None
    model_summaries: bool = False
    """Whether a model is asked for summaries of conversations."""
    model_verdicts: bool = False
    """Whether a model is asked what the rules cannot verify."""
    max_parallel_llm_calls: int = 3
    max_llm_retries: int = 2
    batching: Batching = attrs.field(factory=Batching)
    memory: MemoryDefaults = attrs.field(factory=MemoryDefaults)
    chunking: Chunking = attrs.field(factory=Chunking)
    document_batch: int = 100
    workspace: str
    policy: PermissionPolicy
    intensity: int = 3
    period: float = 5.0
    backoff: Backoff | None = None


def cast(tools: Mapping[str, Tool], ports: Ports, settings: Settings) -> SupervisorSpec:
    """The tree: who is in it, in which order, and how each is made anew after a crash."""

    def child(name: str, make: Callable[[], Actor]) -> ChildSpec:
        return ChildSpec(id=name, start=make, backoff=settings.backoff)

    make = functools.partial
    responses = None
    if settings.responses != "off":
        responses = ResponseCache(ports.responses, mode=settings.responses, ttl=settings.responses_ttl)
    door = make(
        LLMDoor,
        ports.models,
        roles=settings.roles,
        max_parallel=settings.max_parallel_llm_calls,
        max_retries=settings.max_llm_retries,
        breaker=settings.breaker,
        responses=responses,
        estimates=ports.estimates,
    )
    batcher = make(
        EmbeddingBatcher,
        ports.embedder,
        cache=ports.cache,
        batching=settings.batching,
        limiter="limiter",
        door="llm",
        estimates=ports.estimates,
    )
    as_query = ports.embedder.as_query if isinstance(ports.embedder, QueryingEmbedder) else None
    prepare = ports.embedder.prepare if ports.remembered and isinstance(ports.embedder, PreparedEmbedder) else None
    memory = make(
        Memory,
        ports.store,
        ports.new_index,
        embedder=ports.embedder.name,
        snapshot=ports.snapshot,
        defaults=settings.memory,
        former=ports.former,
        as_query=as_query,
        prepare=prepare,
        cache=ports.cache,
        model_summaries=settings.model_summaries,
        summarise=ports.summarise,
    )
    documents = make(
        Documents,
        ports.documents,
        ports.files,
        ports.new_index,
        embedder=ports.embedder.name,
        as_query=as_query,
        chunking=settings.chunking,
        batch_size=settings.document_batch,
    )
    planner = make(Planner, settings.planner, max_repairs=settings.max_repairs, keep_templates=settings.keep_templates)
    executor = make(
        Executor,
        tools,
        parallel=settings.parallel,
        verification=settings.verification,
        workspace=settings.workspace,
        policy=settings.policy,
        journal=ports.journal,
        tool_place=settings.tool_place,
        approval_wait=settings.approval_wait,
        secrets=settings.secrets,
    )
    orchestrator = make(
        Orchestrator,
        tools,
        memory_updates=settings.memory_updates,
        runs=settings.runs,
        journal=ports.journal,
        budget=settings.budget,
        warn_at=settings.warn_at,
        secrets=settings.secrets,
    )
    return SupervisorSpec(
        intensity=settings.intensity,
        period=settings.period,
        children=[
            *ports.servers,
            child("limiter", make(Limiter, settings.books, spend=ports.spend)),
            child("llm", door),
            child("batcher", batcher),
            child("memory", memory),
            child("documents", documents),
            child("catalogue", make(Catalogue, tools, cache=settings.cache_catalogue)),
            child("intent", IntentAnalyst),
            child("router", make(Router, tuple(tools))),
            child("verifier", make(Verifier, tools, ports.evidence, model="llm" if settings.model_verdicts else None)),
            child("planner", planner),
            child("executor", executor),
            child("orchestrator", orchestrator),
        ],
    )
