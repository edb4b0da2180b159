"""`trouper bench --quick`, as a user runs it: what the flags change is asserted, never how long anything took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.io

Row = dict[str, object]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One run for all tests of this file."""
    folder = tmp_path_factory.mktemp("bench")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    command = [sys.executable, "-m", "trouper", "bench", "--quick", "--json", "--png", "chart.png"]
    return (
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200, check=False),
        folder,
    )


@pytest.fixture(scope="module")
def rows(ended: tuple[subprocess.CompletedProcess[str], Path]) -> dict[str, Row]:
    return {row["flags"]: row for row in json.loads(ended[0].stdout)["rows"]}


def test_it_ends_well_and_says_what_it_does_on_stderr(ended) -> None:
    process, folder = ended

    assert process.returncode == 0, process.stderr
    assert "recorded the calls of 8 goals" in process.stderr
    assert "Traceback" not in process.stderr
    assert (folder / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in folder.iterdir()] == ["chart.png"]


def test_every_goal_of_every_row_succeeds(rows) -> None:
    assert {name: row["failed"] for name, row in rows.items() if row["failed"]} == {}
    assert rows["all on"]["rate_limited"] == 0


def test_pooling_is_what_saves_connections(rows) -> None:
    assert rows["all off"]["connections"] == rows["all off"]["calls"]
    assert rows["without connection_pooling.enabled"]["connections"] > 2 * rows["all on"]["connections"]
    assert rows["all off, with pooling"]["connections"] < rows["all off"]["connections"] / 2


def test_parallel_execution_is_what_makes_calls_run_side_by_side(rows) -> None:
    assert rows["all on"]["most_at_once"] > rows["without parallel_execution.enabled"]["most_at_once"]


def test_steps_start_before_their_plan_is_complete_only_where_it_is_streamed(rows) -> None:
    assert rows["all on"]["steps_before_the_plan"] > 0
    assert rows["without parallel_execution.stream_plan"]["steps_before_the_plan"] == 0


def test_batches_and_caches_save_what_they_are_meant_to(rows) -> None:
    on = rows["all on"]
    assert rows["without batch_embeddings.enabled"]["embeddings"] > on["embeddings"]
    assert rows["without caching.embeddings"]["embedded_texts"] > on["embedded_texts"]
    assert rows["without caching.tool_catalog"]["catalogues_built"] == 8
    assert on["catalogues_built"] < 8


def test_what_is_in_the_background_holds_nothing_up(rows) -> None:
    on = rows["all on"]
    assert on["waited_for_verdicts_s"] == 0
    assert rows["without background_tasks.verification"]["waited_for_verdicts_s"] > 0
    assert rows["without background_tasks.memory_updates"]["waited_for_memory_s"] > on["waited_for_memory_s"]


def test_a_row_whose_flag_changed_nothing_says_why(rows) -> None:
    silent = [
        name
        for name, row in rows.items()
        if "flag" in row and not row["meant"]["changed"] and row["meant"]["why_not"].startswith("not explained")
    ]
    assert silent == []


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trouper", "bench", "--png", str(tmp_path / "nowhere" / "chart.png")]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert process.returncode == 2
    assert "nowhere is not a directory" in process.stderr
