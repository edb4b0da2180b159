"""Trouper's ask beside other libraries': `python -m tests.benchmarks.peers`.

Each library lives in a process of its own, on the same Python as the Trouper beside it, and both are told in turn to
make a short slice of asks; the ratio of CPU times of each pair counts. Without `--python` the libraries are installed
into a temporary environment (triotp needs Python 3.13 or newer: `--base` names one). What cannot be installed is said.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from .figures import PAIRS, micro
from .interval import Bound, Figure, at_least
from .kernel import HEADING, line, record, surroundings

ROOT = Path(__file__).resolve().parents[2]

PEERS: dict[str, tuple[str, Bound, int]] = {
    "triotp": ("triotp==0.3.1", at_least(3.0), 100),
    "tapio-py": ("tapio-py==0.18.0", at_least(4.0), 60),
    "autogen-core": ("autogen-core==0.7.5", at_least(10.0), 30),
    "pykka": ("pykka==4.5.0", at_least(1.4), 150),
}
"""What is installed, what is demanded, and how many asks make a slice of some milliseconds."""

OURS = 300
NEEDED_BY_TROUPER = ("trio>=0.32", "outcome>=1.3", "attrs>=24.2")


class Worker:
    """A library in a process of its own."""

    def __init__(self, python: str, *what: str, module: str = "tests.benchmarks.worker") -> None:
        paths = [str(ROOT / ".src"), str(ROOT)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [python, "-m", module, *what],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        ready = self._read()
        if not ready.startswith("ready "):
            error = self._process.communicate()[1].strip().splitlines()
            raise LookupError(error[-1] if error else "it ended without a word")
        self.version = ready.removeprefix("ready ")

    def _command(self, times: int) -> list[float]:
        """What the process prints after so many operations."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        return [float(number) for number in self._read().split()]

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, times: int) -> float:
        """The CPU seconds of one of so many asks."""
        return self._command(times)[0] / times

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def newest_python() -> str:
    """A Python that triotp runs on, if there is one; else the one that runs this."""
    if sys.version_info >= (3, 13):
        return sys.executable
    for name in ("python3.14", "python3.13"):
        found = shutil.which(name)
        if found and not subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
            return found
    return sys.executable


@contextmanager
def environment(base: str, requirements: Iterable[str]) -> Iterator[str]:
    """A temporary environment with every one of `requirements` that can be installed into it; gives its Python."""
    with tempfile.TemporaryDirectory(prefix="trouper-peers-") as folder:
        subprocess.run([base, "-m", "venv", folder], check=True)
        python = str(Path(folder, "bin", "python"))
        for requirement in (*NEEDED_BY_TROUPER, *requirements):
            command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", requirement]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                errors = [text for text in done.stderr.splitlines() if text.startswith("ERROR")]
                print(f"{requirement} could not be installed: {(errors or ['pip failed'])[-1]}")
        yield python


def compare(library: str, pythons: list[str], pairs: int) -> Figure | None:
    """The ratios for one library, on the first Python that has it; says so when none does."""
    why = []
    bound, slice_ = PEERS[library][1:]
    for python in pythons:
        try:
            with Worker(python, library) as peer, Worker(python, "trouper") as ours:
                rows = []
                for number in range(pairs):
                    if number % 2:
                        theirs, own = peer.ask(slice_), ours.ask(OURS)
                    else:
                        own, theirs = ours.ask(OURS), peer.ask(slice_)
                    rows.append((theirs, own))
                detail = (
                    f"{library} {peer.version} {micro([a for a, _ in rows])}, Trouper {micro([b for _, b in rows])}"
                )
                return Figure(
                    name=f"ask_{library}",
                    bound=bound,
                    values=tuple(a / b for a, b in rows),
                    needed=PAIRS,
                    detail=detail,
                )
        except LookupError as error:
            why.append(f"{python}: {error}")
    print(f"{'ask_' + library:20} {'':>9} {'':>18}   {bound!s:18} NOT MEASURED: {'; '.join(why)}")
    return None


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; 0 if every library was there and every figure holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="alternating pairs a library (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PEERS, metavar="LIBRARY", help=", ".join(PEERS))
    parser.add_argument("--python", nargs="+", metavar="PATH", help="use these, with what is installed there")
    parser.add_argument("--base", metavar="PATH", help="the Python to make the temporary environment with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        requirements = [each for each, _, _ in PEERS.values()]
        base = chosen.base or newest_python()
        pythons = chosen.python or [stack.enter_context(environment(base, requirements))]
        before = surroundings()
        print(before)
        print(HEADING)
        found = []
        for library in chosen.only or PEERS:
            figure = compare(library, pythons, chosen.pairs)
            if figure is not None:
                print(f"{line(figure)}\n{'':20}   {figure.detail}", flush=True)
                found.append(figure)
    if chosen.json is not None:
        rows = {"before": before, "after": surroundings(), "figures": [record(figure) for figure in found]}
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    missing = len(found) < len(chosen.only or PEERS)
    return 1 if missing or any(figure.verdict == "DOES NOT HOLD" for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
