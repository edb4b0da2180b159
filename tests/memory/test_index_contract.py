"""Every vector index keeps the same promises, and answers like a brute-force search; damaged files are not believed."""

from __future__ import annotations

import math
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.index_snapshot import write_snapshot
from trouper.runtime import MemoryFailed

DIM = 16


@pytest.fixture(params=[FaissIndex, NumpyIndex])
def make(request: pytest.FixtureRequest):
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


def test_equal_scores_come_by_smaller_id_even_at_the_cut(make) -> None:
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
    other = {FaissIndex: NumpyIndex, NumpyIndex: FaissIndex}[make]

    index = filled(make, 3)
    before = index.search(vector(1), 9)
    assert not index.load(path, stamp="a#2")
    assert not index.load(path)
    assert not index.load(str(tmp_path / "none"), stamp="a#1")
    assert not make(DIM * 2).load(path, stamp="a#1")
    assert not other(DIM).load(path, stamp="a#1")
    assert index.search(vector(1), 9) == before


@pytest.mark.io
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
