"""The configuration as frozen data: every key with its default and its range.

`config.yaml` at the top of the repository says the same to people; a test keeps the two alike.
"""

# ruff: noqa: RUF009 -- the calls in the class bodies are `attrs.field` by shorter names
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import attrs

from .config_rules import Secret, flag, real, secret, section, text, whole

Leave = Literal["allow", "ask", "deny"]

LEAVES: tuple[Leave, ...] = ("allow", "ask", "deny")


def _url_problem(url: str) -> str | None:
    if re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
        return None
    return "must be a web address such as http://127.0.0.1:8000/v1 (http or https, a host, no query)"


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


@attrs.frozen(kw_only=True)
class Caching:
    """What is kept instead of being made again."""

    tool_catalog: bool = flag(default=True)
    prompt_templates: bool = flag(default=True)
    embeddings: bool = flag(default=True)


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

    mode: Literal["auto", "rules", "llm"] = text("auto", choices=("auto", "rules", "llm"))
    max_repairs: int = whole(2, low=0, high=10)
    max_replans: int = whole(2, low=0, high=10)


@attrs.frozen(kw_only=True)
class Prices:
    """What a million tokens cost, in whatever money `budget.cost` is meant in."""

    prompt: float = real(0.0, low=0, high=1_000_000)
    completion: float = real(0.0, low=0, high=1_000_000)


@attrs.frozen(kw_only=True)
class Llm:
    """The model's endpoint; times in seconds."""

    base_url: str | None = text(None, check=_url_problem)
    api_key: Secret | None = secret("OPENAI_API_KEY")
    model: str = text("gpt-4o-mini")
    timeout: float = real(60.0, low=0, high=3600, above=True)
    max_retries: int = whole(2, low=0, high=20)
    max_tokens: int | None = whole(None, low=1, high=10_000_000)
    prices: Prices = section(Prices)

    @property
    def configured(self) -> bool:
        """Whether there is a model to ask: a key, or an address of one's own."""
        return self.api_key is not None or self.base_url is not None


@attrs.frozen(kw_only=True)
class Embeddings:
    """Who turns texts into vectors."""

    provider: Literal["auto", "wordllama", "openai", "hash"] = text(
        "auto", choices=("auto", "wordllama", "openai", "hash")
    )
    model: str | None = text(None)


@attrs.frozen(kw_only=True)
class MemorySettings:
    """Where memories are kept, and what a recall gives when it is not told."""

    path: str | None = text(None)
    k: int = whole(5, low=1, high=1000)
    min_score: float = real(0.0, low=-1, high=1)

    def file(self, environ: Mapping[str, str] | None = None) -> Path:
        """The file of the memories, by XDG's rule when `path` is not given; index and cache lie beside it."""
        if self.path is not None:
            return Path(self.path).expanduser()
        home = (os.environ if environ is None else environ).get("XDG_DATA_HOME", "")
        base = Path(home) if Path(home).is_absolute() else Path("~/.local/share").expanduser()
        return base / "trouper" / "memory.sqlite"


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
    embeddings: Embeddings = section(Embeddings)
    memory: MemorySettings = section(MemorySettings)
    tools: Tools = section(Tools)
    permissions: Permissions = section(Permissions)
    run: Run = section(Run)
    budget: BudgetSettings = section(BudgetSettings)
    journal: JournalSettings = section(JournalSettings)
    verifier: Verifier = section(Verifier)
    performance: Performance = section(Performance)
    supervision: Supervision = section(Supervision)
    observability: Observability = section(Observability)
