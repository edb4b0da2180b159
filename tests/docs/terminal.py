"""Running a command as a reader does: in a shell, on a terminal, in a directory of its own.

What comes out is what the terminal would show at the end: colours are dropped, lines that were drawn again count
once. `normal` takes out of it what differs from run to run: times, ids, temporary directories.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import attrs

from tests.docs.pages import ROOT

COLUMNS = 100
DEADLINE = 120.0

_SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[()][A-Z0-9]")


@attrs.frozen
class Shown:
    """How a command ended and what the terminal showed."""

    code: int
    lines: tuple[str, ...]


@attrs.frozen
class Place:
    """A directory to run commands in, with a home for data that is nobody else's."""

    folder: Path
    home: Path

    def environ(self) -> dict[str, str]:
        """No key, no address of a model, `trouper` and `python` of this very checkout first in the path."""
        # Without bytecode every one of these processes would compile the whole package.
        strange = ("OPENAI_", "PYTEST_", "TROUPER_", "PYTHONDONTWRITEBYTECODE")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(strange)}
        programs = self.home / "bin"
        return kept | {
            "PATH": f"{programs}:{kept.get('PATH', os.defpath)}",
            "PYTHONPATH": f"{ROOT / '.src'}:{ROOT}",
            "XDG_DATA_HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "HOME": str(self.home),
            "TERM": "xterm-256color",
            "COLUMNS": str(COLUMNS),
            "OMP_NUM_THREADS": "1",
        }

    def prepare(self) -> None:
        """Make the directories and the two programs that the docs call."""
        programs = self.home / "bin"
        programs.mkdir(parents=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, module in (("trouper", " -m trouper"), ("python", "")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{module} "$@"\n')
            program.chmod(0o755)

    def write(self, name: str, text: str) -> None:
        """Put a file that a page shows into the directory."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def run(self, line: str) -> Shown:
        """Run one line of shell; nobody sits at the keyboard."""
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        process = subprocess.Popen(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=child,
            stderr=child,
            start_new_session=True,
        )
        os.close(child)
        try:
            written = _read_all(parent)
            code = process.wait(timeout=DEADLINE)
        finally:
            os.close(parent)
            if process.poll() is None:
                process.kill()
                process.wait()
        return Shown(code, tuple(screen(written)))


def _read_all(terminal: int) -> str:
    written = b""
    began = time.monotonic()
    with contextlib.suppress(OSError):  # EIO: the last writer has gone
        while chunk := os.read(terminal, 65536):
            written += chunk
            if time.monotonic() - began > DEADLINE:
                raise TimeoutError(f"no end after {DEADLINE:g} s; so far: {written[-500:]!r}")
    return written.decode("utf-8", "replace")


def screen(written: str) -> list[str]:
    """The lines a terminal shows after `written`, as far as our own programs use it."""
    lines = [""]
    row = column = at = 0
    while at < len(written):
        found = _SEQUENCE.match(written, at)
        if found:
            at = found.end()
            amount = int(found[1]) if (found[1] or "").isdigit() else 1
            if found[2] == "A":
                row = max(0, row - amount)
            elif found[2] == "K":
                lines[row] = "" if found[1] == "2" else lines[row][:column]
            elif found[2] == "J":
                lines[row:] = [lines[row][:column]]
            continue
        char, at = written[at], at + 1
        if char == "\r":
            column = 0
        elif char == "\n":
            row, column = row + 1, 0
            if row == len(lines):
                lines.append("")
        else:
            lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
            column += 1
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]


def normal(line: str) -> str:
    """A line without what differs from run to run."""
    line = re.sub(r"\b\d+(?:\.\d+)? ?s\b", "N s", line)
    line = re.sub(r"\|[ .#=]+\|", "|BAR|", line)  # of a Gantt
    if "|BAR|" in line or re.match(r"step +N s", line):
        line = re.sub(r" {2,}", " ", line)
    line = re.sub(r'("(?:started|ended|created)": )[\d.e+-]+', r"\1N", line)
    line = re.sub(r"\brun-[0-9a-f]{12}\b", "run-ID", line)
    line = re.sub(r"[\w/.-]*/trouper-demo-\w+", "DIR", line)
    line = re.sub(r"\b[0-9a-f]{64}\b", "SHA256", line)
    line = re.sub(r"(?<=[( ])[0-9a-f]{8}(?=\))", "DIGEST", line)
    return line.rstrip()


def differs(expected: list[str] | tuple[str, ...], shown: list[str] | tuple[str, ...]) -> str:
    """Where what was shown is not what was expected; empty if it is. A line `...` stands for any lines."""
    wanted = [normal(line) for line in expected]
    while wanted and not wanted[-1]:
        wanted.pop()
    got = [normal(line) for line in shown]
    if _same(wanted, got):
        return ""
    return "\n".join(["the page says:", *(f"  {w}" for w in wanted), "it was:", *(f"  {line}" for line in shown)])


def _same(wanted: list[str], got: list[str]) -> bool:
    """Match the parts between `...` in order: the first at the beginning, the last at the end."""
    parts: list[list[str]] = [[]]
    for line in wanted:
        if line.strip() == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    if len(parts) == 1:
        return wanted == got
    first, *middle, last = parts
    if got[: len(first)] != first or (last and got[-len(last) :] != last):
        return False
    at = len(first)
    for part in middle:
        at = next((n + len(part) for n in range(at, len(got) + 1) if got[n : n + len(part)] == part), len(got) + 1)
    return at <= len(got) - len(last)
