"""kill -9 at random instants: no acknowledged memory is lost or doubled, and search equals brute force over SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.io

HARNESS = Path(__file__).with_name("kills.py")


def kills(folder: Path, first: int, count: int, seconds: float) -> str:
    """Run the harness, in a process that starts no thread before it forks."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(HARNESS), str(folder), str(first), str(count)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=env, check=False)
    assert run.returncode == 0, f"{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
    assert run.stdout.count("well") == count
    return run.stdout


def test_fifty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    said = kills(tmp_path, 0, 50, 300)

    assert max(int(line.split()[4]) for line in said.splitlines()) > 50


@pytest.mark.slow
def test_a_thousand_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kills(tmp_path, 1_000, 1_000, 3_600)
