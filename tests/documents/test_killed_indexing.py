"""A process that is killed while it indexes leaves whole files behind, and the next one finishes the work."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.io

ROOT = Path(__file__).parent.parent.parent
FILES = 80


def start(tmp_path: Path, name: str) -> subprocess.Popen[bytes]:
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT / ".src"),
        "XDG_DATA_HOME": str(tmp_path / name),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "trouper", "index", "tree", "--quiet"]
    options = ["--set", "embeddings.provider=hash", "--set", "documents.batch_size=2"]
    return subprocess.Popen(
        [*command, *options], cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def content(file: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute(
            "SELECT path, text, first_line, last_line, vector FROM passage JOIN document ON document.id = document"
            " ORDER BY path, first_line, text"
        ).fetchall()
        words = connection.execute("SELECT count(*) FROM passage_words WHERE passage_words MATCH 'number'").fetchone()
    connection.close()
    assert words == (sum("number" in str(row[1]) for row in rows),)
    return rows


def test_what_was_killed_is_finished_by_the_next_and_is_what_it_would_have_been(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for n in range(FILES):
        (tree / f"file{n:03}.txt").write_text("\n\n".join(f"Paragraph {p} of number {n}. " * 20 for p in range(8)))
    with start(tmp_path, "whole") as whole:
        assert whole.wait(120) == 0
    chance = random.Random(20261123)
    file = tmp_path / "killed" / "trouper" / "documents.sqlite"
    killed = lives = 0
    while lives < 6 or killed < 2:
        lives += 1
        assert lives < 50
        before = file.stat().st_size if file.exists() else 0
        with start(tmp_path, "killed") as process:
            ends = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < ends:
                if file.exists() and file.stat().st_size + wal_size(file) > before:
                    break  # it has begun to write
                time.sleep(0.002)
            time.sleep(chance.random() * 0.15)
            process.send_signal(signal.SIGKILL)
            process.wait(60)
        if process.returncode == -signal.SIGKILL:
            killed += 1
        elif killed < 2:  # it was done before we came to kill it: from the beginning
            shutil.rmtree(file.parent.parent)
            killed = 0
    with start(tmp_path, "killed") as last:
        assert last.wait(120) == 0, last.stderr.read() if last.stderr else ""

    assert content(file) == content(tmp_path / "whole" / "trouper" / "documents.sqlite")


def wal_size(file: Path) -> int:
    wal = Path(f"{file}-wal")
    return wal.stat().st_size if wal.exists() else 0
