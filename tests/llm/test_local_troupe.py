"""A troupe with nothing but a local model: from the configuration to the answer, with a stand-in for the engine."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest
import trio

import trouper
from tests.llm.test_local_model import ENGINE, model_file
from trouper.adapters.local_server import GetLocalStatistics
from trouper.runtime import GoalRefused

pytestmark = pytest.mark.io

WORDED = "My colleague left handover.md here; I would love a short recap of it"


@pytest.fixture
def config(tmp_path, monkeypatch) -> dict[str, object]:
    monkeypatch.setenv("PYTHONPATH", str(ENGINE))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    file = model_file(tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "handover.md").write_text("The keys are with Anna. The server moves on Monday.\n")
    return {
        "local_llm": {
            "gguf": str(file),
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "threads": 1,
            "cache_dir": str(tmp_path / "cache"),
        },
        "memory": {"path": str(tmp_path / "m.sqlite")},
        "embeddings": {"provider": "hash"},
    }


async def test_a_goal_that_the_rules_refuse_is_planned_by_the_form_that_the_model_filled_in(config, tmp_path) -> None:
    async with trouper.open_troupe(config, workdir=tmp_path / "work") as troupe:
        planned = await troupe.planned(WORDED)
        outcome = await troupe.execute(WORDED, timeout=60)

    assert troupe.planner == "local-form"
    assert planned.planner == "local-form"
    assert [step.action for step in planned.plan.steps] == ["read_file", "summarize"]
    assert outcome.status is trouper.RunStatus.SUCCESS
    assert outcome.usage.calls >= 1


async def test_a_goal_that_the_rules_explain_starts_no_process(config, tmp_path) -> None:
    async with trouper.open_troupe(config, workdir=tmp_path / "work") as troupe:
        await troupe.plan("Read handover.md")
        server = troupe.system.find("troupe/local_llm/server")
        seen = await server.ask(GetLocalStatistics())

    assert seen.starts == 0


async def test_what_cannot_be_done_is_refused_with_both_reasons(config, tmp_path) -> None:
    async with trouper.open_troupe(config, workdir=tmp_path / "work") as troupe:
        with pytest.raises(GoalRefused, match=r"does not bear out|could not fill in"):
            await troupe.plan("My colleague left handover.md here; I would love a German recap of it")


async def test_a_server_killed_between_two_goals_is_replaced_and_nobody_notices(config, tmp_path) -> None:
    async with trouper.open_troupe(config, workdir=tmp_path / "work") as troupe:
        await troupe.plan(WORDED)
        server = troupe.system.find("troupe/local_llm/server")
        os.kill((await server.ask(GetLocalStatistics())).pid, signal.SIGKILL)
        with trio.fail_after(60):
            planned = await troupe.planned(f"{WORDED}, please")

    assert len(planned.plan.steps) == 2


async def test_the_file_that_is_pinned_is_not_there_and_the_goal_says_so(config, tmp_path) -> None:
    Path(config["local_llm"]["gguf"]).unlink()
    async with trouper.open_troupe(config, workdir=tmp_path / "work") as troupe:
        with pytest.raises(trouper.LLMError, match="cannot be read"):
            await troupe.plan(WORDED)
