"""The command line as a user has it: a process of its own; or in this process, where that adds nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from trouper.adapters import asker_terminal, cli

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 120.0


# `preexec_fn` would do it too, but not in a process that has threads.
_WITH_SIGINT = """\
import os, signal, sys
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


@attrs.frozen
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class User:
    """Somebody at a shell in `cwd`, with a home of their own and no key in the environment."""

    def __init__(self, cwd: Path, home: Path) -> None:
        self.cwd = cwd
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "TROUPER", "XDG"))}
        self.environ = {
            **kept,
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_STATE_HOME": str(home / "state"),
            "PYTHONPATH": str(ROOT / ".src"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(home),
        }

    def start(self, *arguments: str, ctrl_c: str | None = None, **options: Any) -> subprocess.Popen[bytes]:
        """A process. `ctrl_c`: SIG_DFL as a shell's foreground job has it, SIG_IGN as a background job."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = self.command(*arguments)
        if ctrl_c is not None:
            command = [sys.executable, "-c", _WITH_SIGINT, ctrl_c, *command]
        return subprocess.Popen(command, cwd=self.cwd, env=self.environ, **options)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "trouper", *arguments]

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Said:
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            cwd=self.cwd,
            env=self.environ,
            timeout=PATIENCE,
            check=False,
        )
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Somebody at a shell in an empty directory."""
    home, cwd = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    cwd.mkdir()
    return User(cwd, home)


class Here:
    """The command line in this process, in `cwd`: `here("check", "-", stdin=b"...")`."""

    def __init__(self, cwd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.cwd = cwd
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Said:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capsys.readouterr()
        code = cli.run(arguments)
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """The command line in this process, in an empty directory; what it imports from there is forgotten again."""
    cwd = tmp_path / "work"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # `pytest -s` at a terminal must not have the developer answer questions.
    monkeypatch.setattr(asker_terminal, "can_ask", lambda: False)
    monkeypatch.setenv("TERM", "dumb")
    modules = set(sys.modules)
    yield Here(cwd, monkeypatch, capsys)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
