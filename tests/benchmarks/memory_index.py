"""The index alone: `python -m tests.benchmarks.memory_index [--sizes 100000,1000000] [--data clustered,texts,uniform]`.

Of each size and each kind of data: CPU seconds of building it (training and measuring how many lists to look into are
part of it), CPU milliseconds of a search for ten in the searching thread, and the share of the ten nearest that it
gives (recall@10) of 1,000 vectors that are not inside, without a filter; of 100 among a half, a tenth, a hundredth.

`clustered`: vectors of 384 numbers around 2,000 random centres. `texts`: passages of 60 to 300 characters of whatever
text this Python has (its library and what is installed), as the offline embedder sees them, 256 numbers; as many as
there are. `uniform`: random directions: no index of clusters can help there.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import site
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from trouper.actors.memory_data import selection_of
from trouper.adapters.index_faiss import FaissIndex

DIM = 384
CENTRES = 2_000
TEXT = (".py", ".pyi", ".md", ".rst", ".txt", ".h", ".hpp")


def vectors(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Unit vectors around random centres: as embeddings of texts about some subjects lie."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CENTRES, dim)).astype("f4")
    made = centres[rng.integers(0, len(centres), count)] + 0.8 * rng.normal(size=(count, dim)).astype("f4")
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("f4")


def directions(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors without any order."""
    made = np.random.default_rng(seed).normal(size=(count, DIM)).astype("f4")
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def passages() -> Iterator[str]:
    """Texts that are installed here, in pieces, in a fixed but mixed order."""
    folders = {sysconfig.get_path("stdlib"), *site.getsitepackages()}
    files = sorted(path for folder in folders for path in Path(folder).rglob("*") if path.suffix in TEXT)
    rng = np.random.default_rng(3)
    rng.shuffle(files)
    for path in files:
        text = re.sub(r"\s+", " ", path.read_text(errors="ignore")[:2_000_000])
        start = 0
        while start < len(text) - 60:
            length = int(rng.integers(60, 300))
            yield text[start : start + length]
            start += length


def of_texts(count: int) -> np.ndarray:
    """The vectors of at most so many different passages, mixed."""
    from trouper.adapters.embed_wordllama import _load, _vector

    model = _load()
    made: dict[bytes, None] = {}
    for passage in passages():
        if any(letter.isalpha() for letter in passage):
            made[_vector(model, passage, passage)] = None
        if len(made) == count:
            break
    matrix = np.frombuffer(b"".join(made), dtype="<f4").reshape(len(made), -1)
    return matrix[np.random.default_rng(4).permutation(len(matrix))]


def data(kind: str, count: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """What is inside, and what is asked: of the same kind, and not inside."""
    if kind == "texts":
        matrix = of_texts(count + queries)
        return matrix[queries:], matrix[:queries]
    make = vectors if kind == "clustered" else directions
    return make(count), make(queries, seed=5)


def nearest(matrix: np.ndarray, queries: np.ndarray, ids: np.ndarray) -> list[set[int]]:
    """The ten nearest of some of the rows of each query, by their ids, which are one more than their places."""
    some = matrix if len(ids) == len(matrix) else matrix[ids - 1]
    ids = np.arange(1, len(matrix) + 1) if len(ids) == len(matrix) else ids
    found = []
    for start in range(0, len(queries), 20):
        products = queries[start : start + 20] @ some.T
        found.extend({int(n) for n in ids[np.argpartition(-scores, 9)[:10]]} for scores in products)
    return found


def one(kind: str, count: int, queries: int = 1_000) -> dict[str, object]:
    """Build it as the memory does, and ask it."""
    matrix, asked = data(kind, count, queries)
    count = len(matrix)
    index = FaissIndex(matrix.shape[1])
    began = time.process_time()
    index.expect(count)
    for start in range(0, count, 5_000):
        part = matrix[start : start + 5_000]
        index.add(range(start + 1, start + len(part) + 1), [row.tobytes() for row in part])
    found: dict[str, object] = {"data": kind, "vectors": count, "add_cpu_s": round(time.process_time() - began, 2)}
    if index.outgrown():
        began, wall = time.process_time(), time.perf_counter()
        index = index.successor()()
        found["build_cpu_s"] = round(time.process_time() - began, 1)
        found["build_wall_s"] = round(time.perf_counter() - wall, 1)
        lists = index._lists
        if lists is not None:
            found["lists"], found["looked_into"] = lists.vectors.nlist, lists.vectors.nprobe
            found["compared"] = lists.codes and lists.codes.to_compare(10)
    found["index"] = index.kind
    rng = np.random.default_rng(1)
    for share in (None, 0.5, 0.1, 0.01):
        ids = rng.permutation(count)[: int(count * (share or 1))] + 1
        among = None if share is None else selection_of(ids.tolist())
        cpu, hits = [], 0
        some = asked if share is None else asked[:100]
        for query, best in zip(some, nearest(matrix, some, ids), strict=True):
            data_ = query.tobytes()
            before = time.thread_time()
            result = index.search(data_, 10, among)
            cpu.append(time.thread_time() - before)
            hits += len(best.intersection(number for number, _ in result))
        found["all" if share is None else f"among {share:g}"] = {
            **{f"p{p}_ms": round(float(np.percentile(cpu, p)) * 1e3, 3) for p in (50, 95)},
            "recall@10": round(hits / (10 * len(cpu)), 4),
        }
    found["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def main(sizes: Sequence[int], kinds: Sequence[str]) -> None:
    """One line of JSON each."""
    for kind in kinds:
        for size in sizes:
            print(json.dumps(one(kind, size)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--data", default="clustered,texts,uniform")
    given = parser.parse_args()
    main([int(size) for size in given.sizes.split(",")], given.data.split(","))
