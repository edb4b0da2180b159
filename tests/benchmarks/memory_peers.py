"""The memory's index beside mem0's FAISS store and a plain numpy search: `python -m tests.benchmarks.memory_peers`.

`--mem0 PYTHON` names an interpreter that has `mem0ai` and `faiss-cpu`; without it that row is left out. The same
vectors (384 numbers), one after another, in one run. Milliseconds of CPU time. Insertion is of one vector into a store
of the given size, durably, as each does it; `found` is the share of the ten memories that match a filter (`kind` is
`rare`, ten of all) that a search for ten gives; `stale` the number of deleted memories that a search for their own
vectors still gives; `reopened` the number of memories after the process was killed while it inserted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIM = 384
KINDS = 10


def vectors(count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    made = rng.normal(size=(count, DIM)).astype("f4")
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("f4")


class Mem0:
    """mem0's store, as its memory uses it: a call of `insert` for each memory."""

    def __init__(self, folder: str) -> None:
        os.environ["MEM0_TELEMETRY"] = "False"
        from mem0.vector_stores.faiss import FAISS

        self.store = FAISS("bench", path=folder, distance_strategy="cosine", embedding_model_dims=DIM)

    def fill(self, matrix: np.ndarray, kinds: list[str]) -> None:
        ids = [str(n) for n in range(len(matrix))]
        self.store.insert(matrix.tolist(), payloads=[{"kind": kind} for kind in kinds], ids=ids)

    def insert(self, number: int, row: np.ndarray) -> None:
        self.store.insert([row.tolist()], payloads=[{"kind": "usual"}], ids=[str(number)])

    def search(self, row: np.ndarray, k: int, kind: str | None) -> list[int]:
        filters = None if kind is None else {"kind": kind}
        found = self.store.search("", row.tolist(), top_k=k, filters=filters)
        return [int(one.id) for one in found]

    def delete(self, number: int) -> None:
        self.store.delete(str(number))

    def count(self) -> int:
        return len(self.store.docstore)


class Ours:
    """The memory's store and index, put together as the actor does, without actors: each change is one transaction."""

    def __init__(self, folder: str) -> None:
        import trio

        from trouper.actors.memory_data import MemoryFilter, NewMemory
        from trouper.adapters.index_faiss import FaissIndex
        from trouper.adapters.store_sqlite import SqliteMemoryStore

        self.new, self.filter, self.run = NewMemory, MemoryFilter, trio.run
        self.store = SqliteMemoryStore(Path(folder) / "memory.sqlite")
        self.index = FaissIndex(DIM)
        self.selections: dict[str | None, object] = {}

    def fill(self, matrix: np.ndarray, kinds: list[str]) -> None:
        for start in range(0, len(matrix), 5_000):
            self._put(range(start, min(start + 5_000, len(matrix))), matrix[start : start + 5_000], kinds[start:])

    def _put(self, numbers: range, matrix: np.ndarray, kinds: list[str]) -> None:
        rows = [
            self.new(content=str(n), category=kind, vector=row.tobytes(), embedder="bench")
            for n, row, kind in zip(numbers, matrix, kinds, strict=False)
        ]
        ids = self.run(self.store.add, rows)
        self.index.add(ids, [row.vector for row in rows])
        self.selections.clear()

    def insert(self, number: int, row: np.ndarray) -> None:
        self._put(range(number, number + 1), row[None], ["usual"])

    def search(self, row: np.ndarray, k: int, kind: str | None) -> list[int]:
        if kind not in self.selections:
            meant = self.filter(categories=() if kind is None else (kind,))
            self.selections[kind] = self.run(self.store.select, meant)
        return [number - 1 for number, _ in self.index.search(row.tobytes(), k, self.selections[kind])]

    def delete(self, number: int) -> None:
        self.run(self.store.delete, [number + 1])
        self.index.remove([number + 1])
        self.selections.clear()

    def count(self) -> int:
        return self.run(self.store.count)


class Numpy:
    """An array and a product: nothing is kept on disk, and no id is looked after."""

    def __init__(self, folder: str) -> None:
        self.matrix, self.kinds = np.empty((0, DIM), dtype="f4"), np.empty(0, dtype=object)
        self.alive = np.empty(0, dtype=bool)

    def fill(self, matrix: np.ndarray, kinds: list[str]) -> None:
        self.matrix, self.kinds = matrix.copy(), np.array(kinds, dtype=object)
        self.alive = np.ones(len(matrix), dtype=bool)

    def insert(self, number: int, row: np.ndarray) -> None:
        self.matrix = np.concatenate([self.matrix, row[None]])
        self.kinds, self.alive = np.append(self.kinds, "usual"), np.append(self.alive, True)

    def search(self, row: np.ndarray, k: int, kind: str | None) -> list[int]:
        scores = np.where(self.alive & ((self.kinds == kind) if kind else True), self.matrix @ row, -2.0)
        best = np.argpartition(-scores, k)[:k]
        return [int(n) for n in best[np.argsort(-scores[best])] if scores[n] > -2.0]

    def delete(self, number: int) -> None:
        self.alive[number] = False

    def count(self) -> int:
        return int(self.alive.sum())


SUBJECTS = {"trouper": Ours, "mem0": Mem0, "numpy": Numpy}


def measured(name: str, count: int) -> dict[str, object]:
    """One subject's row."""
    matrix = vectors(count + 200)
    kinds = ["rare" if n % (count // KINDS) == 0 else "usual" for n in range(count)]
    rare = {n for n in range(count) if kinds[n] == "rare"}
    with tempfile.TemporaryDirectory() as folder:
        subject = SUBJECTS[name](folder)
        subject.fill(matrix[:count], kinds)
        inserts = [_milliseconds(subject.insert, count + n, matrix[count + n]) for n in range(20)]
        searches = [_milliseconds(subject.search, matrix[n], 10, None) for n in range(50)]
        found = sum(len(rare & set(subject.search(matrix[n * 7], KINDS, "rare"))) for n in range(20))
        gone = range(1, 40, 2)
        deletes = [_milliseconds(subject.delete, n) for n in gone]
        stale = sum(n in subject.search(matrix[n], 10, None) for n in gone)
        left = subject.count()
    return {
        "subject": name,
        "memories": count,
        "insert_ms": round(float(np.median(inserts)), 2),
        "search_ms": round(float(np.median(searches)), 2),
        "delete_ms": round(float(np.median(deletes)), 2),
        "found": round(found / (20 * KINDS), 3),
        "stale": stale,
        "miscounted": left - (count + 20 - len(gone)),
    }


def _milliseconds(work, *args: object) -> float:
    before = time.process_time()
    work(*args)
    return (time.process_time() - before) * 1e3


def killed(name: str, python: str, kills: int) -> dict[str, object]:
    """Kill a process that inserts; how often the store holds less than it had acknowledged afterwards."""
    lost = broken = 0
    for number in range(kills):
        with tempfile.TemporaryDirectory() as folder:
            command = [python, __file__, "--insert", name, "--folder", folder]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            assert process.stdout is not None
            acknowledged = 0
            for line in process.stdout:
                acknowledged = int(line)
                if acknowledged >= 600 + 7 * number:
                    break
            time.sleep(0.001 * (number % 10))
            os.kill(process.pid, signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
            process.wait()
            look = [python, __file__, "--look", name, "--folder", folder]
            said = subprocess.run(look, capture_output=True, text=True, check=False)
            there = int(said.stdout.split()[-1]) if said.returncode == 0 and said.stdout.split() else -1
            broken += there < 0
            lost += there < acknowledged
    return {"subject": name, "kills": kills, "lost_something": lost, "of_which_unreadable": broken}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mem0", default="")
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--kills", type=int, default=20)
    for name in ("subject", "insert", "look", "folder"):
        parser.add_argument(f"--{name}", default="")
    given = parser.parse_args()
    if given.subject:
        print(json.dumps(measured(given.subject, int(given.sizes))))
    elif given.insert:
        subject, matrix = SUBJECTS[given.insert](given.folder), vectors(5_000)
        subject.fill(matrix[:500], ["usual"] * 500)
        for n in range(500, 5_000):
            subject.insert(n, matrix[n])
            print(n + 1, flush=True)
    elif given.look:
        print(SUBJECTS[given.look](given.folder).count())
    else:
        _compare(given)


def _compare(given: argparse.Namespace) -> None:
    pythons = {"trouper": sys.executable, "numpy": sys.executable, **({"mem0": given.mem0} if given.mem0 else {})}
    for size in given.sizes.split(","):
        for name, python in pythons.items():
            command = [python, __file__, "--subject", name, "--sizes", size]
            print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip(), flush=True)
    for name, python in pythons.items():
        if name != "numpy":
            print(json.dumps(killed(name, python, given.kills)), flush=True)


if __name__ == "__main__":
    main()
