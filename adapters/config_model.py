"""The configuration as frozen data: every key with its default and its range.

`config.yaml` at the top of the repository says the same to people; a test keeps the two alike.
"""

# ruff: noqa: RUF009 -- the calls in the class bodies are `attrs.field` by shorter names
from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import attrs

from .config_rules import Secret, flag, names, real, secret, section, table, text, whole

Leave = Literal["allow", "ask", "deny"]

LEAVES: tuple[Leave, ...] = ("allow", "ask", "deny")


def _url_problem(url: str) -> str | None:
    if re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url) and _names_a_port(url):
        return None
    return "must be a web address such as http://127.0.0.1:8000/v1 (http or https, a host, perhaps a port, no query)"


def _names_a_port(url: str) -> bool:
    """Whether the host and the port of an address can be ones; none is named by most."""
    try:
        parts = urllib.parse.urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


@attrs.frozen(kw_only=True)
class ConnectionPooling:
    """One pool of connections to the model; off: a connection for each call."""

    enabled: bool = flag(default=True)
    max_connections: int = whole(100, low=1, high=10_000)
    max_keepalive: int = whole(50, low=0, high=10_000)
    keepalive_expiry: float = real(30.0, low=0, high=3600)


@attrs.frozen(kw_only=True)
class RateLimiting:
    """The provider's limits a minute, of which `safety_margin` is used; off: calls go out at once."""

    enabled: bool = flag(default=True)
    rpm_limit: int = whole(10_000, low=1, high=1_000_000_000)
    tpm_limit: int = whole(2_000_000, low=1, high=1_000_000_000_000)
    burst_size: int = whole(100, low=1, high=1_000_000)
    safety_margin: float = real(0.9, low=0, high=1, above=True)
    adaptive_concurrency: bool = flag(default=True)


@attrs.frozen(kw_only=True)
class EffectLimits:
    """How many steps of each kind of effect may run at once, over all runs; None: no limit of its own."""

    pure: int | None = whole(None, low=1, high=10_000)
    keyed: int | None = whole(None, low=1, high=10_000)
    once: int | None = whole(None, low=1, high=10_000)


@attrs.frozen(kw_only=True)
class ParallelExecution:
    """How many steps and model calls may run at the same time; off: one step after another."""

    enabled: bool = flag(default=True)
    max_parallel_steps: int = whole(5, low=1, high=10_000)
    max_parallel_llm_calls: int = whole(3, low=1, high=10_000)
    dependency_analysis: bool = flag(default=True)
    level_barrier: bool = flag(default=False)
    max_per_effect: EffectLimits = section(EffectLimits)
    stream_plan: bool = flag(default=True)


@attrs.frozen(kw_only=True)
class BatchEmbeddings:
    """Texts that share one embedding call; off: a call for each text, one at a time."""

    enabled: bool = flag(default=True)
    batch_size: int = whole(100, low=1, high=2048)
    max_concurrent_batches: int = whole(2, low=1, high=64)
    max_tokens: int = whole(100_000, low=1, high=100_000_000)
    linger: float = real(0.005, low=0, high=1)


@attrs.frozen(kw_only=True)
class Caching:
    """What is kept instead of being made again."""

    tool_catalog: bool = flag(default=True)
    prompt_templates: bool = flag(default=True)
    embeddings: bool = flag(default=True)
    embeddings_half: bool = flag(default=False)
    responses_on_disk: bool = flag(default=False)
    responses_ttl: float = real(86_400.0, low=0, high=3_153_600_000, above=True)
    responses: Literal["off", "deterministic", "all"] = text("deterministic", choices=("off", "deterministic", "all"))


@attrs.frozen(kw_only=True)
class BackgroundTasks:
    """What happens beside the run; off: it is awaited, never skipped."""

    verification: bool = flag(default=True)
    memory_updates: bool = flag(default=True)


@attrs.frozen(kw_only=True)
class Performance:
    """Every optimisation with its flag; off means the plain way."""

    connection_pooling: ConnectionPooling = section(ConnectionPooling)
    rate_limiting: RateLimiting = section(RateLimiting)
    parallel_execution: ParallelExecution = section(ParallelExecution)
    batch_embeddings: BatchEmbeddings = section(BatchEmbeddings)
    caching: Caching = section(Caching)
    background_tasks: BackgroundTasks = section(BackgroundTasks)


@attrs.frozen(kw_only=True)
class Planner:
    """Who turns a goal into a plan; `auto` is the model if one is configured, else the rules."""

    mode: Literal["auto", "rules", "llm", "local-form"] = text("auto", choices=("auto", "rules", "llm", "local-form"))
    max_repairs: int = whole(2, low=0, high=10)
    max_replans: int = whole(2, low=0, high=10)


@attrs.frozen(kw_only=True)
class Prices:
    """What a million tokens cost, in whatever money `budget.cost` is meant in."""

    prompt: float = real(0.0, low=0, high=1_000_000)
    completion: float = real(0.0, low=0, high=1_000_000)
    cached: float | None = real(None, low=0, high=1_000_000)


Charge = Literal["auto", "estimate", "actual"]
CHARGES: tuple[Charge, ...] = ("auto", "estimate", "actual")

DEFAULT_MODEL = "default"
"""The name of the model that `llm` itself describes."""
LOCAL_MODEL = "local"
"""The name of the model that `local_llm` describes."""


@attrs.frozen(kw_only=True)
class LlmModel:
    """One more model; what it leaves out is as in `llm`, but a key is never sent to another address."""

    base_url: str | None = text(None, check=_url_problem)
    api_key: Secret | None = secret()
    model: str | None = text(None)
    timeout: float | None = real(None, low=0, high=3600, above=True)
    max_tokens: int | None = whole(None, low=1, high=10_000_000)
    tokenizer: str | None = text(None)
    prices: Prices = section(Prices)
    charge: Charge | None = text(None, choices=CHARGES)
    rpm_limit: int | None = whole(None, low=1, high=1_000_000_000)
    tpm_limit: int | None = whole(None, low=1, high=1_000_000_000_000)


@attrs.frozen(kw_only=True)
class Roles:
    """Which models answer whom, in the order in which they are tried; empty: the default."""

    planner: tuple[str, ...] = names()
    verifier: tuple[str, ...] = names()
    summariser: tuple[str, ...] = names()
    tool: tuple[str, ...] = names()


@attrs.frozen(kw_only=True)
class BreakerSettings:
    """When a model that fails is left alone, and for how many seconds."""

    failures: int = whole(5, low=1, high=1000)
    cooldown: float = real(15.0, low=0, high=3600, above=True)


@attrs.frozen(kw_only=True)
class Llm:
    """The model's endpoint; times in seconds."""

    base_url: str | None = text(None, check=_url_problem)
    api_key: Secret | None = secret("OPENAI_API_KEY")
    model: str = text("gpt-4o-mini")
    timeout: float = real(60.0, low=0, high=3600, above=True)
    max_retries: int = whole(2, low=0, high=20)
    max_tokens: int | None = whole(None, low=1, high=10_000_000)
    tokenizer: str | None = text(None)
    prices: Prices = section(Prices)
    charge: Charge = text("auto", choices=CHARGES)
    rpm_limit: int | None = whole(None, low=1, high=1_000_000_000)
    tpm_limit: int | None = whole(None, low=1, high=1_000_000_000_000)
    warm_up: int = whole(0, low=0, high=1000)
    http2: bool = flag(default=False)
    ca_file: str | None = text(None)
    models: Mapping[str, LlmModel] = table(LlmModel)
    roles: Roles = section(Roles)
    breaker: BreakerSettings = section(BreakerSettings)

    def __attrs_post_init__(self) -> None:
        taken = sorted({DEFAULT_MODEL, LOCAL_MODEL} & set(self.models))
        if taken:
            raise ValueError(f"models: {taken[0]!r} is the name of a model that is described elsewhere; take another")
        known = {DEFAULT_MODEL, LOCAL_MODEL, *self.models}
        for role, chain in attrs.asdict(self.roles).items():
            if unknown := [name for name in chain if name not in known]:
                raise ValueError(
                    f"roles.{role}: there is no model {unknown[0]!r}; known are {', '.join(sorted(known))}"
                )

    @property
    def configured(self) -> bool:
        """Whether there is a model to ask: a key, or an address of one's own."""
        return self.api_key is not None or self.base_url is not None


def _sha256_problem(digest: str) -> str | None:
    return None if re.fullmatch(r"[0-9a-fA-F]{64}", digest) else "must be 64 hexadecimal digits, as `sha256sum` prints"


@attrs.frozen(kw_only=True)
class LocalLlm:
    """A model in a file of one's own, run by a child process; off without `gguf`."""

    gguf: str | None = text(None)
    sha256: str | None = text(None, check=_sha256_problem)
    threads: int | None = whole(None, low=1, high=1024)
    slots: int = whole(2, low=1, high=64)
    context: int = whole(4096, low=256, high=10_000_000)
    idle_stop: float = real(300.0, low=0, high=86_400, above=True)
    start_timeout: float = real(60.0, low=0, high=3600, above=True)
    cache_ram_mb: int = whole(256, low=0, high=1_000_000)
    cache_dir: str | None = text(None)

    def __attrs_post_init__(self) -> None:
        if self.gguf is not None and self.sha256 is None:
            raise ValueError("gguf needs sha256, so that no other file is ever taken for it: see `sha256sum FILE`")


@attrs.frozen(kw_only=True)
class Embeddings:
    """Who turns texts into vectors."""

    provider: Literal["auto", "wordllama", "openai", "hash", "none"] = text(
        "auto", choices=("auto", "wordllama", "openai", "hash", "none")
    )
    model: str | None = text(None)
    base_url: str | None = text(None, check=_url_problem)
    api_key: Secret | None = secret()
    dimensions: int | None = whole(None, low=1, high=100_000)


@attrs.frozen(kw_only=True)
class MemorySettings:
    """Where memories are kept, and what a recall gives when it is not told."""

    path: str | None = text(None)
    k: int = whole(5, low=1, high=1000)
    min_score: float = real(0.0, low=-1, high=1)
    namespace: str = text("default")
    ttl: float | None = real(None, low=0, high=3_153_600_000, above=True)
    near_duplicates: Literal["keep", "merge", "refuse"] = text("keep", choices=("keep", "merge", "refuse"))
    near_threshold: float = real(0.97, low=0, high=1, above=True)
    index: Literal["auto", "flat", "ivf", "hnsw", "numpy"] = text(
        "auto", choices=("auto", "flat", "ivf", "hnsw", "numpy")
    )
    hybrid: bool = flag(default=True)

    def file(self, environ: Mapping[str, str] | None = None) -> Path:
        """The file of the memories, by XDG's rule when `path` is not given; index and cache lie beside it."""
        if self.path is not None:
            return Path(self.path).expanduser()
        home = (os.environ if environ is None else environ).get("XDG_DATA_HOME", "")
        base = Path(home) if Path(home).is_absolute() else Path("~/.local/share").expanduser()
        return base / "trouper" / "memory.sqlite"


@attrs.frozen(kw_only=True)
class DocumentSettings:
    """What is indexed, in which pieces, and where."""

    path: str | None = text(None)
    chunk_chars: int = whole(1200, low=100, high=20_000)
    overlap_chars: int = whole(150, low=0, high=10_000)
    max_file_mb: float = real(20.0, low=0, high=10_000, above=True)
    batch_size: int = whole(100, low=1, high=2048)

    def __attrs_post_init__(self) -> None:
        if self.overlap_chars * 2 > self.chunk_chars:
            raise ValueError(f"overlap_chars ({self.overlap_chars}) must be at most half of chunk_chars")

    def file(self, memory: Path) -> Path:
        """The file of the indexed documents; beside the memory's file when `path` is not given."""
        return Path(self.path).expanduser() if self.path is not None else memory.with_name("documents.sqlite")


@attrs.frozen(kw_only=True)
class ProcessLimits:
    """What a tool with `isolation="process"` may use."""

    memory_mb: int = whole(1024, low=64, high=1_000_000)
    cpu_seconds: int = whole(60, low=1, high=86_400)
    file_mb: int = whole(100, low=1, high=1_000_000)


@attrs.frozen(kw_only=True)
class Tools:
    """What the built-in tools work on."""

    workdir: str = text(".")
    block_warning: float = real(0.1, low=0, high=3600, above=True)
    max_abandoned_threads: int = whole(32, low=1, high=10_000)
    process: ProcessLimits = section(ProcessLimits)


@attrs.frozen(kw_only=True)
class Permissions:
    """What tools may do: `allow`, `ask` (a person, where there is one; else refused) or `deny`."""

    read: Leave = text("allow", choices=LEAVES)
    write: Leave = text("allow", choices=LEAVES)
    overwrite: Leave = text("ask", choices=LEAVES)
    outside: Leave = text("deny", choices=LEAVES)
    network: Leave = text("deny", choices=LEAVES)
    private_network: Leave = text("deny", choices=LEAVES)
    memory: Leave = text("allow", choices=LEAVES)


@attrs.frozen(kw_only=True)
class BackoffSettings:
    """The pause before a restart, in seconds: doubles from `min` to `max`, spread by `jitter`."""

    min: float = real(0.05, low=0, high=3600, above=True)
    max: float = real(5.0, low=0, high=3600, above=True)
    jitter: float = real(0.2, low=0, high=1)

    def __attrs_post_init__(self) -> None:
        if self.max < self.min:
            raise ValueError(f"max ({self.max:g}) must be at least min ({self.min:g})")


@attrs.frozen(kw_only=True)
class Supervision:
    """How many restarts within how many seconds an actor of the cast may need."""

    intensity: int = whole(3, low=0, high=1000)
    period: float = real(5.0, low=0, high=86_400, above=True)
    backoff: BackoffSettings = section(BackoffSettings)


@attrs.frozen(kw_only=True)
class Verifier:
    """Whether results are checked, and how long one check may take."""

    enabled: bool = flag(default=True)
    timeout: float = real(30.0, low=0, high=3600, above=True)
    threshold: float = real(0.8, low=0, high=1)
    below_threshold: Literal["mark", "replan"] = text("mark", choices=("mark", "replan"))
    model: bool = flag(default=False)


@attrs.frozen(kw_only=True)
class Run:
    """Limits of one run; times in seconds."""

    timeout: float = real(300.0, low=0, high=86_400, above=True)
    approval_wait: float = real(0.0, low=0, high=86_400)
    compensation_timeout: float = real(30.0, low=0, high=3600, above=True)


@attrs.frozen(kw_only=True)
class BudgetSettings:
    """What one run may spend; None: no limit. `execute(budget=...)` can only lower it."""

    tokens: int | None = whole(None, low=1, high=1_000_000_000_000)
    cost: float | None = real(None, low=0, high=1_000_000_000, above=True)
    seconds: float | None = real(None, low=0, high=86_400, above=True)
    steps: int | None = whole(None, low=1, high=10_000_000)
    tool_calls: int | None = whole(None, low=1, high=10_000_000)
    model_calls: int | None = whole(None, low=1, high=10_000_000)
    warn_at: float = real(0.8, low=0, high=1, above=True)


@attrs.frozen(kw_only=True)
class JournalSettings:
    """Where the command line keeps its runs, and how many of them."""

    path: str | None = text(None)
    keep: int = whole(200, low=1, high=100_000)


@attrs.frozen(kw_only=True)
class Observability:
    """What is told while things happen."""

    log_level: Literal["debug", "info", "warning", "error"] = text(
        "info", choices=("debug", "info", "warning", "error")
    )


@attrs.frozen(kw_only=True)
class Config:
    """A whole configuration: valid, or never built."""

    planner: Planner = section(Planner)
    llm: Llm = section(Llm)
    local_llm: LocalLlm = section(LocalLlm)
    embeddings: Embeddings = section(Embeddings)
    memory: MemorySettings = section(MemorySettings)
    documents: DocumentSettings = section(DocumentSettings)
    tools: Tools = section(Tools)
    permissions: Permissions = section(Permissions)
    run: Run = section(Run)
    budget: BudgetSettings = section(BudgetSettings)
    journal: JournalSettings = section(JournalSettings)
    verifier: Verifier = section(Verifier)
    performance: Performance = section(Performance)
    supervision: Supervision = section(Supervision)
    observability: Observability = section(Observability)
