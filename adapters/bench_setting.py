"""What `trouper bench` runs under: the server, its limits, the clients, and the flags that are turned off and on. Data.

Everything that decides the figures stands here and is printed with them. The times are those of a quick hosted model
40 ms away; with a slower model the share that flags save is another one, which is why they are published.
"""

# ruff: noqa: RUF009 -- the defaults of the settings are frozen records
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs

from trouper.runtime import Seconds

from .bench_suite import EIGHT, KINDS, BenchGoal, make_suite
from .model_server_law import RateLaw
from .model_server_times import ModelTime, Network

FLAGS: Mapping[str, object] = {
    "connection_pooling.enabled": False,
    "rate_limiting.enabled": False,
    "parallel_execution.enabled": False,
    "parallel_execution.stream_plan": False,
    "batch_embeddings.enabled": False,
    "caching.tool_catalog": False,
    "caching.prompt_templates": False,
    "caching.embeddings": False,
    "caching.responses": "off",
    "background_tasks.verification": False,
    "background_tasks.memory_updates": False,
}
"""Every flag of `performance` that turns an optimisation on and off, and its value when off."""

WAYS = frozenset(
    {
        "rate_limiting.adaptive_concurrency",
        "parallel_execution.dependency_analysis",
        "parallel_execution.level_barrier",
        "caching.embeddings_half",
        "caching.responses_on_disk",
    }
)
"""Flags that say how an optimisation works, not whether it does: they go with theirs and have no row."""

Program = Literal["troupe", "gathered"]


@attrs.frozen(kw_only=True)
class Setting:
    """The circumstances of a bench: the same for all of its rows."""

    kinds: tuple[str, ...] = tuple(KINDS)
    repeats: int = 3
    """How often each kind of goal comes."""
    clients: int = 7
    """Who ask at the same time, each one goal after another."""
    seed: int = 1
    network: Network = Network(round_trip=0.04, tls=True)
    model_time: ModelTime = ModelTime(
        first=0.25,
        embedding=0.05,
        per_prompt_token=0.00002,
        per_completion_token=0.003,
        per_embedded_token=0.00005,
        prefix_cache=True,
    )
    law: RateLaw = RateLaw(rpm=1600, tpm=2_000_000, kind="second")
    burst: int = 24
    """`rate_limiting.burst_size`: a little less than the law lets through at once."""
    safety_margin: float = 0.98
    parallel_steps: int = 16
    parallel_calls: int = 32
    warm_up: int = 16
    """Connections that are opened when the troupe starts, where they are pooled."""
    service: Seconds = 0.05
    """What the tool that asks no model takes."""

    def goals(self) -> list[BenchGoal]:
        """The suite."""
        return make_suite(self.repeats, self.kinds)

    def as_json(self) -> dict[str, object]:
        """What is published with the figures."""
        return attrs.asdict(self)


QUICK = Setting(
    kinds=EIGHT,
    repeats=1,
    clients=4,
    network=Network(round_trip=0.004, tls=True),
    model_time=ModelTime(
        first=0.03,
        embedding=0.005,
        per_prompt_token=0.000002,
        per_completion_token=0.0004,
        per_embedded_token=0.000005,
        prefix_cache=True,
    ),
    law=RateLaw(rpm=6000, tpm=6_000_000, kind="second"),
    burst=80,
    service=0.01,
)
"""A tenth of the times and eight goals: what changes is seen, by how much is not."""


def setting_from_json(given: Mapping[str, object]) -> Setting:
    """The setting that `Setting.as_json` gave."""
    parts = {"network": Network, "model_time": ModelTime, "law": RateLaw}
    values = {name: parts[name](**value) if name in parts else value for name, value in given.items()}  # type: ignore[arg-type]  # of the same three classes
    values["kinds"] = tuple(given["kinds"])  # type: ignore[arg-type]  # the same
    return Setting(**values)  # type: ignore[arg-type]  # the same


@attrs.frozen(kw_only=True)
class Row:
    """One row of the table: which program, and which flags are off."""

    name: str
    off: tuple[str, ...] = ()
    program: Program = "troupe"
    flag: str | None = None
    """The one flag that this row is about."""
    against: str | None = None
    """The row that it differs from by this flag only."""
    times: int = 1
    """How often it is run; the median run counts."""
    waits: bool = False
    """It waits most of its time, so several such rows may be run side by side."""


ALL = tuple(FLAGS)
ALL_OFF, ALL_ON, POOLED, GATHERED = "all off", "all on", "all off, with pooling", "plain asyncio"


def headline_rows(times: int = 1) -> list[Row]:
    """The rows that bound all the others."""
    return [
        Row(name=ALL_OFF, off=ALL),
        Row(name=ALL_ON, times=times),
        Row(
            name=POOLED,
            off=tuple(flag for flag in ALL if flag != "connection_pooling.enabled"),
            flag="connection_pooling.enabled",
            against=ALL_OFF,
            waits=True,
        ),
        Row(name=GATHERED, program="gathered"),
    ]


def rows_without(flags: Sequence[str] = ALL) -> list[Row]:
    """All on but one."""
    slow = {"parallel_execution.enabled"}
    return [Row(name=f"without {flag}", off=(flag,), flag=flag, against=ALL_ON, waits=flag in slow) for flag in flags]


def rows_with_only(flags: Sequence[str] = ALL) -> list[Row]:
    """All off but one. That with pooling only is among the headlines."""
    return [
        Row(
            name=f"only {flag}",
            off=tuple(other for other in ALL if other != flag),
            flag=flag,
            against=ALL_OFF,
            waits=True,
        )
        for flag in flags
        if flag != "connection_pooling.enabled"
    ]


def config_for(row: Row, setting: Setting, base_url: str, ca_file: Path | None, folder: Path) -> dict[str, object]:
    """The configuration of one row: the same for all but for its flags."""
    performance: dict[str, dict[str, object]] = {
        "connection_pooling": {},
        "rate_limiting": {
            "rpm_limit": setting.law.rpm or 10_000,
            "tpm_limit": setting.law.tpm or 2_000_000,
            "burst_size": setting.burst,
            "safety_margin": setting.safety_margin,
        },
        "parallel_execution": {
            "max_parallel_steps": setting.parallel_steps,
            "max_parallel_llm_calls": setting.parallel_calls,
        },
        "batch_embeddings": {},
        "caching": {},
        "background_tasks": {},
    }
    for flag in row.off:
        section, _, key = flag.partition(".")
        performance[section][key] = FLAGS[flag]
    return {
        "planner": {"mode": "llm"},
        "llm": {
            "base_url": base_url,
            "api_key": "bench",
            "model": "bench",
            "max_retries": 8,
            "max_tokens": 1024,
            "charge": setting.law.charge,
            "warm_up": setting.warm_up,
            "ca_file": None if ca_file is None else str(ca_file),
        },
        "embeddings": {"provider": "openai", "model": "bench-embeddings"},
        # Only what is the very same is recalled: so that prompts do not depend on which goal ended first.
        "memory": {"path": str(folder / "memory.sqlite"), "min_score": 0.9},
        "verifier": {"model": True},
        "tools": {"workdir": str(folder)},
        "performance": performance,
        "observability": {"log_level": "info"},
    }
