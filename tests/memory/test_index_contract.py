"""Every vector index keeps the same promises, and answers like a brute-force search; damaged files are not believed."""

from __future__ import annotations

import math
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trouper.actors.memory_data import Selection, selection_of
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.index_faiss_kinds import fitting_kind
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.index_snapshot import write_snapshot
from trouper.adapters.index_vectors import rows
from trouper.runtime import MemoryFailed

DIM = 16


def hnsw(dim: int) -> FaissIndex:
    return FaissIndex(dim, "hnsw")


def ivf(dim: int) -> FaissIndex:
    return FaissIndex(dim, "ivf")


@pytest.fixture(params=[FaissIndex, NumpyIndex, hnsw, ivf])
def make(request: pytest.FixtureRequest):
    """Every kind; with as few vectors as here all of them find everything."""
    return request.param


def vector(seed: int, dim: int = DIM) -> bytes:
    rng = random.Random(seed)
    numbers = [rng.gauss(0, 1) for _ in range(dim)]
    norm = math.hypot(*numbers)
    return struct.pack(f"<{dim}f", *(x / norm for x in numbers))


def brute(vectors: dict[int, bytes], query: bytes, k: int) -> list[tuple[int, float]]:
    q = struct.unpack(f"<{DIM}f", query)
    scored = [
        (i, math.fsum(a * b for a, b in zip(q, struct.unpack(f"<{DIM}f", v), strict=True))) for i, v in vectors.items()
    ]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


def assert_same(found: tuple[tuple[int, float], ...], expected: list[tuple[int, float]]) -> None:
    assert [i for i, _ in found] == [i for i, _ in expected]
    assert [s for _, s in found] == pytest.approx([s for _, s in expected], abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_any_history_of_changes_answers_like_brute_force(make, seed: int) -> None:
    """Random adds, replacements and removals: the index and a dict searched by hand never differ."""
    rng = random.Random(seed)
    index, model = make(DIM), {}
    for step in range(40):
        if rng.random() < 0.7:
            ids = [rng.randrange(60) for _ in range(rng.randrange(1, 6))]
            vectors = [vector(rng.randrange(10_000)) for _ in ids]
            index.add(ids, vectors)
            model.update(zip(ids, vectors, strict=True))
        else:
            ids = [rng.randrange(60) for _ in range(rng.randrange(1, 10))]
            assert index.remove(ids) == len(model.keys() & set(ids))
            for number in ids:
                model.pop(number, None)
        query = vector(-step)
        assert_same(index.search(query, 7), brute(model, query, 7))
    assert index.ids() == model.keys()
    assert len(index) == len(model)


@pytest.mark.parametrize("make", [FaissIndex, NumpyIndex, ivf])
def test_equal_scores_come_by_smaller_id_even_at_the_cut(make) -> None:
    """Of a graph only among what it has found: that is what approximate means."""
    index = make(DIM)
    same, other = vector(1), vector(2)
    index.add(range(50, 0, -1), [same] * 50)
    index.add([99], [other])

    assert [i for i, _ in index.search(same, 5)] == [1, 2, 3, 4, 5]
    assert [i for i, _ in index.search(same, 50)] == list(range(1, 51))
    assert [i for i, _ in index.search(other, 2)] == [99, 1]


def test_the_last_vector_of_an_id_counts(make) -> None:
    index = make(DIM)
    index.add([7, 7], [vector(1), vector(2)])
    index.add([7], [vector(3)])

    assert len(index) == 1
    assert index.search(vector(3), 1)[0] == (7, pytest.approx(1.0, abs=1e-5))


def test_searching_asks_for_no_more_than_there_is(make) -> None:
    index = make(DIM)

    assert index.search(vector(1), 5) == ()
    assert index.remove([1]) == 0
    index.add([], [])
    index.add([1], [vector(1)])
    assert index.search(vector(1), 0) == index.search(vector(1), -3) == ()
    assert len(index.search(vector(1), 10**9)) == 1
    assert index.remove([1, 1, 2]) == 1
    assert index.search(vector(1), 1) == ()


def test_ids_of_a_store_fit(make) -> None:
    index = make(DIM)
    index.add([2**62], [vector(1)])

    assert index.search(vector(1), 1)[0][0] == 2**62


@pytest.mark.parametrize(
    "wrong", [b"", b"\0" * 12, vector(1, DIM + 1), struct.pack("<16f", *[math.nan] * 16), b"\0" * (4 * DIM - 1)]
)
def test_a_wrong_vector_is_refused_and_changes_nothing(make, wrong: bytes) -> None:
    index = make(DIM)
    index.add([1], [vector(1)])

    with pytest.raises(ValueError, match="vector"):
        index.add([1, 2], [vector(2), wrong])
    with pytest.raises(ValueError, match="vector"):
        index.search(wrong, 1)
    with pytest.raises(ValueError, match="2 ids but 1"):
        index.add([1, 2], [vector(3)])

    assert_same(index.search(vector(1), 5), brute({1: vector(1)}, vector(1), 5))


@pytest.mark.parametrize("seed", range(10))
def test_only_what_is_meant_is_looked_at_and_nothing_of_it_is_missed(make, seed: int) -> None:
    """Random selections, also of ids that are not there: a filter takes no place from what it lets through."""
    rng = random.Random(seed)
    index, model = make(DIM), {}
    for number in rng.sample(range(1, 400), 120):
        model[number] = vector(number)
    index.add(list(model), list(model.values()))
    for number in rng.sample(sorted(model), 20):
        index.remove([number])
        del model[number]
    for count in (0, 1, 5, 60, 200):
        meant = set(rng.sample(range(1, 500), count))
        among = selection_of(meant)
        query = vector(-count)
        expected = brute({n: v for n, v in model.items() if n in meant}, query, 9)
        assert_same(index.search(query, 9, among), expected)
        assert_same(index.search(query, 999, among), brute({n: v for n, v in model.items() if n in meant}, query, 999))
    assert index.search(vector(1), 5, Selection()) == ()


def test_scores_and_likeness_are_those_of_the_vectors(make) -> None:
    index = make(DIM)
    index.add(range(1, 30), [vector(n) for n in range(1, 30)])
    index.remove([4])

    expected = dict(brute({n: vector(n) for n in (3, 9)}, vector(5), 9))
    assert index.scores(vector(5), [3, 9, 4, 77, 3]) == pytest.approx(expected, abs=1e-5)
    assert index.scores(vector(5), []) == {}
    rows = index.alike([3, 9])
    assert rows[0][1] == pytest.approx(dict(brute({9: vector(9)}, vector(3), 1))[9], abs=1e-5)
    assert rows[0][0] == pytest.approx(1.0, abs=1e-5)
    assert index.alike([]) == ()
    assert 3 in index
    assert 4 not in index


# ------------------------------------------------------------------ kinds


def clustered(count: int, dim: int = DIM, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, count // 20), dim))
    matrix = centres[rng.integers(0, len(centres), count)] + 0.3 * rng.normal(size=(count, dim))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return [row.astype("<f4").tobytes() for row in matrix]


def recall_of(index, exact, queries: list[bytes], among: Selection | None = None, k: int = 10) -> float:
    hits = total = 0
    for query in queries:
        wanted = {number for number, _ in exact.search(query, k, among)}
        found = index.search(query, k, among)
        assert len(found) == len(wanted)
        assert all(among is None or number in among for number, _ in found)
        hits += len(wanted & {number for number, _ in found})
        total += len(wanted)
    return hits / max(1, total)


@pytest.mark.parametrize(("wanted", "count"), [("ivf", 4_000), ("hnsw", 3_000)])
def test_approximate_kinds_find_nearly_all_whatever_the_filter(wanted: str, count: int) -> None:
    exact, index = FaissIndex(DIM, "flat"), FaissIndex(DIM, wanted)
    vectors = clustered(count)
    exact.add(range(1, count + 1), vectors)
    index.add(range(1, count + 1), vectors)
    if index.outgrown():
        index = index.successor()()
    assert index.kind == wanted
    assert not index.outgrown()
    queries = clustered(50, seed=1)
    assert recall_of(index, exact, queries) >= 0.98
    for share in (2, 10, 100):
        assert recall_of(index, exact, queries, selection_of(range(1, count + 1, share))) >= 0.98
    gone = list(range(1, count + 1, 3))
    assert index.remove(gone) == exact.remove(gone) == len(gone)
    assert recall_of(index, exact, queries) >= 0.98
    index.add(gone[:50], vectors[-50:])
    exact.add(gone[:50], vectors[-50:])
    assert recall_of(index, exact, queries) >= 0.98
    assert index.ids() == exact.ids()


@pytest.mark.io
@pytest.mark.parametrize("wanted", ["ivf", "hnsw"])
def test_an_approximate_index_is_saved_and_loaded_as_it_is(tmp_path: Path, wanted: str) -> None:
    path = str(tmp_path / "index")
    index = FaissIndex(DIM, wanted)
    index.add(range(1, 3_001), clustered(3_000))
    index = index.successor()() if index.outgrown() else index
    index.remove(range(1, 200))
    index.save(path, stamp="s")

    loaded = FaissIndex(DIM, wanted)
    assert loaded.load(path, stamp="s")
    assert (loaded.kind, loaded.ids()) == (wanted, index.ids())
    for query in clustered(20, seed=2):
        assert loaded.search(query, 9) == index.search(query, 9)
    loaded.add([7], [vector(7)])
    assert loaded.search(vector(7), 1)[0][0] == 7
    assert not FaissIndex(DIM, "flat" if wanted == "hnsw" else "hnsw").load(path, stamp="s")


def test_a_graph_with_many_skipped_vectors_is_built_again() -> None:
    index = FaissIndex(DIM, "hnsw")
    index.add(range(1, 1_001), clustered(1_000))
    index.remove(range(1, 100))
    assert not index.outgrown()
    index.remove(range(1, 400))
    assert index.outgrown()
    other = index.successor()()

    assert not other.outgrown()
    assert other.ids() == index.ids()
    assert_same(other.search(vector(3), 5), list(index.search(vector(3), 5)))


@pytest.mark.parametrize(
    ("now", "count", "kind"),
    [
        ("flat", 50_000, "flat"),
        ("flat", 50_001, "fp16"),
        ("fp16", 30_000, "fp16"),
        ("fp16", 19_000, "flat"),
        ("fp16", 200_001, "ivf"),
        ("flat", 200_001, "ivf"),
        ("ivf", 100_000, "ivf"),
        ("ivf", 79_000, "fp16"),
        ("ivf", 100, "flat"),
    ],
)
def test_the_kind_follows_the_size_and_does_not_flutter(now: str, count: int, kind: str) -> None:
    assert fitting_kind("auto", now, count) == kind


def test_half_precision_is_close_and_as_exact_as_it_can_be() -> None:
    index, exact = FaissIndex(DIM), FaissIndex(DIM, "flat")
    vectors = clustered(500)
    exact.add(range(500), vectors)
    index._fill("fp16", np.arange(500), rows(vectors, DIM))

    assert index.kind == "fp16"
    queries = clustered(30, seed=3)
    assert recall_of(index, exact, queries) >= 0.99
    for query in queries:
        found, wanted = dict(index.search(query, 500)), dict(exact.search(query, 500))
        assert found == pytest.approx(wanted, abs=2e-3)


# ------------------------------------------------------------------ snapshots


def filled(make, count: int = 30):
    index = make(DIM)
    index.add(range(1, count + 1), [vector(i) for i in range(1, count + 1)])
    return index


@pytest.mark.io
def test_what_was_saved_is_what_is_loaded(make, tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "index")
    index = filled(make)
    index.remove([3])
    index.save(path, stamp="a#1")

    loaded = make(DIM)
    loaded.add([77], [vector(77)])
    assert loaded.load(path, stamp="a#1")

    assert loaded.ids() == index.ids()
    assert loaded.search(vector(9), 9) == index.search(vector(9), 9)
    loaded.add([3], [vector(3)])
    assert loaded.search(vector(3), 1)[0][0] == 3
    loaded.save(path, stamp="a#2")
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["index", "index.json"]


@pytest.mark.io
def test_an_empty_index_can_be_saved(make, tmp_path: Path) -> None:
    make(DIM).save(str(tmp_path / "index"), stamp="s")

    loaded = filled(make)
    assert loaded.load(str(tmp_path / "index"), stamp="s")
    assert len(loaded) == 0


@pytest.mark.io
def test_another_stamp_dimension_or_kind_is_not_loaded(make, tmp_path: Path) -> None:
    path = str(tmp_path / "index")
    filled(make).save(path, stamp="a#1")
    other = FaissIndex if make is NumpyIndex else NumpyIndex

    index = filled(make, 3)
    before = index.search(vector(1), 9)
    assert not index.load(path, stamp="a#2")
    assert not index.load(path)
    assert not index.load(str(tmp_path / "none"), stamp="a#1")
    assert not make(DIM * 2).load(path, stamp="a#1")
    assert not other(DIM).load(path, stamp="a#1")
    assert index.search(vector(1), 9) == before


@pytest.mark.io
@pytest.mark.parametrize("make", [FaissIndex, NumpyIndex])
def test_damage_anywhere_in_either_file_is_noticed(make, tmp_path: Path) -> None:
    """A flipped bit, a missing tail, a longer file, an emptied one: loaded never differs from saved."""
    path = tmp_path / "index"
    index = filled(make)
    index.save(str(path), stamp="a#1")
    expected = index.search(vector(5), 30)
    rng = random.Random(1)
    refused = 0
    for victim in (path, tmp_path / "index.json"):
        whole = victim.read_bytes()
        flips = [(rng.randrange(len(whole)), rng.randrange(8)) for _ in range(150)]
        if victim.suffix == ".json":
            flips += [(place, 0) for place in range(len(whole))]  # each digit becomes another digit
        damaged = [bytes([*whole[:p], whole[p] ^ 1 << bit, *whole[p + 1 :]]) for p, bit in flips]
        damaged += [whole[: rng.randrange(len(whole))] for _ in range(20)] + [b"", whole + b"x", b"[" * 60_000]
        for data in damaged:
            victim.write_bytes(data)
            fresh = make(DIM)
            if fresh.load(str(path), stamp="a#1"):
                assert fresh.search(vector(5), 30) == expected
            else:
                refused += 1
                assert len(fresh) == 0
        victim.write_bytes(whole)
    assert refused > 500
    assert make(DIM).load(str(path), stamp="a#1")


@pytest.mark.io
def test_new_data_under_an_old_seal_is_not_believed(make, tmp_path: Path) -> None:
    """What a kill between the two renames leaves."""
    path = tmp_path / "index"
    filled(make, 3).save(str(path), stamp="a#1")
    seal = (tmp_path / "index.json").read_text()
    filled(make, 4).save(str(path), stamp="a#1")
    (tmp_path / "index.json").write_text(seal)

    assert not make(DIM).load(str(path), stamp="a#1")


@pytest.mark.io
def test_a_whole_file_that_is_not_ours_is_not_believed(tmp_path: Path) -> None:
    """A seal that fits bytes which FAISS cannot read, an index without ids, or another number of vectors."""
    import faiss

    def seal(write, count: int) -> str:
        path = str(tmp_path / "index")
        write_snapshot(path, write, kind="faiss-flat-ip", dim=DIM, count=count, stamp="s")
        return path

    bare = faiss.IndexFlatIP(DIM)
    index = filled(FaissIndex)
    for write, count in (
        (lambda p: Path(p).write_bytes(b"garbage" * 99), 0),
        (lambda p: Path(p).write_bytes(b""), 0),
        (lambda p: faiss.write_index(bare, p), 0),
        (lambda p: faiss.write_index(index._index, p), 29),
    ):
        assert not FaissIndex(DIM).load(seal(write, count), stamp="s")
    assert FaissIndex(DIM).load(seal(lambda p: faiss.write_index(index._index, p), 30), stamp="s")


@pytest.mark.io
def test_a_disk_that_does_not_take_it_is_a_typed_error_and_leaves_nothing(make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(MemoryFailed, match="No memory is lost"):
        filled(make).save(str(tmp_path / "file" / "index"))

    (tmp_path / "index").mkdir()
    with pytest.raises(MemoryFailed):
        filled(make).save(str(tmp_path / "index"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "index"]


@pytest.mark.io
def test_faiss_uses_one_thread_wherever_it_is_called_from() -> None:
    """OpenMP's setting belongs to the calling thread: set once at import it would not hold in a worker."""
    code = (
        "import threading, faiss; from trouper.adapters.index_faiss import FaissIndex\n"
        "index = FaissIndex(2); index.add([1], [b'\\0' * 8])\n"
        "def work(): index.search(b'\\0' * 8, 1); print(faiss.omp_get_max_threads())\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join(10)\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "4"}
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60, env=env)

    assert run.stdout.strip() == "1"
