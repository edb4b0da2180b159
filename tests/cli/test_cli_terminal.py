"""On a terminal: the live view, and the question for leave. A pseudo-terminal is the user's."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Self

import pytest

pytestmark = [pytest.mark.io, pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")]

PATIENCE = 120.0
PLAN = [{"id": 1, "action": "write_file", "parameters": {"path": "notes.md", "content": "new"}}]


class Terminal:
    """A process on a terminal of its own, and the person in front of it."""

    def __init__(self, user, *arguments: str) -> None:
        import pty

        self._ours, theirs = pty.openpty()
        self._process = user.start(*arguments, stdin=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.seen = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._ours)

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + PATIENCE
        while words not in self.seen:
            assert time.monotonic() < end, self.seen
            assert self._read(), self.seen

    def type(self, text: bytes) -> None:
        os.write(self._ours, text)

    def end(self) -> tuple[int, str]:
        """The exit code and what came on stdout, which is a pipe."""
        while self._read():
            pass
        out, _ = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, out.decode()

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # the other end is closed
            return False
        self.seen += data.decode()
        return bool(data)


@pytest.fixture
def on_a_terminal(user):
    user.environ["TERM"] = "xterm"
    (user.cwd / "notes.md").write_text("old")
    (user.cwd / "plan.json").write_text(json.dumps(PLAN))
    return user


def test_a_terminal_shows_levels_and_steps_and_stdout_has_the_answer_only(on_a_terminal):
    with Terminal(on_a_terminal, "run", "What is 2+3?") as terminal:
        code, out = terminal.end()

    assert code == 0
    assert out.strip().endswith("5")
    assert "\x1b" not in out
    assert terminal.seen.startswith("planner: rules (")
    assert "level 0" in terminal.seen
    assert "[EXECUTOR]" not in terminal.seen


@pytest.mark.parametrize(
    ("typed", "code", "left"),
    [(b"y\n", 0, "new"), (b"\n", 1, "old"), (b"no\n", 1, "old"), (b"\x04", 1, "old")],
    ids=["yes", "enter", "no", "end of input"],
)
def test_a_person_at_a_terminal_is_asked_and_only_yes_is_yes(on_a_terminal, typed, code, left):
    with Terminal(on_a_terminal, "exec", "plan.json", "--quiet") as terminal:
        terminal.wait_for("notes.md")
        terminal.wait_for("[y/N] ")
        terminal.type(typed)
        ended, _ = terminal.end()

    assert ended == code
    assert (on_a_terminal.cwd / "notes.md").read_text() == left


def test_where_there_is_no_terminal_nobody_is_asked(here):
    (here.cwd / "notes.md").write_text("old")
    (here.cwd / "plan.json").write_text(json.dumps(PLAN))

    said = here("exec", "plan.json", stdin=b"y\n")

    assert said.code == 1
    assert "there is nobody to ask" in said.err
    assert (here.cwd / "notes.md").read_text() == "old"
